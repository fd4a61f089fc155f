"""Which disc is which: the probability of every numbering of the discs, given sacrum, iliac crests and ribs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.cold_start.spine_discs import Disc
from lib.cold_start.spine_landmarks import Landmarks

# The line between the tops of the crests crosses the spine at the body of L4 or the disc L4/L5 in most people and a
# level higher or lower in some: 6 mm above the disc L4/L5, with a wide spread.
_CREST_ABOVE_L4_L5_MM = 6.0
_CREST_SPREAD_MM = 13.0
# The twelfth rib meets the upper half of the body of T12.
_RIB_ABOVE_T12_L1_MM = 15.0
_RIB_SPREAD_MM = 10.0
# How often a landmark misleads altogether: lumbar ribs, a missing twelfth rib, a tilted pelvis, a calcified bowel.
_MISLEADING = 0.03
_MISSED_LANDMARK = 0.12
_EDGE_MM = 15.0
_LEVEL_MM = 34.0
_WING_BELOW_MM = (5, 22)
_WING_ABOVE_MM = (8, 30)
_WING_JUMP = 0.22
_WING_STEEPNESS = 20.0
_WING_LIMITS = (-2.5, 3.5)
_SACRAL_DISC_COST = 1.0
_BEYOND = 12
_RIBS_CHECKED = 8
_SIDES_AGREE_MM = 20.0

L5_S1, L4_L5, L3_L4, T12_L1 = 0, 1, 2, 5


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """The probability that the disc with a given index, counted from the feet, is L5/S1.

    Attributes:
        first: the index of the first entry; negative where L5/S1 would lie below the lowest disc in view.
        probability: one entry for each index from ``first`` on, sum 1.
        from_sacrum: the index that the sacral wings speak for, ``None`` where the sacrum is not in view.
        from_ribs: the index that the lowest ribs speak for (as if there were five lumbar vertebrae), ``None`` where
            the ribs say nothing.
        from_crests: the same for the iliac crests.
    """

    first: int
    probability: npt.NDArray[np.float64]
    from_sacrum: int | None
    from_ribs: int | None
    from_crests: int | None


def number_discs(discs: Sequence[Disc], landmarks: Landmarks) -> Numbering:
    """Weigh all numberings of a chain of discs (foot to head, at least two)."""
    indices = np.arange(-_BEYOND, len(discs) + 1)
    heights = _Heights.of(discs)
    sacrum = np.array([_sacrum(discs, landmarks, int(n)) for n in indices])
    crests = _crests(landmarks, heights.of_disc(indices + L4_L5) + _CREST_ABOVE_L4_L5_MM)
    ribs = _ribs(
        landmarks, heights.of_disc(indices[:, None] + T12_L1 + np.arange(_RIBS_CHECKED)) + _RIB_ABOVE_T12_L1_MM
    )
    log_probability = sacrum + crests + ribs
    probability = np.exp(log_probability - log_probability.max())
    return Numbering(
        first=int(indices[0]),
        probability=probability / probability.sum(),
        from_sacrum=int(indices[sacrum.argmax()]) if sacrum.max() > 1.0 else None,
        from_ribs=int(indices[ribs.argmax()]) if _ribs_are_clear(landmarks) else None,
        from_crests=int(indices[crests.argmax()]) if landmarks.crests_z else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Heights:
    """The height of every disc, mm; beyond those in view by the spacing of the nearest ones."""

    z: npt.NDArray[np.float64]
    below: float
    above: float

    @classmethod
    def of(cls, discs: Sequence[Disc]) -> _Heights:
        z = np.array([disc.z for disc in discs])
        gaps = np.diff(z)
        return cls(
            z=z,
            below=float(gaps[:2].mean()) if len(gaps) else _LEVEL_MM,
            above=float(gaps[-2:].mean()) if len(gaps) else _LEVEL_MM,
        )

    def of_disc(self, index: npt.NDArray) -> npt.NDArray[np.float64]:
        inside = self.z[np.clip(index, 0, len(self.z) - 1)]
        under = np.minimum(index, 0) * self.below
        over = np.maximum(index - len(self.z) + 1, 0) * self.above
        return inside + under + over  # type: ignore[no-any-return]


def _sacrum(discs: Sequence[Disc], landmarks: Landmarks, index: int) -> float:
    """Log odds that the wings begin below this disc, less what clear discs below it would cost."""
    below = sum(float(np.clip(disc.clearness - 0.4, 0, 1)) for disc in discs[: max(0, index)])
    cost = _SACRAL_DISC_COST * below
    if not 0 <= index < len(discs):
        return -cost - (2.0 if index >= len(discs) else 0.0)
    at = round(discs[index].at)
    under = landmarks.wings[max(0, at - _WING_BELOW_MM[1]) : max(0, at - _WING_BELOW_MM[0])]
    over = landmarks.wings[at + _WING_ABOVE_MM[0] : at + _WING_ABOVE_MM[1]]
    if len(under) < 8 or len(over) < 8:
        return -cost
    jump = float(under.mean() - over.mean())
    return float(np.clip(_WING_STEEPNESS * (jump - _WING_JUMP), *_WING_LIMITS)) - cost


def _crests(landmarks: Landmarks, expected: npt.NDArray) -> npt.NDArray[np.float64]:
    if landmarks.crests_z:
        return _near(float(np.mean(landmarks.crests_z)), expected, _CREST_SPREAD_MM)
    return _absent(landmarks, expected)


def _ribs(landmarks: Landmarks, expected_ribs: npt.NDArray) -> npt.NDArray[np.float64]:
    """Weigh the ribs; ``expected_ribs`` holds, for each numbering, the heights of ribs 12, 11, 10 and so on."""
    if not landmarks.ribs_z:
        return np.min([_absent(landmarks, heights) for heights in expected_ribs.T], axis=0)  # type: ignore[no-any-return]
    sides = []
    expected = expected_ribs[:, 0]
    for z in landmarks.ribs_z:
        # A rib near the lower end of the view need not be the lowest one.
        nearest = expected if _below_is_in_view(landmarks) else np.maximum(expected, z)
        sides.append(_near(z, nearest, _RIB_SPREAD_MM))
    return np.mean(sides, axis=0)  # type: ignore[no-any-return]


def _ribs_are_clear(landmarks: Landmarks) -> bool:
    ribs = landmarks.ribs_z
    return bool(ribs) and max(ribs) - min(ribs) < _SIDES_AGREE_MM and _below_is_in_view(landmarks)


def _below_is_in_view(landmarks: Landmarks) -> bool:
    return min(landmarks.ribs_z) - _LEVEL_MM > landmarks.view_z[0]


def _near(found: float, expected: npt.NDArray, spread: float) -> npt.NDArray[np.float64]:
    fit = np.exp(-0.5 * ((found - expected) / spread) ** 2)
    return np.log((1 - _MISLEADING) * fit + _MISLEADING)  # type: ignore[no-any-return]


def _absent(landmarks: Landmarks, expected: npt.NDArray) -> npt.NDArray[np.float64]:
    """A landmark that was not found speaks against numberings that put it well inside the view."""
    low, high = landmarks.view_z
    seen = (expected > low + _EDGE_MM) & (expected < high - _EDGE_MM)
    return np.where(seen, np.log(_MISSED_LANDMARK), 0.0)
