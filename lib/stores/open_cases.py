"""The cases that may be handed out now, for a strategy to choose from."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from lib.stores.cases import PRESENT, open_cases
from lib.stores.hand_outs import recent_cases
from lib.stores.index import CASES, REVISIONS, ROW_BY_ROW, SCORES
from lib.stores.records import FINAL
from lib.stores.scores import features_of
from lib.stores.stored_tasks import stored_tasks


@dataclass(frozen=True, kw_only=True)
class ScoredCase:
    """An open case with its score; ``model_version`` is ``None`` where the cold start gave it."""

    image_id: str
    value: float
    model_version: str | None


class OpenCases:
    """What a strategy may ask while nobody else can take a case; each answer takes milliseconds.

    Args:
        connection: the transaction that will record the choice.
        task: what is to be labelled.
        not_these: ids that are in somebody's hands.
    """

    def __init__(self, connection: Connection, task: str, *, not_these: Collection[str]) -> None:
        self._connection = connection
        self._parts = stored_tasks(task)
        self._not_these = frozenset(not_these)
        self.task = task

    def first(self) -> str | None:
        """The first case by id, or ``None`` when there is none."""
        return self._next(start=None)

    def by_chance(self) -> str | None:
        """A random case, or ``None`` when there is none."""
        return self._next(start=random.random())

    def best(self, method: str, limit: int) -> list[ScoredCase]:
        """The cases with the highest scores, the highest first; empty when none has a score.

        Scores of trained models and of the cold start are on scales of their own. Those of models count as soon as
        there are ``limit`` of them, or more than of the cold start: the first few must not hide all other cases. A task
        without scores under its own name has those of the labels that it is stored as.
        """
        by_model = self._best(method, limit, trained=True)
        return by_model if len(by_model) == limit else max(by_model, self._best(method, limit, trained=False), key=len)

    def _best(self, method: str, limit: int, *, trained: bool) -> list[ScoredCase]:
        for task in dict.fromkeys((self.task, *self._parts)):
            found = list(islice(self._scored(task, method, trained=trained), limit))
            if found:
                return found
        return []

    def features(self, model_version: str, image_ids: list[str]) -> dict[str, npt.NDArray[np.float32]]:
        """What a version saw in each of some cases, ``(n,)``, where it looked at them."""
        for task in dict.fromkeys((self.task, *self._parts)):
            found = features_of(self._connection, task, model_version, image_ids)
            if found:
                return found
        return {}

    def recent(self, limit: int) -> list[str]:
        """The cases that were handed out or labelled last, the newest first."""
        times = recent_cases(self._connection, self.task, limit)
        for part in self._parts:
            query = select(REVISIONS.c.created, REVISIONS.c.case_id).where(
                REVISIONS.c.task == part, REVISIONS.c.tag == FINAL
            )
            rows = self._connection.execute(query.order_by(REVISIONS.c.created.desc()).limit(limit))
            times += [(row[0], row[1]) for row in rows]
        return list(dict.fromkeys(image_id for _, image_id in sorted(times, reverse=True)))[:limit]

    def _scored(self, task: str, method: str, *, trained: bool) -> Iterator[ScoredCase]:
        query = (
            select(SCORES.c.case_id, SCORES.c.value, SCORES.c.model_version)
            .join(CASES, CASES.c.id == SCORES.c.case_id)
            .where(SCORES.c.task == task, SCORES.c.method == method, SCORES.c.labelled.is_(False))
            .where(SCORES.c.trained.is_(trained))
            .where(CASES.c.state == PRESENT, CASES.c.fault.is_(None))
            .order_by(SCORES.c.value.desc())
        )
        for row in self._connection.execute(query.execution_options(**ROW_BY_ROW)):
            if row.case_id not in self._not_these:
                yield ScoredCase(image_id=row.case_id, value=row.value, model_version=row.model_version)

    def _next(self, *, start: float | None) -> str | None:
        found = open_cases(self._connection, self._parts, start=start)
        return next((image_id for image_id in found if image_id not in self._not_these), None)
