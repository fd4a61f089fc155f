"""Trainings and scorings: at most one of a kind at a time, and one that was killed is known."""

from __future__ import annotations

import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Row, func, insert, select, update

from lib.refusals import Refusal
from lib.stores.cases import note
from lib.stores.index import RUNS, StoreIndex
from lib.stores.plain import to_json
from lib.stores.records import Run

Kind = Literal["train", "score"]
LOST = "lost"
_WHAT = {"train": "training", "score": "scoring"}
# The start of a process is told to a hundredth of a second, and moves a little when the clock is set.
_SAME_START_S = 2.0
# What this process holds as long as its runs go on; the system lets go of it when the process ends, however that is.
_held: dict[Path, FileLock] = {}


class RunKeeping:
    """The part of a store that keeps records of runs."""

    _index: StoreIndex
    _own: Path

    def begin_run(self, kind: Kind, task: str, **facts: Any) -> Run:
        """Note that this process begins a run; call :meth:`end_run` whatever comes of it.

        Args:
            kind: ``train`` or ``score``; of each there is one at a time, over all tasks and processes.
            task: what it is for.
            facts: what there is to know about it.

        Raises:
            Refusal: 409 when one of that kind is running; the sentence names it.
        """
        process = psutil.Process()
        row = {
            "kind": kind,
            "task": task,
            "host": platform.node(),
            "pid": process.pid,
            "process_started": process.create_time(),
            "started": time.time(),
            "facts": to_json(facts),
        }
        with self._index.writing() as connection:
            self._close_lost(connection)
            other = connection.execute(select(RUNS).where(RUNS.c.kind == kind, RUNS.c.ended.is_(None))).first()
            if other is not None:
                began = f"{datetime.fromtimestamp(other.started, UTC):%Y-%m-%d %H:%M} UTC"
                where = f"process {other.pid} on {other.host}"
                raise Refusal(
                    f"The {_WHAT[kind]} of {other.task} is running since {began} ({where}); wait for its end.",
                    status=409,
                )
            number = connection.execute(insert(RUNS).values(**row).returning(RUNS.c.id)).scalar_one()
            _hold(self._lock_file(number))
            note(connection, "run_begun", {"run": number, "kind": kind, "task": task, "pid": process.pid, **facts})
            return _run(connection.execute(select(RUNS).where(RUNS.c.id == number)).one())

    def end_run(self, run: Run, outcome: str, **facts: Any) -> None:
        """Note how a run ended.

        Args:
            run: as :meth:`begin_run` gave it.
            outcome: in a word, such as ``promoted``, ``kept`` or ``failed``.
            facts: added to those it began with.
        """
        merged = {**run.facts, **facts}
        ended = {"ended": time.time(), "outcome": outcome, "facts": to_json(merged)}
        with self._index.writing() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(**ended))
            told = {"run": run.id, "kind": run.kind, "task": run.task, "outcome": outcome}
            note(connection, "run_ended", {**told, **facts})
        _let_go(self._lock_file(run.id))

    def running(self, kind: Kind) -> Run | None:
        """The run of a kind that goes on now, in whatever process, or ``None``."""
        with self._index.reading() as connection:
            rows = connection.execute(select(RUNS).where(RUNS.c.kind == kind, RUNS.c.ended.is_(None))).all()
        return next((_run(row) for row in rows if not self._is_gone(row)), None)

    def last_run(self, kind: Kind, task: str | None = None) -> Run | None:
        """The run of a kind (and task) that was begun last of those that ended, or ``None``."""
        query = select(RUNS).where(RUNS.c.kind == kind, RUNS.c.ended.is_not(None))
        if task is not None:
            query = query.where(RUNS.c.task == task)
        with self._index.reading() as connection:
            row = connection.execute(query.order_by(RUNS.c.id.desc()).limit(1)).first()
        return None if row is None else _run(row)

    def lost_runs(self) -> list[Run]:
        """The runs whose process was gone before their end, and that nobody began again since.

        They are closed as ``lost`` when that is first noticed, with an event. A run that kills its process each time is
        found here each time: who continues runs by themselves has to stop at some point.
        """
        with self._index.reading() as connection:
            left = connection.execute(select(RUNS).where(RUNS.c.ended.is_(None))).all()
        if any(self._is_gone(row) for row in left):
            with self._index.writing() as connection:
                self._close_lost(connection)
        newest = select(func.max(RUNS.c.id)).group_by(RUNS.c.kind, RUNS.c.task)
        query = select(RUNS).where(RUNS.c.id.in_(newest), RUNS.c.outcome == LOST).order_by(RUNS.c.id)
        with self._index.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def _close_lost(self, connection: Connection) -> None:
        for row in connection.execute(select(RUNS).where(RUNS.c.ended.is_(None))).all():
            if self._is_gone(row):
                connection.execute(update(RUNS).where(RUNS.c.id == row.id).values(ended=time.time(), outcome=LOST))
                note(connection, "run_lost", {"run": row.id, "kind": row.kind, "task": row.task, "pid": row.pid})
                self._lock_file(row.id).unlink(missing_ok=True)

    def _is_gone(self, row: Row) -> bool:
        """Whether the process of a run has ended; that of another machine, or container, is known by what it holds."""
        if row.host == platform.node():
            return not _is_alive(row.pid, row.process_started)
        path = self._lock_file(row.id)
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return True
        except Timeout:
            return False

    def _lock_file(self, number: int) -> Path:
        return self._own / f"run-{number}.lock"


def _is_alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) <= _SAME_START_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _hold(path: Path) -> None:
    lock = FileLock(path, thread_local=False)  # another thread may end the run
    lock.acquire(timeout=0)
    _held[path] = lock


def _let_go(path: Path) -> None:
    lock = _held.pop(path, None)
    if lock is not None:
        lock.release()
    path.unlink(missing_ok=True)


def _run(row: Row) -> Run:
    return Run(
        id=row.id,
        kind=row.kind,
        task=row.task,
        host=row.host,
        pid=row.pid,
        started=datetime.fromtimestamp(row.started, UTC),
        ended=None if row.ended is None else datetime.fromtimestamp(row.ended, UTC),
        outcome=row.outcome,
        facts=json.loads(row.facts),
    )
