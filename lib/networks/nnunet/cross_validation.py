"""The Dice of every fold on the slices that it was not trained on, and of all of them pooled (Yu 2026, Table 2)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

FoldDice = Mapping[str, Mapping[str, float | None]]
"""Case to class to Dice; ``None`` where neither label nor prediction holds the class."""


def cross_validation(
    folds: Sequence[FoldDice], classes: Sequence[str], names: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Table of the cross-validation.

    Args:
        folds: what each fold's validation gave.
        classes: the classes in their order.
        names: case to the slice's key and patient.

    Returns:
        For JSON. ``folds``: for each fold ``fold``, ``cases``, ``dice`` (class to ``mean`` and ``sd`` over cases),
        and ``mean_dice``, over cases of the mean over classes. ``pooled``: the same over the cases of all folds, with
        the ``minimum``. ``between_folds``: mean and SD over folds of their means, as in the paper. ``best_fold``: that
        with the highest mean. ``cases``: key, patient, fold and Dice of each.
    """
    table = [{"fold": number, **_summary(list(fold.values()), classes)} for number, fold in enumerate(folds)]
    means = [row["mean_dice"]["mean"] for row in table]
    return {
        "classes": list(classes),
        "folds": table,
        "pooled": _summary([dice for fold in folds for dice in fold.values()], classes),
        "between_folds": {
            "dice": {name: _spread([row["dice"][name]["mean"] for row in table]) for name in classes},
            "mean_dice": _spread(means),
        },
        "best_fold": max(range(len(folds)), key=lambda k: means[k] if means[k] is not None else -1.0),
        "cases": [
            {"key": names[case][0], "patient": names[case][1], "fold": number, "dice": dict(dice)}
            for number, fold in enumerate(folds)
            for case, dice in sorted(fold.items())
        ],
    }


def _summary(cases: Sequence[Mapping[str, float | None]], classes: Sequence[str]) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "dice": {name: _spread([case[name] for case in cases]) for name in classes},
        "mean_dice": _spread([_mean(list(case.values())) for case in cases]),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, sample SD and minimum of the values that there are."""
    there = [v for v in values if v is not None]
    return {
        "mean": _mean(there),
        "sd": statistics.stdev(there) if len(there) > 1 else None,
        "minimum": min(there, default=None),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return statistics.fmean(there) if there else None
