"""Skin, subcutaneous fat, and what fills the trunk before anything is in it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lib.phantoms.arm_surface import ArmSurface
from lib.phantoms.breast_surface import BreastSurface
from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.head_surface import HeadSurface
from lib.phantoms.legs import SIDE_SIGN, Leg
from lib.phantoms.shapes import Curve, inset
from lib.phantoms.trunk import SKIN_MM, Trunk

# z: how far, mm, the anterior renal fascia lies in front of the middle of the spinal column at the midline (great
# vessels), half way to the flank (kidney or psoas), and at the flank
_RENAL_FASCIA = {
    -238: (-30, -30, -40), -200: (-30, -25, -30), -158: (-10, 0, 20), -120: (18, 28, 30), -88: (24, 26, 16),
    -50: (28, 20, -2), 0: (34, 18, -18), 50: (36, 24, -16), 110: (36, 26, -24), 150: (30, -14, -60),
    190: (24, -40, -80),
}  # fmt: skip

_SOLE_MM = 7.0
"""Thickness of skin and fat under the foot."""


class Surface(Protocol):
    """The outlines of the trunk, the head, a limb or a breast, from height `low` to `high`."""

    low: float
    high: float

    def skin(self, z: float) -> Points:
        """The outer surface."""

    def outer(self, z: float) -> Points:
        """What lies under the subcutaneous fat."""


def surfaces(frame: Frame) -> list[Surface]:
    """All surfaces that together make the outside of a body, the trunk first."""
    pairs = (Leg, ArmSurface, BreastSurface) if frame.female else (Leg, ArmSurface)
    return [Trunk(frame), HeadSurface(frame), *(pair(frame, side) for pair in pairs for side in SIDE_SIGN)]


class Cover:
    """The body's outer layers. Leaves intermuscular fat within the fascia and visceral fat within the wall."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._trunk = Trunk(frame)
        self._surfaces = surfaces(frame)
        shift = frame.pelvis_shift
        self._fascia = Curve({z + (shift if z < -40 else 0.0): v for z, v in _RENAL_FASCIA.items()})
        self._fascia_top = max(_RENAL_FASCIA)

    def paint(self, canvas: Canvas) -> None:
        """Skin first, then what lies within it, so that trunk and limbs melt into one."""
        z = canvas.z
        there = [surface for surface in self._surfaces if surface.low <= z <= surface.high]
        for surface in there:
            canvas.fill(surface.skin(z), "skin")
        above_sole = z - self._frame.heights["sole"]
        if above_sole > SKIN_MM:
            # that of the arms first: where they lie against the trunk it is the trunk's
            for surface in sorted(there, key=lambda surface: not isinstance(surface, ArmSurface)):
                fat = "arm_fat" if isinstance(surface, ArmSurface) else "subcutaneous_fat"
                canvas.fill(inset(surface.skin(z), SKIN_MM), fat)
        if above_sole > _SOLE_MM:
            for surface in there:
                canvas.fill(surface.outer(z), "intermuscular_fat")
        if self._trunk.low <= z <= self._trunk.high and z >= self._frame.heights["symphysis_bottom"]:
            canvas.fill(self._trunk.inner(z), "peritoneal_fat")
            if z <= self._fascia_top:
                canvas.fill(self._behind_peritoneum(z), "retroperitoneal_fat", over="peritoneal_fat")

    def _behind_peritoneum(self, z: float) -> Points:
        """The room behind the anterior renal fascia, reaching beyond the inner surface behind and at the sides."""
        x0, y0 = self._frame.column(z)
        room = self._trunk.inner(z)
        (x_low, y_low), (x_high, _) = room.min(axis=0) - 1, room.max(axis=0) + 1
        middle, half_way, flank = self._fascia(z) + y0
        x = np.linspace(x_low, x_high, 25)
        off = np.where(x > x0, (x - x0) / (x_high - x0), (x0 - x) / (x0 - x_low))
        y = np.interp(off, [0, 0.22, 0.5, 0.8, 1], [middle, middle - 4, half_way, (half_way + flank) / 2, flank])
        return np.concatenate([np.stack([x, np.maximum(y, y_low)], axis=1), [[x_high, y_low], [x_low, y_low]]])
