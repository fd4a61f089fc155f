"""Lungs, heart and mediastinum, diaphragm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Mask, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.chest_tree import Tree, lung_tree, stamp
from lib.phantoms.shapes import Curve, Loft, Tube, ellipse, inset, moved, smooth
from lib.phantoms.trunk import Trunk

Flags = npt.NDArray[np.bool_]

_FAT = ("peritoneal_fat", "retroperitoneal_fat")
_ROOM = ("intrathoracic_fat", "lung")
"""What the contents of the mediastinum may replace."""

DIAPHRAGM_MM = 2.6
_BARE_AREA_MM = 20.0
"""So far below its top the right dome lies on the liver, without fat between."""

# Sections of the domes by the distance below their top: centre x as a share of the room's half-width and y as a share
# of its depth from the back; half-width as a share of the room's half-width and depth as a share of its depth.
_RIGHT_DOME = {
    -130: (0.48, 0.53, 0.62, 1.1), -115: (0.49, 0.56, 0.55, 0.96), -90: (0.495, 0.575, 0.515, 0.89),
    -60: (0.5, 0.565, 0.485, 0.82), -35: (0.51, 0.54, 0.445, 0.7), -18: (0.515, 0.52, 0.38, 0.56),
    -8: (0.52, 0.51, 0.28, 0.4), -3: (0.52, 0.5, 0.18, 0.26), 0: (0.52, 0.5, 0.02, 0.03),
}  # fmt: skip
_LEFT_DOME = {
    -120: (-0.48, 0.53, 0.62, 1.1), -105: (-0.49, 0.56, 0.55, 0.96), -80: (-0.5, 0.57, 0.51, 0.88),
    -58: (-0.52, 0.55, 0.475, 0.8), -35: (-0.54, 0.49, 0.41, 0.66), -18: (-0.55, 0.46, 0.34, 0.5),
    -8: (-0.54, 0.47, 0.24, 0.35), -3: (-0.53, 0.48, 0.15, 0.22), 0: (-0.53, 0.48, 0.02, 0.03),
}  # fmt: skip
_CENTRE_DOME = {  # under the heart
    -100: (0.0, 0.68, 0.55, 0.7), -60: (0.0, 0.68, 0.55, 0.68), -30: (0.0, 0.72, 0.5, 0.56),
    -12: (-0.05, 0.78, 0.42, 0.38), -4: (-0.08, 0.8, 0.3, 0.22), 0: (-0.05, 0.8, 0.03, 0.02),
}  # fmt: skip
_HEART_BELOW_DOMES_MM = 14.0
"""By how much the diaphragm under the heart lies lower than the landmark of the left dome."""
_FUNDUS_MM = 7.0
"""By how much the left dome sinks onto the fundus of the stomach."""


class Diaphragm:
    """The surface between chest and abdomen: two domes, and the tendon that carries the heart between them.

    Attributes:
        low: below this height the whole section is abdomen.
        high: above it, the whole section is chest.
    """

    def __init__(self, frame: Frame) -> None:
        self._trunk = Trunk(frame)
        right, left = frame.heights["diaphragm_right"], frame.heights["diaphragm_left"]
        centre = left - _HEART_BELOW_DOMES_MM
        self._domes = [
            (top, Curve(stations))
            for top, stations in ((right, _RIGHT_DOME), (left - _FUNDUS_MM, _LEFT_DOME), (centre, _CENTRE_DOME))
        ]
        self.low, self.high = max(right + min(_RIGHT_DOME), left - _FUNDUS_MM + min(_LEFT_DOME)), max(right, left)

    def domes(self, z: float) -> list[Points]:
        """Outlines that together hold the section through the abdomen; they may reach beyond the room's walls."""
        room = self._trunk.inner(z)
        half_width = float(np.abs(room[:, 0]).max())
        back, front = float(room[:, 1].min()), float(room[:, 1].max())
        outlines = []
        for top, curve in self._domes:
            if z < top:
                x, y, a, b = curve(z - top)
                depth = front - back
                outlines.append(ellipse(x * half_width, back + y * depth, a * half_width, b * depth / 2, power=2.2))
        return outlines


