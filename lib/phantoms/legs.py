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
    -550: (98, -22, 52, 57, 8), -590: (96, -23, 50, 56, 7), -620: (95, -26, 51, 56, 6),
    -640: (95, -27, 49, 54, 6), -660: (95, -30, 46, 50, 6), -690: (96, -35, 47, 51, 6), -740: (98, -38, 50, 55, 6),
    -780: (99, -38, 49, 54, 6), -850: (99, -36, 41, 45, 5), -950: (99, -33, 31, 34, 4), -1000: (100, -30, 32, 36, 3),
    -1015: (100, -29, 34, 40, 3), -1030: (101, -22, 34, 49, 3), -1045: (102, -8, 34, 64, 3),
    -1060: (103, 18, 37, 92, 3), -1070: (104, 48, 41, 122, 3), -1082: (104, 54, 43, 127, 3),
    -1090: (104, 54, 40, 121, 3),
}  # fmt: skip

# z: x and y of the axis of the femur's shaft, from below the trochanters (offset of 37 mm from the head) to the knee
_SHAFT = {
    -230: (127, -26), -260: (125, -22), -300: (122, -14), -350: (118, -8), -400: (114, -6), -450: (109.5, -8),
    -500: (105.5, -12), -560: (100.5, -19), -620: (95, -26),
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
