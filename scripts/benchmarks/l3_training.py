"""Train the L3 ensembles on phantoms, and judge them on phantoms that no fold has seen (Yu 2026, Tables 2 and 3)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from lib.anatomy.hounsfield import INTRAMUSCULAR_FAT
from lib.anatomy.schemas import SCHEMAS, LabelSchema
from lib.images import CTImage, read_ct
from lib.images.files import read_volume
from lib.measures.overlap import dice
from lib.models import Registry, Version
from lib.networks.nnunet.ensemble import Ensemble, label_of
from lib.phantoms.cohort import TRUTH, CohortPlan, read_table
from lib.phantoms.person import HARD_SHARE
from lib.reports.cross_validation import cross_validation_table
from lib.tasks import SLICE_TASKS
from lib.trainers.learners import PRESETS
from lib.trainers.training import TrainOptions
from scripts.benchmarks._training import champion_of, draw_cohort

_TRAINING_SEED, _TEST_SEED = 41, 42
_TEST_HARD_SHARE = 0.5
_HIGH = 0.90
_BARS = {
    "l3_muscle": "mean Dice 0.937, worst case 0.822",
    "l3_tissue": "Dice 0.96 in each class, area error 4.5 %",
}


@dataclass(frozen=True)
class Judged:
    """A test case.

    Attributes:
        dice: class to Dice.
        lean_dice: of all muscle together, the fat within it left out by its HU.
        area_error: class to the error of its area, a share of the true one (CSA error, Ha 2021); as there, the fat
            within muscle is left out by its HU.
    """

    dice: Mapping[str, float]
    lean_dice: float
    area_error: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Over the classes."""
        return float(np.mean(list(self.dice.values())))


def main(argv: Sequence[str]) -> int:
    """Draw what is missing, train what is not trained, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py l3-training", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for cohorts and models; gone on with if there")
    parser.add_argument("--task", choices=SLICE_TASKS, action="append", help="one of the tasks (default: all)")
    parser.add_argument("--preset", choices=list(PRESETS), default="small", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--train", type=int, default=164, help="slices to train on (default: %(default)s)")
    parser.add_argument(
        "--hard-share", type=float, default=HARD_SHARE, help="of hard cases to train on (default: %(default)s)"
    )
    parser.add_argument("--test", type=int, default=50, help="slices to judge on (default: %(default)s)")
    options = parser.parse_args(argv)
    plan = CohortPlan(region="l3", count=options.train, seed=_TRAINING_SEED, hard_share=options.hard_share)
    train = draw_cohort(options.out / "train", plan)
    plan = CohortPlan(region="l3", count=options.test, seed=_TEST_SEED, hard_share=_TEST_HARD_SHARE)
    test = draw_cohort(options.out / "test", plan)
    registry = Registry(options.out / "models")
    for task in options.task or SLICE_TASKS:
        version = champion_of(task, train, registry, TrainOptions(preset=options.preset, device=options.device))
        _report(task, version, test)
    return 0


def _report(task: str, version: Version, cohort: Path) -> None:
    schema = SCHEMAS[task]
    ensemble = Ensemble(version.folder)
    best = version.manifest.metrics["best_fold"]
    together, single = [], []
    for hu, spacing, truth in _cases(cohort, task):
        probabilities = ensemble.predict(hu, spacing)
        together.append(_judge(label_of(probabilities), truth, schema, hu))
        single.append(_judge(label_of(probabilities[[best]]), truth, schema, hu))
    print(f"\n### {task}: cross-validation\n\n{cross_validation_table(version.manifest.metrics)}")
    print(f"\n### {task}: {len(together)} phantoms that no fold has seen (bar: {_BARS[task]})\n")
    print(
        f"| | mean Dice | {' | '.join(schema.names)} | worst case | cases at {_HIGH} and above | "
        "muscle without its fat | largest area error |"
    )
    print(f"| --- | --- | {'--- | ' * len(schema)}--- | --- | --- | --- |")
    for name, judged in (("ensemble", together), (f"best fold ({best})", single)):
        means = np.array([case.mean for case in judged])
        classes = " | ".join(f"{np.mean([case.dice[each] for case in judged]):.3f}" for each in schema.names)
        errors = {each: float(np.mean([abs(case.area_error[each]) for case in judged])) for each in schema.names}
        worst = max(errors, key=lambda each: errors[each])
        print(
            f"| {name} | {means.mean():.3f} ± {means.std(ddof=1):.3f} | {classes} | {means.min():.3f} | "
            f"{(means >= _HIGH).mean():.0%} | {np.mean([case.lean_dice for case in judged]):.3f} | "
            f"{errors[worst]:.1%} ({worst}) |"
        )
    pair = stats.ttest_rel([case.mean for case in together], [case.mean for case in single])
    print(f"\nEnsemble against best fold, paired t-test of the mean Dice: p = {pair.pvalue:.3g}.")


def _cases(cohort: Path, task: str) -> Iterator[tuple[npt.NDArray, tuple[float, float], npt.NDArray]]:
    """HU, spacing and true label of each slice, in canonical order."""
    for row in read_table(cohort):
        image = read_ct(cohort / f"{row['case']}.nii.gz").canonical()
        array, affine, _ = read_volume(cohort / TRUTH / task / f"{row['case']}.nii.gz")
        label = CTImage(hu=array, affine=affine).canonical().hu
        yield image.hu[:, :, 0], (float(image.spacing[0]), float(image.spacing[1])), label[:, :, 0]


def _judge(found: npt.NDArray[np.uint8], truth: npt.NDArray, schema: LabelSchema, hu: npt.NDArray) -> Judged:
    overlap = dice(found, truth, schema.ids)
    muscle = [value for name, value in schema.ids.items() if not name.endswith("fat")]
    fat_within = INTRAMUSCULAR_FAT.contains(hu)
    found, truth = (np.where(np.isin(label, muscle) & fat_within, 0, label) for label in (found, truth))
    areas = {name: ((found == value).sum(), (truth == value).sum()) for name, value in schema.ids.items()}
    lean, true_lean = np.isin(found, muscle), np.isin(truth, muscle)
    return Judged(
        dice={name: float(value or 0.0) for name, value in overlap.items()},
        lean_dice=float(2 * (lean & true_lean).sum() / max(lean.sum() + true_lean.sum(), 1)),
        area_error={name: (mine - true) / max(true, 1) for name, (mine, true) in areas.items()},
    )
