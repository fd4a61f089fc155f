"""The pieces of bone that layers show beside the spine, and which of them lie upon each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.measures.body_map import WITHIN_LAYER, BodyMap

_REACH_MM = 7.0
"""How far a thin, slanting bone such as the tip of a rib may lie aside in the next layer; ribs lie farther apart."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What hangs together within a layer; each array has one entry for each piece, in the order of the layers.

    Attributes:
        layer: which it is in.
        cm2: its area.
        length_mm: diagonal of the box around it.
        nearest_mm: of its cells to the spine, sideways.
        farthest_mm: of its cells from the spine, sideways.
        forward_mm: how far the cells nearest to the spine lie before the spinal canal, on average.
        links: ``(n, 2)``, pieces in neighbouring layers that lie upon or close to each other, the lower one first.
    """

    layer: npt.NDArray[np.intp]
    cm2: npt.NDArray[np.float64]
    length_mm: npt.NDArray[np.float64]
    nearest_mm: npt.NDArray[np.float64]
    farthest_mm: npt.NDArray[np.float64]
    forward_mm: npt.NDArray[np.float64]
    links: npt.NDArray[np.intp]

    @classmethod
    def beside_spine(cls, body: BodyMap, side: int, reach_mm: tuple[float, float]) -> Pieces:
        """The pieces on one side.

        Args:
            body: where they are looked for.
            side: -1 or 1, the sign of x.
            reach_mm: least and greatest distance sideways from the spinal canal.
        """
        sideways = side * (body.x[:, None] - body.spine[None, :, 0])
        with np.errstate(invalid="ignore"):  # no spine, no bone beside it
            beside = (sideways >= reach_mm[0]) & (sideways <= reach_mm[1])
        numbers, count = ndimage.label(body.bone & beside[:, None, :], WITHIN_LAYER)
        cells = np.argwhere(numbers)
        owner = numbers[tuple(cells.T)] - 1
        order = np.argsort(cells[:, 2], kind="stable")
        first = np.full(count, len(cells))
        np.minimum.at(first, owner[order], np.arange(len(cells)))
        rank = np.empty(count, np.intp)  # numbered anew, from the lowest layer up
        rank[np.argsort(first, kind="stable")] = np.arange(count)
        owner = rank[owner]
        i, j, k = cells.T
        aside = sideways[i, k]
        forward = body.y[j] - body.spine[k, 1]
        layer = np.zeros(count, np.intp)
        layer[owner] = k
        lows = [_least(place, owner, count) for place in (body.x[i], body.y[j])]
        highs = [-_least(-place, owner, count) for place in (body.x[i], body.y[j])]
        nearest = _least(aside, owner, count)
        at_root = aside <= nearest[owner] + 2 * body.spacing[0]
        roots = np.bincount(owner[at_root], minlength=count)
        return cls(
            layer=layer,
            cm2=np.bincount(owner, minlength=count) * body.cell_cm2,
            length_mm=np.hypot(*(high - low for low, high in zip(lows, highs, strict=True))),
            nearest_mm=nearest,
            farthest_mm=-_least(-aside, owner, count),
            forward_mm=np.bincount(owner[at_root], forward[at_root], minlength=count) / np.maximum(roots, 1),
            links=_links(numbers, rank, [max(1, int(_REACH_MM / size)) for size in body.spacing[:2]]),
        )

    def above(self, start: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The pieces that some pieces lead to upwards, with these."""
        found = start.copy()
        for lower, upper in self.links:
            found[upper] |= found[lower]
        return found

    def below(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """For every piece the lowest layer that it leads down to, and how far from the spine it reaches on the way."""
        lowest, farthest = self.layer.copy(), self.farthest_mm.copy()
        # a piece comes after all pieces below it, so what is copied is complete
        for lower, upper in self.links[np.argsort(self.links[:, 1], kind="stable")]:
            lowest[upper] = min(lowest[upper], lowest[lower])
            farthest[upper] = max(farthest[upper], farthest[lower])
        return lowest, farthest


def _least(values: npt.NDArray[np.float64], owner: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.float64]:
    least = np.full(count, np.inf)
    np.minimum.at(least, owner, values)
    return least


def _links(numbers: npt.NDArray, rank: npt.NDArray[np.intp], reach: list[int]) -> npt.NDArray[np.intp]:
    """Pairs of pieces in neighbouring layers that lie within so many cells of each other, sorted by the lower one."""
    a, b = reach
    padded = np.pad(numbers, ((a, a), (b, b), (0, 0)))
    cells = np.argwhere(numbers[:, :, :-1])
    lower = numbers[tuple(cells.T)]
    i, j, k = cells.T
    count = len(rank)
    pairs = set()  # as one number each
    for di, dj in np.ndindex(2 * a + 1, 2 * b + 1):
        upper = padded[i + di, j + dj, k + 1]
        touching = upper > 0
        pairs.update(np.unique(rank[lower[touching] - 1] * count + rank[upper[touching] - 1]).tolist())
    return np.stack(np.divmod(np.array(sorted(pairs), np.intp), max(count, 1)), axis=1)
