"""Scorings that begin by themselves."""

from __future__ import annotations

from datetime import timedelta

import nibabel as nib
import numpy as np
import pytest

from lib.stores import CaseStore
from lib.strategies.schedule import ScoringSchedule
from lib.strategies.scoring import METHOD

TASK = "l3_muscle"


@pytest.fixture
def store(tmp_path):
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
    opened = CaseStore(tmp_path)
    yield opened
    opened.close()


class Champion:
    name = None

    def __call__(self, task):
        return self.name


@pytest.fixture
def champion():
    return Champion()


@pytest.fixture
def started():
    return []


@pytest.fixture
def schedule(store, champion, started):
    return ScoringSchedule(store, champion, started.append, tasks=(TASK,))


def score_all(store, version=None):
    run = store.begin_run("score", TASK)
    for case in store.list_images():
        store.save_scores(case, task=TASK, values={METHOD: 0.5}, model_version=version)
    store.end_run(run, "done")


def test_it_begins_when_a_case_has_no_score_of_the_version_that_answers(store, champion, schedule, started):
    assert schedule.look() == TASK
    score_all(store)
    assert schedule.look() is None
    champion.name = "v0001"
    assert schedule.look() == TASK
    score_all(store, "v0001")
    assert schedule.look() is None
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.eye(4)), store.own_folder.parent / "c.nii.gz")
    store.refresh()
    assert schedule.look() == TASK
    assert started == [TASK] * 3


def test_it_waits_for_a_scoring_but_not_for_a_training(store, schedule):
    run = store.begin_run("score", TASK)
    assert schedule.look() is None
    assert schedule.state()["running"]["task"] == TASK
    store.end_run(run, "failed", reason="no memory")
    assert schedule.state()["running"] is None
    assert schedule.state()["last"][TASK]["reason"] == "no memory"
    training = store.begin_run("train", TASK)
    assert schedule.look() == TASK
    store.end_run(training, "failed")


def test_what_failed_or_left_no_trace_waits_for_another_version_or_for_an_hour(store, champion, schedule, started):
    assert schedule.look() == TASK
    assert schedule.look() is None  # it was begun, and stopped before it noted anything
    store.end_run(store.begin_run("score", TASK), "failed", reason="no memory")
    assert schedule.look() is None
    champion.name = "v0001"
    assert schedule.look() == TASK
    later = ScoringSchedule(store, champion, started.append, tasks=(TASK,), retry_after=timedelta(0))
    assert [later.look(), later.look()] == [TASK, TASK]
