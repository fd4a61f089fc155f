"""Trains one fold of the detector, in a process of its own.

``python -m lib.levels.fold WORKSPACE FOLD DEVICE``
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.disk import write_json
from lib.levels.dataset import read_sample
from lib.levels.ensemble import LevelEnsemble
from lib.levels.judging import judge_rows
from lib.levels.learning import Sample, batches, loss_of
from lib.levels.network import LevelNet
from lib.levels.workspace import Workspace
from lib.networks.checkpoints import save_whole
from lib.networks.children import child_process
from lib.networks.progress import Epoch, append_epoch
from lib.networks.workspace import Run
from lib.refusals import Refusal


class _Fold:
    """A fold's networks and how far it is."""

    def __init__(self, space: Workspace, run: Run, fold: int, device: torch.device) -> None:
        self._space, self._run, self._fold, self._device = space, run, fold, device
        torch.manual_seed(run.seed + fold)
        self.network = LevelNet().to(device)
        if run.parent:
            self.network = LevelEnsemble.load(Path(run.parent) / f"fold_{fold}").to(device)
        steps = run.epochs * run.recipe.iterations_per_epoch
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=run.learning_rate, weight_decay=1e-2)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=run.learning_rate, total_steps=steps, pct_start=0.1
        )
        self.epoch = 0
        self._resume()

    def _resume(self) -> None:
        path = self._space.checkpoint(self._fold)
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.epoch = state["epoch"]

    def train_epoch(self, samples: Sequence[Sample]) -> float:
        """One epoch, seeded by its number, so that an interrupted training goes the way it would have gone.

        Returns:
            The mean loss.

        Raises:
            Refusal: the loss is no longer a number.
        """
        recipe = self._run.recipe
        seed = int(np.random.SeedSequence([self._run.seed + self._fold, self.epoch]).generate_state(1)[0])
        supply = batches(samples, recipe.batch_size, torch.Generator().manual_seed(seed))
        self.network.train()
        losses = []
        for _ in range(recipe.iterations_per_epoch):
            frontal, sagittal, targets = (each.to(self._device) for each in next(supply))
            loss = torch.stack(list(loss_of(self.network(frontal, sagittal), targets, frontal).values())).sum()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self._optimizer.step()
            self._schedule.step()
            losses.append(float(loss.detach()))
        mean = float(np.mean(losses))
        if not math.isfinite(mean):
            raise Refusal(
                f"Fold {self._fold} diverged in epoch {self.epoch + 1}: its loss is no longer a number. Train with "
                "another seed or preset."
            )
        self.epoch += 1
        return mean

    def save(self) -> None:
        """Keep what a later process continues from; the one before stays until it is there."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "epoch": self.epoch,
        }
        save_whole(state, self._space.checkpoint(self._fold))


def train_fold(space: Workspace, number: int, device: torch.device) -> None:
    """Train a fold to its end and validate it, from where it stands."""
    run = space.current()
    held_out = run.held_out(number)
    samples = [read_sample(space.sample(key)).sample for key in run.trained_on(number)]
    fold = _Fold(space, run, number, device)
    while fold.epoch < run.epochs:
        loss = fold.train_epoch(samples)
        fold.save()
        last = fold.epoch == run.epochs
        scores = _validate(fold.network, space, held_out if last else held_out[:_PEEK])
        found = [value for case in scores.values() for value in case["scores"].values() if value is not None]
        score = float(np.mean(found)) if found else 0.0
        append_epoch(space.progress(number), Epoch(epoch=fold.epoch, loss=loss, dice=score))
    save_whole(fold.network.state_dict(), space.weights(number))
    write_json(space.validation(number), _validate(fold.network, space, held_out))


_PEEK = 6
"""Held-out CTs on which an epoch's score is estimated."""


def _validate(network: LevelNet, space: Workspace, keys: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """How the network does on whole CTs, by their key."""
    ensemble = LevelEnsemble({0: network})
    judged = {}
    for key in keys:
        kept = read_sample(space.sample(key))
        rows = ensemble.read_arrays(kept.frontal, kept.sagittal)
        judged[key] = judge_rows(rows, kept.targets, kept.z_mm)
    return judged


def main() -> None:
    """Train the fold that is named on the command line."""
    with child_process():
        train_fold(Workspace(Path(sys.argv[1])), int(sys.argv[2]), torch.device(sys.argv[3]))


if __name__ == "__main__":
    main()
