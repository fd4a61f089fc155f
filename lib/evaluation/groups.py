"""Whether groups of patients differ: by sex, age, BMI, scan range (Lee 2021) or anything else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lib.evaluation.estimates import NEVER_VARIES, Spread, Test, Values, constant, finite, spread


@dataclass(frozen=True, kw_only=True)
class Groups:
    """A measure in groups of cases.

    Attributes:
        groups: group to mean and standard deviation, in the order of their names.
        unknown: how many cases with a value belong to no group.
        test: of Student's for two groups (Lee 2021, section 2.6), one-way analysis of variance for more.
    """

    groups: Mapping[str, Spread]
    unknown: int
    test: Test


def compare_groups(values: Values, groups: Sequence[str | None]) -> Groups:
    """Compare groups of independent cases.

    Args:
        values: of each case.
        groups: of each case, ``None`` where it is not known.

    Raises:
        ValueError: the numbers of cases differ.
    """
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups")
    names = sorted({group for group in groups if group is not None})
    members = {
        name: finite([value for value, group in zip(values, groups, strict=True) if group == name]) for name in names
    }
    unknown = len(finite([value for value, group in zip(values, groups, strict=True) if group is None]))
    return Groups(
        groups={name: spread(each) for name, each in members.items()},
        unknown=unknown,
        test=independent_test([each for each in members.values() if len(each)]),
    )


def independent_test(samples: Sequence[np.ndarray]) -> Test:
    """Student's t-test for two samples, one-way analysis of variance for more."""
    name = "t" if len(samples) <= 2 else "ANOVA"
    if len(samples) < 2:
        return Test(name=name, why_not="there are no two groups")
    if min(map(len, samples)) < 2:
        return Test(name=name, why_not="a group has only one case")
    if all(constant(each) for each in samples):
        return Test(name=name, why_not=NEVER_VARIES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one group that never varies is no reason to doubt the others
        found = stats.ttest_ind(*samples) if len(samples) == 2 else stats.f_oneway(*samples)
    return Test(p=float(found.pvalue), name=name)
