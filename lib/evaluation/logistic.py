"""Odds ratios of an outcome, alone and adjusted (Lee 2021, Table 4)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

from lib.evaluation.estimates import CONFIDENCE, Estimate, Test, Values, constant, finite

_CASES_BY_VARIABLE = 2
"""Fewer cases of either outcome than this for each variable are no basis for a fit at all."""


_NO_FIT = (
    "the fit does not converge: the variables tell the outcomes apart, or one of them follows from the others, as a "
    "total does from its parts"
)


@dataclass(frozen=True, kw_only=True)
class OddsRatio:
    """Of one variable of a model.

    Attributes:
        ratio: of odds for one unit more, with Wald's interval.
        test: Wald's test of whether it is other than 1.
    """

    ratio: Estimate
    test: Test


@dataclass(frozen=True, kw_only=True)
class LogisticModel:
    """A fit.

    Attributes:
        cases: in which all variables and the outcome are known.
        with_outcome: in how many of them it is true.
        variables: variable to odds ratio.
        probability: for each case given, NaN where something is not known; empty without a fit.
        why_not: why there is no fit.
    """

    cases: int
    with_outcome: int
    variables: Mapping[str, OddsRatio]
    probability: npt.NDArray[np.float64]
    why_not: str = ""


def fit_logistic(outcome: Sequence[bool | None], variables: Mapping[str, Values]) -> LogisticModel:
    """Logistic regression by maximum likelihood.

    Args:
        outcome: of each case, ``None`` where it is not known.
        variables: name to a value for each case; scale them to the unit that odds ratios are to be for.

    Raises:
        ValueError: the numbers of cases differ.
    """
    columns = [[None if value is None else float(value) for value in outcome], *variables.values()]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"different numbers of cases: {[len(column) for column in columns]}")
    rows = np.array(
        [row if len(finite(row)) == len(columns) else [np.nan] * len(columns) for row in zip(*columns, strict=True)],
        float,
    )
    rows = rows.reshape(-1, len(columns))
    known = np.isfinite(rows).all(axis=1)
    y, x = rows[known, 0], rows[known, 1:]
    why = _unfit(y, x, list(variables))
    if not why:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.simplefilter("error", PerfectSeparationWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                # Centred and scaled, so that variables of any unit converge; odds ratios are scaled back.
                middle, scale = x.mean(axis=0), x.std(axis=0)
                fit = sm.Logit(y, sm.add_constant((x - middle) / scale)).fit(disp=0, maxiter=100)
            except (PerfectSeparationError, PerfectSeparationWarning):
                why = "the variables tell the outcomes apart without error, so odds ratios have no bound"
            except (ConvergenceWarning, np.linalg.LinAlgError):
                why = _NO_FIT
    if not why and not np.isfinite(fit.bse).all():
        why = _NO_FIT
    if why:
        none = OddsRatio(ratio=Estimate(why_not=why), test=Test(why_not=why))
        return LogisticModel(
            cases=len(y), with_outcome=int(y.sum()), variables=dict.fromkeys(variables, none),
            probability=np.empty(0), why_not=why,
        )  # fmt: skip
    bounds = fit.conf_int(alpha=1 - CONFIDENCE)
    found = {}
    for index, name in enumerate(variables):
        value, low, high = (float(np.exp(each / scale[index])) for each in (fit.params[index + 1], *bounds[index + 1]))
        ratio = Estimate(value=value, low=low, high=high)
        found[name] = OddsRatio(ratio=ratio, test=Test(p=float(fit.pvalues[index + 1]), name="Wald"))
    probability = np.full(len(rows), np.nan)
    probability[known] = fit.predict()
    return LogisticModel(cases=len(y), with_outcome=int(y.sum()), variables=found, probability=probability)


def _unfit(outcome: npt.NDArray[np.float64], variables: npt.NDArray[np.float64], names: Sequence[str]) -> str:
    """Why a fit cannot be tried, or ""."""
    if not len(outcome):
        return "no case has all values"
    if constant(outcome):
        return "all cases have the same outcome"
    for index, name in enumerate(names):
        if constant(variables[:, index]):
            return f"{name} never varies"
    least = int(min(outcome.sum(), len(outcome) - outcome.sum()))
    if least < _CASES_BY_VARIABLE * len(names):
        return f"only {least} cases of the rarer outcome for {len(names)} variables"
    return ""
