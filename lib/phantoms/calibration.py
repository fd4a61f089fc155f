"""Finding the sizes of a body's parts with which the areas of its slices are the ones its person has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lib.phantoms.body import AT_L3, AT_MID_THIGH, Body, Part
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame
from lib.phantoms.tissues import BY_ID, ids

Parts = tuple[Callable[[Frame], Part], ...]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """One area of the person, and the size that it follows.

    Attributes:
        area: the person's attribute, cm².
        size: the frame's size that makes it larger.
        tissues: what the area is made of.
        slopes: by about how many percent the area grows when a size grows by one percent; the body's own slopes are
            learnt from there.
        low: least size that is still drawn well.
        high: largest one.
    """

    area: str
    size: str
    tissues: tuple[str, ...]
    slopes: Mapping[str, float]
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
    Target("psoas_cm2", "psoas", _labelled("psoas"), {"psoas": 1.9}, 0.3, 1.8),
    Target("paraspinal_cm2", "paraspinal", _labelled("paraspinal"), {"paraspinal": 1.9}, 0.5, 1.5),
    Target("wall_cm2", "wall", _labelled("abdominal_wall"), {"wall": 1.15, "cavity": 0.25}, 0.25, 2.5),
    Target("visceral_fat_cm2", "cavity", _labelled("visceral_fat"), {"cavity": 1.55, "psoas": -0.4}, 0.6, 1.9),
    Target("subcutaneous_fat_cm2", "fat", ("subcutaneous_fat",), {"fat": 1.0, "cavity": 0.25}, 0.1, 5.0),
)
_MID_THIGH = (
    Target("thigh_muscle_cm2", "thigh_muscle", _THIGH, {"thigh_muscle": 2.35}, 0.6, 1.45),
    Target("thigh_fat_cm2", "thigh_fat", ("subcutaneous_fat",), {"thigh_fat": 1.1, "thigh_muscle": 0.9}, 0.1, 5.0),
)
TOLERANCE = 0.02
"""By which share an area may miss the person's."""
_GOOD = 0.012
_ROUNDS = 12
_STEPS = (0.4, 2.5)
"""Least and largest factor by which a size changes in a round."""
_LEAST_SLOPE = 0.4
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
    """Broyden's method on the logarithms of sizes and areas: how they depend on one another is learnt on the way."""
    wanted = np.array([float(getattr(frame.person, target.area)) for target in targets])
    low, high = (np.log([getattr(target, end) for target in targets]) for end in ("low", "high"))
    usual = np.array([[target.slopes.get(cause.size, 0.0) for cause in targets] for target in targets])
    slopes = usual
    sizes = np.log([getattr(frame.sizes, target.size) for target in targets])
    before: tuple[Floats, Floats] | None = None
    areas = wanted
    for _ in range(_ROUNDS):
        canvas = _slice(frame, parts, z)
        areas = np.array([_area_cm2(canvas, target.tissues, frame) for target in targets])
        lack = np.log(wanted / np.maximum(areas, 0.05))
        stuck = ((sizes <= low) & (lack < 0)) | ((sizes >= high) & (lack > 0))
        if np.all((np.abs(lack) < _GOOD) | stuck):
            break
        if before is not None:
            step = sizes - before[0]
            slopes = slopes + np.outer(before[1] - lack - (slopes * step).sum(axis=1), step) / (step**2).sum()
            if (slopes.diagonal() < _LEAST_SLOPE * usual.diagonal()).any():
                slopes = usual  # a limit was met, or an area jumped
        before = sizes, lack
        step = np.zeros(len(targets))
        step[~stuck] = np.linalg.solve(slopes[~stuck][:, ~stuck], lack[~stuck])
        step = np.clip(step, *np.log(_STEPS))
        # rounded, so that the last bits of a machine's logarithm never reach a voxel
        factors = [round(float(factor), 6) for factor in np.exp(np.clip(sizes + step, low, high))]
        for target, factor in zip(targets, factors, strict=True):
            setattr(frame.sizes, target.size, factor)
        sizes = np.log(factors)
    return {
        target.area: float(area)
        for target, area, aim in zip(targets, areas, wanted, strict=True)
        if abs(area / aim - 1) > TOLERANCE
    }


def _slice(frame: Frame, parts: Parts, z: float) -> Canvas:
    nx = int(_TORSO_WIDTH_MM / _STEP_MM) + 121
    grid = Grid(-(nx - 1) / 2 * _STEP_MM, _STEP_MM, nx, -(nx - 1) / 2 * _STEP_MM, _STEP_MM, nx)
    # arms beside the body belong to no area
    return Body(replace(frame, arms_beside=False), parts).slice(grid, z)


def _area_cm2(canvas: Canvas, tissues: tuple[str, ...], frame: Frame) -> float:
    counts = np.bincount(canvas.tissue.ravel(), minlength=256)
    return float(counts[ids(tissues)].sum()) * (_STEP_MM * frame.width_scale / 10) ** 2
