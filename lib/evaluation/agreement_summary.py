"""How far areas, volumes and HU agree: Tables 4 and 5 of Yu 2026, Table 2 of Ha 2021, the ICC of Kim 2024."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lib.evaluation.estimates import (
    CONFIDENCE,
    NEVER_VARIES,
    NO_CASE,
    ONE_CASE,
    TWO_CASES,
    Estimate,
    Spread,
    Test,
    Values,
    constant,
    finite_pairs,
    mean,
    mean_of_skewed,
    pearson,
    spread,
)
from lib.measures.agreement import IntraclassCorrelation, Reliability, intraclass_correlation

_LIMIT = 1.96
_NO_INTERVAL = "too few cases that agree too little for an interval"


@dataclass(frozen=True, kw_only=True)
class BlandAltman:
    """Differences of two measurements of the same cases (Bland and Altman 1986).

    Attributes:
        bias: mean of found minus reference.
        sd: standard deviation of the differences.
        lower: limit of agreement, ``bias - 1.96 sd``; its standard error is taken as ``sqrt(3 / n) sd``.
        upper: the other.
    """

    bias: Estimate
    sd: float | None
    lower: Estimate
    upper: Estimate


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two measurements of the same cases.

    Attributes:
        cases: that have both.
        reference: of the reference.
        found: of what was found.
        r: Pearson's correlation.
        r_test: whether it is other than 0.
        mae: mean absolute error.
        bland_altman: bias and limits.
        error_percent: ``100 |found - reference| / reference``, ``None`` where it means nothing, as for HU.
        difference_test: paired t-test of found against reference (Ha 2021).
        icc: ICC(2,1), absolute agreement.
        band: what it is called (Koo and Li 2016), ``None`` without an ICC.
    """

    cases: int
    reference: Spread
    found: Spread
    r: Estimate
    r_test: Test
    mae: Estimate
    bland_altman: BlandAltman
    error_percent: Spread | None
    difference_test: Test
    icc: Estimate
    band: Reliability | None


def agree(reference: Values, found: Values, *, relative: bool) -> Agreement:
    """Compare two measurements of the same cases.

    Args:
        reference: a value for each case.
        found: the same cases in the same order.
        relative: whether an error in percent of the reference means something.

    Raises:
        ValueError: the numbers of cases differ.
    """
    x, y = finite_pairs(reference, found)
    r, r_test = pearson(list(x), list(y))
    errors = 100 * np.abs(y - x)[x != 0] / np.abs(x[x != 0])
    icc = intraclass_correlation(list(x), list(y))
    return Agreement(
        cases=len(x),
        reference=spread(x),
        found=spread(y),
        r=r,
        r_test=r_test,
        mae=mean_of_skewed(np.abs(y - x)),
        bland_altman=bland_altman(y - x),
        error_percent=spread(errors) if relative else None,
        difference_test=paired_t_test(y - x),
        icc=_icc_estimate(icc, len(x)),
        band=icc.reliability if icc else None,
    )


def _icc_estimate(icc: IntraclassCorrelation | None, cases: int) -> Estimate:
    if icc is None:
        return Estimate(why_not=(NO_CASE, ONE_CASE, TWO_CASES)[cases] if cases < 3 else NEVER_VARIES)
    return Estimate(value=icc.value, low=icc.low, high=icc.high, why_not=_NO_INTERVAL if icc.low is None else "")


def bland_altman(differences: npt.NDArray[np.float64]) -> BlandAltman:
    """Bias and 95 % limits of agreement with their intervals."""
    n, bias = len(differences), mean(differences)
    if n < 2:
        none = Estimate(why_not=NO_CASE if n == 0 else ONE_CASE)
        return BlandAltman(bias=bias, sd=None, lower=none, upper=none)
    sd = float(differences.std(ddof=1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd * math.sqrt(3 / n)
    middle = float(differences.mean())
    lower, upper = (
        Estimate(value=limit, low=limit - reach, high=limit + reach)
        for limit in (middle - _LIMIT * sd, middle + _LIMIT * sd)
    )
    return BlandAltman(bias=bias, sd=sd, lower=lower, upper=upper)


def paired_t_test(differences: npt.NDArray[np.float64]) -> Test:
    """Whether the mean of the differences of pairs is other than 0."""
    name = "paired t"
    if len(differences) < 2:
        return Test(name=name, why_not=NO_CASE if not len(differences) else ONE_CASE)
    if constant(differences):
        return Test(name=name, why_not="all differences are the same")
    return Test(p=float(stats.ttest_1samp(differences, 0.0).pvalue), name=name)
