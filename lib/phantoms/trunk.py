"""The surfaces of the trunk at every height: skin, outer surface of the muscles, inner surface of the wall."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve, inset

Floats = npt.NDArray[np.float64]

N = 128
ANGLES: Floats = 2 * np.pi * np.arange(N) / N
"""Directions of the outlines' points from the trunk's centre: 0 is the patient's right, a quarter turn the front."""

SKIN_MM = 1.8

# The inner surface of the wall, mm. z: half-width w and its y; y of the front; then, relative to the middle of the
# spinal column, x and y of the gutter beside the spine (in the pelvis: where the iliac wing meets the sacrum), y at the
# midline; roundness of the curve between flank and gutter (2 is an ellipse, 1 a straight line).
_INNER = {
    -290: (24, -28, -8, 14, 22, 24, 2.0), -238: (46, -15, 16, 26, 12, 10, 2.0), -200: (57, -12, 36, 34, 14, 6, 2.0),
    -185: (57, -8, 46, 38, 10, 3, 2.0), -158: (70, 5, 56, 42, 4, 0, 1.9), -145: (80, 10, 61, 42, 0, -2, 1.8),
    -130: (92, 18, 65, 46, -9, -4, 2.0), -116: (101, 24, 69, 52, -14, -5, 2.0), -102: (110, 30, 73, 56, -23, -7, 2.0),
    -90: (115, 37, 76, 60, -35, -9, 2.0), -80: (119, 32, 78, 62, -43, -10, 1.9), -62: (122, 18, 79, 72, -47, -12, 1.9),
    -45: (121, 10, 80, 78, -44, -12, 2.0), -24: (119, 6, 80, 79, -42, -12, 2.1), 0: (118, 2, 80, 79, -42, -12, 2.1),
    50: (119, 0, 82, 76, -45, -12, 2.2), 110: (126, -5, 86, 64, -45, -10, 2.2), 165: (133, -10, 90, 58, -48, -8, 2.3),
    220: (136, -14, 88, 55, -50, -6, 2.3), 280: (138, -16, 78, 52, -50, -6, 2.3),
    330: (114, -18, 58, 46, -42, -10, 2.3), 370: (68, -20, 30, 36, -28, -16, 2.2),
    400: (44, -16, 14, 28, -26, -18, 2.0),
}  # fmt: skip

# What lies between the inner and the outer surface, mm. z: thickness in front (rectus), at the flank, and half way
# between flank and gutter; how much of it is muscle of the abdominal wall.
_WALL = {
    -290: (8, 34, 20, 0), -238: (28, 106, 40, 0), -200: (24, 106, 60, 0), -158: (13, 92, 62, 0),
    -145: (12, 80, 62, 0.05), -130: (11.5, 64, 58, 0.15), -116: (11, 51, 54, 0.25), -102: (11, 40, 50, 0.4),
    -90: (11, 32, 44, 0.5), -80: (11, 27, 38, 0.6), -62: (11, 23, 27, 0.8), -45: (11, 23, 20, 0.95),
    -24: (11, 23.5, 20, 1), 0: (11, 23, 20, 1), 50: (11, 21, 18, 1), 110: (11.5, 17, 16, 0.6), 165: (13, 15, 16, 0.35),
    220: (14, 16, 20, 0.1), 280: (18, 20, 24, 0), 330: (22, 46, 36, 0), 370: (26, 72, 50, 0), 400: (22, 26, 30, 0),
}  # fmt: skip

