"""Whether a new version may become the champion: compared with it on the same cases, held out of both."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lib.refusals import Refusal

Scores = Mapping[str, Mapping[str, float | None]]
"""Sample to class to a measure from 0 to 1, such as Dice; ``None`` where the class says nothing."""


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """By how much a new champion may be worse, since Dice is noisy.

    Attributes:
        mean: of the mean Dice over slices, 0 to 1.
        worst: of the Dice of the worst slice, 0 to 1.

    Raises:
        Refusal: one of them is no number from 0 to 1.
    """

    mean: float = 0.005
    worst: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise Refusal(f"The tolerance of the {name} Dice is a number from 0 to 1, not {value}.")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the comparison came to.

    Attributes:
        promote: whether the new version becomes the champion.
        reason: why or why not, as one sentence with the numbers.
        numbers: ``cases`` and ``patients`` that were compared, ``mean`` and ``worst`` of the new version (``new``) and
            of the champion (``champion``), and the tolerances; empty where nothing was compared.
    """

    promote: bool
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the manifest of the new version."""
        return asdict(self)

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Verdict | None:
        """The verdict in a manifest's metrics, ``None`` for a version that was never judged."""
        kept = metrics.get("verdict")
        return cls(**kept) if isinstance(kept, dict) else None


def compare(
    new: Scores,
    champion: Scores,
    patients: Mapping[str, str],
    *,
    name: str,
    tolerances: Tolerances,
    imported: bool = False,
    measure: str = "Dice",
) -> Verdict:
    """Compare a new version with the champion on the samples on which both were judged.

    A sample counts with the mean over its classes, as in the cross-validation. With a perfect tie, or within the
    tolerances, the new version wins: it has learnt from newer labels.

    Args:
        new: cross-validation of the new version.
        champion: the same of the champion, on the same labels.
        patients: sample to patient.
        name: of the champion.
        tolerances: by how much the new one may be worse.
        imported: the champion was trained elsewhere, perhaps on these very patients.
        measure: what is compared, for the sentence.
    """
    pairs = {key: (_mean(new[key]), _mean(champion[key])) for key in new.keys() & champion.keys()}
    both = {key: (a, b) for key, (a, b) in pairs.items() if a is not None and b is not None}
    if not both:
        return Verdict(promote=True, reason=f"Promoted: {name} has no fold for any of the cases.")
    count = len({patients[key] for key in both})
    ours, theirs = (_summary([pair[side] for pair in both.values()]) for side in (0, 1))
    numbers = {
        "cases": len(both),
        "patients": count,
        "new": ours,
        "champion": theirs,
        "tolerances": asdict(tolerances),
    }
    where = f"on {_counted(len(both), 'case')} of {_counted(count, 'patient')}"
    seen = ", which may have been trained on these patients" if imported else ""
    worse = [
        f"its {what} {ours[key]:.4f} is more than {allowed:g} below the {theirs[key]:.4f} of {name}"
        for key, what, allowed in (
            ("mean", f"mean {measure}", tolerances.mean),
            ("worst", f"worst {measure}", tolerances.worst),
        )
        if ours[key] < theirs[key] - allowed - 1e-9
    ]
    if worse:
        return Verdict(promote=False, reason=f"Kept: {where}, {' and '.join(worse)}{seen}.", numbers=numbers)
    told = f"its mean {measure} is {ours['mean']:.4f} and its worst {ours['worst']:.4f}"
    before = f"with {theirs['mean']:.4f} and {theirs['worst']:.4f} of {name}{seen}"
    return Verdict(promote=True, reason=f"Promoted: {where}, {told}, compared {before}.", numbers=numbers)


def _mean(dice: Mapping[str, float | None]) -> float | None:
    there = [value for value in dice.values() if value is not None]
    return statistics.fmean(there) if there else None


def _summary(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "worst": min(values)}


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
