"""The duodenum and the loops of jejunum and ileum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.bowel_colon import Colon
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import NO_GAS, Filling, HollowTube
from lib.phantoms.shapes import Tube

# x from the middle of the column, y from the front of its bodies, reference height, radius, mm: around the head of
# the pancreas, then between aorta and superior mesenteric artery to the left
_DUODENUM = [
    (36, 42, 86, 10), (47, 32, 78, 12), (50, 20, 58, 13), (48, 13, 34, 13), (38, 15, 14, 12), (14, 27, 6, 9.5),
    (-10, 28, 9, 9.5), (-28, 20, 26, 11), (-34, 26, 46, 11),
]  # fmt: skip

# The reference body's cavity in mm: what u = 1, v = 1 and v = -1 are there
_HALF_WIDTH_MM, _FRONT_MM, _BACK_MM = 116.0, 62.0, 58.0

# Reference height to the ranges of u and v in which loops lie
_RANGE = {
    76: (-0.66, -0.2, 0.2, 0.8), 40: (-0.76, -0.05, 0.05, 0.95), 10: (-0.78, 0.58, 0.0, 0.95),
    -40: (-0.76, 0.7, -0.05, 0.95), -80: (-0.66, 0.64, 0.05, 0.95), -110: (-0.5, 0.5, 0.15, 0.92),
    -150: (-0.38, 0.38, 0.28, 0.88),
}  # fmt: skip
_MESENTERY = (0.02, 0.2, 0.3, 0.36)
"""u and v of the middle, and half-axes, of the fat around the mesentery's vessels, where no loop lies."""

_SPACING_MM = 26.0
"""Distance of neighbouring loops' axes in the reference body."""
_RADIUS_MM = 11.0
_WALL_MM = 2.2
_LONGEST_STRETCH = 9
_ALONG_THE_SLICE = 3.0
"""How much rather a loop goes on at its height than up or down."""
_CONTENTS = ("bowel_wall", "bowel_fluid", "bowel_gas")


class SmallBowel:
    """Loops as self-avoiding walks on a jittered lattice in the relative room, so that they never overlap much."""

    def __init__(self, frame: Frame, room: Room, colon: Colon) -> None:
        rng = frame.rng("small_bowel")
        full = float(np.clip(rng.normal(1.0, 0.08), 0.85, 1.15))
        cavity = frame.sizes.cavity
        radius = _RADIUS_MM * full * cavity ** (-0.6 if cavity < 1 else -0.1)
        gassy = float(rng.beta(1.2, 6.0))
        odds = np.array([0.45, 0.55 - 0.55 * gassy, 0.55 * gassy])

        # in ascites the loops float to the middle and to the front
        floating = frame.person.strength("ascites")
        nodes = _nodes(rng, colon.course)
        self._tubes = []
        for walk in _walks(rng, nodes):
            knots = _relative(nodes[walk])
            calibre = radius * rng.uniform(0.82, 1.12, len(walk))
            knots[:, :2] += floating * ([0.0, 1.0] - knots[:, :2]) * [0.3, 0.25]
            path = room.path_inside(room.path(knots), calibre + 2.0)
            fillings = []
            for middle in path:
                what = _CONTENTS[int(rng.choice(3, p=odds))]
                level = float(middle[1] + radius * rng.uniform(-0.4, 0.5)) if what == "bowel_gas" else NO_GAS
                fillings.append(Filling("bowel_fluid" if what == "bowel_gas" else what, level))
            self._tubes.append(HollowTube(Tube(path, calibre, step=3.5), _WALL_MM, "bowel_wall", fillings))

        rows = np.array(_DUODENUM)
        path = room.beside_column(np.add(rows[:, :3], (*rng.normal(0, 2, 2), rng.normal(0, 5))))
        narrow = min(cavity, 1.0) ** 0.2
        filling = [Filling(str(rng.choice(_CONTENTS[:2]))) for _ in range(4)]
        self._duodenum = HollowTube(Tube(path, rows[:, 3] * narrow, step=3.5), _WALL_MM, "bowel_wall", filling)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of it."""
        self._duodenum.paint(canvas, CAVITY_FAT)
        for tube in self._tubes:
            tube.paint(canvas, CAVITY_FAT)


def _nodes(rng: np.random.Generator, colon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points, (n, 3) mm in the reference body's room, on a jittered hexagonal lattice where small bowel lies."""
    heights = sorted(_RANGE)
    table = np.array([_RANGE[z] for z in heights], dtype=np.float64)
    layers = []
    for k, z in enumerate(np.arange(heights[0], heights[-1], _SPACING_MM * 0.82)):
        u_low, u_high, v_low, v_high = (np.interp(z, heights, column) for column in table.T)
        x, row = np.meshgrid(np.arange(-5, 6) * _SPACING_MM, np.arange(-1, 6))
        x = x + _SPACING_MM / 2 * ((row + k) % 2)
        y = (row + 0.33 * (k % 3)) * _SPACING_MM * 0.87
        inside = (x >= u_low * _HALF_WIDTH_MM) & (x <= u_high * _HALF_WIDTH_MM)
        inside &= (y >= v_low * _FRONT_MM) & (y <= v_high * _FRONT_MM)
        # beside the spine the psoas is in the way
        inside &= (y > 6) | (np.abs(x) > 62)
        u, v, a, b = _MESENTERY
        inside &= ((x / _HALF_WIDTH_MM - u) / a) ** 2 + ((y / _FRONT_MM - v) / b) ** 2 > 1
        layers.append(np.stack([x[inside], y[inside], np.full(int(inside.sum()), z)], axis=1))
    nodes = np.concatenate(layers)
    nodes += rng.normal(0, 2.6, nodes.shape)
    # loops keep away from the colon
    axis = Tube(_in_reference_mm(colon[:, :3]), colon[:, 3], step=8.0)
    away = np.sqrt(((nodes[:, None] - axis.points) ** 2).sum(axis=2)) - axis.radii
    return nodes[away.min(axis=1) > 0.7 * _RADIUS_MM]


def _relative(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    depth = np.where(points[:, 1] > 0, _FRONT_MM, _BACK_MM)
    return np.stack([points[:, 0] / _HALF_WIDTH_MM, points[:, 1] / depth, points[:, 2]], axis=1)


def _in_reference_mm(path: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    depth = np.where(path[:, 1] > 0, _FRONT_MM, _BACK_MM)
    return np.stack([path[:, 0] * _HALF_WIDTH_MM, path[:, 1] * depth, path[:, 2]], axis=1)


def _walks(rng: np.random.Generator, nodes: npt.NDArray[np.float64]) -> list[list[int]]:
    """Paths from neighbour to neighbour that visit no node twice; nodes without neighbours are left out."""
    distance = np.sqrt(((nodes[:, None] - nodes) ** 2).sum(axis=2))
    near = distance < 1.35 * _SPACING_MM
    free = np.ones(len(nodes), bool)
    walks = []
    for start in rng.permutation(len(nodes)):
        here, walk = int(start), []
        while free[here]:
            free[here] = False
            walk.append(here)
            onward = np.flatnonzero(near[here] & free)
            if not len(onward) or len(walk) == _LONGEST_STRETCH:
                break
            odds = np.where(np.abs(nodes[onward, 2] - nodes[here, 2]) < 0.4 * _SPACING_MM, _ALONG_THE_SLICE, 1.0)
            here = int(rng.choice(onward, p=odds / odds.sum()))
        if len(walk) > 1:
            walks.append(walk)
    return walks
