"""Trains the folds of the detector on labelled CTs."""

from __future__ import annotations

import errno
import json
import shutil
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.levels.dataset import LabelledCT, is_readable, keep_sample
from lib.levels.judging import CLASSES
from lib.levels.workspace import Recipe, Run, Workspace
from lib.networks.fold_runner import FoldRunner, places
from lib.networks.progress import Progress
from lib.networks.results import CancelledError, TrainingResult, check_folds
from lib.refusals import Refusal

FOLD = "lib.levels.fold"


def train(
    workspace: Path,
    cts: Sequence[LabelledCT],
    recipe: Recipe,
    *,
    parent: Path | None = None,
    folds: int = 5,
    device: str = "cpu",
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train all folds, or continue where an earlier call with the same arguments ended, however it ended.

    Args:
        workspace: the folder of this task's trainings. Views that are in it are not made again.
        cts: all that is trained on.
        recipe: the preset.
        parent: the folder of a version; each fold starts from its own weights there.
        folds: number of folds.
        device: "cpu", "cuda" for all GPUs, or "cuda:N".
        seed: of all that is left to chance; fold k uses ``seed + k``.
        on_progress: called after every epoch of every fold; what it raises ends the training.
        cancelled: asked a few times a second; once it says yes, the training ends.

    Raises:
        Refusal: the labels or the machine do not allow it; the sentence says what to do.
        CancelledError: ``cancelled`` said yes.
    """
    space = Workspace(workspace.resolve())
    check_folds(cts, folds)
    where = places(device, folds)

    def check_cancelled() -> None:
        if cancelled():
            raise CancelledError

    run = Run(
        samples={ct.key: (ct.patient, ct.fold) for ct in sorted(cts, key=lambda each: each.key)},
        folds=folds,
        recipe=recipe,
        parent=str(parent.resolve()) if parent else "",
        seed=seed,
    )
    space.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(space.lock, timeout=0):
            _set_up(space, run, cts, check_cancelled)
            FoldRunner(
                space,
                where,
                module=FOLD,
                folds=folds,
                epochs=run.epochs,
                on_progress=on_progress,
                check_cancelled=check_cancelled,
            ).train()
            return TrainingResult(
                results=space.model,
                metrics=_metrics(space, run),
                seeds=tuple(seed + fold for fold in range(folds)),
            )
    except Timeout as error:
        raise Refusal("A training of this task is running already: wait until it is done.", status=409) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Refusal(
                "The disk is full: make room, then start the training again and it continues.", status=409
            ) from error
        raise


def unfinished(workspace: Path) -> Run | None:
    """The training that a workspace holds: interrupted, or done and not yet discarded."""
    return Run.read(Workspace(workspace.resolve()).run)


def discard(workspace: Path) -> None:
    """Remove a training whose result was taken, or is no longer wanted; views stay for the next one."""
    space = Workspace(workspace.resolve())
    # What says that there is a run goes first: killed here, nothing half removed is continued.
    space.run.unlink(missing_ok=True)
    for folder in (space.model, space.checkpoints, space.progress(0).parent):
        shutil.rmtree(folder, ignore_errors=True)


def _set_up(space: Workspace, run: Run, cts: Sequence[LabelledCT], check_cancelled: Callable[[], None]) -> None:
    """Make the views that are missing; what belongs to another run goes."""
    if Run.read(space.run) != run:
        discard(space.root)
    for ct in cts:
        check_cancelled()
        path = space.sample(ct.key)
        if path.is_file() and not is_readable(path):
            path.unlink()
        keep_sample(path, ct)
    wanted = {space.sample(ct.key) for ct in cts}
    for path in set(space.views.iterdir()) - wanted:
        path.unlink()
    run.write(space.run)


def _metrics(space: Workspace, run: Run) -> dict[str, Any]:
    """The cross-validation: every CT judged by the fold that was not trained on it."""
    cases = []
    for fold in range(run.folds):
        for key, judged in json.loads(space.validation(fold).read_text()).items():
            cases.append({"key": key, "patient": run.samples[key][0], "fold": fold, **judged})
    by_fold = [_means([case for case in cases if case["fold"] == fold]) for fold in range(run.folds)]
    return {
        "classes": list(CLASSES),
        "pooled": _means(cases),
        "folds": [{"fold": fold, **means} for fold, means in enumerate(by_fold)],
        "best_fold": max(range(run.folds), key=lambda fold: by_fold[fold]["scores"]["l3"] or 0.0),
        "cases": cases,
    }


def _means(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known else None

    return {
        "cases": len(cases),
        "scores": {name: mean(case["scores"][name] for case in cases) for name in CLASSES},
        "l3_mm": mean(case["l3_mm"] for case in cases),
    }
