"""Where a training of the detector keeps its files, and its presets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lib.networks import workspace

NETWORK = "levels"
"""What manifests and the task table call this kind of network."""
_FORMAT = 2
"""To be raised with every change of how views or targets are made: those of earlier trainings are then made anew."""
WEIGHTS = "weights.pt"
"""Of a fold that is done, in ``fold_K``."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One preset.

    Attributes:
        name: what a user chooses.
        epochs: of a training from scratch.
        fine_tune_epochs: of a training that starts from a parent's weights.
        iterations_per_epoch: batches that an epoch trains on.
        batch_size: views in a batch; each is cut and changed anew every time, far more often than the ten times of
            Ha 2021.
        learning_rate: the highest of a training from scratch.
        fine_tune_lr: the highest of a training from a parent's weights.
    """

    name: str
    epochs: int
    fine_tune_epochs: int
    iterations_per_epoch: int
    batch_size: int
    learning_rate: float = 2e-3
    fine_tune_lr: float = 5e-4


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="paper", epochs=200, fine_tune_epochs=40, iterations_per_epoch=100, batch_size=16),
        Recipe(name="small", epochs=40, fine_tune_epochs=10, iterations_per_epoch=50, batch_size=4),
        Recipe(name="quick", epochs=6, fine_tune_epochs=2, iterations_per_epoch=25, batch_size=4),
    )
}


@dataclass(frozen=True)
class Workspace(workspace.Workspace):
    """The folder of the trainings; views of labelled CTs stay in it from one training to the next."""

    recipe = Recipe

    @property
    def views(self) -> Path:
        """Views and targets of labelled CTs."""
        return self.root / "views"

    def sample(self, key: str) -> Path:
        """The views and targets of a CT."""
        return self.views / f"{hashlib.sha256(f'{_FORMAT}/{key}'.encode()).hexdigest()[:20]}.npz"

    def weights(self, fold: int) -> Path:
        """Of a fold that is done."""
        return self.model / f"fold_{fold}" / WEIGHTS
