"""Whether two sources differ on the same cases (Yu 2026, Table 3; Lee 2021), with a correction for many classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scipy import stats
from statsmodels.stats.multitest import multipletests

from lib.evaluation.agreement_summary import paired_t_test
from lib.evaluation.estimates import Estimate, Test, Values, finite_pairs, mean

FEWEST_FOR_RANKS = 6
"""With fewer differences no Wilcoxon test can come below 0.05."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """One structure in two sources.

    Attributes:
        cases: in which both have a value.
        first: mean in the first.
        second: mean in the second.
        difference: mean of second minus first.
        worst: the lowest value in the first and in the second, ``None`` without cases.
        t: paired t-test.
        holm: its p corrected by Holm for all structures that were tested; ``None`` where there is none.
        benjamini_hochberg: corrected for the false discovery rate.
        wilcoxon: signed-rank test, for differences that are not normal.
    """

    cases: int
    first: float | None
    second: float | None
    difference: Estimate
    worst: tuple[float, float] | None
    t: Test
    holm: float | None = None
    benjamini_hochberg: float | None = None
    wilcoxon: Test


def compare_pairs(first: Mapping[str, Values], second: Mapping[str, Values]) -> dict[str, Paired]:
    """Test each structure, and correct for there being several.

    Args:
        first: structure to its values case by case.
        second: the same structures and cases of the other source.

    Raises:
        ValueError: the numbers of cases differ.
    """
    found = {name: _pair(first[name], second[name]) for name in first}
    known = {name: pair.t.p for name, pair in found.items() if pair.t.p is not None}
    if not known:
        return found
    holm, hochberg = (multipletests(list(known.values()), method=method)[1] for method in ("holm", "fdr_bh"))
    for index, name in enumerate(known):
        found[name] = replace(found[name], holm=float(holm[index]), benjamini_hochberg=float(hochberg[index]))
    return found


def _pair(first: Values, second: Values) -> Paired:
    x, y = finite_pairs(first, second)
    return Paired(
        cases=len(x),
        first=float(x.mean()) if len(x) else None,
        second=float(y.mean()) if len(y) else None,
        difference=mean(y - x),
        worst=(float(x.min()), float(y.min())) if len(x) else None,
        t=paired_t_test(y - x),
        wilcoxon=_wilcoxon(y - x),
    )


def _wilcoxon(differences) -> Test:  # type: ignore[no-untyped-def]
    name = "Wilcoxon signed-rank"
    count = int((differences != 0).sum())
    if count < FEWEST_FOR_RANKS:
        return Test(name=name, why_not=f"only {count} cases differ")
    return Test(p=float(stats.wilcoxon(differences).pvalue), name=name)
