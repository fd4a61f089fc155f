"""Raw datasets of nnU-Net v2, and those of the Medical Segmentation Decathlon's form, such as AMOS22."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.datasets.chosen import Chosen, description_of, write_image
from lib.datasets.found import Found, FoundCase, FoundLabel, merged
from lib.datasets.provenance import Provenance, provenance_of, read_provenance, write_provenance
from lib.disk import make_folder, write_file, write_json
from lib.images.files import compressed, image_suffix, read_volume
from lib.refusals import Refusal
from lib.stores.geometry import Grid

LAYOUT = "nnunet"
_DATASET, _IGNORE, _CHANNEL = "dataset.json", "ignore", "_0000"
_SETS = ("Tr", "Va", "Ts")


def write_nnunet(
    root: Path, labels: Sequence[Chosen], *, number: int, folds: Mapping[str, int], count: int
) -> list[Provenance]:
    """Write ``DatasetNNN_TASK`` with ``imagesTr``, ``labelsTr``, ``dataset.json`` and ``splits_final.json``.

    Voxels that nobody judged (slices without a label; everything undrawn on a slice of a partial label) get the value
    ``ignore``, by which nnU-Net leaves them out: as background they would teach that there is no muscle there.

    Args:
        root: a folder for all datasets.
        labels: of one task.
        number: of the dataset.
        folds: the fold of every patient.
        count: how many folds there are.

    Raises:
        OSError: the disk is full or gone.
        Refusal: an image or label cannot be read.
    """
    task = labels[0].revision.task
    schema = STORED_SCHEMAS[task]
    dataset = root / f"Dataset{number:03d}_{task}"
    for name in ("imagesTr", "labelsTr"):
        make_folder(dataset / name)
    rows, has_ignored = [], False
    ignore = len(schema) + 1
    for chosen in labels:
        image, label = (
            dataset / "imagesTr" / f"{chosen.stem}{_CHANNEL}.nii.gz",
            dataset / "labelsTr" / f"{chosen.stem}.nii.gz",
        )
        write_image(chosen, image)
        array, affine, file_shape = read_volume(chosen.revision.path)
        judged = _with_ignored(array, affine, ignore=ignore, partial=chosen.revision.partial)
        has_ignored |= bool((judged == ignore).any())
        nifti = nib.Nifti1Image(judged.reshape(file_shape), affine)
        nifti.header.set_xyzt_units("mm")
        write_file(label, compressed(nifti))
        rows.append(provenance_of(chosen.revision, root=dataset, label=label, image=image, facts=chosen.facts))
    content = {
        "name": task,
        "description": description_of(labels),
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **schema.ids, **({_IGNORE: ignore} if has_ignored else {})},
        "numTraining": len(labels),
        "file_ending": ".nii.gz",
    }
    write_json(dataset / _DATASET, content)
    write_json(dataset / "splits_final.json", _splits(labels, folds, count))
    write_provenance(dataset, rows)
    return rows


def is_nnunet(root: Path) -> bool:
    """Whether a folder is such a dataset, or holds some."""
    return bool(_datasets(root))


def find_nnunet(root: Path) -> Found:
    """The cases of a dataset, or of all datasets in a folder, with those of validation and test sets.

    Raises:
        Refusal: a ``dataset.json`` cannot be read, or describes images of several channels or labels of regions.
    """
    cases: list[FoundCase] = []
    names = []
    for folder in _datasets(root):
        content = _content(folder / _DATASET)
        name = str(content.get("name") or folder.name)
        names.append(root.name if name in STORED_SCHEMAS else name)
        values = _values(content, folder.name)
        ignore = next((value for value, name in values.items() if name == _IGNORE), None)
        meanings = {value: name for value, name in values.items() if value and value != ignore}
        known = read_provenance(folder)
        for each in _SETS:
            images, labels = _files(folder / f"images{each}"), _files(folder / f"labels{each}")
            for stem in sorted({*images, *labels}):
                row = known.get(labels[stem].relative_to(folder).as_posix()) if stem in labels else None
                label = labels.get(stem)
                own = () if label is None else (FoundLabel(file=label, names=meanings, ignore=ignore, provenance=row),)
                cases.append(
                    FoundCase(
                        name=row.case if row else stem,
                        image=images.get(stem),
                        labels=own,
                        facts=row.facts if row else {},
                    )
                )
    return Found(layout=LAYOUT, dataset="+".join(dict.fromkeys(names)), root=root, cases=merged(cases))


def _with_ignored(array: npt.NDArray, affine: npt.NDArray, *, ignore: int, partial: bool) -> npt.NDArray[np.uint8]:
    grid = Grid(shape=array.shape, affine=affine, file_shape=array.shape)  # type: ignore[arg-type]
    label = array.astype(np.uint8)
    upright = np.moveaxis(label, grid.foot_to_head_axis, 0)
    drawn = upright.any(axis=(1, 2))
    if partial:
        label[label == 0] = ignore
    upright[~drawn] = ignore
    return label


def _splits(labels: Sequence[Chosen], folds: Mapping[str, int], count: int) -> list[dict[str, list[str]]]:
    fold_of = {chosen.stem: folds[chosen.patient] for chosen in labels}
    return [
        {
            "train": sorted(stem for stem, own in fold_of.items() if own != fold),
            "val": sorted(stem for stem, own in fold_of.items() if own == fold),
        }
        for fold in range(count)
    ]


def _datasets(root: Path) -> list[Path]:
    if (root / _DATASET).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{_DATASET}") if list(path.parent.glob("images*")))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise Refusal(f"{path} has no labels: it is no dataset.json of nnU-Net.")
    channels = len(content.get("channel_names") or ())
    if channels > 1:
        raise Refusal(f"{path} is of images with {channels} channels; a CT has one.")
    return content


def _values(content: Mapping[str, Any], name: str) -> dict[int, str]:
    """Value to name; nnU-Net v2 writes names first, the older form numbers first."""
    try:
        return {
            int(one if str(one).isdigit() else other): str(other if str(one).isdigit() else one)
            for one, other in content["labels"].items()
        }
    except (TypeError, ValueError) as error:
        raise Refusal(f"A label in dataset.json of {name} has no single value; regions cannot be taken in.") from error


def _files(folder: Path) -> dict[str, Path]:
    """Files by the name of their case."""
    if not folder.is_dir():
        return {}
    return {
        path.name[: -len(image_suffix(path.name))].removesuffix(_CHANNEL): path
        for path in sorted(folder.iterdir())
        if image_suffix(path.name) and not path.name.startswith(".")
    }
