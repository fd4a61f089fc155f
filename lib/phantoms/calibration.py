"""Finding the sizes of a body's parts with which the areas of its slices are the ones its person has."""

from __future__ import annotations

from lib.phantoms.frame import Frame


def calibrate(frame: Frame, region: str) -> Frame:
    """Set the frame's sizes so that the areas come out as the person's."""
    return frame
