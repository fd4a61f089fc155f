"""The discs of the spine in view: a chain of dark layers with nearly even spacing, and the endplates beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.cold_start.spine_profile import STEP_MM, SpineProfile

# From disc to disc: the smallest lower thoracic and the largest lumbar vertebra with its disc, with some room.
SPACING_MM = (21.0, 46.0)
# Lumbar and lower thoracic segments together, body and disc.
_USUAL_SPACING_MM = 34.0
_USUAL_SPREAD_MM = 7.0
_CHANGE_MM = 4.0
_PER_DISC = 0.25
_LEAST_STRENGTH_HU = 20.0
_STRENGTH_SHARE = 0.3
_SHORTEST_SPINE_MM = 30.0
_ENDPLATE_AWAY_MM = (2.0, 9.0)
_ENDPLATE_USUAL_MM = 5.0
# Dense islands in a body must not outshine its endplate.
_ENDPLATE_DISTANCE_HU = 12.0


@dataclass(frozen=True, kw_only=True)
class Disc:
    """One intervertebral disc.

    Attributes:
        at: position along the straightened spine, mm from its lower end.
        z: height of its centre above the lowest slice, mm.
        clearness: its evidence relative to the clearest discs, about 1 for a clear one.
        endplate_above_z: the inferior endplate of the vertebra above, mm above the lowest slice.
        endplate_below_z: the superior endplate of the vertebra below, mm above the lowest slice.
    """

    at: float
    z: float
    clearness: float
    endplate_above_z: float
    endplate_below_z: float


def spine_range(strength: npt.NDArray[np.floating], step_mm: float) -> tuple[int, int] | None:
    """First and last position (one past) at which the axis runs through vertebrae, ``None`` where there is no spine.

    Args:
        strength: (n,) how much each place along the axis looks like a vertebra, HU.
        step_mm: from one place to the next.
    """
    usual = float(np.percentile(strength, 90))
    if usual < _LEAST_STRENGTH_HU:
        return None
    inside = strength > max(_LEAST_STRENGTH_HU, _STRENGTH_SHARE * usual)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    runs = edges.reshape(-1, 2)
    start, stop = max(runs.tolist(), key=lambda run: run[1] - run[0])
    return (start, stop) if (stop - start) * step_mm >= _SHORTEST_SPINE_MM else None


def find_discs(profile: SpineProfile, start: int, stop: int) -> tuple[Disc, ...]:
    """The chain of discs from foot to head between two positions that explains the profile best."""
    evidence = profile.disc[start:stop].astype(np.float64)
    scale = max(20.0, float(np.percentile(evidence, 95)))
    chain = _best_chain(np.clip(evidence / scale, -1.0, 1.2))
    return tuple(_disc(profile, start + at, float(evidence[at] / scale)) for at in chain)


def _best_chain(evidence: npt.NDArray) -> list[int]:
    """Positions with the greatest sum of evidence less the cost of uneven spacing; they span the whole range."""
    length = len(evidence)
    spacings = np.arange(round(SPACING_MM[0] / STEP_MM), round(SPACING_MM[1] / STEP_MM) + 1)
    first_cost = 0.5 * ((spacings * STEP_MM - _USUAL_SPACING_MM) / _USUAL_SPREAD_MM) ** 2 * 0.2
    change = (spacings[:, None] - spacings[None, :]) * STEP_MM / _CHANGE_MM
    change_cost = 0.5 * change**2 * 0.5
    gain = evidence - _PER_DISC
    widest = int(spacings[-1])
    # best[s, d]: the best chain whose last disc is s and whose last spacing is spacings[d]; alone[s]: s is its first.
    alone = np.where(np.arange(length) < widest, gain, -np.inf)
    best = np.full((length, len(spacings)), -np.inf)
    came = np.full((length, len(spacings)), -1)
    for s in range(length):
        for d, spacing in enumerate(spacings):
            before = s - int(spacing)
            if before < 0:
                break
            with_older = best[before] - change_cost[d]
            older = int(with_older.argmax())
            fresh = alone[before] - first_cost[d]
            best[s, d] = max(fresh, with_older[older] - 0.5 * first_cost[d]) + gain[s]
            came[s, d] = older if with_older[older] - 0.5 * first_cost[d] > fresh else -1
    last = range(max(0, length - widest), length)
    ends = [(best[s].max(), s, int(best[s].argmax())) for s in last]
    total, s, d = max(ends)
    if not np.isfinite(total) or alone[max(last, key=lambda at: alone[at])] > total:
        only = max(last, key=lambda at: alone[at])
        return [only] if gain[only] > 0 else []
    chain = [s]
    while True:
        s, d = s - int(spacings[d]), int(came[s, d])
        chain.append(s)
        if d < 0:
            return chain[::-1]


def _disc(profile: SpineProfile, at: int, clearness: float) -> Disc:
    above = _endplate(profile, at, +1)
    below = _endplate(profile, at, -1)
    return Disc(
        at=at * STEP_MM,
        z=float(profile.z[at]),
        clearness=clearness,
        endplate_above_z=float(profile.z[above]),
        endplate_below_z=float(profile.z[below]),
    )


def _endplate(profile: SpineProfile, at: int, direction: int) -> int:
    """The brightest layer near a disc at the middle of the body, as a position along the spine."""
    middle = profile.straight.shape[1] // 2
    core = profile.straight[:, middle - 1 : middle + 2].mean(axis=1)
    near, far = (round(mm / STEP_MM) for mm in _ENDPLATE_AWAY_MM)
    places = np.clip(at + direction * np.arange(near, far + 1), 0, len(core) - 1)
    away = np.abs(places - at) * STEP_MM - _ENDPLATE_USUAL_MM
    return int(places[(core[places] - _ENDPLATE_DISTANCE_HU * np.clip(away, 0, None)).argmax()])
