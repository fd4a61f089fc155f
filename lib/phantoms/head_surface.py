"""The surfaces of neck and head at every height."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve, Loft, inset, smooth
from lib.phantoms.trunk import SKIN_MM

# Half outlines of the skin by height: (x, y) on the right from the midline behind to the midline in front.
_SKIN = {
    395: ((0, -84), (40, -84), (72, -68), (88, -40), (82, -10), (62, 18), (40, 38), (18, 46), (0, 48)),
    403: ((0, -81), (37, -80), (64, -64), (76, -36), (73, -8), (58, 20), (39, 40), (18, 48), (0, 50)),
    412: ((0, -77), (32, -75), (55, -59), (66, -31), (64, -2), (54, 23), (37, 42), (17, 51), (0, 54)),
    420: ((0, -74), (30, -72), (52, -56), (62, -28), (61, 0), (52, 26), (36, 44), (16, 54), (0, 57)),
    436: ((0, -71), (30, -69), (52, -54), (63, -26), (63, 4), (55, 32), (40, 54), (20, 66), (0, 70)),
    448: ((0, -71), (30, -69), (53, -54), (65, -26), (66, 6), (61, 38), (48, 72), (24, 98), (0, 106)),
    470: ((0, -75), (32, -73), (56, -56), (68, -26), (69, 8), (65, 42), (52, 78), (27, 102), (0, 111)),
    495: ((0, -84), (36, -80), (61, -58), (72, -24), (72, 10), (68, 44), (55, 78), (28, 102), (0, 113)),
    512: ((0, -90), (40, -84), (66, -58), (75, -22), (74, 12), (70, 46), (57, 76), (24, 98), (0, 115)),
    524: ((0, -93), (42, -86), (69, -58), (77, -20), (75, 14), (71, 48), (55, 80), (18, 101), (0, 130)),
    545: ((0, -95), (44, -87), (72, -58), (78, -18), (76, 16), (71, 50), (52, 84), (16, 98), (0, 118)),
    560: ((0, -95), (46, -87), (74, -57), (79, -16), (77, 18), (70, 52), (48, 90), (20, 98), (0, 105)),
    580: ((0, -93), (46, -85), (75, -54), (80, -14), (78, 20), (68, 58), (46, 90), (22, 103), (0, 107)),
    610: ((0, -84), (44, -76), (70, -48), (76, -12), (74, 20), (64, 54), (43, 80), (20, 92), (0, 95)),
    634: ((0, -62), (36, -56), (56, -36), (61, -8), (59, 18), (50, 42), (34, 58), (16, 66), (0, 68)),
    648: ((0, -40), (23, -37), (37, -22), (41, -3), (40, 14), (33, 29), (22, 40), (11, 45), (0, 46)),
}  # fmt: skip
_FAT = {395: 5, 420: 4.5, 448: 5, 500: 4, 545: 3, 580: 2.4, 650: 2.4}
"""z: thickness of the fat below the skin, mm."""
_POINTS = 96


def whole(half: tuple[tuple[float, float], ...], size: float = 1.0, n: int = _POINTS) -> Points:
    """A smooth closed outline from its right half, given from the midline behind to the midline in front."""
    right = np.array(half, dtype=np.float64) * size
    return smooth(np.concatenate([right, right[-2:0:-1] * (-1.0, 1.0)]), n=n)


class HeadSurface:
    """Neck and head in one, from the shoulders to the vertex."""

    low = 395.0

    def __init__(self, frame: Frame) -> None:
        self.high = frame.heights["vertex"]
        self._loft = Loft({z: whole(half) for z, half in _SKIN.items()}, overrun=self.high - max(_SKIN) + 0.5)
        self._fat = Curve(_FAT)
        # fat of the body shows in the neck and the face, but less
        self._fat_factor = float(np.clip(frame.sizes.fat, 0.3, 5.0) ** 0.5)

    def outer(self, z: float) -> Points:
        """Under the subcutaneous fat."""
        return inset(self._base(z), SKIN_MM + float(self._fat(z)))

    def skin(self, z: float) -> Points:
        """The outer surface."""
        return inset(self._base(z), float(self._fat(z)) * (1 - self._fat_factor))

    def _base(self, z: float) -> Points:
        """The skin of somebody of average fat."""
        outline = self._loft.at(min(max(z, self.low), self.high))
        if outline is None:
            raise ValueError(f"There is no head at {z:g} mm.")
        return outline