# Half-width of the mediastinum on the right and on the left, mm, at eight places from the front of the vertebra (0) to
# the back of the sternum (1), by height.
_PLACES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
_MEDIASTINUM = {
    90: ((16, 16, 12, 8, 6, 4, 4, 4), (20, 22, 16, 8, 6, 4, 4, 4)),
    165: ((13, 15, 20, 24, 24, 20, 12, 8), (34, 38, 30, 30, 30, 28, 16, 10)),
    195: ((12, 15, 32, 38, 40, 34, 20, 10), (35, 38, 54, 76, 86, 82, 54, 30)),
    225: ((13, 18, 40, 48, 48, 40, 21, 9), (36, 40, 60, 82, 86, 70, 36, 15)),
    250: ((14, 22, 43, 47, 45, 36, 16, 7), (36, 40, 53, 66, 66, 52, 26, 11)),
    272: ((18, 32, 42, 40, 37, 28, 13, 6), (37, 41, 48, 52, 46, 35, 19, 9)),
    290: ((20, 27, 32, 34, 33, 24, 11, 5), (36, 38, 40, 42, 39, 26, 13, 7)),
    312: ((17, 21, 28, 31, 30, 22, 10, 6), (33, 38, 40, 38, 34, 23, 12, 7)),
    340: ((16, 22, 32, 37, 36, 32, 28, 30), (18, 30, 36, 38, 36, 32, 28, 30)),
    366: ((20, 26, 34, 42, 48, 54, 60, 80), (20, 28, 35, 42, 48, 54, 60, 80)),
}  # fmt: skip
_BODY_FRONT = 15.0
"""From the middle of a thoracic vertebral body to the mediastinum in front of it, mm."""
_BESIDE_SPINE = ((37.0, -70.0), (36.0, -40.0), (31.0, -29.0), (20.0, -13.0), (17.0, 2.0))
"""Edge of the lung beside vertebra and rib neck: |x| and y from the middle of the vertebral body."""

# The apex of a lung by height: |x| and y (from the column) of the middle, half-width and half-depth
_APEX = {330: (66, 26, 140, 160), 345: (62, 24, 70, 80), 358: (54, 20, 50, 54), 370: (48, 16, 34, 38),
         380: (44, 12, 22, 25), 387: (42, 10, 8, 9)}  # fmt: skip
_APEX_TOP, _THORACIC_INLET = 387.0, 372.0

# The heart's outline by height: corners round it from the right edge (atrium) over the front to the apex and back
_HEART = {
    188: ((8, 40), (-4, 54), (-30, 64), (-56, 62), (-70, 50), (-62, 36), (-40, 28), (-14, 28)),
    200: ((30, 30), (16, 56), (-20, 73), (-58, 69), (-78, 50), (-66, 26), (-38, 10), (0, 6)),
    222: ((43, 22), (30, 56), (-10, 76), (-56, 66), (-79, 40), (-62, 8), (-30, -9), (12, -5)),
    245: ((42, 20), (34, 48), (4, 66), (-40, 59), (-62, 34), (-50, 2), (-18, -15), (22, -8)),
    262: ((36, 16), (30, 40), (6, 55), (-26, 54), (-44, 34), (-38, 4), (-12, -11), (18, -7)),
}
# The cavities: right ventricle and atrium, left ventricle, left atrium; the rest of the heart is muscle
_CAVITIES: tuple[dict[float, tuple[tuple[float, float], ...]], ...] = (
    {
        196: ((6, 46), (-14, 64), (-36, 66), (-50, 60), (-34, 52), (-12, 44)),
        222: ((16, 48), (-2, 68), (-30, 70), (-54, 60), (-36, 48), (-8, 34)),
        245: ((18, 46), (4, 60), (-20, 60), (-36, 54), (-24, 42), (-2, 34)),
        258: ((-2, 48), (-8, 53), (-18, 52), (-24, 46), (-18, 40), (-8, 40)),
    },
    {
        205: ((30, 26), (22, 40), (10, 44), (0, 30), (4, 16), (18, 12)),
        222: ((40, 22), (30, 44), (14, 44), (4, 28), (8, 8), (24, 6)),
        245: ((39, 20), (33, 38), (20, 38), (14, 24), (18, 8), (28, 6)),
        258: ((34, 16), (30, 28), (24, 28), (20, 20), (20, 10), (28, 8)),
    },
    {
        202: ((-30, 36), (-44, 48), (-60, 50), (-66, 44), (-56, 32), (-40, 26)),
        222: ((-16, 26), (-34, 40), (-58, 50), (-68, 42), (-54, 18), (-30, 12)),
        240: ((-14, 28), (-28, 38), (-44, 42), (-50, 34), (-40, 16), (-24, 12)),
    },
    {
        218: ((6, -1), (-10, 6), (-26, 6), (-44, 2), (-36, -4), (-14, -6)),
        240: ((22, 0), (2, 12), (-20, 12), (-42, 8), (-36, -4), (-8, -10)),
        256: ((24, -2), (4, 8), (-16, 8), (-36, 6), (-28, -6), (-4, -8)),
    },
)
_GROOVES = (
    (((40, 48, 208), (34, 54, 222), (26, 58, 240)), 4.5),
    (((-62, 6, 212), (-56, -2, 226), (-46, -6, 240)), 4.0),
)
"""Fat in the grooves between atria and ventricles, with the coronary arteries: path and radius, mm."""

