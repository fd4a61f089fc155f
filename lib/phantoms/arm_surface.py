"""The surfaces and axes of the arms: beside the body down to the fingertips, or raised beside the head."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import SIDE_SIGN, Leg
from lib.phantoms.shapes import Curve, ellipse
from lib.phantoms.trunk import SKIN_MM, Trunk

# z: |x| and y of the middle, half-width, half-depth of the muscles; thickness of the fat. The palm faces the thigh.
_BESIDE = {
    -341: (214, -14, 2, 4, 0.5), -336: (214, -15, 6, 12, 1), -310: (214, -16, 8, 26, 1), -280: (215, -18, 10, 34, 1.5),
    -245: (216, -20, 14, 37, 2), -222: (216, -24, 17, 29, 2), -205: (216, -27, 19, 27, 2.5),
    -180: (216, -30, 21, 29, 3), -100: (214, -38, 29, 36, 4), -30: (210, -44, 37, 42, 5),
    20: (208, -46, 39, 42, 5), 50: (206, -46, 38, 38, 5), 90: (206, -46, 35, 38, 6),
    180: (207, -46, 37, 44, 7), 250: (208, -45, 36, 47, 7), 300: (206, -43, 37, 50, 7), 330: (198, -41, 41, 49, 7),
    352: (187, -38, 40, 45, 6), 370: (178, -38, 36, 41, 5), 379: (172, -38, 27, 33, 4), 386: (168, -37, 18, 20, 4),
    392: (166, -36, 6, 7, 3),
}  # fmt: skip
_RAISED = {
    322: (126, -30, 12, 14, 2), 336: (134, -30, 32, 36, 4), 360: (146, -28, 42, 46, 6), 395: (158, -26, 45, 49, 7),
    430: (166, -20, 44, 47, 8), 480: (170, -10, 40, 44, 8), 540: (166, 4, 37, 41, 7), 600: (158, 18, 35, 38, 6),
    640: (150, 26, 36, 38, 5),
}  # fmt: skip

_ARMPIT = 290.0
"""Above it, the arm grows out of the trunk; below it hangs free, reference mm."""
_SHOULDER, _SHOULDER_WIDTH = 352.0, 155.0
"""Height of the joint, and the half-width of the trunk's muscles there that the tables suit."""
_GAP_MM = 3.0
_INWARDS = {290: 1.0, 318: 1.45, 345: 2.0, 370: 2.3, 379: 3.0, 386: 4.6, 392: 12.0}
"""z: how far the shoulder reaches inwards, to melt into the trunk, in half-widths of the arm."""
_RAISED_INWARDS = {325: 1.0, 350: 1.8, 385: 1.9, 420: 1.0}
_SLOPE = 0.16
"""How fast the arm comes back to the body below a wide place."""
_TRIED = np.arange(-340.0, _ARMPIT + 1, 16.0)


class ArmSurface:
    """One arm; `side` is the patient's."""

    def __init__(self, frame: Frame, side: str) -> None:
        self.sign = SIDE_SIGN[side]
        self._frame, self._side = frame, side
        self.raised = not frame.arms_beside
        table = _RAISED if self.raised else _BESIDE
        self.low, self.high = (323.0, 640.0) if self.raised else (-340.0, 391.0)
        # fat is spread over the body, though less over the arms
        self._fat_factor = float(np.sqrt(frame.sizes.fat))
        self._shape, self._inwards = Curve(table), Curve(_RAISED_INWARDS if self.raised else _INWARDS)

    @cached_property
    def _aside(self) -> Curve:
        """By how much, mm, the arm lies further outwards than in the tables."""
        broad = float((self.sign * Trunk(self._frame).outer(_SHOULDER)[:, 0]).max()) - _SHOULDER_WIDTH
        return Curve({_SHOULDER: broad, 400.0: broad} | ({} if self.raised else self._way_out()))

    def _way_out(self) -> dict[float, float]:
        """By how much the arm gives way to trunk and thigh, by height."""
        trunk, leg = Trunk(self._frame), Leg(self._frame, self._side)
        needed = {}
        for z in _TRIED:
            skins = [surface.skin(z) for surface in (trunk, leg) if surface.low <= z <= surface.high]
            reach = max(float((self.sign * skin[:, 0]).max()) for skin in skins)
            x, _, a, _, fat = self._shape(z)
            needed[float(z)] = max(reach + _GAP_MM - float(x - a - fat * self._fat_factor - SKIN_MM), 0.0)
        return {z: max(mm - _SLOPE * abs(z - at) for at, mm in needed.items()) for z in needed}

    def axis(self, z: float) -> tuple[float, float]:
        """The x and y of the middle of the arm."""
        x, y = self._shape(z)[:2]
        return self.sign * float(x + self._aside(z)), float(y)

    def size(self, z: float) -> tuple[float, float]:
        """Half-width and half-depth of the muscles."""
        a, b = self._shape(z)[2:4]
        return float(a), float(b)

    def outer(self, z: float) -> Points:
        """The fascia around the muscles."""
        return self._outline(z, 0.0)

    def skin(self, z: float) -> Points:
        """The outer surface."""
        return self._outline(z, float(self._shape(z)[4]) * self._fat_factor + SKIN_MM)

    def _outline(self, z: float, cover: float) -> Points:
        """An ellipse that is drawn out towards the trunk at the shoulder."""
        (x, y), (a, b) = self.axis(z), self.size(z)
        outline = ellipse(x, y, a + cover, b + cover, n=48)
        drawn_out = float(self._inwards(z))
        if drawn_out > 1:
            inwards = (outline[:, 0] - x) * self.sign < 0
            # blunt, so that no deep groove is left between shoulder and trunk
            blunt = ellipse(x, y, (a + cover) * drawn_out, b + cover, power=min(2 * drawn_out, 3.2), n=48)
            outline[inwards] = blunt[inwards]
        return outline
