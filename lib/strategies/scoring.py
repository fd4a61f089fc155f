"""Scores of unlabelled cases, by which the queue sorts: how far the folds of the champion disagree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.anatomy.schemas import L3_SLICE
from lib.cold_start.answers import Answer
from lib.refusals import BadImage, Refusal
from lib.stores import CaseStore
from lib.tasks import DEFAULT_TASK, TASKS

METHOD = "disagreement"
"""The score that tells whether a version has seen a case."""

_BATCH = 16
_GONE = 404

logger = logging.getLogger(__name__)


class FoldScoring(ScoringMethod):  # type: ignore[misc]
    """Runs a task over its unlabelled cases and keeps what each pass tells: scores and features.

    Without a champion it is the cold start whose doubt is kept. A score of an older version stays until the newer
    one's is there. Every case is written as soon as it is done, so a run that is stopped loses nothing and the next
    one goes on.

    One case that a program cannot cope with does not keep the others from their scores.

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
            ``task``, ``scored``, ``refused`` (cases that the task has no answer for), ``unreadable``, ``failed`` (the
            program did; the log says where), and ``gone`` (removed meanwhile).

        Raises:
            Refusal: the task cannot be scored, a scoring runs already, or a model that it asks cannot be used.
        """
        store: CaseStore = datastore  # type: ignore[assignment]
        task = str(request.get("task") or DEFAULT_TASK)
        if task not in self._assess:
            raise Refusal(f"{task} cannot be scored; there are {', '.join(self._assess)}.", status=404)
        run = store.begin_run("score", task)
        counts = {"scored": 0, "refused": 0, "unreadable": 0, "failed": 0, "gone": 0}
        seen: set[tuple[str, str | None]] = set()
        try:
            limit = int(request.get("max_samples") or 0) or None
            while limit is None or sum(counts.values()) < limit:
                # Asked anew for every batch: there may be a new champion, new cases, or new labels.
                version = self._champion(task)
                if TASKS[task].on_slice:
                    self._champion(L3_SLICE.task)  # refuses where it cannot be used: that is not the cases' fault
                due = store.cases_to_score(task, method=METHOD, model_version=version, limit=_BATCH)
                due = [image_id for image_id in due if (image_id, version) not in seen]
                if not due:
                    break
                for image_id in due[: None if limit is None else limit - sum(counts.values())]:
                    seen.add((image_id, version))
                    counts[self._score(store, task, image_id, version)] += 1
        except BaseException as error:
            store.end_run(run, "failed", reason=str(error) or type(error).__name__, **counts)
            raise
        store.end_run(run, "done", **counts)
        return {"task": task, **counts}

    def _score(self, store: CaseStore, task: str, image_id: str, version: str | None) -> str:
        def put_last() -> None:
            # Somebody has to look at it, but nobody should begin with cases that may not show L3.
            store.save_scores(image_id, task=task, values={METHOD: 0.0}, model_version=version)

        try:
            try:
                answer = self._assess[task](Path(store.get_image_uri(image_id)))
            except BadImage as refusal:
                store.note_fault(image_id, str(refusal))
                return "unreadable"
            except Refusal as refusal:
                if refusal.status_code == _GONE:
                    raise
                logger.info("%s has no answer for %s: %s", task, image_id, refusal)
                put_last()
                return "refused"
            except Exception:  # one strange image must not end the scoring of all that come after it
                logger.exception("%s failed on %s", task, image_id)
                put_last()
                return "failed"
            save_scores(store, task, image_id, answer)
        except Refusal as refusal:
            if refusal.status_code != _GONE:
                raise
            return "gone"
        return "scored"


def save_scores(store: CaseStore, task: str, image_id: str, answer: Answer) -> None:
    """Keep what an answer tells of its case."""
    store.save_scores(
        image_id, task=task, values=answer.scores, model_version=answer.model_version, features=answer.features
    )
