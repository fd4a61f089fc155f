from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lib.networks.children import Child, GpuFullError, wait
from lib.networks.nnunet.workspace import Workspace
from lib.refusals import Refusal


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def waiting(workspace: Workspace) -> Iterator[tuple[Child, psutil.Process]]:
    """A child that does nothing until its parent closes the pipe, and its process."""
    before = set(psutil.Process().children())
    child = Child(workspace, "code", "training of fold 3")
    yield child, (set(psutil.Process().children()) - before).pop()
    child.stop()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("refusal", r"^The labels do not fit\.$"),
        ("disk", r"^The disk is full: make room"),
        ("bug", r"^The preparation failed: KeyError: 'psoas'$"),
    ],
)
def test_what_went_wrong_in_a_step_reaches_the_user(workspace: Workspace, how: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        wait(Child(workspace, "tests.networks.failing_step", "preparation", (how,)), lambda: None)


def test_a_full_gpu_is_told_apart_since_fewer_folds_may_fit(workspace: Workspace) -> None:
    with pytest.raises(GpuFullError):
        wait(Child(workspace, "tests.networks.failing_step", "training of fold 0", ("gpu",)), lambda: None)


def test_a_step_that_the_system_ends_can_be_started_again(waiting: tuple[Child, psutil.Process]) -> None:
    child, process = waiting
    process.send_signal(signal.SIGKILL)
    with pytest.raises(Refusal, match=r"training of fold 3 was ended by the system \(SIGKILL.*it continues"):
        wait(child, lambda: None)


def test_what_is_raised_while_waiting_ends_the_step(waiting: tuple[Child, psutil.Process]) -> None:
    child, process = waiting

    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(child, tick)
    assert not process.is_running()
