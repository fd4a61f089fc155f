"""One training of a task: from the labels of a store to a version in the registry."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import torch

from lib.anatomy.schemas import SCHEMAS
from lib.models import Manifest, Registry, Version
from lib.models.verdict import Tolerances, Verdict
from lib.networks.progress import Progress
from lib.networks.results import TrainingResult
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.gate import judge
from lib.trainers.learners import LEARNERS, PRESETS, Learner, Recipe
from lib.trainers.runs import training_run
from lib.trainers.samples import TrainingSet, check_labels, fold_count, training_set
from lib.trainers.stats import TrainStats

_PRESET_ON = {"cuda": "paper", "cpu": "small"}
FEWEST_FOLDS, MOST_FOLDS = 2, 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What can be chosen.

    Attributes:
        preset: one of PRESETS; "" for the one that suits the device.
        device: "cuda" or "cpu"; "" for the best there is.
        from_scratch: begin anew, though there is a champion to start from.
        seed: of all that is left to chance.
        network: one of the task's networks, "" for the usual one.
        contrast: one of :data:`lib.tasks.CONTRASTS`, "" for all.
        folds: how many networks, each judged on patients that it was not trained on; 0 for as many as the first
            training of the task had, or as are usual. Decided once, by the first training.
        tolerances: by how much the new version may be worse than the champion.
    """

    preset: str = ""
    device: str = ""
    from_scratch: bool = False
    seed: int = 0
    network: str = ""
    contrast: str = ""
    folds: int = 0
    tolerances: Tolerances = field(default_factory=Tolerances)

    def __post_init__(self) -> None:
        if self.preset and self.preset not in PRESETS:
            raise Refusal(f"There is no preset {self.preset!r}; there are {', '.join(PRESETS)}.")
        if self.device and self.device.partition(":")[0] not in _PRESET_ON:
            raise Refusal(f"There is no device {self.device!r}; there are {', '.join(_PRESET_ON)}.")
        if self.folds and not FEWEST_FOLDS <= self.folds <= MOST_FOLDS:
            raise Refusal(f"{FEWEST_FOLDS} to {MOST_FOLDS} folds can be trained, not {self.folds}.")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise Refusal("There is no NVIDIA GPU here that PyTorch can use; train on the device cpu.")

    def request(self) -> dict[str, Any]:
        """The request to ``/train/`` that asks for the same."""
        start = "scratch" if self.from_scratch else "champion"
        return {
            "preset": self.preset,
            "device": self.device,
            "start": start,
            "seed": self.seed,
            "network": self.network,
            "contrast": self.contrast,
            "folds": self.folds or "",
        }

    @property
    def with_agent(self) -> bool | None:
        """Whether CTs with, or without, contrast agent are trained on; ``None`` for all."""
        return {"contrast": True, "plain": False}.get(self.contrast)


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
    """Train the folds of a task on every current label, and keep them as a new version.

    It starts from the champion's weights where there is one that was trained here; an imported one numbers its classes
    in its own way. Whether the new version becomes the champion is judged by :func:`lib.trainers.gate.judge`; the
    verdict stands in its manifest, since a version and why it was promoted or not are there together or not at all.
    The store keeps a record of the run, whatever becomes of it.

    Args:
        task: a trainable one.
        store: the labels.
        registry: takes the version.
        options: what was chosen.
        on_progress: called after every epoch of a fold.

    Raises:
        Refusal: it cannot be trained, with the reason, or another training is running; the champion stays as it is.
    """
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    learner = learner_of(task)
    preset = options.preset or _PRESET_ON[device.partition(":")[0]]
    with training_run(store, task, options.request()) as outcome:
        stats = TrainStats(stats_file(registry, task), preset)

        def note(progress: Progress) -> None:
            stats.update(progress)
            on_progress(progress)

        try:
            training = _Training(task, learner, store, registry, options, preset, device, note)
            version, verdict = training.run()
        except Exception as error:
            stats.finish(fault=str(error) or type(error).__name__)
            raise
        stats.finish(version=version.name, metrics=version.manifest.metrics)
        outcome.of(version, verdict)
    return version


