"""The record of a training in the store, so that everybody knows what is running and what became of what ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lib.models import Version
from lib.models.verdict import Verdict
from lib.stores import CaseStore
from lib.stores.runs import LOST

PROMOTED, KEPT, FAILED, ENDED = "promoted", "kept", "failed", "ended"
"""What becomes of a training: a champion, a version that does not answer, nothing, or it was called off."""


@dataclass
class Outcome:
    """What is to be noted at the end of a run."""

    name: str = FAILED
    facts: dict[str, Any] = field(default_factory=dict)

    def of(self, version: Version, verdict: Verdict) -> None:
        """Note that there is a version."""
        self.name = PROMOTED if verdict.promote else KEPT
        self.facts = {
            "version": version.name,
            "labels": len(version.manifest.labels),
            "reason": verdict.reason,
            "numbers": dict(verdict.numbers),
        }


@contextmanager
def training_run(store: CaseStore, task: str, request: Mapping[str, Any]) -> Iterator[Outcome]:
    """Keep a record of a training, however it ends.

    A process that is killed writes nothing more: the store notices later that its run is lost.

    Args:
        store: keeps the record.
        task: what is trained.
        request: what was asked for; kept, so that the same training can be continued.

    Raises:
        Refusal: another training is running.
    """
    run = store.begin_run("train", task, request=dict(request), attempt=_attempt(store, task))
    outcome = Outcome()
    try:
        yield outcome
    except Exception as error:
        outcome = Outcome(FAILED, {"reason": str(error) or type(error).__name__})
        raise
    except BaseException:
        outcome = Outcome(ENDED, {"reason": "The training was called off; started again, it continues."})
        raise
    finally:
        store.end_run(run, outcome.name, **outcome.facts)


def _attempt(store: CaseStore, task: str) -> int:
    """How many times in a row this training was begun: 1, unless the process of the one before was killed."""
    store.lost_runs()  # closes them
    last = store.last_run("train", task)
    return int(last.facts.get("attempt", 1)) + 1 if last is not None and last.outcome == LOST else 1
