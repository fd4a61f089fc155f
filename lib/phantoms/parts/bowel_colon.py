"""The colon from the caecum to the anus: a haustrated tube that frames the abdomen."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import NO_GAS, Filling, HollowTube, arcs
from lib.phantoms.shapes import Tube

# u, v, reference height, radius in mm (see Room)
_RIGHT = [
    (0.56, 0.2, -100, 17), (0.62, 0.14, -84, 26), (0.7, 0.02, -55, 27), (0.74, -0.08, -18, 25), (0.75, -0.12, 15, 24),
    (0.7, 0.08, 40, 23),
]  # fmt: skip
_TRANSVERSE = [
    (0.62, 0.45, 48, 20), (0.44, 0.78, 32, 19), (0.14, 0.86, 12, 18), (-0.2, 0.86, 14, 18), (-0.5, 0.74, 42, 18),
    (-0.68, 0.48, 78, 18),
]  # fmt: skip
_LEFT = [
    (-0.8, 0.2, 102, 18), (-0.85, -0.1, 84, 15), (-0.82, -0.28, 50, 14), (-0.8, -0.26, 12, 13.5),
    (-0.78, -0.14, -28, 13), (-0.7, 0.06, -64, 13), (-0.56, 0.24, -94, 13.5),
]  # fmt: skip
_SIGMOID = [(-0.34, 0.46, -118, 14), (-0.06, 0.56, -116, 14.5), (0.16, 0.4, -106, 14), (0.12, 0.2, -118, 14)]
_RECTUM = [
    (0.02, 0.14, -138, 15), (0.01, 0.12, -160, 17), (-0.01, 0.12, -185, 18), (0.0, 0.14, -208, 14),
    (0.0, 0.1, -226, 11), (0.0, 0.03, -242, 10),
]  # fmt: skip
_WALL_MM = 2.4
_HAUSTRUM_MM = 34.0

# What a stretch may hold: collapsed, fluid, stool, stool with gas on top, gas; one set of odds for each kind of day
_CONTENTS = ("bowel_wall", "bowel_fluid", "stool", "stool", "bowel_fluid")
_WITH_GAS = (False, False, False, True, True)
_ODDS = {
    "stool": ((0, 1, 9, 8, 2), (3, 0, 6, 5, 7), (3, 0, 10, 2, 1), (5, 0, 6, 2, 1)),
    "gas": ((0, 1, 4, 6, 8), (1, 0, 1, 2, 12), (3, 0, 3, 3, 5), (4, 0, 2, 2, 4)),
    "empty": ((2, 4, 5, 2, 3), (8, 1, 2, 1, 4), (10, 0, 2, 0, 1), (10, 0, 1, 0, 2)),
}
_BUBBLES_PER_STRETCH = 7
_LOBES = 0.14
_COLLAPSED = 0.68
"""Radius of an empty stretch as a share of a filled one's."""


class Colon:
    """The large bowel.

    Attributes:
        course: (n, 4) u, v, reference height and radius in mm of its points, for what has to keep away from it.
    """

    def __init__(self, frame: Frame, room: Room) -> None:
        rng = frame.rng("colon")
        rows = np.array([*_RIGHT, *_TRANSVERSE, *_LEFT, *_SIGMOID, *_RECTUM], dtype=np.float64)
        free = len(rows) - len(_RECTUM)
        part = np.repeat(np.arange(4), [len(_RIGHT), len(_TRANSVERSE), len(_LEFT), len(_SIGMOID) + len(_RECTUM)])
        rows[:free, :2] += rng.normal(0, 0.025, (free, 2))
        rows[:free, 2] += rng.normal(0, 5, free)
        # the transverse colon sags, in some as far as the pelvis
        rows[part == 1, 2] += float(rng.normal(-4, 14)) * np.array([0.2, 0.7, 1.0, 1.0, 0.6, 0.2])
        rows[part == 3, 0] += np.array([*([float(rng.normal(0, 0.1))] * len(_SIGMOID)), *([0.0] * len(_RECTUM))])
        rows[:, 3] *= np.clip(rng.normal(1.0, 0.1, 4), 0.8, 1.25)[part]
        self.course = rows

        # in lean people the bowel fills the cavity, in fat people the fat does
        cavity = frame.sizes.cavity
        grown = cavity ** np.where(part == 2, -0.6, -0.2) if cavity < 1 else cavity ** np.full(len(part), -0.1)
        radii = rows[:, 3] * np.where(part == 3, 1.0, grown)
        path = room.path_inside(room.path(rows[:, :3]), radii + 3.0)
        tube = Tube(path, radii, step=4.0)
        along = np.linspace(0, tube.length, len(tube.radii))
        deep = np.interp(np.linspace(0, 1, len(along)), [0, 0.5, 0.7, 0.85, 1], [0.15, 0.15, 0.08, 0.06, 0.0])
        tube.radii *= 1 + deep * np.sin(2 * np.pi * along / _HAUSTRUM_MM + rng.uniform(0, 6))
        fillings = self._contents(rng, tube, np.linspace(0, 3.99, len(tube.radii)))
        self._tube = HollowTube(tube, _WALL_MM, "bowel_wall", fillings, lobes=_LOBES)
        count = _BUBBLES_PER_STRETCH * len(fillings)
        which = rng.integers(len(tube.points), size=count)
        starts = tube.points[which] + rng.normal(0, 0.42, (count, 3)) * tube.radii[which, None]
        along = rng.normal(0, 1.3, (count, 3))
        sizes = rng.uniform(0.8, 2.6, count)
        self._bubbles = arcs(starts, starts + along, starts + 2 * along, sizes, thinned=0.6, step=1.0)

    @staticmethod
    def _contents(rng: np.random.Generator, tube: Tube, part: npt.NDArray[np.float64]) -> list[Filling]:
        """What the stretches hold; empty ones are made narrower.

        Args:
            rng: the colon's.
            tube: its outer surface.
            part: (n,) for every point of it the row of the odds, 0 to below 4.
        """
        kind = _ODDS[str(rng.choice(list(_ODDS), p=[0.5, 0.3, 0.2]))]
        count = max(int(tube.length / (1.3 * _HAUSTRUM_MM)), 8)
        bounds = np.arange(count + 1) * len(tube.points) // count
        fillings: list[Filling] = []
        for first, last in pairwise(bounds):
            odds = np.array(kind[int(part[first])], dtype=np.float64)
            what = int(rng.choice(5, p=odds / odds.sum()))
            share = float(rng.uniform(0.15, 0.75)) if _CONTENTS[what] == "stool" else float(rng.uniform(-0.8, 0.1))
            level = float(tube.points[first:last, 1].mean()) + float(tube.radii[first:last].mean()) * share
            if _CONTENTS[what] == "bowel_wall":
                tube.radii[first:last] *= _COLLAPSED
            fillings.append(Filling(_CONTENTS[what], level if _WITH_GAS[what] else NO_GAS))
        return fillings

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of it."""
        self._tube.paint(canvas, CAVITY_FAT)
        self._bubbles.paint(canvas, "bowel_gas", ("stool",))
