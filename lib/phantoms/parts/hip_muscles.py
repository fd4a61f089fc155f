"""The muscles around the hip joint, with the roots of those of the thigh, and the pelvic floor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.pelvis import iliac_wings
from lib.phantoms.parts.thigh_courses import COURSES
from lib.phantoms.parts.thigh_tiling import Tiling
from lib.phantoms.shapes import Curve, mirrored

_OVER = ("intermuscular_fat", "peritoneal_fat", "retroperitoneal_fat")
_BEHIND_MM = 40.0  # from the back end of the wing to far behind the body's muscles
_JUNCTION_MM = 30.0  # above the acetabulum, where psoas and iliacus become one muscle
_WING_ENDS = -150.0
"""Height below which the ilium is no wing any more, reference mm with five lumbar vertebrae."""

# The iliacus on the inside of the wing. Reference z: the share of the wing's length at which it begins behind, and ends
# in front, and its thickness in the middle, mm.
_ILIACUS = {
    -36: (0.4, 0.9, 0), -46: (0.3, 0.95, 6), -60: (0.28, 0.96, 11), -75: (0.28, 0.97, 15), -90: (0.3, 0.97, 18),
    -105: (0.32, 0.96, 20), -118: (0.38, 0.95, 20), -132: (0.48, 0.9, 10), -142: (0.6, 0.85, 0),
}  # fmt: skip

_REFERENCE = (-150.0, -88.0, -24.0)
"""Heights in the table that go where a body has them: the end of the wing, the iliac spine, and the crest."""


class HipMuscles:
    """Above the groin; :class:`ThighMuscles` goes on below."""

    def __init__(self, frame: Frame) -> None:
        self._low, self._high = frame.heights["groin"], frame.heights["iliac_crest"]
        self._wings = iliac_wings(frame)
        self._wing_low = _WING_ENDS + frame.pelvis_shift
        self._sides = [Tiling(frame, side, COURSES) for side in ("right", "left")]
        self._junction = frame.heights["acetabulum_top"] + _JUNCTION_MM
        self._size = frame.sizes.psoas
        shift = frame.pelvis_shift
        heights = _REFERENCE[0] + shift, frame.heights["asis"], frame.heights["iliac_crest"]
        self._iliacus = Curve({float(np.interp(z, _REFERENCE, heights)): v for z, v in _ILIACUS.items()})

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not self._low <= z <= self._high:
            return
        for tiling, wing, sign in zip(self._sides, self._wings, (1.0, -1.0), strict=True):
            within = None
            if z > self._wing_low:
                line = wing.line(z)
                within = _placed(_inside(line), sign)
                iliacus = self._iliacus_outline(line, z)
                if iliacus is not None:
                    name = "iliacus" if z > self._junction else "iliopsoas"
                    canvas.fill(_placed(iliacus, sign), name, over=_OVER)
            tiling.paint(canvas, _OVER, within)

    def _iliacus_outline(self, line: npt.NDArray[np.float64], z: float) -> Points | None:
        """What fills the iliac fossa on the right: a lens on the inner surface of the wing."""
        first, last, thickness = self._iliacus(z)
        if thickness < 1.0:
            return None
        at = np.linspace(first, last, 18) * (len(line) - 1)
        x, y = (np.interp(at, np.arange(len(line)), line[:, axis]) for axis in (0, 1))
        wing = np.stack([x, y], axis=1)
        along = np.gradient(wing, axis=0)
        inwards = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.sqrt((along**2).sum(axis=1, keepdims=True))
        profile = np.sqrt(np.sin(np.linspace(0.1, np.pi - 0.15, 18)))
        half = np.interp(at, np.arange(len(line)), line[:, 2])
        belly: Points = wing + inwards * (half + thickness * self._size * profile)[:, None]
        return np.concatenate([belly, wing[::-1]])


def _inside(line: npt.NDArray[np.float64]) -> Points:
    """The side of the right iliac wing, from its middle line on, that faces the pelvis, the spine and the back."""
    x, y = line[0, :2]
    behind = [[0.0, line[-1, 1]], [0.0, y - _BEHIND_MM], [x, y - _BEHIND_MM]]
    return np.concatenate([line[:, :2], behind])


def _placed(outline: Points, sign: float) -> Points:
    """An outline of the right side on its side."""
    return outline if sign > 0 else mirrored(outline)
