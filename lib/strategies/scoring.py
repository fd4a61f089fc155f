"""Scores of unlabelled cases, by which the queue sorts: how far the folds of the champion disagree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.cold_start.answers import Answer
from lib.refusals import BadImage, Refusal
from lib.stores import CaseStore
from lib.tasks import DEFAULT_TASK

METHOD = "disagreement"
"""The score that tells whether a version has seen a case."""

_BATCH = 16

logger = logging.getLogger(__name__)


class FoldScoring(ScoringMethod):  # type: ignore[misc]
    """Runs a task over its unlabelled cases and keeps what each pass tells: scores and features.

    Without a champion it is the cold start whose doubt is kept. A score of an older version stays until the newer
    one's is there. Every case is written as soon as it is done, so a run that is stopped loses nothing and the next
    one goes on.

    Args:
        assess: task to what answers it for an image file.
        champion: gives the name of the version that answers a task now, ``None`` for the cold start.
    """

    def __init__(self, assess: Mapping[str, Callable[[Path], Answer]], champion: Callable[[str], str | None]) -> None:
        super().__init__("How far the folds of the model disagree on each unlabelled case")
        self._assess, self._champion = assess, champion

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score what was not scored by the champion yet.

        Args:
            request: ``task``, and ``max_samples`` for at most so many cases.
            datastore: the cases.

        Returns:
            ``task``, ``scored``, ``refused`` (cases that the task has no answer for), and ``unreadable``.

        Raises:
            Refusal: the task cannot be scored, or a scoring runs already.
        """
        store: CaseStore = datastore  # type: ignore[assignment]
        task = str(request.get("task") or DEFAULT_TASK)
        if task not in self._assess:
            raise Refusal(f"{task} cannot be scored; there are {', '.join(self._assess)}.", status=404)
        run = store.begin_run("score", task)
        counts = {"scored": 0, "refused": 0, "unreadable": 0}
        try:
            limit = int(request.get("max_samples") or 0) or None
            while limit is None or sum(counts.values()) < limit:
                # Asked anew for every batch: there may be a new champion, new cases, or new labels.
                version = self._champion(task)
                due = store.cases_to_score(task, method=METHOD, model_version=version, limit=_BATCH)
                if not due:
                    break
                for image_id in due[: None if limit is None else limit - sum(counts.values())]:
                    counts[self._score(store, task, image_id, version)] += 1
        except BaseException as error:
            store.end_run(run, "failed", reason=str(error) or type(error).__name__, **counts)
            raise
        store.end_run(run, "done", **counts)
        return {"task": task, **counts}

    def _score(self, store: CaseStore, task: str, image_id: str, version: str | None) -> str:
        try:
            answer = self._assess[task](Path(store.get_image_uri(image_id)))
        except BadImage as refusal:
            store.note_fault(image_id, str(refusal))
            return "unreadable"
        except Refusal as refusal:
            logger.info("%s has no answer for %s: %s", task, image_id, refusal)
            # Last in the queue: somebody has to look at it, but nobody should begin with cases that may not show L3.
            store.save_scores(image_id, task=task, values={METHOD: 0.0}, model_version=version)
            return "refused"
        save_scores(store, task, image_id, answer)
        return "scored"


def save_scores(store: CaseStore, task: str, image_id: str, answer: Answer) -> None:
    """Keep what an answer tells of its case."""
    store.save_scores(
        image_id, task=task, values=answer.scores, model_version=answer.model_version, features=answer.features
    )
