"""The inner surface of the wall of the trunk: what lies inside are organs and visceral fat, what lies outside is wall.

In every axial slice the surface is a closed curve around a centre, found along rays by dynamic programming; curves of
neighbouring slices pull at each other. A ray pays for gas and fat in the wall, for bone in the cavity, and for soft
tissue by its place: near the outer surface or beside spine and pelvis it is rather muscle, deep it is rather organ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.anatomy.hounsfield import FAT
from lib.cold_start.body_grid import Mask, dilated, eroded

RAYS = 180
STEP_MM = 2.0
LONGEST_MM = 280.0
_NEVER = np.float32(1e3)


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """What the search needs to know, all on the coarse grid in RAS order.

    Attributes:
        hu: CT.
        body: the trunk without arms.
        bone: bone with its marrow.
        contrast: vessels and viscera filled with contrast agent.
        slices: the slices that have a cavity.
        spacing: voxel size (mm).
    """

    hu: NDArray[np.float32]
    body: Mask
    bone: Mask
    contrast: Mask
    slices: NDArray[np.bool_]
    spacing: NDArray[np.float64]

    @cached_property
    def below_skin(self) -> Mask:
        """The trunk without skin and the voxels that share it."""
        return eroded(self.body, 4.0, np.array([self.spacing[0], self.spacing[1], 1e6]))

    @cached_property
    def core(self) -> Mask:
        """Soft tissue, gas and bone under the skin, without the small vessels and strands of subcutaneous fat."""
        inside = ((self.hu > FAT.high) | (self.hu < FAT.low) | self.bone) & self.below_skin
        pieces = cc3d.connected_components(inside, connectivity=6)
        depth_cm = min(2.0, inside.shape[2] * float(self.spacing[2]) / 10)
        keep = np.bincount(pieces.ravel()) * float(np.prod(self.spacing)) / 1000 >= 1.5 * depth_cm
        keep[0] = False
        return keep[pieces]  # type: ignore[no-any-return]


def musculoskeletal_hull(trunk: Trunk, points: NDArray[np.float64]) -> Mask:
    """The trunk without skin and subcutaneous fat: what lies no farther from the centre than the outermost muscle.

    Over the front of the belly, where muscle thins out to a sheet, the radius is bridged from side to side.
    """
    core = trunk.core
    hull = core.copy()
    used = np.flatnonzero(np.isfinite(points[:, 0]))
    if used.size == 0:
        return hull
    rays = np.arange(RAYS)
    outer = np.zeros((used.size, RAYS))
    polar = [_polar(trunk, points[k]) for k in used]
    for row, k in enumerate(used):
        ray, distance = polar[row]
        np.maximum.at(outer[row], np.rint(ray[core[:, :, k]]).astype(int) % RAYS, distance[core[:, :, k]])
    bridged = ndimage.grey_closing(outer, (1, 31), mode="wrap")
    ahead = np.abs(rays - RAYS / 4) < RAYS / 5
    outer[:, ahead] = bridged[:, ahead]
    for row, k in enumerate(used):
        ray, distance = polar[row]
        hull[:, :, k] |= distance <= _at_rays(outer[row], ray)
    return hull & trunk.below_skin


def _polar(trunk: Trunk, centre: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For every voxel of a slice the ray it lies on (fractional) and its distance (mm) from the centre."""
    dx = (np.arange(trunk.hu.shape[0]) + 0.5)[:, None] * trunk.spacing[0] - centre[0]
    dy = (np.arange(trunk.hu.shape[1]) + 0.5)[None, :] * trunk.spacing[1] - centre[1]
    return np.mod(np.arctan2(dy, dx) / (2 * np.pi) * RAYS, RAYS), np.hypot(dx, dy)


