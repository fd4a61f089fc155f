"""The great vessels of trunk and pelvis with their branches to the organs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import HollowTube, SmallTubes, bundle, solid
from lib.phantoms.shapes import Tube

_TOP_Z = 330.0
"""Above, the aorta is the chest's."""

_FREE = (*CAVITY_FAT, "intrathoracic_fat", "intermuscular_fat")

# Paths from the front of the vertebral column: x from its middle and y from the front of its bodies, height, radius,
# mm. Along the spine heights are those of the reference body; see also the anchors of the bifurcations.
_AORTA = [
    (-21, -8, 330, 11.5), (-19, 0, 270, 11), (-13, 6, 215, 10.5), (-8, 10, 160, 10), (-9, 11, 110, 9.8),
    (-10, 12, 70, 9.3), (-9, 12, 20, 8.8), (-5, 11, -18, 8.4), (-2, 10, -34, 8.0),
]  # fmt: skip
_CAVA = [
    (22, 24, 215, 11.5), (21, 18, 185, 11.5), (19, 13, 150, 11), (18, 11, 105, 11), (18, 10, 60, 10.5),
    (17, 10, 10, 10), (13, 9, -30, 9.5), (8, 7, -50, 9.0),
]  # fmt: skip
_ILIAC_ARTERY = [
    (3, 10, -36, 5.5), (18, 11, -62, 5.3), (31, 6, -92, 5.2), (42, 12, -120, 4.8),
]  # fmt: skip
_ILIAC_VEIN = [(8, 6, -50, 7.0), (20, 3, -72, 6.8), (34, -4, -97, 6.6), (44, 0, -122, 6.2)]

# From the pelvic brim to the groin: |x|, y (not from the column), height above the symphysis' upper edge, radius, mm
_TO_GROIN_ARTERY = [(52, 10, 55, 4.8), (60, 24, 28, 4.8), (66, 38, 2, 4.8), (69, 41, -25, 4.6), (71, 38, -60, 4.4)]
_TO_GROIN_VEIN = [(53, -2, 55, 6.2), (57, 14, 28, 6.0), (58, 31, 2, 6.0), (60, 36, -25, 5.8), (63, 32, -60, 5.5)]
_INTERNAL_ILIAC = [(31, 6, -92, 4.0), (41, -3, -112, 3.8), (47, -2, -135, 3.2), (49, 6, -155, 2.4)]

# x from the middle of the column, y from the front of its bodies, height, radius, mm
_MESENTERIC_ARTERY = [
    (-8, 20, 88, 3.6), (-7, 31, 78, 3.6), (-4, 37, 60, 3.4), (2, 40, 30, 3.2), (9, 42, 0, 2.8), (20, 40, -30, 2.0),
]  # fmt: skip
_MESENTERIC_VEIN = [(10, 28, 86, 6.0), (11, 34, 68, 5.6), (10, 40, 45, 5.2), (13, 42, 15, 4.5), (22, 42, -18, 3.2)]
_CELIAC = [(-8, 18, 104, 3.6), (-6, 30, 107, 3.4), (8, 36, 110, 2.6)]
_SPLENIC_VEIN = [(10, 28, 86, 5.0), (-14, 25, 90, 4.6), (-38, 12, 98, 4.2), (-62, -6, 106, 3.6)]
_PORTAL_VEIN = [(10, 28, 86, 6.5), (20, 33, 102, 6.5), (33, 36, 118, 6.2), (46, 38, 128, 5.5)]
_INFERIOR_MESENTERIC = [(-8, 20, 18, 1.9), (-14, 22, -5, 1.8), (-20, 22, -30, 1.6), (-24, 24, -60, 1.4)]

# Branches within the liver in (u, v, height, radius): the portal vein's, and the hepatic veins towards the cava
_LIVER_BRANCHES = [
    [(0.36, 0.42, 128, 5.5), (0.52, 0.2, 132, 4.5), (0.7, 0.0, 140, 3.2), (0.84, -0.15, 152, 2.0)],
    [(0.52, 0.2, 132, 4.0), (0.66, 0.3, 120, 3.0), (0.8, 0.35, 100, 2.0)],
    [(0.52, 0.2, 132, 3.5), (0.68, -0.1, 115, 2.8), (0.8, -0.3, 95, 1.8)],
    [(0.36, 0.42, 128, 5.0), (0.22, 0.62, 136, 4.0), (0.05, 0.78, 142, 2.8), (-0.12, 0.88, 146, 1.8)],
    [(0.18, 0.12, 200, 4.5), (0.38, 0.18, 188, 4.0), (0.6, 0.22, 165, 3.2), (0.78, 0.2, 130, 2.0)],
    [(0.18, 0.16, 198, 4.2), (0.28, 0.42, 182, 3.6), (0.38, 0.64, 160, 2.6), (0.42, 0.74, 140, 1.8)],
    [(0.16, 0.18, 198, 3.8), (0.08, 0.45, 182, 3.0), (-0.06, 0.72, 165, 2.0)],
]

_VISCERAL = (_MESENTERIC_VEIN, _MESENTERIC_ARTERY, _CELIAC, _PORTAL_VEIN, _SPLENIC_VEIN, _INFERIOR_MESENTERIC)

