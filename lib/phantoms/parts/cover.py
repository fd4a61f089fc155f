"""Skin, subcutaneous fat, and what fills the trunk before anything is in it."""

from __future__ import annotations

from typing import Protocol

from lib.phantoms.arm_surface import ArmSurface
from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.head_surface import HeadSurface
from lib.phantoms.legs import Leg
from lib.phantoms.shapes import inset
from lib.phantoms.trunk import SKIN_MM, Trunk


class Surface(Protocol):
    """The outlines of the trunk, the head or a limb, from height `low` to `high`."""

    low: float
    high: float

    def skin(self, z: float) -> Points:
        """The outer surface."""

    def outer(self, z: float) -> Points:
        """What lies under the subcutaneous fat."""


class Cover:
    """The body's outer layers. Leaves intermuscular fat within the fascia and peritoneal fat within the wall."""

    def __init__(self, frame: Frame) -> None:
        self._trunk = Trunk(frame)
        sides = ("left", "right")
        self._surfaces: list[Surface] = [self._trunk, HeadSurface(frame), *(Leg(frame, side) for side in sides)]
        if frame.arms_beside:
            self._surfaces += [ArmSurface(frame, side) for side in sides]

    def paint(self, canvas: Canvas) -> None:
        """Skin first, then what lies within it, so that trunk and limbs melt into one."""
        z = canvas.z
        there = [surface for surface in self._surfaces if surface.low <= z <= surface.high]
        for surface in there:
            canvas.fill(surface.skin(z), "skin")
        for surface in there:
            canvas.fill(inset(surface.skin(z), SKIN_MM), "subcutaneous_fat")
        for surface in there:
            canvas.fill(surface.outer(z), "intermuscular_fat")
        if self._trunk in there:
            canvas.fill(self._trunk.inner(z), "peritoneal_fat")
