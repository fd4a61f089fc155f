"""Pairs ``CASE-image.nii.gz`` and ``CASE-label.nii.gz``, as Yu 2026 (section 2.2) names them, in a folder per task."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.datasets.chosen import Chosen, write_image
from lib.datasets.found import Found, FoundCase, FoundLabel, merged
from lib.datasets.provenance import Provenance, provenance_of, read_provenance, write_provenance
from lib.disk import make_folder
from lib.images.files import image_suffix
from lib.refusals import Refusal

LAYOUT = "pairs"
_IMAGE, _LABEL = "-image", "-label"


def write_pairs(root: Path, labels: Iterable[Chosen]) -> list[Provenance]:
    """Write ``TASK/CASE-image.nii.gz`` and ``TASK/CASE-label.nii.gz``; the label is the very file of the store.

    Raises:
        OSError: the disk is full or gone.
        Refusal: an image cannot be read.
    """
    rows = []
    for chosen in labels:
        folder = root / chosen.revision.task
        make_folder(folder)
        image, label = folder / f"{chosen.stem}{_IMAGE}.nii.gz", folder / f"{chosen.stem}{_LABEL}.nii.gz"
        write_image(chosen, image)
        shutil.copyfile(chosen.revision.path, label)
        rows.append(provenance_of(chosen.revision, root=root, label=label, image=image, facts=chosen.facts))
    write_provenance(root, rows)
    return rows


def is_pairs(root: Path) -> bool:
    """Whether a folder, or a folder in it, holds such files."""
    return any(_kind(path) for folder in (root, *_folders(root)) for path in folder.iterdir() if path.is_file())


def find_pairs(root: Path, *, task: str | None = None) -> Found:
    """The pairs in a folder and in the folders in it.

    Args:
        root: the folder.
        task: whose ids the labels hold, where neither the folder's name nor the provenance says so.

    Raises:
        Refusal: nothing says which task a label is of.
    """
    known = read_provenance(root)
    cases: list[FoundCase] = []
    passed_over: dict[Path, str] = {}
    for folder in (root, *_folders(root)):
        of_folder = folder.name if folder.name in STORED_SCHEMAS else task
        pairs: dict[str, dict[str, Path]] = {}
        for path in sorted(each for each in folder.iterdir() if each.is_file()):
            kind = _kind(path)
            if not kind:
                if image_suffix(path.name):
                    passed_over[path] = "its name ends neither in -image nor in -label"
                continue
            name = path.name[: -len(image_suffix(path.name))].removesuffix(kind)
            if kind in pairs.setdefault(name, {}):
                passed_over[path] = f"{pairs[name][kind].name} is of the same case"
                continue
            pairs[name][kind] = path
        for name, pair in pairs.items():
            row = known.get(pair[_LABEL].relative_to(root).as_posix()) if _LABEL in pair else None
            labels = []
            if _LABEL in pair:
                own = row.task if row else of_folder
                if own not in STORED_SCHEMAS:
                    raise Refusal(f"Nothing says which task {pair[_LABEL].name} is a label of: add --task.")
                names = {number: each for each, number in STORED_SCHEMAS[own].ids.items()}
                labels.append(FoundLabel(file=pair[_LABEL], names=names, provenance=row))
            cases.append(
                FoundCase(
                    name=row.case if row else name,
                    image=pair.get(_IMAGE),
                    labels=tuple(labels),
                    facts=row.facts if row else {},
                )
            )
    return Found(layout=LAYOUT, dataset=root.name, root=root, cases=merged(cases), passed_over=passed_over)


def _kind(path: Path) -> str:
    stem = path.name[: len(path.name) - len(image_suffix(path.name))] if image_suffix(path.name) else ""
    return next((kind for kind in (_IMAGE, _LABEL) if stem.endswith(kind)), "")


def _folders(root: Path) -> list[Path]:
    return sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
