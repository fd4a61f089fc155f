"""Labelled slices as an nnU-Net v2 raw dataset."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from lib.disk import write_json
from lib.networks.labels import UNJUDGED
from lib.networks.nnunet.workspace import Workspace
from lib.refusals import Refusal

SLICE_THICKNESS_MM = 5.0
"""Of the NIfTI that nnU-Net sees; a 2-D configuration does not resample along it."""

LoadedSlice = tuple[npt.NDArray[np.int16], tuple[float, float], npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One labelled slice.

    Attributes:
        key: another one as soon as image or label is another one.
        patient: whose slice it is.
        fold: the fold that validates on this patient.
        load: gives HU ``(x, y)``, spacing ``(sx, sy)`` in mm and label ``(x, y)``, x to the patient's right and y to
            the front. The label holds the values of the classes, 0 for none of them and
            :data:`lib.networks.labels.UNJUDGED`.
    """

    key: str
    patient: str
    fold: int
    load: Callable[[], LoadedSlice]

    @property
    def case(self) -> str:
        """Its name in the dataset."""
        return "slice_" + hashlib.sha256(self.key.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class SliceContent:
    """What is known of a slice's label: pixels of each class, and whether some are unjudged."""

    pixels: Mapping[str, int]
    unjudged: bool


def write_dataset(
    workspace: Workspace,
    slices: Sequence[Slice],
    classes: Mapping[str, int],
    check_cancelled: Callable[[], None] = lambda: None,
) -> None:
    """Bring the raw dataset in line with the slices: new ones are written, those no longer wanted removed.

    Args:
        workspace: where the dataset is.
        slices: what it shall hold.
        classes: name to value in the labels.
        check_cancelled: called before each slice; what it raises ends the writing.

    Raises:
        Refusal: a label holds something that is no class, image and label do not fit, or a class is missing.
    """
    known = _read_index(workspace, classes)
    content = {}
    unjudged_id = _unjudged_id(classes)
    for item in slices:
        check_cancelled()
        files = _files(workspace, item.case)
        if item.case in known and all(path.is_file() for path in files):
            content[item.case] = known[item.case]
        else:
            content[item.case] = _write_slice(files, item, classes, unjudged_id)
    check_classes(slices, content, classes)
    _remove_others({path for s in slices for path in _files(workspace, s.case)})
    index = {case: {"pixels": dict(c.pixels), "unjudged": c.unjudged} for case, c in content.items()}
    write_json(workspace.slice_index, {"classes": dict(classes), "slices": index})
    labels = {"background": 0, **classes}
    if any(c.unjudged for c in content.values()):
        labels["ignore"] = unjudged_id
    write_json(workspace.raw / "dataset.json", dataset_json(labels, len(slices)))


def read_slice(workspace: Workspace, item: Slice, classes: Mapping[str, int]) -> LoadedSlice:
    """A slice as :func:`write_dataset` wrote it, in the form in which it came.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    image_file, label_file, _ = _files(workspace, item.case)
    image = nib.Nifti1Image.from_filename(image_file)
    hu, label = (np.asarray(each.dataobj)[:, :, 0] for each in (image, nib.Nifti1Image.from_filename(label_file)))
    spacing = image.header.get_zooms()
    label = np.where(label == _unjudged_id(classes), UNJUDGED, label).astype(np.uint8)
    return hu.astype(np.int16), (float(spacing[0]), float(spacing[1])), label


def dataset_json(labels: Mapping[str, int], count: int) -> dict[str, Any]:
    """What nnU-Net has to know of a dataset of CT slices."""
    return {"channel_names": {"0": "CT"}, "labels": dict(labels), "numTraining": count, "file_ending": ".nii.gz"}


def check_classes(slices: Sequence[Slice], content: Mapping[str, SliceContent], classes: Mapping[str, int]) -> None:
    """Refuse a class that is nowhere, or nowhere in what a fold would train on."""
    holders = {name: {s.fold for s in slices if content[s.case].pixels.get(name, 0)} for name in classes}
    for name, folds in holders.items():
        if not folds:
            raise Refusal(f"No label holds {name}: draw it in some of the slices before training.")
        if len(folds) == 1:
            raise Refusal(
                f"{name} is only in labels of the patients that fold {folds.pop()} validates on, so this fold could "
                "not learn it: draw it in slices of other patients."
            )


def splits(slices: Sequence[Slice], folds: int) -> list[dict[str, list[str]]]:
    """Cases that each fold trains and validates on."""
    return [
        {
            "train": sorted(s.case for s in slices if s.fold != fold),
            "val": sorted(s.case for s in slices if s.fold == fold),
        }
        for fold in range(folds)
    ]


def write_nifti(path: Path, array: npt.NDArray, spacing: tuple[float, float]) -> None:
    """Write an array ``(x, y)`` as a NIfTI ``(x, y, 1)`` in RAS+ with its spacing in mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array[:, :, None], np.diag([*spacing, SLICE_THICKNESS_MM, 1.0]))
    image.header.set_xyzt_units("mm")
    temporary = path.with_name("tmp_" + path.name)
    try:
        nib.save(image, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_slice(
    files: tuple[Path, Path, Path], item: Slice, classes: Mapping[str, int], unjudged_id: int
) -> SliceContent:
    hu, spacing, label = item.load()
    if hu.ndim != 2 or hu.shape != label.shape:
        raise Refusal(f"Image {hu.shape} and label {label.shape} of {item.key} do not fit: save the label again.")
    counts = Counter(dict(zip(*(a.tolist() for a in np.unique(label, return_counts=True)), strict=True)))
    wrong = set(counts) - {0, UNJUDGED} - set(classes.values())
    if wrong:
        raise Refusal(f"The label of {item.key} holds the value {min(wrong)}, which is no class of this task.")
    image_file, label_file, reference_file = files
    write_nifti(image_file, hu.astype(np.int16), spacing)
    write_nifti(label_file, np.where(label == UNJUDGED, unjudged_id, label).astype(np.uint8), spacing)
    reference_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(label_file, reference_file)
    return SliceContent({name: counts[value] for name, value in classes.items()}, bool(counts[UNJUDGED]))


def _unjudged_id(classes: Mapping[str, int]) -> int:
    """nnU-Net's ignore label: the one after the classes."""
    return max(classes.values()) + 1


def _files(workspace: Workspace, case: str) -> tuple[Path, Path, Path]:
    """Image, label, and the label once more where nnU-Net's validation looks for it."""
    return (
        workspace.raw / "imagesTr" / f"{case}_0000.nii.gz",
        workspace.raw / "labelsTr" / f"{case}.nii.gz",
        workspace.preprocessed / "gt_segmentations" / f"{case}.nii.gz",
    )


def _remove_others(wanted: set[Path]) -> None:
    """Remove what an earlier training used, or one that was killed left: nnU-Net takes all files that are there."""
    for folder in {path.parent for path in wanted}:
        for path in set(folder.iterdir()) - wanted:
            path.unlink()


def _read_index(workspace: Workspace, classes: Mapping[str, int]) -> dict[str, SliceContent]:
    """What earlier trainings wrote; nothing where their labels had other numbers."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(workspace.slice_index.read_text())
        if content["classes"] == dict(classes):
            return {c: SliceContent(entry["pixels"], entry["unjudged"]) for c, entry in content["slices"].items()}
    return {}
