"""The muscles along the spine: erector spinae, multifidus, quadratus lumborum."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Loft, smooth
from lib.phantoms.trunk import BACK_ANCHOR, Trunk

_ROOM = ("intermuscular_fat", "peritoneal_fat", "retroperitoneal_fat")

# Outlines of the right side's muscles, (x, y) in mm relative to the middle of the spinal column, at the inferior
# endplate of L3 and at the middle of other vertebrae; anatomical corners in the same order at every level.
_MULTIFIDUS: dict[str, list[tuple[float, float]]] = {
    # in front at the midline, in front on the lamina, lateral in front, lateral, lateral behind, behind, at the spine
    "C7": [(5, -22), (12, -20), (15, -24), (14, -30), (11, -36), (7, -38), (5, -32)],
    "T4": [(4, -28), (10, -28), (14, -31), (14, -36), (11, -41), (6, -43), (4, -38)],
    "T9": [(4, -32), (10, -31), (15, -33), (15, -40), (12, -46), (6, -50), (4, -42)],
    "T12": [(4, -33), (12, -32), (17, -35), (18, -44), (14, -53), (7, -58), (5, -46)],
    "L2": [(4, -37), (15, -36), (23, -39), (25, -49), (19, -64), (6, -71), (3, -54)],
    "L3": [(4, -39), (17, -36), (28, -39), (30, -52), (22, -69), (6, -76), (3, -56)],
    "L4": [(4, -40), (20, -38), (32, -41), (36, -52), (26, -69), (7, -75), (3, -56)],
    "L5": [(4, -40), (22, -37), (37, -41), (40, -52), (28, -66), (7, -70), (3, -56)],
    "S1": [(6, -38), (22, -34), (38, -40), (42, -51), (30, -60), (9, -63), (6, -52)],
}
_ERECTOR: dict[str, list[tuple[float, float]]] = {
    # in front medial, in front, in front lateral, lateral, lateral behind, bulge behind, behind medial, medial
    "C7": [(16, -24), (20, -24), (25, -26), (28, -31), (25, -38), (18, -43), (12, -41), (15, -32)],
    "T4": [(15, -31), (22, -31), (31, -34), (38, -42), (34, -50), (24, -55), (10, -53), (15, -40)],
    "T9": [(16, -33), (25, -34), (38, -38), (51, -50), (47, -60), (33, -67), (12, -61), (16, -45)],
    "T12": [(18, -35), (30, -35), (47, -40), (62, -52), (57, -65), (38, -74), (14, -69), (20, -50)],
    "L2": [(25, -38), (40, -37), (60, -43), (71, -55), (66, -70), (43, -80), (18, -76), (26, -55)],
    "L3": [(30, -40), (46, -38), (66, -44), (75, -56), (69, -70), (45, -79), (21, -76), (31, -56)],
    "L4": [(37, -41), (51, -40), (67, -46), (74, -57), (68, -69), (46, -78), (23, -74), (37, -58)],
    "L5": [(43, -42), (53, -42), (63, -48), (66, -58), (59, -66), (43, -72), (27, -70), (42, -58)],
    "S1": [(43, -49), (47, -50), (50, -54), (50, -59), (44, -62), (36, -64), (29, -63), (39, -58)],
}
_QUADRATUS: dict[str, list[tuple[float, float]]] = {
    # medial end, in front, lateral end, behind
    "T12": [(36, -34), (44, -34), (52, -37), (57, -41), (52, -42), (43, -39)],
    "L1": [(35, -31), (46, -31), (56, -35), (63, -41), (56, -42), (44, -39)],
    "L2": [(36, -28), (50, -28), (62, -34), (72, -42), (63, -43), (48, -38)],
    "L3": [(37, -26), (54, -25), (71, -31), (86, -43), (70, -46), (51, -39)],
    "L4": [(40, -25), (58, -24), (75, -30), (91, -41), (74, -45), (55, -38)],
}

_LOWEST_ORIGIN = -8.0
"""z down to which the quadratus lumborum reaches in every body, mm."""
_HELD = 95.0
"""How far, mm, from the spine muscles keep their place when it turns; those nearer to it turn with it."""


class Back:
    """The muscles along the spine: erector spinae, multifidus, quadratus lumborum."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        rng = frame.rng("back")
        size = frame.sizes.paraspinal
        block = Trunk(frame).back_scale()
        self._sides = {1.0: float(rng.uniform(0.985, 1.015)), -1.0: float(rng.uniform(0.985, 1.015))}
        own = size / block
        anchor = np.array(BACK_ANCHOR)

        def grown(corners: list[tuple[float, float]], hold: tuple[float, float]) -> Points:
            """The muscle within its compartment, withdrawn towards where it arises, and the compartment itself."""
            points = np.array(hold) + (np.array(corners) - hold) * own
            return anchor + (smooth(points, 40) - anchor) * block

        vertebrae = frame.vertebrae
        levels = {"L3": 0.0} | {level: vertebrae[level].z for level in vertebrae if level != "L3"}

        def loft(table: dict[str, list[tuple[float, float]]], hold: tuple[int, float], overrun: float) -> Loft:
            outlines = {}
            for level, corners in table.items():
                if level in levels:
                    index, share = hold
                    middle = np.mean(corners, axis=0)
                    point = np.array(corners[index]) * (1 - share) + middle * share
                    outlines[levels[level]] = grown(corners, tuple(point))
            return Loft(outlines, overrun=overrun)

        self._multifidus = loft(_MULTIFIDUS, (0, 0.2), 36.0)
        self._erector = loft(_ERECTOR, (1, 0.35), 30.0)
        self._quadratus = self._quadratus_loft(levels)
        turned = sorted((vertebra.z, float(np.tan(vertebra.turn))) for vertebra in vertebrae.values())
        self._turn_z, self._turn = np.array(turned).T

    def _quadratus_loft(self, levels: dict[str, float]) -> Loft:
        """From the twelfth rib to the iliac crest; it grows around the tips of the transverse processes."""
        size = self._frame.sizes.paraspinal
        # with four lumbar vertebrae the crest stands beside L3, but the muscle arises further back and lower
        crest = min(self._frame.heights["iliac_crest"] - 6, _LOWEST_ORIGIN)
        outlines = {}
        for level, corners in _QUADRATUS.items():
            if levels.get(level, crest) > crest:
                points = np.array(corners)
                hold = points[0] * 0.6 + points.mean(axis=0) * 0.4
                outlines[levels[level]] = smooth(hold + (points - hold) * size, 32)
        outlines[crest] = outlines[min(outlines)] + (3.0, 2.0)
        return Loft(outlines, overrun=10.0)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        x0, y0 = self._frame.column(z)
        named = (
            (self._quadratus, "quadratus_lumborum"),
            (self._multifidus, "multifidus"),
            (self._erector, "erector_spinae"),
        )
        turn = float(np.interp(z, self._turn_z, self._turn))
        for loft, name in named:
            outline = loft.at(z)
            if outline is None:
                continue
            for sign, size in self._sides.items():
                points = outline * (sign * size, size)
                points[:, 0] -= turn * points[:, 1] * np.maximum(1.0 - np.abs(points[:, 0]) / _HELD, 0.0)
                canvas.fill(points + np.array([x0, y0]), name, over=_ROOM)
