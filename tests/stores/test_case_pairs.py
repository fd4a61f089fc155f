"""Finished cases as pairs of files, and their log."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.stores import CaseStore

INFO = {"label_info": [{"name": name, "idx": value} for name, value in L3_MUSCLE.ids.items()], "client_id": "anna"}


@pytest.fixture
def submit(studies, write_ct, tmp_path, affine):
    """Save a label of l3_muscle of the oblique case ``c1``, and give the folder of the pairs."""
    write_ct(studies / "c1.nii.gz")
    store = CaseStore(studies, keep_pairs=True)

    def save(label, tag="final") -> Path:
        path = tmp_path / "label.nii.gz"
        nib.save(nib.Nifti1Image(label, affine), path)
        store.save_label("c1", str(path), tag, INFO)
        return store.own_folder / "pairs"

    yield save
    store.close()


def log_of(pairs: Path) -> list[dict[str, str]]:
    with (pairs / "case_log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_pair_holds_the_labelled_slice_where_it_is_in_the_patient(submit, studies, muscles, affine):
    pairs = submit(muscles)
    image = nib.load(pairs / "l3_muscle" / "c1-image.nii.gz")
    label = nib.load(pairs / "l3_muscle" / "c1-label.nii.gz")
    original = nib.load(studies / "c1.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), np.asarray(original.dataobj)[:, :, 3:4])
    assert np.array_equal(np.asarray(label.dataobj), muscles[:, :, 3:4])
    assert np.allclose(image.affine @ [2, 5, 0, 1], affine @ [2, 5, 3, 1], atol=1e-3)
    assert np.allclose(label.affine, image.affine)


def test_the_log_has_area_and_attenuation_of_every_class_and_of_all(submit, studies, muscles):
    rows = log_of(submit(muscles))
    hu = np.asarray(nib.load(studies / "c1.nii.gz").dataobj)[muscles == 1]
    psoas = next(row for row in rows if row["structure"] == "psoas")
    assert {row["structure"] for row in rows} >= {"psoas", "paraspinal", "abdominal_wall", "total"}
    assert float(psoas["area_cm2"]) == pytest.approx((muscles == 1).sum() * 0.8 * 0.9 / 100, abs=0.01)
    assert float(psoas["mean_hu"]) == pytest.approx(hu.mean(), abs=0.01)
    assert float(psoas["sd_hu"]) == pytest.approx(hu.std(), rel=0.05)
    assert (psoas["case"], psoas["author"], psoas["revision"], psoas["slice_index"]) == ("c1", "anna", "1", "3")


def test_a_second_label_renews_the_pair_and_is_added_to_the_log(submit, muscles):
    submit(muscles)
    smaller = np.where(muscles == 3, 0, muscles).astype(np.uint8)
    pairs = submit(smaller)
    assert np.array_equal(np.asarray(nib.load(pairs / "l3_muscle" / "c1-label.nii.gz").dataobj), smaller[:, :, 3:4])
    assert {row["revision"] for row in log_of(pairs)} == {"1", "2"}


def test_a_line_that_was_cut_short_does_not_spoil_the_next(submit, muscles):
    pairs = submit(muscles)
    with (pairs / "case_log.csv").open("ab") as file:
        file.write(b"c1,l3_mus")
    assert "2" in {row["revision"] for row in log_of(submit(muscles))}


def test_what_a_model_answered_is_no_finished_case(submit, muscles):
    assert not submit(muscles, tag="original").exists()


def test_it_is_off_unless_it_is_asked_for(studies, write_ct, muscles, tmp_path, affine):
    write_ct(studies / "c1.nii.gz")
    nib.save(nib.Nifti1Image(muscles, affine), tmp_path / "label.nii.gz")
    store = CaseStore(studies)
    store.save_label("c1", str(tmp_path / "label.nii.gz"), "final", INFO)
    assert not (store.own_folder / "pairs").exists()
    store.close()


def test_a_full_disk_costs_no_label(submit, muscles, tmp_path, studies):
    store = CaseStore(studies, keep_pairs=True)
    (store.own_folder / "pairs").write_text("no folder")
    submit(muscles)
    assert store.current_revision("c1", "l3_muscle").number == 1
    assert [event.facts["task"] for event in store.events("pair_not_written")] == ["l3_muscle"]
    store.close()
