"""The surfaces of neck and head at every height."""

from __future__ import annotations

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Curve, ellipse

# z: y of the middle, half-width, half-depth of the outer surface of the muscles and the skull; thickness of the fat
_SHAPE = {395: (-14, 66, 56, 6), 420: (-6, 58, 54, 5), 445: (6, 62, 62, 5), 500: (22, 66, 84, 4), 560: (20, 72, 90, 3),
          620: (10, 66, 82, 3), 650: (8, 36, 45, 3)}  # fmt: skip


class HeadSurface:
    """Neck and head in one, from the shoulders to the vertex."""

    def __init__(self, frame: Frame) -> None:
        self._shape = Curve(_SHAPE)
        self.low, self.high = 395.0, frame.heights["vertex"]

    def outer(self, z: float) -> Points:
        """Under the subcutaneous fat."""
        y, a, b, _ = self._shape(z)
        return ellipse(0.0, y, a, b, power=2.2, n=64)

    def skin(self, z: float) -> Points:
        """The outer surface."""
        y, a, b, fat = self._shape(z)
        return ellipse(0.0, y, a + fat + 1.8, b + fat + 1.8, power=2.2, n=64)
