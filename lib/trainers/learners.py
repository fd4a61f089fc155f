"""How each kind of network is trained, one row for each: tasks of the task table name a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lib.levels import training as levels
from lib.levels.judging import held_out_scores, scores_of_landmarks
from lib.levels.workspace import NETWORK as LEVELS
from lib.levels.workspace import RECIPES as LEVEL_RECIPES
from lib.models import Version
from lib.models.verdict import Scores
from lib.networks.nnunet import training as nnunet
from lib.networks.nnunet.judging import held_out_dice
from lib.networks.nnunet.recipes import RECIPES as SLICE_RECIPES
from lib.networks.nnunet.workspace import NETWORK as NNUNET_2D
from lib.networks.results import TrainingResult
from lib.trainers.samples import Samples, labelled_slices, labelled_spine, labelled_volume
from lib.volumes import training as volumes
from lib.volumes.judging import held_out_dice as volume_dice
from lib.volumes.recipes import recipe_of
from lib.volumes.workspace import NETWORK as VOLUME
from lib.volumes.workspace import read_description

PRESETS = tuple(SLICE_RECIPES)
"""The names of the recipes, the same for every kind of network."""


class Recipe(Protocol):
    """A preset."""

    @property
    def name(self) -> str:
        """One of :data:`PRESETS`."""


class Run(Protocol):
    """What an unfinished training is made of."""

    @property
    def recipe(self) -> Any:
        """The preset."""

    @property
    def parent(self) -> str:
        """The folder of the version that it starts from, or ""."""

    @property
    def seed(self) -> int:
        """Of all that is left to chance."""

    @property
    def keys(self) -> frozenset[str]:
        """Those of its samples."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A row.

    Attributes:
        recipe: the preset of a task, a network (see :attr:`lib.tasks.Task.networks`) and a name; with a parent version,
            as it is trained on.
        every_class: whether each class of the schema must be drawn somewhere; else any of them is enough.
        samples: what is learnt from one label; see :data:`lib.trainers.samples.Samples`.
        train: workspace, samples, classes and recipe; by name ``folds``, ``parent``, ``device``, ``seed``,
            ``on_progress``.
        unfinished: the training that a workspace holds.
        discard: remove it.
        measure: what the scores are called.
        scores: of every sample in the metrics of a finished training, by the fold that never saw its patient.
        judge: the same for a version on the samples of a training: version, workspace, samples and classes; by name
            ``engine`` and ``cache``, the folder of what engines compile.
        without_model: workspace and samples to the scores of the cold start, in the classes in which both can be
            compared; ``None`` where any model is better than none.
        packages: whose versions go into the manifest.
    """

    recipe: Callable[[str, str, str, Version | None], Recipe]
    every_class: bool
    samples: Samples
    train: Callable[..., TrainingResult]
    unfinished: Callable[[Path], Run | None]
    discard: Callable[[Path], None]
    measure: str
    scores: Callable[[Mapping[str, Any]], Scores]
    judge: Callable[..., Scores]
    without_model: Callable[[Path, Sequence[Any]], Scores] | None
    packages: tuple[str, ...]


def _train_levels(
    workspace: Path, samples: Sequence[Any], classes: Mapping[str, int], recipe: Any, **more: Any
) -> TrainingResult:
    del classes  # a detector of levels knows its own
    return levels.train(workspace, samples, recipe, **more)


def _judge_slices(
    version: Version, workspace: Path, slices: Sequence[Any], classes: Mapping[str, int], *, engine: str, cache: Path
) -> Scores:
    values = version.manifest.classes
    return held_out_dice(version.folder, values, workspace, slices, classes, engine=engine, cache=cache)


def _judge_levels(
    version: Version, workspace: Path, samples: Sequence[Any], classes: Mapping[str, int], *, engine: str, cache: Path
) -> Scores:
    del classes, cache
    return held_out_scores(version.folder, workspace, samples, device="cuda" if engine == "cuda" else "cpu")


def _volume_recipe(task: str, network: str, preset: str, parent: Version | None) -> Recipe:
    recipe = recipe_of(task, network, preset)
    return recipe if parent is None else recipe.following(read_description(parent.folder)[0])


def _judge_volumes(
    version: Version, workspace: Path, samples: Sequence[Any], classes: Mapping[str, int], *, engine: str, cache: Path
) -> Scores:
    del classes  # a version has those of its task
    return volume_dice(version.folder, workspace, samples, engine=engine, cache=cache)


LEARNERS: dict[str, Learner] = {
    NNUNET_2D: Learner(
        recipe=lambda _task, _network, preset, _parent: SLICE_RECIPES[preset],
        every_class=True,
        samples=labelled_slices,
        train=nnunet.train,
        unfinished=nnunet.unfinished,
        discard=nnunet.discard,
        measure="Dice",
        scores=lambda metrics: {case["key"]: case["dice"] for case in metrics["cases"]},
        judge=_judge_slices,
        without_model=None,
        packages=("torch", "nnunetv2", "dynamic_network_architectures", "batchgeneratorsv2", "numpy", "monai"),
    ),
    LEVELS: Learner(
        recipe=lambda _task, _network, preset, _parent: LEVEL_RECIPES[preset],
        every_class=False,
        samples=labelled_spine,
        train=_train_levels,
        unfinished=levels.unfinished,
        discard=levels.discard,
        measure="score",
        scores=lambda metrics: {case["key"]: case["scores"] for case in metrics["cases"]},
        judge=_judge_levels,
        without_model=scores_of_landmarks,
        packages=("torch", "monai", "numpy", "scipy"),
    ),
    VOLUME: Learner(
        recipe=_volume_recipe,
        every_class=False,
        samples=labelled_volume,
        train=volumes.train,
        unfinished=volumes.unfinished,
        discard=volumes.discard,
        measure="Dice",
        scores=lambda metrics: {case["key"]: case["dice"] for case in metrics["cases"]},
        judge=_judge_volumes,
        without_model=None,
        packages=("torch", "monai", "pytorch-ignite", "numpy", "scipy"),
    ),
}
