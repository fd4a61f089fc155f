"""Where every exported label comes from, as a CSV beside the files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lib.disk import sha256_of, write_file
from lib.stores.patient import KEPT
from lib.stores.records import Revision

PROVENANCE_FILE = "provenance.csv"
_YES, _NO = "yes", "no"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """One exported label; everything is text, as it stands in the CSV.

    Attributes:
        case: id of the case in the store that it was exported from.
        task: the task.
        revision: its number there.
        author: who saved it.
        saved: when, ISO 8601, UTC.
        client: the program that it was saved from.
        model: the model that the author started from, or "".
        model_version: its version, or "".
        dataset: the dataset that it was once imported from, or "".
        partial: ``yes`` where structures may be missing that nobody drew.
        structures: those that have voxels, separated by blanks.
        sha256: of the revision's own file in the store.
        label: the exported file, relative to the CSV, with ``/``.
        label_sha256: of that file.
        image: the exported image, likewise; "" where images were left out.
        image_sha256: of that file.
        facts: what is known of the patient; each is a column.
    """

    case: str
    task: str
    revision: str
    author: str
    saved: str
    client: str
    model: str
    model_version: str
    dataset: str
    partial: str
    structures: str
    sha256: str
    label: str
    label_sha256: str
    image: str = ""
    image_sha256: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Whether structures may be missing that nobody drew."""
        return self.partial != _NO


_OWN = tuple(each.name for each in fields(Provenance) if each.name != "facts")
_COLUMNS = (*_OWN, *(name for name in KEPT if name not in _OWN))


def provenance_of(
    revision: Revision, *, root: Path, label: Path, image: Path | None, facts: Mapping[str, str]
) -> Provenance:
    """The row of an exported label.

    Args:
        revision: what was exported.
        root: the folder that the CSV lies in.
        label: the written file.
        image: the written image, or the folder of its DICOM files.
        facts: of the patient.
    """
    of_image = "" if image is None else image.relative_to(root).as_posix()
    return Provenance(
        case=revision.image_id,
        task=revision.task,
        revision=str(revision.number),
        author=revision.author,
        saved=revision.created.isoformat(timespec="seconds"),
        client=revision.client_id,
        model=revision.model,
        model_version=revision.model_version or "",
        dataset=str(revision.info.get("dataset") or ""),
        partial=_YES if revision.partial else _NO,
        structures=" ".join(revision.names),
        sha256=revision.sha256,
        label=label.relative_to(root).as_posix(),
        label_sha256=sha256_of(label),
        image=of_image,
        image_sha256=sha256_of(image) if image is not None and image.is_file() else "",
        facts=facts,
    )


def write_provenance(root: Path, rows: Iterable[Provenance]) -> None:
    """Write the CSV into a folder."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({**asdict(row), **row.facts})
    write_file(root / PROVENANCE_FILE, text.getvalue().encode())


def read_provenance(root: Path) -> dict[str, Provenance]:
    """The rows of a folder by their label file; empty where there is no such CSV, rows of other columns left out."""
    path = root / PROVENANCE_FILE
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    found = (
        Provenance(
            **{name: row.get(name) or "" for name in _OWN},
            facts={name: row[name] for name in KEPT if row.get(name)},
        )
        for row in rows
    )
    return {row.label: row for row in found if row.label}
