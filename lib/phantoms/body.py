"""The whole body: all its parts, in the order in which a slice of it is painted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from lib.phantoms.canvas import Canvas, Grid, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.arms import Arms
from lib.phantoms.parts.back import Back
from lib.phantoms.parts.bowel import Bowel
from lib.phantoms.parts.chest import Chest
from lib.phantoms.parts.chest_wall import ChestWall
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.femur import Femur
from lib.phantoms.parts.hardware import Hardware
from lib.phantoms.parts.head import Head
from lib.phantoms.parts.hip_muscles import HipMuscles
from lib.phantoms.parts.illness import Illness
from lib.phantoms.parts.lower_legs import LowerLegs
from lib.phantoms.parts.organs import Organs
from lib.phantoms.parts.pelvis import Pelvis
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.parts.ribs import Ribs
from lib.phantoms.parts.spine import Spine
from lib.phantoms.parts.thigh_muscles import ThighMuscles
from lib.phantoms.parts.vessels import Vessels
from lib.phantoms.parts.wall import Wall


class Part(Protocol):
    """A part of the body."""

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice at ``canvas.z`` shows of the part, over what is there."""


# Later parts lie over earlier ones; soft parts say what they may cover (`over=`), bones come last.
PARTS: tuple[Callable[[Frame], Part], ...] = (
    Cover, Wall, Back, Psoas, ChestWall, Chest, Organs, Vessels, Bowel, Illness, HipMuscles, ThighMuscles, LowerLegs,
    Head, Arms, Pelvis, Femur, Ribs, Spine, Hardware,
)  # fmt: skip
_BELOW: dict[Callable[[Frame], Part], str] = {LowerLegs: "mid_thigh", ThighMuscles: "groin"}
_ABOVE: dict[Callable[[Frame], Part], str] = {Head: "sternal_notch"}
"""Parts that are laid out only for slices beyond a landmark."""
AT_L3 = (Cover, Wall, Back, Psoas, Organs, Vessels, Bowel, Illness, Spine)
"""What a slice at L3 can show."""
AT_MID_THIGH = (Cover, ThighMuscles, Femur)
"""What a slice half way down the thigh shows."""


class Body:
    """A person's body, to be cut into slices; parts are laid out when a slice first comes to them.

    Attributes:
        warped: where the body's own smooth deformation moves points (n, 2) of a slice at height z, reference mm.
    """

    def __init__(self, frame: Frame, parts: tuple[Callable[[Frame], Part], ...] = PARTS) -> None:
        """The body of a person.

        Args:
            frame: landmarks and sizes.
            parts: which ones, in the order of painting; all if left out.
        """
        self.frame = frame
        self._makers = parts
        self._parts: dict[Callable[[Frame], Part], Part] = {}
        self.warped = _smooth_warp(frame)

    def slice(self, grid: Grid, z: float) -> Canvas:
        """The tissues in the slice at a height.

        Args:
            grid: the voxel centres, reference mm.
            z: reference mm.
        """
        canvas = Canvas(grid, z, self.warped)
        heights = self.frame.heights
        for maker in self._makers:
            if (maker in _BELOW and z > heights[_BELOW[maker]]) or (maker in _ABOVE and z < heights[_ABOVE[maker]]):
                continue
            if maker not in self._parts:
                self._parts[maker] = maker(self.frame)
            self._parts[maker].paint(canvas)
        return canvas


def _smooth_warp(frame: Frame, waves: int = 4, amplitude: float = 1.6) -> Callable[[Points, float], Points]:
    """A smooth displacement within the slice, some mm at most, without folds: wavelengths of 90 mm and more."""
    rng = frame.rng("warp")
    lengths = rng.uniform(90, 220, waves)
    directions = rng.uniform(0, 2 * np.pi, waves)
    wave = 2 * np.pi / lengths
    # the same waves move x and y, each with its own phase and size
    kx, ky = np.tile(wave * np.cos(directions), 2), np.tile(wave * np.sin(directions), 2)
    kz = np.tile(2 * np.pi / rng.uniform(120, 400, waves), 2)
    phase = rng.uniform(0, 2 * np.pi, 2 * waves)
    size = (amplitude * rng.uniform(0.5, 1.0, (2, waves)) * lengths / 220).ravel()

    def warp(points: Points, z: float) -> Points:
        shift = points[:, :1] * kx
        shift += points[:, 1:] * ky
        shift += kz * z + phase
        np.sin(shift, out=shift)
        shift *= size
        moved: Points = points + shift.reshape(-1, 2, waves).sum(axis=2)
        return moved

    return warp
