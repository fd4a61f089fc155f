"""The solid organs of the abdomen, stomach, bladder and the organs of the pelvis."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame


class Organs:
    """The solid organs of the abdomen, stomach, bladder and the organs of the pelvis."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
