"""The solid organs of the abdomen, the stomach, and the organs of the pelvis."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_kidneys import Adrenal, Kidney
from lib.phantoms.parts.organ_pelvis import PelvicOrgans
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import Filling, HollowTube
from lib.phantoms.shapes import Loft, Tube

# Reference height to outline in (u, v), see Room. The right lobe fills the right dome and ends at the flank in a
# tip; the left lobe crosses the midline in front of the stomach; the hilum opens to the back below the caudate lobe.
_LIVER = {
    203: [(0.72, 0.1), (0.66, 0.45), (0.45, 0.6), (0.22, 0.5), (0.15, 0.15), (0.25, -0.15), (0.45, -0.3), (0.63, -0.2)],
    186: [
        (0.96, 0.0), (0.9, 0.5), (0.62, 0.86), (0.2, 0.97), (-0.15, 0.95), (-0.3, 0.8), (-0.12, 0.55), (0.05, 0.3),
        (0.13, -0.05), (0.32, -0.6), (0.62, -0.88), (0.88, -0.5),
    ],
    152: [
        (0.98, 0.0), (0.92, 0.5), (0.64, 0.9), (0.2, 1.0), (-0.25, 1.0), (-0.5, 0.88), (-0.42, 0.74), (-0.12, 0.55),
        (-0.02, 0.3), (0.1, 0.02), (0.3, -0.5), (0.62, -0.9), (0.9, -0.5),
    ],
    118: [
        (0.98, 0.0), (0.93, 0.45), (0.66, 0.88), (0.25, 1.0), (-0.1, 1.0), (-0.3, 0.92), (-0.22, 0.76), (0.05, 0.68),
        (0.2, 0.5), (0.27, 0.12), (0.38, -0.3), (0.65, -0.85), (0.9, -0.5),
    ],
    86: [
        (0.98, 0.0), (0.94, 0.4), (0.76, 0.78), (0.5, 0.92), (0.3, 0.86), (0.36, 0.62), (0.46, 0.38), (0.52, 0.1),
        (0.57, -0.2), (0.72, -0.7), (0.9, -0.5),
    ],
    50: [
        (0.99, 0.0), (0.96, 0.3), (0.86, 0.6), (0.68, 0.66), (0.62, 0.42), (0.66, 0.1), (0.72, -0.2), (0.8, -0.5),
        (0.92, -0.4),
    ],
    20: [(0.99, 0.02), (0.97, 0.2), (0.9, 0.3), (0.82, 0.2), (0.8, 0.0), (0.83, -0.2), (0.92, -0.25)],
}  # fmt: skip
_LIVER_OVERRUN_MM = 10.0

_ASCITES_RIM_MM = 14.0

# A crescent between the left flank and stomach and kidney
_SPLEEN = {
    178: [(-0.88, -0.1), (-0.82, 0.15), (-0.66, 0.1), (-0.58, -0.2), (-0.6, -0.55), (-0.75, -0.6)],
    150: [(-0.96, -0.1), (-0.93, 0.28), (-0.78, 0.3), (-0.7, 0.0), (-0.6, -0.4), (-0.5, -0.85), (-0.7, -0.95),
        (-0.9, -0.6)],
    118: [(-0.97, -0.1), (-0.95, 0.22), (-0.84, 0.25), (-0.78, 0.0), (-0.7, -0.35), (-0.62, -0.8), (-0.76, -0.9),
        (-0.91, -0.6)],
    92: [(-0.97, -0.15), (-0.94, 0.05), (-0.87, 0.05), (-0.82, -0.15), (-0.8, -0.4), (-0.9, -0.45)],
}  # fmt: skip
_SPLEEN_OVERRUN_MM = 9.0

# u, v, reference height, radius in mm; from the fundus under the left dome to the pylorus
_STOMACH = [
    (-0.42, -0.05, 176, 26), (-0.47, 0.25, 168, 34), (-0.47, 0.48, 145, 32), (-0.44, 0.62, 118, 28),
    (-0.3, 0.7, 92, 24), (-0.08, 0.74, 78, 21), (0.12, 0.68, 78, 17), (0.26, 0.56, 86, 11),
]  # fmt: skip
_STOMACH_WALL_MM = 4.0

_OESOPHAGUS = [(-0.1, 0.0, 195, 9), (-0.14, 0.1, 180, 9), (-0.25, 0.2, 172, 9), (-0.36, 0.24, 170, 9)]

# x from the middle of the column, y from the front of the vertebral body, height, radius, mm: from the head within the
# duodenum over the superior mesenteric vessels to the hilum of the spleen
_PANCREAS = [
    (30, 22, 38, 9), (29, 26, 55, 13), (24, 31, 70, 13), (8, 37, 82, 10), (-14, 36, 90, 10), (-38, 22, 98, 10.5),
    (-62, 2, 106, 10), (-78, -14, 110, 7),
]  # fmt: skip

_GALLBLADDER = [(0.5, 0.66, 92), (0.52, 0.74, 72), (0.54, 0.8, 52)]
_GALLBLADDER_RADII_MM = (7, 15, 12)


class Organs:
    """Drawn over the fat of the cavity only; fat around the kidneys keeps liver and spleen away from them."""

    def __init__(self, frame: Frame) -> None:
        rng = frame.rng("organs")
        self._room = room = Room(frame)
        lift = float(rng.normal(0, 5))
        self._liver = self._loft(_LIVER, lift, float(rng.normal(1.0, 0.04)), _LIVER_OVERRUN_MM)
        self._spleen = self._loft(_SPLEEN, float(rng.normal(0, 5)), 1.0, _SPLEEN_OVERRUN_MM)
        # ascites stands between the wall and liver and spleen
        ascites = frame.person.strength("ascites")
        self._wall_gap = 1.0 + 3.0 * max(frame.sizes.cavity - 0.9, 0.0) + _ASCITES_RIM_MM * ascites
        tight = min(frame.sizes.cavity, 1.0) ** 0.5

        full = float(rng.uniform(0.55, 1.05)) * tight
        stomach = np.array(_STOMACH)
        radii = stomach[:, 3] * np.where(np.arange(len(stomach)) < 6, full, 0.85)
        path = room.path_inside(room.path(stomach[:, :3]), radii + 3.0)
        level = float(np.quantile(path[:, 1], rng.uniform(0.55, 0.95)))
        filling = Filling("bowel_fluid", level)
        self._stomach = HollowTube(Tube(path, radii, step=4.0), _STOMACH_WALL_MM, "stomach_wall", [filling])
        oesophagus = np.array(_OESOPHAGUS)
        self._oesophagus = HollowTube(
            Tube(room.path(oesophagus[:, :3]), oesophagus[:, 3], step=3.0),
            3.5,
            "stomach_wall",
            [Filling("stomach_wall")],
        )

        pancreas = np.array(_PANCREAS)
        lowered = float(rng.normal(0, 5))
        places = room.beside_column(np.add(pancreas[:, :3] * (1.0, tight, 1.0), (0, 0, lowered)))
        atrophy = float(np.clip(1.08 - 0.004 * (frame.person.age_years - 40), 0.75, 1.1))
        gland = Tube(places, pancreas[:, 3] * atrophy, step=3.0)
        # lobules: fat dents the outline, more so in the old
        gland.radii *= 1 + (0.04 + 0.1 * (1.1 - atrophy) / 0.35) * rng.uniform(-1, 1, len(gland.radii))
        self._pancreas = HollowTube(gland, 0.0, "pancreas", [Filling("pancreas")])

        bile = float(rng.uniform(0.6, 1.15)) * tight
        gallbladder = Tube(room.path(_GALLBLADDER), np.array(_GALLBLADDER_RADII_MM) * bile, step=3.0)
        self._gallbladder = HollowTube(gallbladder, 0.0, "gallbladder", [Filling("gallbladder")])

        self._kidneys = [Kidney(frame, room, side) for side in ("right", "left")]
        self._adrenals = [Adrenal(frame, kidney) for kidney in self._kidneys]
        self._pelvis = PelvicOrgans(frame, room)

    def _loft(self, stations: dict[int, list[tuple[float, float]]], lift: float, size: float, overrun: float) -> Loft:
        """A body whose outlines are given in the room's relative coordinates."""
        outlines = {
            z + lift: self._room.outline(z + lift, np.array(rows) * (size, 1.0)) for z, rows in stations.items()
        }
        return Loft(outlines, overrun=overrun)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        for loft, tissue in ((self._liver, "liver"), (self._spleen, "spleen")):
            outline = loft.at(z)
            if outline is not None:
                canvas.fill(self._beside_wall(outline, z), tissue, over=CAVITY_FAT)
        for kidney in self._kidneys:
            kidney.paint(canvas)
        for adrenal in self._adrenals:
            adrenal.paint(canvas)
        self._gallbladder.paint(canvas, (*CAVITY_FAT, "liver"))
        self._oesophagus.paint(canvas, (*CAVITY_FAT, "liver"))
        self._pancreas.paint(canvas, CAVITY_FAT)
        self._stomach.paint(canvas, CAVITY_FAT)
        self._pelvis.paint(canvas)

    def _beside_wall(self, outline: Points, z: float) -> Points:
        """An organ that lies against the wall, with the little fat that is between."""
        return self._room.kept_inside(outline, z, self._wall_gap)
