"""The surfaces of the trunk at every height: skin, outer surface of the muscles, inner surface of the wall."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve

N = 128
ANGLES: npt.NDArray[np.float64] = 2 * np.pi * np.arange(N) / N
"""Directions of the outlines' points from the trunk's centre: 0 is the patient's right, a quarter turn the front."""

SKIN_MM = 1.8

# z: half-width, front and back (y) of the outer surface of the muscles; thickness of the wall at the side and in front
_OUTER = {
    -290: (120, 30, -80, 20, 10), -265: (150, 50, -100, 26, 12), -230: (162, 62, -106, 26, 12),
    -180: (166, 74, -108, 26, 12), -130: (160, 80, -102, 24, 11), -90: (152, 84, -94, 22, 10),
    -50: (143, 86, -86, 21, 10), 0: (137, 88, -80, 21, 10), 50: (137, 91, -84, 20, 10), 110: (142, 96, -92, 17, 11),
    165: (148, 100, -102, 15, 12), 220: (151, 102, -112, 15, 14), 280: (158, 96, -116, 18, 18),
    330: (160, 80, -112, 26, 22), 370: (140, 58, -98, 30, 22), 400: (88, 42, -76, 30, 20),
}  # fmt: skip
_ROOM = {-230: 0.2, -120: 0.8, -60: 1.0, 80: 1.0, 180: 0.5, 260: 0.1}  # where more visceral fat shows
_FAT = {  # z: thickness of the subcutaneous fat at the side, in front and behind, mm
    -290: (26, 12, 26), -200: (24, 18, 24), -90: (18, 20, 24), 0: (14, 19, 20), 80: (11, 15, 14), 180: (9, 11, 10),
    280: (10, 10, 10), 400: (6, 5, 8),
}  # fmt: skip


class Trunk:
    """Closed outlines of N points each, one per direction in ANGLES, so that layers are blends between two outlines."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._outer = Curve({z + (frame.pelvis_shift if z < -50 else 0.0): v for z, v in _OUTER.items()})
        self._room = Curve(_ROOM)
        self._fat = Curve(_FAT)
        self.low, self.high = -285.0 + frame.pelvis_shift, 400.0
        self._layers = lru_cache(maxsize=4)(self._compute)

    def centre(self, z: float) -> tuple[float, float]:
        """The x and y of the point from which the outlines are seen under the ANGLES."""
        return 0.0, float(self._outer(z)[1:3].mean())

    def outer(self, z: float) -> Points:
        """Outer surface of the muscles of the trunk: the fascia under the subcutaneous fat."""
        return self._layers(z)[1]

    def inner(self, z: float) -> Points:
        """Inner surface of the wall: the room for viscera, psoas and the front of the spine."""
        return self._layers(z)[2]

    def skin(self, z: float) -> Points:
        """Outer surface of the body; the skin is SKIN_MM thick."""
        return self._layers(z)[0]

    def between(self, z: float, share: float | npt.NDArray[np.float64]) -> Points:
        """A surface within the wall: share 0 is the inner surface, 1 the outer one; also (N,) shares by direction."""
        weight = np.broadcast_to(np.asarray(share, dtype=np.float64), N)[:, None]
        return self.inner(z) * (1 - weight) + self.outer(z) * weight

    def _compute(self, z: float) -> tuple[Points, Points, Points]:
        sizes = self._frame.sizes
        a, front, back, side_wall, front_wall = self._outer(z)
        room = float(self._room(z)) * (sizes.cavity - 1)
        centre = self.centre(z)
        c, s = np.cos(ANGLES), np.sin(ANGLES)
        wall_side, wall_front = side_wall * sizes.wall, front_wall * sizes.wall
        a_in = (a - side_wall) * (1 + room)
        front_in = (front - front_wall - centre[1]) * (1 + 1.5 * room)
        back_in = max(centre[1] - self._frame.column(z)[1] + 42.0, 30.0)
        inner = _superellipse(a_in, np.where(s > 0, front_in, back_in))
        back_out = centre[1] - back
        outer = _superellipse(a_in + wall_side, np.where(s > 0, front_in + wall_front, back_out))
        fat_side, fat_front, fat_back = self._fat(z) * sizes.fat
        fat = fat_side * c**2 + np.where(s > 0, fat_front, fat_back) * s**2
        inner = np.minimum(inner, outer - 3.0)
        directions = np.stack([c, s], axis=1)
        outlines = [centre + radius[:, None] * directions for radius in (outer + fat + SKIN_MM, outer, inner)]
        return outlines[0], outlines[1], outlines[2]


def _superellipse(a: float, b: npt.NDArray[np.float64], power: float = 2.5) -> npt.NDArray[np.float64]:
    """Distance of the outline from the centre in every direction."""
    c, s = np.abs(np.cos(ANGLES)), np.abs(np.sin(ANGLES))
    return ((c / a) ** power + (s / b) ** power) ** (-1 / power)  # type: ignore[no-any-return]
