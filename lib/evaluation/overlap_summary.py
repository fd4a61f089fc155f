"""Overlap and surfaces of many cases: Tables 2 and 3 of Yu 2026, Table 2 of Lee 2021, Figure 5 of Kim 2024."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib.evaluation.comparison import OVERLAP, CaseComparison
from lib.evaluation.estimates import Estimate, Spread, mean, pearson, proportion, spread

GOOD_DICE = 0.90
"""From which Dice on Yu 2026, section 3.2, counts a case as a good one."""


@dataclass(frozen=True, kw_only=True)
class OverlapSummary:
    """One structure over the cases of a source.

    Attributes:
        structure: its name.
        missed: cases whose reference holds it and in which it was not found.
        extra: the reverse.
        metrics: metric of :data:`lib.evaluation.comparison.OVERLAP` to mean and standard deviation.
        good: share of cases with a Dice of :data:`GOOD_DICE` and above.
        rest: mean Dice of the others.
        worst: the lowest Dice, ``None`` without any.
        worst_case: whose it is.
        size_correlation: Pearson's r of found and reference sizes (Kim 2024: volume correlation).
    """

    structure: str
    missed: int
    extra: int
    metrics: Mapping[str, Spread]
    good: Estimate
    rest: Estimate
    worst: float | None
    worst_case: str
    size_correlation: Estimate


def summarise_overlap(cases: Sequence[CaseComparison], structures: Mapping[str, Sequence[str]]) -> list[OverlapSummary]:
    """Summarise every structure.

    Args:
        cases: of one source.
        structures: rows: the name of a structure, of :data:`MEAN` or of a group to the structures whose mean is taken
            in every case.
    """
    return [_summarise(cases, row, members) for row, members in structures.items()]


def _summarise(cases: Sequence[CaseComparison], row: str, members: Sequence[str]) -> OverlapSummary:
    dice = {case.case: value for case in cases if (value := case.mean_over(members, "dice")) is not None}
    good = sum(value >= GOOD_DICE for value in dice.values())
    worst_case = min(dice, key=lambda name: dice[name], default="")
    held = [one.quality for case in cases for name in members if (one := case.structures.get(name)) and one.quality]
    correlation = Estimate(why_not="each structure has one of its own")
    if len(members) == 1:
        both = [one for case in cases if (one := case.structures.get(row))]
        correlation, _ = pearson([one.reference_size for one in both], [one.found_size for one in both])
    return OverlapSummary(
        structure=row,
        missed=sum(each.missed for each in held),
        extra=sum(each.invented for each in held),
        metrics={metric: spread(case.mean_over(members, metric) for case in cases) for metric in OVERLAP},
        good=proportion(good, len(dice)),
        rest=mean([value for value in dice.values() if value < GOOD_DICE]),
        worst=dice.get(worst_case),
        worst_case=worst_case,
        size_correlation=correlation,
    )