def _at_rays(radius: NDArray[np.float64], ray: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed curve, interpolated at fractional rays."""
    closed_curve = np.append(radius, radius[0])
    return np.interp(ray.ravel(), np.arange(RAYS + 1), closed_curve).reshape(ray.shape)


def centres(trunk: Trunk) -> NDArray[np.float64]:
    """A point (mm) inside the cavity for every slice: midway between the bone behind and the wall or bone in front."""
    core = trunk.core
    points = np.full((core.shape[2], 2), np.nan)
    x = (np.arange(core.shape[0]) + 0.5) * trunk.spacing[0]
    y = (np.arange(core.shape[1]) + 0.5) * trunk.spacing[1]
    for k in np.flatnonzero(trunk.slices & core.any(axis=(0, 1))):
        along_x = core[:, :, k].any(axis=1)
        middle = 0.5 * (x[along_x].min() + x[along_x].max())
        band = np.abs(x - middle) < 18
        rows = core[band, :, k].any(axis=0)
        if not rows.any():
            continue
        bone = trunk.bone[band, :, k].sum(axis=0) * trunk.spacing[0] > 6
        ends = np.concatenate([[y[rows].min()], y[bone], [y[rows].max()]])
        widest = int(np.argmax(np.diff(ends)))
        back, front = ends[widest], ends[widest + 1]
        points[k] = middle, 0.5 * (back + front)
    return smoothed_over_slices(points, float(trunk.spacing[2]), 12.0)


def smoothed_over_slices(points: NDArray[np.float64], slice_mm: float, sigma_mm: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the first axis that leaves out rows that are NaN."""
    known = np.isfinite(points)
    sigma = sigma_mm / slice_mm
    total = ndimage.gaussian_filter1d(np.where(known, points, 0.0), sigma, axis=0, mode="constant", truncate=6)
    weight = ndimage.gaussian_filter1d(known.astype(float), sigma, axis=0, mode="constant", truncate=6)
    return np.where(known, total / np.maximum(weight, 1e-9), np.nan)  # type: ignore[no-any-return]


def find_cavity(trunk: Trunk) -> tuple[Mask, float]:
    """The cavity of chest, abdomen and pelvis on the coarse grid.

    Returns:
        The cavity, and the share of its surface (0 to 1) at which no edge from fat or gas to soft tissue was seen.
    """
    points = centres(trunk)
    hull = musculoskeletal_hull(trunk, points)
    cavity = np.zeros(hull.shape, bool)
    used = np.flatnonzero(np.isfinite(points[:, 0]))
    if used.size == 0:
        return cavity, 0.0
    cost, edge = _ray_costs(trunk, hull, points, used)
    radius = _surface(cost, float(trunk.spacing[2]))
    for row, k in enumerate(used):
        ray, distance = _polar(trunk, points[k])
        cavity[:, :, k] = distance < _at_rays(radius[row] * STEP_MM, ray)
    near_edge = ndimage.maximum_filter1d(edge, 5, axis=2)
    at = np.clip(np.rint(radius).astype(int), 0, edge.shape[2] - 1)[..., np.newaxis]
    unseen = float(np.mean(np.take_along_axis(near_edge, at, axis=2) < 0.3))
    return cavity & hull, unseen


def _ray_costs(
    trunk: Trunk, hull: Mask, points: NDArray[np.float64], used: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cost of ending the cavity at every sample of every ray, and the edges seen, (slices, rays, samples)."""
    angle = np.arange(RAYS) * 2 * np.pi / RAYS
    r = np.arange(0, LONGEST_MM, STEP_MM)
    si, sj = trunk.spacing[:2]

    ribs, stout = _slender_and_stout(trunk, points)
    cage = _cage(ribs, trunk.spacing) & (trunk.hu > FAT.high) | ribs
    in_plane = [float(si), float(sj)]
    depth = _depth(hull, in_plane)
    prior = _muscle_prior(trunk, depth, stout, points, used)

    cost = np.empty((used.size, RAYS, r.size), np.float32)
    edges = np.empty_like(cost)
    for row, k in enumerate(used):
        i = (points[k, 0] + r[None, :] * np.cos(angle)[:, None]) / si - 0.5
        j = (points[k, 1] + r[None, :] * np.sin(angle)[:, None]) / sj - 0.5
        at = np.array([i, j])

        def sample(volume: NDArray, at: NDArray = at, k: int = int(k), **options: float) -> NDArray[np.float32]:
            return ndimage.map_coordinates(volume[:, :, k].astype(np.float32), at, order=1, mode="constant", **options)

        hu = sample(trunk.hu, cval=-1000)
        inside = sample(hull) > 0.5
        hard = (sample(trunk.bone) > 0.5) | (sample(cage) > 0.5)
        gas = hu < FAT.low
        fat = (hu <= FAT.high) & ~gas

        left, right = _outlet(trunk, stout[:, :, k], points[k])
        aside = r[None, :] * np.cos(angle)[:, None]
        hard |= (aside < left) | (aside > right)
        beyond = np.logical_or.accumulate(hard, axis=1) | ~np.logical_and.accumulate(inside, axis=1)
        behind_rib = ndimage.maximum_filter1d(sample(cage), 11, axis=1, origin=-5) > 0.5
        soft = sample(prior)
        soft = np.where(behind_rib, np.maximum(soft, 0.6), soft)
        # Fat just under the outer surface is rather what lies between the muscles of the wall.
        fatty = np.clip((sample(depth) - 8) / 6, -0.3, 1)
        wall_minus_cavity = np.where(gas, 4.0, np.where(fat, fatty, soft))
        wall_minus_cavity[sample(trunk.contrast) > 0.5] = 4.0
        wall_minus_cavity[beyond] = 0

        step = np.clip((np.roll(hu, -1, axis=1) - np.roll(hu, 1, axis=1)) / 80.0, 0, 1)
        from_fat = np.roll(fat | gas, 1, axis=1) | np.roll(fat | gas, 2, axis=1)
        edges[row] = np.where(from_fat | hard, step, 0.0)
        # Behind gas the first edge is the wall of the bowel.
        edges[row][np.roll(gas, 1, axis=1) | np.roll(gas, 2, axis=1)] *= 0.6
        from_outside = np.cumsum(wall_minus_cavity[:, ::-1], axis=1)[:, ::-1]
        cost[row] = from_outside - 4.0 * edges[row]
        passed = np.concatenate([np.zeros((RAYS, 1), bool), beyond[:, :-1]], axis=1)
        cost[row][passed] = _NEVER
    return cost, edges


def _outlet(trunk: Trunk, stout: Mask, centre: NDArray[np.float64]) -> tuple[float, float]:
    """How far (mm) the cavity reaches to either side: where there is a pubic symphysis, no farther than the ischium."""
    x = (np.arange(stout.shape[0]) + 0.5) * trunk.spacing[0] - centre[0]
    y = (np.arange(stout.shape[1]) + 0.5) * trunk.spacing[1]
    symphysis = stout[np.ix_(np.abs(x) < 18, y > centre[1])].any()
    behind = x[stout[:, y < centre[1]].any(axis=1)]
    left, right = behind[behind < -25], behind[behind > 25]
    if not (symphysis and left.size and right.size):
        return -LONGEST_MM, LONGEST_MM
    return float(left.max()), float(right.min())


def _depth(hull: Mask, in_plane: list[float]) -> NDArray[np.float32]:
    """In-plane distance (mm) from the outer surface of the muscles."""
    depth = np.zeros(hull.shape, np.float32)
    for k in np.flatnonzero(hull.any(axis=(0, 1))):
        depth[:, :, k] = ndimage.distance_transform_edt(np.pad(hull[:, :, k], 1), sampling=in_plane)[1:-1, 1:-1]
    return depth


def _muscle_prior(
    trunk: Trunk,
    depth: NDArray[np.float32],
    stout: Mask,
    points: NDArray[np.float64],
    used: NDArray[np.intp],
) -> NDArray[np.float32]:
    """For soft tissue, -1 where its place says muscle, +1 where it says organ."""
    prior = np.clip((depth - 15) / 7, -1, 1)
    x = (np.arange(depth.shape[0]) + 0.5) * trunk.spacing[0]
    y = (np.arange(depth.shape[1]) + 0.5) * trunk.spacing[1]
    for k in used:
        if not stout[:, :, k].any():
            continue
        beside = ndimage.distance_transform_edt(~stout[:, :, k], sampling=list(trunk.spacing[:2]))
        near_bone = np.clip((beside - 20) / 8, -1, 1)
        band = np.abs(x - points[k, 0]) < 22
        bone_rows = y[stout[band, :, k].any(axis=0) & (y < points[k, 1])]
        if bone_rows.size:
            near_bone[np.ix_(band, y > bone_rows.max())] = 1
        prior[:, :, k] = np.minimum(prior[:, :, k], near_bone)
    return prior


def _slender_and_stout(trunk: Trunk, points: NDArray[np.float64]) -> tuple[Mask, Mask]:
    """Ribs, and the rest of the bone: spine, pelvis, femur, sternum.

    Once the spine is cut away every rib is a small piece of its own.
    """
    x = (np.arange(trunk.bone.shape[0]) + 0.5) * trunk.spacing[0]
    aside = np.abs(x[:, None] - np.nan_to_num(points[:, 0])[None, :]) > 40
    lateral = trunk.bone & aside[:, None, :]
    pieces = cc3d.connected_components(lateral, connectivity=26)
    area_cm2 = float(np.prod(trunk.spacing[:2])) / 100
    volume_cm3 = float(np.prod(trunk.spacing)) / 1000
    slender = np.zeros(int(pieces.max()) + 1, bool)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        largest_section = piece.sum(axis=(0, 1)).max() * area_cm2
        slender[number] = piece.sum() * volume_cm3 < 40 and largest_section < 8
    ribs = slender[pieces]
    return ribs, trunk.bone & ~ribs


def _cage(ribs: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Ribs with the spaces between each and the one below it."""
    gap = max(1, round(18 / float(spacing[2])))
    thick = np.pad(dilated(ribs, 4.0, spacing), ((0, 0), (0, 0), (gap, gap)))
    joined = ndimage.binary_closing(thick, np.ones((1, 1, 2 * gap + 1)))[:, :, gap:-gap]
    return eroded(joined, 4.0, spacing) | ribs


def _surface(cost: NDArray[np.float32], slice_mm: float) -> NDArray[np.float64]:
    """The sample at which the cavity ends, per slice and ray, smooth along both."""
    samples = np.arange(cost.shape[2])
    radius = _along_rays(cost)
    if cost.shape[0] == 1:
        return radius.astype(float)
    sigma = max(6.0 / slice_mm, 0.5)
    for _ in range(3):
        pull = ndimage.gaussian_filter1d(radius.astype(float), sigma, axis=0, mode="nearest")
        distance = np.abs(samples[None, None, :] - pull[:, :, None]).astype(np.float32)
        radius = _along_rays(cost + 0.35 * np.minimum(distance, 12))
    return ndimage.gaussian_filter(radius.astype(float), (sigma / 2, 1.0), mode=("nearest", "wrap"))  # type: ignore[no-any-return]


def _along_rays(cost: NDArray[np.float32], jump: int = 4, jump_cost: float = 0.5) -> NDArray[np.intp]:
    """The cheapest closed curve in every slice by dynamic programming over one and a half turns."""
    rays, samples = cost.shape[1:]
    order = np.arange(-rays // 4, rays + rays // 4) % rays
    total = cost[:, order[0]]
    choices = []
    for ray in order[1:]:
        padded = np.pad(total, ((0, 0), (jump, jump)), constant_values=1e6)
        best = padded[:, jump : jump + samples].copy()
        choice = np.zeros(best.shape, np.int8)
        for shift in [s for s in range(-jump, jump + 1) if s]:
            other = padded[:, jump + shift : jump + shift + samples] + np.float32(jump_cost * abs(shift))
            better = other < best
            best[better] = other[better]
            choice[better] = shift
        choices.append(choice)
        total = best + cost[:, ray]
    rows = np.arange(cost.shape[0])
    at = np.argmin(total, axis=1)
    curve = np.empty((cost.shape[0], order.size), np.intp)
    curve[:, -1] = at
    for step in range(len(choices) - 1, -1, -1):
        at = at + choices[step][rows, at]
        curve[:, step] = at
    quarter = rays // 4
    return curve[:, quarter : quarter + rays]
