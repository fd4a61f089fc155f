"""Begins a scoring by itself whenever cases have no score of the version that answers now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lib.stores import CaseStore
from lib.strategies.scoring import METHOD
from lib.tasks import TRAINABLE_TASKS

logger = logging.getLogger(__name__)


class ScoringSchedule:
    """Looks whether a scoring is due, as often as :meth:`look` is called.

    A scoring does not wait for a training, which may follow another without a gap. One that failed or was stopped is
    not begun again until another version answers or an hour has passed; one that was killed together with the server
    goes on with the next server.

    Args:
        store: the cases, and the records of runs.
        champion: the name of the version that answers a task, ``None`` for the cold start.
        start: begins the scoring of a task in the background.
        busy: whether a scoring that was begun waits or runs here.
        tasks: those that are scored.
        retry_after: how long a scoring that came to nothing waits.
    """

    def __init__(
        self,
        store: CaseStore,
        champion: Callable[[str], str | None],
        start: Callable[[str], None],
        busy: Callable[[], bool] = lambda: False,
        *,
        tasks: Sequence[str] = TRAINABLE_TASKS,
        retry_after: timedelta = timedelta(hours=1),
    ) -> None:
        self._store, self._champion, self._start, self._busy = store, champion, start, busy
        self._tasks, self._retry_after = tuple(tasks), retry_after
        self._begun: dict[str, tuple[str | None, datetime]] = {}

    def look(self) -> str | None:
        """Begin a scoring if one is due.

        Returns:
            Its task, or ``None``.
        """
        self._store.lost_runs()  # closes those whose process is gone
        if self._busy() or self._store.running("score"):
            return None
        for task in self._tasks:
            version = self._champion(task)
            if not self._has_to_wait(task, version) and self._store.cases_to_score(
                task, method=METHOD, model_version=version, limit=1
            ):
                self._begun[task] = (version, datetime.now(UTC))
                logger.info("A scoring of %s by %s begins", task, version or "the cold start")
                self._start(task)
                return task
        return None

    def state(self) -> dict[str, Any]:
        """What ``/info/`` tells of it, for JSON; a few rows of the index.

        Returns:
            ``running`` (``task`` and ``since``, or ``None``), and ``last``: for each task how its last scoring ended
            (``outcome``, ``ended``, and the counts of :class:`lib.strategies.scoring.FoldScoring` or the ``reason``).
        """
        running = self._store.running("score")
        last = {task: self._store.last_run("score", task) for task in self._tasks}
        return {
            "running": running and {"task": running.task, "since": running.started.isoformat(timespec="seconds")},
            "last": {
                task: run
                and {
                    "outcome": run.outcome,
                    "ended": run.ended and run.ended.isoformat(timespec="seconds"),
                    **run.facts,
                }
                for task, run in last.items()
            },
        }

    def _has_to_wait(self, task: str, version: str | None) -> bool:
        """Whether the scoring that this schedule began last for the same version came to nothing a short time ago."""
        if task not in self._begun:
            return False
        before, when = self._begun[task]
        last = self._store.last_run("score", task)
        if last is not None and last.started >= when and last.outcome == "done":
            return False
        return before == version and datetime.now(UTC) < when + self._retry_after
