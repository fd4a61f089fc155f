"""Trains one fold of a network on volumes with MONAI's and Ignite's engines, in a process of its own.

``python -m lib.volumes.fold WORKSPACE FOLD DEVICE``
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.inferers import SimpleInferer
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from lib.disk import write_json
from lib.networks.checkpoints import save_whole
from lib.networks.children import child_process
from lib.networks.engines import has_bfloat16
from lib.networks.progress import Epoch, append_epoch
from lib.networks.workspace import Run
from lib.refusals import Refusal
from lib.volumes.dataset import KeptVolume, read_volume
from lib.volumes.ensemble import VolumeEnsemble
from lib.volumes.judging import judge_volume
from lib.volumes.loss import loss_function
from lib.volumes.recipes import Recipe
from lib.volumes.sampling import Patches
from lib.volumes.workspace import WEIGHTS, Workspace

_MOMENTUM, _WEIGHT_DECAY, _POWER = 0.9, 1e-4, 0.9
_WARM_UP = 0.05
"""Part of the epochs in which the learning rate rises to that of the recipe."""
_WORTH_BFLOAT16 = 16
"""Features from which a processor that computes in bfloat16 trains faster in it, by a half; with fewer it is slower."""
_PEEK = 6
"""Batches of the held-out volumes from which an epoch's Dice is estimated."""

logger = logging.getLogger(__name__)


class _MixedPrecision(SimpleInferer):
    """Computes in bfloat16 where that is faster; the mixed precision of MONAI's own engines is for CUDA alone.

    Not in three dimensions on a CPU: for small maps, PyTorch 2.13 gives infinite gradients of the weights there.
    """

    def __init__(self, device: torch.device, recipe: Recipe) -> None:
        super().__init__()
        on_cpu = recipe.flat and recipe.features[0] >= _WORTH_BFLOAT16 and has_bfloat16()
        worth_it = device.type == "cuda" or on_cpu
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=worth_it)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        with self._autocast:
            return super().__call__(inputs, network, *args, **kwargs)


