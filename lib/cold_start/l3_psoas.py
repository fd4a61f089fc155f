"""The psoas beside the vertebra on an axial slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.anatomy.hounsfield import MUSCLE
from lib.cold_start.l3_paths import Polar, smooth_path, sum_ahead, sum_below
from lib.cold_start.l3_spine import Spine

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

_REACH_MM = 38
_NEAR_BODY_MM = 6
_TYPICAL_RADIUS_MM = 14.0


@dataclass(frozen=True, kw_only=True)
class Psoas:
    """One psoas.

    Attributes:
        mask: its pixels on the working grid.
        seen: 0..1, the share of its outline at which it ends in fat, bone or the back's muscles.
    """

    mask: Mask
    seen: float


def find_psoas(muscle: Floats, alike: Floats, hu: Floats, taken: Mask, spine: Spine, *, side: int) -> Psoas:
    """Outline one psoas by a closed contour around the thickest muscle beside the vertebra.

    Args:
        muscle: working grid, 0..1, how much a pixel has the HU of muscle.
        alike: the same grid, 0..1, how much a pixel resembles this patient's muscle.
        hu: the same grid, HU, denoised.
        taken: pixels that belong to bone, to the canal or to other muscles.
        spine: the vertebra.
        side: -1 for smaller x, +1 for larger x.
    """
    nothing = Psoas(mask=np.zeros(muscle.shape, dtype=bool), seen=0.0)
    free = np.where(taken, 0.0, muscle)
    x, y = np.ogrid[: free.shape[0], : free.shape[1]]
    depth = np.minimum(ndimage.distance_transform_edt(free > 0.5), 12.0)
    from_body_x = (side * (x - spine.centre[0]) - spine.half_width - 11.0) / 9.0
    from_body_y = (y - spine.centre[1] + 5.0) / 10.0
    away = from_body_x**2 + from_body_y**2
    seed = depth - 2.5 * away
    seed[(free <= 0.5) | (away > 7) | (side * (x - spine.centre[0]) < 0.6 * spine.half_width)] = -np.inf
    spot = np.unravel_index(int(np.argmax(seed)), seed.shape)
    if not np.isfinite(seed[spot]):
        return nothing

    polar = Polar(centre=(float(spot[0]), float(spot[1])), rays=120, reach=_REACH_MM + 8)
    rays = polar.sample(free * (0.3 + 0.7 * alike))
    smooth = polar.sample(np.clip(hu, -100.0, MUSCLE.high))
    valley = ndimage.gaussian_filter1d(smooth, 1.5, axis=1, order=2)
    gap = 1.0 - rays
    cost = sum_below(gap) + 0.5 * sum_ahead(rays, 5) - 0.2 * np.clip(valley, 0, 8)
    cost = cost[:, : _REACH_MM + 1]
    first = cost.argmin(axis=1)
    ends = sum_ahead(gap, 4)[np.arange(polar.rays), first] > 2.5
    radius = float(np.median(first[ends])) if ends.sum() > 20 else _TYPICAL_RADIUS_MM
    radius = float(np.clip(radius, 6.0, 22.0))
    larger = (np.arange(_REACH_MM + 1) - radius) / radius
    path = smooth_path(cost + 1.2 * larger**2, stiffness=0.6, max_step=2, closed=True)
    end = sum_ahead(gap, 4)[np.arange(polar.rays), path] > 2.0
    contour = ndimage.gaussian_filter1d(path.astype(float), 1.0, mode="wrap")
    distance, ray = polar.radius_and_angle(free.shape)
    mask = (distance <= polar.at(contour, ray) + 0.5) & (free > 0.5)
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == labels[spot]
    if not (mask & ndimage.binary_dilation(spine.body | spine.bone, iterations=_NEAR_BODY_MM)).any():
        return nothing
    return Psoas(mask=mask, seen=float(end.mean()))
