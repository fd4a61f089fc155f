"""Which slices of a store are trained on, and how."""

from __future__ import annotations

import numpy as np
import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.networks.labels import UNJUDGED
from lib.refusals import Refusal
from lib.trainers.samples import check_labels, labelled_slices, training_set
from tests.networks.nnunet.drawn_slices import draw

CASES = [f"case{n}" for n in range(7)]


@pytest.fixture
def labelled(store, save_label, tmp_path):
    for case in CASES:
        save_label(store, case, tmp_path)
    return store


def of(store):
    return training_set(store, L3_MUSCLE, labelled_slices, folds=5, known={})


def test_a_slice_comes_as_it_is_in_the_viewer(labelled):
    hu, spacing, label = of(labelled).samples[3].load()
    expected_hu, _, expected_label = draw(3)
    assert np.array_equal(hu, expected_hu)
    assert np.array_equal(label, expected_label)
    assert spacing == pytest.approx((2.7, 3.1))


def test_a_label_that_was_corrected_is_another_slice_of_the_same_fold(labelled, save_label, tmp_path):
    before = {s.patient: s for s in of(labelled).samples}
    save_label(labelled, "case2", tmp_path, shift=1)
    after = {s.patient: s for s in of(labelled).samples}
    assert {name for name in CASES if after[name].key != before[name].key} == {"case2"}
    assert {name: s.fold for name, s in after.items()} == {name: s.fold for name, s in before.items()}


def test_cases_of_one_patient_share_a_fold(labelled):
    for case in ("case1", "case4"):
        labelled.update_image_info(case, {"patient": "A 17"})
    folds = {label.case: label.fold for label in of(labelled).labels}
    assert folds["case1"] == folds["case4"]
    assert set(folds.values()) == set(range(5))


def test_what_nobody_drew_is_left_unjudged(labelled, save_label, tmp_path):
    save_label(labelled, "case3", tmp_path, keep=(1, 3))
    chosen = of(labelled)
    partial = next(s for s in chosen.samples if s.patient == "case3").load()[2]
    whole = draw(3)[2]
    assert set(np.unique(partial)) == {1, 3, UNJUDGED}
    assert np.array_equal(partial == UNJUDGED, np.isin(whole, (0, 2)))


def test_the_manifest_knows_which_labels_are_of_phantoms(labelled):
    assert [label.case for label in of(labelled).labels if label.phantom] == ["case0"]


class TestRefusals:
    def test_no_label_at_all(self, store):
        with pytest.raises(Refusal, match="no saved label of l3_muscle"):
            check_labels(store, L3_MUSCLE, folds=5)

    def test_a_class_that_nobody_drew(self, store, save_label, tmp_path):
        for case in CASES:
            save_label(store, case, tmp_path, keep=(1, 2))
        with pytest.raises(Refusal, match="shows abdominal_wall"):
            check_labels(store, L3_MUSCLE, folds=5)

    def test_fewer_patients_than_folds(self, store, save_label, tmp_path):
        for case in CASES[:5]:
            save_label(store, case, tmp_path)
            if case != "case0":
                store.update_image_info(case, {"patient": "one and the same"})
        with pytest.raises(Refusal, match=r"5 folds need .* are of 2"):
            check_labels(store, L3_MUSCLE, folds=5)
