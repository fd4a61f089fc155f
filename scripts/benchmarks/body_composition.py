"""Train the networks of Lee 2021 on phantoms, and judge them on phantoms that no fold has seen, as in its Table 2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.infers.champions import Champion, Champions
from lib.measures.overlap import Overlap, overlaps
from lib.models import Registry
from lib.phantoms.cohort import CohortPlan, read_table
from lib.reports.cross_validation import cross_validation_table
from lib.reports.overlap_table import overlap_table
from lib.tasks import TASKS
from lib.trainers.learners import PRESETS
from lib.trainers.training import TrainOptions
from scripts.benchmarks._training import champion_of, draw_cohort, judged

_TASK = BODY_COMPOSITION.task
_TRAINING_SEED, _TEST_SEED = 76, 77
METHODS = {"2d": "2-D", "3d": "3-D"}
_FAT_AND_MUSCLE = ("muscle", "abdominal_visceral_fat", "subcutaneous_fat")


def main(argv: Sequence[str]) -> int:
    """Draw what is missing, train what is not trained, judge what is not judged, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py body-composition", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for cohorts and models; gone on with if there")
    parser.add_argument("--preset", choices=list(PRESETS), default="small", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=0, help="how many (default: as many as are usual)")
    parser.add_argument("--train", type=int, default=40, help="torsos to train on (default: %(default)s)")
    parser.add_argument("--test", type=int, default=20, help="torsos to judge on (default: %(default)s)")
    parser.add_argument("--matrix", type=int, default=256, help="pixels along a side of a slice (default: %(default)s)")
    parser.add_argument("--slice-mm", type=float, default=5.0, help="thickness of slices (default: %(default)s)")
    parser.add_argument(
        "--network", choices=list(METHODS), action="append", help="one of the networks (default: both, and compared)"
    )
    options = parser.parse_args(argv)
    train, test = (
        draw_cohort(
            options.out / name,
            CohortPlan(region="torso", count=count, seed=seed, matrix=options.matrix, slice_mm=options.slice_mm),
        )
        for name, count, seed in (("train", options.train, _TRAINING_SEED), ("test", options.test, _TEST_SEED))
    )
    registry = Registry(options.out / "models")
    scores = {}
    for network in options.network or METHODS:
        training = TrainOptions(preset=options.preset, device=options.device, network=network, folds=options.folds)
        version = champion_of(_TASK, train, registry, training)
        print(f"\n### {METHODS[network]}: cross-validation\n\n{cross_validation_table(version.manifest.metrics)}")
        champion = Champions(registry, registry.compiled).of(_TASK, TASKS[_TASK].variant(network))
        assert champion is not None
        folder = options.out / "judged" / f"{network}-{version.name}"
        rows = tqdm(read_table(test), unit="torso", desc=f"judging {network}")
        scores[METHODS[network]] = [_judged(folder, test, row["case"], champion) for row in rows]
    print(f"\n### {options.test} torsos that no fold has seen (as Table 2 of Lee 2021)\n")
    together = {"muscle and both fats": _FAT_AND_MUSCLE}
    print(overlap_table(BODY_COMPOSITION.names, scores, together=together))
    return 0


def _judged(folder: Path, cohort: Path, case: str, champion: Champion) -> dict[str, Overlap]:
    found = judged(folder, cohort, case, champion, lambda label, truth, _: overlaps(label, truth, BODY_COMPOSITION.ids))
    return {name: Overlap(**values) for name, values in found.items()}
