"""Neck and head: muscles, airway, glands, skull and brain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.head_surface import HeadSurface, whole
from lib.phantoms.parts.shells import both_sides
from lib.phantoms.shapes import Curve, Loft, ellipse, inset

_FAT = ("intermuscular_fat", "intrathoracic_fat")
_SOFT = (
    *_FAT, "neck_muscle", "masticatory_muscle", "trapezius", "airway_wall", "airway", "parotid", "submandibular_gland",
    "vessel",
)  # fmt: skip
_BONY = ("skull_cortex", "skull_marrow", "mandible_cortex", "mandible_marrow")
_SIDES = (1.0, -1.0)
_MIDLINE = (1.0,)


Rows = Mapping[Any, tuple[float, ...]]
"""Height to the numbers of an ellipse."""


@dataclass(frozen=True)
class _Strand:
    """Something that is an ellipse in every slice.

    Attributes:
        tissue: what it is made of.
        rows: height to |x| and y of the middle, half-width and half-depth, mm, and (if given) turn in degrees, that
            much of the outer end to the back.
        over: what it replaces.
    """

    tissue: str
    rows: Rows
    over: tuple[str, ...] = _FAT


# Painted in this order; y is absolute for the face and, below CRANIUM, measured from the column for the neck.
_NECK = (
    _Strand("vessel", {380: (27, 24, 3.8, 3.8), 420: (26, 11, 3.5, 3.5), 440: (28, 8, 4.5, 4.5), 500: (31, 8, 3, 3)}),
    _Strand("vessel", {378: (36, 26, 6, 5), 420: (36, 6, 6.5, 5), 470: (37, 0, 6, 5), 506: (32, -2, 4, 4)}),
    _Strand("thyroid", {
        378: (17, 28, 3, 4), 386: (18, 29, 8, 10), 400: (19, 29, 8.5, 11), 412: (21, 22, 6, 9), 420: (21, 18, 3, 5),
    }),
    _Strand("neck_muscle", {  # sternocleidomastoid, from the sternum to the mastoid process
        366: (14, 72, 6, 4), 378: (20, 60, 9, 5, 20), 396: (33, 40, 12, 6, 35), 425: (45, 18, 13, 7, 55),
        455: (53, -3, 13, 7, 75), 485: (57, -18, 10, 7, 90), 503: (57, -28, 7, 6, 90),
    }),
    _Strand("neck_muscle", {  # scalene muscles, to the first two ribs
        362: (56, 22, 5, 6), 376: (48, 16, 9, 9), 400: (34, 4, 9, 11), 430: (26, -4, 6, 9), 452: (23, -6, 4, 5),
    }),
    _Strand("neck_muscle", {  # levator scapulae, from the shoulder blade
        364: (72, -44, 5, 6), 385: (58, -38, 8, 9), 415: (43, -24, 9, 11), 450: (35, -16, 7, 10), 490: (31, -12, 4, 5),
    }),
    _Strand("neck_muscle", {350: (8, 15, 4, 3), 400: (9, 12, 6, 4), 450: (8, 11, 6, 3.5), 505: (9, 12, 6, 4)}),
    _Strand("neck_muscle", {  # splenius and semispinalis
        376: (24, -46, 10, 8), 395: (23, -44, 18, 14, -15), 425: (23, -43, 20, 17, -10), 460: (24, -47, 21, 18, -8),
        492: (26, -58, 22, 16, -8), 510: (26, -68, 16, 8, -12),
    }),
    _Strand("neck_muscle", {390: (10, -36, 6, 7), 430: (10, -33, 7, 9), 478: (11, -34, 8, 9), 508: (14, -44, 12, 9)}),
    _Strand("trapezius", {
        384: (48, -60, 36, 7, -20), 396: (40, -58, 34, 6, -26), 415: (32, -60, 26, 5, -26),
        450: (24, -68, 18, 4, -14), 500: (14, -82, 9, 3, -8),
    }),
    _Strand("neck_muscle", {378: (14, 50, 10, 3.5, 8), 405: (15, 44, 10, 3.5, 25), 436: (10, 44, 7, 4, 25)}),
)  # fmt: skip
_THROAT = (
    _Strand("airway_wall", {396: (0, 28, 11, 11), 408: (0, 27, 12, 13), 430: (0, 29, 13, 14), 442: (0, 28, 17, 11)}),
    _Strand("airway", {
        394: (0, 28, 8.5, 8.5), 406: (0, 27, 8, 10), 414: (0, 28, 4.5, 10), 419: (0, 28, 2.5, 10), 424: (0, 27, 5, 9),
        436: (0, 26, 12, 7), 446: (0, 24, 15, 7), 470: (0, 28, 13, 6), 495: (0, 32, 12, 6), 505: (0, 36, 13, 9),
        522: (0, 38, 12, 9), 528: (0, 38, 8, 5),
    }, (*_FAT, "airway_wall", "neck_muscle")),
)  # fmt: skip
_FACE = (
    _Strand("submandibular_gland", {
        434: (36, 38, 5, 8), 446: (38, 42, 10, 15, 60), 458: (38, 40, 9, 13), 466: (38, 36, 3, 5),
    }),
    _Strand("parotid", {
        462: (58, 2, 5, 9), 480: (59, 2, 9, 17), 505: (61, 2, 9, 19), 520: (64, 6, 6, 15), 528: (66, 8, 3, 6),
    }),
    _Strand("masticatory_muscle", {  # masseter
        450: (55, 30, 4, 10), 465: (59, 28, 6, 17), 490: (61, 30, 7, 18), 515: (63, 36, 6, 16), 528: (64, 42, 3, 10),
    }),
    _Strand("masticatory_muscle", {  # medial pterygoid
        455: (46, 26, 3, 9), 475: (42, 26, 6, 14, 10), 500: (34, 30, 6, 12, 15), 518: (28, 34, 4, 8),
    }),
    _Strand("masticatory_muscle", {462: (48, 56, 1.6, 12, 18), 480: (47, 60, 1.8, 18, 18), 502: (46, 60, 1.5, 14, 18)}),
    _Strand("masticatory_muscle", {502: (40, 22, 5, 7), 514: (38, 24, 13, 7, 35), 524: (36, 26, 10, 4, 35)}),
    _Strand("masticatory_muscle", {  # temporalis
        508: (52, 38, 4, 7), 528: (62, 36, 5, 15), 545: (68, 36, 6, 18), 562: (70, 30, 5, 24), 590: (73, 18, 2.5, 30),
        606: (71, 8, 1.2, 20),
    }, (*_FAT, "subcutaneous_fat")),
)  # fmt: skip
_MOUTH = (
    _Strand("neck_muscle", {
        444: (0, 60, 20, 22), 452: (0, 66, 26, 28), 462: (0, 70, 28, 27), 482: (0, 68, 24, 27), 492: (0, 66, 18, 20),
    }),
    _Strand("airway", {489: (0, 72, 12, 16), 495: (0, 70, 18, 22)}, (*_FAT, "neck_muscle")),
)  # fmt: skip

# Air-filled rooms within bone: the ellipse is the room, the wall of bone around it follows
_ROOMS_PAIRED: tuple[Rows, ...] = (
    {500: (31, 62, 5, 6), 508: (32, 64, 11, 13), 524: (31, 66, 15, 17), 538: (30, 66, 13, 16), 545: (28, 66, 7, 10)},
    {534: (7, 62, 3, 16), 545: (7.5, 66, 4.5, 20), 560: (7.5, 66, 5, 22), 568: (7, 64, 3, 14)},
    {532: (8, 26, 4, 6), 540: (8.5, 28, 7.5, 11), 550: (8, 28, 6, 9)},
    {562: (9, 93, 3, 3), 574: (13, 93, 10, 4), 588: (12, 95, 6, 3)},
)
_NASAL: Rows = {
    498: (7, 64, 4, 20),
    506: (7.5, 68, 6, 27),
    524: (7.5, 72, 6.5, 28),
    536: (5, 72, 3.5, 24),
    545: (3, 78, 2, 18),
}
_CONCHA: Rows = {
    504: (9, 64, 2.5, 15),
    516: (9.5, 66, 3, 18),
    522: (9, 66, 1, 12),
    526: (9, 64, 2.4, 14),
    534: (7, 66, 2, 12),
}
_ROOM_WALL_MM = 1.5

# Bones of the face, as ellipses
_BONES: tuple[tuple[str, Rows], ...] = (
    (
        "skull",
        {514: (60, 60, 4, 6), 528: (60, 62, 7, 9), 540: (58, 64, 6, 8), 556: (59, 60, 4, 6), 572: (58, 66, 4, 6)},
    ),
    ("skull", {524: (69, 28, 2, 10), 530: (69.5, 30, 2.4, 26), 536: (68, 40, 2, 14)}),
    ("skull", {498: (24, 38, 2, 5), 512: (24, 40, 2.2, 8), 530: (25, 40, 4, 7)}),
    ("skull", {538: (42, 54, 19, 1.8, -30), 560: (42, 56, 20, 1.8, -32), 576: (42, 62, 20, 2.5, -32)}),
    ("skull", {498: (57, -26, 7, 8), 510: (57, -25, 10, 13), 524: (58, -22, 9, 14), 532: (60, -20, 6, 10)}),
    (
        "skull",
        {518: (52, -14, 10, 6, 40), 530: (44, -10, 24, 7.5, 40), 540: (42, -9, 21, 5, 40), 546: (44, -10, 12, 2.5, 40)},
    ),
    ("skull", {545: (6, 104, 2.5, 5, 60), 560: (5, 99, 4, 5)}),
    ("mandible", {462: (54, 24, 4, 13), 480: (54, 22, 4, 14), 500: (53, 20, 3.5, 15), 512: (52, 20, 3, 15)}),
    ("mandible", {508: (53, 8, 4, 5), 518: (53, 7, 8, 5, -15), 525: (53, 7, 6, 4)}),
)
_CLIVUS: Rows = {
    512: (0, 13, 9, 4),
    524: (0, 18, 12, 6),
    534: (0, 22, 18, 16),
    550: (0, 26, 17, 14),
    556: (0, 24, 12, 6),
}
_PALATE: Rows = {495: (0, 68, 26, 26), 497.5: (0, 68, 27, 28), 500: (0, 68, 24, 26)}
# Horseshoes: the right half from behind to the midline in front, half-thickness
_MANDIBLE = {
    444: (((32, 66), (22, 84), (10, 95), (0, 98)), 3.0),
    452: (((47, 40), (34, 72), (16, 92), (0, 98)), 5.5),
    466: (((51, 30), (38, 66), (18, 90), (0, 96)), 5.5),
    474: (((50, 32), (36, 66), (17, 90), (0, 96)), 5.0),
}
_TEETH = {473: (((28, 50), (25, 72), (14, 90), (0, 96)), 4.5), 492: (((29, 50), (26, 74), (15, 92), (0, 98)), 4.5),
          500: (((29, 48), (27, 74), (15, 92), (0, 97)), 5.0)}  # fmt: skip
_HYOID = {440: (((22, 24), (18, 38), (10, 46), (0, 49)), 1.8), 447: (((24, 24), (19, 40), (10, 48), (0, 50)), 2.2)}
_THYROID_CARTILAGE = {
    408: (((19, 18), (15, 34), (8, 43), (0, 47)), 1.3),
    432: (((21, 16), (17, 36), (9, 45), (0, 50)), 1.3),
}

# Outer surface of the skull's vault and base, as half outlines like those of the skin
_VAULT = {
    513: ((0, -72), (22, -67), (38, -54), (44, -36), (40, -20), (30, -8), (18, 2), (9, 6), (0, 8)),
    523: ((0, -83), (36, -76), (56, -54), (64, -26), (63, -4), (50, 10), (30, 15), (12, 16), (0, 16)),
    536: ((0, -87), (40, -79), (65, -54), (71, -18), (69, 14), (61, 38), (44, 50), (24, 38), (0, 30)),
    552: ((0, -88), (42, -80), (67, -54), (72, -16), (69, 16), (61, 44), (45, 56), (24, 46), (0, 42)),
    565: ((0, -88), (42, -80), (69, -53), (73, -15), (71, 17), (63, 48), (45, 66), (23, 72), (0, 72)),
    573: ((0, -87), (42, -79), (69, -52), (74, -14), (72, 18), (63, 54), (44, 83), (22, 94), (0, 98)),
    585: ((0, -86), (42, -78), (69, -50), (74, -13), (72, 19), (63, 55), (43, 83), (21, 96), (0, 100)),
    610: ((0, -78), (41, -71), (65, -45), (70, -11), (68, 19), (59, 50), (40, 74), (19, 86), (0, 89)),
    634: ((0, -56), (32, -51), (50, -32), (55, -7), (53, 17), (45, 38), (30, 53), (14, 60), (0, 62)),
    646: ((0, -33), (19, -30), (31, -18), (34, -3), (33, 12), (27, 25), (18, 34), (9, 38), (0, 39)),
}  # fmt: skip
_VAULT_MM = {513: 7, 540: 5.5, 600: 6.5, 634: 9, 646: 17}
"""z: thickness of the vault as a slice cuts it: obliquely near the vertex."""
_TABLE_MM = 1.9
_SUBARACHNOID_MM = 1.8

# Rooms of fluid within the brain, and around it
_FLUID: tuple[Rows, ...] = (
    {578: (8, 32, 2, 10, 22), 592: (10, 20, 4, 18, 14), 604: (11, 4, 4.5, 26, 0), 612: (12, -2, 3, 16)},
    {580: (24, -38, 3, 10, -25), 596: (22, -34, 4, 14, -30), 606: (18, -30, 3, 10)},
    {560: (50, 24, 10, 2, -8), 575: (52, 22, 12, 2, -6), 590: (54, 18, 9, 1.5)},
    {548: (10, 34, 8, 3), 556: (9, 30, 10, 5), 562: (8, 26, 6, 4)},
)
_FLUID_MIDLINE: tuple[Rows, ...] = (
    {516: (0, -30, 4, 5), 530: (0, -28, 8, 4), 540: (0, -30, 4, 3)},
    {560: (0, 12, 2, 8), 572: (0, 10, 2.2, 14), 584: (0, 8, 1.5, 10)},
    {518: (0, 4, 10, 3), 534: (0, 6, 14, 4), 548: (0, 8, 12, 5)},
    {566: (0, 66, 0.8, 22), 590: (0, 70, 0.9, 26), 615: (0, 40, 0.9, 40), 640: (0, 6, 0.9, 44)},
    {556: (0, -64, 0.8, 16), 590: (0, -64, 0.9, 20), 615: (0, -40, 0.9, 34)},
)
_EYE = (32.0, 83.0, 12.0)
"""|x|, y and radius of the eyeball."""
_OPTIC_NERVE: Rows = {555: (25, 62, 2, 12, 28), 563: (25, 62, 2, 12, 28)}


class Head:
    """Neck and head: muscles, airway, glands, skull and brain."""

    def __init__(self, frame: Frame) -> None:
        rng = frame.rng("head")
        self._frame, self._surface = frame, HeadSurface(frame)
        build = (0.86 if frame.female else 1.0) * float(np.clip(0.7 + 0.3 * frame.sizes.wall, 0.7, 1.15))
        muscle = float(np.sqrt(build)) * float(rng.uniform(0.97, 1.03))
        self._neck = [_Drawn(strand, frame, on_column=True, grown=muscle) for strand in _NECK]
        self._throat = [_Drawn(strand) for strand in _THROAT]
        self._face = [_Drawn(strand, grown=muscle) for strand in _FACE]
        self._mouth = [_Drawn(strand) for strand in _MOUTH]
        self._rooms = [_Drawn(_Strand("airway", rows)) for rows in (*_ROOMS_PAIRED, _NASAL)]
        self._concha = _Drawn(_Strand("airway_wall", _CONCHA, ("airway",)))
        self._bones = [_Drawn(_Strand(f"{bone}_cortex", rows, (*_SOFT, *_BONY))) for bone, rows in _BONES]
        self._clivus = _Drawn(_Strand("skull_marrow", _CLIVUS, (*_SOFT, *_BONY)))
        self._palate = _Drawn(_Strand("skull_cortex", _PALATE, _SOFT))
        self._fluid = [_Drawn(_Strand("cerebrospinal_fluid", rows, ("brain",))) for rows in _FLUID]
        self._fluid_midline = [_Drawn(_Strand("cerebrospinal_fluid", r, ("brain",))) for r in _FLUID_MIDLINE]
        self._optic = _Drawn(_Strand("brain", _OPTIC_NERVE))
        # brains shrink with age, and fluid takes the room
        self._atrophy = 1.0 + 0.012 * max(frame.person.age_years - 45.0, 0.0)
        self._vault = Loft({z: whole(half) for z, half in _VAULT.items()}, overrun=7.0)
        self._vault_mm = Curve(_VAULT_MM)
        self._horseshoes = [
            (tissue, core, _Horseshoe(rows))
            for tissue, core, rows in (
                ("mandible_cortex", "mandible_marrow", _MANDIBLE), ("skull_cortex", None, _TEETH),
                ("hyoid_cortex", "hyoid_marrow", _HYOID), ("cartilage", None, _THYROID_CARTILAGE),
            )
        ]  # fmt: skip
        self._low = min(min(strand.rows) for strand in _NECK)
        self._eye = (self._frame.heights["orbit"], *_EYE)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them: soft parts first, bones over them, brain and air within the bones."""
        z = canvas.z
        if not self._low < z < self._surface.high:
            return
        for drawn in (*self._neck, *self._face):
            drawn.paint(canvas, _SIDES)
        for drawn in (*self._throat, *self._mouth):
            drawn.paint(canvas, _MIDLINE)
        for drawn in self._bones:
            drawn.paint(canvas, _SIDES, core=1.6, marrow=drawn.strand.tissue.replace("cortex", "marrow"))
        self._clivus.paint(canvas, _MIDLINE)
        self._palate.paint(canvas, _MIDLINE)
        for tissue, core, horseshoe in self._horseshoes:
            horseshoe.paint(canvas, tissue, core)
        self._paint_vault(canvas)
        for room in self._rooms:
            outline = room.outline(z)
            if outline is not None:
                walls = inset(outline, -_ROOM_WALL_MM)
                # next to the midline the two sides share a wall
                walls[:, 0] = np.maximum(walls[:, 0], 0.0)
                canvas.fill(both_sides(walls), "skull_cortex", over=(*_SOFT, *_BONY))
                canvas.fill(both_sides(outline), "airway", over=(*_SOFT, *_BONY))
        self._concha.paint(canvas, _SIDES)
        self._paint_eyes(canvas)

    def _paint_vault(self, canvas: Canvas) -> None:
        """Two tables of cortex with marrow between, then fluid, then the brain with its rooms."""
        z = canvas.z
        outer = self._vault.at(z)
        if outer is None:
            return
        thickness = float(self._vault_mm(z))
        canvas.fill(outer, "skull_cortex", over=(*_SOFT, *_BONY, "subcutaneous_fat"))
        canvas.fill(inset(outer, _TABLE_MM), "skull_marrow", over="skull_cortex")
        canvas.fill(inset(outer, thickness - _TABLE_MM), "skull_cortex", over="skull_marrow")
        if z > max(_VAULT):
            return
        cavity = inset(outer, thickness)
        canvas.fill(cavity, "cerebrospinal_fluid", over=_BONY)
        canvas.fill(inset(cavity, _SUBARACHNOID_MM * self._atrophy**0.5), "brain", over="cerebrospinal_fluid")
        for fluid in self._fluid:
            fluid.paint(canvas, _SIDES, grown=self._atrophy)
        for fluid in self._fluid_midline:
            fluid.paint(canvas, _MIDLINE, grown=self._atrophy)
        # the petrous bones and the back of the sella stand within the cavity
        for drawn in self._bones[5:6]:
            drawn.paint(canvas, _SIDES, over=("brain", "cerebrospinal_fluid", *_BONY))
        self._clivus.paint(canvas, _MIDLINE, over=("brain", "cerebrospinal_fluid", *_BONY))

    def _paint_eyes(self, canvas: Canvas) -> None:
        level, x, y, radius = self._eye
        off = canvas.z - level
        self._optic.paint(canvas, _SIDES)
        if abs(off) < radius:
            size = float(np.sqrt(radius**2 - off**2))
            canvas.fill(both_sides(ellipse(x, y, size, size, n=24)), "eye", over=(*_SOFT, "subcutaneous_fat"))


