"""The server and its training are killed in the middle; the next server goes on with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.models import Registry
from lib.networks.nnunet.recipes import RECIPES
from lib.tasks import TASKS
from lib.trainers.policy import TrainingPolicy
from lib.trainers.schedule import Schedule
from lib.trainers.train_task import Training
from tests.networks.nnunet.drawn_slices import TINY

ROOT = Path(__file__).resolve().parents[2]
TASK = "l3_muscle"
TRAIN = """
import sys
from lib.models import Registry
from lib.networks.nnunet.recipes import RECIPES
from lib.stores import CaseStore
from lib.trainers.training import TrainOptions, train_task
from tests.networks.nnunet.drawn_slices import TINY
RECIPES["quick"] = TINY
options = TrainOptions(preset="quick", device="cpu", seed=2)
train_task("l3_muscle", CaseStore(sys.argv[1]), Registry(sys.argv[2]), options, lambda p: print(p.epoch, flush=True))
"""


@pytest.mark.slow
def test_it_goes_on_with_the_labels_that_it_was_made_of(store, save_label, tmp_path, monkeypatch):
    registry = Registry(tmp_path / "models")
    for number in range(5):
        save_label(store, f"case{number}", tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(store.own_folder.parent), str(registry.root)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline().strip() == b"1"
    assert store.running("train").pid == child.pid
    child.kill()
    child.communicate()
    assert (store.running("train"), registry.versions(TASK)) == (None, [])
    save_label(store, "case5", tmp_path)

    monkeypatch.setitem(RECIPES, "quick", TINY)
    trainer = Training(TASKS[TASK], registry)
    schedule = Schedule(store, registry, TrainingPolicy(), lambda request: trainer(request, store))
    assert schedule.continue_lost() == TASK
    manifest = registry.champion(TASK).manifest
    assert sorted(label.case for label in manifest.labels) == [f"case{number}" for number in range(5)]
    assert manifest.seeds == (2, 3, 4, 5, 6)
    run = store.last_run("train", TASK)
    assert (run.outcome, run.facts["attempt"]) == ("promoted", 2)
    state = schedule.state()["tasks"][TASK]
    assert state["labels_since_training"] == 1, "the label that came meanwhile counts for the next training"
    assert state["last"]["version"] == "v0001"
