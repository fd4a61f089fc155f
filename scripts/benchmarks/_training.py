"""Cohorts of phantoms for a benchmark, and a champion trained on one."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tqdm import tqdm

from lib.models import Registry, Version
from lib.phantoms.cohort import Cohort, CohortPlan, save_labels
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.training import TrainOptions, train_task


def draw_cohort(folder: Path, plan: CohortPlan) -> Path:
    """Draw what is missing of a cohort; gives its folder."""
    cohort = Cohort(folder, plan)
    with tqdm(total=len(cohort.missing), unit="phantom", desc=folder.name) as bar:
        cohort.write(workers=os.cpu_count() or 1, on_case=lambda _: bar.update())
    return folder


def champion_of(task: str, cohort: Path, registry: Registry, *, preset: str, device: str, network: str = "") -> Version:
    """The champion in a folder of models; trained on all labels of the cohort where there is none."""
    options = TrainOptions(preset=preset, device=device, network=network)
    return registry.champion(task, TASKS[task].variant(network)) or _train(task, cohort, registry, options)


def _train(task: str, cohort: Path, registry: Registry, options: TrainOptions) -> Version:
    store = CaseStore(cohort)
    try:
        save_labels(store, cohort, tasks=(task,))
        start = time.perf_counter()
        name = f"{task} {options.network}".strip()
        with tqdm(unit="epoch", desc=name) as bar:

            def show(progress: object) -> None:  # noqa: ARG001 - one call for each epoch
                bar.update()

            version = train_task(task, store, registry, options, show)
        print(f"\n{name}, preset {options.preset}: trained in {(time.perf_counter() - start) / 60:.0f} min.")
        return version
    finally:
        store.close()
