"""How far measurements of the same cases agree, or go along with a finding: correlation, intraclass correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import stats

_CONFIDENCE = 0.95
_FEWEST = 3
"""Two cases always lie on a line."""
_LEAST_FREEDOM = 0.5
"""Degrees of freedom: one or more where raters agree at all; where an ICC is negative they can go down to none."""


class Reliability(StrEnum):
    """The bands of Koo and Li 2016, which Kim 2024 uses."""

    POOR = "poor"
    MODERATE = "moderate"
    GOOD = "good"
    EXCELLENT = "excellent"

    @classmethod
    def of(cls, icc: float) -> Reliability:
        """Poor below 0.5, moderate up to 0.75, good up to 0.9, excellent above."""
        if icc < 0.5:
            return cls.POOR
        if icc < 0.75:
            return cls.MODERATE
        return cls.GOOD if icc <= 0.9 else cls.EXCELLENT


@dataclass(frozen=True, kw_only=True)
class IntraclassCorrelation:
    """ICC(2,1): two-way random effects, absolute agreement, single rater (Shrout and Fleiss 1979).

    Attributes:
        value: 1 is perfect agreement; chance alone can make it negative.
        low: lower end of the 95 % confidence interval (McGraw and Wong 1996); ``None`` where these cases give none.
        high: its upper end.
        cases: how many cases were rated.
    """

    value: float
    low: float | None
    high: float | None
    cases: int

    @property
    def reliability(self) -> Reliability:
        """The band of the value; the interval may reach into others."""
        return Reliability.of(self.value)


@dataclass(frozen=True, kw_only=True)
class Association:
    """How a measurement goes along with a finding (point-biserial correlation, which is Pearson's with 0 and 1).

    Attributes:
        r: negative where those with the finding have less.
        p: two-sided.
        cases: with both known.
    """

    r: float
    p: float
    cases: int


def association(values: Sequence[float | None], found: Sequence[bool | None]) -> Association | None:
    """Correlate a measurement with a finding.

    Args:
        values: one for each case; cases with a ``None`` on either side are left out.
        found: whether the case has the finding.

    Returns:
        ``None`` for fewer than three cases, or where all or none have the finding, or nothing varies.

    Raises:
        ValueError: the numbers of cases differ.
    """
    x, y = _complete(values, [None if each is None else float(each) for each in found]).T
    if len(x) < _FEWEST or _constant(x) or _constant(y):
        return None
    result = stats.pearsonr(x, y)
    return Association(r=float(result.statistic), p=float(result.pvalue), cases=len(x))


def correlation(one: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """Pearson's correlation.

    Args:
        one: a value for each case; cases with a ``None`` on either side are left out.
        other: the same cases in the same order.

    Returns:
        ``None`` for fewer than three cases, or where one side never varies.

    Raises:
        ValueError: the numbers of cases differ.
    """
    x, y = _complete(one, other).T
    if len(x) < _FEWEST or _constant(x) or _constant(y):
        return None
    return float(stats.pearsonr(x, y).statistic)


def intraclass_correlation(*ratings: Sequence[float | None]) -> IntraclassCorrelation | None:
    """ICC(2,1) with its confidence interval: how far raters agree in the values themselves, not only in their order.

    Args:
        ratings: for each rater (such as annotator and model) a value for each case, in the same order; cases with a
            ``None`` from any are left out.

    Returns:
        ``None`` for fewer than three cases, or where nothing varies at all.

    Raises:
        ValueError: there are fewer than two raters, or their numbers of cases differ.
    """
    if len(ratings) < 2:
        raise ValueError(f"agreement is between two raters or more, got {len(ratings)}")
    values = _complete(*ratings)
    n, k = values.shape
    if n < _FEWEST or _constant(values):
        return None
    mean = values.mean()
    by_case, by_rater = values.mean(axis=1), values.mean(axis=0)
    ms_cases = k * float(((by_case - mean) ** 2).sum()) / (n - 1)
    ms_raters = n * float(((by_rater - mean) ** 2).sum()) / (k - 1)
    left = values - by_case[:, None] - by_rater[None, :] + mean
    ms_error = float((left**2).sum()) / ((n - 1) * (k - 1))
    value = (ms_cases - ms_error) / (ms_cases + (k - 1) * ms_error + k * (ms_raters - ms_error) / n)
    interval = None if _constant(by_case) else _interval(value, (ms_cases, ms_raters, ms_error), cases=n, raters=k)
    low, high = interval or (None, None)
    return IntraclassCorrelation(value=value, low=low, high=high, cases=n)


def _interval(
    icc: float, mean_squares: tuple[float, float, float], *, cases: int, raters: int
) -> tuple[float, float] | None:
    """McGraw and Wong 1996, Table 7, ICC(A,1).

    Returns:
        ``None`` where too few cases that do not agree leave no degrees of freedom: F then has no such quantile.
    """
    ms_cases, ms_raters, ms_error = mean_squares
    n, k = cases, raters
    if icc >= 1 or ms_error == 0 == ms_raters:
        return icc, icc
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * ms_raters) ** 2 / (k - 1) + (b * ms_error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * ms_raters + b * ms_error) ** 2 / spread if spread else 0.0
    if freedom < _LEAST_FREEDOM:
        return None
    tail = 1 - (1 - _CONFIDENCE) / 2
    above, below = float(stats.f.ppf(tail, n - 1, freedom)), float(stats.f.ppf(tail, freedom, n - 1))
    rest = k * ms_raters + (k * n - k - n) * ms_error
    low = n * (ms_cases - above * ms_error) / (above * rest + n * ms_cases)
    high = n * (below * ms_cases - ms_error) / (rest + n * below * ms_cases)
    return low, high


def _complete(*columns: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """(cases, columns) of the cases without gaps."""
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"different numbers of cases: {[len(column) for column in columns]}")
    rows = [row for row in zip(*columns, strict=True) if all(value is not None for value in row)]
    return np.array(rows, float).reshape(-1, len(columns))


def _constant(values: npt.NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0.0))
