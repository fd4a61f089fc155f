from __future__ import annotations

import pytest

from lib.networks.nnunet.cross_validation import cross_validation

FOLDS = [
    {"a": {"psoas": 0.9, "wall": 0.8}, "b": {"psoas": 0.7, "wall": None}},
    {"c": {"psoas": 1.0, "wall": 0.9}},
]
TABLE = cross_validation(FOLDS, ("psoas", "wall"), {c: (f"{c}@1", f"patient {c}") for c in "abc"})


def test_a_fold_is_the_mean_and_sd_over_its_cases() -> None:
    psoas = TABLE["folds"][0]["dice"]["psoas"]
    assert psoas["mean"] == pytest.approx(0.8)
    assert psoas["sd"] == pytest.approx(0.1414, abs=1e-4)


def test_a_class_that_neither_label_nor_prediction_holds_does_not_count() -> None:
    assert TABLE["folds"][0]["dice"]["wall"] == {"mean": 0.8, "sd": None, "minimum": 0.8}
    assert TABLE["folds"][0]["mean_dice"]["mean"] == pytest.approx((0.85 + 0.7) / 2)


def test_pooled_is_over_cases_and_between_folds_over_folds() -> None:
    assert TABLE["pooled"]["cases"] == 3
    assert TABLE["pooled"]["dice"]["psoas"]["mean"] == pytest.approx(2.6 / 3)
    assert TABLE["between_folds"]["dice"]["psoas"]["mean"] == pytest.approx(0.9)
    assert TABLE["best_fold"] == 1


def test_every_case_is_listed_once_with_its_patient() -> None:
    assert [(c["key"], c["patient"], c["fold"]) for c in TABLE["cases"]] == [
        ("a@1", "patient a", 0),
        ("b@1", "patient b", 0),
        ("c@1", "patient c", 1),
    ]
