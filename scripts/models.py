"""Look at the trained models, and choose by hand which one answers.

.venv/bin/python scripts/models.py list
.venv/bin/python scripts/models.py show l3_muscle v0002
.venv/bin/python scripts/models.py promote l3_muscle v0002 --reason "the new one misses the psoas"
.venv/bin/python scripts/models.py rollback l3_muscle

A running server answers with the other model from its next request on; no request fails meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.models import Registry, Version
from lib.models.choice import Choice
from lib.models.telling import answers, why
from lib.refusals import Refusal
from lib.reports.cross_validation import cross_validation_table
from lib.tasks import TRAINABLE_TASKS
from scripts.command import Stop, run_command
from scripts.serve import MODELS

_WIDTH = 100
_HEADER = "  version  made (UTC)        labels  patients  phantoms  folds  mean Dice   worst"


def main(arguments: Sequence[str]) -> int:
    """Do what was asked for, and say what is so now.

    Raises:
        Stop: it cannot be done.
    """
    options = parse(arguments)
    registry = Registry(options.models)
    try:
        print(options.command(registry, options))
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    return 0


def list_versions(registry: Registry, options: argparse.Namespace) -> str:
    """All versions, the champions marked, with why each was promoted or not."""
    tasks = [options.task] if options.task else [task for task in TRAINABLE_TASKS if registry.versions(task)]
    return "\n\n".join(_table(registry, task) for task in tasks) or "There are no models yet: train or import one."


def show(registry: Registry, options: argparse.Namespace) -> str:
    """All that is known of one version."""
    version = registry.version(options.task, options.version)
    manifest = version.manifest
    history = registry.history(options.task, manifest.variant)
    facts = {
        "origin": manifest.origin,
        "made": f"{_moment(manifest.created)} UTC",
        "started from": manifest.parent or "scratch",
        "preset": manifest.preset or "not known",
        "variant": manifest.variant or "the usual one",
        "folds": ", ".join(map(str, version.fold_numbers)),
        "labels": f"{len(manifest.labels)} of {len(manifest.patients)} patients, phantoms: {manifest.phantoms}",
        "packages": ", ".join(f"{name} {number}" for name, number in manifest.packages.items()),
        "folder": str(version.folder),
        "why": why(version, history),
    }
    lines = [f"{version.name} of {options.task}{' answers' if answers(version, history) else ''}"]
    for name, text in facts.items():
        lines += _wrapped(text or "-", first=f"  {name:<14}", others=" " * 16)
    for choice in (each for each in history if each.version == version.name):
        how = "gone back to" if choice.back else "champion"
        lines += _wrapped(choice.reason or "-", first=f"  {how} since {_moment(choice.since)}: ", others=" " * 16)
    if "folds" in manifest.metrics:
        lines += ["", cross_validation_table(manifest.metrics)]
    return "\n".join(lines)


def promote(registry: Registry, options: argparse.Namespace) -> str:
    """Let a version answer, whatever the comparison said."""
    variant = registry.version(options.task, options.version).manifest.variant
    before = _champion_name(registry, options.task, variant)
    reason = f"Promoted by hand{f': {options.reason}' if options.reason else '.'}"
    version = registry.set_champion(options.task, options.version, reason=reason)
    return _now_answers(options.task, version, before)


def rollback(registry: Registry, options: argparse.Namespace) -> str:
    """Let the champion before this one answer again."""
    before = _champion_name(registry, options.task, options.variant)
    reason = f"Gone back to by hand{f': {options.reason}' if options.reason else '.'}"
    return _now_answers(options.task, registry.rollback(options.task, variant=options.variant, reason=reason), before)


def prune(registry: Registry, options: argparse.Namespace) -> str:
    """Remove old versions: all but the last champions and the newest versions."""
    last = []
    for variant in registry.variants(options.task):
        champions = [choice.version for choice in registry.history(options.task, variant)]
        last += list(dict.fromkeys(reversed(champions)))[: max(2, options.keep)]
    old = [name for name in registry.versions(options.task)[: -options.keep] if name not in last]
    for name in old:
        registry.remove(options.task, name)
    return f"Removed of {options.task}: {', '.join(old)}." if old else f"There is nothing to remove of {options.task}."


def _now_answers(task: str, version: Version, before: str | None) -> str:
    did = f"; {before} did before" if before and before != version.name else ""
    return f"{version.name} of {task} answers from now on{did}."


def _champion_name(registry: Registry, task: str, variant: str) -> str | None:
    """Who answers now, as far as that can be read: choosing again is the way out of a damaged choice."""
    try:
        return registry.champion_name(task, variant)
    except Refusal:
        return None


def _table(registry: Registry, task: str) -> str:
    lines = [task]
    histories: dict[str, Sequence[Choice]] = {}
    for variant in registry.variants(task):
        try:
            histories[variant] = registry.history(task, variant)
        except Refusal as refusal:
            lines.append(f"  {refusal}")
    names = registry.versions(task)
    if not names:
        return f"{task}\n  no version yet"
    lines.append(_HEADER)
    for name in names:
        try:
            version = registry.version(task, name)
        except Refusal as refusal:
            lines += _wrapped(str(refusal), first=f"  {name}    ", others=" " * 11)
            continue
        history = histories.get(version.manifest.variant, ())
        lines.append(_row(version, champion=answers(version, history)))
        lines += _wrapped(why(version, history), first=" " * 11, others=" " * 11)
    if not any(histories.values()):
        lines.append("  No version was chosen to answer yet.")
    return "\n".join(lines)


def _row(version: Version, *, champion: bool) -> str:
    manifest = version.manifest
    dice = manifest.metrics.get("pooled", {}).get("mean_dice", {})
    mean, worst = (_number(dice.get(key)) for key in ("mean", "minimum"))
    known = bool(manifest.labels)
    labels, patients = (str(len(each)) if known else "-" for each in (manifest.labels, manifest.patients))
    phantoms = str(sum(label.phantom for label in manifest.labels)) if known else "-"
    return (
        f"{'*' if champion else ' '} {version.name:<7}  {_moment(manifest.created)}  {labels:>6}  {patients:>8}  "
        f"{phantoms:>8}  {len(version.fold_numbers):>5}  {mean:>9}  {worst:>6}  {manifest.variant}"
    ).rstrip()


def _moment(iso: str) -> str:
    """A moment in UTC to the minute, as wide as any other."""
    return f"{iso[:16].replace('T', ' '):<16}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _wrapped(text: str, *, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=others)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options; ``command`` is the function that does it."""
    parser = argparse.ArgumentParser(prog="models.py", description="Look at the trained models, and choose by hand.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    several = commands.add_parser("list", help="all versions, the champions marked with *")
    several.add_argument("task", nargs="?", choices=TRAINABLE_TASKS)
    several.set_defaults(command=list_versions)
    one = commands.add_parser("show", help="all that is known of one version")
    one.set_defaults(command=show)
    up = commands.add_parser("promote", help="let a version answer from now on")
    up.set_defaults(command=promote)
    back = commands.add_parser("rollback", help="let the champion before this one answer again")
    back.add_argument("--variant", default="", help="of the task, for instance 2d (default: the usual one)")
    back.set_defaults(command=rollback)
    less = commands.add_parser("prune", help="remove old versions, to make room")
    less.add_argument(
        "--keep", type=_at_least_one, default=5, help="last champions and newest versions that stay (default: 5)"
    )
    less.set_defaults(command=prune)
    for command in (one, up, back, less):
        command.add_argument("task", choices=TRAINABLE_TASKS)
    for command in (one, up):
        command.add_argument("version", help="for instance v0002")
    for command in (up, back):
        command.add_argument("--reason", default="", help="kept with the choice")
    for command in (several, one, up, back, less):
        command.add_argument("--models", type=Path, default=MODELS, metavar="FOLDER", help="folder of all models")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
