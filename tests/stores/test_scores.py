"""Scores and features of cases, and which cases a scoring has to do next."""

from __future__ import annotations

import numpy as np
import pytest

from lib.refusals import Refusal
from lib.stores.scores import features_of


def features(store, version, *cases):
    with store._index.reading() as connection:
        return features_of(connection, "l3_muscle", version, list(cases))


def test_scores_replace_each_other_per_task_and_method(store):
    store.save_score("ann", task="l3_muscle", method="disagreement", value=0.5, model_version="v1")
    store.save_score("ann", task="l3_muscle", method="disagreement", value=0.7)
    store.save_score("ben", task="l3_tissue", method="disagreement", value=0.1)
    assert store.scores("l3_muscle", "disagreement") == {"ann": 0.7}
    with pytest.raises(Refusal, match="no image"):
        store.save_score("zoe", task="l3_muscle", method="x", value=1.0)
    with pytest.raises(Refusal, match="no task"):
        store.save_score("ann", task="liver", method="x", value=1.0)


def test_one_pass_is_stored_whole_or_not_at_all(store):
    vector = np.linspace(-1, 1, 7)
    both = {"disagreement": 0.5, "bald": 0.1}
    store.save_scores("ann", task="l3_muscle", values=both, model_version="v1", features=vector)
    assert np.allclose(features(store, "v1", "ann", "ben")["ann"], vector, atol=1e-3)
    assert features(store, "v2", "ann") == {}
    for wrong in (
        {"values": {"disagreement": 0.9, "bald": float("nan")}, "model_version": "v2"},
        {"values": {"disagreement": 0.9}, "model_version": None, "features": vector},
        {"values": {"disagreement": 0.9}, "model_version": "v2", "features": vector * 1e6},
    ):
        with pytest.raises(Refusal):
            store.save_scores("ann", task="l3_muscle", **wrong)
    assert store.scores("l3_muscle", "disagreement") == {"ann": 0.5}
    assert features(store, "v1", "ann").keys() == {"ann"}


class TestCasesToScore:
    def to_score(self, store, version, limit=10, task="l3_muscle"):
        return store.cases_to_score(task, method="disagreement", model_version=version, limit=limit)

    def test_those_without_a_score_come_first_then_the_oldest(self, store):
        assert sorted(self.to_score(store, "v2")) == ["ann", "ben", "cat"]
        store.save_score("cat", task="l3_muscle", method="disagreement", value=0.1, model_version="v1")
        store.save_score("ann", task="l3_muscle", method="disagreement", value=0.2)
        assert self.to_score(store, "v2") == ["ben", "cat", "ann"]
        assert self.to_score(store, "v2", limit=1) == ["ben"]
        store.save_score("cat", task="l3_muscle", method="disagreement", value=0.1, model_version="v2")
        assert self.to_score(store, "v2") == ["ben", "ann"]

    def test_the_cold_start_does_only_what_nothing_has_scored(self, store):
        store.save_score("ann", task="l3_muscle", method="disagreement", value=0.2)
        store.save_score("ben", task="l3_muscle", method="disagreement", value=0.2, model_version="v1")
        assert self.to_score(store, None) == ["cat"]

    def test_labelled_faulty_and_vanished_cases_are_not_scored(self, store, studies, muscles, save):
        save("ann", muscles)
        store.note_fault("ben", "It holds NaN.")
        assert self.to_score(store, "v1") == ["cat"]
        assert sorted(self.to_score(store, "v1", task="sarcopenia")) == ["ann", "cat"]
        (studies / "cat.nii.gz").unlink()
        assert self.to_score(store, "v1") == []
