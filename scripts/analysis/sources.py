"""Which CTs lie in files and folders, and by which id each of them is known."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.misc import is_dicom

from lib.images.dicom import holds_dicom
from lib.images.files import image_suffix
from lib.stores.folder import OWN_FOLDER
from lib.stores.names import folder_name
from scripts.command import Stop

JOURNAL = ".analysis.jsonl"
"""What a folder of results is known by."""
LABELS = "segmentations"
REPORTS, COHORT = "reports", "cohort"
_NO_IMAGES = {"labels", "truth"}  # where a server, a cohort or a person keeps labels
_OF_A_SERVER = {"index.sqlite", "labels", "converted", "facts"}
_SHOWN = 5
_LONGEST_ID = 120
_HASH = 8


@dataclass(frozen=True, kw_only=True)
class Case:
    """One CT to analyse.

    Attributes:
        id: unique among the results, and a file name on any system.
        path: an image file, or the folder of a DICOM series.
        series: the SeriesInstanceUID, "" for a file.
        files: those of the series.
        of: how many series the folder holds.
        warnings: of its folder.
        wishes: what is known and wanted of it beyond the image, as in the params of a request.
    """

    id: str
    path: Path
    series: str = ""
    files: tuple[Path, ...] = ()
    of: int = 1
    warnings: tuple[str, ...] = ()
    wishes: Mapping[str, Any] = field(default_factory=dict)


def find_sources(given: Sequence[Path]) -> dict[Path, str]:
    """All image files and all folders with DICOM files in them, in and below what was given.

    Folders are passed over in which a server, a cohort of phantoms or an analysis keeps labels, and hidden ones. Those
    that were passed over for their name or what they hold are named on stderr.

    Args:
        given: files and folders; a DICOM file stands for its folder.

    Returns:
        Absolute path to its path below what was given, sorted by the former.

    Raises:
        Stop: one of them is not there.
    """
    found: dict[Path, str] = {}
    passed_over: list[Path] = []
    for each in given:
        path = Path(os.path.abspath(each.expanduser()))  # noqa: PTH100 - a link is a name of its own
        if path.is_dir():
            for source in _below(path, passed_over):
                found.setdefault(source, path.name if source == path else source.relative_to(path).as_posix())
        elif path.is_file():
            source = path.parent if not image_suffix(path.name) and is_dicom(path) else path
            found.setdefault(source, source.name)
        else:
            raise Stop(f"There is no file or folder {each}; nothing was analysed.")
    if passed_over:
        more = f" and {len(passed_over) - _SHOWN} more" if len(passed_over) > _SHOWN else ""
        names = ", ".join(map(str, passed_over[:_SHOWN]))
        print(f"Passed over, for they hold labels or are a server's own: {names}{more}.", file=sys.stderr)
    return dict(sorted(found.items()))


def name_cases(found: Mapping[Path, str], known: Mapping[str, Path]) -> dict[Path, str]:
    """An id for each source that nobody else has, also where a file system does not tell upper from lower case.

    Args:
        found: as :func:`find_sources` gives it.
        known: the ids that were given before, which stay as they are.

    Returns:
        Path to id.
    """
    ids = {path: case_id for case_id, path in known.items() if path in found}
    taken = {case_id.casefold() for case_id in known}
    for path, name in found.items():
        if path in ids:
            continue
        case_id = _as_id(name)
        if case_id.casefold() in taken:
            case_id = f"{case_id}-{short_hash(str(path))}"
        taken.add(case_id.casefold())
        ids[path] = case_id
    return ids


def series_id(source_id: str, series: str, of: int) -> str:
    """The id of a series: that of its folder, unless it shares the folder."""
    return source_id if of == 1 else f"{source_id}~{short_hash(series)}"


def source_id(case_id: str) -> str:
    """The id of the file or folder that a case comes from."""
    return case_id.split("~", maxsplit=1)[0]


def short_hash(text: str) -> str:
    """Eight characters that differ for different texts."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH]


def _below(root: Path, passed_over: list[Path]) -> Iterator[Path]:
    unreadable: list[Path] = []
    walked: set[Path] = set()
    for folder, folders, files in os.walk(
        root, onerror=lambda error: unreadable.append(Path(error.filename)), followlinks=True
    ):
        here = Path(folder)
        real = here.resolve()
        if real in walked:  # a link back to where it came from
            folders.clear()
            continue
        walked.add(real)
        results = {LABELS} if JOURNAL in files else set()
        seen = sorted(name for name in folders if not name.startswith(".") and name not in results)
        none = {name for name in seen if name in _NO_IMAGES or _is_of_a_server(here / name)}
        passed_over += [here / name for name in sorted(none)]
        folders[:] = [name for name in seen if name not in none]
        yield from (here / name for name in files if not name.startswith(".") and image_suffix(name))
        try:
            if holds_dicom(here):
                yield here
        except OSError:
            unreadable.append(here)
    yield from unreadable  # reading it as a series will say why it cannot be read


def _is_of_a_server(folder: Path) -> bool:
    """Whether this is where a server keeps what it knows of its studies, and no folder of images of that name."""
    return folder.name == OWN_FOLDER and len([name for name in _OF_A_SERVER if (folder / name).exists()]) > 1


def _as_id(name: str) -> str:
    text = unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
    text = text[: len(text) - len(image_suffix(text))]
    text = folder_name(re.sub(r"[\x00-\x1f\x7f~/\\]", "_", text).strip() or "ct")
    if text[0] in ".=+-@":  # hidden, or a formula for a spreadsheet
        text = f"_{text}"
    if len(text.encode()) > _LONGEST_ID:
        cut = text.encode()[: _LONGEST_ID - _HASH - 1].decode("utf-8", "ignore")
        text = f"{cut}-{short_hash(name)}"
    return text
