"""One course of the study: label a few slices, train, score the rest, choose the next ones, and so on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from monailabel.tasks.scoring.epistemic_v2 import EpistemicScoring

from lib.measures.disagreement import disagreement
from lib.stores.queue_rules import RANDOM_SHARE
from lib.strategies.choice import pick
from scripts.active_learning.learner import Learner, Schedule
from scripts.active_learning.slices import SPACING_MM, Slices

STRATEGIES = {
    "random": 1.0,
    "disagreement": RANDOM_SHARE,
    "disagreement_tenth": 0.1,
    "predictive_entropy": 0.1,
    "bald": 0.1,
    "epistemic": 0.0,
}
"""Name to the share of plain random choices among the others."""
_SCORES = {
    "disagreement": "score",
    "disagreement_tenth": "score",
    "predictive_entropy": "predictive_entropy",
    "bald": "mutual_information",
}
_DROPOUT_SAMPLES = 5
"""MONAI Label's default ``simulation_size``."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is done once for each strategy and repetition.

    Attributes:
        strategy: one of :data:`STRATEGIES`.
        repetition: decides the first slices and all else that is left to chance; the same for all strategies.
        classes: name to id.
        first: labels at the start.
        step: labels that each round adds.
        last: labels at the end.
        unlike_last: as in the app's rules.
        random_share: of plain random choices.
        schedule: of each training.
        device: "cpu" or "cuda".
    """

    strategy: str
    repetition: int
    classes: Mapping[str, int]
    first: int = 10
    step: int = 5
    last: int = 60
    unlike_last: int = 10
    random_share: float = RANDOM_SHARE
    schedule: Schedule = field(default_factory=Schedule)
    device: str = "cpu"

    @property
    def rounds(self) -> int:
        """How often it trains."""
        return (self.last - self.first) // self.step + 1

    def file(self, folder: Path) -> Path:
        """Where its rounds are kept, one JSON object a line."""
        return folder / f"{self.strategy}_{self.repetition}.jsonl"

    def weights(self, folder: Path, number: int) -> Path:
        """Where the networks of a round are kept until the next one has ended."""
        return self.file(folder).with_suffix(f".{number}.pt")


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """The finished rounds."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def run(course: Course, pool: Slices, test: Slices, folder: Path) -> None:
    """Do the rounds that are not in the folder yet; the result does not depend on where it was interrupted."""
    done = read_rounds(course.file(folder))
    for number in range(len(done), course.rounds):
        rng = np.random.default_rng([course.repetition, number])
        labelled = done[-1]["labelled"] + done[-1]["chosen"] if done else _first(course, len(pool))
        learner = Learner(len(course.classes), course.schedule, course.device)
        if done:
            learner.load(course.weights(folder, number - 1))
        learner.fit(pool.take(labelled), seed=1000 * course.repetition + 10 * number)
        judged = _judge(learner, test, course.classes)
        chosen = [] if number == course.rounds - 1 else _choose(course, learner, pool, labelled, rng)
        done.append({"labels": len(labelled), **judged, "labelled": labelled, "chosen": chosen})
        learner.save(course.weights(folder, number))
        text = "".join(json.dumps(each) + "\n" for each in done)
        part = course.file(folder).with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(course.file(folder))
        course.weights(folder, number - 1).unlink(missing_ok=True)


def _first(course: Course, count: int) -> list[int]:
    rng = np.random.default_rng([course.repetition, 99])
    return [int(i) for i in rng.permutation(count)[: course.first]]


def _judge(learner: Learner, test: Slices, classes: Mapping[str, int]) -> dict[str, float]:
    """Of the test slices: mean over slices and classes, the worst slice, the error of the area of all muscle."""
    labels = learner.probabilities(test)[0].mean(axis=1).argmax(axis=1)
    overlap, error = [], []
    for found, truth in zip(labels, test.labels, strict=True):
        pairs = [(found == value, truth == value) for value in classes.values()]
        overlap.append(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs]))
        error.append(abs((found > 0).sum() / (truth > 0).sum() - 1))
    return {
        "mean_dice": float(np.mean(overlap)),
        "worst_dice": float(np.min(overlap)),
        "fifth_percentile": float(np.percentile(overlap, 5)),
        "area_error": float(np.mean(error)),
    }


def _choose(course: Course, learner: Learner, pool: Slices, labelled: list[int], rng: np.random.Generator) -> list[int]:
    rest = [i for i in range(len(pool)) if i not in set(labelled)]
    if course.strategy == "random":
        return [int(i) for i in rng.permutation(rest)[: course.step]]
    scores, features = _scores(course, learner, pool)
    scores[labelled] = np.nan
    if course.strategy == "epistemic":  # MONAI Label's own goes by its score alone
        return [int(i) for i in np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[: course.step]]
    chosen: list[int] = []
    while len(chosen) < course.step:
        recent = (labelled + chosen)[-course.unlike_last :] if course.unlike_last else []
        picked = pick(scores, features, features[recent] if recent else None, rng=rng, random_share=course.random_share)
        index = picked.index
        if index is None:
            index = int(rng.choice(np.flatnonzero(np.isfinite(scores))))
        chosen.append(index)
        scores[index] = np.nan
    return chosen


def _scores(course: Course, learner: Learner, pool: Slices) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    probabilities, features = learner.probabilities(pool)
    if course.strategy == "epistemic":
        return np.array([_epistemic(each) for each in learner.with_dropout(pool, _DROPOUT_SAMPLES)]), features
    spacing = (SPACING_MM, SPACING_MM)
    found = [
        disagreement(each, hu, spacing, course.classes, body)
        for each, hu, body in zip(probabilities, pool.hu, pool.body, strict=True)
    ]
    return np.array([getattr(each, _SCORES[course.strategy]) for each in found]), features


def _epistemic(samples: npt.NDArray[np.float32]) -> float:
    """The score that MONAI Label's epistemic scoring gives ``(samples, classes, x, y)``."""
    return float(np.nanmean(EpistemicScoring.entropy_volume(SimpleNamespace(dimension=2), samples.copy())))