class _Drawn:
    """A strand made ready for one person."""

    def __init__(
        self, strand: _Strand, frame: Frame | None = None, *, on_column: bool = False, grown: float = 1.0
    ) -> None:
        self.strand = strand
        self._frame = frame if on_column else None
        self._low, self._high = min(strand.rows), max(strand.rows)
        self._curve = Curve({z: (*row, 0.0)[:5] for z, row in strand.rows.items()})
        self._grown = grown

    def outline(self, z: float, grown: float = 1.0) -> Points | None:
        """The ellipse on the right side, None where the strand is not."""
        if not self._low < z < self._high:
            return None
        x, y, a, b, turn = self._curve(z)
        if self._frame is not None:
            y += self._frame.column(z)[1]
        factor = self._grown * grown
        return ellipse(x, y, a * factor, b * factor, turn=-float(np.radians(turn)), n=20)

    def paint(
        self, canvas: Canvas, sides: tuple[float, ...], *, grown: float = 1.0, core: float = 0.0,
        marrow: str | None = None, over: tuple[str, ...] | None = None,
    ) -> None:  # fmt: skip
        """Fill the ellipse, on both sides if two are given, with marrow where it is thicker than two cortices."""
        right = self.outline(canvas.z, grown)
        if right is None:
            return
        canvas.fill(_on(sides, right), self.strand.tissue, over=over or self.strand.over)
        if marrow is not None and min(self._curve(canvas.z)[2:4]) > core + 0.8:
            canvas.fill(_on(sides, inset(right, core)), marrow, over=self.strand.tissue)


