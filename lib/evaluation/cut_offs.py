"""The value of a measurement that corresponds to a threshold of a reference measurement (Lee 2021, Figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import statsmodels.api as sm

from lib.evaluation.estimates import (
    CONFIDENCE,
    NO_CASE,
    ONE_CASE,
    TWO_CASES,
    Estimate,
    Values,
    constant,
    finite_pairs,
    pearson,
)


@dataclass(frozen=True, kw_only=True)
class CutOff:
    """A straight line of the measurement on the reference, and what it gives at the threshold.

    Attributes:
        cases: that have both.
        threshold: of the reference.
        value: the measurement there, with the interval of the line.
        slope: of the line, ``None`` where there is none.
        intercept: of the line.
        r: Pearson's correlation.
        outside: whether the threshold lies outside of what was measured, so that the line is drawn on beyond it.
    """

    cases: int
    threshold: float
    value: Estimate
    slope: float | None
    intercept: float | None
    r: Estimate
    outside: bool


def regression_cut_off(reference: Values, measured: Values, threshold: float) -> CutOff:
    """Fit by least squares and read the line at the threshold.

    Args:
        reference: such as appendicular lean mass by bioelectrical impedance, for each case.
        measured: such as the skeletal muscle index of a CT.
        threshold: of the reference.

    Raises:
        ValueError: the numbers of cases differ.
    """
    x, y = finite_pairs(reference, measured)
    r, _ = pearson(list(x), list(y))
    why = (NO_CASE, ONE_CASE, TWO_CASES)[len(x)] if len(x) < 3 else "the reference never varies" if constant(x) else ""
    if why:
        none = Estimate(why_not=why)
        return CutOff(cases=len(x), threshold=threshold, value=none, slope=None, intercept=None, r=r, outside=False)
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    intercept, slope = (float(each) for each in fit.params)
    low, high = fit.get_prediction([[1.0, threshold]]).conf_int(alpha=1 - CONFIDENCE)[0]
    return CutOff(
        cases=len(x),
        threshold=threshold,
        value=Estimate(value=intercept + slope * threshold, low=float(low), high=float(high)),
        slope=slope,
        intercept=intercept,
        r=r,
        outside=not x.min() <= threshold <= x.max(),
    )
