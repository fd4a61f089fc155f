"""Trains again by itself as labels come, one training at a time, and goes on with what was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lib.background import Repeating
from lib.models import Registry
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.records import Run
from lib.stores.runs import LOST
from lib.tasks import TRAINABLE_TASKS
from lib.trainers.freshness import Freshness
from lib.trainers.policy import TrainingPolicy
from lib.trainers.runs import KEPT, PROMOTED
from lib.trainers.training import check_trainable

_MOST_ATTEMPTS = 3
"""A training whose process was killed so often in a row may be what kills it, and is left to people."""
_LOST_REASON = "The training's process was ended before it was done; started again, it continues."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    """A training that came to nothing."""

    began: datetime
    ended: datetime
    reason: str


class Schedule:
    """Looks every few seconds whether a training is due, in a thread of its own.

    A training is due when ``retrain_after`` labels of its task are new or changed since those that the newest version
    was trained on. One that came to nothing is not begun again until another label was saved or an hour has passed.
    It is to be made before this process asks the store for lost runs: those that are noticed later were lost with the
    server before this one.

    Args:
        store: the labels, and the records of runs.
        registry: the versions.
        policy: what was chosen.
        start: begins a training in the background; takes what ``/train/`` takes, with the task as ``model``.
        busy: whether a training that was begun by ``start``, or by a client, waits or runs here.
        tasks: those that can be trained.
        every_s: seconds from look to look.
        retry_after: how long a training that came to nothing waits, if no label comes.
    """

    def __init__(
        self,
        store: CaseStore,
        registry: Registry,
        policy: TrainingPolicy,
        start: Callable[[dict[str, Any]], None],
        busy: Callable[[], bool] = lambda: False,
        *,
        tasks: Sequence[str] = TRAINABLE_TASKS,
        every_s: float = 5.0,
        retry_after: timedelta = timedelta(hours=1),
    ) -> None:
        self._store, self._policy, self._tasks = store, policy, tuple(tasks)
        self._fresh = Freshness(store, registry)
        self._start, self._busy = start, busy
        self._retry_after = retry_after
        self._made = datetime.now(UTC)
        self._tried: dict[str, _Failure] = {}
        self._looking = Repeating("training-schedule", [self.look], every_s=every_s, first=[self.continue_lost])

    def begin(self) -> None:
        """Begin to look; to be called once, in the server's process only."""
        self._looking.begin()

    def stop(self) -> None:
        """Look no more; a training that runs goes on."""
        self._looking.stop()

    def continue_lost(self) -> str | None:
        """Go on with the training that was killed together with the server before this one.

        One that was killed while a server was running was stopped by somebody, or by want of memory: that one waits for
        the next label, as one that failed does.

        Returns:
            Its task, or ``None``.
        """
        for run in self._store.lost_runs():
            if run.kind != "train" or run.task not in self._tasks or _ended(run) < self._made:
                continue
            logger.warning("The training of %s was killed: process %d is gone", run.task, run.pid)
            if self._policy.auto_train and int(run.facts.get("attempt", 1)) < _MOST_ATTEMPTS and self._free():
                return self._try(run.task, run.facts.get("request", {}))
        return None

    def look(self) -> str | None:
        """Begin a training if one is due.

        Returns:
            Its task, or ``None``.
        """
        if not (self._free() and self._policy.automatic):
            return None
        counts = {task: self._fresh.labels(task) for task in self._tasks}
        due = [task for task in self._tasks if counts[task] >= self._policy.retrain_after]
        for task in sorted(due, key=lambda task: -counts[task]):
            if self._hindrance(task) is None and self._has_enough(task) and self._try(task, {}):
                return task
        return None

    def state(self) -> dict[str, Any]:
        """What ``/info/`` tells of it, for JSON; a few counts in the index.

        Returns:
            ``auto_train``, ``retrain_after``, ``tolerances``; ``running`` (``task`` and ``since``, or ``None``);
            ``tasks``: for each ``labels_since_training``, ``last`` (``outcome``, ``ended``, ``version`` and ``reason``
            of the last training, or ``None``) and ``waits`` (why a training that is due does not begin, or "").
        """
        running = self._store.running("train")
        return {
            "auto_train": self._policy.auto_train,
            "retrain_after": self._policy.retrain_after,
            "tolerances": asdict(self._policy.tolerances),
            "running": running and {"task": running.task, "since": running.started.isoformat(timespec="seconds")},
            "tasks": {task: self._state_of(task, running) for task in self._tasks},
        }

    def usable_labels(self, task: str) -> int:
        """How many labels a training would see that the newest version did not; looks at every label."""
        return self._fresh.usable_labels(task)

    def _state_of(self, task: str, running: Run | None) -> dict[str, Any]:
        trains = running is not None and running.task == task
        count = self._store.labels_since(task, running.started) if running and trains else self._fresh.labels(task)
        due = self._policy.automatic and count >= self._policy.retrain_after and not trains
        last = self._store.last_run("train", task)
        return {
            "labels_since_training": count,
            "last": last and _told(last),
            "waits": (self._hindrance(task) or "") if due else "",
        }

    def _free(self) -> bool:
        """Whether nothing is trained, in whatever process; notes runs whose process is gone."""
        self._store.lost_runs()
        return not self._busy() and self._store.running("train") is None

    def _has_enough(self, task: str) -> bool:
        """Whether a training would see so many new labels; else it would be due again as soon as it is done."""
        count = self._fresh.usable_labels(task)
        if count < self._policy.retrain_after:
            now = datetime.now(UTC)
            reason = f"Only {count} of these labels are new to a training: others are as before or have no image."
            self._tried[task] = _Failure(now, now, reason)
        return count >= self._policy.retrain_after

    def _try(self, task: str, request: Mapping[str, Any]) -> str | None:
        now = datetime.now(UTC)
        try:
            check_trainable(task, self._store)
        except Refusal as refusal:
            self._tried[task] = _Failure(now, now, str(refusal))
            return None
        # Until the training has left a record of its own: it may end before.
        self._tried[task] = _Failure(now, now, "The training that was begun left no record; the server's log says why.")
        logger.info("A training of %s begins", task)
        self._start({**request, "model": task})
        return task

    def _hindrance(self, task: str) -> str | None:
        """Why a training that is due does not begin."""
        failure = self._failure(task)
        if failure is None or self._store.labels_since(task, failure.began):
            return None
        again = failure.ended + self._retry_after
        if datetime.now(UTC) >= again:
            return None
        return f"{failure.reason} It is tried again with the next label, or at {again:%H:%M} UTC."

    def _failure(self, task: str) -> _Failure | None:
        """How the last attempt to train came to nothing, if it did."""
        last, tried = self._store.last_run("train", task), self._tried.get(task)
        if last is None or (tried is not None and tried.began > last.started):
            return tried
        if last.outcome in {PROMOTED, KEPT}:
            return None
        return _Failure(last.started, _ended(last), _reason(last))


def _ended(run: Run) -> datetime:
    return run.ended or run.started


def _reason(run: Run) -> str:
    return _LOST_REASON if run.outcome == LOST else str(run.facts.get("reason", ""))


def _told(run: Run) -> dict[str, Any]:
    return {
        "outcome": run.outcome,
        "ended": _ended(run).isoformat(timespec="seconds"),
        "version": run.facts.get("version"),
        "reason": _reason(run),
    }