@dataclass(frozen=True)
class _Training:
    """One training, with all that was decided about it."""

    task: str
    learner: Learner
    store: CaseStore
    registry: Registry
    options: TrainOptions
    preset: str
    device: str
    on_progress: Callable[[Progress], None]

    def run(self) -> tuple[Version, Verdict]:
        """Train, judge, publish, and let the version answer if it may.

        Returns:
            The version, and what became of it.
        """
        workspace, own = self.registry.workspace(self.task, self._variant), self._own_champion()
        known = own.manifest.patients if own else {}
        schema, learner = SCHEMAS[self.task], self.learner
        folds = fold_count(self.store, TASKS[self.task], self.options.folds, own.manifest if own else None)
        check_trainable(self.task, self.store, self.options)
        chosen = training_set(
            self.store, schema, learner.samples, folds=folds, known=known, contrast=self.options.with_agent
        )
        parent = None if self.options.from_scratch else own
        network = self.options.network or next(iter(TASKS[self.task].networks), "")
        recipe = learner.recipe(self.task, network, self.preset, parent)
        chosen = continued(learner, workspace, chosen, recipe=recipe, parent=parent, seed=self.options.seed)
        result = learner.train(
            workspace,
            chosen.samples,
            schema.ids,
            recipe,
            folds=folds,
            parent=parent.folder if parent else None,
            device=self.device,
            on_progress=self.on_progress,
            seed=self.options.seed,
        )
        stamp = self.registry.stamp(self.task, self._variant)
        engine = "cuda" if self.device.startswith("cuda") else "openvino"
        verdict = judge(
            self.registry,
            self.task,
            learner,
            result.metrics,
            chosen.samples,
            tolerances=self.options.tolerances,
            engine=engine,
            variant=self._variant,
        )
        version = self._publish(chosen, folds, parent, result, verdict)
        if verdict.promote:
            verdict = self._promote(version, verdict, stamp)
        # Killed before this, the training that is done is judged and published once more, rather than lost.
        learner.discard(workspace)
        return version, verdict

    @property
    def _variant(self) -> str:
        return TASKS[self.task].variant(self.options.network, self.options.contrast)

    def _own_champion(self) -> Version | None:
        """The champion, if it was trained here and can be opened."""
        try:
            champion = self.registry.champion(self.task, self._variant)
        except Refusal as refusal:
            logger.warning("The training starts from scratch: %s", refusal)
            return None
        return champion if champion is not None and not champion.manifest.imported else None

    def _publish(
        self, chosen: TrainingSet, folds: int, parent: Version | None, result: TrainingResult, verdict: Verdict
    ) -> Version:
        manifest = Manifest(
            task=self.task,
            network=TASKS[self.task].network or "",
            classes=SCHEMAS[self.task].ids,
            folds=folds,
            labels=chosen.labels,
            parent=parent.name if parent else None,
            preset=self.preset,
            variant=self._variant,
            seeds=result.seeds,
            packages={name: package_version(name) for name in self.learner.packages},
            metrics={**result.metrics, "verdict": verdict.to_json()},
        )
        with self.registry.staging(self.task) as staging:
            shutil.copytree(result.results, staging, dirs_exist_ok=True)
            return self.registry.publish(staging, manifest)

    def _promote(self, version: Version, verdict: Verdict, stamp: str) -> Verdict:
        try:
            self.registry.set_champion(self.task, version.name, reason=verdict.reason, stamp=stamp)
        except Refusal as refusal:
            return replace(verdict, promote=False, reason=str(refusal))
        return verdict


def learner_of(task: str) -> Learner:
    """How a task is trained.

    Raises:
        Refusal: it is not.
    """
    network = TASKS[task].network
    if network is None:
        raise Refusal(f"{task} has no network to train yet.")
    return LEARNERS[network]


def check_trainable(task: str, store: CaseStore, options: TrainOptions | None = None) -> None:
    """Refuse a task whose labels do not suffice, or that has no such variant, without reading an image.

    Raises:
        Refusal: see :func:`lib.trainers.samples.check_labels`.
    """
    chosen = options or TrainOptions()
    TASKS[task].variant(chosen.network, chosen.contrast)
    check_labels(
        store,
        SCHEMAS[task],
        folds=fold_count(store, TASKS[task], chosen.folds),
        every_class=learner_of(task).every_class,
        contrast=chosen.with_agent,
    )


def continued(
    learner: Learner, workspace: Path, chosen: TrainingSet, *, recipe: Recipe, parent: Version | None, seed: int
) -> TrainingSet:
    """What an interrupted training was made of, if all of it is still there; labels that came since wait."""
    run = learner.unfinished(workspace)
    if run is None or (run.recipe, run.seed) != (recipe, seed):
        return chosen
    if run.parent != (str(parent.folder.resolve()) if parent else ""):
        return chosen
    keys = {each.key for each in chosen.samples}
    return chosen.only(run.keys) if keys >= run.keys else chosen
