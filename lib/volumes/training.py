"""Trains the folds of a network on labelled volumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from lib.networks.nnunet.cross_validation import cross_validation
from lib.networks.progress import Progress
from lib.networks.results import TrainingResult
from lib.networks.training import run_of, train_folds
from lib.networks.workspace import Run
from lib.refusals import Refusal
from lib.volumes.dataset import LabelledVolume, is_readable, keep_volume, read_volume
from lib.volumes.judging import Judged
from lib.volumes.recipes import Recipe
from lib.volumes.workspace import Workspace, read_description, write_description

FOLD = "lib.volumes.fold"


def train(
    workspace: Path,
    volumes: Sequence[LabelledVolume],
    classes: Mapping[str, int],
    recipe: Recipe,
    *,
    parent: Path | None = None,
    folds: int = 3,
    device: str = "cpu",
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train all folds, or continue where an earlier call with the same arguments ended, however it ended.

    Args:
        workspace: the folder of this task's trainings. CTs that are kept in it are not read again.
        volumes: all that is trained on.
        classes: name to value in the labels, 1 and up without gaps.
        recipe: the preset; with a parent, :meth:`Recipe.following` its recipe.
        parent: the folder of a version; each fold starts from its own weights there.
        folds: number of folds.
        device: "cpu", "cuda" for all GPUs, or "cuda:N".
        seed: of all that is left to chance; fold k uses ``seed + k``.
        on_progress: called after every epoch of every fold; what it raises ends the training.
        cancelled: asked a few times a second; once it says yes, the training ends.

    Raises:
        Refusal: the labels, the parent or the machine do not allow it; the sentence says what to do.
        CancelledError: ``cancelled`` said yes.
    """
    space = Workspace(workspace.resolve())
    if parent is not None and (known := read_description(parent)[1]) != dict(classes):
        raise Refusal(
            f"The model to start from knows {', '.join(known)} and this task has {', '.join(classes)}: train from "
            "scratch instead."
        )
    run = run_of(
        volumes,
        classes=dict(classes),
        folds=folds,
        recipe=recipe,
        parent=str(parent.resolve()) if parent else "",
        seed=seed,
    )
    return train_folds(
        space,
        run,
        volumes,
        module=FOLD,
        device=device,
        prepare=partial(_keep_volumes, space, run, volumes),
        finish=partial(_finish, space, run),
        on_progress=on_progress,
        cancelled=cancelled,
    )


def unfinished(workspace: Path) -> Run | None:
    """The training that a workspace holds: interrupted, or done and not yet discarded."""
    return Workspace(workspace.resolve()).unfinished()


def discard(workspace: Path) -> None:
    """Remove a training whose result was taken, or is no longer wanted; kept CTs stay for the next one."""
    Workspace(workspace.resolve()).discard()


def _keep_volumes(
    space: Workspace, run: Run, volumes: Sequence[LabelledVolume], check_cancelled: Callable[[], None]
) -> None:
    """Read the labelled CTs that are not kept yet; those of other trainings go."""
    wanted = {space.sample(volume.key, run.recipe) for volume in volumes}
    space.samples.mkdir(parents=True, exist_ok=True)
    for path in set(space.samples.iterdir()) - wanted:
        shutil.rmtree(path)
    for volume in volumes:
        check_cancelled()
        folder = space.sample(volume.key, run.recipe)
        if not is_readable(folder):
            keep_volume(folder, volume, run.recipe, run.classes)
    _unlearnt(space, run)
    write_description(space.model, run.recipe, run.classes)


def _unlearnt(space: Workspace, run: Run) -> tuple[str, ...]:
    """The classes that are nowhere in what one of the folds trains on: the version does not learn them.

    Raises:
        Refusal: there is no other class.
    """
    shown = {key: read_volume(space.sample(key, run.recipe)).counts.sum(axis=0) for key in run.samples}
    missing = [
        name
        for name, value in run.classes.items()
        if not all(any(shown[key][value] for key in run.trained_on(fold)) for fold in range(run.folds))
    ]
    if len(missing) == len(run.classes):
        raise Refusal(
            "No class is drawn in labels of the patients of two folds, so no fold could be judged on what it learnt: "
            "draw the same classes in CTs of more patients."
        )
    return tuple(missing)


def _finish(space: Workspace, run: Run) -> TrainingResult:
    folds: list[dict[str, Judged]] = [json.loads(space.validation(fold).read_text()) for fold in range(run.folds)]
    names = {key: (key, patient) for key, (patient, _) in run.samples.items()}
    dice = [{key: judged["dice"] for key, judged in fold.items()} for fold in folds]
    metrics = cross_validation(dice, tuple(run.classes), names)
    every = {key: judged for fold in folds for key, judged in fold.items()}
    for case in metrics["cases"]:
        case |= {measure: every[case["key"]][measure] for measure in ("sensitivity", "ppv")}
    metrics |= {"counted": "CTs", "unlearnt": list(_unlearnt(space, run))}
    return TrainingResult(results=space.model, metrics=metrics, seeds=run.seeds)
