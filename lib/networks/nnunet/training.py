"""Trains the folds of an ensemble on labelled slices, through nnU-Net's own classes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.networks.nnunet.children import Child, GpuFullError, wait
from lib.networks.nnunet.cross_validation import FoldDice, cross_validation
from lib.networks.nnunet.dataset import Slice, check_folds, splits, write_dataset
from lib.networks.nnunet.parent import take_over_plans
from lib.networks.nnunet.progress import Epoch, EpochReader, Progress, last_epoch
from lib.networks.nnunet.recipes import Recipe
from lib.networks.nnunet.workspace import CHECKPOINT, Run, Workspace, write_json
from lib.refusals import Refusal

_CONTEXT_BYTES = 700 * 2**20
"""What CUDA itself takes on the GPU for each process."""
_POLL_SECONDS = 0.3


class CancelledError(Exception):
    """The training was called off; the same call continues it."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A finished training.

    Attributes:
        results: nnU-Net's results folder: plans.json, dataset.json, dataset_fingerprint.json and
            fold_K/checkpoint_final.pth; it stays until :func:`discard` or another training in the same workspace.
        metrics: the cross-validation, see :func:`lib.networks.nnunet.cross_validation.cross_validation`.
        seeds: of the folds.
    """

    results: Path
    metrics: dict[str, Any]
    seeds: tuple[int, ...]


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
        device: "cpu", "cuda" for all GPUs, or "cuda:N". Folds run one after another on a CPU, and on GPUs side by
            side as far as their free memory goes.
        seed: of all that is left to chance; fold k uses ``seed + k``.
        on_progress: called after every epoch of every fold, and at the start for what an earlier call did. What it
            raises ends the training.
        cancelled: asked a few times a second; once it says yes, the training ends.

    Returns:
        The results folder and its cross-validation.

    Raises:
        Refusal: the slices, the parent or the machine do not allow it; the sentence says what to do.
        CancelledError: ``cancelled`` said yes.
    """
    space = Workspace(workspace.resolve())
    check_folds(slices, folds)
    places = _places(device, folds)
    run = Run(
        slices={s.key: (s.patient, s.fold) for s in sorted(slices, key=lambda s: s.key)},
        classes=dict(classes),
        folds=folds,
        recipe=recipe,
        parent=str(parent.resolve()) if parent else "",
        seed=seed,
    )

    def check_cancelled() -> None:
        if cancelled():
            raise CancelledError

    space.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(space.lock, timeout=0):
            _set_up(space, run, slices, check_cancelled)
            wait([Child(space, "lib.networks.nnunet.plans", "preparation")], check_cancelled)
            _Folds(space, run, places, on_progress, check_cancelled).train()
            return _finish(space, run, slices)
    except Timeout as error:
        raise Refusal("A training of this task is running already: wait until it is done.", status=409) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Refusal(
                "The disk is full: make room, then start the training again and it continues.", status=409
            ) from error
        raise


def unfinished(workspace: Path) -> Run | None:
    """The training that a workspace holds: interrupted, or done and not yet discarded.

    The same slices, classes, recipe, parent and seed continue it, or give its result once more.
    """
    return Run.read(Workspace(workspace.resolve()).run)


def discard(workspace: Path) -> None:
    """Remove a training whose result was taken, or is no longer wanted; preprocessed slices stay for the next one."""
    _discard(Workspace(workspace.resolve()))


def _discard(space: Workspace) -> None:
    # What says that there is a run goes first: killed here, nothing half removed is continued.
    space.run.unlink(missing_ok=True)
    space.plans.unlink(missing_ok=True)
    for folder in (space.results, space.model, space.progress(0).parent):
        shutil.rmtree(folder, ignore_errors=True)


def _set_up(space: Workspace, run: Run, slices: Sequence[Slice], check_cancelled: Callable[[], None]) -> None:
    """Write what the children read; what belongs to another run goes, preprocessed slices stay."""
    if Run.read(space.run) != run:
        _discard(space)
        shutil.rmtree(space.tensorboard, ignore_errors=True)
    write_dataset(space, slices, run.classes, check_cancelled)
    if run.parent and not space.plans.is_file():
        take_over_plans(space, Path(run.parent), run)
    write_json(space.preprocessed / "splits_final.json", splits(slices, run.folds))
    run.write(space.run)


def _finish(space: Workspace, run: Run, slices: Sequence[Slice]) -> TrainingResult:
    validations: list[FoldDice] = [json.loads(space.validation(fold).read_text()) for fold in range(run.folds)]
    metrics = cross_validation(validations, tuple(run.classes), {s.case: (s.key, s.patient) for s in slices})
    if not space.model.is_dir():
        _assemble(space, run)
    return TrainingResult(
        results=space.model, metrics=metrics, seeds=tuple(run.seed + fold for fold in range(run.folds))
    )


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


