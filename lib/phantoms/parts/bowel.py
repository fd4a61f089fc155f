"""Colon, small bowel and rectum with what is in them."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame


class Bowel:
    """Colon, small bowel and rectum with what is in them."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
