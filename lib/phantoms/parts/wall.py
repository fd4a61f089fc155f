"""The muscles of the abdominal wall: rectus, obliques, transversus, with the fat between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve
from lib.phantoms.trunk import FRONT_POWER, RECTUS_EDGE, Trunk

Floats = npt.NDArray[np.float64]

_SIDES = (1.0, -1.0)
_ROOM = ("intermuscular_fat",)

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
_ON_RIBS = 0.58
"""Share of the wall at which the ribs end and the external oblique on them begins."""
_PAPER_MM = 1.7
"""Thickness of a rectus as thin as paper."""
_PLACES: Floats = np.linspace(0, 2.1, 50)


@dataclass(frozen=True)
class _Layer:
    """One of the flat muscles at a height.

    Attributes:
        name: of the muscle.
        part: where among _PLACES it is.
        begin: (n,) share of the wall's thickness at which its room begins, from within.
        end: share at which its room ends.
        amount: (n,) how much of the room it fills.
    """

    name: str
    part: slice
    begin: Floats
    end: float
    amount: Floats

    def outline(self, low: Points, across: Points, plane: Floats) -> Points:
        """Its outline on one side.

        Args:
            low: inner surface of the wall at _PLACES.
            across: from there to the outer surface.
            plane: share of the thickness that is fat between two layers.
        """
        half = np.maximum((self.end - self.begin) / 2 - plane[self.part] / 2, 0.02) * self.amount
        middle = self.end - half if self.end == 1.0 else (self.begin + self.end) / 2
        return _band(low[self.part], across[self.part], middle - half, middle + half)


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
            _PLACES, [0.0, 0.3, 0.55, 0.8, 1.0, 1.4, 2.1],
            [heights["symphysis_top"], heights["acetabulum_top"] - 10, heights["asis"] - 46, heights["asis"] - 24,
             heights["asis"] - 4,
             heights["iliac_crest"] - 14, heights["iliac_crest"] - 6],
        )  # fmt: skip
        # fat people show planes of fat between the layers
        self._plane_mm = 0.2 + 1.2 * float(np.clip((frame.sizes.fat + frame.sizes.cavity - 1.4) / 2.6, 0, 1))

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not self._low < z < 260.0:
            return
        layers = [self._layer(name, z) for name in _LAYERS]
        for sign in _SIDES:
            low, high = self._trunk.across(z, sign, _PLACES)
            across = high - low
            thickness = np.maximum(np.sqrt((across**2).sum(axis=1)), 1.0)
            for layer in layers:
                if layer is not None:
                    canvas.fill(layer.outline(low, across, self._plane_mm / thickness), layer.name, over=_ROOM)
            if z < _RECTUS_TOP:
                canvas.fill(self._rectus_outline(z, sign), "rectus_abdominis", over=(*_ROOM, *_LAYERS))
            outline = self._latissimus(z, sign)
            if outline is not None:
                canvas.fill(outline, "latissimus_dorsi", over=_ROOM)

    def _layer(self, name: str, z: float) -> _Layer | None:
        """One of the flat muscles at a height, None where it is not."""
        first, last, start, end = _LAYERS[name]
        room = _ramp(z - self._floor, 16.0)
        under_ribs = _ramp(self._margin - z, 18.0)
        begin = np.full(len(_PLACES), start)
        if name == "external_oblique":
            # it alone goes on over the ribs, and leaves those behind to the latissimus
            last -= 0.55 * float(np.clip((z - 10.0) / 80.0, 0, 1))
            room = room * _ramp(225.0 - 60.0 * np.abs(_PLACES - 0.8) - z, 30.0)
            begin = start + (_ON_RIBS - start) * (1 - under_ribs)
        else:
            room = room * under_ribs
        amount = room * np.sqrt(_ramp(_PLACES - first, 0.14) * _ramp(last - _PLACES, 0.3))
        there = np.flatnonzero(amount > 0.02)
        if not len(there):
            return None
        part = slice(there[0], there[-1] + 1)
        return _Layer(name, part, begin[part], end, amount[part])

    def _rectus_outline(self, z: float, sign: float) -> Points:
        """A flat lens with blunt ends beside the linea alba."""
        width, alba = self._rectus(z)
        reach = float(np.abs(self._trunk.inner(z)[:, 0]).max())
        edges = np.array([alba * self._alba, width * self._rectus_width])
        # in front |x| grows along the outline like a power of a sine
        first, last = 2 / np.pi * np.arcsin(np.clip(edges / reach, 0, 1) ** (1 / FRONT_POWER))
        u = -np.cos(np.linspace(0, np.pi, 19))
        low, high = self._trunk.across(z, sign, first + (last - first) * (u + 1) / 2)
        across = high - low
        on_ribs = float(_ramp(np.array(z - 110.0), 70.0))
        start, end = 0.05 + 0.45 * on_ribs, 0.97
        full = np.sqrt((across**2).sum(axis=1)) * (end - start)
        thinned = 1 - self._thin * (1 - np.minimum(_PAPER_MM / np.maximum(full, 0.1), 1.0))
        half = (end - start) / 2 * thinned * (1 - np.abs(u) ** 4) ** 0.5
        return _band(low, across, (start + end) / 2 - half, (start + end) / 2 + half)

    def _latissimus(self, z: float, sign: float) -> Points | None:
        """A thin sheet behind the flank, from the iliac crest upwards; above z = 120 the chest wall goes on with it."""
        bottom = self._frame.heights["iliac_crest"] + 10.0
        if not bottom < z < 120.0:
            return None
        rise = min((z - bottom) / 90.0, 1.0)
        low, high = self._trunk.across(z, sign, np.linspace(1.98 - 0.15 * rise, 1.5 - 0.35 * rise, 14))
        across = high - low
        profile = np.sqrt(np.sin(np.linspace(0.15, np.pi - 0.1, 14)))
        share = np.minimum((2.0 + 5.0 * rise) / np.maximum(np.sqrt((across**2).sum(axis=1)), 1.0), 0.5) * profile
        return _band(low, across, 0.99 - share, np.full(14, 0.99))


def _band(low: Points, across: Points, start: Floats, end: Floats) -> Points:
    """The outline of a layer of the wall.

    Args:
        low: (n, 2) inner surface of the wall.
        across: (n, 2) from there to the outer surface.
        start: (n,) share of the wall at which the layer begins.
        end: (n,) share at which it ends.
    """
    return np.concatenate([low + across * start[:, None], (low + across * end[:, None])[::-1]])


def _ramp(value: Floats, width: float) -> Floats:
    """0 below 0, 1 above a width, smooth between."""
    share = np.minimum(np.maximum(value / width, 0), 1)
    return share * share * (3 - 2 * share)
