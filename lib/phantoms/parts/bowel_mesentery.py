"""The small vessels and lymph nodes in the fat of the mesentery and behind the peritoneum."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import SmallTubes
from lib.phantoms.shapes import Tube

_ROOT = {78: (-12, 34), 45: (0, 36), 10: (12, 38), -25: (30, 36), -55: (48, 34)}
"""Reference height to x from the middle of the column and y from its front: where the vessels set out from."""

_BRANCHES = 150
_NODES = 130


class Mesentery:
    """Vessels that fan out from the root of the mesentery, seen as dots and short lines."""

    def __init__(self, frame: Frame, room: Room) -> None:
        rng = frame.rng("mesentery")
        tubes = [_branch(rng, room) for _ in range(_BRANCHES)] + [_node(rng, room) for _ in range(_NODES)]
        self._tubes = SmallTubes(tubes)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        self._tubes.paint(canvas, "vessel", CAVITY_FAT)


def _branch(rng: np.random.Generator, room: Room) -> Tube:
    """A vessel from the root towards the bowel."""
    heights = sorted(_ROOT)
    z = float(rng.uniform(heights[0], heights[-1]))
    x, y = (float(np.interp(z, heights, column)) for column in zip(*(_ROOT[height] for height in heights), strict=True))
    start = room.beside_column([(x, y, z)])
    angle, reach = float(rng.uniform(-0.35 * np.pi, 1.35 * np.pi)), float(rng.uniform(0.4, 0.8))
    depth = 0.34 + reach * float(np.sin(angle)) * (0.55 if np.sin(angle) > 0 else 0.3)
    end = room.path([(reach * float(np.cos(angle)), depth, z + rng.normal(-14, 26))])
    middle = 0.5 * (start + end) + rng.normal(0, 5, (1, 3))
    size = float(rng.uniform(1.2, 2.0))
    return Tube(np.concatenate([start, middle, end]), [size, size * 0.85, size * 0.65], step=1.5)


def _node(rng: np.random.Generator, room: Room) -> Tube:
    """A lymph node, or a vessel's bend, of some millimetres."""
    place = room.path([(rng.uniform(-0.55, 0.55), rng.uniform(0.05, 0.7), rng.uniform(-100, 95))])
    return Tube(np.concatenate([place, place + rng.normal(0, 2.5, 3)]), float(rng.uniform(1.3, 2.4)), step=1.0)
