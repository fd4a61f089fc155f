"""Neck and head: muscles, airway, glands, skull and brain."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame


class Head:
    """Neck and head: muscles, airway, glands, skull and brain."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
