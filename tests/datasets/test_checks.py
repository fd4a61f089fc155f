"""What is wrong with which file is said before anything is taken in."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from lib.stores import CaseStore
from scripts import import_cases
from scripts.command import Stop
from tests.datasets.conftest import GEOMETRIES, ct, drawn, flipped, write_nifti
from tests.stores.conftest import AFFINE, SHAPE
from tests.stores.dicom_cases import muscles, source_of, write_foreign, write_series


@pytest.fixture
def folder(tmp_path):
    """Two sound pairs."""
    root = tmp_path / "pairs" / "l3_muscle"
    for seed, name in enumerate(("ann", "ben"), start=1):
        write_nifti(root / f"{name}-image.nii.gz", ct(seed), GEOMETRIES[name])
        write_nifti(root / f"{name}-label.nii.gz", drawn([1, 2, 3]), GEOMETRIES[name])
    return root


def run(folder, studies, *more):
    return import_cases.main([str(folder.parent), "--studies", str(studies), *more])


def findings(folder, studies, tmp_path, *more):
    report = tmp_path / "report.csv"
    with pytest.raises(Stop, match="Nothing was taken in"):
        run(folder, studies, "--report", str(report), *more)
    store = CaseStore(studies)
    assert store.list_images() == []
    store.close()
    with report.open() as file:
        return [(row["file"], row["weight"], row["what"]) for row in csv.DictReader(file)]


def test_each_fault_is_named_with_its_file_and_nothing_is_taken_in(folder, empty, tmp_path, capsys):
    def pair(name, image, label, affine=AFFINE, other=AFFINE):
        write_nifti(folder / f"{name}-image.nii.gz", image, affine)
        write_nifti(folder / f"{name}-label.nii.gz", label, other)

    moved = AFFINE.copy()
    moved[:3, 3] += 3
    write_nifti(folder / "lonely-label.nii.gz", drawn([1]), AFFINE)
    pair("shape", ct(3), drawn([1])[:-1])
    pair("place", ct(4), drawn([1]), other=moved)
    pair("value", ct(5), drawn([1, 9]))
    pair("half", ct(6), drawn([1]) * np.float32(0.5))
    pair("below", ct(7), -drawn([1]).astype(np.int16))
    pair("nothing", ct(8), drawn([]))
    pair("mr", ct(9) % 400, drawn([1]))
    pair("broken", ct(10), drawn([1]))
    (folder / "broken-label.nii.gz").write_bytes(b"no image")
    write_nifti(folder / "unlabelled-image.nii.gz", ct(11), AFFINE)
    write_nifti(folder / "extra.nii.gz", ct(12), AFFINE)
    found = findings(folder, empty, tmp_path)
    expected = {
        "lonely-label": "no image to this label",
        "shape-label": "has the shape",
        "place-label": "lies elsewhere than its image",
        "value-label": "holds the value 9",
        "half-label": "not whole numbers",
        "below-label": "the value -1",
        "nothing-label": "empty",
        "mr-image": "not in Hounsfield units",
        "broken-label": "cannot be read",
    }
    faults = {file: what for file, weight, what in found if weight == "fault"}
    assert faults.keys() == {f"l3_muscle/{name}.nii.gz" for name in expected}
    for name, what in expected.items():
        assert what in faults[f"l3_muscle/{name}.nii.gz"]
    notes = {file: what for file, weight, what in found if weight == "note"}
    assert "no label to this image" in notes["l3_muscle/unlabelled-image.nii.gz"]
    assert "passed over" in notes["l3_muscle/extra.nii.gz"]
    assert "12 cases of pairs, 3 of them without a fault" in capsys.readouterr().out
    assert run(folder, empty, "--skip-faulty") == 0
    store = CaseStore(empty)
    assert store.list_images() == ["ann", "ben", "unlabelled"]
    store.close()


def test_the_same_ct_turned_around_is_a_duplicate(folder, empty, tmp_path):
    turned = flipped(GEOMETRIES["ann"], SHAPE, 0)
    write_nifti(folder / "zoe-image.nii.gz", ct(1)[::-1], turned)
    write_nifti(folder / "zoe-label.nii.gz", drawn([1])[::-1], turned)
    said = [what for file, _, what in findings(folder, empty, tmp_path) if file == "l3_muscle/zoe-image.nii.gz"]
    assert said[0] == "It is the same CT as ann."


def test_a_piece_of_a_ct_under_another_name_is_the_same_patient(folder, empty, tmp_path):
    shifted = AFFINE.copy()
    shifted[:3, 3] += AFFINE[:3, 2] * 2
    write_nifti(folder / "zoe-image.nii.gz", ct(1)[:, :, 2:5], shifted)
    write_nifti(folder / "zoe-label.nii.gz", drawn([1])[:, :, 2:5], shifted)
    ((file, weight, what),) = findings(folder, empty, tmp_path)
    assert (file, weight) == ("l3_muscle/zoe-image.nii.gz", "fault")
    assert what.startswith("It shares 3 slices with ann: the same patient under two names, zoe and ann")
    (tmp_path / "facts.csv").write_text("case,patient,sex\nann,P1,F\nzoe,P1,F\n")
    assert run(folder, empty, "--facts", str(tmp_path / "facts.csv")) == 0
    store = CaseStore(empty)
    assert store.patient("ann") == store.patient("zoe") == "P1"
    store.close()


def test_facts_of_nobody_are_told(folder, empty, tmp_path, capsys):
    """Semicolons are what a spreadsheet writes where the comma is the decimal point."""
    (tmp_path / "facts.csv").write_text("case;sex\nann;F\nan;M\n")
    assert run(folder, empty, "--facts", str(tmp_path / "facts.csv")) == 0
    assert "1 rows of facts.csv name no case here, such as an." in capsys.readouterr().out
    store = CaseStore(empty)
    assert store.case_facts("ann").sex == "F"
    store.close()


def test_cases_of_the_store_count_as_well(folder, empty, tmp_path, capsys):
    assert run(folder, empty) == 0
    (folder / "ann-image.nii.gz").rename(folder / "ada-image.nii.gz")
    (folder / "ann-label.nii.gz").rename(folder / "ada-label.nii.gz")
    write_nifti(folder / "ben-image.nii.gz", ct(77), GEOMETRIES["ben"])
    with pytest.raises(Stop):
        run(folder, empty)
    said = capsys.readouterr().out
    assert "l3_muscle/ada-image.nii.gz: It is the same CT as ann." in said
    assert "There is another image called ben in the store; add a --prefix." in said
    store = CaseStore(empty)
    assert store.list_images() == ["ann", "ben"]
    store.close()


def test_an_edited_label_cannot_leave_places_out_where_all_classes_are_drawn(tmp_path, empty):
    root = tmp_path / "Dataset001_mine"
    write_nifti(root / "imagesTr" / "ann_0000.nii.gz", ct(1), AFFINE)
    write_nifti(root / "labelsTr" / "ann.nii.gz", drawn([1, 2, 3, 4]), AFFINE)
    labels = '{"background": 0, "psoas": 1, "paraspinal": 2, "abdominal_wall": 3, "ignore": 4}'
    (root / "dataset.json").write_text(f'{{"channel_names": {{"0": "CT"}}, "labels": {labels}}}')
    with pytest.raises(Stop, match="Nothing was taken in"):
        import_cases.main([str(root), "--studies", str(empty)])


def test_checking_alone_takes_nothing_in_and_tells_by_its_exit_code(folder, empty):
    assert run(folder, empty, "--check") == 0
    (folder / "ann-image.nii.gz").unlink()
    assert run(folder, empty, "--check") == 1
    store = CaseStore(empty)
    assert store.list_images() == []
    store.close()


class TestDicom:
    @pytest.fixture
    def series(self, tmp_path):
        """A CT series, and another one with a segmentation."""
        root = tmp_path / "dicom"
        write_series(root / "one", "one")
        files = write_series(root / "dan", "three3")
        write_foreign(root / "label.dcm", source_of(files), muscles(), ("psoas", "paraspinal", "abdominal_wall"))
        return root

    def test_a_segmentation_without_its_ct(self, series, empty, capsys):
        shutil.rmtree(series / "dan")
        with pytest.raises(Stop, match="Nothing was taken in"):
            import_cases.main([str(series), "--studies", str(empty)])
        assert "fault: label.dcm: There is no CT series to this label" in capsys.readouterr().out
        assert import_cases.main([str(series), "--studies", str(empty), "--skip-faulty"]) == 0
        assert "Taken in: 6 CT images, 0 labels." in capsys.readouterr().out

    def test_the_same_ct_under_two_identifiers_also_in_the_store(self, series, empty, tmp_path, capsys):
        assert import_cases.main([str(series), "--studies", str(empty)]) == 0
        assert "Taken in: 12 CT images, 1 labels." in capsys.readouterr().out
        write_series(tmp_path / "more" / "again", "two")  # the voxels depend on the length of the name alone
        with pytest.raises(Stop):
            import_cases.main([str(tmp_path / "more"), "--studies", str(empty)])
        assert "the same CT under two names" in capsys.readouterr().out

    def test_a_slice_that_is_missing(self, series, empty, capsys):
        sorted((series / "dan").iterdir())[2].unlink()
        with pytest.raises(Stop):
            import_cases.main([str(series), "--studies", str(empty)])
        assert "fault: dan/" in capsys.readouterr().out
