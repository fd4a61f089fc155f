"""The surfaces and axes of the legs at every height, from the groin to the ankle."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve, ellipse

SIDE_SIGN = {"right": 1.0, "left": -1.0}

# z: x and y of the middle, half-width, half-depth of the muscle compartment; thickness of the fat
_SHAPE = {
    -150: (104, 8, 22, 26, 4), -170: (100, -12, 48, 48, 8), -190: (97, -24, 61, 62, 11), -210: (96, -28, 69, 71, 13),
    -230: (96, -28, 73, 76, 13), -270: (97, -29, 76, 81, 14), -300: (98, -29, 78, 82, 14), -350: (100, -28, 75, 77, 13),
    -400: (102, -26, 71, 73, 11.4), -450: (102, -24, 66, 69, 10.5), -500: (101, -23, 61, 64, 9.5),
    -550: (99, -22, 54, 58, 8), -590: (96, -23, 50, 56, 7), -620: (95, -26, 51, 56, 6),
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

# z: share of the thigh's growth that a level takes part in. The hip keeps to the trunk, knee and shin are mostly bone.
_GROWS = {-190: 0.0, -310: 1.0, -480: 1.0, -600: 0.4, -640: 0.15, -740: 0.4, -880: 0.25, -1000: 0.0}
_SHAFT_RADIUS_MM = 14.0
_NEAR_BONE_MM = 32.0  # beyond this distance from the shaft the muscles no longer feel that bone does not grow
_MIDLINE_MM = 4.5  # least distance of the muscles from the midline: two layers of skin and a little fat
_SKIN_MM = 1.8
_EDGE_MM = 6.0  # radius with which the sides of the foot turn into its sole


class Leg:
    """One leg: `side` is the patient's."""

    def __init__(self, frame: Frame, side: str) -> None:
        self.sign = SIDE_SIGN[side]
        self._frame = frame
        shift = frame.pelvis_shift
        self._shape = Curve({z + shift: v for z, v in _SHAPE.items()})
        self._shaft = Curve({z + shift: v for z, v in _SHAFT.items()})
        self._grows = Curve({z + shift: v for z, v in _GROWS.items()})
        self.high, self.low = -150.0 + shift, -1090.0 + shift

    def outer(self, z: float) -> Points:
        """The fascia around the muscles."""
        x, y, a, b, _ = self._compartment(z)
        return ellipse(self.sign * x, y, a, b, power=2.2, n=64)

    def skin(self, z: float) -> Points:
        """The outer surface: thicker fat at the back and inside; where thighs meet they flatten each other."""
        x, y, a, b, fat = self._compartment(z)
        near_sole = max(1 - (z - self.low) / _EDGE_MM, 0.0)
        cover = fat + _SKIN_MM - _EDGE_MM * (1 - float(np.sqrt(max(1 - near_sole**2, 0.0))))
        outline = ellipse(x - 0.12 * fat, y - 0.1 * fat, a + cover, b + cover, power=2.1, n=64)
        outline[:, 0] = np.maximum(outline[:, 0], 0.6)
        return outline * np.array([self.sign, 1.0])

    def shaft(self, z: float) -> tuple[float, float]:
        """The x and y of the axis of the femur's shaft."""
        x, y = self._shaft(z)
        return self.sign * float(x), float(y)

    def growth(self, z: float) -> float:
        """The linear factor on the muscles at a height."""
        return 1.0 + float(self._grows(z)) * (self._frame.sizes.thigh_muscle - 1.0)

    def place(self, points: Points, z: float) -> Points:
        """Where points of the reference thigh lie in this one.

        The compartment grows around the femur, which keeps its size and place: near the bone the muscles move less.

        Args:
            points: (n, 2) reference mm in the right leg of a person whose sizes are all 1.
            z: the height.
        """
        x0, _, a0, _, _ = self._shape(z)
        x, _, a, _, _ = self._compartment(z)
        shaft = self._shaft(z)
        growth = self.growth(z)
        away = points - shaft
        inner, outer = (shaft[0] - x + a) / (shaft[0] - x0 + a0), (x + a - shaft[0]) / (x0 + a0 - shaft[0])
        grown = away * growth
        grown[:, 0] = away[:, 0] * np.where(away[:, 0] < 0, inner, outer)
        distance = np.maximum(np.sqrt((grown**2).sum(axis=1)), 1e-6)
        depth = np.sqrt((away**2).sum(axis=1)) - _SHAFT_RADIUS_MM
        held = (1.0 - growth) * _SHAFT_RADIUS_MM * np.clip(1.0 - depth / _NEAR_BONE_MM, 0.0, 1.0)
        placed: Points = (shaft + grown * (1.0 + held / distance)[:, None]) * np.array([self.sign, 1.0])
        return placed

    def _compartment(self, z: float) -> tuple[float, float, float, float, float]:
        """Centre x and y, half-width and half-depth of the right leg's muscles; thickness of the fat over them."""
        x, y, a, b, fat = (float(v) for v in self._shape(z))
        shaft_x, shaft_y = (float(v) for v in self._shaft(z))
        growth, share = self.growth(z), float(self._grows(z))
        sizes = self._frame.sizes
        x, y, a, b = shaft_x + (x - shaft_x) * growth, shaft_y + (y - shaft_y) * growth, a * growth, b * growth
        x += max(a + _MIDLINE_MM - x, 0.0)
        if z > self._frame.heights["mid_thigh"]:
            thickness = share * sizes.thigh_fat + (1.0 - share) * sizes.fat
        else:
            thickness = sizes.thigh_fat ** (0.4 + 0.6 * share)
        return x, y, a, b, fat * thickness
