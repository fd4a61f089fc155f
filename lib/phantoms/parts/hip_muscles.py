"""The muscles around the hip joint, with the roots of those of the thigh, and the pelvic floor."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.thigh_courses import COURSES
from lib.phantoms.parts.thigh_tiling import Tiling

_OVER = ("intermuscular_fat", "peritoneal_fat", "retroperitoneal_fat")


class HipMuscles:
    """Above the groin; :class:`ThighMuscles` goes on below."""

    def __init__(self, frame: Frame) -> None:
        self._low, self._high = frame.heights["groin"], frame.heights["iliac_crest"]
        self._sides = [Tiling(frame, side, COURSES) for side in ("left", "right")]

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        if not self._low <= canvas.z <= self._high:
            return
        for side in self._sides:
            side.paint(canvas, _OVER)
