"""What a client gets for the thigh: names, measurements by side, and those of the label that was saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.cold_start.answers import Answer
from lib.images import PatientFacts
from lib.infers.segmentation import CASE_FACTS, SAVED_LABELS, SegmentationTask
from lib.tasks import TASKS

ID = THIGH_MUSCLES.shown.ids
VOXEL_CM3 = 0.08


def legs() -> np.ndarray:
    """Two femora within outlines, (x, y, z) in canonical order."""
    label = np.zeros((100, 50, 8), np.uint8)
    for low, high in ((8, 45), (55, 92)):
        label[low + 3 : high - 3, 8:42] = ID["muscle_compartment"]
        label[(low + high) // 2 - 3 : (low + high) // 2 + 3, 22:28] = ID["femur"]
    return label


@pytest.fixture
def image(tmp_path) -> Path:
    hu = np.full((100, 50, 8), -1000, np.int16)
    hu[8:45, 5:45], hu[55:92, 5:45] = 50, 50
    flipped = np.diag([-4.0, -4.0, 5.0, 1.0])  # as scanners write it: to the left, to the back
    nib.save(nib.Nifti1Image(hu[::-1, ::-1], flipped), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def task() -> SegmentationTask:
    """With an answer that is known."""
    answer = Answer(label=legs(), method="thresholds", doubt=0.5)
    return SegmentationTask(replace(TASKS["thigh_muscles"], cold_start=lambda image: answer))


def test_a_client_lists_all_29_names_and_the_outline_with_what_they_mean(task):
    info = task.info()
    assert list(info["labels"]) == [*THIGH_MUSCLES.names, "muscle_compartment"]
    assert "never both" in info["definitions"]["iliopsoas"]
    assert "never stored" in info["definitions"]["muscle_compartment"]


def test_measurements_by_side_and_what_is_missing(task, image):
    file, params = task({"image": str(image), CASE_FACTS: PatientFacts(height_m=2.0)})
    assert set(np.unique(np.asarray(nib.load(file).dataobj))) == {0, ID["femur"], ID["muscle_compartment"]}
    Path(file).unlink()
    thigh = params["measurements"]["thigh"]
    femur = thigh["bones"]["femur"]
    assert femur["left"] == femur["right"]
    assert femur["both"]["volume_cm3"] == pytest.approx(2 * 6 * 6 * 8 * VOXEL_CM3)
    assert femur["both"]["volume_mm3_per_m2"] == pytest.approx(femur["both"]["volume_mm3"] / 4)
    assert thigh["muscle_compartment"]["left"]["mean_hu"] == 50
    assert "No muscle is labelled by its name, so none has a volume." in params["warnings"]
    assert params["measurements"]["saved_label"] is None
    json.dumps(params, allow_nan=False)


def test_the_saved_label_is_measured_and_swapped_names_are_said(task, image, tmp_path):
    saved = np.where(legs() == ID["femur"], ID["femur"], 0).astype(np.uint8)
    for middle, outwards in ((26, -1), (73, 1)):
        saved[middle + 10 * outwards - 2 : middle + 10 * outwards + 2, 20:30] = ID["vastus_medialis"]
        saved[middle - 10 * outwards - 2 : middle - 10 * outwards + 2, 20:30] = ID["vastus_lateralis"]
    nib.save(nib.Nifti1Image(saved[::-1, ::-1], nib.load(image).affine), tmp_path / "saved.nii.gz")
    file, params = task({"image": str(image), SAVED_LABELS: {"thigh_muscles": tmp_path / "saved.nii.gz"}})
    Path(file).unlink()
    found = params["measurements"]["saved_label"]
    assert found["thigh"]["muscles"]["vastus_medialis"]["left"]["volume_cm3"] == pytest.approx(4 * 10 * 8 * VOXEL_CM3)
    assert sum("names may be swapped" in warning for warning in found["warnings"]) == 2
    assert found["thigh"]["groups"]["anterior"]["both"]["volume_mm3_per_m2"] is None
    assert any("height is not known" in warning for warning in params["warnings"])