# The fascia behind, relative to the middle of the spinal column, mm. z: y at the midline; x and y of the highest
# bulge, of the lateral edge of the muscles of the back (of the buttock), and of where it meets the flank; how much of
# it is muscle of the back.
_BACK = {
    -290: (24, 40, 8, 60, 20, 70, 40, 0), -238: (6, 62, -26, 128, -4, 150, 40, 0),
    -200: (-20, 62, -32, 130, -10, 160, 35, 0), -158: (-34, 60, -48, 128, -26, 158, 18, 0),
    -120: (-58, 54, -68, 116, -42, 150, -2, 0.1), -102: (-66, 50, -77, 112, -48, 146, -8, 0.15),
    -88: (-70, 50, -84, 108, -56, 140, -18, 0.2), -62: (-74, 58, -91, 100, -70, 130, -34, 0.4),
    -45: (-74, 50, -83, 88, -84, 128, -42, 0.7), -30: (-75, 44, -81, 92, -76, 128, -44, 0.9),
    -18: (-76, 42, -81, 80, -67, 104, -46, 1), 0: (-76, 42, -82, 77, -64, 87, -46, 1),
    50: (-75, 42, -82, 75, -64, 85, -50, 1), 110: (-71, 40, -79, 69, -64, 88, -55, 0.9),
    165: (-66, 40, -71, 76, -61, 108, -46, 0.5), 220: (-64, 44, -70, 92, -56, 126, -36, 0.2),
    280: (-64, 56, -72, 108, -52, 140, -20, 0.1), 330: (-66, 60, -74, 112, -54, 146, -20, 0),
    370: (-64, 56, -72, 104, -56, 132, -24, 0), 400: (-58, 36, -60, 54, -44, 64, -20, 0),
}  # fmt: skip
BACK_ANCHOR = (8.0, -38.0)
"""|x| and y, relative to the middle of the column, of the laminae, from which the muscles of the back grow."""

_ROOM = {-238: 0.0, -158: 0.0, -90: 0.6, -45: 1.0, 80: 1.0, 180: 0.5, 260: 0.1}  # where more visceral fat shows
_FAT = {  # z: thickness of the subcutaneous fat in front, at the side, behind the flank, behind, mm
    -290: (10, 20, 22, 16), -238: (14, 24, 26, 16), -200: (17, 24, 27, 18), -150: (18, 19, 26, 20),
    -90: (18, 14, 28, 18), -40: (19, 13, 32, 15), 0: (18.5, 12, 32.5, 14), 80: (14, 9, 20, 10), 180: (11, 9, 11, 9),
    280: (10, 10, 10, 9), 400: (5, 6, 6, 7),
}  # fmt: skip
_FEMALE_WIDTH = {-238: 1.03, -150: 1.06, -90: 1.04, -24: 0.97, 30: 0.93, 110: 0.95, 280: 0.94, 370: 0.93, 400: 0.9}
_CLEFT = {-270: 30.0, -230: 34.0, -195: 14.0, -165: 4.0, -140: 0.0}  # depth of the skin between the buttocks
# The pelvis keeps its place whatever the curve of the spine: y, mm, that stands for the column there, and its weight.
_PELVIC = {
    -290: (-80, 1), -225: (-80, 1), -190: (-74, 1), -150: (-55, 1), -101: (-28, 1), -80: (-18, 1), -64: (-12, 0.6),
    -45: (-6, 0.2), -24: (-2, 0),
}  # fmt: skip
# The iliac wing with what covers it even in thin people, mm: x and y of its front end, of its outer surface half way,
# and of its back end. The fascia never lies within.
_HIP = {
    -130: (60, 20, 60, -24, 40, -60), -116: (115, 33, 96, -44, 46, -100), -102: (124, 43, 100, -48, 48, -104),
    -90: (131, 49, 106, -50, 50, -106), -80: (134, 46, 112, -50, 53, -106), -62: (140, 35, 122, -48, 61, -106),
    -45: (141, 24, 131, -40, 78, -97), -30: (141, 13, 136, -32, 102, -78), -20: (138, -4, 132, -30, 122, -50),
    -2: (96, -16, 94, -30, 80, -40),
}  # fmt: skip

_COLUMNS = tuple(int(n) for n in np.cumsum([7, 4, 8, 4, 6]))
"""Where in a row of all tables those of _WALL, _BACK, _FAT, _HIP and the single numbers begin."""

_REFERENCE = (-290.0, -88.0, -24.0, 50.0, 400.0)
"""Heights in the tables that go where a body has them: both ends, iliac spine, iliac crest, and well above it."""


def _rows() -> dict[float, Floats]:
    """One row for every height that any of the tables has, with the values of all of them."""
    tables = (_INNER, _WALL, _BACK, _FAT, _HIP, _ROOM, _FEMALE_WIDTH, _CLEFT, _PELVIC)
    curves = [Curve(table) for table in tables]  # type: ignore[arg-type]
    return {z: np.concatenate([np.atleast_1d(curve(z)) for curve in curves]) for z in sorted(set().union(*tables))}


