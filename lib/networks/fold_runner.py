"""Runs the folds of a training side by side: on a CPU one a core, on GPUs as far as their memory goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from lib.networks.children import Child, GpuFullError, TrainingFiles
from lib.networks.progress import Epoch, EpochReader, Progress, last_epoch
from lib.refusals import Refusal

_FOLD_BYTES = 3 * 2**30
"""Memory that a fold on a CPU may take, on the presets meant for one."""
_CONTEXT_BYTES = 700 * 2**20
"""What CUDA itself takes on the GPU for each process."""
_POLL_SECONDS = 0.3


@dataclass
class Place:
    """A CPU or GPU on which folds run.

    Attributes:
        device: as the child calls it.
        environment: of the child.
        most: how many folds may run on it side by side.
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
            self.capacity = max(self.capacity, min(self.most, len(self.reported) + room))


class FoldRunner:
    """Runs the folds that are not done yet, each in its own process, where there is room.

    Args:
        space: the files of the training.
        where: the CPU or the GPUs.
        module: trains a fold: ``python -m MODULE ROOT FOLD DEVICE``.
        folds: how many.
        epochs: of each.
        on_progress: told of every epoch.
        check_cancelled: raises when the training is called off.
    """

    def __init__(
        self,
        space: TrainingFiles,
        where: Sequence[Place],
        *,
        module: str,
        folds: int,
        epochs: int,
        on_progress: Callable[[Progress], None],
        check_cancelled: Callable[[], None],
    ) -> None:
        self._space, self._module, self._places = space, module, where
        self._folds, self._epochs = folds, epochs
        self._on_progress, self._check_cancelled = on_progress, check_cancelled
        self._waiting: list[int] = []

    def train(self) -> None:
        """Train and validate what is left; whatever goes wrong ends all that run.

        Raises:
            Refusal: a fold did not end well.
        """
        for fold in range(self._folds):
            if epoch := last_epoch(self._space.progress(fold)):
                self._report(fold, epoch)
        self._waiting = [fold for fold in range(self._folds) if not self._space.validation(fold).is_file()]
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

    def _start(self, place: Place) -> None:
        while self._waiting and len(place.running) < place.capacity:
            fold = self._waiting.pop(0)
            reader = EpochReader(self._space.progress(fold))
            arguments = (str(fold), place.device)
            child = Child(self._space, self._module, f"training of fold {fold}", arguments, place.environment)
            place.running[fold] = child, reader

    def _follow(self, place: Place) -> None:
        for fold, (child, reader) in list(place.running.items()):
            ended = not child.running
            for epoch in reader.new():
                self._report(fold, epoch)
                place.learn(fold, epoch)
            if ended:
                self._end(place, fold, child)

    def _end(self, place: Place, fold: int, child: Child) -> None:
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
                folds=self._folds,
                epoch=epoch.epoch,
                epochs=self._epochs,
                loss=epoch.loss,
                dice=epoch.dice,
                class_dice=epoch.class_dice,
            )
        )


def places(device: str, folds: int) -> list[Place]:
    """What "cpu", "cuda" or "cuda:N" means on this machine.

    Raises:
        Refusal: there is no such device.
    """
    cores = os.cpu_count() or 1
    # Compiling needs a C compiler beside CUDA and takes minutes for each fold; who has both sets the variable.
    common = {"nnUNet_compile": os.environ.get("nnUNet_compile", "f")}  # noqa: SIM112 - nnU-Net's name
    if device == "cpu":
        # Each fold on a core of its own gets further than one fold on several cores.
        room = int(psutil.virtual_memory().available // _FOLD_BYTES)
        at_once = max(1, min(folds, cores, room))
        settings = {
            "OMP_NUM_THREADS": str(max(1, cores // at_once)),
            # Threads that wait awake take the cores from the server, and from whatever else runs here.
            "OMP_WAIT_POLICY": "PASSIVE",
            # On two cores, augmenting in the same process is fastest: it takes a tenth of an iteration's time.
            "nnUNet_n_proc_DA": str(min(4, cores // 4)),
            "CUDA_VISIBLE_DEVICES": "",
        }
        return [Place("cpu", {**common, **settings}, most=at_once, capacity=at_once)]
    gpus = _gpus(device)
    at_once = max(1, min(folds, cores // 2))
    workers = {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": str(max(1, min(12, cores // max(at_once, len(gpus)))))}
    return [Place("cuda", {**common, **workers, "CUDA_VISIBLE_DEVICES": gpu}, most=at_once) for gpu in gpus]


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
