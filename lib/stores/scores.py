"""What models say of the cases: scores that the queue is ordered by, and features by which cases are alike."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, and_, false, or_, select

from lib.refusals import Refusal
from lib.stores.cases import PRESENT, Cases, lacks_label
from lib.stores.index import CASES, FEATURES, SCORES, StoreIndex
from lib.stores.stored_tasks import is_labelled, stored_tasks

_FLOAT16 = "<f2"


class ScoreKeeping:
    """The part of a store that keeps scores and features."""

    _index: StoreIndex
    _cases: Cases

    def save_scores(
        self,
        image_id: str,
        *,
        task: str,
        values: Mapping[str, float],
        model_version: str | None,
        features: npt.NDArray[np.floating] | None = None,
    ) -> None:
        """Store what one pass over a case gave, all of it or nothing, instead of what earlier passes gave.

        Args:
            image_id: the case.
            task: the task that was answered.
            values: the score by each method.
            model_version: which version answered, ``None`` for the cold start.
            features: ``(n,)``, what that version saw in the image; kept as ``float16``.

        Raises:
            Refusal: 404 for an unknown image or task, 422 for a value that is not finite.
        """
        for method, value in values.items():
            if not math.isfinite(value):
                raise Refusal(f"A score of {value} ({method}) cannot be compared; it has to be a finite number.")
        vector = None if features is None else _packed(features, model_version)
        stored_tasks(task)
        self._cases.present(image_id)
        key = {"task": task, "case_id": image_id}
        with self._index.writing() as connection:
            labels = json.loads(connection.execute(select(CASES.c.labels).where(CASES.c.id == image_id)).scalar_one())
            facts = {
                "model_version": model_version,
                "trained": model_version is not None,
                "labelled": is_labelled(task, labels),
                "created": time.time(),
            }
            for method, value in values.items():
                connection.execute(
                    self._index.upsert(SCORES, {**key, "method": method, "value": float(value), **facts})
                )
            if vector is not None:
                row = {**key, "model_version": model_version, "vector": vector}
                connection.execute(self._index.upsert(FEATURES, row))

    def save_score(
        self, image_id: str, *, task: str, method: str, value: float, model_version: str | None = None
    ) -> None:
        """Store one score of a case; see :meth:`save_scores`."""
        self.save_scores(image_id, task=task, values={method: value}, model_version=model_version)

    def scores(self, task: str, method: str) -> dict[str, float]:
        """The scores of all cases for a task and method, by image id."""
        query = select(SCORES.c.case_id, SCORES.c.value).where(SCORES.c.task == task, SCORES.c.method == method)
        with self._index.reading() as connection:
            return {row.case_id: row.value for row in connection.execute(query)}

    def score_of(self, image_id: str, *, task: str, method: str) -> tuple[float, str | None] | None:
        """The score of one case and the version that gave it (``None``: the cold start), or ``None``."""
        query = select(SCORES.c.value, SCORES.c.model_version).where(
            SCORES.c.task == task, SCORES.c.method == method, SCORES.c.case_id == image_id
        )
        with self._index.reading() as connection:
            row = connection.execute(query).first()
            return None if row is None else (row.value, row.model_version)

    def cases_to_score(self, task: str, *, method: str, model_version: str | None, limit: int) -> list[str]:
        """Cases that a version has not scored yet, and that somebody may still be given to label.

        Args:
            task: the task; cases with all its labels are passed over.
            method: the score that tells whether it was done.
            model_version: the version that is to score, ``None`` for the cold start.
            limit: at most so many.

        Returns:
            Ids of images that are there and known to be readable: those without any score in random order, so that the
            first few hundred stand for all, then those with the oldest.
        """
        self._cases.look()
        scored = and_(SCORES.c.task == task, SCORES.c.method == method, SCORES.c.case_id == CASES.c.id)
        # A score of any version is better than the cold start's, which therefore only does what has none.
        older = SCORES.c.model_version.is_distinct_from(model_version) if model_version is not None else false()
        query = (
            select(CASES.c.id)
            .outerjoin(SCORES, scored)
            .where(CASES.c.state == PRESENT, CASES.c.fault.is_(None), lacks_label(stored_tasks(task)))
            .where(or_(SCORES.c.created.is_(None), older))
            .order_by(SCORES.c.created.is_not(None), SCORES.c.created, CASES.c.shuffle)
            .limit(limit)
        )
        with self._index.reading() as connection:
            return list(connection.execute(query).scalars())


def features_of(
    connection: Connection, task: str, model_version: str, image_ids: list[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """The features ``(n,)`` that a version saw in each of some cases, where it did."""
    query = select(FEATURES.c.case_id, FEATURES.c.vector).where(
        FEATURES.c.task == task, FEATURES.c.case_id.in_(image_ids), FEATURES.c.model_version == model_version
    )
    return {
        row.case_id: np.frombuffer(row.vector, dtype=_FLOAT16).astype(np.float32) for row in connection.execute(query)
    }


def _packed(features: npt.NDArray[np.floating], model_version: str | None) -> bytes:
    if model_version is None:
        raise Refusal("Features can only be compared within one version of a model; name it.")
    with np.errstate(over="ignore"):
        vector = np.asarray(features).astype(_FLOAT16)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise Refusal("Features have to be one row of finite numbers, none beyond 65504.")
    return vector.tobytes()