_ROWS = _rows()

# Along the half outline: 0 the midline in front, 1 the flank, 2 the gutter, 3 the midline behind.
_STEPS: Floats = np.concatenate([np.linspace(0, 1, 26), np.linspace(1, 2, 22)[1:], np.linspace(2, 3, 8)[1:]])
_FLANK = 25
_REST: Floats = np.linspace(0, 1, 8)[1:]
_QUARTER_FRONT, _QUARTER_SIDE = (
    (np.sin(quarter), np.abs(np.cos(quarter)))
    for quarter in (np.linspace(0, np.pi / 2, 26), np.linspace(0, np.pi / 2, 22)[1:])
)
_DIRECTIONS: Points = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
_FOLD: Floats = np.degrees(np.abs(np.arcsin(np.sin(ANGLES))))
"""Degrees from the side: 90 in front and behind."""
_SIGNED: Floats = (ANGLES + np.pi) % (2 * np.pi) - np.pi
_OPPOSITE = (N // 2 - np.arange(N)) % N
"""Index of the same direction on the other side."""
_OFF_GROOVE: Floats = np.clip(np.abs(ANGLES - 1.5 * np.pi) / 0.35 - 0.4, 0, 1)
_BACK_SPLINE: Floats = CubicSpline([-3.2, -2.0, -0.9, 0.0, 0.9, 2.0, 3.2], np.eye(7))(np.linspace(-3.2, 3.2, 49))
"""Weights with which seven corners become a smooth line of 49 points."""
FRONT_POWER = 2 / 2.35
"""In front |x| grows along the outline like this power of a sine."""
RECTUS_EDGE = 0.36
"""Where along the half outline the linea semilunaris lies: the lateral edge of the rectus."""


class _Layers(NamedTuple):
    """The outlines of a slice, and the directions in which the steps of its right and left half lie."""

    skin: Points
    outer: Points
    inner: Points
    right: Floats
    left: Floats
    centre: Floats


_ABOVE_HIPS_MM = 10.0
"""Here, between iliac crest and ribs, all of the wall is muscle."""

_KEPT = 256
_RECENT: OrderedDict[tuple[int, tuple[float, ...], float], tuple[Frame, _Layers]] = OrderedDict()


class Trunk:
    """Closed outlines of N points each, one per direction in ANGLES, so that layers are blends between two outlines."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        rng = frame.rng("trunk")
        shift, crest = frame.pelvis_shift, frame.heights["iliac_crest"]
        heights = (-290.0 + shift, frame.heights["asis"], crest, max(50.0, crest + 25.0), 400.0)
        self._table = Curve({float(np.interp(z, _REFERENCE, heights)): row for z, row in _ROWS.items()})
        self._broad = float(rng.uniform(0.97, 1.03))
        self._deep = float(rng.uniform(-3, 3))
        self.low, self.high = -285.0 + shift, 400.0

    def centre(self, z: float) -> tuple[float, float]:
        """The x and y of the point from which the outlines are seen under the ANGLES."""
        x, y = self._layers(z).centre
        return float(x), float(y)

    def outer(self, z: float) -> Points:
        """Outer surface of the muscles of the trunk: the fascia under the subcutaneous fat."""
        return self._layers(z).outer

    def inner(self, z: float) -> Points:
        """Inner surface of the wall: the room for viscera, psoas and the front of the spine."""
        return self._layers(z).inner

    def skin(self, z: float) -> Points:
        """Outer surface of the body; the skin is SKIN_MM thick."""
        return self._layers(z).skin

    def between(self, z: float, share: float | Floats) -> Points:
        """A surface within the wall: share 0 is the inner surface, 1 the outer one; also (N,) shares by direction."""
        weight: Floats = np.asarray(share, dtype=np.float64)
        inner, outer = self.inner(z), self.outer(z)
        return inner + (outer - inner) * weight.reshape(-1, 1)  # type: ignore[no-any-return]

    def across(self, z: float, sign: float, at: Floats) -> tuple[Points, Points]:
        """Where the wall begins and ends at places on it; what lies between is a blend of the two.

        Args:
            z: height.
            sign: 1 for the right half, -1 for the left one.
            at: (n,) place along the half outline: 0 is the midline in front, 1 the flank, 2 the gutter beside the
                spine, 3 the midline behind.

        Returns:
            (n, 2) points of the inner and of the outer surface.
        """
        layers = self._layers(z)
        turn = np.interp(at, _STEPS, layers.right if sign > 0 else layers.left) / (2 * np.pi) * N
        before = np.floor(turn)
        share = (turn - before)[:, None]
        first = before.astype(np.intp) % N
        second = (first + 1) % N
        low, high = (ring[first] * (1 - share) + ring[second] * share for ring in (layers.inner, layers.outer))
        return low, high

    def back_scale(self) -> float:
        """How large the compartment of the muscles of the back is: it shrinks less than the muscles within it."""
        size = self._frame.sizes.paraspinal
        return size if size > 1 else 1 - 0.6 * (1 - size)

    def _layers(self, z: float) -> _Layers:
        """What :meth:`_compute` gives: all parts of a body ask for the same surfaces of the same slice."""
        key = (id(self._frame), tuple(vars(self._frame.sizes).values()), z)
        if key in _RECENT:
            return _RECENT[key][1]
        layers = self._compute(z)
        # the frame is kept with them, so that no other one gets its id
        _RECENT[key] = (self._frame, layers)
        if len(_RECENT) > _KEPT:
            _RECENT.popitem(last=False)
        return layers

    def _compute(self, z: float) -> _Layers:
        inner_row, wall_row, back_row, fat_row, hip_row, scalars = np.split(self._table(z), _COLUMNS)
        room, width, cleft, pelvic_y, pelvic = (float(value) for value in scalars)
        room *= self._frame.sizes.cavity - 1
        broad = self._broad * (width if self._frame.female else 1.0)
        column = np.array(self._frame.column(z))
        column[1] += pelvic * (pelvic_y - column[1])
        centre = np.array([0.0, (inner_row[2] + back_row[0] + column[1]) / 2 + 5.0])
        # 1 where hip bones make the wall, 0 above their crest
        hip = 1 - float(wall_row[3]) if z < self._frame.heights["iliac_crest"] + _ABOVE_HIPS_MM else 0.0
        half, thickness = self._half(inner_row, wall_row, column[1], room, broad, hip=hip)
        # where it is bound to the spine it follows it to the side
        lean = np.clip((inner_row[1] - half[:, 1]) / (inner_row[1] - column[1] - inner_row[4]), 0, 1) * column[0]
        right, left = half.copy(), half * (-1.0, 1.0)
        right[:, 0] += lean
        left[:, 0] += lean
        ring = np.concatenate([right, left[-2:0:-1]])
        around = np.concatenate([thickness, thickness[-2:0:-1]])
        inner = _radii(ring - centre)
        raised = _radii(ring + (inset(ring, -1.0) - ring) * around[:, None] - centre)
        outer = np.maximum(np.maximum(_smoothed(raised, 1), self._behind(back_row, column, centre, broad)), inner + 3.0)
        hips = _over_hips(hip_row, centre)
        outer = np.maximum(outer, hips)
        # over hips and ribs the fascia has no hollows but the groove of the back
        outer += (_hull(outer) - outer) * (1 - wall_row[3]) * _OFF_GROOVE
        outer = np.maximum(np.maximum(_smoothed(outer, 1), hips), inner + 2.0)
        flat = column[1] + back_row[0] - centre[1]
        skin = self._over(outer, fat_row, flat)
        skin = self._dimpled(skin, outer, float(fat_row[0]), z - self._frame.heights["navel"], cleft)
        return _Layers(
            skin=centre + (skin + SKIN_MM)[:, None] * _DIRECTIONS,
            outer=centre + outer[:, None] * _DIRECTIONS,
            inner=centre + inner[:, None] * _DIRECTIONS,
            right=_turned(right - centre),
            left=_turned(left - centre),
            centre=centre,
        )

    def _half(
        self, row: Floats, wall: Floats, y0: float, room: float, broad: float, *, hip: float
    ) -> tuple[Points, Floats]:
        """The right half of the inner surface, front to back, as (n, 2), and the thickness of what lies on it.

        Args:
            row: of _INNER.
            wall: row of _WALL.
            y0: middle of the spinal column.
            room: how much larger than usual the cavity is, as a share.
            broad: factor on the width.
            hip: how much of the wall is hip bone and what lies on it.
        """
        w, yw, front, gx, gy, mid, roundness = row
        thick_front, thick_side, thick_rear, muscle = wall
        rear = y0 + mid
        front = rear + (front + self._deep - rear) * (1 + 0.5 * room)
        # the hip bones keep their place, so a broad body has more on them
        thick_side = thick_side + hip * w * (broad - 1)
        broad = 1 + (1 - hip) * (broad - 1)
        w, gx, yw = w * broad * (1 + 0.3 * room), gx * (1 + 0.1 * room), yw + 6 * room
        sine, cosine = _QUARTER_FRONT
        x_front, y_front = w * sine**FRONT_POWER, yw + (front - yw) * cosine**FRONT_POWER
        sine, cosine = _QUARTER_SIDE
        x_side = gx + (w - gx) * cosine ** (2 / roundness)
        y_side = yw + (y0 + gy - yw) * sine ** (2 / roundness)
        x_rest, y_rest = gx * (1 - _REST), y0 + gy + (mid - gy) * _REST**2 * (3 - 2 * _REST)
        half = np.stack([np.concatenate([x_front, x_side, x_rest]), np.concatenate([y_front, y_side, y_rest])], axis=1)
        thickness = np.interp(
            _STEPS, [0, 0.06, 0.2, RECTUS_EDGE, 0.55, 0.8, 1.05, 1.5, 1.82, 2, 3],
            [0.7 * thick_front, 0.95 * thick_front, thick_front, 0.8 * thick_front, (0.72 - 0.56 * hip) * thick_side,
             (0.97 - 0.42 * hip) * thick_side, thick_side, thick_rear, 0.6 * thick_rear, 4, 4],
        )  # fmt: skip
        return half, np.maximum(thickness * (1 + muscle * (self._frame.sizes.wall - 1)), 3.0)

    def _behind(self, row: Floats, column: Floats, centre: Floats, broad: float) -> Floats:
        """(N,) distance of the fascia of the back from the centre, 0 in front.

        Args:
            row: of _BACK.
            column: x and y of the middle of the spinal column.
            centre: of the outlines.
            broad: factor on the width.
        """
        mid, *corners, muscle = row
        grown = 1 + muscle * (self.back_scale() - 1)
        points = np.array(corners).reshape(3, 2)
        anchor = np.array(BACK_ANCHOR)
        bulge = points[0, 1]
        points[:2] = anchor + (points[:2] - anchor) * grown
        points[2] = anchor + (points[2] - anchor) * max(grown, 1.0)
        # the groove over the spinous processes fills with the muscles beside it, and is never shallower than they are
        mid = mid + 0.5 * min(points[0, 1] - bulge, 0.0)
        points[0, 1] = min(points[0, 1], 0.9 * mid)
        points[:2, 0] *= 1 + (broad - 1) * (1 - muscle)
        points[2, 0] *= broad
        whole = np.concatenate([points[::-1] * (-1.0, 1.0), [[0.0, mid]], points]) + column
        line = _BACK_SPLINE @ whole - centre
        # from left to right behind: the directions grow from half a turn to a full one
        angle = np.maximum.accumulate(np.arctan2(line[:, 1], line[:, 0]) % (2 * np.pi))
        return np.interp(ANGLES, angle, np.sqrt((line**2).sum(axis=1)), left=0.0, right=0.0)

    def _over(self, outer: Floats, row: Floats, flat: float) -> Floats:
        """(N,) distance of the inside of the skin: fat fills the hollows of the fascia, and the table flattens it.

        Args:
            outer: (N,) distance of the fascia.
            row: of _FAT.
            flat: y of the midline of the back from the centre.
        """
        size = self._frame.sizes.fat
        # what more fat there is gathers in front and at the sides; lying on it spreads the fat behind
        powers = (1.0, 1.12, 0.66, 0.6) if size > 1 else (1.0, 1.0, 0.9, 0.75)
        front, side, rear, behind = row * size ** np.array(powers)
        fat = np.where(
            _DIRECTIONS[:, 1] > 0,
            np.interp(_FOLD, [0, 50, 90], [side, front, 0.9 * front]),
            np.interp(
                _FOLD, [0, 18, 34, 55, 75, 90],
                [side, 0.7 * side + 0.3 * rear, rear, 0.8 * rear + 0.2 * behind, behind, 0.8 * behind],
            ),
        )  # fmt: skip
        filled = outer + (_hull(outer) - outer) * min(1.0, 0.45 + 0.4 * size)
        skin = np.maximum(_smoothed(filled, 2), outer) + _smoothed(fat, 3)
        flat -= 0.5 * float(behind)
        y = skin * _DIRECTIONS[:, 1]
        pressed = skin * (flat + (y - flat) * 0.6) / np.minimum(y, -1.0)
        return _smoothed(np.where(y < flat, np.maximum(pressed, outer + 0.4 * fat + 1.0), skin), 1)

    def _dimpled(self, skin: Floats, outer: Floats, fat: float, over_navel: float, cleft: float) -> Floats:
        """(N,) the skin with navel, groove of the back and cleft between the buttocks.

        Args:
            skin: (N,) distance.
            outer: (N,) distance of the fascia, which they do not reach.
            fat: thickness in front.
            over_navel: height above the navel.
            cleft: depth of the cleft.
        """
        fat *= self._frame.sizes.fat
        off = np.abs(ANGLES - np.pi / 2) * skin
        navel = min(0.75 * fat, 16.0) * float(np.exp(-((over_navel / 7.0) ** 2)))
        skin = skin - navel * np.exp(-((off / 5.0) ** 2)) - min(0.12 * fat, 4.0) * np.exp(-((off / 16.0) ** 2))
        off = np.abs(ANGLES - 1.5 * np.pi) * skin
        skin = skin - cleft * np.exp(-((off / 7.0) ** 2)) - min(0.3 * fat, 5.0) * np.exp(-((off / 22.0) ** 2))
        return np.maximum(skin, outer + 1.0)  # type: ignore[no-any-return]


def _radii(ring: Points) -> Floats:
    """(N,) distance, under the ANGLES, of a closed outline that runs round the origin clockwise from the front."""
    # counted from the front, clockwise, so that there is no jump before the outline is closed
    angle = (np.pi / 2 - np.arctan2(ring[:, 1], ring[:, 0])) % (2 * np.pi)
    angle[0] = 0.0
    radius = np.sqrt((ring**2).sum(axis=1))
    return np.interp((np.pi / 2 - ANGLES) % (2 * np.pi), np.maximum.accumulate(angle), radius, period=2 * np.pi)


def _over_hips(row: Floats, centre: Floats) -> Floats:
    """(N,) distance of the iliac wings' cover from the centre, 0 elsewhere; row is one of _HIP."""
    wing = row.reshape(3, 2)[::-1] - centre
    distance = np.sqrt((wing**2).sum(axis=1))
    right = np.interp(_SIGNED, np.arctan2(wing[:, 1], wing[:, 0]), distance, left=0.0, right=0.0)
    return np.maximum(right, right[_OPPOSITE])  # type: ignore[no-any-return]


def _turned(half: Points) -> Floats:
    """(n,) directions of a half outline, without jumps: falling from the front on the right, rising on the left."""
    angle = np.arctan2(half[:, 1], half[:, 0])
    return angle if half[_FLANK, 0] > 0 else np.where(angle < 0, angle + 2 * np.pi, angle)


def _smoothed(radius: Floats, times: int) -> Floats:
    """A closed outline without its corners."""
    for _ in range(times):
        wide = np.concatenate([radius[-1:], radius, radius[:1]])
        radius = 0.25 * wide[:-2] + 0.5 * radius + 0.25 * wide[2:]
    return radius


def _hull(radius: Floats) -> Floats:
    """(N,) distance of an outline without its hollows: chords of up to an eighth of a turn replace what lies within."""
    for step in (8, 4, 2, 1):
        wide = np.concatenate([radius[-step:], radius, radius[:step]])
        before, after = wide[: -2 * step], wide[2 * step :]
        chord = 2 * before * after * np.cos(2 * np.pi * step / N) / (before + after)
        radius = np.maximum(radius, chord)
    return radius
