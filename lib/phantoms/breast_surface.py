"""The surface of the breasts, which in women rise above the skin of the chest."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import SIDE_SIGN
from lib.phantoms.shapes import ellipse
from lib.phantoms.trunk import SKIN_MM, Trunk

_AT = 0.56
"""Where along the half outline of the trunk (0 the midline in front, 1 the flank) a breast sits, lying on the back."""
_HALF_HEIGHT_MM = 58.0
_HALF_WIDTH_MM = 56.0
_RISE_MM = 34.0
_BASE_MM = 8.0
"""How deep the middle of the ellipsoid lies below the skin of the chest."""


class BreastSurface:
    """One breast: half an ellipsoid on the chest; `side` is the patient's. Its rise grows with the body's fat."""

    def __init__(self, frame: Frame, side: str) -> None:
        rng = frame.rng(f"breast_{side}")
        self._trunk, self._sign = Trunk(frame), SIDE_SIGN[side]
        size = float(np.clip(0.55 + 0.45 * frame.sizes.fat, 0.6, 1.8)) * rng.uniform(0.95, 1.05)
        self._middle = frame.heights["nipple"] - 4.0 * size
        self._rise, self._width = _RISE_MM * size**0.8, _HALF_WIDTH_MM * size**0.5
        self._height = _HALF_HEIGHT_MM * size**0.4
        self.low, self.high = self._middle - self._height + 0.5, self._middle + self._height - 0.5

    @cached_property
    def _place(self) -> tuple[float, float, float]:
        """Where on the chest it sits: x, y, and how its base is turned."""
        _, ends = self._trunk.across(self._middle, self._sign, np.array([_AT - 0.1, _AT + 0.1]))
        (x, y), along = ends.mean(axis=0), ends[1] - ends[0]
        return float(x), float(y), float(np.arctan2(along[1], along[0]))

    def section(self, z: float, shrink: float = 0.0) -> Points:
        """The ellipse in which a slice cuts the whole ellipsoid.

        Args:
            z: height.
            shrink: by how much, mm, the ellipse is smaller all round.
        """
        share = float(np.sqrt(max(1 - ((z - self._middle) / self._height) ** 2, 1e-4)))
        a, b = self._width * share - shrink, (self._rise + _BASE_MM) * share - shrink
        x, y, turn = self._place
        return ellipse(x, y, max(a, 0.1), max(b, 0.1), turn=turn, n=48)

    def gland(self, z: float, share: float) -> Points | None:
        """The glandular body: a share of the breast, behind the nipple; None where it is not."""
        height = self._height * 0.75
        off = (z - self._middle) / height
        if abs(off) >= 1:
            return None
        factor = share * float(np.sqrt(1 - off * off))
        x, y, turn = self._place
        return ellipse(x, y, self._width * factor * 0.85, (self._rise + _BASE_MM) * factor, turn=turn, n=40)

    def outer(self, z: float) -> Points:
        """The fascia below: that of the trunk."""
        return self._trunk.outer(z)

    def skin(self, z: float) -> Points:
        """The outer surface."""
        return self.section(z, shrink=-SKIN_MM)
