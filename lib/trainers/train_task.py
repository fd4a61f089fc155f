"""One MONAI Label train task, for every trainable row of the task table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.models import Registry
from lib.models.verdict import Tolerances
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import CONTRASTS, Task
from lib.trainers.learners import PRESETS
from lib.trainers.stats import read_stats
from lib.trainers.training import FEWEST_FOLDS, MOST_FOLDS, TrainOptions, check_trainable, stats_file, train_task

_AUTO = "auto"


class Training(TrainTask):  # type: ignore[misc]
    """Trains the folds of a task on its labels.

    Args:
        task: the row of the task table.
        registry: takes the new version.
        tolerances: by how much a new version may be worse than the champion and still answer in its place.
        preset: one of PRESETS, for requests that choose none; "" for what suits the device.
    """

    def __init__(self, task: Task, registry: Registry, tolerances: Tolerances | None = None, preset: str = "") -> None:
        super().__init__(f"Folds ({task.folds} without another wish) on the saved labels of {task.name}")
        self._task, self._registry, self._tolerances = task, registry, tolerances or Tolerances()
        self._preset = preset

    def config(self) -> dict[str, Any]:
        """What a client may choose; the first of each is the default."""
        config = {"preset": [_AUTO, *PRESETS], "device": [_AUTO, "cuda", "cpu"], "start": ["champion", "scratch"]}
        config["folds"] = [_AUTO, *(str(number) for number in range(FEWEST_FOLDS, MOST_FOLDS + 1))]
        if self._task.networks:
            config["network"] = [*self._task.networks]
        if self._task.by_contrast:
            config["contrast"] = [*CONTRASTS]
        return config

    def stats(self) -> dict[str, Any]:
        """How far the training is that runs, or ran last."""
        return read_stats(stats_file(self._registry, self._task.name))

    def check(self, request: Mapping[str, Any], store: CaseStore) -> TrainOptions:
        """Refuse what cannot be trained before anything is started.

        Raises:
            Refusal: an option is unknown, the labels do not suffice, or this task is being trained already.
        """
        chosen = _options(request)
        options = replace(chosen, preset=chosen.preset or self._preset, tolerances=self._tolerances)
        running = store.running("train")
        if running is not None and running.task == self._task.name:
            raise Refusal(f"A training of {running.task} is running already: wait until it is done.", status=409)
        check_trainable(self._task.name, store, options)
        return options

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train here and now.

        Returns:
            The version's name and its metrics.

        Raises:
            Refusal: it cannot be trained, with the reason.
        """
        store: CaseStore = datastore  # type: ignore[assignment]
        options = self.check(request, store)
        version = train_task(self._task.name, store, self._registry, options)
        return {"version": version.manifest.version, "metrics": version.manifest.metrics}


def _options(request: Mapping[str, Any]) -> TrainOptions:
    def chosen(name: str) -> str:
        value = request.get(name)
        value = value[0] if isinstance(value, list) and value else value
        return "" if value in (None, _AUTO, "") else str(value)

    if chosen("start") not in ("", "champion", "scratch"):
        raise Refusal(f"A training starts from the champion or from scratch, not from {chosen('start')!r}.")
    seed = chosen("seed") or "0"
    if not seed.isdecimal():
        raise Refusal(f"A seed is a whole number from 0 up, not {seed!r}.")
    folds = chosen("folds") or "0"
    if not folds.isdecimal():
        raise Refusal(f"folds is a whole number, not {folds!r}.")
    return TrainOptions(
        preset=chosen("preset"),
        device=chosen("device"),
        from_scratch=chosen("start") == "scratch",
        seed=int(seed),
        network=chosen("network"),
        contrast=chosen("contrast"),
        folds=int(folds),
    )
