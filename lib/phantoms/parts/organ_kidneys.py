"""Kidneys and adrenals in the fat behind the peritoneum."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import SIDE_SIGN
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.shapes import inset

_HALF_LENGTH_MM = 55.0
_MIDDLE_Z = {"right": 60.0, "left": 68.0}
"""The liver pushes the right kidney down."""

_ACROSS_MM, _ALONG_MM = 25.0, 30.0
"""Half-axes of a section: towards the hilum, and across that direction."""

_HILUM_SHARE = 0.5
"""The hilum opens over this share of the kidney's length."""

_OVERLAP_MM = 13.0
"""How far a kidney that touches the psoas would reach into it, which makes the border long."""

_TOUCHING_DROP_MM = 34.0
_LOBES = np.linspace(0, 2 * np.pi, 48, endpoint=False)


class Kidney:
    """One kidney: `side` is the patient's. Its lower pole lies further to the side and to the front."""

    def __init__(self, frame: Frame, room: Room, side: str) -> None:
        rng = frame.rng(f"kidney_{side}")
        self._frame, self._room, self.sign = frame, room, SIDE_SIGN[side]
        touching = frame.person.strength("kidney_on_psoas") if side == _touching_side(frame) else 0.0
        size = float(rng.normal(1.0, 0.05)) * (0.94 if frame.female else 1.0)
        self.half_length = _HALF_LENGTH_MM * size
        self.middle = _MIDDLE_Z[side] + float(rng.normal(0, 6)) - _TOUCHING_DROP_MM * touching
        self._across, self._along = _ACROSS_MM * size, _ALONG_MM * size
        psoas_edge = 26.0 + 33.0 * min(frame.sizes.psoas, 1.3)
        self._lateral = float(rng.normal(3, 2)) * (1 - touching) - _OVERLAP_MM * touching + psoas_edge
        self._turn = float(rng.normal(0.55, 0.12))
        self._touching = touching
        self._fat = 2.5 + 7.0 * min(frame.sizes.cavity, 1.8) ** 2

    def centre(self, z: float) -> Points:
        """(1, 2): the middle of the section, also above and below the kidney."""
        share = (z - self.middle) / self.half_length
        x, y = self._frame.column(z)
        lowered = min(max(0.5 - z / 90.0, 0.0), 1.0)
        # beside the psoas, which is thin at L1, the kidney lies nearer to the column
        lateral = self._lateral - 17.0 * (1 - lowered) + self._across * 0.75
        place = np.array([[x + self.sign * (lateral - 4.0 * share), y - 9.0 - 6.0 * share]])
        return self._room.kept_inside(place, z, self._across + 4.0)

    def outline(self, z: float) -> Points | None:
        """The outer surface without the hilum's opening, reniform; None above and below the kidney."""
        share = (z - self.middle) / self.half_length
        if abs(share) >= 1:
            return None
        size = float((1 - share**2) ** 0.45)
        notch = 0.5 * max(1 - (share / _HILUM_SHARE) ** 2, 0.0)
        away = np.minimum(_LOBES, 2 * np.pi - _LOBES)
        radius = size * (1 - notch * np.exp(-((away / 0.42) ** 2)))
        return self._placed(radius * np.cos(_LOBES), radius * np.sin(_LOBES), z)

    def _sinus(self, z: float) -> Points | None:
        share = (z - self.middle) / (self.half_length * (_HILUM_SHARE + 0.08))
        if abs(share) >= 1:
            return None
        size = float(np.sqrt(1 - share**2))
        ragged = 1 + 0.16 * np.cos(5 * _LOBES + z / 9.0)
        return self._placed(0.34 + 0.46 * size * ragged * np.cos(_LOBES), 0.44 * size * ragged * np.sin(_LOBES), z)

    def _placed(self, towards: Points, across: Points, z: float) -> Points:
        """From shares of the half-axes, towards the hilum and across, to reference mm."""
        c, s = float(np.cos(self._turn)), float(np.sin(self._turn))
        u, v = towards * self._across, across * self._along
        return self.centre(z) + np.stack([-self.sign * (u * c + v * s), u * s - v * c], axis=1)

    def paint(self, canvas: Canvas) -> None:
        """Draw the section with its fat."""
        z = canvas.z
        if abs(z - self.middle) > self.half_length + self._fat:
            return
        outline = self.outline(z)
        if outline is None:
            return
        capsule = self._room.kept_inside(inset(outline, -self._fat), z, 1.0)
        canvas.fill(capsule, "retroperitoneal_fat", over=("peritoneal_fat", "liver", "spleen"))
        canvas.fill(outline, "kidney", over=CAVITY_FAT)
        sinus = self._sinus(z)
        if sinus is not None:
            canvas.fill(sinus, "renal_sinus", over="kidney")


def _touching_side(frame: Frame) -> str:
    return "right" if frame.rng("kidney_on_psoas").random() < 0.5 else "left"


class Adrenal:
    """One adrenal: a body with two thin limbs, above and in front of the kidney's upper pole."""

    _HALF_HEIGHT_MM = 15.0
    _LIMB_MM = 2.2

    def __init__(self, frame: Frame, kidney: Kidney) -> None:
        rng = frame.rng(f"adrenal_{kidney.sign:g}")
        self._sign = kidney.sign
        self._z = kidney.middle + kidney.half_length + float(rng.normal(0, 3))
        x, y = frame.column(self._z)
        # the right one lies behind the vena cava, the left one beside the aorta
        self._apex = np.array([x + kidney.sign * (27.0 if kidney.sign > 0 else 31.0), y + 9.0])
        self._limb = float(rng.uniform(15, 20))

    def paint(self, canvas: Canvas) -> None:
        """Draw it as a lambda."""
        share = (canvas.z - self._z) / self._HALF_HEIGHT_MM
        if abs(share) >= 1:
            return
        length, half = self._limb * (0.55 + 0.45 * (1 - share**2)), self._LIMB_MM * float(np.sqrt(1 - share**2))
        for lateral in (0.95, 0.25):
            end = self._apex + length * np.array([self._sign * lateral, -float(np.sqrt(1 - lateral**2))])
            along = (end - self._apex) / length
            side = half * np.array([-along[1], along[0]])
            front = self._apex + 0.15 * (self._apex - end)
            canvas.fill(np.array([front + side, end + side, end - side, front - side]), "adrenal", over=CAVITY_FAT)