@dataclass
class _Place:
    """A CPU or GPU on which folds run.

    Attributes:
        device: as the child calls it.
        environment: of the child.
        capacity: how many folds run on it side by side, as far as is known.
    """

    device: str
    environment: dict[str, str]
    most: int
    capacity: int = 1
    running: dict[int, tuple[Child, EpochReader]] = field(default_factory=dict)
    reported: set[int] = field(default_factory=set)

    def learn(self, fold: int, epoch: Epoch) -> None:
        """See from an epoch how many more folds the GPU has room for, once all that run on it have taken theirs."""
        self.reported.add(fold)
        if epoch.gpu_needed and self.reported >= set(self.running):
            room = int(0.9 * epoch.gpu_free) // (epoch.gpu_needed + _CONTEXT_BYTES)
            self.capacity = max(self.capacity, min(self.most, len(self.running) + room))


class _Folds:
    """Runs the folds that are not done yet, each where there is room."""

    def __init__(
        self,
        space: Workspace,
        run: Run,
        places: Sequence[_Place],
        on_progress: Callable[[Progress], None],
        check_cancelled: Callable[[], None],
    ) -> None:
        self._space, self._run, self._places = space, run, places
        self._on_progress, self._check_cancelled = on_progress, check_cancelled
        self._waiting: list[int] = []

    def train(self) -> None:
        for fold in range(self._run.folds):
            if epoch := last_epoch(self._space.progress(fold)):
                self._report(fold, epoch)
        self._waiting = [fold for fold in range(self._run.folds) if not self._space.validation(fold).is_file()]
        try:
            while self._waiting or any(place.running for place in self._places):
                for place in self._places:
                    self._start(place)
                    self._follow(place)
                self._check_cancelled()
                time.sleep(_POLL_SECONDS)
        finally:
            for place in self._places:
                for child, _ in place.running.values():
                    child.stop()

    def _start(self, place: _Place) -> None:
        while self._waiting and len(place.running) < place.capacity:
            fold = self._waiting.pop(0)
            reader = EpochReader(self._space.progress(fold))
            arguments = (str(fold), place.device)
            module = "lib.networks.nnunet.fold"
            child = Child(self._space, module, f"training of fold {fold}", arguments, place.environment)
            place.running[fold] = child, reader

    def _follow(self, place: _Place) -> None:
        for fold, (child, reader) in list(place.running.items()):
            ended = not child.running
            for epoch in reader.new():
                self._report(fold, epoch)
                place.learn(fold, epoch)
            if ended:
                self._end(place, fold, child)

    def _end(self, place: _Place, fold: int, child: Child) -> None:
        del place.running[fold]
        place.reported.discard(fold)
        child.stop()
        try:
            child.check()
        except GpuFullError as error:
            if not place.running:
                raise Refusal(
                    "The GPU has too little free memory for this training: end what else runs on it, or choose a "
                    "smaller preset; started again, the training continues.",
                    status=409,
                ) from error
            # Others took what was measured as free: it goes on from its checkpoint when they are done.
            place.capacity = place.most = 1
            self._waiting.insert(0, fold)

    def _report(self, fold: int, epoch: Epoch) -> None:
        self._on_progress(
            Progress(
                fold=fold,
                folds=self._run.folds,
                epoch=epoch.epoch,
                epochs=self._run.epochs,
                loss=epoch.loss,
                dice=epoch.dice,
                class_dice=epoch.class_dice,
            )
        )


def _places(device: str, folds: int) -> list[_Place]:
    cores = os.cpu_count() or 1
    # Compiling needs a C compiler beside CUDA and takes minutes for each fold; who has both sets the variable.
    common = {"nnUNet_compile": os.environ.get("nnUNet_compile", "f")}  # noqa: SIM112 - nnU-Net's name
    if device == "cpu":
        # On two cores, augmenting in the same process is fastest: it takes a tenth of an iteration's time.
        workers = {"nnUNet_n_proc_DA": str(min(4, cores // 4))}
        return [_Place("cpu", {**common, **workers, "CUDA_VISIBLE_DEVICES": ""}, most=1)]
    gpus = _gpus(device)
    at_once = max(1, min(folds, cores // 2))
    workers = {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": str(max(1, min(12, cores // max(at_once, len(gpus)))))}
    return [_Place("cuda", {**common, **workers, "CUDA_VISIBLE_DEVICES": gpu}, most=at_once) for gpu in gpus]


def _gpus(device: str) -> list[str]:
    """The GPUs that "cuda" or "cuda:N" means, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # noqa: PLC0415 - takes a second, and only GPUs need it

    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise Refusal(f"There is no device {device!r}: it is cpu, cuda, or cuda with a number such as cuda:0.")
    visible = [v.strip() for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    count = torch.cuda.device_count()
    names = (visible or [str(i) for i in range(count)])[:count]
    if number:
        names = names[int(number) : int(number) + 1]
    if not names:
        raise Refusal(f"There is no GPU {device}: train on the cpu, or see whether PyTorch finds the GPU.")
    return names
