"""The loop that learns, on the real server: cases handed out, labelled, trained on, scored, and handed out again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from lib.phantoms.cohort import TRUTH, Cohort, CohortPlan
from tests.system.conftest import Server, free_port, running, serve_command

TASK = "l3_muscle"
CASES, FIRST = 12, 6


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("loop") / "studies"
    Cohort(folder, CohortPlan(region="l3", count=CASES, seed=8, matrix=128)).write()
    return folder


@pytest.fixture
def start(phantoms, tmp_path):
    """Start the server on the phantoms, and at the end whatever jobs it has left."""

    def _start(*options: str) -> Iterator[Server]:
        port = free_port()
        command = [*serve_command(phantoms, port), *options]
        return running(command, phantoms, port, tmp_path / f"server{port}.log", tmp_path)

    yield _start
    for process in _jobs(phantoms):
        process.kill()


def _jobs(studies: Path) -> list[psutil.Process]:
    """The background jobs of a server on these studies, and what they have started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MONAI_LABEL_STUDIES") == str(studies):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def wait_for(what, seconds: float):
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(1)
    return value


def label_next(server: Server, person: str, **params) -> dict:
    """Ask for the next case, and save its true label."""
    client = server.client(person)
    chosen = client.next_sample("disagreement", {"task": TASK, **params})
    truth = server.studies / TRUTH / TASK / f"{chosen['id']}.nii.gz"
    client.save_label(chosen["id"], str(truth), params={"model": TASK})
    return chosen


def retraining(server: Server) -> dict:
    return requests.get(f"{server.url}/info/", timeout=20).json()["retraining"]


@pytest.mark.slow
def test_labels_become_a_model_by_themselves_and_the_model_says_what_comes_next(start):
    quick = ("--conf", "retrain_after", str(FIRST), "--conf", "train_preset", "quick", "--conf", "random_share", "0")
    with start(*quick) as server:
        with ThreadPoolExecutor() as pool:
            people = [pool.submit(label_next, server, person) for person in ("anna", "ben", "cleo")]
            first = [done.result()["id"] for done in people]
        assert len(set(first)) == 3
        for _ in range(FIRST - 3):
            label_next(server, "anna")

        running_now = wait_for(lambda: retraining(server)["running"], 60)
        assert running_now["task"] == TASK
        late = label_next(server, "ben")  # counts for the next training
        stats = wait_for(lambda: _stats(server).get("epoch"), 180)
        assert stats >= 1
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        for process in _jobs(server.studies):
            process.kill()

    with start(*quick) as server:
        assert wait_for(lambda: retraining(server)["running"], 120)["task"] == TASK  # it goes on by itself
        last = wait_for(lambda: retraining(server)["tasks"][TASK]["last"], 900)
        while last["outcome"] == "lost":
            time.sleep(2)
            last = retraining(server)["tasks"][TASK]["last"]
        assert (last["outcome"], last["version"]) == ("promoted", "v0001")
        assert retraining(server)["tasks"][TASK]["labels_since_training"] == 1
        assert late["id"] not in first

        label, params = server.client().infer(TASK, late["id"], {})
        Path(label).unlink()
        assert (params["method"], params["model_version"]) == ("ensemble", "v0001")
        assert any("phantoms" in warning for warning in params["warnings"])

        chosen = wait_for(lambda: _by_model(server), 300)
        assert "v0001" in chosen["reason"]
        why = requests.get(f"{server.url}/queue/{TASK}/{chosen['id']}", timeout=20).json()["hand_outs"]
        assert [each["reason"] for each in why if each["holder"] == "dora"][-1] == chosen["reason"]


def _stats(server: Server) -> dict:
    return next(iter(requests.get(f"{server.url}/info/", timeout=20).json()["train_stats"].values()))


def _by_model(server: Server) -> dict | None:
    """What the queue gives, once the model has scored the cases."""
    chosen = server.client("dora").next_sample("disagreement", {"task": TASK})
    if "v0001" in chosen["reason"]:
        return chosen
    requests.delete(f"{server.url}/queue/{TASK}/{chosen['id']}?holder=dora", timeout=20).raise_for_status()
    return None
