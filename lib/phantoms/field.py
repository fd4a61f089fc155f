"""The field of view: how large a square of the body's cross-section the scanner reconstructs, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.cover import surfaces
from lib.phantoms.trunk import Trunk

_STATION_MM = 15.0
_MARGIN_MM = (10.0, 30.0)  # of air around the body, world mm, as the technician leaves it
_WARP_MM = 4.0  # by which the body's own deformation may move the skin
_OFF_CENTRE_MM = 8.0
_LEAST_SEEN = 0.72  # share of the trunk's width at L3 that is in the field when it is truncated at full strength


@dataclass(frozen=True)
class FieldOfView:
    """A square of the transverse plane.

    Attributes:
        side_mm: its side, world mm.
        x: its middle, reference mm.
        y: its middle, reference mm.
    """

    side_mm: float
    x: float
    y: float


def skin_points(frame: Frame, bottom: float, top: float) -> Points:
    """Points (n, 2) of all skin outlines between two heights, reference mm."""
    heights = np.linspace(bottom, top, max(int((top - bottom) / _STATION_MM), 1) + 1)
    return np.concatenate([
        surface.skin(float(z)) for surface in surfaces(frame) for z in heights if surface.low <= z <= surface.high
    ])  # fmt: skip


def field_of_view(frame: Frame, bottom: float, top: float, *, circle: bool = False) -> FieldOfView:
    """The field that holds the body between two heights, with some air around; smaller in the condition "truncated".

    Args:
        frame: of the person.
        bottom: reference mm.
        top: reference mm.
        circle: whether only the circle within the square is reconstructed, so that it must hold the body.
    """
    rng = frame.rng("field of view")
    margin, off_x, off_y = rng.uniform(*_MARGIN_MM), *rng.uniform(-_OFF_CENTRE_MM, _OFF_CENTRE_MM, 2)
    skin = skin_points(frame, bottom, top)
    low, high = skin.min(axis=0), skin.max(axis=0)
    x, y = (low + high) / 2 + (off_x, off_y)
    away = np.abs(skin - (x, y))
    reach = np.sqrt((away**2).sum(axis=1)).max() if circle else away.max()
    side = 2 * ((reach + _WARP_MM) * frame.width_scale + margin)
    trunk = Trunk(frame).skin(float(np.clip(0.0, bottom, top)))
    smallest = _LEAST_SEEN * float(np.ptp(trunk[:, 0])) * frame.width_scale
    side += frame.person.strength("truncated") * (smallest - side)
    return FieldOfView(float(side), float(x), float(y))
