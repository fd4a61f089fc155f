"""Import a 2-D nnU-Net that was trained elsewhere, as a new version of a task's model.

.venv/bin/python scripts/import_model.py --task l3_muscle MODEL.zip --map Muscle_A=psoas --champion

Takes a zip made by `nnUNetv2_export_model_to_zip`, or a results folder with plans.json, dataset.json and its folds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.models import Registry
from lib.refusals import Refusal
from lib.tasks import STORED_TASKS, TASKS
from scripts.command import Stop, run_command
from scripts.serve import MODELS


def main(arguments: Sequence[str]) -> int:
    """Import the model.

    Raises:
        Stop: it cannot be imported, or cannot become the champion.
    """
    options = parse(arguments)
    names = dict(options.map)
    if len(names) < len(options.map):
        raise Stop("--map names a label twice.")
    from lib.models.importing import import_results  # noqa: PLC0415 - PyTorch takes seconds, and --help needs none

    registry, source = Registry(options.models), options.source.resolve()
    try:
        imported = import_results(registry, options.task, source, names=names)
        version = imported.version
        print(f"{source.name} is {version.name} of {options.task}, with {numbered(version.fold_numbers)}.")
        if imported.unfinished:
            print(f"Left out, since it was not trained to its end: {numbered(imported.unfinished)}.")
        if imported.ignored:
            print(f"Labels that count as background: {', '.join(imported.ignored)}.")
        if not version.manifest.metrics:
            print("It brings no complete results of its validation, so nothing says how good it is.")
        if options.champion:
            registry.set_champion(options.task, version.name)
            print(f"{version.name} answers for {options.task} from now on.")
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    except OSError as error:
        raise Stop(f"{source.name} cannot be read: {error.strerror}.") from error
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="import_model.py", description="Import a 2-D nnU-Net trained elsewhere.")
    parser.add_argument("source", type=Path, help="zip or results folder")
    tasks = [name for name in STORED_TASKS if TASKS[name].dimension == 2]
    parser.add_argument("--task", choices=tasks, required=True, help="whose structures it shows")
    parser.add_argument(
        "--map",
        type=pair,
        action="append",
        default=[],
        metavar="THEIR=OURS",
        help="a label's name in its dataset.json and the structure that it is, where the names differ; can be repeated",
    )
    parser.add_argument("--champion", action="store_true", help="let it answer from now on")
    parser.add_argument("--models", type=Path, default=MODELS, metavar="FOLDER", help="folder of all models")
    return parser.parse_args(arguments)


def pair(text: str) -> tuple[str, str]:
    """`THEIR=OURS` as a pair.

    Raises:
        argparse.ArgumentTypeError: it is not of that form.
    """
    their, equals, our = (part.strip() for part in text.rpartition("="))
    if not (their and equals and our):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form THEIR=OURS.")
    return their, our


def numbered(folds: Sequence[int]) -> str:
    """Folds in words."""
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


if __name__ == "__main__":
    run_command(main)
