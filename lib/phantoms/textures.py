"""Smooth random patterns in space, the same on every machine: value noise on a lattice, cut slice by slice.

Only additions and multiplications touch the voxels, each rounded the same everywhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Grid

Field = npt.NDArray[np.float32]
"""(nx, ny), a value for every voxel of a slice."""
Taps = tuple[tuple[npt.NDArray[np.intp], Field], ...]
"""Per tap the lattice index and the weight of every sample, both (n,)."""

_CELLS = (64, 64, 32)
# mean over all places of the sum of squared weights of a quadratic B-spline
_SPLINE_POWER = 0.55
_STREAK_CELLS = 4
_BYTE_VARIANCE = (256**2 - 1) / 12


@lru_cache(maxsize=1024)
def spline_taps(first: float, step: float, count: int, cells: int, *, periodic: bool = True) -> Taps:
    """Indices and weights of the quadratic B-spline through a lattice.

    Args:
        first: place of the first sample, in lattice cells.
        step: distance of the samples, in lattice cells.
        count: number of samples.
        cells: size of the lattice.
        periodic: whether the lattice begins again at its end; if not, its last value goes on.
    """
    place = first + step * np.arange(count, dtype=np.float64)
    nearest = np.floor(place + 0.5)
    f = place - nearest
    weights = (0.5 * (0.5 - f) * (0.5 - f), 0.75 - f * f, 0.5 * (0.5 + f) * (0.5 + f))
    indices = [nearest.astype(np.intp) + offset for offset in (-1, 0, 1)]
    return tuple(
        (index % cells if periodic else np.clip(index, 0, cells - 1), weight.astype(np.float32))
        for index, weight in zip(indices, weights, strict=True)
    )


def spread(lattice: Field, x_taps: Taps, y_taps: Taps) -> Field:
    """Interpolate a small (m, n) lattice to all voxels of a slice, (nx, ny)."""
    (j, weight), *rest = y_taps
    rows = lattice[:, j] * weight
    for j, weight in rest:
        rows += lattice[:, j] * weight
    (i, weight), *rest = x_taps
    values = rows[i]
    values *= weight[:, None]
    for i, weight in rest:
        part = rows[i]
        part *= weight[:, None]
        values += part
    return values


class Noise:
    """Smooth noise of mean 0 and standard deviation 1 that repeats after 64, 64 and 32 cells.

    Args:
        rng: random numbers.
        size: size of the pattern along x, y and z, reference mm.
        along: the diagonal, in cells along x and y, along which the pattern is drawn out into streaks.
    """

    def __init__(
        self, rng: np.random.Generator, size: tuple[float, float, float], *, along: tuple[int, int] | None = None
    ) -> None:
        self._size = size
        scale = 1 / np.sqrt(_BYTE_VARIANCE * _SPLINE_POWER**3)
        values = rng.integers(0, 256, _CELLS[::-1]) - 127.5
        if along is not None:
            x, y = along
            rolled = [np.roll(values, (k * y, k * x), axis=(1, 2)) for k in range(_STREAK_CELLS)]
            values = np.sum(rolled, axis=0) / np.sqrt(_STREAK_CELLS)
        self._lattice = (values * scale).astype(np.float32)

    def at(self, grid: Grid, z: float) -> Field:
        """The pattern in a slice at height z, reference mm: (nx, ny)."""
        a, b, c = self._size
        cell = np.zeros(self._lattice.shape[1:], np.float32)
        for k, weight in spline_taps(z / c, 1.0, 1, _CELLS[2]):
            cell += self._lattice[k[0]] * weight[0]
        x_taps = spline_taps(grid.x0 / a, grid.dx / a, grid.nx, _CELLS[0])
        y_taps = spline_taps(grid.y0 / b, grid.dy / b, grid.ny, _CELLS[1])
        return spread(cell.T, x_taps, y_taps)


def ramp(field: Field, low: float | Field, gain: float) -> Field:
    """A field that rises from 0, where the input is `low`, to 1; changes the input."""
    field -= low
    field *= np.float32(gain)
    return np.clip(field, 0, 1, out=field)


def ridge(field: Field, width: float) -> Field:
    """A field that is 1 where the input is 0 and falls to 0 where it is `width` off; changes the input."""
    np.abs(field, out=field)
    field *= np.float32(-1 / width)
    field += np.float32(1)
    return np.maximum(field, 0, out=field)
