"""Trains one fold through nnU-Net's trainer, in a process of its own.

``python -m lib.networks.nnunet.fold WORKSPACE FOLD DEVICE``
"""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import random
import shutil
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.utils.tensorboard import SummaryWriter

from lib.disk import write_json
from lib.networks.children import child_process
from lib.networks.nnunet.cross_validation import FoldDice
from lib.networks.nnunet.workspace import CHECKPOINT, CONFIGURATION, TRAINER, Workspace
from lib.networks.progress import Epoch, append_epoch
from lib.networks.workspace import Run
from lib.refusals import Refusal

LATEST, PREVIOUS = "checkpoint_latest.pth", "checkpoint_previous.pth"
_UNREADABLE = (
    OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, pickle.UnpicklingError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What PyTorch raises for a checkpoint that was cut short or overwritten, depending on where."""
_SAVING_SHARE = 0.05
"""At most this share of the time goes into checkpoints."""
_PREDICTION_KEYS = (
    "network_weights", "logging", "_best_ema", "current_epoch", "init_args", "trainer_name",
    "inference_allowed_mirroring_axes",
)  # fmt: skip
"""What a finished checkpoint keeps: all that prediction and fine-tuning need, without the optimizer's state."""


class FoldTrainer(nnUNetTrainer):
    """nnU-Net's trainer with the length of a recipe, safe checkpoints, and progress that others can read.

    The constructor is nnU-Net's own: it finds its arguments by name in the signature.
    """

    def follow(self, workspace: Workspace, run: Run) -> None:
        """Take over a run's settings; to be called before :meth:`initialize`."""
        recipe = run.recipe
        self.num_epochs, self.initial_lr = run.epochs, run.learning_rate
        self.num_iterations_per_epoch = recipe.iterations_per_epoch
        self.num_val_iterations_per_epoch = recipe.validation_iterations
        self.logger = _QuietLogger(self.output_folder, resume=False)
        self.save_every = 1
        self._optimizer = recipe.optimizer
        self._seed = run.seed + self.fold
        self._progress = workspace.progress(self.fold)
        self._tensorboard = workspace.tensorboard / f"fold_{self.fold}"
        self._last_save, self._save_seconds = -math.inf, 0.0
        self._writer: SummaryWriter | None = None

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """nnU-Net's SGD, or AdamW with the same weight decay and the same polynomial schedule."""
        if self._optimizer == "sgd":
            return super().configure_optimizers()  # type: ignore[no-any-return]
        parameters = self.network.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def start_from(self, checkpoint: Path) -> None:
        """Load all weights of a parent's fold, those of the last layer too: the classes are the same.

        Raises:
            Refusal: they are not weights of this network.
        """
        weights = torch.load(checkpoint, map_location=self.device, weights_only=False)["network_weights"]
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise Refusal(
                f"The weights in {checkpoint.parent.name}/{checkpoint.name} of the model to start from do not fit the "
                "network in its plans: choose another version, or train from scratch."
            ) from error

    def resume(self) -> None:
        """Continue from the newest checkpoint that can be read, if there is one."""
        for name in (LATEST, PREVIOUS):
            path = Path(self.output_folder) / name
            if not path.is_file():
                continue
            try:
                self.load_checkpoint(str(path))
            except torch.OutOfMemoryError:
                raise
            except _UNREADABLE as error:
                self.print_to_log_file(f"{name} cannot be read: {error!r}")
            else:
                self.print_to_log_file(f"continuing after epoch {self.current_epoch} of {self.num_epochs}")
                return

    def on_train_start(self) -> None:
        """Open TensorBoard; scalars of epochs that are trained again replace the earlier ones."""
        super().on_train_start()
        self._writer = SummaryWriter(str(self._tensorboard), purge_step=self.current_epoch)

    def on_epoch_start(self) -> None:
        """Seed by epoch, so that a training that was interrupted goes the way it would have gone."""
        seed = int(np.random.SeedSequence([self._seed, self.current_epoch]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - nnU-Net's augmentation draws from the global generator
        torch.manual_seed(seed)
        super().on_epoch_start()

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Stop a training that has diverged, before a checkpoint is made of it.

        Raises:
            Refusal: the loss is no longer a number.
        """
        super().on_train_epoch_end(train_outputs)
        if not math.isfinite(self.logger.get_value("train_losses", self.current_epoch)):
            raise Refusal(
                f"Fold {self.fold} diverged in epoch {self.current_epoch + 1}: its loss is no longer a number. Train "
                "with another seed or preset."
            )

    def on_epoch_end(self) -> None:
        """Report the epoch."""
        epoch = self.current_epoch
        super().on_epoch_end()
        scalars = {
            "loss/train": float(self.logger.get_value("train_losses", epoch)),
            "loss/validation": float(self.logger.get_value("val_losses", epoch)),
            "dice/mean": float(self.logger.get_value("mean_fg_dice", epoch)),
            "learning_rate": float(self.logger.get_value("lrs", epoch)),
        }
        dice = dict(zip(self._classes.values(), self.logger.get_value("dice_per_class_or_region", epoch), strict=True))
        if self._writer is not None:
            for name, value in {**scalars, **{f"dice/{k}": float(v) for k, v in dice.items()}}.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        free, needed = _gpu_memory(self.device)
        append_epoch(
            self._progress,
            Epoch(
                epoch=epoch + 1,
                loss=scalars["loss/train"],
                dice=_finite(scalars["dice/mean"]),
                class_dice={name: _finite(float(value)) for name, value in dice.items()},
                gpu_free=free,
                gpu_needed=needed,
            ),
        )

    def save_checkpoint(self, filename: str) -> None:
        """Save in one step, keep the checkpoint before it, and do not save more often than time allows."""
        path = Path(filename)
        if path.name not in {LATEST, CHECKPOINT}:
            return  # the best epoch's: it is chosen by a noisy estimate, and the last one is used
        started = time.monotonic()
        if path.name == LATEST and started - self._last_save < self._save_seconds / _SAVING_SHARE:
            return
        temporary = path.with_name("incoming.pth")
        try:
            self._write_checkpoint(temporary)
            if path.name == CHECKPOINT:
                _drop_optimizer(temporary)
            if path.name == LATEST and path.is_file():
                path.replace(path.with_name(PREVIOUS))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._last_save = time.monotonic()
        self._save_seconds = self._last_save - started

    @torch.no_grad()
    def validate(self) -> FoldDice:
        """Dice of the held-out slices in their own geometry, predicted as nnU-Net's own validation predicts them.

        That validation itself hands every case to other processes, whose start takes longer than a slice.
        """
        self.set_deep_supervision_enabled(enabled=False)
        self.network.eval()
        predictor = nnUNetPredictor(use_mirroring=True, device=self.device, allow_tqdm=False)
        predictor.manual_initialization(
            self.network,
            self.plans_manager,
            self.configuration_manager,
            None,
            self.dataset_json,
            TRAINER,
            self.inference_allowed_mirroring_axes,
        )
        folder = Path(self.output_folder) / "validation"
        folder.mkdir(exist_ok=True)
        _, cases = self.do_split()
        dataset = self.dataset_class(self.preprocessed_dataset_folder, cases)
        return {case: self._validate_case(predictor, dataset, folder / case) for case in cases}

    def _validate_case(self, predictor: nnUNetPredictor, dataset: Any, prediction: Path) -> dict[str, float | None]:
        data, _, _, properties = dataset.load_case(prediction.name)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data[:])).cpu()
        export_prediction_from_logits(
            logits,
            properties,
            self.configuration_manager,
            self.plans_manager,
            self.dataset_json,
            str(prediction),
            num_threads_torch=torch.get_num_threads(),
        )
        file = f"{prediction.name}.nii.gz"
        metrics = compute_metrics(
            str(Path(self.preprocessed_dataset_folder_base) / "gt_segmentations" / file),
            str(prediction.with_name(file)),
            self.plans_manager.image_reader_writer_class(),
            self.label_manager.foreground_labels,
            self.label_manager.ignore_label,
        )["metrics"]
        return {
            name: float(metrics[label]["Dice"]) if math.isfinite(metrics[label]["Dice"]) else None
            for label, name in self._classes.items()
        }

    @property
    def _classes(self) -> dict[int, str]:
        """Label to name, without background and what nobody judged."""
        labels = self.dataset_json["labels"]
        return {
            label: next(n for n, v in labels.items() if v == label) for label in self.label_manager.foreground_labels
        }

    def _write_checkpoint(self, path: Path) -> None:
        try:
            super().save_checkpoint(str(path))
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        except RuntimeError as error:
            # PyTorch's writer does not say that it is the disk.
            if shutil.disk_usage(path.parent).free < 2**26:
                raise OSError(errno.ENOSPC, "no space left for a checkpoint") from error
            raise


# The name stands in every checkpoint and folder, and is what nnU-Net's predictor looks for.
FoldTrainer.__name__ = TRAINER


class _QuietLogger(MetaLogger):
    """nnU-Net's log without its picture, which takes a second each epoch; TensorBoard shows the same."""

    def plot_progress_png(self, output_folder: str) -> None:
        del output_folder


def train_fold(workspace: Workspace, fold: int, device: torch.device) -> None:
    """Train a fold to its end and validate it, from where it stands.

    Raises:
        Refusal: the parent's weights cannot be used.
    """
    run = workspace.current()
    plans = json.loads(workspace.plans.read_text()) | {"continue_training": False}
    dataset = json.loads((workspace.preprocessed / "dataset.json").read_text())
    torch.manual_seed(run.seed + fold)  # the first weights
    trainer = FoldTrainer(plans, CONFIGURATION, fold, dataset, device)
    trainer.follow(workspace, run)
    trainer.initialize()
    final = Path(trainer.output_folder) / CHECKPOINT
    if final.is_file():
        trainer.network.load_state_dict(torch.load(final, map_location=device, weights_only=False)["network_weights"])
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    else:
        if run.parent:
            trainer.start_from(Path(run.parent) / f"fold_{fold}" / CHECKPOINT)
        trainer.resume()
        trainer.run_training()
        (Path(trainer.output_folder) / PREVIOUS).unlink(missing_ok=True)
    write_json(workspace.validation(fold), trainer.validate())


def _drop_optimizer(path: Path) -> None:
    """Drop the optimizer's state, half of the file."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    torch.save({key: content[key] for key in _PREDICTION_KEYS}, path)


def _gpu_memory(device: torch.device) -> tuple[int, int]:
    """Bytes that are free on the GPU, and bytes that this process takes at most; 0 and 0 without one."""
    if device.type != "cuda":
        return 0, 0
    free, _ = torch.cuda.mem_get_info(device)
    return free, torch.cuda.max_memory_reserved(device)


def _finite(value: float) -> float:
    """A Dice that clients can show: 0 where no pixel of any class was in view."""
    return value if math.isfinite(value) else 0.0


def main() -> None:
    """Train the fold that is named on the command line."""
    with child_process():
        device = torch.device(sys.argv[3])
        if device.type == "cuda":
            torch.set_num_threads(1)
            torch.backends.cudnn.benchmark = True
        train_fold(Workspace(Path(sys.argv[1])), int(sys.argv[2]), device)


if __name__ == "__main__":
    main()
