"""Numbers with their confidence intervals, and why there is none where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
NO_CASE, ONE_CASE, TWO_CASES = "no case has a value", "only one case has a value", "only two cases have values"
NEVER_VARIES = "the values never vary"
_RESAMPLES = 2000
Values = Sequence[float | None]
"""A value for each case, ``None`` or NaN where it has none."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % confidence interval.

    Attributes:
        value: the number, ``None`` where there is none.
        low: lower end of the interval, ``None`` where there is none.
        high: its upper end.
        why_not: why there is no number, or no interval.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation (of a sample) of the cases that have a value.

    Attributes:
        cases: how many have one.
        mean: with its interval by Student's t.
        sd: ``None`` for fewer than two cases.
    """

    cases: int
    mean: Estimate
    sd: float | None


@dataclass(frozen=True, kw_only=True)
class Test:
    """A two-sided test.

    Attributes:
        p: ``None`` where the test cannot be done.
        name: of the test.
        why_not: why it cannot.
    """

    __test__ = False  # no test of this project

    p: float | None = None
    name: str = ""
    why_not: str = ""


def finite(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Those that are numbers."""
    return np.array([value for value in values if value is not None and math.isfinite(value)], float)


def finite_pairs(one: Values, other: Values) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The values of the cases that have both.

    Raises:
        ValueError: the numbers of cases differ.
    """
    if len(one) != len(other):
        raise ValueError(f"different numbers of cases: {len(one)} and {len(other)}")
    both = [pair for pair in zip(one, other, strict=True) if len(finite(pair)) == 2]
    array = np.array(both, float).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def constant(values: npt.NDArray[np.float64]) -> bool:
    """Whether nothing varies but for rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0.0)) if values.size else True


def mean(values: Iterable[float | None]) -> Estimate:
    """The mean, with an interval by Student's t."""
    known = finite(values)
    if not known.size:
        return Estimate(why_not=NO_CASE)
    if known.size == 1:
        return Estimate(value=float(known[0]), why_not=ONE_CASE)
    middle, error = float(known.mean()), float(stats.sem(known))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, known.size - 1)) * error
    return Estimate(value=middle, low=middle - reach, high=middle + reach)


def spread(values: Iterable[float | None]) -> Spread:
    """Mean and standard deviation."""
    known = finite(values)
    sd = float(known.std(ddof=1)) if known.size > 1 else None
    return Spread(cases=known.size, mean=mean(known), sd=sd)


def mean_of_skewed(values: Iterable[float | None]) -> Estimate:
    """The mean of what is never below 0, such as errors, with an interval by the bootstrap's percentiles.

    Draws 2,000 samples by a fixed seed, so the same cases always give the same interval.
    """
    known = finite(values)
    if not known.size:
        return Estimate(why_not=NO_CASE)
    if known.size == 1:
        return Estimate(value=float(known[0]), why_not=ONE_CASE)
    found = stats.bootstrap(
        (known,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value=float(known.mean()), low=float(found.low), high=float(found.high))


def proportion(count: int, cases: int) -> Estimate:
    """A share from 0 to 1, with an interval by Wilson's score."""
    if not cases:
        return Estimate(why_not=NO_CASE)
    low, high = proportion_confint(count, cases, alpha=1 - CONFIDENCE, method="wilson")
    return Estimate(value=count / cases, low=float(low), high=float(high))


def pearson(one: Values, other: Values) -> tuple[Estimate, Test]:
    """Pearson's correlation with an interval by Fisher's transformation, and whether it is other than 0."""
    name = "Pearson"
    x, y = finite_pairs(one, other)
    few = (NO_CASE, ONE_CASE, TWO_CASES)
    why = few[len(x)] if len(x) < len(few) else ""
    if not why and (constant(x) or constant(y)):
        why = NEVER_VARIES
    if why:
        return Estimate(why_not=why), Test(name=name, why_not=why)
    found = stats.pearsonr(x, y)
    test = Test(p=float(found.pvalue), name=name)
    if len(x) == len(few):
        return Estimate(value=float(found.statistic), why_not="only three cases have values"), test
    interval = found.confidence_interval(CONFIDENCE)
    return Estimate(value=float(found.statistic), low=float(interval.low), high=float(interval.high)), test
