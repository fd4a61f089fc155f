"""Trainings begin by themselves when they are due, one at a time, and what was killed goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.models import Manifest, Registry, TrainingLabel
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.policy import TrainingPolicy
from lib.trainers.schedule import Schedule
from lib.trainers.train_task import Training

ROOT = Path(__file__).resolve().parents[2]
TASK = "l3_muscle"
DUE = 6
REQUEST = {"preset": "quick", "device": "cpu", "start": "champion", "seed": 3}
# Begins a run as a training does, and waits to be killed.
BEGIN = """
import json, sys
from lib.stores import CaseStore
CaseStore(sys.argv[1]).begin_run("train", "l3_muscle", **json.loads(sys.argv[2]))
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


@pytest.fixture
def label(store, save_label, tmp_path):
    """Saves labels of cases of these numbers."""

    def save(*numbers, shift=0):
        for number in numbers:
            save_label(store, f"case{number}", tmp_path, shift=shift)

    return save


@pytest.fixture
def started():
    return []


@pytest.fixture
def make(store, registry, started):
    def schedule(*, retrain_after=DUE, auto_train=True, **options):
        policy = TrainingPolicy(retrain_after=retrain_after, auto_train=auto_train)
        return Schedule(store, registry, policy, started.append, **options)

    return schedule


@pytest.fixture
def publish(store, registry):
    """A version trained on all labels there are."""

    def run(**facts):
        labels = tuple(
            TrainingLabel(
                case=each.image_id,
                revision=each.number,
                sha256=each.sha256,
                patient=each.image_id,
                fold=0,
                phantom=False,
            )
            for each in store.current_labels(TASK)
        )
        manifest = Manifest(task=TASK, network="nnunet_2d", classes=L3_MUSCLE.ids, folds=5, labels=labels)
        manifest = replace(manifest, **facts)
        with registry.staging(TASK) as folder:
            (folder / "plans.json").write_text("{}")
            return registry.publish(folder, manifest)

    return run


@pytest.fixture
def killed(store):
    """A run whose process was killed."""

    def run(*, wait=True, **facts):
        child = python(BEGIN, str(store.own_folder.parent), json.dumps({"request": REQUEST, **facts}))
        assert child.stdout.readline() == "begun\n"
        if wait:
            child.kill()
            child.communicate()
        return child

    return run


def python(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment, **pipes)


class TestWhenItIsDue:
    def test_the_label_that_completes_the_number_begins_a_training(self, make, label, started):
        schedule = make()
        label(*range(DUE - 1))
        assert schedule.look() is None
        label(DUE - 1)
        assert schedule.look() == TASK
        assert started == [{"model": TASK}]
        assert schedule.look() is None
        assert len(started) == 1

    def test_labels_count_since_those_that_the_newest_version_was_trained_on(self, make, label, publish, started):
        label(*range(DUE))
        publish()
        label(0, 1, shift=1)
        schedule = make(retrain_after=3)
        assert schedule.state()["tasks"][TASK]["labels_since_training"] == 2
        assert schedule.look() is None
        label(1, shift=2)
        assert schedule.look() is None, "a label that was corrected twice is one"
        label(6)
        assert schedule.look() == TASK

    def test_versions_from_elsewhere_or_damaged_ones_hide_no_label(self, make, label, publish):
        label(*range(DUE))
        publish()
        label(6)
        publish(labels=(), origin="imported from a.zip")
        (publish().folder / "manifest.json").write_text("{")
        assert make().state()["tasks"][TASK]["labels_since_training"] == 1

    def test_an_index_that_was_lost_begins_no_training(self, store, registry, label, publish, started):
        label(*range(DUE))
        publish()
        label(0, shift=1)
        studies = store.own_folder.parent
        store.close()
        for path in store.own_folder.glob("index.sqlite*"):
            path.unlink()
        anew = CaseStore(studies)
        schedule = Schedule(anew, registry, TrainingPolicy(retrain_after=2), started.append)
        assert schedule.look() is None
        assert schedule.state()["tasks"][TASK]["labels_since_training"] == 1
        anew.close()

    def test_labels_that_no_training_would_see_begin_none(self, store, make, label, publish, started):
        label(*range(5))
        publish()
        label(5, 6)
        for case in ("case5", "case6"):
            store.remove_image(case)
        schedule = make(retrain_after=2)
        assert (schedule.look(), started) == (None, [])
        state = schedule.state()["tasks"][TASK]
        assert state["labels_since_training"] == 2
        assert state["waits"].startswith("Only 0 of these labels are new to a training")
        label(3, 4, shift=1)
        assert schedule.look() == TASK

    def test_labels_that_came_while_it_trained_count_for_the_next(self, store, make, label, publish):
        label(*range(DUE))
        run = store.begin_run("train", TASK)
        label(6)
        schedule = make(retrain_after=1)
        assert schedule.look() is None
        state = schedule.state()
        assert state["running"]["task"] == TASK
        assert state["tasks"][TASK]["labels_since_training"] == 1
        store.end_run(run, "kept", version="v0001", reason="Kept: it is worse.")
        assert schedule.look() == TASK

    @pytest.mark.parametrize("choice", [{"auto_train": False}, {"retrain_after": 0}])
    def test_switched_off_nothing_begins(self, make, label, started, choice):
        label(*range(DUE))
        schedule = make(**choice)
        assert (schedule.look(), started) == (None, [])
        assert schedule.state()["tasks"][TASK]["waits"] == ""

    def test_while_another_task_is_trained_nothing_begins(self, store, make, label):
        label(*range(DUE))
        other = store.begin_run("train", "l3_tissue")
        assert make().look() is None
        store.end_run(other, "failed")
        assert make(busy=lambda: True).look() is None
        assert make().look() == TASK

    def test_what_cannot_be_trained_waits_and_says_why(self, store, make, label, started):
        for number in range(7):
            store.update_image_info(f"case{number}", {"patient": "one and the same"})
        label(*range(DUE))
        schedule = make()
        assert (schedule.look(), started) == (None, [])
        assert "save labels of more patients" in schedule.state()["tasks"][TASK]["waits"]


