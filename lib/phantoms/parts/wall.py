"""The muscles of the abdominal wall: rectus, obliques, transversus, with the fat between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve
from lib.phantoms.trunk import RECTUS_EDGE, Trunk

Floats = npt.NDArray[np.float64]

_SIDES = (1.0, -1.0)
_MUSCLE_ROOM = ("intermuscular_fat",)

# Half-width of the rectus, mm, and half the width of the linea alba; z relative to L3's inferior endplate.
_RECTUS = {-200: (15, 1), -150: (32, 0.8), -90: (52, 1), -24: (66, 2), 60: (70, 4.5), 120: (72, 6), 200: (74, 9)}
_RECTUS_TOP = 205.0

# Where along the half outline (0 front, 1 flank, 2 gutter) the layers begin and end at the loins, and the depth they
# fill at the flank, as shares of the wall's thickness from within.
_LAYERS: dict[str, tuple[float, float, float, float]] = {
    "transversus_abdominis": (RECTUS_EDGE - 0.02, 2.04, 0.0, 0.22),
    "internal_oblique": (RECTUS_EDGE, 1.97, 0.22, 0.62),
    "external_oblique": (RECTUS_EDGE + 0.02, 1.85, 0.62, 1.0),
}

# Height of the costal margin above L3's endplate along the half outline.
_MARGIN = {0.0: 180.0, 0.2: 165.0, 0.45: 115.0, 0.7: 70.0, 1.0: 38.0, 1.4: 40.0, 1.8: 62.0, 2.0: 75.0}
_PLACES: Floats = np.linspace(0, 2.1, 64)


class Wall:
    """The muscles of the abdominal wall: rectus, obliques, transversus, with the fat between them."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._trunk = Trunk(frame)
        rng = frame.rng("wall")
        self._rectus_width = float(rng.uniform(0.93, 1.07)) * (0.95 if frame.female else 1.0)
        self._alba = float(rng.uniform(0.6, 1.6))
        self._thin = frame.person.strength("thin_rectus")
        self._rectus = Curve({z + (frame.pelvis_shift if z < -40 else 0): v for z, v in _RECTUS.items()})
        self._low = frame.heights["symphysis_top"]
        margin = Curve(_MARGIN)
        self._margin = np.array([float(margin(place)) for place in _PLACES])
        heights = frame.heights
        # the obliques end at the iliac crest behind, at the spine in front of it, at the inguinal ligament in front
        self._floor = np.interp(
            _PLACES, [0.0, 0.3, 0.75, 1.0, 1.4, 2.1],
            [heights["symphysis_top"], heights["acetabulum_top"], heights["asis"], heights["asis"] + 25,
             heights["iliac_crest"] - 14, heights["iliac_crest"] - 6],
        )  # fmt: skip
        # fat people show planes of fat between the layers
        self._plane_mm = 0.35 + 0.8 * float(np.clip((frame.sizes.fat + frame.sizes.cavity - 0.8) / 2.4, 0, 1))

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not self._low < z < 260.0:
            return
        for sign in _SIDES:
            for name in _LAYERS:
                outline = self._layer(name, z, sign)
                if outline is not None:
                    canvas.fill(outline, name, over=_MUSCLE_ROOM)
            if z < _RECTUS_TOP:
                canvas.fill(self._rectus_outline(z, sign), "rectus_abdominis", over=(*_MUSCLE_ROOM, *_LAYERS))
            outline = self._latissimus(z, sign)
            if outline is not None:
                canvas.fill(outline, "latissimus_dorsi", over=_MUSCLE_ROOM)

    def _layer(self, name: str, z: float, sign: float) -> Points | None:
        """The outline of one of the flat muscles, None where it is not."""
        first, last, low, high = _LAYERS[name]
        outermost = name == "external_oblique"
        # the external oblique goes on over the ribs, the others end at the costal margin
        room = _ramp(z - self._floor, 16.0)
        top = _ramp(self._margin - z, 18.0)
        over_ribs = 1 - top
        if outermost:
            room = room * _ramp(225.0 - 60.0 * np.abs(_PLACES - 0.8) - z, 30.0)
            low_share = low + (0.58 - low) * over_ribs + 0.0 * room
        else:
            room = room * top
            low_share = np.full(len(_PLACES), low)
        taper = _ramp(_PLACES - first, 0.14) * _ramp(last - _PLACES, 0.3)
        amount = room * np.sqrt(taper)
        there = amount > 0.02
        if not there.any():
            return None
        edge = np.flatnonzero(there)
        part = slice(edge[0], edge[-1] + 1)
        at = _PLACES[part]
        planes = self._plane_mm / np.maximum(self._trunk.thickness(z, sign, at), 1.0)
        middle = (low_share[part] + high) / 2
        half = ((high - low_share[part]) / 2 - planes / 2).clip(0.02) * amount[part]
        if outermost:
            middle = high - half - planes * 0.2
        within = self._trunk.along(z, sign, at, middle - half)
        without = self._trunk.along(z, sign, at, middle + half)
        return np.concatenate([within, without[::-1]])

    def _rectus_outline(self, z: float, sign: float) -> Points:
        """A flat lens beside the linea alba."""
        width, alba = self._rectus(z)
        width *= self._rectus_width
        inner = self._trunk.inner(z)
        reach = float(np.abs(inner[:, 0]).max())
        # on the front of the outline x grows with the place nearly like a sine
        across = np.array([alba * self._alba, width])
        ends = 2 / np.pi * np.arcsin(np.clip(across / reach, 0, 1) ** (2.35 / 2))
        t = np.linspace(0, 1, 15)
        at = ends[0] + (ends[1] - ends[0]) * t
        profile = (1 - np.abs(2 * t - 1) ** 3.6) ** (1 / 2.2)
        thickness = self._trunk.thickness(z, sign, at)
        over_ribs = float(_ramp(np.array(z - 110.0), 70.0))
        low, high = 0.04 + 0.46 * over_ribs, 0.96
        half = (high - low) / 2 * profile
        full = np.maximum(thickness * (high - low), 0.1)
        half = half * (1 - self._thin * (1 - np.minimum(1.8 / full, 1.0)))
        middle = (low + high) / 2
        within = self._trunk.along(z, sign, at, middle - half)
        without = self._trunk.along(z, sign, at, middle + half)
        return np.concatenate([within, without[::-1]])

    def _latissimus(self, z: float, sign: float) -> Points | None:
        """A thin sheet behind the flank, from the iliac crest upwards; above z = 120 the chest wall goes on with it."""
        low = self._frame.heights["iliac_crest"] + 10.0
        if not low < z < 120.0:
            return None
        rise = min((z - low) / 90.0, 1.0)
        at = np.linspace(1.98 - 0.15 * rise, 1.5 - 0.35 * rise, 14)
        thickness = self._trunk.thickness(z, sign, at)
        profile = np.sqrt(np.sin(np.linspace(0.15, np.pi - 0.1, 14)))
        share = np.minimum((2.0 + 5.0 * rise) / np.maximum(thickness, 1), 0.5) * profile
        top = np.full(14, 0.99)
        return np.concatenate([self._trunk.along(z, sign, at, top), self._trunk.along(z, sign, at, top - share)[::-1]])


def _ramp(value: Floats, width: float) -> Floats:
    """0 below 0, 1 above a width, smooth between."""
    share = np.clip(value / width, 0, 1)
    return share * share * (3 - 2 * share)
