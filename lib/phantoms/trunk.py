"""The surfaces of the trunk at every height: skin, outer surface of the muscles, inner surface of the wall."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import astuple

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
    220: (136, -14, 88, 55, -50, -6, 2.3), 280: (138, -16, 78, 52, -50, -6, 2.3), 330: (114, -18, 58, 46, -46, -5, 2.3),
    370: (68, -20, 30, 36, -40, -5, 2.2), 400: (44, -16, 14, 28, -30, -5, 2.0),
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
    -120: (-52, 56, -64, 116, -42, 150, -2, 0.1), -88: (-64, 54, -74, 108, -56, 140, -18, 0.2),
    -62: (-69, 50, -80, 96, -68, 126, -36, 0.5), -45: (-72, 45, -79, 82, -70, 116, -44, 0.8),
    -24: (-75, 42, -81, 77, -65, 92, -46, 1), 0: (-76, 42, -82, 77, -64, 87, -46, 1), 50: (-75, 42, -82, 75, -64, 85, -50, 1),
    110: (-71, 42, -80, 72, -66, 86, -56, 0.9), 165: (-66, 44, -74, 80, -66, 108, -48, 0.5),
    220: (-64, 50, -74, 96, -60, 126, -38, 0.2), 280: (-64, 56, -72, 108, -52, 140, -20, 0.1),
    330: (-66, 60, -74, 112, -54, 146, -20, 0), 370: (-64, 56, -72, 104, -56, 132, -24, 0),
    400: (-58, 36, -60, 54, -44, 64, -20, 0),
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

# Along the half outline: 0 the midline in front, 1 the flank, 2 the gutter, 3 the midline behind.
_STEPS: Floats = np.concatenate([np.linspace(0, 1, 26), np.linspace(1, 2, 22)[1:], np.linspace(2, 3, 8)[1:]])
_FRONT, _SIDE, _REST = _STEPS <= 1, (_STEPS > 1) & (_STEPS <= 2), _STEPS > 2
FRONT_POWER = 2 / 2.35
"""In front |x| grows along the outline like this power of a sine."""
RECTUS_EDGE = 0.36
"""Where along the half outline the linea semilunaris lies: the lateral edge of the rectus."""


_Layers = tuple[Points, Points, Points, Floats, Floats]
_KEPT = 8
_RECENT: OrderedDict[tuple[int, tuple[float, ...], float], tuple[Frame, _Layers]] = OrderedDict()


class Trunk:
    """Closed outlines of N points each, one per direction in ANGLES, so that layers are blends between two outlines."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        rng = frame.rng("trunk")
        shift = frame.pelvis_shift

        def curve(table: dict[int, tuple[float, ...]] | dict[int, float]) -> Curve:
            return Curve({z + (shift if z < -40 else 0.0): v for z, v in table.items()})

        self._inner, self._wall, self._back = curve(_INNER), curve(_WALL), curve(_BACK)
        self._room, self._fat, self._width, self._cleft = map(curve, (_ROOM, _FAT, _FEMALE_WIDTH, _CLEFT))
        self._broad = float(rng.uniform(0.97, 1.03))
        self._deep = float(rng.uniform(-3, 3))
        self._sag = float(rng.uniform(0.7, 1.3))
        self.low, self.high = -285.0 + shift, 400.0

    def centre(self, z: float) -> tuple[float, float]:
        """The x and y of the point from which the outlines are seen under the ANGLES."""
        front, back = float(self._inner(z)[2]), float(self._back(z)[2])
        return 0.0, (front + back + self._frame.column(z)[1]) / 2 + 5.0

    def outer(self, z: float) -> Points:
        """Outer surface of the muscles of the trunk: the fascia under the subcutaneous fat."""
        return self._layers(z)[1]

    def inner(self, z: float) -> Points:
        """Inner surface of the wall: the room for viscera, psoas and the front of the spine."""
        return self._layers(z)[2]

    def skin(self, z: float) -> Points:
        """Outer surface of the body; the skin is SKIN_MM thick."""
        return self._layers(z)[0]

    def between(self, z: float, share: float | Floats) -> Points:
        """A surface within the wall: share 0 is the inner surface, 1 the outer one; also (N,) shares by direction."""
        weight = np.broadcast_to(np.asarray(share, dtype=np.float64), N)[:, None]
        return self.inner(z) * (1 - weight) + self.outer(z) * weight

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
        _, outer, inner, right, left = self._layers(z)
        turn = np.interp(at, _STEPS, right if sign > 0 else left) / (2 * np.pi) * N
        before = np.floor(turn)
        share = (turn - before)[:, None]
        first = before.astype(np.intp) % N
        second = (first + 1) % N
        low, high = (ring[first] * (1 - share) + ring[second] * share for ring in (inner, outer))
        return low, high

    def back_scale(self) -> float:
        """How large the compartment of the muscles of the back is: it shrinks less than the muscles within it."""
        size = self._frame.sizes.paraspinal
        return size if size > 1 else 1 - 0.6 * (1 - size)

    def _layers(self, z: float) -> _Layers:
        """What :meth:`_compute` gives: all parts of a body ask for the same surfaces of the same slice."""
        key = (id(self._frame), astuple(self._frame.sizes), z)
        if key in _RECENT:
            return _RECENT[key][1]
        layers = self._compute(z)
        # the frame is kept with them, so that no other one gets its id
        _RECENT[key] = (self._frame, layers)
        if len(_RECENT) > _KEPT:
            _RECENT.popitem(last=False)
        return layers

    def _half(self, z: float, sign: float) -> tuple[Points, Floats]:
        """Half of the inner surface, front to back, as (n, 2), and the thickness of what lies on it."""
        w, yw, front, gx, gy, mid, roundness = self._inner(z)
        thick_front, thick_side, thick_rear, muscle = self._wall(z)
        x0, y0 = self._frame.column(z)
        sizes, female = self._frame.sizes, self._frame.female
        room = float(self._room(z)) * (sizes.cavity - 1)
        broad = self._broad * (float(self._width(z)) if female else 1.0)
        rear = y0 + mid
        front = rear + (front + self._deep - rear) * (1 + 0.5 * room)
        # the hip bones keep their place, so a broad body has more on them
        thick_side += (1 - muscle) * w * (broad - 1)
        broad = 1 + muscle * (broad - 1)
        w, gx = w * broad * (1 + 0.3 * room), gx * (1 + 0.1 * room)
        yw += 6 * room
        t = _STEPS
        quarter = t[_FRONT] * np.pi / 2
        x_front = w * np.sin(quarter) ** FRONT_POWER
        y_front = yw + (front - yw) * np.cos(quarter) ** FRONT_POWER
        quarter = (t[_SIDE] - 1) * np.pi / 2
        power = 2 / roundness
        x_side = gx + (w - gx) * np.cos(quarter) ** power
        y_side = yw + (y0 + gy - yw) * np.sin(quarter) ** power
        rest = t[_REST] - 2
        ease = rest * rest * (3 - 2 * rest)
        x_rest, y_rest = gx * (1 - rest), y0 + gy + (mid - gy) * ease
        x = np.concatenate([x_front, x_side, x_rest])
        lean = np.clip((yw - np.concatenate([y_front, y_side, y_rest])) / (yw - y0 - gy), 0, 1)
        half = np.stack([sign * x + x0 * lean, np.concatenate([y_front, y_side, y_rest])], axis=1)
        grown = 1 + muscle * (sizes.wall - 1)
        hip = 1 - muscle
        thickness = np.interp(
            t, [0, 0.06, 0.2, RECTUS_EDGE, 0.55, 0.8, 1.05, 1.5, 1.82, 2, 3],
            [0.7 * thick_front, 0.95 * thick_front, thick_front, 0.8 * thick_front, (0.72 - 0.5 * hip) * thick_side,
             (0.97 - 0.42 * hip) * thick_side, thick_side, thick_rear, 0.6 * thick_rear, 4, 4],
        )  # fmt: skip
        return half, np.maximum(thickness * grown, 3.0)

    def _compute(self, z: float) -> _Layers:
        """Skin, outer and inner surface; the directions of the steps along the right and the left half."""
        centre = np.array(self.centre(z))
        inner = np.empty(N)
        halves = [self._half(z, sign) for sign in (1.0, -1.0)]
        ring = np.concatenate([halves[0][0], halves[1][0][-2:0:-1]])
        thickness = np.concatenate([halves[0][1], halves[1][1][-2:0:-1]])
        inner = _radii(ring - centre)
        raised = _radii(_outwards(ring, thickness) - centre)
        outer = np.maximum(np.maximum(_smoothed(raised, 1), self._behind(z, centre)), inner + 3.0)
        outer = np.maximum(_smoothed(outer, 1), inner + 2.0)
        skin = self._over(z, outer, centre)
        directions = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
        outlines = [centre + radius[:, None] * directions for radius in (skin, outer, inner)]
        right, left = (_directions(half - centre) for half, _ in halves)
        return outlines[0], outlines[1], outlines[2], right, left

    def _behind(self, z: float, centre: Floats) -> Floats:
        """(N,) distance of the fascia of the back from the centre, 0 in front."""
        mid, *edges, muscle = self._back(z)
        x0, y0 = self._frame.column(z)
        grown = 1 + muscle * (self.back_scale() - 1)
        points = np.array(edges).reshape(3, 2)
        anchor = np.array(BACK_ANCHOR)
        points[:2] = anchor + (points[:2] - anchor) * grown
        points[2] = anchor + (points[2] - anchor) * max(grown, 1.0)
        mid -= 0.5 * max(float(points[0, 1] - edges[1]) * -1, 0.0)
        points[0, 1] = min(points[0, 1], 0.9 * mid)
        half = points[::-1]
        broad = self._broad * (float(self._width(z)) if self._frame.female else 1.0)
        half[0, 0] *= broad
        half[:2, 0] *= 1 + (broad - 1) * (1 - muscle)
        whole = np.concatenate([half * (-1, 1), [[0, mid]], half[::-1]]) + (x0, y0)
        chord = np.sqrt(np.sqrt((np.diff(whole, axis=0) ** 2).sum(axis=1)))
        along = np.concatenate([[0.0], np.cumsum(chord)])
        line = CubicSpline(along, whole)(np.linspace(0, along[-1], 49)) - centre
        # the line runs from left to right behind: its directions grow from half a turn to a full one
        angle = np.maximum.accumulate(np.arctan2(line[:, 1], line[:, 0]) % (2 * np.pi))
        return np.interp(ANGLES, angle, np.sqrt((line**2).sum(axis=1)), left=0.0, right=0.0)

    def _over(self, z: float, outer: Floats, centre: Floats) -> Floats:
        """(N,) distance of the skin from the centre: fat fills the hollows of the fascia."""
        size = self._frame.sizes.fat
        front, side, rear, behind = self._fat(z)
        behind, rear = behind * size**0.75, rear * size**0.9
        front, side = front * size, side * size
        low = _folded([0, 50, 90], [side, front, front * 0.9])
        high = _folded([0, 18, 34, 55, 75, 90], [side, 0.7 * side + 0.3 * rear, rear, 0.8 * rear + 0.2 * behind, behind, 0.8 * behind])
        fat = np.where(np.sin(ANGLES) > 0, np.interp(_FOLD, *low), np.interp(_FOLD, *high))
        filled = outer + (_hull(outer) - outer) * min(1.0, 0.45 + 0.4 * size)
        skin = np.maximum(_smoothed(filled, 2), outer) + fat
        # lying on the back flattens what is behind
        flat = float(self._frame.column(z)[1]) - centre[1] + float(self._back(z)[2]) - 0.5 * behind
        y = skin * np.sin(ANGLES)
        pressed = flat + (y - flat) * 0.6
        skin = np.where(y < flat, np.maximum(skin * pressed / np.minimum(y, -1.0), outer + 0.4 * fat + 1.0), skin)
        skin = self._dimpled(z, _smoothed(skin, 1), outer, front)
        return skin + SKIN_MM  # type: ignore[no-any-return]

    def _dimpled(self, z: float, skin: Floats, outer: Floats, front: float) -> Floats:
        """The skin with navel, groove of the back and cleft between the buttocks."""
        off = np.abs(((ANGLES - np.pi / 2) + np.pi) % (2 * np.pi) - np.pi) * skin
        navel = z - self._frame.heights["navel"]
        depth = min(0.75 * front, 16.0) * float(np.exp(-((navel / 7.0) ** 2)))
        skin = skin - depth * np.exp(-((off / 5.0) ** 2))
        # a shallow dip along the linea alba
        skin = skin - min(0.12 * front, 4.0) * np.exp(-((off / 16.0) ** 2))
        off = np.abs(ANGLES - 1.5 * np.pi) * skin
        cleft = float(self._cleft(z))
        skin = skin - cleft * np.exp(-((off / 7.0) ** 2)) - min(0.3 * front, 5.0) * np.exp(-((off / 22.0) ** 2))
        return np.maximum(skin, outer + 1.0)


