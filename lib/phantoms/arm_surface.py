"""The surfaces and axes of the arms, beside the body."""

from __future__ import annotations

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import SIDE_SIGN
from lib.phantoms.shapes import Curve, ellipse

# z: |x| and y of the middle, half-width, half-depth of the muscles; thickness of the fat
_SHAPE = {-330: (225, -30, 12, 22, 2), -200: (222, -30, 22, 34, 4), 60: (215, -40, 34, 38, 6), 300: (200, -45, 42, 46, 8),
          390: (178, -40, 40, 48, 6)}  # fmt: skip


class ArmSurface:
    """One arm beside the body; `side` is the patient's."""

    def __init__(self, frame: Frame, side: str) -> None:
        self.sign = SIDE_SIGN[side]
        self._shape = Curve(_SHAPE)
        self.low, self.high = -340.0, 395.0

    def outer(self, z: float) -> Points:
        """The fascia around the muscles."""
        x, y, a, b, _ = self._shape(z)
        return ellipse(self.sign * x, y, a, b, n=48)

    def skin(self, z: float) -> Points:
        """The outer surface."""
        x, y, a, b, fat = self._shape(z)
        return ellipse(self.sign * x, y, a + fat + 1.8, b + fat + 1.8, n=48)
