"""The muscles of the thigh."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.thigh_courses import COURSES
from lib.phantoms.parts.thigh_tiling import FAT, Tiling

_BELOW_KNEE_MM = 50.0  # the tendons of the goose's foot end on the tibia


class ThighMuscles:
    """Below the groin; above it :class:`HipMuscles` draws them together with those of the hip."""

    def __init__(self, frame: Frame) -> None:
        self._low, self._high = frame.heights["knee"] - _BELOW_KNEE_MM, frame.heights["groin"]
        self._sides = [Tiling(frame, side, COURSES) for side in ("left", "right")]

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        if not self._low <= canvas.z < self._high:
            return
        for side in self._sides:
            side.paint(canvas, (FAT,))
