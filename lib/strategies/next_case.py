"""The strategies: one class for all, made from a small table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monailabel.interfaces.tasks.strategy import Strategy

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.open_cases import OpenCases, ScoredCase
from lib.stores.queue import Choice
from lib.stores.queue_rules import QueueRules
from lib.strategies.choice import AMONG, pick
from lib.tasks import DEFAULT_TASK, TASKS


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A strategy: what an annotator reads of it, and what its score says, where it goes by one."""

    description: str
    says: str = ""


_ROWS = {
    "disagreement": _Row(
        description="The case on which the folds of the model disagree most, unlike the last ones",
        says="Folds disagree by",
    ),
    "random": _Row(description="A random case without a label of the task"),
    "first": _Row(description="The first case, by name, without a label of the task"),
    "predictive_entropy": _Row(
        description="The case on which the ensemble is least sure (predictive entropy), unlike the last ones",
        says="The entropy of the prediction is",
    ),
    "bald": _Row(
        description="The case on which the folds share least information (BALD), unlike the last ones",
        says="The mutual information of prediction and fold is",
    ),
}
STRATEGIES: tuple[str, ...] = tuple(_ROWS)
SCORE_METHODS: tuple[str, ...] = tuple(name for name, row in _ROWS.items() if row.says)


class NextCase(Strategy):
    """Hands out the next case of a task.

    Args:
        name: one of :data:`STRATEGIES`; those with a score go by the one of their name in the store.
        rules: of the queue.
    """

    def __init__(self, name: str, rules: QueueRules) -> None:
        super().__init__(_ROWS[name].description)
        self.name = name
        self.rules = rules
        self._rng = np.random.default_rng()

    def info(self) -> dict[str, Any]:
        """What clients build their choice of task from."""
        return {"description": self.description, "config": {"task": list(TASKS)}}

    def __call__(self, request: Mapping[str, Any], datastore: CaseStore) -> dict[str, Any] | None:
        """Hand a case to whoever asks.

        Args:
            request: ``task`` (``l3_muscle`` by default), and ``client_id``, who asks.
            datastore: the store.

        Returns:
            The case as ``{"id", "task", "reason", "lease_ends", "purpose"}``, or ``None`` when there is none.

        Raises:
            Refusal: the task is unknown.
        """
        task = request.get("task") or DEFAULT_TASK
        if isinstance(task, list):  # a client that sends its list of choices unchosen
            task = task[0] if task else DEFAULT_TASK
        if str(task) not in TASKS:
            raise Refusal(f"There is no task {task!r}; there are {', '.join(TASKS)}.", status=404)
        holder = request.get("client_id") or ""
        handed = datastore.hand_out(task, holder, self.rules, self.choose, strategy=self.name)
        if handed is None:
            return None
        told = handed.to_json()
        return {"id": handed.image_id, **{key: told[key] for key in ("task", "reason", "lease_ends", "purpose")}}

    def choose(self, cases: OpenCases) -> Choice | None:
        """Choose one of the open cases, or ``None`` when there is none."""
        if self.name == "first":
            return _choice(cases.first(), "The first by name of those without a label.")
        if self.name == "random":
            return _choice(cases.by_chance(), "A random one of those without a label.")
        best = cases.best(self.name, AMONG)
        features, recent = self._seen(cases, best)
        scores = np.array([case.value for case in best])
        picked = pick(scores, features, recent, rng=self._rng, random_share=self.rules.random_share)
        if picked.index is None:
            return _choice(cases.by_chance(), picked.why)
        case = best[picked.index]
        says = score_text(self.name, case.value, case.model_version)
        return Choice(
            image_id=case.image_id,
            reason=f"{says}, {picked.why}.",
            score=case.value,
            model_version=case.model_version,
        )

    def _seen(
        self, cases: OpenCases, best: list[ScoredCase]
    ) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
        """The features of candidates and recent cases, of the version that looked at most of the candidates."""
        versions = Counter(case.model_version for case in best if case.model_version is not None)
        if not versions or not self.rules.unlike_last:
            return None, None
        ((version, _),) = versions.most_common(1)
        last = cases.recent(self.rules.unlike_last)
        found = cases.features(version, [*(case.image_id for case in best), *last])
        recent = [found[image_id] for image_id in last if image_id in found]
        if not recent:
            return None, None
        unknown = np.full_like(recent[0], np.nan)
        return np.stack([found.get(case.image_id, unknown) for case in best]), np.stack(recent)


def score_text(method: str, value: float, model_version: str | None) -> str:
    """What a score says of a case, without the full stop."""
    if model_version is None:
        return f"No model has looked at it; the cold start doubts its own answer by {value:.3g}"
    return f"{_ROWS[method].says} {value:.3g} ({model_version})"


def strategies(rules: QueueRules) -> dict[str, NextCase]:
    """All strategies by name; the first is what Slicer takes."""
    return {name: NextCase(name, rules) for name in STRATEGIES}


def _choice(image_id: str | None, reason: str) -> Choice | None:
    return None if image_id is None else Choice(image_id=image_id, reason=reason)
