"""Time of the way from a whole CT to the answer: the slice search, `sarcopenia` from a file, and many CTs in a row."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lib.anatomy.schemas import SCHEMAS
from lib.cold_start.levels import find_levels
from lib.images import CTImage, read_ct
from lib.infers.champions import Champions
from lib.infers.levels import Detector
from lib.infers.segmentation import SegmentationTask
from lib.models import Manifest, Registry
from lib.networks.nnunet.recipes import RECIPES, Recipe
from lib.phantoms.cohort import CohortPlan
from lib.tasks import TASKS
from scripts.benchmarks._training import draw_cohort
from scripts.benchmarks.l3_ensemble import FEATURES, FOLDS, write_untrained

_SEED = 73
_ANALYSE = Path(__file__).resolve().parents[1] / "analyse.py"
_DAY_MINUTES = 24 * 60


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py pipeline", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder with a champion of l3_slice")
    parser.add_argument("--out", type=Path, required=True, help="folder for the CT, drawn where it is not there")
    parser.add_argument("--repeat", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--cases", type=int, default=16, help="CTs in a row (default: %(default)s)")
    options = parser.parse_args(argv)
    registry = Registry(options.models)
    if registry.champion("l3_slice") is None:
        parser.error(f"{options.models} has no champion of l3_slice.")
    plan = CohortPlan(region="torso", count=1, seed=_SEED, matrix=512, slice_mm=2.45, labels=False)
    ct = draw_cohort(options.out / "ct", plan) / f"{plan.case(0)}.nii.gz"
    image = read_ct(ct).canonical()
    print(f"CT: {' x '.join(map(str, image.shape))} voxels.\n\n| what | measured | bar |\n| --- | --- | --- |")
    for row in _rows(options, registry, ct, image):
        print(f"| {' | '.join(row)} |", flush=True)
    return 0


def _rows(options: argparse.Namespace, registry: Registry, ct: Path, image: CTImage) -> Iterator[tuple[str, str, str]]:
    champion = Champions(registry).of("l3_slice")
    assert champion is not None
    for name, find in (("cold start", find_levels), ("five-fold detector", Detector(champion))):
        _, seconds = _times(lambda find=find: find(image), options.repeat)  # type: ignore[misc]
        yield f"slice search, {name}, CT in memory", seconds, "0.5 s"
    small, paper = (_models(options.out / name, registry, RECIPES[name]) for name in ("small", "paper"))
    of = (("no model", None, ""), ("networks of the small preset", small, "4 s"), ("the paper's network", paper, "8 s"))
    for name, models, bar in of:
        task = SegmentationTask(TASKS["sarcopenia"], Champions(models, models.compiled) if models else None)
        first, seconds = _times(lambda task=task: _answer(task, ct), options.repeat)  # type: ignore[misc]
        yield f"`sarcopenia` from NIfTI to the answer, {name}", f"{seconds}; the first {first}", bar
    yield _many(options, ct, small.root)


def _times(run: Callable[[], object], repeat: int) -> tuple[str, str]:
    """The first time alone; median and slowest of the others."""
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    first, *others = seconds
    return f"{first:.2f} s", f"{statistics.median(others):.2f} s (slowest {max(others):.2f} s)"


def _answer(task: SegmentationTask, ct: Path) -> None:
    task.respond({"image": str(ct), "overlay": "yes"}).file.unlink()


def _models(folder: Path, registry: Registry, recipe: Recipe) -> Registry:
    """The detector as it is, and untrained five-fold networks for the rest, which take as long as trained ones."""
    models = Registry(folder)
    for task in TASKS["sarcopenia"].parts:
        if models.champion(task) is None:
            schema = SCHEMAS[task]
            with models.staging(task) as staging:
                write_untrained(
                    staging,
                    patch=recipe.patch_size,
                    spacing_mm=recipe.spacing_mm,
                    features=recipe.features or FEATURES,
                    schema=schema,
                )
                manifest = Manifest(task=task, network="nnunet_2d", classes=schema.ids, folds=FOLDS, origin="untrained")
                models.set_champion(task, models.publish(staging, manifest).name)
    shutil.copytree(registry.root / "l3_slice", folder / "l3_slice", dirs_exist_ok=True)
    return models


def _many(options: argparse.Namespace, ct: Path, models: Path) -> tuple[str, str, str]:
    """What `analyse.py` makes of copies of the CT."""
    cases, results = options.out / "cases", options.out / "results"
    shutil.rmtree(results, ignore_errors=True)
    shutil.rmtree(cases, ignore_errors=True)
    cases.mkdir(parents=True)
    for number in range(options.cases):
        os.link(ct, cases / f"copy_{number:03}.nii.gz")
    command = [sys.executable, str(_ANALYSE), str(cases), "--out", str(results), "--quiet"]
    done = subprocess.run([*command, "--models", str(models)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+) cases a minute", done)
    if f"{options.cases} analysed, 0 failed" not in done or found is None:
        raise RuntimeError(done)
    a_day = float(found.group(1)) * _DAY_MINUTES
    return f"`analyse.py` on {options.cases} CTs, networks of the small preset", f"{a_day:,.0f} CTs a day", "10,000"
