"""The strategies on a store, as the app asks them."""

from __future__ import annotations

import json
import os
from datetime import datetime

import nibabel as nib
import numpy as np
import pytest

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import SCORE_METHODS, STRATEGIES, strategies
from lib.tasks import TASKS

NO_CHANCE = QueueRules(random_share=0.0)


@pytest.fixture
def store(tmp_path):
    first = tmp_path / "case00.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.eye(4)), first)
    for n in range(1, 12):
        os.link(first, tmp_path / f"case{n:02d}.nii.gz")
    return CaseStore(tmp_path)


def ask(store, name="disagreement", *, rules=NO_CHANCE, **request):
    return strategies(rules)[name](request, store)


def score(store, n, value, *, version="v0003", method="disagreement", features=None):
    store.save_scores(
        f"case{n:02d}", task="l3_muscle", values={method: value}, model_version=version, features=features
    )


def test_disagreement_comes_first_and_every_strategy_lets_the_task_be_chosen():
    made = strategies(NO_CHANCE)
    assert tuple(made) == STRATEGIES == ("disagreement", "random", "first", "predictive_entropy", "bald")
    for strategy in made.values():
        assert strategy.info()["config"] == {"task": list(TASKS)}


def test_the_answer_says_what_a_client_can_show(store):
    answer = ask(store, "first", client_id="eva")
    assert (answer["id"], answer["task"], answer["purpose"]) == ("case00", "l3_muscle", "label")
    assert datetime.fromisoformat(answer["lease_ends"]).utcoffset() is not None
    assert answer["reason"] == "The first by name of those without a label."
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("method", SCORE_METHODS)
def test_the_highest_score_of_the_method_is_handed_out_with_its_reason(store, method):
    score(store, 3, 0.314, method=method)
    score(store, 5, 0.2, method=method)
    score(store, 7, 0.9, method="another")
    answer = ask(store, method, client_id="eva")
    assert answer["id"] == "case03"
    assert "0.314 (v0003), most of 2 candidates." in answer["reason"]
    (handed,) = store.hand_outs("case03")
    assert (handed.strategy, handed.score, handed.model_version) == (method, 0.314, "v0003")
    assert handed.reason == answer["reason"]


def test_before_there_is_a_model_the_cold_starts_doubt_decides_and_before_that_chance(store):
    by_chance = ask(store, client_id="eva")
    assert "No case has a score yet" in by_chance["reason"]
    free = 5 if by_chance["id"] == "case04" else 4
    score(store, free, 0.6, version=None)
    answer = ask(store, client_id="ida")
    assert answer["id"] == f"case{free:02d}"
    assert "the cold start doubts its own answer by 0.6" in answer["reason"]


def test_the_first_scores_of_a_model_do_not_hide_all_other_cases(store):
    score(store, 1, 0.01)
    for n in (2, 3):
        score(store, n, 0.5 + n / 10, version=None)
    assert ask(store, client_id="eva")["id"] == "case03"
    for n in (4, 5):
        score(store, n, n / 10)
    assert ask(store, client_id="ida")["id"] == "case05"


def test_no_two_nearly_alike_cases_in_a_row(store):
    for n in range(12):
        score(store, n, 1 - n / 100, features=np.array([n // 6 * 100.0, 1.0]))
    groups = [int(ask(store, client_id="user-xyz")["id"][4:]) // 6 for _ in range(2)]
    assert groups == [0, 1]


def test_features_of_another_version_are_not_compared(store):
    for n in range(12):
        version = "v0002" if n == 0 else "v0003"
        score(store, n, 1 - n / 100, version=version, features=np.full(3 if n == 0 else 2, float(n // 6)))
    assert [ask(store, client_id="user-xyz")["id"] for _ in range(2)] == ["case00", "case01"]


def test_some_are_plain_random_ones(store):
    score(store, 3, 0.9)
    answer = ask(store, rules=QueueRules(random_share=1.0), client_id="eva")
    assert "plain random case" in answer["reason"]
    assert store.hand_outs(answer["id"])[0].score is None


def test_when_nothing_is_left_there_is_no_answer(store):
    for name in STRATEGIES * 3:
        ask(store, name, client_id="user-xyz")
    assert [ask(store, name, client_id="ida") for name in STRATEGIES] == [None] * 5


def test_a_task_may_come_as_the_list_of_choices_and_an_unknown_one_is_refused(store):
    assert ask(store, task=["l3_tissue", "l3_muscle"])["task"] == "l3_tissue"
    assert ask(store, task=[])["task"] == "l3_muscle"
    for wrong in ("liver", {"l3_muscle": 1}):
        with pytest.raises(Refusal, match="l3_muscle"):
            ask(store, task=wrong)


@pytest.mark.parametrize("odd", [None, 17, {"a": 1}, "\ud83d", "x" * 10_000])
def test_whoever_asks_is_taken_at_their_word(store, odd):
    assert ask(store, "first", client_id=odd)["id"] == "case00"
