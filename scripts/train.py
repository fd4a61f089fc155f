"""Train a task's model on the saved labels of a studies folder, as /train/TASK of the server does.

.venv/bin/python scripts/train.py l3_muscle --studies datastore

A training that was ended continues when it is started again. `scripts/models.py` shows what came of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.models import Registry
from lib.models.verdict import Verdict
from lib.refusals import Refusal
from lib.reports.cross_validation import cross_validation_table
from lib.stores import CaseStore
from lib.tasks import CONTRASTS, TRAINABLE_TASKS
from lib.trainers.learners import PRESETS
from scripts.command import Stop, run_command
from scripts.serve import MODELS, STUDIES


def main(arguments: Sequence[str]) -> int:
    """Train, and print the cross-validation.

    Raises:
        Stop: it cannot be trained, with the reason.
    """
    options = parse(arguments)
    from lib.trainers.training import TrainOptions, train_task  # noqa: PLC0415 - PyTorch takes seconds

    registry = Registry(options.models)
    done: dict[int, int] = {}
    try:
        store = CaseStore(options.studies)
        try:
            chosen = TrainOptions(
                preset=options.preset,
                device=options.device,
                from_scratch=options.from_scratch,
                seed=options.seed,
                network=options.network,
                contrast=options.contrast,
                folds=options.folds,
            )
            with tqdm(unit="epoch", disable=options.quiet) as bar:

                def show(progress) -> None:  # type: ignore[no-untyped-def]
                    done[progress.fold] = progress.epoch
                    bar.total = progress.epochs * progress.folds
                    bar.set_postfix(fold=progress.fold, loss=f"{progress.loss:.3f}", dice=f"{progress.dice:.3f}")
                    bar.update(sum(done.values()) - bar.n)

                version = train_task(options.task, store, registry, chosen, show)
        finally:
            store.close()
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    print(cross_validation_table(version.manifest.metrics))
    verdict = Verdict.of(version.manifest.metrics)
    print(f"\nThis is {version.name} of {options.task}. {verdict.reason if verdict else ''}".rstrip())
    print(f"{registry.champion_name(options.task, version.manifest.variant)} answers.")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="train.py", description="Train a task's model on saved labels.")
    parser.add_argument("task", choices=TRAINABLE_TASKS)
    parser.add_argument("--studies", type=Path, default=STUDIES, help="folder of images and labels")
    parser.add_argument("--models", type=Path, default=MODELS, metavar="FOLDER", help="folder of all models")
    parser.add_argument("--preset", choices=list(PRESETS), default="", help="default: what suits the device")
    parser.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: the best there is)")
    parser.add_argument("--from-scratch", action="store_true", help="do not start from the champion's weights")
    parser.add_argument(
        "--network", default="", help="body_composition: 3d or 2d; thigh_muscles: unetr or unet_3d (default: the first)"
    )
    parser.add_argument(
        "--contrast", choices=CONTRASTS, default="", help="for body_composition: which CTs to train on (default: all)"
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=0,
        help="2 to 5, decided by the first training (default: what the task usually has)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is left to chance (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
