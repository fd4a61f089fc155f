"""A new version answers only if it is not worse than the champion on the same slices."""

from __future__ import annotations

import pytest

from lib.models.verdict import Tolerances, Verdict, compare
from lib.refusals import Refusal


def judged(*values: float | None) -> dict[str, dict[str, float | None]]:
    return {f"slice{n}": {"psoas": value, "paraspinal": value} for n, value in enumerate(values)}


def verdict(new, champion, **options) -> Verdict:
    patients = {key: f"patient of {key}" for key in new | champion}
    return compare(new, champion, patients, name="v0001", **{"tolerances": Tolerances(), **options})


def test_one_that_is_better_answers_and_the_sentence_has_the_numbers():
    found = verdict(judged(0.9, 0.8, 0.7), judged(0.8, 0.8, 0.6))
    assert found.promote
    assert found.reason == (
        "Promoted: on 3 cases of 3 patients, its mean Dice is 0.8000 and its worst 0.7000, compared with 0.7333 and "
        "0.6000 of v0001."
    )
    assert found.numbers["new"] == pytest.approx({"mean": 0.8, "worst": 0.7})


@pytest.mark.parametrize(
    ("new", "promote"),
    [
        ((0.795, 0.795), True),
        ((0.794, 0.794), False),
        ((0.82, 0.781), True),
        ((0.99, 0.779), False),
    ],
)
def test_it_may_be_worse_by_the_tolerances_and_no_more(new, promote):
    assert verdict(judged(*new), judged(0.8, 0.8)).promote is promote


def test_what_is_worse_is_said():
    worst = verdict(judged(1.0, 0.5), judged(0.7, 0.6)).reason
    assert worst == (
        "Kept: on 2 cases of 2 patients, its worst Dice 0.5000 is more than 0.02 below the 0.6000 of v0001."
    )
    both = verdict(judged(0.4, 0.5), judged(0.7, 0.6)).reason
    assert "its mean Dice 0.4500 is more than 0.005 below the 0.6500 of v0001 and its worst" in both


def test_other_tolerances():
    strict = Tolerances(mean=0.0, worst=0.0)
    assert verdict(judged(0.8, 0.8), judged(0.8, 0.8), tolerances=strict).promote
    assert not verdict(judged(0.8, 0.7999), judged(0.8, 0.8), tolerances=strict).promote
    with pytest.raises(Refusal, match=r"worst Dice is a number from 0 to 1, not 1\.5"):
        Tolerances(worst=1.5)


def test_only_slices_count_on_which_both_were_judged():
    new = judged(0.9, 0.9, 0.1)
    champion = judged(0.8, 0.8)
    champion["slice1"] = {"psoas": None, "paraspinal": None}
    found = verdict(new, champion)
    assert found.promote
    assert (found.numbers["cases"], found.numbers["new"]["worst"]) == (1, 0.9)


def test_slices_of_one_patient_are_one_patient():
    found = compare(
        judged(0.9, 0.9), judged(0.8, 0.8), {"slice0": "Ann", "slice1": "Ann"}, name="v0001", tolerances=Tolerances()
    )
    assert "2 cases of 1 patient," in found.reason


def test_a_champion_from_elsewhere_may_have_seen_the_patients():
    for new in (0.5, 0.9):
        assert "may have been trained on these patients" in verdict(judged(new), judged(0.8), imported=True).reason


def test_a_champion_that_could_be_judged_on_nothing_stands_in_nobodys_way():
    found = verdict(judged(0.1), {})
    assert found.promote
    assert found.reason == "Promoted: v0001 has no fold for any of the cases."


def test_it_is_read_back_from_a_manifest():
    found = verdict(judged(0.9), judged(0.8))
    assert Verdict.of({"verdict": found.to_json()}) == found
    assert Verdict.of({}) is None
