"""How well methods segment the same cases, as in Table 2 of Lee 2021."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from lib.measures.overlap import Overlap

_MEASURES = {"dice": "Dice", "sensitivity": "sensitivity", "ppv": "PPV"}


def overlap_table(
    names: Sequence[str],
    scores_by_method: Mapping[str, Sequence[Mapping[str, Overlap]]],
    *,
    together: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Mean ± standard deviation over cases of every class and method, in percent, and whether methods differ in Dice.

    Args:
        names: the classes, in the order of the rows.
        scores_by_method: method to the overlaps of every case by class, the cases in the same order for all methods.
        together: further rows: name to the classes whose mean is taken in every case.

    Returns:
        Markdown, one row for each class, one for the mean of all classes, and those of ``together``. p is that of the
        two-sided paired t-test of a method's Dice against the first method's, over cases in which both have one.
        ``-`` stands where too few cases have a value: one for a mean, two for an SD, a test, or cases that all differ
        by nothing.

    Raises:
        ValueError: there is no method, or the methods judged different numbers of cases.
    """
    if not scores_by_method:
        raise ValueError("there is no method to compare")
    counts = {method: len(cases) for method, cases in scores_by_method.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the methods judged different numbers of cases: {counts}")
    first, *others = scores_by_method
    columns = ["class", "cases"]
    for method in scores_by_method:
        columns += [f"{method}: {title}" for title in _MEASURES.values()]
    columns += [f"p, {method} and {first}" for method in others]
    lines = [f"| {' | '.join(columns)} |", f"| {'--- | ' * len(columns)}".rstrip()]
    rows = {**{name: (name,) for name in names}, f"mean of {len(names)}": tuple(names), **(together or {})}
    for row, classes in rows.items():
        values = {
            method: {measure: _means(cases, classes, measure) for measure in _MEASURES}
            for method, cases in scores_by_method.items()
        }
        cells = [str(max(int(np.isfinite(each["dice"]).sum()) for each in values.values()))]
        for each in values.values():
            cells += [_mean_and_sd(each[measure]) for measure in _MEASURES]
        cells += [_p_value(values[first]["dice"], values[method]["dice"]) for method in others]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _means(cases: Sequence[Mapping[str, Overlap]], classes: Sequence[str], measure: str) -> npt.NDArray[np.float64]:
    """For every case the mean of its classes, those without a value left out; NaN where no class has one."""
    means = []
    for case in cases:
        known = [value for name in classes if name in case and (value := getattr(case[name], measure)) is not None]
        means.append(float(np.mean(known)) if known else np.nan)
    return np.array(means)


def _mean_and_sd(values: npt.NDArray[np.float64]) -> str:
    known = 100 * values[np.isfinite(values)]
    if not known.size:
        return "-"
    return f"{known.mean():.1f} ± {known.std(ddof=1):.1f}" if known.size > 1 else f"{known.mean():.1f} ± -"


def _p_value(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> str:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 2:
        return "-"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # differences that are all alike; said by the cell
        p = float(stats.ttest_rel(b[both], a[both]).pvalue)
    if np.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
