"""The frame of a training of folds: one at a time, continued after whatever ended it, called off, refused in words."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from typing import TypeVar

from filelock import FileLock, Timeout

from lib.networks.fold_runner import FoldRunner, places
from lib.networks.progress import Progress
from lib.networks.results import CancelledError, Sample, TrainingResult, check_folds
from lib.networks.workspace import Run, Workspace
from lib.refusals import Refusal

_Space = TypeVar("_Space", bound=Workspace)


def run_of(samples: Sequence[Sample], **more: object) -> Run:
    """What a training on these samples is made of; ``more`` are the other attributes of :class:`Run`."""
    ordered = sorted(samples, key=lambda each: each.key)
    return Run(samples={each.key: (each.patient, each.fold) for each in ordered}, **more)  # type: ignore[arg-type]


def train_folds(
    space: _Space,
    run: Run,
    samples: Sequence[Sample],
    *,
    module: str,
    device: str,
    prepare: Callable[[Callable[[], None]], None],
    finish: Callable[[], TrainingResult],
    on_progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> TrainingResult:
    """Train all folds, each in its own process, or continue where an earlier call with the same run ended.

    Args:
        space: the workspace.
        run: what the training is made of.
        samples: those of the run.
        module: trains a fold: ``python -m MODULE ROOT FOLD DEVICE``.
        device: "cpu", "cuda" for all GPUs, or "cuda:N".
        prepare: brings the workspace in line with the samples; is given a function to call now and then, which raises
            when the training is called off. The run of another training is gone before, and this one's is written
            after it.
        finish: gives the result once all folds are trained and validated.
        on_progress: called after every epoch of every fold; what it raises ends the training.
        cancelled: asked a few times a second; once it says yes, the training ends.

    Raises:
        Refusal: the samples or the machine do not allow it; the sentence says what to do.
        CancelledError: ``cancelled`` said yes.
    """
    check_folds(samples, run.folds)
    where = places(device, run.folds)

    def check_cancelled() -> None:
        if cancelled():
            raise CancelledError

    space.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(space.lock, timeout=0):
            if space.unfinished() != run:
                space.discard()
                shutil.rmtree(space.tensorboard, ignore_errors=True)
            prepare(check_cancelled)
            run.write(space.run)
            FoldRunner(
                space,
                where,
                module=module,
                folds=run.folds,
                epochs=run.epochs,
                on_progress=on_progress,
                check_cancelled=check_cancelled,
            ).train()
            return finish()
    except Timeout as error:
        raise Refusal("A training of this task is running already: wait until it is done.", status=409) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Refusal(
                "The disk is full: make room, then start the training again and it continues.", status=409
            ) from error
        raise
