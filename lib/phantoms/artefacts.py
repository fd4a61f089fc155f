"""What goes wrong in a scan because of how much the rays are weakened on their way: beam hardening, noise, metal.

Rays are followed on a coarse grid along directions of whole numbers of cells; what they meet is summed in whole
numbers, so that results are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lib.phantoms.textures import Field, spline_taps, spread

_CELL_MM = 6.0
_WATER_PER_MM = 0.0192  # attenuation at the mean energy of 120 kVp
_BONE_HU = 180  # what is brighter hardens the beam like bone

_DIRECTIONS = ((1, 0), (2, 1), (1, 1), (1, 2), (0, 1), (-1, 2), (-1, 1), (-2, 1))
_HORIZONTAL = 4  # the direction whose rays run along x: their number is y
_AVERAGE_PATH = 5.4  # attenuation through the middle of an average abdomen
_TUBE_CURRENT = 0.5  # modulation of the tube current evens out half of the difference (in the exponent)
_STARVED_FROM = 1.9  # relative noise of a row from which streaks show

_CUPPING_HU, _CUPPING_FROM = 5.0, 4.0
_BAND_HU, _BAND_FROM_MM = 0.11, 14.0


@dataclass
class Paths:
    """What the rays through one slice have met.

    Attributes:
        taps: how a coarse grid is spread to the voxels, along x and y.
        water: per direction, for every cell the attenuation of the ray through it, (directions, m, n).
        bone: likewise, mm of dense bone.
    """

    taps: tuple
    water: npt.NDArray[np.float64]
    bone: npt.NDArray[np.float64]

    def noise(self) -> Field:
        """Standard deviation of the noise relative to the middle of an average abdomen, (nx, ny)."""
        variance = _sum(self._variances()) / len(_DIRECTIONS)
        return spread(np.sqrt(variance).astype(np.float32), *self.taps)

    def starved_rows(self) -> Field:
        """How strong horizontal streaks are in each row, (ny,), relative to the noise."""
        row = self._variances()[_HORIZONTAL][0]
        rows = np.sqrt(np.maximum(row - _STARVED_FROM, 0)).astype(np.float32)
        return spread(rows[None, :], (((np.zeros(1, np.intp)), np.ones(1, np.float32)),), self.taps[1])[0]

    def hardening(self, strength: float) -> Field:
        """HU that beam hardening adds: a cup in the middle, dark bands between dense bones; (nx, ny)."""
        mean = _sum(self.water) / len(_DIRECTIONS)
        beyond = np.maximum(self.bone - _BAND_FROM_MM, 0)
        bands = _sum(beyond * beyond) / len(_DIRECTIONS)
        shift = -strength * (_CUPPING_HU * (mean - _CUPPING_FROM) + _BAND_HU * bands)
        return spread(shift.astype(np.float32), *self.taps)

    def _variances(self) -> npt.NDArray[np.float64]:
        """Of the noise in the rays: the fewer photons arrive, the more."""
        x = np.clip((self.water - _AVERAGE_PATH) * _TUBE_CURRENT, -4, 6)
        power = 1 + x / 16  # its 16th power is nearly exp(x), by multiplications alone
        for _ in range(4):
            power = power * power
        return power


class Rays:
    """The rays of one scan.

    Args:
        shape: voxels nx, ny of a slice.
        spacing: voxel size along x and y, mm.
    """

    def __init__(self, shape: tuple[int, int], spacing: tuple[float, float]) -> None:
        self._block = tuple(max(round(_CELL_MM / mm), 1) for mm in spacing)
        self._cells = tuple(max(n // block, 1) for n, block in zip(shape, self._block, strict=True))
        # beyond the last whole block there is, at most, air
        self._block = tuple(min(block, n) for n, block in zip(shape, self._block, strict=True))
        size = tuple(block * mm for block, mm in zip(self._block, spacing, strict=True))
        self._numbers = [_ray_numbers(self._cells, direction) for direction in _DIRECTIONS]
        self._lengths = [float(np.hypot(b * size[0], a * size[1])) for a, b in _DIRECTIONS]
        self._taps = tuple(
            spline_taps(0.5 / block - 0.5, 1 / block, n, cells, periodic=False)
            for n, block, cells in zip(shape, self._block, self._cells, strict=True)
        )

    def trace(self, hu: Field) -> Paths:
        """Follow the rays through a slice of HU (nx, ny)."""
        (m, n), (a, b) = self._cells, self._block
        whole = np.clip(hu[: m * a, : n * b], -1000, 3000).astype(np.int32)
        water = _block_sums(whole, a, b) + 1000 * a * b
        bone = _block_sums(np.maximum(whole - _BONE_HU, 0), a, b)
        met = [np.empty((len(_DIRECTIONS), m, n)) for _ in range(2)]
        for d, (number, length) in enumerate(zip(self._numbers, self._lengths, strict=True)):
            for result, what, unit in zip(met, (water, bone), (_WATER_PER_MM, 1.0), strict=True):
                sums = np.bincount(number.ravel(), weights=what.ravel())
                result[d] = (sums * (length * unit / (1000.0 * a * b)))[number]
        return Paths(self._taps, met[0], met[1])


def _sum(fields: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum over the first axis, one after the other."""
    total = fields[0].copy()
    for field in fields[1:]:
        total += field
    return total


