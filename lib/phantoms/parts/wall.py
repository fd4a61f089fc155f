"""The muscles of the abdominal wall: rectus, obliques, transversus, with the fat between them."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame


class Wall:
    """The muscles of the abdominal wall: rectus, obliques, transversus, with the fat between them."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
