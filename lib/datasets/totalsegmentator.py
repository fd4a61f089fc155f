"""The TotalSegmentator dataset: ``sNNNN/ct.nii.gz``, a mask for each structure, ``meta.csv`` (Wasserthal 2023)."""

from __future__ import annotations

import csv
from pathlib import Path

from lib.datasets.found import Found, FoundCase, FoundLabel
from lib.images.files import image_suffix

LAYOUT = "totalsegmentator"
DATASET = "TotalSegmentator"
_CT, _MASKS = "ct.nii.gz", "segmentations"


def is_totalsegmentator(root: Path) -> bool:
    """Whether a folder is laid out like this."""
    return any(True for _ in root.glob(f"*/{_MASKS}"))


def find_totalsegmentator(root: Path) -> Found:
    """The cases of the dataset; age and sex come from ``meta.csv``, where it is there."""
    facts = _facts(root / "meta.csv")
    cases = []
    passed_over: dict[Path, str] = {}
    for folder in sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")):
        masks = sorted((folder / _MASKS).iterdir()) if (folder / _MASKS).is_dir() else []
        image = folder / _CT
        if not masks and not image.is_file():
            passed_over[folder] = f"it holds neither {_CT} nor {_MASKS}"
            continue
        cases.append(
            FoundCase(
                name=folder.name,
                image=image if image.is_file() else None,
                labels=tuple(
                    FoundLabel(file=path, names={1: path.name[: -len(image_suffix(path.name))]}, may_be_empty=True)
                    for path in masks
                    if image_suffix(path.name)
                ),
                facts=facts.get(folder.name, {}),
            )
        )
    return Found(layout=LAYOUT, dataset=DATASET, root=root, cases=tuple(cases), passed_over=passed_over)


def _facts(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {
        row["image_id"]: {
            name: str(row[column])
            for name, column, fits in (("age_years", "age", _is_number), ("sex", "gender", _is_sex))
            if fits(row.get(column) or "")
        }
        for row in rows
        if row.get("image_id")
    }


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _is_sex(text: str) -> bool:
    return text.lower() in ("m", "f")
