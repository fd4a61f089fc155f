"""Child processes of a training: a fold in each, so that it has a core or a GPU of its own and can be ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from lib.refusals import Refusal

_ROOT = Path(__file__).resolve().parents[2]
_REFUSED, _GPU_FULL, _DISK_FULL = 3, 4, 5
_MARK = "refused: "


class TrainingFiles(Protocol):
    """Where a training keeps its files."""

    @property
    def root(self) -> Path:
        """The folder of all of them."""

    def log(self, step: str) -> Path:
        """What a child process said."""

    def progress(self, fold: int) -> Path:
        """The epochs of a fold, a line each."""

    def validation(self, fold: int) -> Path:
        """How a fold did on its held-out cases; written when the fold is done."""

    def environment(self) -> dict[str, str]:
        """Variables for the child processes."""


class GpuFullError(Exception):
    """The GPU has not enough free memory for what was started on it."""


class Child:
    """A running step; it ends when this process does, however that ends.

    Args:
        workspace: the training's files.
        module: what is run, with the workspace as first argument.
        step: names the log.
        arguments: further arguments.
        environment: variables beside those of the workspace.
    """

    def __init__(
        self,
        workspace: TrainingFiles,
        module: str,
        step: str,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.step = step
        self._log = workspace.log(step)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        # The working directory stays off the path: a server's may hold another folder named lib.
        python_path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(workspace.root), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **workspace.environment(),
                    "PYTHONPATH": python_path,
                    "PYTHONSAFEPATH": "1",
                    **(environment or {}),
                },
                # No session of its own: Linux shares out the cores among sessions first, and a nice process in
                # another one would take as much from the server as any.
                process_group=0,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def check(self) -> None:
        """Say why it ended if it did not end well.

        Raises:
            Refusal: with the sentence that reaches the user.
            GpuFullError: the GPU was full.
        """
        code = self._process.returncode
        if code == 0:
            return
        words = self._last_words()
        if code == _REFUSED:
            raise Refusal(words.removeprefix(_MARK))
        if code == _GPU_FULL:
            raise GpuFullError
        if code == _DISK_FULL:
            raise Refusal("The disk is full: make room, then start the training again and it continues.")
        if code < 0:
            name = signal.Signals(-code).name
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            raise Refusal(
                f"The {self.step} was ended by the system ({name}{hint}): start it again and it continues.", status=409
            )
        raise Refusal(f"The {self.step} failed: {words or f'exit status {code}'}", status=409)

    def stop(self) -> None:
        """End it, with all processes that it started."""
        if self._process.stdin:
            self._process.stdin.close()
        # What it started may outlive it when it did not end well.
        if self.running or self._process.returncode:
            _end_group(self._process.pid)
        self._process.wait()

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        refusals = [line for line in lines if line.startswith(_MARK)]
        return (refusals or lines or [""])[-1]


def wait(child: Child, tick: Callable[[], None], *, seconds: float = 0.3) -> None:
    """Wait for a step to end, calling ``tick`` in between; what that raises ends the step.

    Raises:
        Refusal: it did not end well.
    """
    try:
        while child.running:
            tick()
            time.sleep(seconds)
        child.check()
    finally:
        child.stop()


@contextmanager
def child_process() -> Iterator[None]:
    """The frame of a child's main: ends with its parent, and turns what goes wrong into its exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        yield
    except Refusal as refusal:
        print(f"{_MARK}{refusal}", flush=True)  # noqa: T201 - the log is read by the parent
        sys.exit(_REFUSED)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            # Not sys.exit: writing what is left of the log would fail once more and change the status.
            os._exit(_DISK_FULL)
        raise
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            sys.exit(_GPU_FULL)
        raise


def _end_with_parent() -> None:
    """Wait for the parent's end of the pipe to close, which happens also when the parent is killed."""
    # Not sys.stdin: its lock would be held in processes that are forked while this waits.
    while os.read(0, 1):
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _end_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)