def _block_sums(whole: npt.NDArray[np.int32], a: int, b: int) -> npt.NDArray[np.int64]:
    """Sums over blocks of a by b voxels."""
    m, n = whole.shape[0] // a, whole.shape[1] // b
    return whole.reshape(m, a, n * b).sum(axis=1).reshape(m, n, b).sum(axis=2)  # type: ignore[no-any-return]


@lru_cache(maxsize=512)
def _ray_numbers(cells: tuple[int, int], direction: tuple[int, int]) -> npt.NDArray[np.intp]:
    """For every cell the number, from 0, of the ray through it; a direction (a, b) runs along (b, -a)."""
    a, b = direction
    number = a * np.arange(cells[0])[:, None] + b * np.arange(cells[1])[None, :]
    return number - number.min()  # type: ignore[no-any-return]


_METAL_FROM = 3200
_METAL_CELL_MM = 1.5
_ANGLES = 120
_UNIT_BITS = 12
_UNIT = 1 << _UNIT_BITS
_FAN = np.rint(
    _UNIT * np.stack([part(np.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES) for part in (np.cos, np.sin)], axis=1)
).astype(np.intp)
"""Across the rays of every direction of the half circle, in whole numbers: 4096 to a cell."""
_OPAQUE, _DARKEST = 150.0, 9000.0  # from where more metal on a ray no longer adds as much error
_SHADOW_HU, _STARVED_HU = 9.0, 300.0
_LIMIT_HU = 600.0


def metal_streaks(hu: Field, spacing: tuple[float, float], rng: np.random.Generator) -> Field | None:
    """HU that metal adds elsewhere: dark bands between its pieces and bright and dark streaks around them.

    The error of the rays through metal is filtered and back-projected as a scanner does it: it grows faster than the
    path through metal, and what is too much on rays through two pieces is missing on all others.

    Args:
        hu: (nx, ny) ideal HU; what is above 3200 is metal, and the more the denser.
        spacing: voxel size along x and y, mm.
        rng: random numbers.

    Returns:
        (nx, ny), or None without metal.
    """
    is_metal = hu > _METAL_FROM
    if not is_metal.any():
        return None
    block = max(round(_METAL_CELL_MM / spacing[0]), 1)
    nx, ny = hu.shape
    m, n = -(-nx // block), -(-ny // block)
    dense = np.zeros((m * block, n * block), np.int32)
    dense[:nx, :ny] = np.clip(hu - (_METAL_FROM - 1000), 0, 20000).astype(np.int32) * is_metal
    rays = _wrong_rays(_block_sums(dense, block, block), spacing[0] / (block * 1000.0), rng)
    x, y = np.arange(m), np.arange(n)
    error, part, number = np.zeros((m, n), np.float32), np.empty((m, n), np.float32), np.empty((m, n), np.intp)
    for (a, b), ray in zip(_FAN, rays, strict=True):
        np.add((a * x + m * _UNIT)[:, None], (b * y)[None, :], out=number)
        np.right_shift(number, _UNIT_BITS, out=number)
        error += ray.take(number, mode="clip", out=part)
    limited: Field = np.clip(error, -_LIMIT_HU, _LIMIT_HU)
    return np.repeat(np.repeat(limited, block, axis=0), block, axis=1)[:nx, :ny]


def _wrong_rays(metal: npt.NDArray[np.int64], unit: float, rng: np.random.Generator) -> Field:
    """What every ray adds to the image where it runs.

    Args:
        metal: (m, n) sums of HU.
        unit: mm of metal of 1000 HU that one of it stands for on a ray.
        rng: random numbers.

    Returns:
        (directions, rays), HU; rays are numbered from m cells before the corner of the grid on.
    """
    m, n = metal.shape
    count = 2 * m + n + 2
    i, j = np.nonzero(metal)
    number = (_FAN[:, :1] * i + _FAN[:, 1:] * j + m * _UNIT) >> _UNIT_BITS
    number += count * np.arange(_ANGLES)[:, None]
    met = np.bincount(number.ravel(), weights=np.tile(metal[i, j], _ANGLES), minlength=_ANGLES * count)
    path = _averaged(_averaged(met.reshape(_ANGLES, count) * unit))
    shadow = path * path / (1 + path / _OPAQUE)
    shadow = shadow / (1 + shadow / _DARKEST)
    noise = rng.integers(-128, 128, path.shape) / 74.0
    starved = np.sqrt(path / (1 + path / _OPAQUE)) * noise
    wrong = _ramp_filtered(_averaged(_STARVED_HU * starved - _SHADOW_HU * shadow))
    return (wrong / _ANGLES).astype(np.float32)


def _ramp_filtered(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What filtered back-projection does to projections (directions, rays): what it adds to one ray others lack."""
    result = values.copy()
    # beyond the outermost metal there is nothing to filter
    there = np.flatnonzero(values.any(axis=0))
    low, high = int(there[0]), int(there[-1]) + 1
    inner, count = values[:, low:high], values.shape[1]
    for k in range(1, count, 2):
        weight = 4 / (np.pi**2 * k**2)
        part = weight * inner
        first, last = max(low - k, 0), max(high - k, 0)
        result[:, first:last] -= part[:, high - low - (last - first) :]
        first, last = min(low + k, count), min(high + k, count)
        result[:, first:last] -= part[:, : last - first]
    return result


def _averaged(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each value's average with its neighbours, (directions, rays)."""
    result = values * 0.5
    result[:, 1:] += 0.25 * values[:, :-1]
    result[:, :-1] += 0.25 * values[:, 1:]
    return result
