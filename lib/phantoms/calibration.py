"""Finding the sizes of a body's parts with which the areas of its slices are the ones its person has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lib.phantoms.body import AT_L3, AT_MID_THIGH, Body, Part
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame
from lib.phantoms.tissues import BY_ID, ids

Parts = tuple[Callable[[Frame], Part], ...]


@dataclass(frozen=True)
class Target:
    """One area of the person, and the size that it follows.

    Attributes:
        area: the person's attribute, cm².
        size: the frame's size that makes it larger.
        tissues: what the area is made of.
        power: about how fast it grows: area ~ size ** power.
        low: least size that is still drawn well.
        high: largest one.
    """

    area: str
    size: str
    tissues: tuple[str, ...]
    power: float
    low: float
    high: float


def _labelled(label: str) -> tuple[str, ...]:
    return tuple(tissue.name for tissue in BY_ID if label in tissue.labels)


_THIGH = tuple(
    tissue.name
    for tissue in BY_ID
    if tissue.texture == "muscle" and not tissue.name.startswith(("forearm", "upper_arm"))
)
_L3 = (
    Target("psoas_cm2", "psoas", _labelled("psoas"), 2.0, 0.3, 1.8),
    Target("paraspinal_cm2", "paraspinal", _labelled("paraspinal"), 2.0, 0.5, 1.5),
    Target("wall_cm2", "wall", _labelled("abdominal_wall"), 1.0, 0.25, 2.5),
    Target("visceral_fat_cm2", "cavity", _labelled("visceral_fat"), 2.5, 0.6, 1.9),
    Target("subcutaneous_fat_cm2", "fat", ("subcutaneous_fat",), 0.9, 0.1, 5.0),
)
_MID_THIGH = (
    Target("thigh_muscle_cm2", "thigh_muscle", _THIGH, 2.0, 0.6, 1.45),
    Target("thigh_fat_cm2", "thigh_fat", ("subcutaneous_fat",), 0.9, 0.1, 5.0),
)
TOLERANCE = 0.02
_ROUNDS = 12
_STEP_MM = 1.2
_TORSO_WIDTH_MM = 360.0  # half of it to either side: the arms stay out


def calibrate(frame: Frame, *, thighs: bool) -> tuple[Frame, dict[str, float]]:
    """Set the frame's sizes so that the areas come out as the person's.

    Args:
        frame: whose sizes are changed in place.
        thighs: whether the thighs matter as well as the slice of L3.

    Returns:
        The frame, and those of the person's areas, cm², that no drawable size reaches, each with the nearest that was
        reached.
    """
    missed = _solve(frame, _L3, AT_L3, z=0.0)
    if thighs:
        missed |= _solve(frame, _MID_THIGH, AT_MID_THIGH, z=frame.heights["mid_thigh"])
    return frame, missed


def _solve(frame: Frame, targets: tuple[Target, ...], parts: Parts, *, z: float) -> dict[str, float]:
    """Multiply each size by what its area lacks, with a slope that is learnt on the way."""
    powers = {target.size: target.power for target in targets}
    before: dict[str, tuple[float, float]] = {}
    found: dict[str, float] = {}
    for _ in range(_ROUNDS):
        canvas = _slice(frame, parts, z)
        found = {target.size: _area_cm2(canvas, target.tissues, frame) for target in targets}
        if all(
            abs(found[t.size] / _wanted(frame, t) - 1) < TOLERANCE / 2 or _stuck(frame, t, found[t.size])
            for t in targets
        ):
            break
        for target in targets:
            name, area, size = target.size, max(found[target.size], 0.05), getattr(frame.sizes, target.size)
            if name in before and abs(np.log(size / before[name][0])) > 0.01:
                slope = np.log(area / before[name][1]) / np.log(size / before[name][0])
                powers[name] = float(np.clip(0.5 * powers[name] + 0.5 * slope, 0.5 * target.power, 4 * target.power))
            before[name] = size, area
            factor = np.clip((_wanted(frame, target) / area) ** (1 / powers[name]), 0.6, 1.7)
            # rounded, so that the last bits of a machine's logarithm never reach a voxel
            setattr(frame.sizes, name, round(float(np.clip(size * factor, target.low, target.high)), 6))
    return {
        target.area: found[target.size]
        for target in targets
        if abs(found[target.size] / _wanted(frame, target) - 1) > TOLERANCE
    }


def _wanted(frame: Frame, target: Target) -> float:
    return float(getattr(frame.person, target.area))


def _stuck(frame: Frame, target: Target, area: float) -> bool:
    """Whether the size stands at its limit and the area is still beyond it."""
    size, wanted = getattr(frame.sizes, target.size), _wanted(frame, target)
    return bool((size <= target.low and area > wanted) or (size >= target.high and area < wanted))


def _slice(frame: Frame, parts: Parts, z: float) -> Canvas:
    nx = int(_TORSO_WIDTH_MM / _STEP_MM) + 121
    grid = Grid(-(nx - 1) / 2 * _STEP_MM, _STEP_MM, nx, -(nx - 1) / 2 * _STEP_MM, _STEP_MM, nx)
    # arms beside the body belong to no area
    return Body(replace(frame, arms_beside=False), parts).slice(grid, z)


def _area_cm2(canvas: Canvas, tissues: tuple[str, ...], frame: Frame) -> float:
    counts: Any = np.bincount(canvas.tissue.ravel(), minlength=256)
    return float(counts[ids(tissues)].sum()) * (_STEP_MM * frame.width_scale / 10) ** 2