_FOLD: Floats = np.degrees(np.abs(np.arcsin(np.sin(ANGLES))))  # 0 at the sides, 90 in front and behind


def _folded(degrees: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """Places and values for an interpolation over _FOLD."""
    return degrees, values


def _radii(ring: Points) -> Floats:
    """(N,) distance, under the ANGLES, of a closed outline that runs round the origin clockwise from the front."""
    angle = np.unwrap(np.arctan2(ring[:, 1], ring[:, 0]))[::-1]
    radius = np.sqrt((ring**2).sum(axis=1))[::-1]
    return np.interp(ANGLES, np.maximum.accumulate(angle), radius, period=2 * np.pi)


def _directions(half: Points) -> Floats:
    """(n,) directions of a half outline, without jumps."""
    return np.unwrap(np.arctan2(half[:, 1], half[:, 0]))


def _outwards(ring: Points, thickness: Floats) -> Points:
    """A closed outline moved outwards, point by point."""
    return ring + (inset(ring, -1.0) - ring) * thickness[:, None]


def _smoothed(radius: Floats, times: int) -> Floats:
    """A closed outline without its corners."""
    for _ in range(times):
        radius = 0.25 * np.roll(radius, 1) + 0.5 * radius + 0.25 * np.roll(radius, -1)
    return radius


def _hull(radius: Floats) -> Floats:
    """(N,) distance of an outline without its hollows.

    A chord between two directions replaces what lies within it; chords of up to a sixth of a turn are tried.
    """
    for step in (8, 4, 2, 1):
        before, after = np.roll(radius, step), np.roll(radius, -step)
        angle = 2 * np.pi * step / N
        chord = 2 * before * after * np.cos(angle) / (before + after)
        radius = np.maximum(radius, chord)
    return radius
