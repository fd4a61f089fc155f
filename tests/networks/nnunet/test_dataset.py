from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.networks.labels import UNJUDGED
from lib.networks.nnunet.dataset import Slice, splits, write_dataset
from lib.networks.nnunet.workspace import Workspace
from lib.networks.results import check_folds
from lib.refusals import Refusal
from tests.networks.nnunet.drawn_slices import CLASSES, draw, slices


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def never() -> None:
    raise AssertionError("this slice was written already")


def files(workspace: Workspace) -> set[str]:
    return {p.name for p in workspace.root.rglob("*.nii.gz")}


class TestWhatNnunetReads:
    def test_a_slice_is_one_of_xyz_with_its_spacing(self, workspace: Workspace) -> None:
        items = slices(4)
        write_dataset(workspace, items, CLASSES)
        hu, spacing, label = draw(2)
        image = nib.load(workspace.raw / "imagesTr" / f"{items[2].case}_0000.nii.gz")
        stored = nib.load(workspace.raw / "labelsTr" / f"{items[2].case}.nii.gz")
        assert image.shape == (72, 56, 1)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_allclose(image.header.get_zooms()[:2], spacing, rtol=1e-6)
        np.testing.assert_array_equal(np.asarray(image.dataobj)[:, :, 0], hu)
        np.testing.assert_array_equal(np.asarray(stored.dataobj)[:, :, 0], label)
        np.testing.assert_array_equal(image.affine, stored.affine)

    def test_pixels_that_nobody_judged_are_nnunets_ignore_label(self, workspace: Workspace) -> None:
        def partial() -> tuple:
            hu, spacing, label = draw(0, without=(1,))
            return hu, spacing, np.where(label == 0, UNJUDGED, label)

        items = slices(4)
        items[0] = replace(items[0], load=partial)
        write_dataset(workspace, items, CLASSES)
        labels = json.loads((workspace.raw / "dataset.json").read_text())["labels"]
        stored = np.asarray(nib.load(workspace.raw / "labelsTr" / f"{items[0].case}.nii.gz").dataobj)
        assert labels == {"background": 0, **CLASSES, "ignore": 4}
        assert set(np.unique(stored)) == {2, 3, 4}

    def test_each_patient_is_validated_by_its_own_fold_only(self) -> None:
        items = [replace(s, patient=s.patient[:-1], fold=int(s.key[4]) // 2) for s in slices(6)]
        for fold, split in enumerate(splits(items, 3)):
            assert set(split["val"]) == {s.case for s in items if s.fold == fold}
            assert set(split["train"]) == {s.case for s in items if s.fold != fold}


class TestFromOneTrainingToTheNext:
    def test_only_new_slices_are_loaded_and_unwanted_ones_go(self, workspace: Workspace) -> None:
        first = slices(5)
        write_dataset(workspace, first, CLASSES)
        kept = [replace(s, load=never) for s in first[:4]]
        changed = replace(first[4], key="case4@2")
        write_dataset(workspace, [*kept, changed], CLASSES)
        cases = [s.case for s in [*kept, changed]]
        assert files(workspace) == {f"{c}.nii.gz" for c in cases} | {f"{c}_0000.nii.gz" for c in cases}
        assert json.loads((workspace.raw / "dataset.json").read_text())["numTraining"] == 5

    def test_files_that_a_killed_training_left_do_not_enter_the_next(self, workspace: Workspace) -> None:
        write_dataset(workspace, slices(4), CLASSES)
        (workspace.raw / "imagesTr" / "tmp_slice_0000.nii.gz").write_bytes(b"half")
        write_dataset(workspace, slices(4), CLASSES)
        assert not any(name.startswith("tmp_") for name in files(workspace))


class TestRefusals:
    @pytest.mark.parametrize(
        ("items", "words"),
        [
            ([], "no labels"),
            (slices(4, folds=5), "at least 5 patients, there are 4"),
            (slices(9, folds=4), "fold 4"),
        ],
    )
    def test_what_cannot_be_divided_into_folds(self, items: list[Slice], words: str) -> None:
        with pytest.raises(Refusal, match=words):
            check_folds(items, 5)

    def test_two_slices_of_one_patient_are_one_patient(self) -> None:
        items = [replace(s, patient="the same") for s in slices(5, folds=5)]
        with pytest.raises(Refusal, match="there are 1"):
            check_folds(items, 5)

    def test_a_class_that_no_label_holds(self, workspace: Workspace) -> None:
        with pytest.raises(Refusal, match="No label holds paraspinal"):
            write_dataset(workspace, slices(4, load=lambda i: draw(i, without=(2,))), CLASSES)

    def test_a_class_that_a_fold_would_never_see(self, workspace: Workspace) -> None:
        with pytest.raises(Refusal, match="psoas is only in labels of the patients that fold 1 validates"):
            write_dataset(workspace, slices(4, load=lambda i: draw(i, without=() if i % 2 else (1,))), CLASSES)

    def test_a_value_that_is_no_class(self, workspace: Workspace) -> None:
        hu, spacing, label = draw(0)
        items = [*slices(4), replace(slices(5)[4], load=lambda: (hu, spacing, label + np.uint8(4)))]
        with pytest.raises(Refusal, match="case4@1 holds the value"):
            write_dataset(workspace, items, CLASSES)
