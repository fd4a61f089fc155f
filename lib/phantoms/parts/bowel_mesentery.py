"""The small vessels and lymph nodes in the fat of the mesentery and behind the peritoneum."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import SmallTubes, arcs

_ROOT = {78: (-12, 34), 45: (0, 36), 10: (12, 38), -25: (30, 36), -55: (48, 34)}
"""Reference height to x from the middle of the column and y from its front: where the vessels set out from."""

_BRANCHES = 150
_NODES = 130


class Mesentery:
    """Vessels that fan out from the root of the mesentery, seen as dots and short lines."""

    def __init__(self, frame: Frame, room: Room) -> None:
        rng = frame.rng("mesentery")
        self._bundles = (_branches(rng, room), _nodes(rng, room))

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        for bundle in self._bundles:
            bundle.paint(canvas, "vessel", CAVITY_FAT)


def _branches(rng: np.random.Generator, room: Room) -> SmallTubes:
    """Vessels from the root towards the bowel."""
    heights = sorted(_ROOT)
    z = rng.uniform(heights[0], heights[-1], _BRANCHES)
    x, y = (np.interp(z, heights, column) for column in zip(*(_ROOT[height] for height in heights), strict=True))
    starts = room.beside_column(np.stack([x, y, z], axis=1))
    angle, reach = rng.uniform(-0.35 * np.pi, 1.35 * np.pi, _BRANCHES), rng.uniform(0.4, 0.8, _BRANCHES)
    depth = 0.34 + reach * np.sin(angle) * np.where(np.sin(angle) > 0, 0.55, 0.3)
    ends = room.path(np.stack([reach * np.cos(angle), depth, z + rng.normal(-14, 26, _BRANCHES)], axis=1))
    middles = 0.5 * (starts + ends) + rng.normal(0, 9, (_BRANCHES, 3))
    return arcs(starts, middles, ends, rng.uniform(1.2, 2.0, _BRANCHES), thinned=0.65)


def _nodes(rng: np.random.Generator, room: Room) -> SmallTubes:
    """Lymph nodes, and bends of vessels, of some millimetres."""
    low, high = (-0.55, 0.05, -100), (0.55, 0.7, 95)
    starts = room.path(rng.uniform(low, high, (_NODES, 3)))
    along = rng.normal(0, 1.4, (_NODES, 3))
    return arcs(starts, starts + along, starts + 2 * along, rng.uniform(1.3, 2.4, _NODES), step=1.0)
