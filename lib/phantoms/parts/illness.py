"""What illness adds to the abdomen: free fluid, and a mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.shapes import ellipse

_BOWEL = ("bowel_wall", "bowel_fluid", "bowel_gas", "stool")
_WALL = ("external_oblique", "internal_oblique", "transversus_abdominis", "rectus_abdominis", "intermuscular_fat")


class Illness:
    """Ascites and tumour, as far as the person has them."""

    def __init__(self, frame: Frame) -> None:
        room = Room(frame)
        self._parts: list[Ascites | Tumour] = []
        if frame.person.strength("ascites") > 0:
            self._parts.append(Ascites(frame, room))
        if frame.person.strength("tumour") > 0:
            self._parts.append(Tumour(frame, room))

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        for part in self._parts:
            part.paint(canvas)


class Ascites:
    """Fluid in the peritoneal cavity: first in the flanks and the pelvis, at last between the loops.

    What stays fat is the mesentery, a fan in the middle that the fluid has not reached, and all behind the peritoneum.
    """

    _ANGLES = 2 * np.pi * np.arange(72) / 72
    _LEAVES = (3, 5, 7)
    _PELVIC_HALF_WIDTH_MM = 52.0

    def __init__(self, frame: Frame, room: Room) -> None:
        rng = frame.rng("ascites")
        self._frame, self._room = frame, room
        self._strength = strength = frame.person.strength("ascites")
        self._half_width = 0.96 - 0.46 * strength
        self._half_height = 0.85 - 0.3 * strength
        self._level = -0.3 + 1.6 * strength
        self._phases = rng.uniform(0, 2 * np.pi, len(self._LEAVES))
        self._brim = frame.vertebrae["S1"].z - 5.0
        self._bottom = frame.heights["symphysis_top"] + 4.0

    def paint(self, canvas: Canvas) -> None:
        """Replace fat by fluid, as high as it stands, and leave the mesentery."""
        z = canvas.z
        if z < self._bottom:
            return
        drawn = canvas.fill(self._reached(z), "ascites", over="peritoneal_fat")
        if drawn.inside.any():
            canvas.fill(self._room.at(z, self._mesentery(z)), "peritoneal_fat", over="ascites")
            if z < self._brim:
                x, y = self._frame.column(z)
                canvas.fill(ellipse(x, y + 30.0, 34.0, 30.0), "peritoneal_fat", over="ascites")

    def _reached(self, z: float) -> Points:
        """Outline, reference mm, of the room that the fluid may fill: up to its level, which falls to the middle."""
        if z < self._brim:
            front = self._room.y(z, min(self._level, 0.95))
            back = self._room.y(z, 0.0)
            middle, half = 0.5 * (front + back), max(0.5 * (front - back), 1.0)
            return ellipse(0.0, middle, self._PELVIC_HALF_WIDTH_MM, half, power=2.6)
        u = np.linspace(1.0, -1.0, 33)
        falling = 0.55 * (1 - self._strength) * (1 - np.abs(u)) ** 0.5
        top = np.maximum(self._level - falling + 0.04 * np.sin(7.0 * u + self._phases[0] + 0.05 * z), -1.0)
        return self._room.at(z, [(-1.0, -1.0), (1.0, -1.0), *zip(u, top, strict=True)])

    def _mesentery(self, z: float) -> Points:
        """Outline, (n, 2) u and v, of the fat in the middle: the more fluid, the more it is parted into leaves."""
        below = min(max((self._brim + 25.0 - z) / 60.0, 0.0), 1.0) * self._strength
        leaves = np.cos(np.multiply.outer(self._ANGLES, self._LEAVES) + self._phases + 0.03 * z)
        wave = 0.5 + 0.5 * leaves.mean(axis=1)
        radius = (1 - below) * (1 - 0.5 * self._strength * wave)
        outline = ellipse(0.0, 0.0, self._half_width, self._half_height, power=2.5, n=len(self._ANGLES))
        return outline * radius[:, None] + np.array([0.0, 0.45])


@dataclass(frozen=True)
class Site:
    """Where a mass may grow.

    Attributes:
        place: u, v and reference height of its middle, see Room.
        low: least diameter, mm.
        high: largest diameter, mm.
        over: the tissues that it replaces.
    """

    place: tuple[float, float, float]
    low: float
    high: float
    over: tuple[str, ...]


_SITES: dict[str, Site] = {
    "liver": Site((0.6, 0.2, 130), 20, 90, ("liver", "vessel")),
    "retroperitoneum": Site((-0.22, 0.3, 42), 20, 90, (*CAVITY_FAT, "vessel", *_BOWEL)),
    "bowel": Site((0.66, 0.05, -48), 20, 80, (*CAVITY_FAT, *_BOWEL)),
    "psoas": Site((0.36, -0.3, -12), 18, 42, ("psoas_major", *CAVITY_FAT)),
    "wall": Site((0.82, 0.62, 8), 18, 50, (*_WALL, "peritoneal_fat")),
}


class Tumour:
    """One mass with an irregular outline: in an organ, or in a muscle, of which it then is no part.

    Attributes:
        site: its key in the table of sites.
        middle: (3,) reference mm.
        radius: mm.
    """

    _ANGLES = 2 * np.pi * np.arange(60) / 60

    def __init__(self, frame: Frame, room: Room) -> None:
        rng = frame.rng("tumour")
        strength = frame.person.strength("tumour")
        self.site = str(rng.choice(list(_SITES)))
        site = _SITES[self.site]
        u, v, height = site.place
        mirrored = self.site in ("psoas", "wall") and rng.random() < 0.5
        place = (-u if mirrored else u, v, height + float(rng.normal(0, 6)))
        self.middle = room.path([place])[0]
        if self.site == "psoas":
            x, y = frame.column(self.middle[2])
            self.middle[:2] = x + np.sign(self.middle[0]) * (18.0 + 24.0 * min(frame.sizes.psoas, 1.2)), y - 4.0
        self.radius = 0.5 * (site.low + strength * (site.high - site.low))
        self._over = site.over
        orders = np.arange(2, 7)
        self._waves = rng.normal(0, 0.16, (len(orders), 2)) / np.sqrt(orders)[:, None]
        self._orders = orders

    def paint(self, canvas: Canvas) -> None:
        """Draw the section."""
        share = (canvas.z - self.middle[2]) / self.radius
        if abs(share) >= 1:
            return
        turned = self._orders * self._ANGLES[:, None] + 2.0 * share
        bumps = (self._waves[:, 0] * np.cos(turned) + self._waves[:, 1] * np.sin(turned)).sum(axis=1)
        radius = self.radius * float(np.sqrt(1 - share**2)) * (1 + np.clip(bumps, -0.4, 0.4))
        outline = np.stack([radius * np.cos(self._ANGLES), radius * np.sin(self._ANGLES)], axis=1)
        canvas.fill(self.middle[:2] + outline, "tumour", over=self._over)