class TestAFailure:
    @pytest.fixture
    def failed(self, store, label):
        label(*range(DUE))
        store.end_run(store.begin_run("train", TASK), "failed", reason="The disk is full.")

    def test_it_is_not_begun_again_before_another_label(self, make, label, failed):
        schedule = make()
        assert schedule.look() is None
        state = schedule.state()["tasks"][TASK]
        assert state["waits"].startswith("The disk is full. It is tried again with the next label, or at ")
        assert (state["last"]["outcome"], state["last"]["reason"]) == ("failed", "The disk is full.")
        label(2, shift=1)
        assert schedule.look() == TASK

    def test_or_before_some_time_has_passed(self, make, failed):
        assert make(retry_after=timedelta(0)).look() == TASK

    def test_a_job_that_leaves_no_record_is_not_begun_over_and_over(self, make, label, started):
        label(*range(DUE))
        schedule = make()
        assert [schedule.look() for _ in range(3)] == [TASK, None, None]
        assert "left no record" in schedule.state()["tasks"][TASK]["waits"]


class TestAKilledTraining:
    def test_with_its_server_goes_on_as_it_was_asked_for(self, store, make, label, killed, started):
        label(*range(DUE))
        killed()
        assert make().continue_lost() == TASK
        assert started == [{**REQUEST, "model": TASK}]
        assert store.events("run_lost")

    def test_under_a_server_that_lives_waits_for_the_next_label(self, make, label, killed, started):
        label(*range(DUE))
        schedule = make()
        killed()
        assert schedule.look() is None
        assert "The training's process was ended" in schedule.state()["tasks"][TASK]["waits"]
        label(0, shift=1)
        assert schedule.look() == TASK

    def test_which_was_noticed_before_this_server_began_is_left_alone(self, store, make, label, killed, started):
        label(*range(DUE))
        killed()
        assert store.lost_runs()
        assert (make().continue_lost(), started) == (None, [])

    @pytest.mark.parametrize(("attempt", "goes_on"), [(2, True), (3, False)])
    def test_that_is_killed_each_time_is_left_to_people(self, make, label, killed, attempt, goes_on):
        label(*range(DUE))
        killed(attempt=attempt)
        assert (make().continue_lost() == TASK) is goes_on

    def test_that_outlived_its_server_is_left_alone(self, make, label, killed, registry, store):
        label(*range(DUE))
        child = killed(wait=False)
        try:
            schedule = make()
            assert (schedule.continue_lost(), schedule.look()) == (None, None)
            assert schedule.state()["running"]["task"] == TASK
            with pytest.raises(Refusal, match="training of l3_muscle is running"):
                Training(TASKS[TASK], registry).check({}, store)
        finally:
            child.kill()
            child.communicate()

    def test_is_not_continued_when_trainings_are_by_hand(self, make, label, killed, started):
        label(*range(DUE))
        killed()
        assert (make(auto_train=False).continue_lost(), started) == (None, [])


def test_the_thread_begins_what_is_due_and_can_be_stopped(store, registry, label):
    label(*range(DUE))
    begun = threading.Event()
    policy = TrainingPolicy(retrain_after=DUE)
    schedule = Schedule(store, registry, policy, lambda _: begun.set(), every_s=0.05)
    schedule.begin()
    assert begun.wait(60)
    schedule.stop()


def test_a_look_that_fails_is_not_the_last_one(store, registry, label):
    label(*range(DUE))
    asked = []
    twice = threading.Event()

    def start(request):
        asked.append(request)
        if len(asked) == 2:
            twice.set()
        raise RuntimeError

    policy = TrainingPolicy(retrain_after=DUE)
    schedule = Schedule(store, registry, policy, start, every_s=0.05, retry_after=timedelta(0))
    schedule.begin()
    assert twice.wait(60)
    schedule.stop()


def test_its_state_can_be_told_to_clients(make, label, publish):
    label(*range(DUE))
    publish()
    state = make().state()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert state["tasks"].keys() == {"l3_muscle", "l3_tissue", "l3_slice", "body_composition", "thigh_muscles"}
    assert state["tasks"][TASK] == {"labels_since_training": 0, "last": None, "waits": ""}
    assert state["running"] is None
