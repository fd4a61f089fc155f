"""How far off the slice of L3 was found, by anatomic variant: Figure 4 and Table 3 of Ha 2021."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lib.anatomy.levels import SUCCESS_MM
from lib.evaluation.estimates import Estimate, Spread, Test, finite, proportion, spread
from lib.evaluation.groups import independent_test

NORMAL = "normal"
"""The group of Ha 2021 without a variant, which all others are compared with."""


@dataclass(frozen=True, kw_only=True)
class LevelError:
    """One case of one source.

    Attributes:
        case: its name.
        source: where the answer comes from.
        distance_mm: between the slice and the true one; ``None`` where no L3 was found.
        variant: the group of its anatomy, ``None`` where it is not known.
    """

    case: str
    source: str
    distance_mm: float | None
    variant: str | None = None

    @property
    def success(self) -> bool:
        """Whether it was found within :data:`SUCCESS_MM`."""
        return self.distance_mm is not None and self.distance_mm < SUCCESS_MM


@dataclass(frozen=True, kw_only=True)
class LevelSummary:
    """A group of cases.

    Attributes:
        group: its name.
        cases: how many.
        not_found: in how many of them no L3 was found; each is no success, and has no distance.
        distance: mm.
        largest: mm, ``None`` without any.
        success: share found within :data:`SUCCESS_MM`.
        distance_test: Student's t-test against the normal anatomy.
        success_test: chi-square test against the normal anatomy, with Yates' correction, as R does it.
    """

    group: str
    cases: int
    not_found: int
    distance: Spread
    largest: float | None
    success: Estimate
    distance_test: Test
    success_test: Test


def summarise_levels(errors: Sequence[LevelError]) -> list[LevelSummary]:
    """All cases of a source, the normal anatomy, all variants together, and each variant.

    Groups without a case are left out; cases of unknown anatomy count among all only.
    """
    normal = [each for each in errors if each.variant == NORMAL]
    variants = [each for each in errors if each.variant not in (None, NORMAL)]
    groups = {"all": list(errors), "normal anatomy": normal, "anatomic variants": variants}
    names = sorted({each.variant for each in variants if each.variant is not None})
    groups |= {name: [each for each in variants if each.variant == name] for name in names}
    compared = ("anatomic variants", *names)
    return [
        _summarise(name, members, normal if name in compared else None) for name, members in groups.items() if members
    ]


def _summarise(group: str, errors: Sequence[LevelError], normal: Sequence[LevelError] | None) -> LevelSummary:
    distances = finite(each.distance_mm for each in errors)
    none = Test(why_not="the tests are against the normal anatomy")
    return LevelSummary(
        group=group,
        cases=len(errors),
        not_found=sum(each.distance_mm is None for each in errors),
        distance=spread(distances),
        largest=float(distances.max()) if distances.size else None,
        success=proportion(sum(each.success for each in errors), len(errors)),
        distance_test=none if normal is None else _t_test(distances, finite(each.distance_mm for each in normal)),
        success_test=none if normal is None else chi_square(errors, normal),
    )


def _t_test(distances: np.ndarray, normal: np.ndarray) -> Test:
    return independent_test([distances, normal]) if len(distances) and len(normal) else _NO_PAIR


def chi_square(one: Sequence[LevelError], other: Sequence[LevelError]) -> Test:
    """Whether the shares of success differ."""
    table = np.array([[sum(e.success for e in group), sum(not e.success for e in group)] for group in (one, other)])
    if not table.sum(axis=1).all():
        return _NO_PAIR
    if not table.sum(axis=0).all():
        return Test(name="chi-square", why_not="both groups have the same share of 0 % or 100 %")
    return Test(p=float(stats.chi2_contingency(table).pvalue), name="chi-square")


_NO_PAIR = Test(why_not="there are no two groups")
