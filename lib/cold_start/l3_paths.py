"""Smooth contours by dynamic programming, open or closed, and polar sampling around a centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.floating]


def smooth_path(cost: Floats, *, stiffness: float, max_step: int = 2, closed: bool = False) -> npt.NDArray[np.intp]:
    """The cheapest path that takes one position in every row.

    Args:
        cost: (rows, positions).
        stiffness: price of a step of one position between neighbouring rows; it grows with the square of the step.
        max_step: the largest step between neighbouring rows.
        closed: whether the last row is a neighbour of the first.

    Returns:
        The position in every row.
    """
    rows, positions = cost.shape
    if closed:
        # Going round three times and keeping the middle makes the ends meet.
        return smooth_path(np.vstack([cost] * 3), stiffness=stiffness, max_step=max_step)[rows : 2 * rows]
    steps = np.arange(-max_step, max_step + 1)
    price = stiffness * steps.astype(float) ** 2
    came_from = np.zeros((rows, positions), dtype=np.intp)
    total = cost[0].astype(float)
    padded = np.full(positions + 2 * max_step, np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, positions)
    for row in range(1, rows):
        padded[max_step : max_step + positions] = total
        options = windows + price[:, None]
        best = options.argmin(axis=0)
        came_from[row] = best
        total = options[best, np.arange(positions)] + cost[row]
    path = np.empty(rows, dtype=np.intp)
    path[-1] = int(np.argmin(total))
    for row in range(rows - 1, 0, -1):
        path[row - 1] = path[row] + steps[came_from[row, path[row]]]
    return path


@dataclass(frozen=True, kw_only=True)
class Polar:
    """Rays around a centre on a pixel grid.

    Attributes:
        centre: (x, y) in pixels.
        rays: number of rays; ray 0 points to the back (-y), and angles grow towards +x.
        reach: samples along a ray, one per pixel, the first at the centre.
    """

    centre: tuple[float, float]
    rays: int
    reach: int

    @property
    def angles(self) -> Floats:
        """The angle of every ray, radians, 0 to the back."""
        return np.arange(self.rays) * (2 * np.pi / self.rays)

    def sample(self, array: npt.NDArray) -> Floats:
        """Values (rays, reach) along the rays, linearly interpolated, 0 beyond the grid."""
        radii = np.arange(self.reach)
        x = self.centre[0] + np.sin(self.angles)[:, None] * radii
        y = self.centre[1] - np.cos(self.angles)[:, None] * radii
        return ndimage.map_coordinates(array, [x, y], order=1)  # type: ignore[no-any-return]

    def radius_and_angle(self, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """For every pixel of a grid its distance from the centre and its angle in units of rays."""
        x, y = np.ogrid[: shape[0], : shape[1]]
        dx, dy = x - self.centre[0], y - self.centre[1]
        return np.hypot(dx, dy), np.mod(np.arctan2(dx, -dy), 2 * np.pi) * (self.rays / (2 * np.pi))

    def at(self, per_ray: Floats, ray_of: Floats) -> Floats:
        """A quantity known per ray at fractional rays, linearly."""
        wrapped = np.append(per_ray, per_ray[0])
        return np.interp(ray_of, np.arange(self.rays + 1), wrapped)  # type: ignore[no-any-return]

    def mirrored(self, per_ray: Floats) -> Floats:
        """A quantity per ray, taken from the other side of the mid-line."""
        return per_ray[-np.arange(self.rays) % self.rays]


def sum_below(values: Floats) -> Floats:
    """For every position along the last axis the sum of all values before it."""
    total = np.cumsum(values, axis=-1)
    return total - values


def sum_ahead(values: Floats, length: int) -> Floats:
    """For every position along the last axis the sum of the ``length`` values from it on; the last value goes on."""
    padded = np.concatenate([values, np.repeat(values[..., -1:], length, axis=-1)], axis=-1)
    total = np.cumsum(padded, axis=-1)
    return total[..., length - 1 : length - 1 + values.shape[-1]] - (total - padded)[..., : values.shape[-1]]
