"""Cohorts of phantoms for a benchmark, and a champion trained on one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lib.disk import write_json
from lib.images import CTImage, read_ct
from lib.images.files import read_volume
from lib.infers.champions import Champion
from lib.models import Registry, Version
from lib.phantoms.cohort import TRUTH, Cohort, CohortPlan, save_labels
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.training import TrainOptions, train_task


def draw_cohort(folder: Path, plan: CohortPlan) -> Path:
    """Draw what is missing of a cohort; gives its folder."""
    cohort = Cohort(folder, plan)
    with tqdm(total=len(cohort.missing), unit="phantom", desc=folder.name) as bar:
        cohort.write(workers=os.cpu_count() or 1, on_case=lambda _: bar.update())
    return folder


def champion_of(task: str, cohort: Path, registry: Registry, options: TrainOptions) -> Version:
    """The champion in a folder of models; trained on all labels of the cohort where there is none."""
    return registry.champion(task, TASKS[task].variant(options.network)) or _train(task, cohort, registry, options)


def judged(
    folder: Path,
    cohort: Path,
    case: str,
    champion: Champion,
    judge: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float64]], Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """How a champion's networks on volumes do on a phantom, in its own geometry; kept, so that it is done once.

    Args:
        folder: where it is kept.
        cohort: the folder of the phantom.
        case: its name.
        champion: what answers.
        judge: answer, truth and spacing (mm) to structure to data class.

    Returns:
        Structure to the fields of the data class.
    """
    path = folder / f"{case}.json"
    if not path.is_file():
        name = f"{case}.nii.gz"
        image = read_ct(cohort / name).canonical()
        array, affine, _ = read_volume(cohort / TRUTH / champion.version.manifest.task / name)
        truth = CTImage(hu=array, affine=affine).canonical().hu.astype(np.uint8)
        label = champion.ensemble.segment(image.hu, image.spacing).label
        found = judge(label, truth, image.spacing)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {each: asdict(values) for each, values in found.items()})
    return dict(json.loads(path.read_text()))


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
