"""Trains the folds of an ensemble on labelled slices, through nnU-Net's own classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from lib.disk import write_json
from lib.networks.children import Child, wait
from lib.networks.nnunet.cross_validation import FoldDice, cross_validation
from lib.networks.nnunet.dataset import Slice, splits, write_dataset
from lib.networks.nnunet.parent import take_over_plans
from lib.networks.nnunet.recipes import Recipe
from lib.networks.nnunet.workspace import CHECKPOINT, Workspace
from lib.networks.progress import Progress
from lib.networks.results import TrainingResult
from lib.networks.training import run_of, train_folds
from lib.networks.workspace import Run

FOLD = "lib.networks.nnunet.fold"


def train(
    workspace: Path,
    slices: Sequence[Slice],
    classes: Mapping[str, int],
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
        workspace: the folder of this task's trainings. Slices that are preprocessed in it already are not again, as
            long as the plans stay: those of the parent do.
        slices: all that is trained on; those that are in the workspace and not here are removed.
        classes: name to value in the labels, 1 and up without gaps.
        recipe: the preset.
        parent: the results folder of a version. Each fold starts from its own weights there and trains for the
            recipe's ``fine_tune_epochs``, with the parent's plans.
        folds: number of folds.
        device: "cpu", "cuda" for all GPUs, or "cuda:N". Folds run side by side: on a CPU one a core, as far as its
            memory goes, on GPUs as far as theirs goes.
        seed: of all that is left to chance; fold k uses ``seed + k``.
        on_progress: called after every epoch of every fold, and at the start for what an earlier call did. What it
            raises ends the training.
        cancelled: asked a few times a second; once it says yes, the training ends.

    Returns:
        nnU-Net's results folder (plans.json, dataset.json, dataset_fingerprint.json and
        fold_K/checkpoint_final.pth), which stays until :func:`discard`, and its cross-validation.

    Raises:
        Refusal: the slices, the parent or the machine do not allow it; the sentence says what to do.
        CancelledError: ``cancelled`` said yes.
    """
    space = Workspace(workspace.resolve())
    run = run_of(
        slices,
        classes=dict(classes),
        folds=folds,
        recipe=recipe,
        parent=str(parent.resolve()) if parent else "",
        seed=seed,
    )
    return train_folds(
        space,
        run,
        slices,
        module=FOLD,
        device=device,
        prepare=partial(_prepare, space, run, slices),
        finish=partial(_finish, space, run, slices),
        on_progress=on_progress,
        cancelled=cancelled,
    )


def unfinished(workspace: Path) -> Run | None:
    """The training that a workspace holds: interrupted, or done and not yet discarded.

    The same slices, classes, recipe, parent and seed continue it, or give its result once more.
    """
    return Workspace(workspace.resolve()).unfinished()


def discard(workspace: Path) -> None:
    """Remove a training whose result was taken, or is no longer wanted; preprocessed slices stay for the next one."""
    Workspace(workspace.resolve()).discard()


def _prepare(space: Workspace, run: Run, slices: Sequence[Slice], check_cancelled: Callable[[], None]) -> None:
    """Write what the children read, and let nnU-Net plan and preprocess; slices that are preprocessed already stay."""
    write_dataset(space, slices, run.classes, check_cancelled)
    if run.parent and not space.plans.is_file():
        take_over_plans(space, Path(run.parent), run)
    write_json(space.preprocessed / "splits_final.json", splits(slices, run.folds))
    run.write(space.run)
    wait(Child(space, "lib.networks.nnunet.plans", "preparation"), check_cancelled)


def _finish(space: Workspace, run: Run, slices: Sequence[Slice]) -> TrainingResult:
    validations: list[FoldDice] = [json.loads(space.validation(fold).read_text()) for fold in range(run.folds)]
    metrics = cross_validation(validations, tuple(run.classes), {s.case: (s.key, s.patient) for s in slices})
    if not space.model.is_dir():
        _assemble(space, run)
    return TrainingResult(results=space.model, metrics=metrics, seeds=run.seeds)


def _assemble(space: Workspace, run: Run) -> None:
    """Put together what nnU-Net's predictor reads, without logs, which hold paths and names of this machine."""
    temporary = space.model.with_name("model.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name in ("plans.json", "dataset.json", "dataset_fingerprint.json"):
        shutil.copyfile(space.fold(0).parent / name, temporary / name)
    for fold in range(run.folds):
        target = temporary / f"fold_{fold}"
        target.mkdir()
        _link(space.fold(fold) / CHECKPOINT, target / CHECKPOINT)
    temporary.replace(space.model)


def _link(source: Path, target: Path) -> None:
    """Give a finished file a second name; a copy where the file system knows no such thing."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
