"""The spine pulled straight: density along the line through the vertebral bodies, and how much each place is a disc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.cold_start.spine_axis import SpineAxis, course_along
from lib.images.ct import CTImage

Floats = npt.NDArray[np.float32]

STEP_MM = 1.0
_HALF_WIDTH_MM = 10.0
_HALF_DEPTH_MM = 14.0
_SAMPLE_MM = 2.0
_TILTS = np.tan(np.deg2rad(np.arange(-24, 25, 6)))
_DISC_HALF_MM = 3.0
_ENDPLATE_MM = (2.0, 9.0)
_VERTEBRA_MM = 35.0
_PEDICLE_MM = np.array([12.0, 15.0, 18.0])
_PEDICLE_DEPTHS_MM = np.array([-26.0, -22.0, -18.0])
_FORAMEN_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True)
class SpineProfile:
    """The straightened spine, one value for each mm along its axis, from foot to head.

    Attributes:
        straight: HU (position along the axis, back to front), mean over the middle 20 mm from side to side.
        disc: how much darker than its surroundings a layer across the axis is, HU, for its best tilt.
        z: height of each position above the lowest slice, mm.
        x: position from the first voxel, mm.
        y: position from the first voxel, mm.
        strength: how much the place looks like a vertebra (see ``SpineAxis``).
        front: unit vectors (position, xyz) to the front, across the axis.
    """

    straight: Floats
    disc: Floats
    z: Floats
    x: Floats
    y: Floats
    strength: Floats
    front: npt.NDArray[np.float64]


def profile_along(upright: CTImage, axis: SpineAxis) -> SpineProfile:
    """Sample a canonical volume along the axis and score every place as a disc."""
    course = course_along(axis, STEP_MM)
    line, front, side = course.line, course.front, course.side

    across = np.arange(-_HALF_WIDTH_MM, _HALF_WIDTH_MM + 0.1, _SAMPLE_MM)
    deep = np.arange(-_HALF_DEPTH_MM, _HALF_DEPTH_MM + 0.1, _SAMPLE_MM)
    places = (
        line[:, None, None]
        + deep[None, :, None, None] * front[:, None, None]
        + across[None, None, :, None] * side[:, None, None]
    )
    voxels = np.moveaxis(places / upright.spacing, -1, 0)
    samples = ndimage.map_coordinates(upright.hu, voxels, order=1, mode="nearest", output=np.float32)
    straight = np.clip(samples, -50, 500).mean(axis=2)
    return SpineProfile(
        straight=straight,
        disc=_disc_score(straight, deep) + _foramen_score(upright, line, front, side),
        z=line[:, 2].astype(np.float32),
        x=line[:, 0].astype(np.float32),
        y=line[:, 1].astype(np.float32),
        strength=course.strength,
        front=front,
    )


def _disc_score(straight: Floats, deep: npt.NDArray) -> Floats:
    """How bright the endplates on both sides are above what lies between, for the tilt at which this is greatest.

    A layer that is also darker than the marrow around it counts more; in osteoporosis only the endplates are left.
    """
    rows = np.arange(len(straight), dtype=np.float64)
    columns = np.arange(len(deep))
    near, far = _ENDPLATE_MM
    wide, away = round((far - near) / STEP_MM), round((far + near) / 2 / STEP_MM)
    vertebra = round(_VERTEBRA_MM / STEP_MM)
    best = np.full(len(straight), -np.inf, dtype=np.float32)
    for tilt in _TILTS:
        at = np.broadcast_to(rows[:, None], straight.shape) + tilt * deep[None, :] / STEP_MM
        tilted = ndimage.map_coordinates(
            straight, [at, np.broadcast_to(columns, straight.shape)], order=1, mode="nearest"
        ).mean(axis=1)
        inner = ndimage.uniform_filter1d(tilted, 2 * round(_DISC_HALF_MM / STEP_MM) - 1, mode="nearest")
        bright = ndimage.maximum_filter1d(ndimage.uniform_filter1d(tilted, 3, mode="nearest"), wide, mode="nearest")
        padded = np.pad(bright, away, mode="edge")
        below, above = padded[: len(bright)], padded[2 * away :]
        marrow = ndimage.median_filter(tilted, vertebra, mode="nearest")
        best = np.maximum(best, np.minimum(below, above) - inner + marrow - inner)
    return best


def _foramen_score(upright: CTImage, line: npt.NDArray, front: npt.NDArray, side: npt.NDArray) -> Floats:
    """How much less bone there is beside the canal than in the whole segment: foramina lie behind discs, not bodies."""
    across = np.concatenate([-_PEDICLE_MM, _PEDICLE_MM])
    places = (
        line[:, None, None]
        + _PEDICLE_DEPTHS_MM[None, :, None, None] * front[:, None, None]
        + across[None, None, :, None] * side[:, None, None]
    )
    voxels = np.moveaxis(places / upright.spacing, -1, 0)
    samples = ndimage.map_coordinates(upright.hu, voxels, order=1, mode="nearest", output=np.float32)
    bone = ndimage.gaussian_filter1d(np.clip(samples, 0, 400).mean(axis=(1, 2)), 3.0 / STEP_MM, mode="nearest")
    whole = ndimage.uniform_filter1d(bone, round(_VERTEBRA_MM / STEP_MM), mode="nearest")
    return _FORAMEN_WEIGHT * np.clip(whole - bone, -100, 100)  # type: ignore[no-any-return]
