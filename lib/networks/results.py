"""What a training of folds ends in, whatever kind of network it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lib.refusals import Refusal


class CancelledError(Exception):
    """The training was called off; the same call continues it."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A finished training.

    Attributes:
        results: the folder of a version, with ``fold_K/``; it stays until the training is discarded or another one
            begins in the same workspace.
        metrics: the cross-validation, for the manifest.
        seeds: of the folds.
    """

    results: Path
    metrics: dict[str, Any]
    seeds: tuple[int, ...]


class Sample(Protocol):
    """What a training learns from: a patient's, and held out of one fold."""

    @property
    def key(self) -> str:
        """Another one as soon as image or label is another one."""

    @property
    def patient(self) -> str:
        """Whose it is."""

    @property
    def fold(self) -> int:
        """The fold that validates on this patient."""


def check_folds(samples: Sequence[Sample], folds: int) -> None:
    """Refuse what cannot be divided into folds.

    Raises:
        Refusal: there is nothing, there are too few patients, or a fold has nothing to validate on.
    """
    if not samples:
        raise Refusal("There are no labels to train on: save labels of this task first.")
    patients = {s.patient for s in samples}
    if len(patients) < folds:
        raise Refusal(
            f"{folds} folds need labels of at least {folds} patients, there are {len(patients)}: label more patients."
        )
    empty = sorted(set(range(folds)) - {s.fold for s in samples})
    if empty:
        raise Refusal(
            f"No labelled patient belongs to fold {empty[0]}, which would have nothing to validate on: "
            "label more patients."
        )