_CALCIFIED_FROM_YEARS = 45.0


class Vessels:
    """Aorta and vena cava with their branches. Walls are not drawn apart, but calcifications of old age are."""

    def __init__(self, frame: Frame) -> None:
        rng = frame.rng("vessels")
        self._frame, self._room = frame, Room(frame)
        wide = float(rng.normal(1.0, 0.05)) * (0.9 if frame.female else 1.0)
        wide *= 1 + 0.003 * (frame.person.age_years - 50)
        shift = float(rng.normal(0, 2))
        aorta = np.add(_AORTA, (shift, 0, 0, 0))
        cava = np.add(_CAVA, (shift * 0.5, 0, 0, 0))
        self._aorta = self._along_spine(aorta, "aorta", size=wide)
        flat = {"size": float(rng.normal(0.95, 0.06)), "stretch": float(rng.uniform(1.05, 1.35))}
        self._cava = self._along_spine(cava, "vena_cava", **flat)
        self._branches: list[HollowTube] = []
        for sign in (-1.0, 1.0):
            mirror = (sign, 1.0, 1.0, 1.0)
            for upper, lower, size in (
                (_ILIAC_ARTERY, _TO_GROIN_ARTERY, wide), (_ILIAC_VEIN, _TO_GROIN_VEIN, 1.0),
            ):  # fmt: skip
                above = np.multiply(upper, mirror)
                below = np.add(np.multiply(lower, mirror), (0, 0, frame.heights["symphysis_top"], 0))
                path = np.concatenate([self._room.beside_column(above[:, :3]), below[:, :3]])
                radii = np.append(above[:, 3], below[:, 3]) * size
                self._branches.append(solid(path, radii, "vessel", step=2.5))
            self._branches.append(self._along_spine(np.multiply(_INTERNAL_ILIAC, mirror), "vessel"))
        self._branches += [self._along_spine(np.array(rows), "vessel") for rows in _VISCERAL]
        self._branches += self._renal(rng)
        self._liver = bundle(
            [Tube(self._room.path(np.array(rows)[:, :3]), np.array(rows)[:, 3], step=2.0) for rows in _LIVER_BRANCHES]
        )
        self._plaques = self._calcifications(rng, aorta, wide)

    def _along_spine(
        self, rows: npt.NDArray[np.float64], tissue: str, *, size: float = 1.0, stretch: float = 1.0
    ) -> HollowTube:
        return solid(self._room.beside_column(rows[:, :3]), rows[:, 3] * size, tissue, step=2.5, stretch=stretch)

    def _renal(self, rng: np.random.Generator) -> list[HollowTube]:
        """Arteries and veins between the great vessels and the hilum of the kidneys."""
        tubes = []
        for sign in (-1.0, 1.0):
            z = 74.0 + float(rng.normal(0, 3)) - 6.0 * sign
            artery = [(-10 + sign * 8, 8, z + 3, 2.8), (sign * 26, -4, z, 2.7), (sign * 42, -14, z - 4, 2.4)]
            # the left vein crosses in front of the aorta to the cava
            vein = [(18 + sign * 8, 13, z, 4.5), (sign * 30, 6, z - 1, 4.3), (sign * 45, -10, z - 3, 3.8)]
            if sign < 0:
                vein = [(12, 16, z, 4.5), (-8, 25, z, 3.6), (-24, 17, z, 4.4), (-45, -8, z - 2, 4.0)]
            tubes += [self._along_spine(np.array(rows), "vessel") for rows in (artery, vein)]
        return tubes

    def _calcifications(
        self, rng: np.random.Generator, aorta: npt.NDArray[np.float64], wide: float
    ) -> SmallTubes | None:
        """Plaques in the wall of the aorta, more with age."""
        years = max(self._frame.person.age_years - _CALCIFIED_FROM_YEARS, 0.0)
        count = int(years * rng.uniform(0.2, 1.0))
        if not count:
            return None
        path, radii = self._room.beside_column(aorta[:, :3]), aorta[:, 3]
        order = np.argsort(path[:, 2])
        tubes = []
        for _ in range(count):
            z = float(rng.uniform(path[:, 2].min(), 120.0))
            x, y, radius = (np.interp(z, path[order, 2], column[order]) for column in (*path.T[:2], radii * wide))
            angle, size = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.8, 1.6))
            turned = angle + np.linspace(0, rng.uniform(0.2, 0.7), 4)
            arc = np.stack(
                [x + (radius - size) * np.cos(turned), y + (radius - size) * np.sin(turned), np.full(4, z)], axis=1
            )
            tubes.append(Tube(arc, size, step=1.0))
        return bundle(tubes)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them: large ones first, so that small ones end at their wall."""
        if canvas.z > _TOP_Z:
            return
        self._aorta.paint(canvas, _FREE)
        self._cava.paint(canvas, (*_FREE, "liver"))
        for tube in self._branches:
            tube.paint(canvas, (*_FREE, "renal_sinus"))
        self._liver.paint(canvas, "vessel", ("liver",))
        if self._plaques is not None:
            self._plaques.paint(canvas, "calcification", ("aorta",))
