"""One axial slice in the making: shapes given in millimetres are filled into a grid of tissues."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from lib.phantoms.tissues import TISSUES, ids

Points = npt.NDArray[np.float64]
"""(n, 2): x grows to the patient's right, y to the front, in reference millimetres."""


@dataclass(frozen=True)
class Grid:
    """Where the voxel centres of a slice lie: ``x = x0 + i * dx``, ``y = y0 + j * dy``, reference millimetres."""

    x0: float
    dx: float
    nx: int
    y0: float
    dy: float
    ny: int

    def part(self, window: tuple[slice, slice]) -> Grid:
        """The voxels of a window."""
        (i, i1, _), (j, j1, _) = window[0].indices(self.nx), window[1].indices(self.ny)
        return Grid(self.x0 + i * self.dx, self.dx, i1 - i, self.y0 + j * self.dy, self.dy, j1 - j)


@dataclass(frozen=True)
class Mask:
    """A region of a slice: a boolean array and where its corner lies in the grid; may be empty."""

    i0: int
    j0: int
    inside: npt.NDArray[np.bool_]

    @property
    def window(self) -> tuple[slice, slice]:
        """The part of the grid that the array covers."""
        return slice(self.i0, self.i0 + self.inside.shape[0]), slice(self.j0, self.j0 + self.inside.shape[1])

    def where(self, condition: npt.NDArray[np.bool_]) -> Mask:
        """The part of the region in which a condition, an array of the same shape, holds."""
        return Mask(self.i0, self.j0, self.inside & condition)


class Canvas:
    """A slice at height ``z`` (reference mm). ``tissue`` is the (nx, ny) array of tissue ids, air at first.

    Attributes:
        grid: the voxel centres.
        z: height of the slice, reference mm, 0 at the inferior endplate of L3.
        tissue: ids, changed by the fill methods.
    """

    def __init__(self, grid: Grid, z: float, warp: Callable[[Points, float], Points] | None = None) -> None:
        self.grid = grid
        self.z = z
        self.tissue: npt.NDArray[np.uint8] = np.zeros((grid.nx, grid.ny), np.uint8)
        self._warp = warp

    def warped(self, points: Points) -> Points:
        """Where the body's smooth individual deformation moves points of this slice."""
        return points if self._warp is None else self._warp(points, self.z)

    def polygon(self, points: Points) -> Mask:
        """The voxels whose centre lies in a closed polygon (even-odd rule), after the body's own deformation.

        Args:
            points: (n, 2) corners in reference mm, in either direction of rotation.
        """
        grid = self.grid
        moved = self.warped(points)
        moved = np.concatenate((moved, moved[:1]))
        u, v = (moved[:, 0] - grid.x0) / grid.dx, (moved[:, 1] - grid.y0) / grid.dy
        i0, i1 = max(ceil(u.min()), 0), min(floor(u.max()), grid.nx - 1)
        j0, j1 = max(ceil(v.min()), 0), min(floor(v.max()), grid.ny - 1)
        if i1 < i0 or j1 < j0:
            return Mask(0, 0, np.zeros((0, 0), bool))
        width, height = i1 - i0 + 1, j1 - j0 + 1
        # every edge crosses the columns from `first` up to, but without, `last`
        corner = np.minimum(np.maximum(np.ceil(u), i0), i1 + 1).astype(np.intp)
        first = np.minimum(corner[:-1], corner[1:])
        count = np.abs(corner[1:] - corner[:-1])
        edge = np.repeat(np.arange(len(count)), count)
        column = np.arange(len(edge)) + (first + count - count.cumsum())[edge]
        slope = (v[1:] - v[:-1])[edge] / (u[1:] - u[:-1])[edge]
        row = np.ceil(v[edge] + (column - u[edge]) * slope)
        row = np.minimum(np.maximum(row, j0), j1 + 1).astype(np.intp)
        odd = np.zeros((width, height + 1), np.uint8)
        np.bitwise_xor.at(odd.reshape(-1), (column - i0) * (height + 1) + (row - j0), np.uint8(1))
        inside = np.bitwise_xor.accumulate(odd[:, :height], axis=1)
        return Mask(i0, j0, inside.view(bool))

    def discs(self, points: Points, radii: npt.NDArray[np.float64]) -> Mask:
        """The voxels within any of some discs, such as the cut through an oblique tube.

        Args:
            points: (n, 2) centres in reference mm.
            radii: (n,) in reference mm; discs of radius 0 or less are left out.
        """
        kept = radii > 0
        moved, radii = self.warped(points[kept]), radii[kept]
        if not len(moved):
            return Mask(0, 0, np.zeros((0, 0), bool))
        box = self.box(
            (moved[:, 0] - radii).min(), (moved[:, 0] + radii).max(), (moved[:, 1] - radii).min(),
            (moved[:, 1] + radii).max(),
        )  # fmt: skip
        x, y = self.positions(box)
        for (cx, cy), radius in zip(moved, radii, strict=True):
            box.inside[...] |= (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
        return box

    def box(self, x_low: float, x_high: float, y_low: float, y_high: float) -> Mask:
        """An empty mask that covers a rectangle given in reference mm (as far as the grid goes)."""
        grid = self.grid
        i0 = min(max(int(np.ceil((x_low - grid.x0) / grid.dx)), 0), grid.nx)
        i1 = max(min(int(np.floor((x_high - grid.x0) / grid.dx)), grid.nx - 1), i0 - 1)
        j0 = min(max(int(np.ceil((y_low - grid.y0) / grid.dy)), 0), grid.ny)
        j1 = max(min(int(np.floor((y_high - grid.y0) / grid.dy)), grid.ny - 1), j0 - 1)
        return Mask(i0, j0, np.zeros((i1 - i0 + 1, j1 - j0 + 1), bool))

    def positions(self, mask: Mask) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Coordinates x as (w, 1) and y as (1, h), reference mm, of the voxel centres in a mask's window."""
        grid = self.grid
        x = grid.x0 + grid.dx * np.arange(mask.i0, mask.i0 + mask.inside.shape[0], dtype=np.float64)
        y = grid.y0 + grid.dy * np.arange(mask.j0, mask.j0 + mask.inside.shape[1], dtype=np.float64)
        return x[:, None], y[None, :]

    def fill(self, shape: Points | Mask, tissue: str, *, over: tuple[str, ...] | str | None = None) -> Mask:
        """Give a region to a tissue.

        Args:
            shape: a closed polygon in reference mm, or a mask.
            tissue: its name.
            over: only voxels that are of one of these tissues so far change.

        Returns:
            The region that changed.
        """
        mask = shape if isinstance(shape, Mask) else self.polygon(shape)
        part = self.tissue[mask.window]
        if over is not None:
            mask = mask.where(_looked_up(ids(over), part))
        np.copyto(part, TISSUES[tissue].id, where=mask.inside)
        return mask

    def is_any(self, mask: Mask, tissues: Iterable[str] | str) -> npt.NDArray[np.bool_]:
        """For every voxel in a mask's window, whether it is of one of the tissues so far."""
        names = tissues if isinstance(tissues, str) else tuple(tissues)
        return _looked_up(ids(names), self.tissue[mask.window])


def _looked_up(table: npt.NDArray[np.bool_], tissue: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """What a table of 256 says of every voxel; into an array of one's own numpy looks up several times faster."""
    return table.take(tissue, mode="clip", out=np.empty(tissue.shape, bool))
