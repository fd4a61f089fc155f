"""Trains the folds of the detector on labelled CTs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lib.levels.dataset import LabelledCT, is_readable, keep_sample
from lib.levels.judging import CLASSES
from lib.levels.workspace import Recipe, Workspace
from lib.networks.progress import Progress
from lib.networks.results import TrainingResult
from lib.networks.training import run_of, train_folds
from lib.networks.workspace import Run

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
    run = run_of(cts, classes={}, folds=folds, recipe=recipe, parent=str(parent.resolve()) if parent else "", seed=seed)
    return train_folds(
        space,
        run,
        cts,
        module=FOLD,
        device=device,
        prepare=partial(_keep_views, space, cts),
        finish=lambda: TrainingResult(results=space.model, metrics=_metrics(space, run), seeds=run.seeds),
        on_progress=on_progress,
        cancelled=cancelled,
    )


def unfinished(workspace: Path) -> Run | None:
    """The training that a workspace holds: interrupted, or done and not yet discarded."""
    return Workspace(workspace.resolve()).unfinished()


def discard(workspace: Path) -> None:
    """Remove a training whose result was taken, or is no longer wanted; views stay for the next one."""
    Workspace(workspace.resolve()).discard()


def _keep_views(space: Workspace, cts: Sequence[LabelledCT], check_cancelled: Callable[[], None]) -> None:
    """Make the views that are missing; those of other CTs go."""
    for ct in cts:
        check_cancelled()
        path = space.sample(ct.key)
        if path.is_file() and not is_readable(path):
            path.unlink()
        keep_sample(path, ct)
    wanted = {space.sample(ct.key) for ct in cts}
    for path in set(space.views.iterdir()) - wanted:
        path.unlink()


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
