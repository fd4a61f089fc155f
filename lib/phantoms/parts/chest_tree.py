"""The vessels within the lungs: a branching tree, and a quick way to draw many small discs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.tissues import TISSUES, ids

Floats = npt.NDArray[np.float64]

_STEP_MM = 1.5
_STEMS = 13
"""Segmental vessels that leave each hilum."""
_STEM_RADIUS_MM = 3.4
_STEM_LENGTH_MM = 36.0
_THINNEST_MM = 0.8
_GENERATIONS = 4


@dataclass(frozen=True)
class Tree:
    """Samples along all branches, sorted by height: (n, 3) x, y, z and (n,) radii, reference mm."""

    points: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]

    def cut(self, z: float) -> tuple[Points, npt.NDArray[np.float64]]:
        """Centres and radii of the discs that a slice shows."""
        first, last = np.searchsorted(self.points[:, 2], [z - _STEM_RADIUS_MM * 1.5, z + _STEM_RADIUS_MM * 1.5])
        near, radii = self.points[first:last], self.radii[first:last]
        squared = radii**2 - (near[:, 2] - z) ** 2
        cut = squared > 0
        return near[cut, :2], np.sqrt(squared[cut])


def lung_tree(rng: np.random.Generator, centre: Floats) -> Tree:
    """Vessels of both lungs, spreading from the hila; the drawing leaves out what is not in the lung.

    Args:
        rng: what the branches are drawn by.
        centre: x, y, z of the middle between the hila, reference mm.
    """
    starts, directions = [], []
    for sign in (1.0, -1.0):
        # spread evenly over the directions away from the midline by the golden angle
        share = (np.arange(_STEMS) + 0.5) / _STEMS
        polar, turn = np.arccos(1 - 2 * share), np.pi * (1 + 5**0.5) * np.arange(_STEMS)
        x = sign * (0.25 + np.abs(np.sin(polar) * np.cos(turn)))
        directions.append(np.stack([x, np.sin(polar) * np.sin(turn), np.cos(polar)], axis=1))
        starts.append(np.tile(centre + np.array([sign * 44.0, 2.0, -4.0]), (_STEMS, 1)))
    start, direction = np.concatenate(starts), np.concatenate(directions)
    radius = _STEM_RADIUS_MM * rng.uniform(0.8, 1.15, len(start))
    points, radii = [], []
    for generation in range(_GENERATIONS + 1):
        direction = direction / np.sqrt(np.square(direction).sum(axis=1, keepdims=True))
        bend = rng.normal(0, 0.25, start.shape)
        length = _STEM_LENGTH_MM * 0.8**generation * rng.uniform(0.75, 1.25, len(start))
        share = np.linspace(0, 1, int(np.ceil(length.max() / _STEP_MM)) + 1)[:, None]
        along = share * length
        path = start + along[..., None] * direction + (along * share)[..., None] * bend
        points.append(path.reshape(-1, 3))
        radii.append((radius * (1 - 0.2 * share)).ravel())
        # two or three daughters each
        mother = np.repeat(np.arange(len(start)), np.where(rng.random(len(start)) < 0.4, 3, 2))
        start = path[-1][mother]
        direction = (direction + bend)[mother] + rng.normal(0, 0.55, (len(mother), 3))
        radius = np.maximum(radius[mother] * rng.uniform(0.6, 0.8, len(mother)), _THINNEST_MM)
    samples, sizes = np.concatenate(points), np.concatenate(radii)
    order = np.argsort(samples[:, 2], kind="stable")
    return Tree(samples[order], sizes[order])


def stamp(
    canvas: Canvas, points: Points, radii: npt.NDArray[np.float64], tissue: str, *, over: tuple[str, ...] | str
) -> None:
    """Draw many small discs at once.

    Args:
        canvas: the slice.
        points: (n, 2) centres in reference mm.
        radii: (n,) in reference mm.
        tissue: what they become.
        over: only voxels of these tissues change.
    """
    if not len(points):
        return
    grid, moved = canvas.grid, canvas.warped(points)
    reach_i, reach_j = (int(np.ceil(radii.max() / abs(step))) for step in (grid.dx, grid.dy))
    i = (
        np.rint((moved[:, 0] - grid.x0) / grid.dx).astype(np.intp)[:, None, None]
        + np.arange(-reach_i, reach_i + 1)[:, None]
    )
    j = np.rint((moved[:, 1] - grid.y0) / grid.dy).astype(np.intp)[:, None, None] + np.arange(-reach_j, reach_j + 1)
    x, y = grid.x0 + grid.dx * i - moved[:, 0, None, None], grid.y0 + grid.dy * j - moved[:, 1, None, None]
    inside = x * x + y * y <= (radii * radii)[:, None, None]
    inside &= (i >= 0) & (i < grid.nx) & (j >= 0) & (j < grid.ny)
    i, j = np.broadcast_to(i, inside.shape)[inside], np.broadcast_to(j, inside.shape)[inside]
    changed = ids(over)[canvas.tissue[i, j]]
    canvas.tissue[i[changed], j[changed]] = TISSUES[tissue].id
