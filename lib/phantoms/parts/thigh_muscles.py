"""The muscles of the thigh, from origin to insertion."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame


class ThighMuscles:
    """The muscles of the thigh, from origin to insertion."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
