"""Where a training of nnU-Net keeps its files, in nnU-Net's own layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lib.networks import workspace
from lib.networks.nnunet.recipes import Recipe

NETWORK = "nnunet_2d"
"""What manifests and the task table call this kind of network."""
DATASET = "Dataset001_slices"
CONFIGURATION = "2d"
TRAINER = "nnUNetTrainer"
CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class Workspace(workspace.Workspace):
    """The folder of a task's trainings; preprocessed slices stay in it from one training to the next."""

    recipe = Recipe

    @property
    def of_run(self) -> tuple[Path, ...]:
        """With nnU-Net's plans and results."""
        return self.plans, self.results, self.model, self.progress(0).parent

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
    def results(self) -> Path:
        """The results of the folds, with their checkpoints and logs."""
        return self.root / "results"

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

    def environment(self) -> dict[str, str]:
        """The variables by which nnU-Net finds its folders."""
        return {
            "nnUNet_raw": str(self.raw.parent),
            "nnUNet_preprocessed": str(self.preprocessed.parent),
            "nnUNet_results": str(self.results),
        }
