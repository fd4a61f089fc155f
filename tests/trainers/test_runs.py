"""However a training ends, the store says how and why."""

from __future__ import annotations

import pytest

from lib.models import Registry
from lib.refusals import Refusal
from lib.trainers.runs import training_run
from lib.trainers.training import TrainOptions, train_task

TASK = "l3_muscle"


def test_one_that_fails_leaves_its_reason_and_no_version(store, tmp_path):
    registry = Registry(tmp_path / "models")
    with pytest.raises(Refusal, match="no saved label"):
        train_task(TASK, store, registry, TrainOptions(device="cpu", seed=4))
    run = store.last_run("train", TASK)
    assert run.outcome == "failed"
    assert run.facts["reason"] == "There is no saved label of l3_muscle yet: save some, then train."
    asked = {"preset": "", "device": "cpu", "start": "champion", "seed": 4, "network": "", "contrast": "", "folds": ""}
    assert run.facts["request"] == asked
    assert registry.versions(TASK) == []
    assert store.events("run_ended")[0].facts["outcome"] == "failed"


def test_one_that_is_called_off_is_no_failure(store):
    with pytest.raises(KeyboardInterrupt), training_run(store, TASK, {}):
        raise KeyboardInterrupt
    run = store.last_run("train", TASK)
    assert run.outcome == "ended"
    assert "it continues" in run.facts["reason"]


def test_a_fault_of_the_program_is_a_failure_with_its_words(store):
    with pytest.raises(ZeroDivisionError), training_run(store, TASK, {}):
        _ = 1 / 0
    assert store.last_run("train", TASK).facts["reason"] == "division by zero"


def test_while_one_runs_another_is_refused_and_leaves_nothing(store):
    with training_run(store, TASK, {}), pytest.raises(Refusal, match="training of l3_muscle"):
        train_task("l3_tissue", store, Registry(store.own_folder), TrainOptions(device="cpu"))
    assert store.last_run("train", "l3_tissue") is None
