"""One training of a task: from the labels of a store to a version in the registry."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

import torch

from lib.anatomy.schemas import SCHEMAS
from lib.models import Manifest, Registry, Version
from lib.networks.nnunet.progress import Progress
from lib.networks.nnunet.recipes import RECIPES, Recipe
from lib.networks.nnunet.training import TrainingResult, discard, train, unfinished
from lib.networks.nnunet.workspace import NETWORK
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.trainers.slices import TrainingSet, training_set
from lib.trainers.stats import TrainStats

FOLDS = 5
_PACKAGES = ("torch", "nnunetv2", "dynamic_network_architectures", "batchgeneratorsv2", "numpy", "monai")
_PRESET_ON = {"cuda": "paper", "cpu": "small"}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What can be chosen.

    Attributes:
        preset: a key of RECIPES; "" for the one that suits the device.
        device: "cuda" or "cpu"; "" for the best there is.
        from_scratch: begin anew, though there is a champion to start from.
        seed: of all that is left to chance.
    """

    preset: str = ""
    device: str = ""
    from_scratch: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset and self.preset not in RECIPES:
            raise Refusal(f"There is no preset {self.preset!r}; there are {', '.join(RECIPES)}.")
        if self.device and self.device.partition(":")[0] not in _PRESET_ON:
            raise Refusal(f"There is no device {self.device!r}; there are {', '.join(_PRESET_ON)}.")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise Refusal("There is no NVIDIA GPU here that PyTorch can use; train on the device cpu.")


def stats_file(registry: Registry, task: str) -> Path:
    """Where the state of a task's training stands."""
    return registry.workspace(task) / "train_stats.json"


def train_task(
    task: str,
    store: CaseStore,
    registry: Registry,
    options: TrainOptions,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Version:
    """Train the five folds of a slice task on every current label, and keep them as a new version.

    It starts from the champion's weights where there is one that was trained here. The new version becomes the champion
    where there was none, or where its cross-validated Dice is not below the champion's.

    Args:
        task: a trainable one.
        store: the labels.
        registry: takes the version.
        options: what was chosen.
        on_progress: called after every epoch of a fold.

    Raises:
        Refusal: it cannot be trained, with the reason; the champion stays as it is.
    """
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    recipe = RECIPES[options.preset or _PRESET_ON[device.partition(":")[0]]]
    stats = TrainStats(stats_file(registry, task), recipe.name)

    def note(progress: Progress) -> None:
        stats.update(progress)
        on_progress(progress)

    try:
        version = _train(task, store, registry, options, recipe, device, note)
    except Refusal as refusal:
        stats.finish(fault=str(refusal))
        store.note_event("training_refused", task=task, reason=str(refusal))
        raise
    stats.finish(version=version.manifest.version, metrics=version.manifest.metrics)
    store.note_event("model_trained", task=task, version=version.manifest.version, labels=len(version.manifest.labels))
    return version


def _train(  # noqa: PLR0917 - the arguments of its caller, decided
    task: str,
    store: CaseStore,
    registry: Registry,
    options: TrainOptions,
    recipe: Recipe,
    device: str,
    on_progress: Callable[[Progress], None],
) -> Version:
    champion = registry.champion(task)
    own = champion if champion is not None and not champion.manifest.imported else None
    known = own.manifest.patients if own else {}
    chosen = training_set(store, SCHEMAS[task], folds=FOLDS, known=known)
    parent = None if options.from_scratch else own
    chosen = continued(registry.workspace(task), chosen, recipe, parent, options.seed)
    result = train(
        registry.workspace(task),
        chosen.slices,
        SCHEMAS[task].ids,
        recipe,
        folds=FOLDS,
        parent=parent.folder if parent else None,
        device=device,
        on_progress=on_progress,
        seed=options.seed,
    )
    manifest = Manifest(
        task=task,
        network=NETWORK,
        classes=SCHEMAS[task].ids,
        folds=FOLDS,
        labels=chosen.labels,
        parent=parent.manifest.version if parent else None,
        preset=recipe.name,
        seeds=result.seeds,
        packages={name: package_version(name) for name in _PACKAGES},
        metrics=result.metrics,
    )
    version = _published(registry, manifest, result)
    if champion is None or _dice(version.manifest) >= _dice(champion.manifest):
        registry.set_champion(task, version.manifest.version)
    return version


def continued(workspace: Path, chosen: TrainingSet, recipe: Recipe, parent: Version | None, seed: int) -> TrainingSet:
    """What an interrupted training was made of, if all of it is still there; labels that came since wait."""
    run = unfinished(workspace)
    if run is None or (run.recipe, run.seed) != (recipe, seed):
        return chosen
    if run.parent != (str(parent.folder.resolve()) if parent else ""):
        return chosen
    keys = {each.key for each in chosen.slices}
    return chosen.only(run.slices) if keys >= set(run.slices) else chosen


def _published(registry: Registry, manifest: Manifest, result: TrainingResult) -> Version:
    with registry.staging(manifest.task) as staging:
        shutil.copytree(result.results, staging, dirs_exist_ok=True)
        version = registry.publish(staging, manifest)
    discard(registry.workspace(manifest.task))
    return version


def _dice(manifest: Manifest) -> float:
    """Mean Dice of the pooled cross-validation, 0 where it is not known."""
    return float(manifest.metrics.get("pooled", {}).get("mean_dice", {}).get("mean") or 0.0)
