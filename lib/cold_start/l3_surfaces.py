"""Where the muscles of the trunk end on an axial slice: outer surface, inner surface of the wall, front of the back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull

from lib.anatomy.hounsfield import BONE
from lib.cold_start.l3_paths import Polar, smooth_path, sum_ahead, sum_below
from lib.cold_start.l3_spine import Spine

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

RAYS = 360
_SKIN_MM = 3
GAS_HU = -300.0
_THICKEST_WALL_MM = 40
# Typical thickness of the lateral wall and of the rectus, where nothing in the picture tells.
_LATERAL_WALL_MM = 15.0
_RECTUS_MM = 10.0


@dataclass(frozen=True, kw_only=True)
class Wall:
    """The abdominal wall around the trunk, per ray.

    Attributes:
        polar: the rays.
        outer: radius of the outer surface of the muscles, mm.
        thickness: thickness of the wall along the ray, mm.
        seen: 0..1, how clearly the inner surface is seen.
        gaps: share of rays on which no muscle was found under the subcutaneous fat.
    """

    polar: Polar
    outer: Floats
    thickness: Floats
    seen: Floats
    gaps: float


def find_wall(dense: Floats, alike: Floats, hu: Floats, inside: Mask, spine: Spine) -> Wall:
    """Find both surfaces of the abdominal wall by rays from the middle of the abdomen.

    Args:
        dense: working grid, 0..1, how much a pixel is no fat and no gas.
        alike: the same grid, 0..1, how much a pixel resembles this patient's muscle.
        hu: the same grid, HU, denoised.
        inside: what lies inside the skin.
        spine: the vertebra.
    """
    centre = (float(inside.shape[0] // 2), spine.centre[1] + 25.0)
    polar = Polar(centre=centre, rays=RAYS, reach=int(0.71 * inside.shape[0]))
    rays, along = polar.sample(dense), polar.sample(hu)
    under_skin = polar.sample(ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]) > _SKIN_MM
    outer, gaps = _outer_surface(polar, rays, along, under_skin)
    thickness, seen = _thickness(polar, np.maximum(polar.sample(alike), along > BONE.low), along, outer)
    return Wall(polar=polar, outer=outer, thickness=thickness, seen=seen, gaps=gaps)


def _outer_surface(polar: Polar, rays: Floats, hu: Floats, under_skin: Mask) -> tuple[Floats, float]:
    dense = np.where(under_skin, rays, 0.0)
    count, reach = rays.shape
    every = np.arange(count)
    limit = np.where(under_skin.any(axis=1), reach - 1 - under_skin[:, ::-1].argmax(axis=1), 0)
    base = np.minimum(_rough_outline(polar, dense), limit)

    # Neither muscle nor gas lies outside the muscles; just inside them there is no fat.
    outside = (dense + 2.0 * (under_skin & (hu < GAS_HU)))[:, ::-1].cumsum(axis=1)[:, ::-1]
    within = sum_below(1.0 - rays)
    offsets = np.arange(-15, 16)
    at = np.clip(np.round(base).astype(int)[:, None] + offsets, 0, reach - 1)
    rows = every[:, None]
    cost = outside[rows, at] - dense[rows, at] + within[rows, at] - within[rows, np.clip(at - 7, 0, reach - 1)]
    cost += 0.01 * offsets**2 + np.where(at > limit[:, None], 50.0, 0.0)
    path = smooth_path(cost, stiffness=1.5, max_step=3, closed=True)
    outer = at[every, path]
    missing = within[every, outer] - within[every, np.clip(outer - 5, 0, reach - 1)] > 3
    return ndimage.gaussian_filter1d(outer + 0.5, 1.0, mode="wrap"), float(missing.mean())


def _rough_outline(polar: Polar, dense: Floats) -> Floats:
    """A smooth curve through the outermost muscle of every ray that bridges gaps, such as the linea alba, outwards."""
    count, reach = dense.shape
    run = ndimage.uniform_filter1d(dense, 5, axis=1) > 0.75
    found = run.any(axis=1)
    guess = np.where(found, reach - 1 - run[:, ::-1].argmax(axis=1) + 2, 0).astype(float)
    calm = ndimage.median_filter(guess, 11, mode="wrap")
    guess = np.where(np.abs(guess - calm) > 6, calm, guess)
    # In front and at the sides the trunk is convex, so what lies far inside the hull is a gap with bowel behind it.
    hull = _convex_hull_radius(polar, calm)
    beside = np.cos(polar.angles) < 0.35
    gap = beside & (guess < hull - 6.0)
    guess = np.where(gap, hull, guess)
    weight = np.where(gap, 0.4, found.astype(float))
    waves = np.hstack(
        [np.ones((count, 1))] + [f(n * polar.angles)[:, None] for n in range(1, 11) for f in (np.cos, np.sin)]
    )
    base = guess
    for _ in range(4):
        root = np.sqrt(weight + 1e-3)[:, None]
        base = waves @ np.linalg.lstsq(waves * root, guess * root[:, 0], rcond=None)[0]
        weight = np.where(gap, 0.4, found) / (1 + ((guess - base) / 6.0) ** 2)
    return base


def _convex_hull_radius(polar: Polar, radius: Floats) -> Floats:
    """The radius, per ray, of the convex hull of the curve ``radius``."""
    points = np.column_stack([np.sin(polar.angles), np.cos(polar.angles)]) * np.maximum(radius, 1.0)[:, None]
    corners = np.unique(ConvexHull(points).vertices)
    following = np.roll(corners, -1)
    result = np.empty(polar.rays)
    for start, end in zip(corners, following, strict=True):
        rays = np.arange(start, end if end > start else end + polar.rays) % polar.rays
        (ax, ay), (bx, by) = points[start], points[end]
        sine, cosine = np.sin(polar.angles[rays]), np.cos(polar.angles[rays])
        result[rays] = (ax * by - ay * bx) / (sine * (by - ay) - cosine * (bx - ax))
    return result


def _thickness(polar: Polar, rays: Floats, hu: Floats, outer: Floats) -> tuple[Floats, Floats]:
    count, reach = rays.shape
    depth = np.arange(_THICKEST_WALL_MM + 20)
    at = np.clip(np.floor(outer).astype(int)[:, None] - depth, 0, reach - 1)
    rows = np.arange(count)[:, None]
    dense, values = rays[rows, at], np.clip(hu[rows, at], -120.0, 120.0)
    gap = 1.0 - dense

    # Fat taken into the wall costs, and so does muscle left behind it.
    cost = sum_below(gap) + 0.6 * sum_ahead(dense, 8)
    # A thin dark line, or just a drop in HU, between wall and liver or bowel is a hint.
    smooth = ndimage.gaussian_filter1d(values, 1.5, axis=0, mode="wrap")
    valley = ndimage.gaussian_filter1d(smooth, 1.5, axis=1, order=2)
    cost -= np.clip(valley, 0, 8) * 0.25
    cost = cost[:, : _THICKEST_WALL_MM + 1]

    front = np.abs(np.angle(np.exp(1j * (polar.angles - np.pi))))
    typical = _RECTUS_MM + (_LATERAL_WALL_MM - _RECTUS_MM) / (1 + np.exp(-(front - 0.75) / 0.15))
    first = cost.argmin(axis=1)
    behind = sum_ahead(gap, 6)[np.arange(count), first]
    ahead = sum_below(gap)[np.arange(count), first]
    seen = np.clip((behind - 2.0) / 3.0, 0, 1) * (first >= 3) * np.exp(-0.15 * ahead)
    # What looks thicker than a wall is rather a wall with an organ behind it.
    seen /= 1 + (np.clip(first - typical - 9.0, 0, None) / 4.0) ** 2

    expected = _spread(first.astype(float), seen, typical, polar)
    for _ in range(2):
        off = np.abs(first - expected)
        trust = seen / (1 + (off / 5.0) ** 2)
        expected = _spread(first.astype(float), trust, typical, polar)
    pull = 0.02 + 0.10 * (1 - seen[:, None])
    total = cost + pull * (depth[None, : cost.shape[1]] - expected[:, None]) ** 2
    path = smooth_path(total, stiffness=1.2, max_step=2, closed=True).astype(float)
    return ndimage.gaussian_filter1d(path, 1.5, mode="wrap"), seen


def _spread(values: Floats, weights: Floats, typical: Floats, polar: Polar) -> Floats:
    """Values per ray, filled in from near rays, then from the other side, then from what is typical."""
    top = np.zeros_like(values)
    bottom = np.zeros_like(values)
    for width, share in ((3.0, 1.0), (8.0, 0.2), (20.0, 0.03)):
        for side, worth in ((1.0, 1.0), (-1.0, 0.15)):
            v, w = (values, weights) if side > 0 else (polar.mirrored(values), polar.mirrored(weights))
            top += share * worth * ndimage.gaussian_filter1d(v * w, width, mode="wrap")
            bottom += share * worth * ndimage.gaussian_filter1d(w, width, mode="wrap")
    return (top + 0.004 * typical) / (bottom + 0.004)


def front_of_back(dense: Floats, fat: Floats, spine: Spine) -> Floats:
    """For every column of the working grid the y up to which the muscles of the back reach forwards.

    Beside the vertebra that is the front of quadratus lumborum; behind it, the back of the arch.

    Args:
        dense: working grid, 0..1, how much a pixel is no fat and no gas; bone counts as dense.
        fat: the same grid, 0..1, fat within the outer surface of the muscles.
        spine: the vertebra.
    """
    columns = np.arange(dense.shape[0])
    off = np.abs(columns - spine.centre[0])
    front = np.full(dense.shape[0], spine.back - 18.0)
    size = spine.half_width / 25.0
    edge = spine.half_width * 0.9
    expected = spine.back - (8.0 + 0.28 * np.clip(off - edge, 0, None)) * size
    low, high = int(max(spine.back - 60, 0)), int(spine.back + 25)
    heights = np.arange(low, high)
    block = dense[:, low:high]
    # Muscle left in front costs, and so does fat just behind; the kidney lies in front, so the former costs less.
    cost = 0.8 * sum_ahead(block, 6) + sum_ahead((1 - block)[:, ::-1], 6)[:, ::-1]
    cost += ((heights[None, :] - expected[:, None]) / 9.0) ** 2 * 0.5
    # Between the muscles of the back there is little fat; much of it means that the path runs in front of the kidney.
    cost += 0.5 * np.clip(sum_below(fat)[:, low:high] - 11.0, 0, None)
    for side in (-1, 1):
        order = columns[(side * (columns - spine.centre[0]) >= edge) & (off <= 125)]
        if side < 0:
            order = order[::-1]
        if len(order) > 2:
            path = smooth_path(cost[order], stiffness=1.0, max_step=2)
            front[order] = ndimage.gaussian_filter1d(heights[path].astype(float), 2.0, mode="nearest")
    bony = spine.bone & ~spine.body
    for column in columns[off < edge]:
        hit = np.flatnonzero(bony[column, : int(spine.back) + 1])
        hit = hit[hit > spine.back - 45]
        share = off[column] / edge
        front[column] = hit[0] if len(hit) else spine.back - 18.0 + 10.0 * share
    middle = off < edge
    front[middle] = ndimage.minimum_filter1d(front, 3)[middle]
    return front