class _Fold:
    """A fold's network, how it is trained, and how far it is."""

    def __init__(self, space: Workspace, run: Run, fold: int, device: torch.device) -> None:
        self._space, self._run, self._fold, self._device = space, run, fold, device
        recipe = run.recipe
        torch.manual_seed(run.seed + fold)  # the first weights
        network = recipe.build(1 + len(run.classes))
        if run.parent:
            _start_from(network, Path(run.parent) / f"fold_{fold}" / WEIGHTS)
        self.network: nn.Module = network.to(
            device, memory_format=torch.channels_last if recipe.flat else torch.channels_last_3d
        )
        parameters = self.network.parameters()
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr=run.learning_rate, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY)
            if recipe.optimizer == "sgd"
            else torch.optim.AdamW(parameters, lr=run.learning_rate, weight_decay=_WEIGHT_DECAY)
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda epoch: min(1.0, (epoch + 1) / (_WARM_UP * run.epochs)) * (1 - epoch / run.epochs) ** _POWER,
        )
        self._patches = self._of(run.trained_on(fold))
        self._held_out = self._of(run.held_out(fold))
        if self._patches is None:
            raise Refusal(f"Fold {fold} has nothing to learn from: no label of its patients shows a class.")
        self._losses: list[float] = []

    def _of(self, keys: list[str]) -> Patches | None:
        volumes = [read_volume(self._space.sample(key, self._run.recipe)) for key in keys]
        shown: list[KeptVolume] = [volume for volume in volumes if volume.counts[:, 1:].any()]
        return Patches(shown, self._run.recipe) if shown else None

    def train(self) -> None:
        """Train what is left of the epochs.

        Raises:
            Refusal: the loss is no longer a number.
        """
        trainer = SupervisedTrainer(
            device=self._device,
            max_epochs=self._run.epochs,
            train_data_loader=self._patches,  # type: ignore[arg-type]
            epoch_length=self._run.recipe.iterations_per_epoch,
            network=self.network,
            optimizer=self._optimizer,
            loss_function=loss_function(self._run.recipe.loss),
            prepare_batch=lambda batch, device, non_blocking, **_: (
                batch["image"].to(device, non_blocking=non_blocking),
                batch["label"].to(device, non_blocking=non_blocking),
            ),
            decollate=False,
            optim_set_to_none=True,
            inferer=_MixedPrecision(self._device, self._run.recipe),
        )
        self._resume(trainer)
        if trainer.state.epoch >= self._run.epochs:
            return
        # A logger of Ignite's own would tell the same once more.
        logging.getLogger(f"{type(trainer).__module__}.{type(trainer).__name__}").setLevel(logging.WARNING)
        writer = SummaryWriter(str(self._space.tensorboard / f"fold_{self._fold}"), purge_step=int(trainer.state.epoch))
        trainer.add_event_handler(Events.EPOCH_STARTED, self._begin)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        LrScheduleHandler(self._schedule, print_lr=False, epoch_level=True).attach(trainer)  # type: ignore[arg-type]
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end, writer)
        trainer.run()
        writer.close()

    def _resume(self, trainer: SupervisedTrainer) -> None:
        path = self._space.checkpoint(self._fold)
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        trainer.state.epoch = state["epoch"]
        trainer.state.iteration = state["epoch"] * self._run.recipe.iterations_per_epoch

    def _begin(self, trainer: SupervisedTrainer) -> None:
        """Seed by epoch, so that a training that was interrupted goes the way it would have gone."""
        assert self._patches is not None
        self._patches.seed(self._run.seed + self._fold, trainer.state.epoch)
        self._losses.clear()

    def _note(self, trainer: SupervisedTrainer) -> None:
        self._losses.append(float(trainer.state.output["loss"].detach()))  # type: ignore[index, call-overload]

    def _end(self, trainer: SupervisedTrainer, writer: SummaryWriter) -> None:
        """Report an epoch and keep what a later process continues from."""
        epoch, loss = int(trainer.state.epoch), float(np.mean(self._losses))
        if not math.isfinite(loss):
            raise Refusal(
                f"Fold {self._fold} diverged in epoch {epoch}: its loss is no longer a number. Train with another seed "
                "or preset."
            )
        state = {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "epoch": epoch,
        }
        save_whole(state, self._space.checkpoint(self._fold))
        dice = self._estimate()
        mean = float(np.mean(list(dice.values()))) if dice else 0.0
        writer.add_scalar("loss/train", loss, epoch - 1)
        writer.add_scalar("dice/mean", mean, epoch - 1)
        writer.flush()
        free, needed = _gpu_memory(self._device)
        append_epoch(
            self._space.progress(self._fold),
            Epoch(epoch=epoch, loss=loss, dice=mean, class_dice=dice, gpu_free=free, gpu_needed=needed),
        )

    @torch.inference_mode()
    def _estimate(self) -> dict[str, float]:
        """Dice on a few patches of the held-out volumes, the same ones every time."""
        if self._held_out is None:
            return {}
        self.network.eval()
        self._held_out.seed(self._run.seed + self._fold)
        both, sizes = (np.zeros(1 + len(self._run.classes)) for _ in range(2))
        for batch in islice(self._held_out, _PEEK):
            label = batch["label"].numpy()
            found = self.network(batch["image"].to(self._device)).argmax(dim=1).cpu().numpy()
            for value in self._run.classes.values():
                judged = label < len(both)
                a, b = (found == value) & judged, label == value
                both[value] += (a & b).sum()
                sizes[value] += a.sum() + b.sum()
        self.network.train()
        return {
            name: float(2 * both[value] / sizes[value]) for name, value in self._run.classes.items() if sizes[value]
        }


def train_fold(space: Workspace, number: int, device: torch.device) -> None:
    """Train a fold to its end and validate it on whole CTs, from where it stands."""
    run = space.current()
    if not space.weights(number).is_file():
        fold = _Fold(space, run, number, device)
        fold.train()
        save_whole(
            {name: value.cpu().contiguous() for name, value in fold.network.state_dict().items()},
            space.weights(number),
        )
        del fold
    ensemble = VolumeEnsemble(space.model, folds=[number], engine="cuda" if device.type == "cuda" else "openvino")
    judged = {
        key: judge_volume(ensemble, read_volume(space.sample(key, run.recipe)), number) for key in run.held_out(number)
    }
    write_json(space.validation(number), judged)


def _start_from(network: nn.Module, path: Path) -> None:
    """Load a parent's weights.

    Raises:
        Refusal: they are not there, or not of this network.
    """
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, KeyError, EOFError, ValueError) as error:
        raise Refusal(
            f"{path.parent.name} of the model to start from is missing, damaged or of another network: choose another "
            "version, or train from scratch."
        ) from error


def _gpu_memory(device: torch.device) -> tuple[int, int]:
    """Bytes that are free on the GPU, and bytes that this process takes at most; 0 and 0 without one."""
    if device.type != "cuda":
        return 0, 0
    free, _ = torch.cuda.mem_get_info(device)
    return free, torch.cuda.max_memory_reserved(device)


def main() -> None:
    """Train the fold that is named on the command line."""
    with child_process():
        train_fold(Workspace(Path(sys.argv[1])), int(sys.argv[2]), torch.device(sys.argv[3]))


if __name__ == "__main__":
    main()
