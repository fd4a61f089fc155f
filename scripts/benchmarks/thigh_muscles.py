"""Train UNETR and the 3-D U-Net on phantoms, and judge them on phantoms that no fold has seen, as Kim 2024 does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from lib.anatomy.schemas import MUSCLE_GROUPS, THIGH_MUSCLES
from lib.infers.champions import Champion, Champions
from lib.measures.quality import Quality, qualities
from lib.models import Registry
from lib.phantoms.cohort import CohortPlan, read_table
from lib.reports.quality_table import quality_summary, quality_table
from lib.tasks import TASKS
from lib.trainers.learners import PRESETS
from lib.trainers.training import TrainOptions
from scripts.benchmarks._training import champion_of, draw_cohort, judged

_TASK = THIGH_MUSCLES.task
_TRAINING_SEED, _TEST_SEED = 83, 84
_METHODS = {"unetr": "UNETR", "unet_3d": "3-D U-Net"}


def main(argv: Sequence[str]) -> int:
    """Draw what is missing, train what is not trained, judge what is not judged, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py thigh-muscles", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for cohorts and models; gone on with if there")
    parser.add_argument("--preset", choices=list(PRESETS), default="small", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=0, help="how many (default: as many as are usual)")
    parser.add_argument(
        "--train", type=int, default=60, help="thighs to train on (default: %(default)s, as in Kim 2024)"
    )
    parser.add_argument(
        "--test", type=int, default=12, help="thighs to judge on (default: %(default)s, as in Kim 2024)"
    )
    parser.add_argument("--matrix", type=int, default=256, help="pixels along a side of a slice (default: %(default)s)")
    parser.add_argument("--slice-mm", type=float, default=4.0, help="thickness of slices (default: %(default)s)")
    parser.add_argument(
        "--network", choices=list(_METHODS), action="append", help="one of the networks (default: both, and compared)"
    )
    options = parser.parse_args(argv)
    train, test = (
        draw_cohort(
            options.out / name,
            CohortPlan(region="thigh", count=count, seed=seed, matrix=options.matrix, slice_mm=options.slice_mm),
        )
        for name, count, seed in (("train", options.train, _TRAINING_SEED), ("test", options.test, _TEST_SEED))
    )
    registry, cases = Registry(options.out / "models"), {}
    for network in options.network or _METHODS:
        training = TrainOptions(preset=options.preset, device=options.device, network=network, folds=options.folds)
        version = champion_of(_TASK, train, registry, training)
        champion = Champions(registry, registry.compiled).of(_TASK, TASKS[_TASK].variant(network))
        assert champion is not None
        folder = options.out / "judged" / f"{network}-{version.name}"
        rows = tqdm(read_table(test), unit="thigh", desc=f"judging {network}")
        cases[_METHODS[network]] = [_judged(folder, test, row["case"], champion) for row in rows]
    print(f"\n### {options.test} thighs that no fold has seen (as Figure 5 of Kim 2024)\n")
    groups = {group: [each.name for each in THIGH_MUSCLES if each.group == group] for group in MUSCLE_GROUPS}
    print(quality_summary(THIGH_MUSCLES.names, cases))
    for method, qualities_of_cases in cases.items():
        print(f"\n### {method}, by structure\n")
        print(quality_table(THIGH_MUSCLES.names, qualities_of_cases, together=groups))
    return 0


def _judged(folder: Path, cohort: Path, case: str, champion: Champion) -> dict[str, Quality]:
    found = judged(
        folder,
        cohort,
        case,
        champion,
        lambda label, truth, spacing: qualities(label, truth, THIGH_MUSCLES.ids, spacing),
    )
    return {name: Quality(**values) for name, values in found.items()}
