"""Areas under ROC curves, and whether two curves of the same patients differ (DeLong 1988; Lee 2021, Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import roc_curve

from lib.evaluation.estimates import CONFIDENCE, Estimate, Test, Values, finite


@dataclass(frozen=True, kw_only=True)
class Roc:
    """A curve.

    Attributes:
        area: under it, with DeLong's interval.
        false_positive: (n,) 1 - specificity along the curve; empty without one.
        true_positive: (n,) sensitivity.
    """

    area: Estimate
    false_positive: npt.NDArray[np.float64]
    true_positive: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RocComparison:
    """Curves of the same patients.

    Attributes:
        cases: with all scores and the outcome.
        with_outcome: in how many of them it is true.
        curves: score to curve.
        difference: area of each score minus that of the first.
        tests: DeLong's test of each against the first.
    """

    cases: int
    with_outcome: int
    curves: Mapping[str, Roc]
    difference: Mapping[str, Estimate]
    tests: Mapping[str, Test]


def compare_rocs(outcome: Sequence[bool | None], scores: Mapping[str, Values]) -> RocComparison:
    """Compare scores of which higher values speak for the outcome, on the cases that have all of them.

    Args:
        outcome: of each case, ``None`` where it is not known.
        scores: name to a value for each case.

    Raises:
        ValueError: the numbers of cases differ.
    """
    columns = [[None if value is None else float(value) for value in outcome], *scores.values()]
    complete = [row for row in zip(*columns, strict=True) if len(finite(row)) == len(columns)]
    rows = np.array(complete, float).reshape(-1, len(columns))
    truth, values = rows[:, 0] > 0, rows[:, 1:].T
    found = {"cases": len(rows), "with_outcome": int(truth.sum())}
    others = list(scores)[1:]
    if min(truth.sum(), (~truth).sum()) < 2:
        why = "there are no two cases with and two without the outcome"
        none, empty = Estimate(why_not=why), np.empty(0)
        return RocComparison(
            **found,
            curves={name: Roc(area=none, false_positive=empty, true_positive=empty) for name in scores},
            difference=dict.fromkeys(others, none),
            tests=dict.fromkeys(others, Test(name="DeLong", why_not=why)),
        )
    areas, covariance = _delong(values, truth)
    curves, difference, tests = {}, {}, {}
    for index, name in enumerate(scores):
        false_positive, true_positive, _ = roc_curve(truth, values[index])
        error = math.sqrt(covariance[index, index])
        area = _normal(float(areas[index]), error, low=0.0, high=1.0)
        curves[name] = Roc(area=area, false_positive=false_positive, true_positive=true_positive)
        if index:
            variance = covariance[0, 0] + covariance[index, index] - 2 * covariance[0, index]
            difference[name], tests[name] = _difference(float(areas[index] - areas[0]), float(variance))
    return RocComparison(**found, curves=curves, difference=difference, tests=tests)


def _delong(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> tuple[npt.NDArray, npt.NDArray]:
    """Areas of (k, n) scores, and their (k, k) covariance from the placement values (DeLong 1988)."""
    yes, no = int(truth.sum()), int((~truth).sum())
    of_yes, of_no = np.empty((len(scores), yes)), np.empty((len(scores), no))
    for index, score in enumerate(scores):
        ranks = stats.rankdata(score)
        of_yes[index] = (ranks[truth] - stats.rankdata(score[truth])) / no
        of_no[index] = 1 - (ranks[~truth] - stats.rankdata(score[~truth])) / yes
    covariance = np.atleast_2d(np.cov(of_yes)) / yes + np.atleast_2d(np.cov(of_no)) / no
    return of_yes.mean(axis=1), covariance


def _difference(value: float, variance: float) -> tuple[Estimate, Test]:
    if variance < 1e-15:
        why = "the curves order all cases alike" if abs(value) < 1e-12 else "the difference has no variance"
        return Estimate(value=value, why_not=why), Test(name="DeLong", why_not=why)
    error = math.sqrt(variance)
    return _normal(value, error, low=-1.0, high=1.0), Test(
        p=float(2 * stats.norm.sf(abs(value) / error)), name="DeLong"
    )


def _normal(value: float, error: float, *, low: float, high: float) -> Estimate:
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Estimate(value=value, low=max(low, value - reach), high=min(high, value + reach))
