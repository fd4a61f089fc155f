"""Hollow organs and bundles of small vessels: tubes with a wall, and what a horizontal patient has in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Mask, Points
from lib.phantoms.shapes import Tube

_DISCS_AT_ONCE = 6

NO_GAS = 1e6
"""A fluid level above everything: nothing but fluid or stool."""


@dataclass(frozen=True)
class Filling:
    """What a stretch of a hollow organ holds.

    Attributes:
        tissue: the tissue of its lumen, the wall's own where it is empty.
        level: the y, reference mm, above which (in front of which, in a patient on the back) gas takes its place.
    """

    tissue: str
    level: float = NO_GAS


class HollowTube:
    """A tube with a wall.

    Args:
        tube: its outer surface.
        wall: thickness of the wall, mm.
        wall_tissue: its tissue.
        fillings: what its stretches hold, from the first point to the last, each as long as the next.
        stretch: how much wider than deep its sections are.
        lobes: how far three bands pull the sections in, as a share of the radius: the taeniae of a colon.
    """

    def __init__(
        self,
        tube: Tube,
        wall: float,
        wall_tissue: str,
        fillings: list[Filling],
        *,
        stretch: float = 1.0,
        lobes: float = 0.0,
    ) -> None:
        self._points, self._radii, self._stretch, self._lobes = tube.points, tube.radii, stretch, lobes
        self._wall, self._wall_tissue, self._fillings = wall, wall_tissue, fillings
        reach = self._radii.max()
        self.low, self.high = float(self._points[:, 2].min() - reach), float(self._points[:, 2].max() + reach)

    def paint(self, canvas: Canvas, over: tuple[str, ...]) -> None:
        """Draw its cut through the slice: every stretch of the tube that the slice meets for itself."""
        if not self.low < canvas.z < self.high:
            return
        squared = self._radii**2 - (self._points[:, 2] - canvas.z) ** 2
        near = np.flatnonzero(squared > 0)
        if not len(near):
            return
        points, outer = canvas.warped(self._points[near, :2]), squared[near]
        inner = outer - self._radii[near] ** 2 + np.maximum(self._radii[near] - self._wall, 0.0) ** 2
        both = np.stack([outer, inner])
        stretch = near * len(self._fillings) // len(self._points)
        apart = near[1:] > near[:-1] + 1
        for first, last in _runs(apart):
            low, high = points[first:last].min(axis=0), points[first:last].max(axis=0)
            if (high - low).max() < 2.0 * np.sqrt(outer[first:last].max()):
                # cut across: the content is that of the height of the slice
                stretch[first:last] = stretch[first + np.argmax(outer[first:last])]
        for first, last in _runs(apart | (stretch[1:] != stretch[:-1])):
            filling = self._fillings[stretch[first]]
            self._section(canvas, points[first:last], both[:, first:last], filling, over)

    def _section(
        self, canvas: Canvas, points: Points, squared: npt.NDArray[np.float64], filling: Filling, over: tuple[str, ...]
    ) -> None:
        """Fill a union of discs: `squared` are the squares, (2, n), of their radii with and without the wall."""
        outer, inner = squared
        reach = np.sqrt(outer)[:, None] * (self._stretch, 1.0)
        low, high = (points - reach).min(axis=0), (points + reach).max(axis=0)
        box = canvas.box(low[0], high[0], low[1], high[1])
        if not box.inside.size:
            return
        hollow = filling.tissue != self._wall_tissue
        lumen = np.zeros_like(box.inside)
        # long sections a few discs at a time, each within its own window
        for first in range(0, len(points), _DISCS_AT_ONCE):
            part = slice(first, first + _DISCS_AT_ONCE)
            low_part, high_part = (points[part] - reach[part]).min(axis=0), (points[part] + reach[part]).max(axis=0)
            window = canvas.box(low_part[0], high_part[0], low_part[1], high_part[1])
            away = self._away(canvas, window, points[part])
            i, j = window.i0 - box.i0, window.j0 - box.j0
            within = slice(i, i + window.inside.shape[0]), slice(j, j + window.inside.shape[1])
            box.inside[within] |= (away <= outer[part, None, None]).any(axis=0)
            if hollow:
                lumen[within] |= (away <= inner[part, None, None]).any(axis=0)
        drawn = canvas.fill(box, self._wall_tissue, over=over)
        if not hollow:
            return
        content = drawn.where(lumen)
        canvas.fill(content, filling.tissue)
        if filling.level < high[1]:
            _, y = canvas.positions(box)
            canvas.fill(content.where(np.broadcast_to(y > filling.level, lumen.shape)), "bowel_gas")

    def _away(self, canvas: Canvas, window: Mask, points: Points) -> npt.NDArray[np.float64]:
        """Squared distances, (n, w, h), of a window's voxels from n centres, measured in the section's own form."""
        x, y = canvas.positions(window)
        above = y[None] - points[:, 1, None, None]
        beside = (x[None] - points[:, 0, None, None]) / self._stretch
        away: npt.NDArray[np.float64] = np.square(beside) + np.square(above)
        if self._lobes:
            # cos(3 a) = 4 cos(a)^3 - 3 cos(a), with the cosine of the direction from the centre
            cosine = above / np.sqrt(np.maximum(away, 1e-6))
            away = away * (1 + self._lobes * (1 - cosine * (4 * cosine * cosine - 3)))
        return away


def _runs(breaks: npt.NDArray[np.bool_]) -> Iterable[tuple[int, int]]:
    """Begin and end of what lies between breaks; breaks[i] is true where i + 1 begins anew."""
    return pairwise([0, *(np.flatnonzero(breaks) + 1).tolist(), len(breaks) + 1])


def solid(path: npt.ArrayLike, radius: npt.ArrayLike, tissue: str, *, step: float, stretch: float = 1.0) -> HollowTube:
    """A tube of one tissue, such as a vessel; see Tube and HollowTube."""
    return HollowTube(Tube(path, radius, step=step), 0.0, tissue, [Filling(tissue)], stretch=stretch)


class SmallTubes:
    """A bundle of thin tubes, all of one tissue, drawn together: vessels of the mesentery, gas bubbles in stool.

    Args:
        points: (n, 3) samples of all tubes, reference mm.
        radii: (n,) at most some 4 mm.
    """

    def __init__(self, points: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> None:
        order = np.argsort(points[:, 2], kind="stable")
        self._points, self._radii = points[order], radii[order]
        self._reach = float(radii.max())

    def paint(self, canvas: Canvas, tissue: str, over: tuple[str, ...]) -> None:
        """Draw their cuts through the slice."""
        first, last = np.searchsorted(self._points[:, 2], [canvas.z - self._reach, canvas.z + self._reach])
        points, radii = self._points[first:last], self._radii[first:last]
        squared = radii**2 - (points[:, 2] - canvas.z) ** 2
        kept = squared > 0
        if kept.any():
            canvas.fill(stamped(canvas, points[kept, :2], squared[kept]), tissue, over=over)


def bundle(tubes: list[Tube]) -> SmallTubes:
    """Thin tubes drawn together."""
    return SmallTubes(np.concatenate([tube.points for tube in tubes]), np.concatenate([tube.radii for tube in tubes]))


def arcs(
    starts: npt.NDArray[np.float64], middles: npt.NDArray[np.float64], ends: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64], *, thinned: float = 1.0, step: float = 1.5,
) -> SmallTubes:  # fmt: skip
    """Many thin tubes, each a parabola.

    Args:
        starts: (n, 3) reference mm.
        middles: (n, 3) towards which the tubes bend.
        ends: (n, 3).
        radii: (n,) at the start, mm.
        thinned: share of the radius that is left at the end.
        step: largest distance of samples, mm.
    """
    longest = float(np.sqrt(((middles - starts) ** 2).sum(axis=1)).max())
    longest += float(np.sqrt(((ends - middles) ** 2).sum(axis=1)).max())
    share = np.linspace(0, 1, max(int(np.ceil(longest / step)), 1) + 1)[:, None, None]
    points = (1 - share) ** 2 * starts + 2 * share * (1 - share) * middles + share**2 * ends
    sizes = (1 - (1 - thinned) * share[:, :, 0]) * radii
    return SmallTubes(points.reshape(-1, 3), sizes.ravel())


def stamped(canvas: Canvas, points: Points, squared: npt.NDArray[np.float64]) -> Mask:
    """The voxels within many small discs.

    Args:
        canvas: the slice.
        points: (n, 2) centres, reference mm.
        squared: (n,) squares of the radii, mm².
    """
    grid, moved = canvas.grid, canvas.warped(points)
    reach = float(np.sqrt(squared.max()))
    wide, deep = int(np.ceil(reach / grid.dx)), int(np.ceil(reach / grid.dy))
    i = np.rint((moved[:, 0] - grid.x0) / grid.dx).astype(np.intp)[:, None] + np.arange(-wide, wide + 1)
    j = np.rint((moved[:, 1] - grid.y0) / grid.dy).astype(np.intp)[:, None] + np.arange(-deep, deep + 1)
    away_x = (grid.x0 + grid.dx * i - moved[:, :1]) ** 2
    away_y = (grid.y0 + grid.dy * j - moved[:, 1:]) ** 2
    inside = away_x[:, :, None] + away_y[:, None, :] <= squared[:, None, None]
    inside &= ((i >= 0) & (i < grid.nx))[:, :, None] & ((j >= 0) & (j < grid.ny))[:, None, :]
    which, column, row = np.nonzero(inside)
    mask = np.zeros((grid.nx, grid.ny), bool)
    mask[i[which, column], j[which, row]] = True
    return Mask(0, 0, mask)
