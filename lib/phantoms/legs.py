"""The surfaces and axes of the legs at every height, from the groin to the ankle."""

from __future__ import annotations

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve, ellipse

SIDE_SIGN = {"right": 1.0, "left": -1.0}

# z: x and y of the middle, half-width, half-depth of the muscle compartment; thickness of the fat
_SHAPE = {
    -190: (96, -28, 66, 68, 12), -230: (96, -28, 72, 76, 13), -270: (94, -29, 75, 79, 13), -300: (95, -29, 76, 79, 13),
    -350: (97, -27, 73, 75, 12), -400: (99, -25, 69, 71, 11), -450: (100, -23, 64, 67, 10), -500: (100, -22, 58, 62, 9),
    -550: (98, -22, 52, 57, 8), -590: (96, -23, 50, 56, 7), -620: (95, -26, 51, 55, 6), -660: (95, -30, 47, 50, 6),
    -720: (96, -36, 50, 55, 6), -780: (97, -38, 48, 53, 6), -850: (98, -36, 39, 43, 5), -950: (99, -34, 29, 32, 4),
    -1015: (100, -32, 31, 38, 3), -1060: (101, -15, 34, 62, 3), -1090: (102, 10, 32, 80, 2),
}  # fmt: skip

# z: x and y of the axis of the femur's shaft, from below the trochanters to the knee
_SHAFT = {
    -230: (112, -24), -260: (113, -20), -300: (112, -12), -350: (110, -6), -400: (108, -4), -450: (105, -6),
    -500: (102, -10), -560: (98, -18), -620: (95, -26),
}  # fmt: skip

HIP_JOINT = (90.0, -18.0)
"""|x| and y of the centre of the femoral head."""


class Leg:
    """One leg: `side` is the patient's."""

    def __init__(self, frame: Frame, side: str) -> None:
        self.sign = SIDE_SIGN[side]
        self._frame = frame
        shift = frame.pelvis_shift
        self._shape = Curve({z + shift: v for z, v in _SHAPE.items()})
        self._shaft = Curve({z + shift: v for z, v in _SHAFT.items()})
        self.high, self.low = -190.0 + shift, -1090.0 + shift

    def outer(self, z: float) -> Points:
        """The fascia around the muscles."""
        x, y, a, b, _ = self._shape(z)
        grown = self._frame.sizes.thigh_muscle
        return ellipse(self.sign * x, y, a * grown, b * grown, power=2.2, n=64)

    def skin(self, z: float) -> Points:
        """The outer surface."""
        x, y, a, b, fat = self._shape(z)
        grown, cover = self._frame.sizes.thigh_muscle, fat * self._frame.sizes.thigh_fat + 1.8
        return ellipse(self.sign * x, y, a * grown + cover, b * grown + cover, power=2.1, n=64)

    def shaft(self, z: float) -> tuple[float, float]:
        """The x and y of the axis of the femur's shaft."""
        x, y = self._shaft(z)
        return self.sign * float(x), float(y)
