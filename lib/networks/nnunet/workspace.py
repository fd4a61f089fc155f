"""Where a training keeps its files, and what it is made of, written down so that it can be continued."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.disk import write_json
from lib.networks.nnunet.recipes import Recipe

NETWORK = "nnunet_2d"
"""What manifests and the task table call this kind of network."""
DATASET = "Dataset001_slices"
CONFIGURATION = "2d"
TRAINER = "nnUNetTrainer"
CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class Workspace:
    """The folder of a task's trainings; preprocessed slices stay in it from one training to the next."""

    root: Path

    @property
    def raw(self) -> Path:
        """The dataset in nnU-Net's raw layout."""
        return self.root / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """Plans, fingerprint, splits and preprocessed slices."""
        return self.root / "preprocessed" / DATASET

    @property
    def slice_index(self) -> Path:
        """What is known of the slices in the raw dataset."""
        return self.root / "slices.json"

    @property
    def run(self) -> Path:
        """What the current training is made of."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """Held while a training is running."""
        return self.root / "training.lock"

    @property
    def results(self) -> Path:
        """The results of the folds, with their checkpoints and logs."""
        return self.root / "results"

    @property
    def tensorboard(self) -> Path:
        """Scalars of the folds, a folder each."""
        return self.root / "tensorboard"

    @property
    def model(self) -> Path:
        """The finished results folder, as nnU-Net's predictor reads it."""
        return self.root / "model"

    @property
    def plans(self) -> Path:
        """The plans of the current training."""
        return self.preprocessed / "nnUNetPlans.json"

    def fold(self, fold: int) -> Path:
        """Checkpoints, log and validation of a fold."""
        plans_name = json.loads(self.plans.read_text())["plans_name"]
        return self.results / DATASET / f"{TRAINER}__{plans_name}__{CONFIGURATION}" / f"fold_{fold}"

    def validation(self, fold: int) -> Path:
        """The Dice of a fold on its held-out slices; written when the fold is done."""
        return self.fold(fold) / "validation.json"

    def progress(self, fold: int) -> Path:
        """The epochs of a fold, a line each."""
        return self.root / "progress" / f"fold_{fold}.jsonl"

    def log(self, step: str) -> Path:
        """What a child process said."""
        return self.root / "logs" / f"{step}.txt"

    def environment(self) -> dict[str, str]:
        """The variables by which nnU-Net finds its folders."""
        return {
            "nnUNet_raw": str(self.raw.parent),
            "nnUNet_preprocessed": str(self.preprocessed.parent),
            "nnUNet_results": str(self.results),
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a training is made of; the same run continues, another one starts anew.

    Attributes:
        slices: key of every slice to its patient and fold, sorted by key.
        classes: name to value in the labels.
        folds: number of folds.
        recipe: the preset.
        parent: the results folder whose weights the folds start from, or "".
        seed: of all that is left to chance; fold k uses ``seed + k``.
    """

    slices: Mapping[str, tuple[str, int]]
    classes: Mapping[str, int]
    folds: int
    recipe: Recipe
    parent: str
    seed: int

    @property
    def keys(self) -> frozenset[str]:
        """Those of its slices."""
        return frozenset(self.slices)

    @property
    def epochs(self) -> int:
        """Epochs of each fold."""
        return self.recipe.fine_tune_epochs if self.parent else self.recipe.epochs

    @property
    def initial_lr(self) -> float:
        """Learning rate of the first epoch."""
        return self.recipe.fine_tune_lr if self.parent else self.recipe.initial_lr

    def write(self, path: Path) -> None:
        """Write it down."""
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> Run | None:
        """What was written down, or ``None`` where nothing usable is."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            content = json.loads(path.read_text())
            recipe = content["recipe"]
            for name in ("patch_size", "features"):
                recipe[name] = tuple(recipe[name]) if recipe[name] is not None else None
            content["recipe"] = Recipe(**recipe)
            content["slices"] = {key: (patient, fold) for key, (patient, fold) in content["slices"].items()}
            return Run(**content)
        return None
