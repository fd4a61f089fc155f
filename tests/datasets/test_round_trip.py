"""What is exported and imported again is the same, in every layout, and comes in once."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lib.images.files import read_volume
from lib.stores import CaseStore
from scripts import export, import_cases
from scripts.command import Stop
from tests.datasets.conftest import GEOMETRIES, contents, ct, drawn, save, write_nifti
from tests.stores.conftest import SHAPE
from tests.stores.dicom_cases import muscles, write_series


def export_all(layout, store, out, *more):
    studies = str(store.own_folder.parent)
    assert export.main([layout, "--studies", studies, "--out", str(out), "--models", str(out / "none"), *more]) == 0


def take(folder, studies, *more):
    assert import_cases.main([str(folder), "--studies", str(studies), *more]) == 0


def opened(studies):
    store = CaseStore(studies)
    try:
        return contents(store), {name: len(store.revisions(name)) for name in store.list_images()}
    finally:
        store.close()


@pytest.mark.parametrize("layout", ["pairs", "nnunet", "bids"])
def test_a_round_trip_is_exact_and_a_second_run_takes_in_nothing(layout, labelled, empty, tmp_path, capsys):
    export_all(layout, labelled, tmp_path / "out")
    take(tmp_path / "out", empty)
    first = opened(empty)
    assert first[0] == contents(labelled)
    assert len(first[0]) == 4
    take(tmp_path / "out", empty)
    assert opened(empty) == first
    assert "Taken in: 0 images, labels: none." in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["pairs", "nnunet", "bids"])
def test_a_single_slice_of_two_axes_comes_back_with_two(layout, empty, tmp_path):
    studies = tmp_path / "from"
    write_nifti(studies / "dee 1.nii.gz", ct(5, SHAPE[:2]), GEOMETRIES["ann"])
    store = CaseStore(studies)
    label = drawn([1, 2], shape=(*SHAPE[:2], 4))[:, :, 3]
    save(store, "dee 1", label, affine=GEOMETRIES["ann"], tmp_path=tmp_path)
    export_all(layout, store, tmp_path / "out")
    take(tmp_path / "out", empty)
    assert opened(empty)[0] == contents(store)
    store.close()


def test_a_run_that_was_interrupted_goes_on(labelled, empty, tmp_path):
    export_all("pairs", labelled, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "l3_slice")
    (tmp_path / "part" / "l3_muscle" / "cat-image.nii.gz").unlink()
    (tmp_path / "part" / "l3_muscle" / "cat-label.nii.gz").unlink()
    take(tmp_path / "part", empty)
    take(tmp_path / "out", empty)
    found, counts = opened(empty)
    assert found == contents(labelled)
    assert counts == {"ann": 2, "ben": 1, "cat": 1}


def test_provenance_names_every_file(labelled, tmp_path):
    export_all("pairs", labelled, tmp_path / "out", "--task", "l3_muscle")
    with (tmp_path / "out" / "provenance.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    ann = rows["ann"]
    expected = {"task": "l3_muscle", "revision": "1", "author": "dr ann", "model": "l3_muscle", "patient": "P1"}
    assert {name: ann[name] for name in expected} == expected
    assert (ann["model_version"], ann["partial"], rows["cat"]["partial"]) == ("v0002", "yes", "no")
    assert ann["sha256"] == ann["label_sha256"] == labelled.current_revision("ann", "l3_muscle").sha256
    assert ann["saved"].startswith(f"{labelled.current_revision('ann', 'l3_muscle').created:%Y-%m-%dT%H:%M}")
    assert {row["label"] for row in rows.values()} == {f"l3_muscle/{name}-label.nii.gz" for name in GEOMETRIES}


def test_an_nnunet_dataset_leaves_out_what_nobody_judged_and_keeps_the_folds(labelled, tmp_path):
    export_all("nnunet", labelled, tmp_path / "out", "--task", "l3_muscle", "--number", "12")
    dataset = tmp_path / "out" / "Dataset012_l3_muscle"
    content = json.loads((dataset / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "psoas": 1, "paraspinal": 2, "abdominal_wall": 3, "ignore": 4}
    assert content["numTraining"] == 3
    cat = read_volume(dataset / "labelsTr" / "cat.nii.gz")[0]
    assert (np.delete(cat, 3, axis=0) == 4).all()  # slices without a label
    assert set(np.unique(cat[3])) == {0, 1, 2}  # said to be complete
    ann = read_volume(dataset / "labelsTr" / "ann.nii.gz")[0]
    assert set(np.unique(ann[:, :, 3])) == {1, 4}  # only the psoas was drawn
    splits = json.loads((dataset / "splits_final.json").read_text())
    book = json.loads((labelled.own_folder / "folds" / "l3_muscle.json").read_text())["patients"]
    for fold, split in enumerate(splits):
        patients = {labelled.patient(name) for name in split["val"]}
        assert patients == {patient for patient, own in book.items() if own == fold}
        assert sorted([*split["train"], *split["val"]]) == ["ann", "ben", "cat"]


@pytest.mark.parametrize(
    ("layout", "file"), [("nnunet", "Dataset701_l3_muscle/dataset.json"), ("bids", "dataset_description.json")]
)
def test_an_export_of_phantoms_says_so(layout, file, labelled, tmp_path):
    labelled.update_image_info("ben", {"phantom": True})
    export_all(layout, labelled, tmp_path / "out", "--task", "l3_muscle")
    assert "1 of them are digital phantoms" in (tmp_path / "out" / file).read_text()


def test_two_cts_of_a_patient_are_sessions_of_one_subject(labelled, tmp_path):
    labelled.update_image_info("ben", {"patient": "P1"})
    export_all("bids", labelled, tmp_path / "out", "--task", "l3_muscle")
    assert {path.name for path in (tmp_path / "out" / "sub-P1").iterdir()} == {"ses-ann", "ses-ben"}
    assert "sub-P1\tF" in (tmp_path / "out" / "participants.tsv").read_text()


def test_dicom_comes_back_with_its_ct(empty, tmp_path, capsys):
    studies = tmp_path / "from"
    write_series(studies / "dan", "dan")
    write_nifti(studies / "ann.nii.gz", np.random.default_rng(0).integers(-1000, 400, (9, 8, 5)).astype(np.int16),
                GEOMETRIES["ann"])  # fmt: skip
    store = CaseStore(studies)
    store.archive.scan()
    image, affine, _ = read_volume_of(store, "dan")
    save(store, "dan", muscles(), affine=affine, tmp_path=tmp_path)
    save(store, "ann", drawn([1, 2], shape=(9, 8, 5)), affine=GEOMETRIES["ann"], tmp_path=tmp_path)
    export_all("dicom", store, tmp_path / "out")
    store.close()
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*/seg/*")}
    assert names == {"dan/seg/l3_muscle.dcm", "ann/seg/l3_muscle.dcm"}
    assert pydicom.dcmread(tmp_path / "out" / "ann" / "seg" / "l3_muscle.dcm").Modality == "SEG"
    take(tmp_path / "out", empty)
    back = CaseStore(empty)
    revisions = back.current_labels("l3_muscle")
    assert {each.author for each in revisions} == {"dr dan", "dr ann"}
    dan = next(each for each in revisions if each.author == "dr dan")
    assert np.array_equal(read_volume_of(back, dan.image_id)[0], image)
    assert np.array_equal(read_volume(dan.path)[0], muscles())
    back.close()
    take(tmp_path / "out", empty)
    assert "Taken in: 0 CT images, 0 labels." in capsys.readouterr().out


def read_volume_of(store, name):
    return read_volume(Path(store.get_image_uri(name)))


def test_nothing_is_written_over(labelled, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(Stop, match="no label of thigh_muscles"):
        export_all("pairs", labelled, tmp_path / "other", "--task", "thigh_muscles")
    assert not list(tmp_path.glob("other*"))
    with pytest.raises(Stop, match="nothing is overwritten"):
        export_all("pairs", labelled, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_label_that_is_there_stays_the_current_one(labelled, empty, tmp_path, capsys):
    export_all("pairs", labelled, tmp_path / "out")
    take(tmp_path / "out", empty)
    store = CaseStore(empty)
    save(store, "ben", drawn([3, 2, 1]), affine=GEOMETRIES["ben"], tmp_path=tmp_path)
    mine = store.current_revision("ben", "l3_muscle").number
    store.close()
    file = tmp_path / "out" / "l3_muscle" / "ben-label.nii.gz"
    write_nifti(file, drawn([2, 2, 1]), GEOMETRIES["ben"])  # corrected elsewhere
    take(tmp_path / "out", empty)
    said = capsys.readouterr().out
    assert "ben has a label of l3_muscle by dr ben already, which stays" in said
    assert "It was changed after dr ben saved it" in said
    take(tmp_path / "out", empty, "--newer", "--author", "dr eve")
    store = CaseStore(empty)
    newest = store.current_revision("ben", "l3_muscle")
    assert (mine, newest.number, newest.author) == (2, 3, "dr eve")
    assert len(store.revisions("ann")) == 2
    store.close()
