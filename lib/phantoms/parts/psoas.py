"""Psoas major from T12 to the groin, iliacus, and what both become."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame


class Psoas:
    """Psoas major from T12 to the groin, iliacus, and what both become."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
