"""How well a call agrees with a diagnosis: sensitivity, specificity, PPV and NPV (Lee 2021, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib.evaluation.estimates import Estimate, proportion


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A call against the truth; shares with Wilson's intervals.

    Attributes:
        true_positive: number of cases called and ill.
        false_positive: called and not ill.
        false_negative: not called and ill.
        true_negative: neither.
        sensitivity: share of the ill that are called.
        specificity: share of the others that are not.
        ppv: share of the called that are ill.
        npv: share of the others that are not.
        accuracy: share of right calls.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    accuracy: Estimate


def diagnose(called: Sequence[bool | None], truth: Sequence[bool | None]) -> Diagnosis:
    """Count, over the cases in which both are known.

    Raises:
        ValueError: the numbers of cases differ.
    """
    pairs = list(zip(called, truth, strict=True))
    tp, fp, fn, tn = (pairs.count(each) for each in ((True, True), (True, False), (False, True), (False, False)))
    return Diagnosis(
        true_positive=tp,
        false_positive=fp,
        false_negative=fn,
        true_negative=tn,
        sensitivity=proportion(tp, tp + fn),
        specificity=proportion(tn, tn + fp),
        ppv=proportion(tp, tp + fp),
        npv=proportion(tn, tn + fn),
        accuracy=proportion(tp + tn, tp + fp + fn + tn),
    )
