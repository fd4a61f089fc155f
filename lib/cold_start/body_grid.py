"""A coarse copy of a CT on which the geometry of the whole body is worked out, and the way back to full resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

COARSE_MM = 3.0

Mask = NDArray[np.bool_]
Shape = tuple[int, int, int]
Box = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Which blocks of voxels make up the coarse voxels.

    Attributes:
        factors: voxels per coarse voxel along each axis.
        fine_shape: shape of the image.
        fine_spacing: its voxel size (mm).
    """

    factors: Shape
    fine_shape: Shape
    fine_spacing: tuple[float, float, float]

    @classmethod
    def of(cls, shape: Shape, spacing: NDArray[np.float64]) -> Grid:
        """The grid whose coarse voxels come near to 3 mm, or stay as they are where the image is coarser."""
        # In the plane rather finer than coarser: muscle and organ are told apart by fat seams of a few millimetres.
        f = [max(1, int(COARSE_MM / float(s) + share)) for s, share in zip(spacing, (0.3, 0.3, 0.5), strict=True)]
        return cls(
            factors=(f[0], f[1], f[2]),
            fine_shape=shape,
            fine_spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        )

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Size of a coarse voxel (mm)."""
        return np.multiply(self.factors, self.fine_spacing)

    @property
    def shape(self) -> Shape:
        """Shape of the coarse volume."""
        s = [-(-n // f) for n, f in zip(self.fine_shape, self.factors, strict=True)]
        return (s[0], s[1], s[2])

    def within(self, box: Box) -> tuple[Grid, Box]:
        """The grid of a box of coarse voxels, and the fine voxels in it."""
        fine = tuple(
            slice(s.start * f, min(s.stop * f, n)) for s, f, n in zip(box, self.factors, self.fine_shape, strict=True)
        )
        n = [s.stop - s.start for s in fine]
        return replace(self, fine_shape=(n[0], n[1], n[2])), fine

    def means(self, fine: NDArray) -> NDArray[np.float32]:
        """Block means of a fine volume, one coarse slice at a time so that no second fine volume is needed."""
        return self._blocks(fine, lambda slab: slab)

    def shares_below(self, fine: NDArray, limit: float) -> NDArray[np.float32]:
        """For every coarse voxel the share of its fine voxels below a limit."""
        return self._blocks(fine, lambda slab: slab < limit)

    def shares_above(self, fine: NDArray, limit: float) -> NDArray[np.float32]:
        """For every coarse voxel the share of its fine voxels above a limit."""
        return self._blocks(fine, lambda slab: slab > limit)

    def _blocks(self, fine: NDArray, prepare: Callable[[NDArray], NDArray]) -> NDArray[np.float32]:
        out = np.empty(self.shape, np.float32)
        fi, fj, fk = self.factors
        pad = [(0, n * f - m) for n, f, m in zip(self.shape[:2], (fi, fj), self.fine_shape[:2], strict=True)]
        for k in range(self.shape[2]):
            slices = prepare(fine[:, :, k * fk : (k + 1) * fk])
            plane = sum((slices[:, :, s].astype(np.float32) for s in range(1, slices.shape[2])), slices[:, :, 0])
            plane = np.pad(plane.astype(np.float32) / slices.shape[2], pad, mode="edge")
            rows = sum((plane[i::fi] for i in range(1, fi)), plane[::fi])
            out[:, :, k] = sum((rows[:, j::fj] for j in range(1, fj)), rows[:, ::fj]) / (fi * fj)
        return out

    def fine_slice(self, coarse: NDArray, k: int) -> NDArray[np.float32]:
        """The fine slice ``k`` of a coarse volume, linearly interpolated between the centres of coarse voxels."""
        low, high, weight = _neighbours(k, self.factors[2], self.shape[2])
        if not (coarse[:, :, low].any() or coarse[:, :, high].any()):
            return np.zeros(self.fine_shape[:2], np.float32)
        slab = coarse[:, :, low] * np.float32(1 - weight) + coarse[:, :, high] * np.float32(weight)
        rows = _interpolation_matrix(self.fine_shape[0], self.factors[0], self.shape[0])
        columns = _interpolation_matrix(self.fine_shape[1], self.factors[1], self.shape[1])
        return rows @ slab @ columns.T  # type: ignore[no-any-return]


def _neighbours(index: int, factor: int, count: int) -> tuple[int, int, float]:
    position = min(max((index + 0.5) / factor - 0.5, 0.0), count - 1.0)
    low = min(int(position), count - 1)
    return low, min(low + 1, count - 1), position - low


@lru_cache(maxsize=8)
def _interpolation_matrix(fine: int, factor: int, coarse: int) -> NDArray[np.float32]:
    matrix = np.zeros((fine, coarse), np.float32)
    for i in range(fine):
        low, high, weight = _neighbours(i, factor, coarse)
        matrix[i, low] += 1 - weight
        matrix[i, high] += weight
    return matrix


def dilated(mask: Mask, mm: float, spacing: NDArray[np.float64]) -> Mask:
    """Everything within ``mm`` of the mask."""
    grown = np.zeros_like(mask)
    if mask.any():
        box = box_around(mask, np.ceil(mm / np.asarray(spacing)).astype(int))
        grown[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= mm
    return grown


def eroded(mask: Mask, mm: float, spacing: NDArray[np.float64]) -> Mask:
    """Everything farther than ``mm`` from outside the mask; beyond the edge of the image counts as inside."""
    if mask.all() or not mask.any():
        return mask.copy()
    shrunk = np.zeros_like(mask)
    box = box_around(mask, np.ones(mask.ndim, int))
    shrunk[box] = mask[box].all() or ndimage.distance_transform_edt(mask[box], sampling=spacing) > mm
    return shrunk


def box_around(mask: Mask, margin: NDArray[np.intp]) -> Box:
    """The part of the volume that holds the mask, which is not empty, and a margin of voxels."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - int(m)), s.stop + int(m)) for s, m in zip(found, margin, strict=True))


def closed(mask: Mask, mm: float, spacing: NDArray[np.float64]) -> Mask:
    """Closing with a ball of radius ``mm``."""
    return eroded(dilated(mask, mm, spacing), mm, spacing) | mask


def opened(mask: Mask, mm: float, spacing: NDArray[np.float64]) -> Mask:
    """Opening with a ball of radius ``mm``."""
    return dilated(eroded(mask, mm, spacing), mm, spacing) & mask


def by_slice(operation: Callable[[Mask], Mask], mask: Mask, *, reach: int = 0) -> Mask:
    """Apply a two-dimensional operation to every axial slice.

    Args:
        operation: what it does does not depend on what is farther than ``reach`` from the mask, and changes nothing
            there.
        mask: a volume.
        reach: voxels.
    """
    done = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        box = box_around(mask[:, :, k], np.array([reach, reach]))
        done[(*box, k)] = operation(mask[(*box, k)])
    return done


def without_holes(mask: Mask) -> Mask:
    """A slice's mask with what it encloses; several times as fast as :func:`scipy.ndimage.binary_fill_holes`."""
    pieces = cc3d.connected_components(np.pad(~mask, 1, constant_values=True), connectivity=4)
    return (pieces != pieces[0, 0])[1:-1, 1:-1]  # type: ignore[no-any-return]


def midpoint(occupied: Mask, positions: NDArray[np.float64]) -> float:
    """The middle between the first and the last occupied position along an axis; 0 where there is none."""
    found = positions[occupied]
    return 0.5 * float(found[0] + found[-1]) if found.size else 0.0
