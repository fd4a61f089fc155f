"""Ribs, their cartilages and the sternum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import SIDE_SIGN
from lib.phantoms.parts.rib_band import Band, Sections
from lib.phantoms.parts.spine_arch import arch_sizes, canal_depth
from lib.phantoms.shapes import Curve, ellipse
from lib.phantoms.trunk import Trunk

COUNTED_FROM_MM = 38.0
"""Length from which on a rib counts as a normal one (Ha 2021)."""

# Places on the wall: share along the half of the trunk (0 the midline in front, 1 the flank, 2 the gutter beside the
# spine) and height z. Where the bone of a rib ends, and where its cartilage runs on; those of the first seven then
# reach the sternum at a height of their own.
_ENDS: dict[int, tuple[float, float]] = {
    1: (0.34, 358), 2: (0.32, 331), 3: (0.30, 301), 4: (0.31, 271), 5: (0.34, 236), 6: (0.42, 194), 7: (0.52, 150),
    8: (0.70, 108), 9: (0.86, 80), 10: (1.02, 51), 11: (1.36, 60), 12: (1.45, 40),
}  # fmt: skip
_CARTILAGES: dict[int, tuple[tuple[float, float], ...]] = {
    6: ((0.27, 208),), 7: ((0.38, 158), (0.24, 184)), 8: ((0.53, 124), (0.42, 147)), 9: ((0.71, 92), (0.56, 115)),
    10: ((0.85, 60), (0.73, 80)),
}  # fmt: skip
_AT_STERNUM: dict[int, float] = {1: 353, 2: 326, 3: 299, 4: 276, 5: 256, 6: 240, 7: 226}

# How a rib falls between its tubercle and its end: share of the way to share of the fall.
_FALL = PchipInterpolator([0, 0.15, 0.5, 0.8, 1], [0, 0.1, 0.5, 0.84, 1])

# Share of the length to half-thickness and half-height, mm.
_SECTIONS: dict[int, Sections] = {
    1: {0: (4.0, 3.5), 0.2: (4.5, 3.6), 0.5: (7.5, 3.4), 1: (7.5, 3.6)},
    11: {0: (4.5, 5.0), 0.15: (3.2, 4.8), 0.5: (3.2, 5.6), 0.9: (2.8, 4.8), 1: (2.0, 2.6)},
    12: {0: (4.2, 4.8), 0.2: (3.0, 4.4), 0.6: (2.9, 4.8), 0.9: (2.5, 3.8), 1: (1.8, 2.2)},
    13: {0: (2.8, 3.2), 0.6: (2.6, 3.4), 1: (1.8, 2.2)},
}
_USUAL: Sections = {0: (4.8, 5.2), 0.08: (3.4, 5.2), 0.2: (3.5, 6.0), 0.6: (3.3, 6.4), 0.9: (3.3, 6.6), 1: (3.9, 7.0)}
_CARTILAGE: Sections = {0: (3.8, 6.6), 0.5: (3.6, 5.4), 1: (3.5, 5.0)}

_FIRST_CARTILAGE: Sections = {0: (5.5, 4.0), 1: (5.5, 4.5)}

_DEPTH_MM = 4.75
"""Distance of the middle of a rib from the inner surface of the wall."""
_ROOM_MM = 4.6
"""Least distance of the middle of a rib from the fascia."""
_CORTEX_MM = 1.1
_LOW_Z, _HIGH_Z, _LAYER_MM = 16.0, 400.0, 16.0
_PLACES = np.linspace(0, 2.05, 56)

# Share of the way from the sternal notch down to the tip of the xiphoid process: half-width and half-depth, mm.
_STERNUM = Curve({
    0.0: (22, 6.0), 0.03: (29, 7.0), 0.12: (28, 6.8), 0.2: (19, 6.0), 0.25: (15, 5.6), 0.45: (16.5, 5.3),
    0.7: (20, 5.2), 0.78: (16, 5.0), 0.82: (8, 4.2), 0.95: (6, 3.0), 1.0: (2.5, 1.5),
})  # fmt: skip
_STERNUM_MM = 8.0
"""Distance of its middle from the inner surface of the wall."""
_LAST_WITH_CARTILAGE = 10


@dataclass
class _Bands:
    """The bones of the ribs by number and side, and the cartilages."""

    bones: dict[tuple[int, str], Band]
    cartilages: list[Band]


class Ribs:
    """Ribs, their cartilages and the sternum."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._sizes = arch_sizes(frame)
        self._notch, self._xiphoid = frame.heights["sternal_notch"], frame.heights["xiphoid"]

    @cached_property
    def _cage(self) -> _Cage:
        return _Cage(Trunk(self._frame))

    @cached_property
    def _bands(self) -> _Bands:
        """All ribs and cartilages, laid out when a slice first comes near them."""
        rng = self._frame.rng("ribs")
        common = float(rng.uniform(-3, 3))
        bands = _Bands({}, [])
        for number in range(1, 14):
            for side, sign in SIDE_SIGN.items():
                shift, length = common + float(rng.uniform(-1.5, 1.5)), float(rng.random())
                if self._has(number):
                    bone = self._rib(number, sign, shift, length)
                    bands.bones[number, side] = bone
                    if number <= _LAST_WITH_CARTILAGE:
                        bands.cartilages.append(self._cartilage(number, sign, shift, bone))
        return bands

    @property
    def lengths(self) -> dict[tuple[int, str], float]:
        """Number and side of every rib to its length in mm, from the head to the end of the bone."""
        return {key: band.length for key, band in self._bands.bones.items()}

    def paint(self, canvas: Canvas) -> None:
        """Draw cartilages, then the ribs with their marrow, then the sternum."""
        z = canvas.z
        if not _LOW_Z < z < _HIGH_Z:
            return
        for band in self._bands.cartilages:
            if band.low < z < band.high:
                for outline in band.cut(z):
                    canvas.fill(outline, "cartilage")
        for (number, side), band in self._bands.bones.items():
            if band.low < z < band.high:
                name = f"rib_{number}_{side}"
                for outline in band.cut(z):
                    canvas.fill(outline, name)
                for outline in band.cut(z, shrink=_CORTEX_MM):
                    canvas.fill(outline, "rib_marrow", over=name)
        self._paint_sternum(canvas)

    def _has(self, number: int) -> bool:
        variant = self._frame.person.variant
        if number == 12:
            return variant.rib_12 != "absent"
        return number < 12 or variant.rib_l1

    def _rib(self, number: int, sign: float, shift: float, share: float) -> Band:
        """A rib from its head along the wall; the last ones are as long as the variant says.

        Args:
            number: of the rib.
            sign: of its side.
            shift: how much higher than usual its end lies, mm.
            share: place of the length of a last rib between the least and the greatest of its kind.
        """
        sections = _SECTIONS.get(number, _USUAL)
        if number == 13:
            return Band(self._rudiment(sign), sections, length=_between(_RUDIMENT_MM, share))
        head, neck, tubercle = self._behind(number, sign)
        at, z = _ENDS[number]
        z += shift if number > 1 else 0.0
        way = np.linspace(0, 1, 15)
        places = 1.98 + (at - 1.98) * way
        heights = tubercle[2] - 2 + (z - tubercle[2] + 2) * _FALL(way)
        wall = self._cage.at(places, heights, sign, widest=_WIDEST.get(number))
        # the first point of the wall may lie beside the tubercle or even nearer to the midline
        there = np.abs(wall[:, 0]) > abs(tubercle[0]) + 10
        lean = np.concatenate([np.zeros((3, 2)), self._cage.lean(places, heights, sign)[there]])
        length = None
        if number == 12:
            normal = self._frame.person.variant.rib_12 == "normal"
            length = _between(_TWELFTH_MM if normal else _HYPOPLASTIC_MM, share)
        return Band(np.concatenate([[head, neck, tubercle], wall[there]]), sections, length=length, lean=lean)

    def _behind(self, number: int, sign: float) -> tuple[npt.NDArray[np.float64], ...]:
        """Head at the edge of the body, middle of the neck, and tubercle in front of the transverse process."""
        vertebra = self._frame.vertebrae[f"T{number}"]
        size = self._sizes[f"T{number}"]
        v0 = -canal_depth(vertebra, size)
        high = 0.2 if number in (1, 10, 11, 12) else 0.45
        head = vertebra.at(sign * (0.92 * vertebra.a + 4), -0.72 * vertebra.b, high * vertebra.height)
        reach = max(size.transverse_u + 2.0, vertebra.a + 14.0)
        front = v0 + size.transverse_v + size.transverse_a + 4.5
        tubercle = vertebra.at(sign * reach, min(front, -0.72 * vertebra.b - 8.0), 0.1 * vertebra.height)
        return head, (head + tubercle) / 2, tubercle

    def _rudiment(self, sign: float) -> npt.NDArray[np.float64]:
        """A way for the rib of L1: on from its short transverse process, to the side and down."""
        vertebra, size = self._frame.vertebrae["L1"], self._sizes["L1"]
        start = (size.transverse_u + 6.0, size.transverse_v - canal_depth(vertebra, size), size.transverse_w)
        steps = np.array([[0, 0, 0], [12, -4, -4], [24, -9, -9], [36, -15, -15]]) + np.array(start)
        return np.stack([vertebra.at(sign * u, v, w) for u, v, w in steps])

    def _cartilage(self, number: int, sign: float, shift: float, rib: Band) -> Band:
        """From the end of a rib to the sternum, or to the cartilage above it."""
        places, heights = np.array(_CARTILAGES.get(number, ())).reshape(-1, 2).T
        path = [*rib.points[[-4, -1]], *self._cage.at(places, heights + shift, sign)]
        at, z = _ENDS[number]
        places, heights = np.concatenate([[at, at], places]), np.concatenate([[z, z], heights]) + shift
        lean = [*self._cage.lean(places, heights, sign)]
        if number in _AT_STERNUM:
            z = _AT_STERNUM[number]
            a, _ = self._sternum(z)
            path.append(np.array([sign * (a - 3.0), self._cage.front(z) + _STERNUM_MM - 1.0, z]))
            lean.append(np.zeros(2))
        return Band(np.array(path), _FIRST_CARTILAGE if number == 1 else _CARTILAGE, lean=np.array(lean))

    def _sternum(self, z: float) -> tuple[float, float]:
        share = (self._notch - z) / (self._notch - self._xiphoid)
        a, b = _STERNUM(share)
        return float(a), float(b)

    def _paint_sternum(self, canvas: Canvas) -> None:
        z = canvas.z
        if not self._xiphoid < z < self._notch:
            return
        a, b = self._sternum(z)
        y = self._cage.front(z) + _STERNUM_MM
        canvas.fill(ellipse(0.0, y, a, b, power=2.8), "sternum_cortex")
        if a > 4 and b > 2.5:
            canvas.fill(ellipse(0.0, y, a - 1.2, b - 1.2, power=2.8), "sternum_marrow")


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


