"""What people who look after a project want to see: the queue as a list, and who labelled when."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import and_, func, select

from lib.stores.cases import PRESENT, Cases, lacks_label
from lib.stores.hand_outs import HandedOut, handed_out, in_hands
from lib.stores.index import CASES, REVISIONS, SCORES, StoreIndex
from lib.stores.records import FINAL
from lib.stores.stored_tasks import stored_tasks


@dataclass(frozen=True, kw_only=True)
class QueuedCase:
    """A case that lacks a task's label.

    Attributes:
        image_id: the case.
        score: by which it is sorted, or ``None``.
        model_version: that gave the score, ``None`` for the cold start.
        held: by whom and why, where it is in somebody's hands.
    """

    image_id: str
    score: float | None
    model_version: str | None
    held: HandedOut | None


class BoardKeeping:
    """The part of a store that gives an overview."""

    _index: StoreIndex
    _cases: Cases

    def queued(self, task: str, method: str, *, offset: int, limit: int) -> list[QueuedCase]:
        """A part of the queue: cases that a model scored before those of the cold start, the rest by id.

        Args:
            task: the task; without scores of its own it has those of the labels that it is stored as.
            method: of the score.
            offset: how many cases to pass over.
            limit: at most so many.

        Raises:
            Refusal: 404 for an unknown task.
        """
        parts = stored_tasks(task)
        self._cases.look()
        with self._index.reading() as connection:
            scored = select(SCORES.c.task).where(SCORES.c.method == method, SCORES.c.labelled.is_(False))
            names = dict.fromkeys((task, *parts))
            known = next(
                (each for each in names if connection.execute(scored.where(SCORES.c.task == each)).first()), task
            )
            of_case = and_(SCORES.c.case_id == CASES.c.id, SCORES.c.task == known, SCORES.c.method == method)
            query = (
                select(CASES.c.id, SCORES.c.value, SCORES.c.model_version)
                .outerjoin(SCORES, of_case)
                .where(CASES.c.state == PRESENT, CASES.c.fault.is_(None), lacks_label(parts))
                .order_by(SCORES.c.value.is_(None), SCORES.c.trained.desc(), SCORES.c.value.desc(), CASES.c.id)
                .limit(limit)
                .offset(offset)
            )
            now = time.time()
            held = {row.case_id: handed_out(row) for row in in_hands(connection, task) if row.lease_ends > now}
            return [
                QueuedCase(image_id=row.id, score=row.value, model_version=row.model_version, held=held.get(row.id))
                for row in connection.execute(query)
            ]

    def queue_length(self, task: str) -> int:
        """How many cases :meth:`queued` lists in all."""
        query = select(func.count()).select_from(CASES)
        query = query.where(CASES.c.state == PRESENT, CASES.c.fault.is_(None), lacks_label(stored_tasks(task)))
        with self._index.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def labels_by_day(self, task: str) -> dict[date, Counter[str]]:
        """How many final labels of a task each person saved on each day (UTC); withdrawn ones are not counted.

        A label that belongs to several stored tasks counts for each of them.
        """
        query = select(REVISIONS.c.created, REVISIONS.c.author).where(
            REVISIONS.c.task.in_(stored_tasks(task)), REVISIONS.c.tag == FINAL, REVISIONS.c.withdrawn.is_(None)
        )
        found: dict[date, Counter[str]] = {}
        with self._index.reading() as connection:
            for row in connection.execute(query.order_by(REVISIONS.c.created)):
                found.setdefault(datetime.fromtimestamp(row.created, UTC).date(), Counter())[row.author] += 1
        return found
