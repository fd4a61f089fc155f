"""A simple parametric torso with known endplates: fat, muscle, organs, spine, ribs, sacrum, iliac wings and a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from lib.images import CTImage

CORTEX = 420.0
ENDPLATE_MM = 1.5


@dataclass(frozen=True, kw_only=True)
class Torso:
    """A synthetic CT and where its endplates lie.

    Attributes:
        image: RAS, air around the body.
        inferior_mm: for each vertebra, the height of the centre of its inferior endplate above the lowest slice, mm.
        crest_mm: the height of the iliac crests above the lowest slice, mm.
    """

    image: CTImage
    inferior_mm: dict[str, float]
    crest_mm: float

    def cropped(self, low_mm: float, high_mm: float) -> Torso:
        """The slices between two heights."""
        slice_mm = self.image.spacing[2]
        first, last = max(0, round(low_mm / slice_mm)), min(self.image.shape[2], round(high_mm / slice_mm))
        affine = self.image.affine.copy()
        affine[:3, 3] += affine[:3, 2] * first
        shift = first * slice_mm
        return Torso(
            image=CTImage(hu=self.image.hu[:, :, first:last].copy(), affine=affine),
            inferior_mm={name: z - shift for name, z in self.inferior_mm.items()},
            crest_mm=self.crest_mm - shift,
        )


def make_torso(seed: int, *, lumbar: int = 5, thoracic: int = 5) -> Torso:
    """Build a torso from the hips up to the given number of thoracic vertebrae, its proportions drawn by the seed."""
    rng = np.random.default_rng(seed)
    in_plane, slice_mm = float(rng.choice([2.0, 2.5, 3.0])), float(rng.choice([2.0, 3.0, 5.0]))
    names = [f"L{i}" for i in range(lumbar, 0, -1)] + [f"T{i}" for i in range(12, 12 - thoracic, -1)]
    body_mm, disc_mm = rng.uniform(23, 31), rng.uniform(7, 12)
    shrink = rng.uniform(0.96, 0.99)
    heights = [body_mm * shrink ** max(0, i - 2) for i in range(len(names))]
    gaps = [disc_mm * 0.93**i for i in range(len(names))]

    # The axis, from below the sacrum upwards: sacral slope, lordosis, kyphosis, and some scoliosis.
    length = 130 + sum(heights) + sum(gaps)
    s = np.arange(0.0, length + 60, 1.0)
    s1_top = 110.0
    slope, kyphosis = np.deg2rad(rng.uniform(25, 45)), np.deg2rad(rng.uniform(6, 18))
    above = s - s1_top
    tilt = np.where(above < 0, slope - above * np.deg2rad(0.35), 0.0)
    tilt = np.where(above >= 0, -kyphosis + (slope + kyphosis) * np.exp(-np.clip(above, 0, None) / 50), tilt)
    curve = rng.uniform(-10, 10) * np.sin(np.clip(above, 0, None) / rng.uniform(60, 110))
    y = np.cumsum(np.sin(tilt))
    z = np.cumsum(np.cos(tilt))
    y += -y[int(s1_top) + 90] - rng.uniform(15, 30)
    line = np.stack([curve, y, z], axis=1)

    bodies, inferior = [], {}
    at = s1_top
    for name, height, gap in zip(names, heights, gaps, strict=True):
        bodies.append((name, at + gap, at + gap + height))
        inferior[name] = float(np.interp(at + gap, s, z))
        at += gap + height
    top_mm = float(np.interp(at, s, z)) - 5
    disc_l4_l5 = float(np.interp(bodies[0][2] + gaps[1] / 2, s, z))
    crest = disc_l4_l5 + float(np.clip(rng.normal(6, 8), -8, 20))

    half_width, half_depth = rng.uniform(150, 190), rng.uniform(100, 130)
    grid = [
        np.arange(-half_width - 20, half_width + 20, in_plane),
        np.arange(-half_depth - 45, half_depth + 15, in_plane),
        np.arange(0, top_mm, slice_mm),
    ]
    hu = _soft_tissue(rng, grid, line, half_width, half_depth)
    x3, y3, z3 = np.meshgrid(*grid, indexing="ij", sparse=True)
    near = (np.abs(x3) < 80) & (y3 > y.min() - 75) & (y3 < y.max() + 40) & (z3 > -1)
    places = np.argwhere(near)
    points = np.stack([grid[c][places[:, c]] for c in range(3)], axis=1)
    plate = max(ENDPLATE_MM, slice_mm / 2)
    values = _spine(rng, points, line, bodies=bodies, s1_top=s1_top, plate=plate)
    bony = ~np.isnan(values)
    hu[tuple(places[bony].T)] = values[bony]
    wall = (half_width - 28, half_depth - 22)
    for name, start, stop in bodies:
        if name.startswith("T"):
            index = int(start + 0.65 * (stop - start))
            _draw(hu, grid, _ribs(rng, name, line[index], wall), 5.5)
    _ilia(
        rng,
        hu,
        (x3, y3, z3),
        crest=crest,
        sacrum_y=float(np.interp(s1_top, s, y)),
        sacrum_z=float(np.interp(s1_top, s, z)),
        half_width=half_width,
    )
    hu = ndimage.gaussian_filter(hu, (1.0 / in_plane, 1.0 / in_plane, 0.4))
    hu += rng.normal(0, rng.uniform(5, 25), hu.shape)
    affine = np.diag([in_plane, in_plane, slice_mm, 1.0])
    affine[:3, 3] = grid[0][0], grid[1][0], -500.0
    return Torso(
        image=CTImage(hu=np.clip(hu, -1024, 3000).astype(np.int16), affine=affine), inferior_mm=inferior, crest_mm=crest
    )


def _soft_tissue(rng, grid, line, half_width, half_depth):
    x, y, z = np.meshgrid(*grid, indexing="ij", sparse=True)
    fat = rng.uniform(8, 35)
    hu = np.full(tuple(len(g) for g in grid), -1000.0)
    inside = (x / half_width) ** 2 + (y / half_depth) ** 2 < 1
    muscle = (x / (half_width - fat)) ** 2 + (y / (half_depth - fat)) ** 2 < 1
    cavity = (x / (half_width - fat - 14)) ** 2 + (y / (half_depth - fat - 12)) ** 2 < 1
    hu[np.broadcast_to(inside, hu.shape)] = -105
    hu[np.broadcast_to(muscle, hu.shape)] = 55
    hu[np.broadcast_to(cavity, hu.shape)] = -95
    for _ in range(25):  # bowel and organs, some with contrast
        centre = rng.uniform([-100, -30, 0], [100, 80, grid[2][-1]])
        radii = rng.uniform(12, 40, 3)
        blob = sum(((c - m) / r) ** 2 for c, m, r in zip((x, y, z), centre, radii, strict=True)) < 1
        hu[blob & cavity] = rng.choice([20.0, 50.0, 110.0, 180.0, -300.0])
    centre_x, centre_y = np.interp(grid[2], line[:, 2], line[:, 0]), np.interp(grid[2], line[:, 2], line[:, 1])
    back = (np.abs(x - centre_x) < 75) & (y < centre_y - 12) & (y > centre_y - 62) & muscle
    hu[back] = 50
    for sign in (-1, 1):  # psoas, and aorta or vena cava in front
        psoas = ((x - centre_x - sign * 38) / 16) ** 2 + ((y - centre_y + 4) / 19) ** 2 < 1
        hu[psoas] = 55
        vessel = (x - centre_x - sign * 12) ** 2 + (y - centre_y - 30) ** 2 < 9**2
        hu[vessel] = rng.uniform(40, 300)
        kidney = ((x - sign * 70) / 26) ** 2 + ((y - centre_y) / 28) ** 2 + ((z - 0.75 * grid[2][-1]) / 55) ** 2 < 1
        hu[kidney] = rng.choice([35.0, 200.0])
    table = (np.abs(y + half_depth + 25) < 3) & (np.abs(x) < 200)
    hu[np.broadcast_to(table, hu.shape)] = 150
    return hu


def _spine(rng, points, line, *, bodies, s1_top, plate):
    """HU of the points (n, 3) that belong to spine or sacrum, NaN elsewhere."""
    distance, index = cKDTree(line).query(points, distance_upper_bound=90)
    index = np.minimum(index, len(line) - 2)
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross([0.0, 1.0, 0.0], tangent)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    front = np.cross(tangent, side)
    offset = points - line[index]
    u, v = (offset * side[index]).sum(1), (offset * front[index]).sum(1)
    s = index + (offset * tangent[index]).sum(1)
    marrow, disc = rng.uniform(90, 220), rng.uniform(65, 95)
    process = rng.uniform(34, 48)
    hu = np.full(len(points), np.nan)
    reach = np.isfinite(distance)
    radius = (u / 24) ** 2 + (v / 17) ** 2
    hu[reach & (radius < 1) & (s > s1_top) & (s < bodies[-1][2])] = disc
    hu[reach & (u**2 + (v + 25) ** 2 < 81) & (s > s1_top - 30)] = 25
    for name, start, stop in bodies:
        height, middle = stop - start, (start + stop) / 2
        body = (radius < 1) & (s >= start) & (s <= stop)
        hu[body] = marrow
        hu[body & (radius > 0.85)] = CORTEX
        hu[body & ((s < start + plate) | (s > stop - plate))] = marrow + (CORTEX - marrow) * ENDPLATE_MM / plate
        upper = (s > middle) & (s < stop - 2)
        hu[(np.abs(u) > 10) & (np.abs(u) < 18) & (v > -34) & (v < -12) & upper] = 300
        hu[(np.abs(u) < 17) & (v > -41) & (v < -34) & (s > start - 6) & (s < middle + 4)] = 350
        hu[(np.abs(u) > 12) & (np.abs(u) < 20) & (v > -41) & (v < -28) & (s > start - 12) & (s < start + 6)] = 380
        hu[(np.abs(u) < 4) & (v > -66) & (v < -38) & (s > start - 8) & (s < middle)] = 300
        reach_u = process if name in {"L2", "L3", "L4"} else process - 8
        hu[
            (np.abs(u) > 17) & (np.abs(u) < reach_u) & (np.abs(v + 26) < 4) & (np.abs(s - middle - 4) < 0.2 * height)
        ] = 220
    # The sacrum tapers downwards; its wings reach the ilia at S1 and S2.
    below = s1_top - s
    sacral = (below >= 0) & (below < 105) & reach
    taper = np.clip(1 - below / 130, 0.1, 1)
    sacral_body = sacral & ((u / (26 * taper)) ** 2 + (v / (15 * taper)) ** 2 < 1)
    wing = sacral & (np.abs(u) < 58 * np.clip(1.1 - below / 120, 0.2, 1)) & (v < 2) & (v > -30 * taper) & (below < 75)
    cortex = (v > -2) | (v < -26 * taper) | (below < 2)
    hu[wing] = 0.8 * marrow
    hu[wing & cortex] = 300
    hu[sacral_body] = marrow
    hu[sacral_body & ((below < 1.5) | (np.abs(below - 28) < 2) | (np.abs(below - 54) < 2))] = CORTEX
    hu[(u**2 + (v + 24) ** 2 < 49) & (below > 0) & (below < 60)] = 20
    hu[sacral & (np.abs(u) < 20 * taper) & (v < -32 * taper) & (v > -42 * taper)] = 300
    return hu


def _ribs(rng, name, centre, wall):
    """Points (n, 3) along the two ribs of a thoracic vertebra."""
    number = int(name[1:])
    farthest = {12: rng.uniform(0.75, 1.2), 11: rng.uniform(1.3, 1.8)}.get(number, 2.5)
    fall = rng.uniform(35, 60)
    points = []
    for sign in (-1, 1):
        angle = np.arange(0.35, farthest, 0.008)
        x, y = sign * wall[0] * np.sin(angle), -wall[1] * np.cos(angle)
        z = centre[2] - 8 - fall * (angle - 0.35)
        arc = np.stack([x, y, z], axis=1)
        root = np.array([centre[0] + sign * 18, centre[1] - 16, centre[2]])
        stem = root + np.linspace(0, 1, 60)[:, None] * (arc[0] - root)
        points.extend([stem, arc])
    return np.concatenate(points)


def _draw(hu, grid, points, radius):
    """Set a tube of bone around points."""
    steps = [g[1] - g[0] for g in grid]
    reach = [int(np.ceil(radius / step)) for step in steps]
    offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1).reshape(-1, 3)
    offsets = offsets[(((offsets * steps) ** 2).sum(1)) <= radius**2]
    cells = np.rint((points - [g[0] for g in grid]) / steps).astype(int)
    cells = np.unique(cells, axis=0)
    cells = np.unique((cells[:, None] + offsets[None]).reshape(-1, 3), axis=0)
    cells = cells[((cells >= 0) & (cells < hu.shape)).all(axis=1)]
    hu[tuple(cells.T)] = 280


def _ilia(rng, hu, coordinates, *, crest, sacrum_y, sacrum_z, half_width):
    """Two curved plates from the sacrum's wings outwards, arched at the top, and the hips below."""
    x, y, z = coordinates
    lateral = min(140.0, half_width - 35)
    medial, y_back, y_front = 54.0, sacrum_y - 45, sacrum_y + rng.uniform(25, 45)
    for sign in (-1, 1):
        t = (sign * x - medial) / (lateral - medial)
        middle = y_back + (y_front - y_back) * np.clip(t, 0, 1)
        down = np.clip((crest - z) / 120, 0, 1)
        top = crest - 75 * np.abs(t - 0.6) ** 2 / 0.36 * np.where(t < 0.6, 0.9, 0.8)
        plate = (t > -0.05) & (t < 1 - 0.3 * down) & (z < top) & (z > crest - 150)
        distance = np.abs(y - middle)
        hu[plate & (distance < 7)] = 350
        hu[plate & (distance < 4)] = 180
        hip = (sign * x - 90) ** 2 + (y - sacrum_y - 40) ** 2 + (z - (sacrum_z - 95)) ** 2
        hu[hip < 32**2] = 380
        hu[hip < 24**2] = 250
