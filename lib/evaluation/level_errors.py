"""How far off the slice of L3 was found, by anatomic variant, and what that does to areas: Ha 2021, Tables 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lib.anatomy.levels import SUCCESS_MM
from lib.evaluation.agreement_summary import Agreement, BlandAltman, agree, bland_altman
from lib.evaluation.estimates import Estimate, Spread, Test, Values, finite, finite_pairs, proportion, spread
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


@dataclass(frozen=True, kw_only=True)
class LevelSizes:
    """The size of a structure on the slice that was found against that on the true slice, in a group of cases.

    Attributes:
        group: its name.
        agreement: of the sizes.
        difference_percent: bias and limits of ``100 (found - reference) / mean of both`` (Ha 2021, Table 3).
        error_test: Student's t-test of the error in % against the group that this one is compared with: slices that
            were not found against those that were, variants against the normal anatomy.
    """

    group: str
    agreement: Agreement
    difference_percent: BlandAltman
    error_test: Test


def summarise_sizes(errors: Sequence[LevelError], reference: Values, found: Values) -> list[LevelSizes]:
    """The groups of :func:`summarise_levels`, and cases whose slice was found or not (Ha 2021, Tables 2 and 3).

    Args:
        errors: of the cases that have sizes.
        reference: their sizes on the true slice.
        found: their sizes on the slice that was found.

    Raises:
        ValueError: the numbers of cases differ.
    """
    pairs = list(zip(reference, found, strict=True))
    sizes = {each.case: pair for each, pair in zip(errors, pairs, strict=True)}
    near, far = f"within {SUCCESS_MM:g} mm", "farther off"
    groups = _groups(errors)
    groups |= {near: [each for each in errors if each.success], far: [each for each in errors if not each.success]}
    against = {far: near, **{name: _NORMAL_GROUP for name in groups if name not in ("all", _NORMAL_GROUP, near, far)}}
    summaries = []
    for name, members in groups.items():
        if not members:
            continue
        x, y = finite_pairs(*_columns(sizes, members))
        test = Test(why_not="it is what other groups are compared with")
        if name in against:
            own, other = (_errors_percent(*_columns(sizes, groups[each])) for each in (name, against[name]))
            test = _t_test(own, other)
        middle = (x + y) / 2
        summaries.append(
            LevelSizes(
                group=name,
                agreement=agree(list(x), list(y), relative=True),
                difference_percent=bland_altman(100 * (y - x)[middle > 0] / middle[middle > 0]),
                error_test=test,
            )
        )
    return summaries


def _columns(
    sizes: Mapping[str, tuple[float | None, float | None]], errors: Sequence[LevelError]
) -> tuple[list[float | None], list[float | None]]:
    return [sizes[each.case][0] for each in errors], [sizes[each.case][1] for each in errors]


def _errors_percent(reference: Values, found: Values) -> np.ndarray:
    x, y = finite_pairs(reference, found)
    return np.asarray(100 * np.abs(y - x)[x > 0] / x[x > 0])


_NORMAL_GROUP = "normal anatomy"


def _groups(errors: Sequence[LevelError]) -> dict[str, list[LevelError]]:
    """All, the normal anatomy, all variants together, and each variant."""
    variants = [each for each in errors if each.variant not in (None, NORMAL)]
    names = sorted({each.variant for each in variants if each.variant is not None})
    return {
        "all": list(errors),
        _NORMAL_GROUP: [each for each in errors if each.variant == NORMAL],
        "anatomic variants": variants,
        **{name: [each for each in variants if each.variant == name] for name in names},
    }


def summarise_levels(errors: Sequence[LevelError]) -> list[LevelSummary]:
    """All cases of a source, the normal anatomy, all variants together, and each variant.

    Groups without a case are left out; cases of unknown anatomy count among all only.
    """
    groups = _groups(errors)
    normal = groups[_NORMAL_GROUP]
    return [
        _summarise(name, members, None if name in ("all", _NORMAL_GROUP) else normal)
        for name, members in groups.items()
        if members
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