# Trunks of the vessels above the heart: x, y, z and the radius. "col" paths have y measured from the column.
_VESSELS: tuple[tuple[str, tuple[tuple[float, float, float], ...], tuple[float, ...]], ...] = (
    ("vessel", ((-20, 48, 250), (-20, 42, 262), (-17, 30, 274), (-22, 14, 281), (-40, 0, 280), (-56, -10, 272)),
     (13, 14, 14, 12, 10, 8)),
    ("vessel", ((-17, 28, 272), (2, 10, 270), (24, 4, 268), (48, -4, 264), (58, -8, 258)), (13, 11, 10, 9, 7)),
    ("vessel", ((-34, 2, 248), (-52, -6, 252), (-66, -12, 256)), (7, 6.5, 5)),
    ("vessel", ((20, 0, 246), (42, -2, 250), (60, -6, 254)), (7, 7, 5)),
    ("vessel", ((-34, 0, 238), (-50, -12, 232), (-62, -20, 226)), (6, 6, 5)),
    ("vessel", ((18, -2, 238), (38, -12, 232), (52, -20, 226)), (6, 6, 5)),
    ("vena_cava", ((28, 16, 250), (29, 22, 275), (28, 27, 305), (27, 30, 332)), (11, 9.5, 9, 8.5)),
    ("vena_cava", ((25, 2, 180), (25, 6, 205), (25, 12, 222)), (12, 12, 13)),
    ("vessel", ((27, 30, 330), (34, 30, 350), (46, 28, 376)), (8, 7, 6)),
    ("vessel", ((25, 32, 330), (4, 40, 341), (-20, 38, 350), (-44, 30, 368), (-50, 27, 380)), (7, 7, 7, 6, 6)),
    ("vessel", ((8, 14, 322), (14, 14, 345), (24, 12, 372), (34, 8, 392)), (6.5, 6, 5, 3.5)),
    ("vessel", ((-6, 2, 324), (-12, 4, 345), (-20, 8, 372), (-22, 10, 396)), (4.5, 4, 3.7, 3.5)),
    ("vessel", ((-16, -12, 322), (-24, -12, 345), (-36, -6, 372), (-48, 0, 386)), (5, 5, 4.5, 4)),
)  # fmt: skip
_AORTA = ((-2, 22, 246), (6, 28, 258), (15, 32, 276), (16, 31, 294), (8, 25, 310), (-9, 11, 317))
_AORTA_BACK = ((-21, 24, 318), (-24, 14, 313), (-24, 11, 302), (-24, 10, 288))
"""Ascending aorta and first half of the arch; its second half has y measured from the column."""

# x and y (from the column) of airways and oesophagus
_TRACHEA = ((0, 36, 398), (2, 32, 360), (5, 30, 325), (4, 30, 291))
_BRONCHI = (
    (((3, 30, 292), (18, 28, 279), (34, 25, 266), (44, 20, 252)), (8.5, 7.5, 6, 5)),
    (((3, 30, 292), (-14, 29, 280), (-32, 26, 268), (-46, 20, 254)), (8, 6.5, 5.5, 4.5)),
    (((24, 27, 275), (40, 26, 279), (52, 24, 286)), (5.5, 4.5, 3.5)),
)
_OESOPHAGUS = ((-3, 20, 398), (-5, 16, 340), (-4, 18, 300), (-2, 20, 270), (-4, 21, 240), (-10, 25, 205),
               (-17, 32, 172), (-20, 38, 160))  # fmt: skip
_AIRWAY_WALL_MM = 1.4

# Crura: edge of the space between them, right front to left, from the middle of the vertebral body
_RETROCRURAL = ((19, -6), (20, 8), (13, 22), (2, 33), (-12, 37), (-24, 28), (-27, 12), (-22, -6))