_RUDIMENT_MM, _TWELFTH_MM, _HYPOPLASTIC_MM = (17.0, 33.0), (84.0, 136.0), (20.0, 34.0)
"""Least and greatest length of the rib of L1, and of a twelfth rib that is normal or hypoplastic."""
_WIDEST = {1: 62.0, 2: 90.0}
"""Greatest |x| of the upper ribs, mm: the shoulders make the wall of the chest wider than its cage."""


class _Cage:
    """The surface in the wall of the chest on which the ribs lie, as a table over height and place."""

    def __init__(self, trunk: Trunk) -> None:
        self._z = np.arange(_LOW_Z, _HIGH_Z + 1, _LAYER_MM)
        layers = [[_layer(trunk, float(z), sign) for sign in (1.0, -1.0)] for z in self._z]
        self._tables = {sign: np.stack([layer[i][0] for layer in layers]) for i, sign in enumerate((1.0, -1.0))}
        self._front = Curve({float(z): layer[0][1] for z, layer in zip(self._z, layers, strict=True)})

    def front(self, z: float) -> float:
        """The y of the inner surface of the wall in the midline in front."""
        return float(self._front(z))

    def at(
        self, places: npt.NDArray[np.float64], z: npt.NDArray[np.float64], sign: float, *, widest: float | None = None
    ) -> npt.NDArray[np.float64]:
        """Points (n, 3) at places along the half of the trunk and heights; ``widest``: the cage is narrowed to it."""
        table = self._tables[sign]
        row = np.clip((z - self._z[0]) / _LAYER_MM, 0, len(self._z) - 1.001)
        column = np.clip(places / (_PLACES[1] - _PLACES[0]), 0, len(_PLACES) - 1.001)
        i, j = row.astype(int), column.astype(int)
        s, t = (row - i)[:, None], (column - j)[:, None]
        xy: Points = (table[i, j] * (1 - t) + table[i, j + 1] * t) * (1 - s)
        xy = xy + (table[i + 1, j] * (1 - t) + table[i + 1, j + 1] * t) * s
        if widest is not None:
            xy[:, 0] *= min(1.0, widest / float(np.abs(xy[:, 0]).max()))
        return np.concatenate([xy, z[:, None]], axis=1)

    def lean(self, places: npt.NDArray[np.float64], z: npt.NDArray[np.float64], sign: float) -> npt.NDArray[np.float64]:
        """How the surface leans at places and heights: (n, 2) mm along x and y per mm of height."""
        above, below = (self.at(places, z + step, sign)[:, :2] for step in (6.0, -6.0))
        return (above - below) / 12.0  # type: ignore[no-any-return]


def _layer(trunk: Trunk, z: float, sign: float) -> tuple[Points, float]:
    """(n, 2) points of the ribs' surface at one height, one per place, and the y of the wall's inside in front."""
    inner, outer = trunk.across(z, sign, _PLACES)
    thickness = np.sqrt(((outer - inner) ** 2).sum(axis=1))
    # where the wall is thin a rib bulges into the chest rather than through the fascia
    share = (np.minimum(_DEPTH_MM, thickness - _ROOM_MM) / thickness)[:, None]
    return inner * (1 - share) + outer * share, float(inner[0, 1])
