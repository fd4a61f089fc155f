"""The queue of a studies folder from a shell: who has which case and why, giving one back, how far readers agree.

.venv/bin/python scripts/cases.py list l3_muscle
.venv/bin/python scripts/cases.py why CASE
.venv/bin/python scripts/cases.py return CASE --task l3_muscle
.venv/bin/python scripts/cases.py agreement l3_muscle

It may be used while the server runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.images.files import read_volume
from lib.measures.overlap import dice
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.blind_reads import TwoReadings
from lib.stores.hand_outs import HandedOut
from lib.stores.queue_rules import QueueRules
from lib.tasks import DEFAULT_TASK, TASKS
from scripts.command import Stop, run_command
from scripts.serve import STUDIES


def main(arguments: Sequence[str]) -> int:
    """Do what was asked of the queue.

    Raises:
        Stop: there is no such task, case or hand-out.
    """
    options = parse(arguments)
    try:
        store = CaseStore(options.studies, index_url=options.index_url)
        try:
            _COMMANDS[options.command](store, options)
        finally:
            store.close()
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    return 0


def list_cases(store: CaseStore, options: argparse.Namespace) -> None:
    """Print where the queue of a task stands, and what is in somebody's hands."""
    state = store.queue_state(options.task, QueueRules())
    held = len(state.in_hands)
    print(f"{options.task}: {state.waiting} waiting, {held} handed out, {state.labelled} labelled.")
    if state.nothing_because:
        print(state.nothing_because)
    for handed in state.in_hands:
        what = f"{handed.purpose} of {handed.task}"
        print(f"{handed.image_id}: {_who(handed)} until {handed.lease_ends:%Y-%m-%d %H:%M} UTC, {what}")


def why(store: CaseStore, options: argparse.Namespace) -> None:
    """Print every hand-out of a case with its reason and what became of it."""
    found = store.hand_outs(options.case, options.task)
    if not found:
        print(f"{options.case} was never handed out.")
    for handed in found:
        print(f"{handed.handed_out:%Y-%m-%d %H:%M} UTC, {handed.task}, to {_who(handed)}: {_became(handed)}")
        print(f"  {handed.purpose}, by {handed.strategy}: {handed.reason}")


def give_back(store: CaseStore, options: argparse.Namespace) -> None:
    """Return a case to the queue."""
    for handed in store.give_back(options.task, options.case, options.holder):
        print(f"{handed.image_id} of {handed.task} is back in the queue; {_who(handed)} had it.")


def agreement(store: CaseStore, options: argparse.Namespace) -> None:
    """Print the mean Dice of every label and its blind second reading."""
    pairs = store.agreement(options.task)
    if not pairs:
        print(f"No label of {options.task} was read a second time yet.")
        return
    print("| case | task | kind | first | second | mean Dice |")
    print("| --- | --- | --- | --- | --- | --- |")
    for pair in pairs:
        first, second = pair.first, pair.second
        readers = f"{first.author}, {first.created:%Y-%m-%d} | {second.author}, {second.created:%Y-%m-%d}"
        print(f"| {second.image_id} | {second.task} | {pair.kind} | {readers} | {mean_dice(pair):.3f} |")


def mean_dice(pair: TwoReadings) -> float:
    """The mean Dice over the structures that either reading holds."""
    first, second = (read_volume(revision.path)[0] for revision in (pair.first, pair.second))
    found = [value for value in dice(first, second, STORED_SCHEMAS[pair.second.task].ids).values() if value is not None]
    return sum(found) / len(found)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="cases.py", description="The queue of a studies folder.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--studies", type=Path, default=STUDIES, help="folder of images and labels")
        added.add_argument("--index-url", metavar="URL", help="of the PostgreSQL database, where one is used")
        return added

    listing = command("list", "how many cases wait for a label, and who has which")
    reason = command("why", "every hand-out of a case: to whom, why, and what became of it")
    back = command("return", "return a case to the queue before its lease ends")
    agreeing = command("agreement", "labels that were read a second time, blind to the first")
    for each in (listing, agreeing):
        each.add_argument("task", nargs="?", choices=list(TASKS), default=DEFAULT_TASK)
    for each in (reason, back):
        each.add_argument("case")
    reason.add_argument("--task", choices=list(TASKS), help="only hand-outs for this task")
    back.add_argument("--task", choices=list(TASKS), default=DEFAULT_TASK, help="what it was handed out for")
    back.add_argument("--holder", help="from whom (default: from whoever has it)")
    return parser.parse_args(arguments)


_COMMANDS: dict[str, Callable[[CaseStore, argparse.Namespace], None]] = {
    "list": list_cases,
    "why": why,
    "return": give_back,
    "agreement": agreement,
}


def _who(handed: HandedOut) -> str:
    return handed.holder or "somebody without a name"


def _became(handed: HandedOut) -> str:
    if handed.outcome is None:
        return f"theirs until {handed.lease_ends:%Y-%m-%d %H:%M} UTC"
    took = f" after {handed.seconds / 60:.0f} min" if handed.seconds is not None else ""
    return f"{handed.outcome.replace('_', ' ')}{took}"


if __name__ == "__main__":
    run_command(main)