def _on(sides: tuple[float, ...], right: Points) -> Points:
    """An outline, or with it its mirror image, which it must not touch."""
    return right if len(sides) == 1 else both_sides(right)


class _Horseshoe:
    """A bent bar, open behind, such as the lower jaw."""

    def __init__(self, rows: Mapping[int, tuple[tuple[tuple[float, float], ...], float]]) -> None:
        self._low, self._high = min(rows), max(rows)
        self._line = Curve({z: np.array(line).ravel().tolist() for z, (line, _) in rows.items()})
        self._half = Curve({z: half for z, (_, half) in rows.items()})

    def paint(self, canvas: Canvas, tissue: str, core: str | None) -> None:
        """Fill the bar, and its core with marrow."""
        z = canvas.z
        if not self._low < z < self._high:
            return
        right = self._line(z).reshape(-1, 2)
        line = _refined(np.concatenate([right, right[-2::-1] * (-1.0, 1.0)]))
        half = float(self._half(z))
        canvas.fill(_bar(line, half), tissue, over=(*_SOFT, *_BONY))
        if core is not None and half > 2.0:
            canvas.fill(_bar(line[1:-1], half - 1.8), core, over=tissue)


def _refined(line: npt.NDArray[np.float64], n: int = 33) -> Points:
    """An open line made smooth."""
    along = np.arange(len(line), dtype=np.float64)
    curve = Curve({float(t): tuple(point) for t, point in zip(along, line, strict=True)})
    return np.array([curve(float(t)) for t in np.linspace(0, along[-1], n)])


def _bar(line: Points, half: float) -> Points:
    """The outline of a line of some half-thickness."""
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.sqrt(np.square(normal).sum(axis=1, keepdims=True)), 1e-9)
    return np.concatenate([line + normal * half, (line - normal * half)[::-1]])
