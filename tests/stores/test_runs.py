"""Trainings and scorings: one of a kind at a time over all processes, and a killed one is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.index import RUNS

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import sys, time
from lib.stores import CaseStore
from lib.refusals import Refusal
try:
    CaseStore(sys.argv[1]).begin_run("train", "l3_muscle", epochs=7)
except Refusal:
    print("refused", flush=True)
else:
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def begin(studies):
    children = []

    def start():
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        child = subprocess.Popen([sys.executable, "-c", BEGIN, str(studies)], env=environment, **pipes)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_of_several_processes_one_begins(store, begin):
    children = [begin() for _ in range(4)]
    said = [child.stdout.readline().strip() for child in children]
    assert sorted(said) == ["begun", "refused", "refused", "refused"]
    assert store.running("train").pid == children[said.index("begun")].pid


def test_the_refusal_names_what_runs_and_another_kind_may_begin(store, studies):
    run = store.begin_run("train", "l3_muscle", epochs=7)
    with pytest.raises(Refusal, match=f"training of l3_muscle .* {os.getpid()}") as refused:
        CaseStore(studies).begin_run("train", "l3_tissue")
    assert refused.value.status_code == 409
    store.begin_run("score", "l3_muscle")
    store.end_run(run, "kept", reason="The champion is better.")
    assert store.running("train") is None
    last = store.last_run("train", "l3_muscle")
    assert (last.outcome, last.facts) == ("kept", {"epochs": 7, "reason": "The champion is better."})
    assert last.ended >= last.started
    assert store.last_run("train", "l3_tissue") is None
    assert store.last_run("score") is None
    assert store.events("run_ended")[0].facts["outcome"] == "kept"


def test_a_killed_run_is_known_until_it_is_begun_again(store, begin):
    child = begin()
    assert child.stdout.readline().strip() == "begun"
    assert store.lost_runs() == []
    child.kill()
    child.wait()
    assert store.running("train") is None
    for _ in range(2):  # it is still to be continued when the one who asked first was killed too
        (lost,) = store.lost_runs()
        assert (lost.kind, lost.task, lost.outcome, lost.facts) == ("train", "l3_muscle", "lost", {"epochs": 7})
    assert len(store.events("run_lost")) == 1
    again = store.begin_run("train", "l3_muscle")
    assert store.lost_runs() == []
    store.end_run(again, "promoted")
    assert store.lost_runs() == []


def test_a_run_whose_process_number_was_given_to_another_process_is_lost(store):
    store.begin_run("train", "l3_muscle")
    assert store.lost_runs() == []
    with store._index.writing() as connection:
        connection.execute(update(RUNS).values(pid=os.getppid(), process_started=1000.0))
    assert [run.task for run in store.lost_runs()] == ["l3_muscle"]


def test_a_run_of_another_machine_or_container_goes_on_as_long_as_its_process_lives(store, begin):
    child = begin()
    assert child.stdout.readline().strip() == "begun"
    with store._index.writing() as connection:
        connection.execute(update(RUNS).values(host="elsewhere", pid=1, process_started=0.0))
    assert store.running("train").host == "elsewhere"
    assert store.lost_runs() == []
    child.kill()
    child.wait()
    assert store.running("train") is None
    assert [run.host for run in store.lost_runs()] == ["elsewhere"]
    store.end_run(store.begin_run("train", "l3_muscle"), "kept")
    assert list(store.own_folder.glob("run-*")) == []


class TestLabelsSince:
    def test_new_and_changed_labels_count_once_each(self, store, muscles, save):
        save("ann", muscles)
        save("ben", muscles)
        trained = max(revision.created for revision in store.current_labels("l3_muscle"))
        assert store.labels_since("l3_muscle") == 2
        assert store.labels_since("l3_muscle", trained) == 0
        save("ann", muscles)
        save("ann", muscles)
        save("cat", muscles)
        save("ben", muscles, tag="original")
        assert store.labels_since("l3_muscle", trained) == 2
        assert store.labels_since("l3_tissue", trained) == 0

    def test_a_withdrawn_label_changes_a_case_that_has_another(self, store, muscles, save):
        for image_id in ("ann", "ann", "ben"):
            save(image_id, muscles)
        trained = max(revision.created for revision in store.current_labels("l3_muscle"))
        store.remove_label("ann", "final")
        store.remove_label("ben", "final")
        assert store.labels_since("l3_muscle", trained) == 1
