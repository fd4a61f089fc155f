"""Where a training of the detector keeps its files, and what it is made of, so that it can be continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.disk import write_json

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


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a training is made of; the same run continues, another one starts anew.

    Attributes:
        samples: key of every CT to its patient and fold, sorted by key.
        folds: number of folds.
        recipe: the preset.
        parent: the version's folder whose weights the folds start from, or "".
        seed: of all that is left to chance; fold k uses ``seed + k``.
    """

    samples: Mapping[str, tuple[str, int]]
    folds: int
    recipe: Recipe
    parent: str
    seed: int

    @property
    def keys(self) -> frozenset[str]:
        """Those of its CTs."""
        return frozenset(self.samples)

    @property
    def epochs(self) -> int:
        """Epochs of each fold."""
        return self.recipe.fine_tune_epochs if self.parent else self.recipe.epochs

    @property
    def learning_rate(self) -> float:
        """The highest of each fold."""
        return self.recipe.fine_tune_lr if self.parent else self.recipe.learning_rate

    def write(self, path: Path) -> None:
        """Write it down."""
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> Run | None:
        """What was written down, or ``None`` where nothing usable is."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            content = json.loads(path.read_text())
            content["recipe"] = Recipe(**content["recipe"])
            content["samples"] = {key: (patient, fold) for key, (patient, fold) in content["samples"].items()}
            return Run(**content)
        return None


@dataclass(frozen=True)
class Workspace:
    """The folder of the trainings; views of labelled CTs stay in it from one training to the next."""

    root: Path

    @property
    def run(self) -> Path:
        """What the current training is made of."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """Held while a training is running."""
        return self.root / "training.lock"

    @property
    def views(self) -> Path:
        """Views and targets of labelled CTs."""
        return self.root / "views"

    @property
    def model(self) -> Path:
        """The folds, as a version keeps them."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """What a training continues from, and how its folds did."""
        return self.root / "checkpoints"

    def sample(self, key: str) -> Path:
        """The views and targets of a CT."""
        return self.views / f"{hashlib.sha256(f'{_FORMAT}/{key}'.encode()).hexdigest()[:20]}.npz"

    def weights(self, fold: int) -> Path:
        """Of a fold that is done."""
        return self.model / f"fold_{fold}" / WEIGHTS

    def checkpoint(self, fold: int) -> Path:
        """Of a fold that is being trained."""
        return self.checkpoints / f"fold_{fold}.pt"

    def validation(self, fold: int) -> Path:
        """How a fold did on its held-out CTs; written when the fold is done."""
        return self.checkpoints / f"fold_{fold}.json"

    def progress(self, fold: int) -> Path:
        """The epochs of a fold, a line each."""
        return self.root / "progress" / f"fold_{fold}.jsonl"

    def log(self, step: str) -> Path:
        """What a child process said."""
        return self.root / "logs" / f"{step}.txt"

    def environment(self) -> dict[str, str]:
        """Variables for the child processes; none are needed."""
        return {}
