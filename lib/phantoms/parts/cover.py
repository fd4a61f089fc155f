"""Skin, subcutaneous fat, and what fills the trunk before anything is in it."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.legs import Leg
from lib.phantoms.shapes import inset
from lib.phantoms.trunk import SKIN_MM, Trunk


class Cover:
    """The body's outer layers. Leaves intermuscular fat within the fascia and peritoneal fat within the wall."""

    def __init__(self, frame: Frame) -> None:
        self._trunk = Trunk(frame)
        self._legs = [Leg(frame, side) for side in ("left", "right")]

    def paint(self, canvas: Canvas) -> None:
        """Skin first, then what lies within it, so that trunk and legs melt into one."""
        z = canvas.z
        trunk = self._trunk if self._trunk.low <= z <= self._trunk.high else None
        parts = [*([trunk] if trunk else []), *(leg for leg in self._legs if leg.low <= z <= leg.high)]
        for part in parts:
            canvas.fill(part.skin(z), "skin")
        for part in parts:
            canvas.fill(inset(part.skin(z), SKIN_MM), "subcutaneous_fat")
        for part in parts:
            canvas.fill(part.outer(z), "intermuscular_fat")
        if trunk:
            canvas.fill(trunk.inner(z), "peritoneal_fat")
