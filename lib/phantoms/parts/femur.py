"""The thigh bones."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.legs import HIP_JOINT, Leg
from lib.phantoms.parts.shells import Ball, Bar, LoftShell, Shell, both_sides, cut_all, paint_cuts, paired
from lib.phantoms.shapes import Curve, ellipse, scaled, smooth

_Ovals = dict[float, tuple[float, float, float, float]]

# Reference z -> thickness of the cortex of the shaft, mm.
_CORTEX = {
    -172: 1.2, -225: 1.8, -250: 3.0, -275: 5.0, -310: 6.6, -400: 7.3, -480: 6.5, -530: 4.2, -560: 2.4, -590: 1.4,
    -632: 1.2,
}  # fmt: skip
# Greater trochanter and shaft, reference z -> middle from the shaft's axis (x to the side, y), half-width, half-depth.
_SHAFT: _Ovals = {
    -174: (12, -15, 6, 9), -180: (11, -12, 10, 14), -190: (10, -9, 13, 18), -200: (8, -6, 15.5, 19.5),
    -212: (3, -3, 18, 19.5), -225: (0, -1, 18.5, 18), -240: (0, 0, 17, 16.5), -262: (0, 0, 15, 15.2),
    -300: (0, 0, 13.8, 14.6), -400: (0, 0, 13.4, 14.6), -480: (0, 0, 14, 14.8), -525: (0, 0, 16, 15.2),
    -550: (0, 0, 20, 16.5),
}  # fmt: skip
# The end at the knee: corners from the axis (x to the side, y), from the medial side over the front to the back.
_KNEE_END = {
    -545: ((-18, 0), (-13, 12), (0, 16), (13, 12), (19, 0), (12, -13), (0, -17), (-12, -13)),
    -565: ((-23, -1), (-16, 14), (0, 16), (17, 15), (25, -1), (17, -14), (0, -17), (-16, -14)),
    -582: ((-32, -3), (-20, 15), (0, 15), (21, 18), (33, -3), (24, -17), (0, -14), (-23, -17)),
    -597: ((-40, -5), (-25, 18), (0, 16), (25, 22), (40, -5), (28, -20), (0, -11), (-28, -20)),
    -610: ((-40, -6), (-26, 19), (-1, 15), (25, 23), (40, -6), (26, -18), (0, -5), (-26, -18)),
    -618: ((-37, -4), (-25, 15), (-1, 10), (24, 18), (37, -4), (22, -12), (0, 1), (-22, -12)),
}  # fmt: skip
# Each condyle: middle from the axis (x to the side, y), half-width, half-depth.
_CONDYLE: _Ovals = {-590: (22, -12, 6, 8), -600: (24, -12, 13, 20), -612: (24.5, -9, 15, 27), -622: (24, -7, 14, 25),
            -630: (23, -6, 9, 16)}  # fmt: skip

# Lesser trochanter and linea aspera, on the back of the shaft: middle from the axis (x to the side, y), half-axes.
_LESSER_TROCHANTER: _Ovals = {-236: (-6, -9, 6, 6), -250: (-11, -11, 9, 9), -261: (-7, -10, 6, 6)}
_LINEA_ASPERA: _Ovals = {
    -275: (3, -11, 4, 3),
    -310: (0, -13.5, 4.5, 4),
    -400: (-1, -14, 4.5, 4),
    -480: (-1, -12.5, 4, 3),
}

_NECK_RADIUS_MM = 14.0
_NECK_END = (-211.0, 1.0)
"""Reference z where the neck's axis meets the shaft's, 125 degrees from it; how far to the side of it."""

_THIN_CORTEX_MM = 1.4
"""Cortex of head, neck and condyles."""
# The marrow of the shaft is fat; its share of the canal falls to nothing where the spongy bone of the ends begins.
_FAT_SHARE = {-268: 0.0, -290: 0.9, -320: 1.0, -520: 1.0, -545: 0.85, -565: 0.0}


def head_radius(frame: Frame) -> float:
    """Radius of the femoral head, mm."""
    return 21.8 if frame.female else 23.0


class Femur:
    """The thigh bones; the right one is laid out, the left one is its mirror image until the body is deformed."""

    def __init__(self, frame: Frame) -> None:
        shift = frame.pelvis_shift
        rng = frame.rng("femur")
        self.high, self.low = frame.heights["hip"] + head_radius(frame), -633.0 + shift
        self._cortex = Curve({z + shift: mm for z, mm in _CORTEX.items()})
        self._thickness = rng.uniform(0.85, 1.1) * (0.92 if frame.female else 1.0)
        self._fat_share = Curve({z + shift: share for z, share in _FAT_SHARE.items()})
        width = rng.uniform(0.96, 1.04)
        leg = Leg(frame, "right")

        def oval(stations: _Ovals, *, mirror: int = 1, overrun: float = 0.0) -> LoftShell:
            outlines = {}
            for z, (x, y, a, b) in stations.items():
                x0, y0 = leg.shaft(z + shift)
                outlines[z + shift] = ellipse(x0 + mirror * x, y0 + y, a * width, b * width)
            return LoftShell(outlines, overrun=overrun)

        knee_end = {z + shift: smooth(np.array(corners) + leg.shaft(z + shift)) for z, corners in _KNEE_END.items()}
        self._shaft: list[Shell] = [
            oval(_SHAFT, overrun=2.0), oval(_LESSER_TROCHANTER, overrun=3.0), oval(_LINEA_ASPERA, overrun=6.0),
            LoftShell(knee_end),
        ]  # fmt: skip
        head = (*HIP_JOINT, frame.heights["hip"])
        neck_z, aside = _NECK_END
        x, y = leg.shaft(neck_z + shift)
        self._spongy: list[Shell] = [
            Ball(head, head_radius(frame)), Bar(head, (x + aside, y, neck_z + shift), _NECK_RADIUS_MM * width),
            oval(_CONDYLE, overrun=2.5), oval(_CONDYLE, mirror=-1, overrun=2.5),
        ]  # fmt: skip

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not self.low <= z <= self.high:
            return
        cortex = float(self._cortex(z)) * self._thickness
        share = float(self._fat_share(z))
        shells = [*((shell, cortex) for shell in self._shaft), *((shell, _THIN_CORTEX_MM) for shell in self._spongy)]
        paint_cuts(canvas, paired(cut_all(shells, z)), "femur")
        canal = self._shaft[0].cut(z, cortex)
        if share > 0 and canal is not None and canal[1] is not None:
            canvas.fill(both_sides(scaled(canal[1], share)), "femur_fatty_marrow", over="femur_marrow")