class Chest:
    """Lungs, heart and mediastinum, diaphragm."""

    def __init__(self, frame: Frame) -> None:
        rng = frame.rng("chest")
        self._frame, self._trunk, self.diaphragm = frame, Trunk(frame), Diaphragm(frame)
        # fluid parts the liver from the diaphragm
        fluid = frame.person.strength("ascites") > 0
        self._bare_area = np.inf if fluid else frame.heights["diaphragm_right"] - _BARE_AREA_MM
        width = rng.uniform(0.93, 1.07, 2)
        self._edges = Curve({z: self._edge_table(right, left, width) for z, (right, left) in _MEDIASTINUM.items()})
        self._apex = Curve(_APEX)
        size, shift = rng.uniform(0.93, 1.06), rng.uniform(-3, 3, 2)

        def placed(corners: tuple[tuple[float, float], ...]) -> Points:
            return moved(smooth(np.array(corners) * size, n=48), *shift)

        self._heart = Loft({z: placed(corners) for z, corners in _HEART.items()}, overrun=7.0)
        self._cavities = [Loft({z: placed(c) for z, c in cavity.items()}, overrun=6.0) for cavity in _CAVITIES]
        self._grooves = [Tube(np.array(path) + np.array([*shift, 0.0]), radius, step=2.0) for path, radius in _GROOVES]
        self._vessels = [
            (tissue, Tube(path, np.array(radii) * rng.uniform(0.92, 1.08), step=2.5))
            for tissue, path, radii in _VESSELS
        ]
        calibre = rng.uniform(0.92, 1.08) + 0.003 * (frame.person.age_years - 50)
        arch = [*_AORTA, *self._on_column(_AORTA_BACK)]
        self._vessels.append(("aorta", Tube(arch, np.linspace(16, 12.5, len(arch)) * calibre, step=2.5)))
        self._airways = [Tube(self._on_column(_TRACHEA), 8.5 if frame.female else 9.5, step=2.0)]
        self._airways += [Tube(self._on_column(path), radii, step=2.0) for path, radii in _BRONCHI]
        self._oesophagus = Tube(self._on_column(_OESOPHAGUS), 7.5, step=2.0)
        self._tree: Tree = lung_tree(rng, self._on_column([(0.0, 20.0, 265.0)])[0])
        self._crura = smooth(_RETROCRURAL, n=48)

    @staticmethod
    def _edge_table(right: tuple[float, ...], left: tuple[float, ...], width: npt.NDArray[np.float64]) -> list[float]:
        fine = np.linspace(0, 1, 17)
        sides = [Curve(dict(zip(_PLACES, side, strict=True))) for side in (right, left)]
        return [float(side(v)) * factor for side, factor in zip(sides, width, strict=True) for v in fine]

    def _on_column(self, path: object) -> Points:
        """A path (n, 3) whose x and y are measured from the middle of the column."""
        points = np.array(path, dtype=np.float64)
        points[:, :2] += [self._frame.column(z) for z in points[:, 2]]
        return points

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them: the room with its lungs, then what lies in the mediastinum."""
        z = canvas.z
        if self._frame.heights["costal_margin"] < z < self._trunk.high:
            self._paint_rooms(canvas)
            self._paint_crura(canvas)
        if self.diaphragm.low < z < max(point[2] for point in _OESOPHAGUS):
            self._paint_mediastinum(canvas)

    def mediastinum(self, z: float) -> Points:
        """What lies between the lungs, spine included, as one outline; it reaches beyond the room's walls."""
        cx, cy = self._frame.column(z)
        front = float(self._trunk.inner(z)[:, 1].max())
        right, left = self._edges(z).reshape(2, -1)
        share = np.linspace(0, 1, len(right))
        y = cy + _BODY_FRONT + share * (front + 4 - cy - _BODY_FRONT)
        spine = np.array(_BESIDE_SPINE) + np.array([0.0, cy])
        middle = cx * np.concatenate([np.ones(len(spine)), 1 - share])
        x_right, x_left = np.concatenate([spine[:, 0], right]), np.concatenate([spine[:, 0], left])
        both_y = np.concatenate([spine[:, 1], y])
        return np.concatenate(
            [np.stack([middle + x_right, both_y], axis=1), np.stack([middle - x_left, both_y], axis=1)[::-1]]
        )

    def _paint_rooms(self, canvas: Canvas) -> None:
        """The chest above the diaphragm: fat, the lungs in it, and the diaphragm itself."""
        z = canvas.z
        room = _flags(canvas, [self._trunk.inner(z)])
        if z < self.diaphragm.high:
            domes = self.diaphragm.domes(z) if z > self.diaphragm.low else [self._trunk.inner(z)]
            abdomen = _flags(canvas, domes)
            muscle = abdomen & ~_flags(canvas, [inset(dome, DIAPHRAGM_MM) for dome in domes])
            if z > self.diaphragm.low:
                canvas.fill(Mask(0, 0, room & muscle), "diaphragm", over=_FAT)
            room &= ~abdomen
            if self._bare_area < z and np.ptp(domes[0], axis=0).min() > 3 * DIAPHRAGM_MM:
                canvas.fill(inset(domes[0], DIAPHRAGM_MM), "liver", over=_FAT)
        if z > self.diaphragm.low:
            canvas.fill(Mask(0, 0, room), "intrathoracic_fat" if z < _APEX_TOP else "intermuscular_fat", over=_FAT)
            canvas.fill(Mask(0, 0, room & self._lungs(canvas)), "lung", over="intrathoracic_fat")

    def _lungs(self, canvas: Canvas) -> Flags:
        z = canvas.z
        if z >= _APEX_TOP:
            return np.zeros(canvas.tissue.shape, bool)
        lungs = ~_flags(canvas, [self.mediastinum(z)]) & _flags(canvas, [inset(self._trunk.inner(z), 1.0)])
        if z > min(_APEX):
            x, y, a, b = self._apex(z)
            cx, cy = self._frame.column(z)
            lungs &= _flags(canvas, [ellipse(cx + sign * x, cy + y, a, b, power=2.2) for sign in (1, -1)])
        return lungs

    def _paint_crura(self, canvas: Canvas) -> None:
        """Two muscles that run from the front of the upper lumbar vertebrae round the aorta into the diaphragm."""
        z, vertebrae = canvas.z, self._frame.vertebrae
        top, arch, low = vertebrae["T11"].z, vertebrae["T12"].inferior_z, vertebrae["L2"].inferior_z
        if not low < z < top:
            return
        cx, cy = self._frame.column(z)
        # towards their origin the crura grow thin and flat on the vertebrae
        rise = min(max((z - low) / (arch - low), 0.0), 1.0)
        outer = moved(self._crura * [1.0, 0.75 + 0.25 * rise], cx, cy)
        ring = _flags(canvas, [outer]) & ~_flags(canvas, [inset(outer, 2.0 + 4.0 * rise)])
        x, y = canvas.positions(Mask(0, 0, ring))
        if z < arch:  # open in front, where the aorta's branches leave
            ring &= (x > cx + 2) | (x < cx - 17)
        else:
            within = _flags(canvas, [inset(outer, 2.0 + 4.0 * rise)])
            canvas.fill(Mask(0, 0, within), "intrathoracic_fat", over=(*_FAT, "diaphragm", "lung"))
        canvas.fill(Mask(0, 0, ring & (y > cy)), "diaphragm", over=(*_FAT, *_ROOM))

    def _paint_mediastinum(self, canvas: Canvas) -> None:
        z = canvas.z
        heart = self._heart.at(z)
        if heart is not None:
            canvas.fill(heart, "myocardium", over=_ROOM)
            for cavity in self._cavities:
                outline = cavity.at(z)
                if outline is not None:
                    canvas.fill(outline, "heart", over="myocardium")
            for groove in self._grooves:
                _fill_tube(canvas, groove, "intrathoracic_fat", over=("myocardium",))
        stamp(canvas, *self._tree.cut(z), "vessel", over="lung")
        # where they leave the chest, vessels and airway run between the muscles of the neck
        room = (*_ROOM, "intermuscular_fat") if z > _THORACIC_INLET else _ROOM
        for tissue, tube in self._vessels:
            _fill_tube(canvas, tube, tissue, over=(*room, "myocardium"))
        _fill_tube(canvas, self._oesophagus, "oesophagus", over=(*room, "diaphragm"))
        for airway in self._airways:
            _fill_tube(canvas, airway, "airway_wall", over=(*room, "vessel", "aorta", "oesophagus"))
        for airway in self._airways:
            _fill_tube(canvas, airway, "airway", over=("airway_wall",), shrink=_AIRWAY_WALL_MM)


def _fill_tube(canvas: Canvas, tube: Tube, tissue: str, *, over: tuple[str, ...], shrink: float = 0.0) -> None:
    """Fill what the slice cuts of a tube, if it does."""
    points, radii = tube.cut(canvas.z, shrink=shrink)
    if len(points):
        canvas.fill(canvas.discs(points, radii), tissue, over=over)


def _flags(canvas: Canvas, outlines: list[Points]) -> Flags:
    """For every voxel of the slice, whether it lies in any of some outlines."""
    inside = np.zeros(canvas.tissue.shape, bool)
    for outline in outlines:
        mask = canvas.polygon(outline)
        inside[mask.window] |= mask.inside
    return inside
