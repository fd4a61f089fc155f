"""Large and small bowel with their walls and what is in them, and the vessels of the mesentery between."""

from __future__ import annotations

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.bowel_colon import Colon
from lib.phantoms.parts.bowel_loops import SmallBowel
from lib.phantoms.parts.bowel_mesentery import Mesentery
from lib.phantoms.parts.organ_room import Room


class Bowel:
    """Drawn over the fat of the cavity only: the colon first, then the loops that fill its frame."""

    def __init__(self, frame: Frame) -> None:
        room = Room(frame)
        colon = Colon(frame, room)
        self._parts = (colon, SmallBowel(frame, room, colon), Mesentery(frame, room))

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        for part in self._parts:
            part.paint(canvas)
