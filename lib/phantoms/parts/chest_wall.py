"""The muscles on the rib cage and the shoulder girdle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.breast_surface import BreastSurface
from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.shells import both_sides
from lib.phantoms.shapes import Curve, inset, mirrored
from lib.phantoms.trunk import Trunk

Floats = npt.NDArray[np.float64]

_MUSCLE_ROOM = ("intermuscular_fat",)
_SIGNS = {"right": 1.0, "left": -1.0}

INTERCOSTAL_MM = (2.0, 7.5)
"""Depth of the intercostal muscles (and of the ribs between them) outside the inner surface of the wall."""

_RIB_ROOM_MM = 9.0

# Muscles that lie on the ribs, mm outside the inner surface of the wall. z: place where they begin and end along the
# half outline (0 the midline in front, 1 the flank, 2 the gutter beside the spine), inner and outer depth.
_INNER_LAYERS: dict[str, dict[float, tuple[float, float, float, float]]] = {
    "serratus": {
        150: (0.95, 1.1, 8.5, 9.5), 175: (0.8, 1.3, 8.5, 12), 220: (0.7, 1.5, 8.5, 13.5), 280: (0.66, 1.75, 8.5, 14.5),
        330: (0.72, 1.85, 8.5, 17), 355: (0.85, 1.85, 8.5, 15), 368: (1.0, 1.5, 8.5, 10),
    },
}  # fmt: skip
# Muscles below the fascia, mm inside the outer surface of the wall; drawn from the outermost inwards.
_OUTER_LAYERS: tuple[tuple[str, dict[float, tuple[float, float, float, float]]], ...] = (
    ("trapezius", {
        112: (2.86, 2.99, 0.4, 2), 160: (2.6, 2.99, 0.4, 3.5), 220: (2.3, 2.99, 0.4, 4.5), 280: (1.9, 2.99, 0.4, 6),
        330: (1.5, 2.99, 0.4, 8.5), 365: (1.3, 2.98, 0.4, 11), 374: (1.2, 2.96, 0.4, 11),
    }),
    ("latissimus_dorsi", {
        119: (1.15, 1.83, 0.2, 7), 160: (1.02, 1.9, 0.2, 8), 220: (1.0, 1.95, 0.2, 9), 265: (1.0, 1.75, 0.2, 10),
        295: (1.0, 1.5, 0.2, 12), 325: (1.02, 1.3, 0.5, 15), 345: (1.03, 1.14, 4, 12),
    }),
    ("rhomboids", {
        248: (2.2, 2.5, 6, 7), 265: (1.95, 2.9, 6, 10), 300: (1.85, 2.95, 7, 12), 345: (1.85, 2.95, 9, 14),
        362: (2.1, 2.95, 12, 14),
    }),
    ("pectoralis", {
        222: (0.3, 0.5, 0.5, 2), 235: (0.2, 0.62, 0.5, 6), 255: (0.1, 0.74, 0.5, 9), 285: (0.07, 0.84, 0.5, 11.5),
        320: (0.07, 0.92, 0.5, 15), 345: (0.09, 0.96, 0.5, 17), 364: (0.18, 0.84, 1, 14), 377: (0.4, 0.66, 3, 7),
    }),
)  # fmt: skip
# Pectoralis minor, mm outside the inner surface: from the third to fifth rib to the coracoid process
_PECTORALIS_MINOR = {
    262: (0.55, 0.68, 9, 11),
    290: (0.52, 0.78, 9, 15),
    330: (0.62, 0.84, 10, 20),
    358: (0.8, 0.9, 16, 28),
}

# Height of the costal margin along the half outline: the intercostal muscles lie above it
_MARGIN = {0.0: 190.0, 0.2: 172.0, 0.45: 120.0, 0.7: 75.0, 1.0: 45.0, 1.4: 42.0, 1.8: 62.0, 2.0: 75.0}
_SPINE_EDGE = 2.02
_PLACES: Floats = np.linspace(0, _SPINE_EDGE, 48)
_INTERCOSTAL_TOP = 376.0

# The trapezius on the shoulder, over the first rib: height range, thickness, and y of its edge at the collar bone
_SHOULDER_TRAPEZIUS = (374.0, 400.0, 10.0, -10.0)

_LENS: Floats = np.linspace(-1, 1, 25)
_PROFILE: Floats = np.sqrt(1 - _LENS**4)


class ChestWall:
    """The muscles on the rib cage and the shoulder girdle, and in women the breasts' glands."""

    def __init__(self, frame: Frame) -> None:
        rng = frame.rng("chest_wall")
        self._trunk = Trunk(frame)
        self._strong = {side: float(rng.uniform(0.94, 1.06)) for side in _SIGNS}
        # the strength of the wall of the belly says something of the muscles of the chest
        build = (0.82 if frame.female else 1.0) * float(np.clip(0.6 + 0.4 * frame.sizes.wall, 0.6, 1.25))
        self._build = build * float(rng.uniform(0.93, 1.07))
        self._inner = [(name, Curve(rows), min(rows), max(rows)) for name, rows in _INNER_LAYERS.items()]
        self._outer = [(name, Curve(rows), min(rows), max(rows)) for name, rows in _OUTER_LAYERS]
        self._minor = Curve(_PECTORALIS_MINOR)
        margin = Curve(_MARGIN)
        self._margin = np.array([float(margin(place)) for place in _PLACES])
        self._breasts = [BreastSurface(frame, side) for side in _SIGNS] if frame.female else []
        # glands give way to fat with age
        self._gland = float(np.clip(rng.normal(0.72 - 0.006 * (frame.person.age_years - 40), 0.12), 0.15, 0.9))

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not float(self._margin.min()) < z < self._trunk.high:
            return
        self._fill(canvas, "intercostals", [self._intercostals(z, sign) for sign in _SIGNS.values()])
        for name, curve, low, high in self._inner:
            if low < z < high:
                self._fill(canvas, name, self._on_ribs(curve(z), z))
        for name, curve, low, high in self._outer:
            if low < z < high:
                self._fill(canvas, name, self._below_fascia(curve(z), z))
        if min(_PECTORALIS_MINOR) < z < max(_PECTORALIS_MINOR):
            self._fill(canvas, "pectoralis", self._on_ribs(self._minor(z), z))
        low, high, thickness, edge = _SHOULDER_TRAPEZIUS
        if low <= z < high:
            outer = self._trunk.outer(z)
            ring, deep = canvas.polygon(inset(outer, 0.4)), canvas.polygon(inset(outer, thickness * self._build))
            inside = np.zeros(canvas.tissue.shape, bool)
            inside[deep.window] = deep.inside
            _, y = canvas.positions(ring)
            canvas.fill(ring.where(~inside[ring.window] & (y < edge)), "trapezius", over=_MUSCLE_ROOM)
        for breast in self._breasts:
            if breast.low < z < breast.high:
                gland = breast.gland(z, self._gland)
                if gland is not None:
                    canvas.fill(gland, "breast", over="subcutaneous_fat")

    def _intercostals(self, z: float, sign: float) -> Points | None:
        """A layer at the depth of the ribs, behind and above the costal margin."""
        there = np.flatnonzero(self._margin < z)
        if not len(there) or z > _INTERCOSTAL_TOP:
            return None
        at = _PLACES[there[0] :]
        return self._layer(z, sign, at, *(np.full(len(at), mm) for mm in INTERCOSTAL_MM))

    @staticmethod
    def _fill(canvas: Canvas, muscle: str, sides: list[Points | None]) -> None:
        right, left = sides
        if right is not None and left is not None:
            canvas.fill(both_sides(right, mirrored(left)), muscle, over=_MUSCLE_ROOM)

    def _on_ribs(self, row: Floats, z: float) -> list[Points | None]:
        """A muscle that lies on the ribs, right and left."""
        first, last, low, high = row
        depth = low + (high - low) * _PROFILE * self._build
        return [self._layer(z, sign, _along(first, last), low, depth) for sign in _SIGNS.values()]

    def _below_fascia(self, row: Floats, z: float) -> list[Points | None]:
        """A muscle that lies below the fascia, right and left."""
        first, last, low, high = row
        at = _along(first, last)
        sides: list[Points | None] = []
        for side, sign in _SIGNS.items():
            thickness = thickness_of(*self._trunk.across(z, sign, at))
            depth = low + (high - low) * _PROFILE * self._build * self._strong[side]
            # the ribs keep their room where the wall is thin
            depth = np.clip(depth, low, np.maximum(thickness - _RIB_ROOM_MM, low))
            sides.append(self._layer(z, sign, at, thickness - depth, thickness - low))
        return sides

    def _layer(self, z: float, sign: float, at: Floats, low: Floats | float, high: Floats | float) -> Points:
        """The outline between two depths, mm outside the inner surface, which stays inside the fascia."""
        inner, outer = self._trunk.across(z, sign, at)
        thickness = thickness_of(inner, outer)
        within, without = (
            inner + (outer - inner) * np.broadcast_to(np.clip(mm / thickness, 0.0, 0.99), len(at))[:, None]
            for mm in (low, high)
        )
        return np.concatenate([within, without[::-1]])


def thickness_of(inner: Points, outer: Points) -> Floats:
    """(n,) mm between corresponding points of the wall's surfaces."""
    return np.maximum(np.sqrt(np.square(outer - inner).sum(axis=1)), 0.1)


def _along(first: float, last: float) -> Floats:
    """Places between the edges of a muscle."""
    return first + (last - first) * (_LENS + 1) / 2  # type: ignore[no-any-return]
