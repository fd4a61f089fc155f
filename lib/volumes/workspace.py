"""Where a training of networks on volumes keeps its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.disk import write_json
from lib.networks import workspace
from lib.refusals import Refusal
from lib.volumes.recipes import Recipe

NETWORK = "volume"
"""What manifests and the task table call this kind of network."""
WEIGHTS = "weights.pt"
"""Of a fold that is done, in ``fold_K``."""
DESCRIPTION = "network.json"
"""Recipe and classes of a version."""
_FORMAT = 1
"""To be raised with every change of how samples are kept: those of earlier trainings are then made anew."""


@dataclass(frozen=True)
class Workspace(workspace.Workspace):
    """The folder of the trainings; what is made of labelled CTs stays in it from one training to the next."""

    recipe = Recipe

    @property
    def samples(self) -> Path:
        """Labelled CTs on the grid of the recipe and as they came."""
        return self.root / "samples"

    def sample(self, key: str, recipe: Recipe) -> Path:
        """The folder of a labelled CT on the recipe's grid."""
        name = f"{_FORMAT}/{recipe.in_plane_mm:g}/{recipe.slice_mm:g}/{recipe.whole_voxels}/{key}"
        return self.samples / hashlib.sha256(name.encode()).hexdigest()[:20]

    def weights(self, fold: int) -> Path:
        """Of a fold that is done."""
        return self.model / f"fold_{fold}" / WEIGHTS


def write_description(folder: Path, recipe: Recipe, classes: Mapping[str, int]) -> None:
    """Write down what network lies in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DESCRIPTION, {"recipe": asdict(recipe), "classes": dict(classes)})


def read_description(folder: Path) -> tuple[Recipe, dict[str, int]]:
    """Recipe and classes of the network in a folder.

    Raises:
        Refusal: the description is missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content["recipe"].items()
        }
        return Recipe(**values), {str(name): int(value) for name, value in content["classes"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refusal(f"{DESCRIPTION} of the model in {folder.name} is missing or damaged.") from error
