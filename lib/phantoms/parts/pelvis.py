"""Sacrum and hip bones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import HIP_JOINT
from lib.phantoms.parts.femur import head_radius
from lib.phantoms.parts.shells import Ball, Blade, Cut, Line, LoftShell, both_sides, cut_all, paint_cuts
from lib.phantoms.shapes import Curve, Loft, Tube, ellipse, inset, mirrored, moved, smooth

JOINT_SPACE_MM = 2.0
"""Thickness of the cartilage in the hip joint and in the sacroiliac joint."""

# Right side, reference z with five lumbar vertebrae: middle line (x, y, half thickness) of the bone in the axial slice.
# The wing of the ilium and the acetabulum, from the back (posterior spine, posterior column) to the front.
_ILIUM: dict[float, Line] = {
    -24: ((119, -44, 5), (121, -40, 5), (123, -36, 5), (124, -32, 5), (125, -28, 5), (126, -24, 5), (127, -20, 5)),
    -30: ((100, -66, 5), (109, -57, 6), (116, -47, 6.5), (122, -36, 6.5), (125, -23, 6), (127, -9, 6), (128, 3, 5)),
    -45: ((76, -82, 6), (90, -73, 5.5), (104, -61, 4.5), (116, -45, 3.8), (124, -26, 4), (128, -5, 6), (130, 14, 6.5)),
    -62: ((57, -91, 8), (70, -79, 7), (86, -64, 4.5), (100, -47, 3), (113, -27, 2.8), (122, -3, 4.5), (128, 24, 7)),
    -80: ((48, -93, 9), (58, -80, 9), (73, -62, 6), (89, -43, 3), (104, -23, 2.6), (117, 4, 3.4), (126, 36, 7)),
    -90: ((46, -93, 9), (56, -77, 9.5), (68, -57, 7), (85, -40, 3), (101, -20, 2.5), (114, 6, 3.4), (123, 39, 6.5)),
    -102: ((45, -92, 8.5), (55, -74, 9.5), (67, -55, 8), (83, -38, 3.4), (98, -19, 2.6), (110, 4, 3.8), (118, 34, 5.5)),
    -116: ((44, -90, 7), (53, -75, 9), (64, -57, 9), (81, -41, 4.6), (95, -24, 3.6), (105, -2, 5), (109, 25, 5)),
    -130: ((46, -84, 4.5), (52, -74, 7.5), (61, -59, 9), (75, -43, 7), (88, -26, 6.5), (97, -6, 7), (101, 20, 6)),
    -145: ((55, -70, 4), (59, -62, 7), (66, -52, 10), (76, -40, 13), (84, -25, 14), (91, -7, 12), (95, 17, 7)),
    -159: ((60, -61, 4), (63, -54, 8), (69, -44, 15), (76, -32, 20), (82, -18, 22), (87, -4, 16), (91, 17, 5.5)),
    -167: ((86, -51, 5), (74, -49, 10), (66, -40, 10), (64, -25, 9), (67, -9, 8), (75, 5, 9), (86, 13, 5)),
    -185: ((95, -48, 4), (80, -50, 9), (67, -43, 8), (60.5, -25, 3.5), (62, -4, 4), (69, 9, 8), (79, 15, 5)),
    -198: ((90, -48, 5), (78, -51, 10), (66, -45, 9), (60.5, -29, 3.5), (62, -10, 3.5), (67, 3, 6), (73, 12, 5)),
    -207: ((86, -46, 5), (77, -49, 9), (68, -46, 8), (63, -34, 2), (63, -14, 1.5), (67, 0, 3), (71, 9, 3)),
}  # fmt: skip
# Upper ramus, body and lower ramus of the pubis, from the symphysis (or the medial end) to the side.
_PUBIS: dict[float, Line] = {
    -178: ((61, 13, 4), (64, 12, 5), (68, 10, 6), (73, 7, 6)),
    -188: ((43, 30, 4), (51, 25, 6), (60, 18, 8), (69, 8, 8)),
    -197: ((20, 41, 4.5), (31, 36, 6), (47, 27, 7.5), (66, 8, 8)),
    -203: ((8, 40, 8), (22, 37, 7.5), (42, 28, 8), (62, 9, 7.5)),
    -210: ((8, 36, 10), (20, 34, 9), (34, 29, 8), (50, 18, 6)),
    -217: ((8, 32, 10.5), (15, 31, 9.5), (23, 28, 7.5), (31, 24, 5)),
    -227: ((7.5, 27, 10), (12, 26, 9), (17, 23, 7), (23, 19, 5)),
    -237: ((7, 20, 8), (11, 18, 7), (16, 13, 6), (22, 8, 5)),
    -248: ((18, 8, 4.5), (22, 4, 5), (27, -2, 5), (31, -8, 5)),
    -258: ((30, -8, 4.5), (35, -14, 5.5), (40, -21, 6), (46, -29, 7)),
    -266: ((40, -24, 4), (44, -28, 6.5), (48, -33, 7.5), (52, -38, 7)),
    -270: ((42, -27, 4), (46, -31, 6.5), (50, -36, 7.5), (54, -41, 7)),
}  # fmt: skip
# Ischium from the front (rim of the obturator foramen) to the back (spine, tuberosity).
_ISCHIUM: dict[float, Line] = {
    -186: ((73, -50, 3), (68, -54, 4), (61, -60, 4), (54, -64, 3)),
    -196: ((82, -38, 5), (77, -46, 9), (68, -55, 7), (53, -66, 3)),
    -205: ((79, -32, 6), (76, -42, 10), (71, -51, 10), (62, -60, 4)),
    -213: ((74, -29, 8), (72, -38, 11), (70, -47, 11.5), (67, -55, 7)),
    -226: ((69, -31, 8), (69, -38, 11.5), (68, -46, 13), (66, -53, 10)),
    -240: ((62, -30, 8), (64, -37, 11.5), (64, -46, 13.5), (62, -53, 10)),
    -255: ((56, -30, 8), (58, -37, 11), (60, -45, 12.5), (60, -52, 9)),
    -265: ((53, -32, 6), (56, -39, 9), (58, -45, 9), (59, -50, 6)),
    -270: ((54, -34, 5), (56, -39, 8), (58, -44, 8), (58, -48, 5)),
}  # fmt: skip
# Thickness of the cortex of the hip bone, mm: thin at the crest, thick along the pelvic brim and over the hip joint.
_CORTEX = {-270: 1.6, -230: 1.8, -200: 1.8, -165: 2.2, -145: 2.2, -110: 1.6, -60: 1.4, -24: 1.3}

# How far, mm, the bones of a woman lie further to the side: the wide pelvic outlet and the wide pubic arch.
_FEMALE_SPREAD = {-270: 9, -240: 8, -215: 4, -198: 1, -185: 0, -24: 0}

CUP_MM = 3.0
"""Thickness of the dense bone around the acetabulum."""
# The acetabulum opens to the side, to the front and downwards.
_CUP_AXIS = (0.72, 0.33, -0.61)
_NOTCH_DEPTH_MM = 16.0
"""How far below the middle of the femoral head the acetabulum ends in its notch."""
_CUP_DEPTH_MM = 2.0
"""How far the rim lies beyond the equator of the femoral head."""

# Half of the sacrum's outline, height above the middle of S1 -> (x, y from the column) from the front of the body by
# the ala (third to fifth point: its sacroiliac surface between fourth and fifth) round to the median crest.
_SACRUM: dict[float, tuple[tuple[float, float], ...]] = {
    12: ((0, 4), (20, 2), (36, -6), (49, -20), (43, -40), (36, -45), (26, -43), (11, -47), (0, -50)),
    0: ((0, 10), (22, 6), (41, 0), (57, -10), (43, -50), (35, -52), (24, -47), (10, -50), (0, -57)),
    -14: ((0, 13), (22, 9), (40, 1), (55, -9), (42, -48), (32, -49), (22, -43), (9, -46), (0, -54)),
    -28: ((0, 12), (19, 9), (36, 2), (50, -9), (40, -41), (29, -42), (19, -36), (8, -39), (0, -46)),
    -46: ((0, 11), (15, 8), (28, 3), (42, -6), (34, -29), (24, -31), (15, -28), (7, -30), (0, -35)),
    -66: ((0, 9), (12, 7), (22, 3), (31, -4), (26, -17), (19, -21), (12, -19), (6, -21), (0, -24)),
    -84: ((0, 6), (9, 5), (16, 2), (22, -2), (18, -9), (13, -12), (8, -11), (4, -10), (0, -9)),
    -92: ((0, 5), (5, 4.5), (9, 3), (12, 0), (11, -4), (8, -6), (5, -7), (2, -7), (0, -7)),
}  # fmt: skip

_SACRUM_CORTEX_MM = 1.3
_JOINT_END = -52.0
"""Height above the middle of S1 where the sacroiliac joint ends."""
# The sacral canal: height above the middle of S1 -> y of its middle from the column, half-width, half-depth.
_CANAL = {
    14: (-28, 14, 9),
    0: (-27, 14, 8.5),
    -28: (-21, 12, 6.5),
    -46: (-17, 9, 5),
    -66: (-10.5, 6, 3.2),
    -78: (-7, 4, 2),
}
# Sacral foramina S1 to S4: height above the middle of S1; x, y of the front from the column, y of the back.
_FORAMINA = ((-17, 23, 12, -48), (-37, 20, 10, -38), (-56, 17, 9, -28), (-74, 13, 7, -19))
_FORAMEN_MM = (5.0, 5.5)
"""Half-width and half-height of a sacral foramen."""
_OPENING_WALL_MM = 1.2
"""Cortex around the canal and the foramina."""
_COCCYX = {-90: (0, 11, 5.5), -100: (-1, 9, 5.5), -112: (2, 6.5, 4.5), -124: (9, 4, 3.5)}
"""Height above the middle of S1 -> y of its middle from the column at its top, half-width, half-depth."""


class Pelvis:
    """Sacrum and hip bones."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._joint_z = frame.heights["hip"]
        self._radius = head_radius(frame)
        self._head = Ball((*HIP_JOINT, self._joint_z), self._radius)
        rng = frame.rng("pelvis")
        self._sides = _hip_bones(frame, rng)
        self._sacrum = _Sacrum(frame, rng)
        shift = frame.pelvis_shift
        self._cortex = Curve({z + shift: mm for z, mm in _CORTEX.items()})
        self._symphysis = _symphysis(frame)
        self.high = max(frame.heights["iliac_crest"], self._sacrum.high)
        self.low = frame.heights["ischium"]

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not self.low <= z <= self.high:
            return
        cortex = float(self._cortex(z))
        right, left = (cut_all([(blade, cortex) for blade in blades], z) for blades in self._sides)
        paint_cuts(canvas, [_joined(*cuts) for cuts in zip(right, left, strict=True)], "hip_bone")
        self._paint_hip_joint(canvas)
        symphysis = self._symphysis.cut(z, 0.0)
        if symphysis is not None:
            canvas.fill(inset(symphysis[0], -1.5), "hip_bone_cortex", over="hip_bone_marrow")
            canvas.fill(symphysis[0], "cartilage")
        self._sacrum.paint(canvas)

    def _paint_hip_joint(self, canvas: Canvas) -> None:
        """The acetabulum and the cartilage in it; the femur fills the rest."""
        cup = self._cup(canvas.z)
        if cup is not None:
            canvas.fill(both_sides(cup), "hip_bone_cortex")
        hollow = self._head.disc(canvas.z, self._radius + JOINT_SPACE_MM)
        if hollow is not None:
            canvas.fill(both_sides(hollow), "cartilage", over=("hip_bone_cortex", "hip_bone_marrow"))

    def _cup(self, z: float) -> Points | None:
        """The dense bone of the right acetabulum: a ball around the femoral head, cut off where it opens."""
        dz = z - self._joint_z
        circle = self._head.disc(z, self._radius + JOINT_SPACE_MM + CUP_MM)
        if circle is None or dz < -_NOTCH_DEPTH_MM:
            return None
        axis = np.array(_CUP_AXIS[:2])
        beyond = ((circle - HIP_JOINT) * axis).sum(axis=1) - (_CUP_DEPTH_MM - _CUP_AXIS[2] * dz)
        return circle - np.maximum(beyond, 0.0)[:, None] * axis / (axis**2).sum()


class _Sacrum:
    """Sacrum below the body of S1, which belongs to the spine, with its wings, and the coccyx."""

    def __init__(self, frame: Frame, rng: np.random.Generator) -> None:
        s1 = frame.vertebrae["S1"]
        self._top = s1.z
        self._joint_end = s1.z + _JOINT_END
        variant = frame.person.variant
        width = rng.uniform(0.96, 1.04) * (1.04 if frame.female else 1.0)
        outlines = {}
        for dz, half in _SACRUM.items():
            points = np.array(half, dtype=np.float64)
            x, y = frame.column(self._top + dz)
            # a lumbarised S1 keeps only small wings, which do not reach the ilium
            small = 0.72 if variant.transition == "lumbarisation" and dz >= 0 else 1.0
            points[:, 0] *= width * small
            outlines[self._top + dz] = moved(smooth(np.concatenate([points, mirrored(points)[-2:0:-1]]), 72), x, y)
        self._bone = LoftShell(outlines, overrun=5.0)
        x, y = frame.column(self._top - 90)
        self._coccyx = LoftShell(
            {self._top + dz: ellipse(x, y + front, a, b, n=32) for dz, (front, a, b) in _COCCYX.items()}, overrun=3.0
        )
        self._canal = Curve({self._top + dz: values for dz, values in _CANAL.items()})
        canals = {}
        for dz, (middle, a, b) in _CANAL.items():
            x, y = frame.column(self._top + dz)
            corners = [(-a, 0.3 * b), (0, b), (a, 0.3 * b), (0, -b)]
            canals[self._top + dz] = moved(smooth(corners, 32), x, y + middle)
        self._canal_bone = Loft(canals)
        self._bridges = _bridges(frame, rng) if variant.transition == "sacralisation" else []
        self._frame = frame
        self.high = max([self._bone.high, *(float(tube.points[:, 2].max()) + 10 for tube in self._bridges)])

    def paint(self, canvas: Canvas) -> None:
        """Draw the sacroiliac joints, the bone, then what runs through it."""
        z = canvas.z
        bone = self._bone.cut(z, _SACRUM_CORTEX_MM)
        if bone is not None and z > self._joint_end:
            canvas.fill(inset(bone[0], -JOINT_SPACE_MM - 1.6), "hip_bone_cortex", over="hip_bone_marrow")
            canvas.fill(inset(bone[0], -JOINT_SPACE_MM), "cartilage", over=("hip_bone_cortex", "hip_bone_marrow"))
        for tube in self._bridges:
            canvas.fill(canvas.discs(*tube.cut(z)), "sacrum_cortex")
        paint_cuts(canvas, [*([bone] if bone else []), *cut_all([(self._coccyx, 1.0)], z)], "sacrum")
        for tube in self._bridges:
            inside = canvas.discs(*tube.cut(z, shrink=_SACRUM_CORTEX_MM))
            canvas.fill(inside, "sacrum_marrow", over="sacrum_cortex")
        if bone is not None:
            self._paint_openings(canvas)

    def _paint_openings(self, canvas: Canvas) -> None:
        """The canal and, between two sacral vertebrae, the foramina on both sides of it."""
        dz = canvas.z - self._top
        x, y = self._frame.column(canvas.z)
        width, height = _FORAMEN_MM
        canal_y, a, _ = self._canal(canvas.z)
        openings: list[tuple[str, Points, Points]] = []
        for middle, across, front, back in _FORAMINA:
            squared = 1 - ((dz - middle) / height) ** 2
            if squared > 0:
                w = width * float(np.sqrt(squared))
                for shape in (_root_canal(across, front, 0.8 * a, canal_y, w), ellipse(across - 2, back, 0.6 * w, 6)):
                    wall = both_sides(inset(shape, -_OPENING_WALL_MM))
                    openings.append(("intermuscular_fat", moved(both_sides(shape), x, y), moved(wall, x, y)))
        canal = self._canal_bone.at(canvas.z)
        if canal is not None:
            openings.append(("spinal_canal", canal, inset(canal, -_OPENING_WALL_MM)))
        for _, _, wall in openings:
            canvas.fill(wall, "sacrum_cortex", over="sacrum_marrow")
        for tissue, shape, _ in openings:
            canvas.fill(shape, tissue, over=("sacrum_cortex", "sacrum_marrow"))


def iliac_wings(frame: Frame) -> tuple[Blade, Blade]:
    """The wings of the right and of the left ilium, the left one as if it were on the right."""
    right, left = _hip_bones(frame, frame.rng("pelvis"))
    return right[0], left[0]


def _hip_bones(frame: Frame, rng: np.random.Generator) -> tuple[list[Blade], list[Blade]]:
    """Right and left hip bone; the first blade of each is the ilium."""
    return _hip_bone(frame, rng), _hip_bone(frame, rng)


def _hip_bone(frame: Frame, rng: np.random.Generator) -> list[Blade]:
    """The right hip bone without the ball of the acetabulum; what is drawn by chance differs from side to side."""
    landmarks = ("ischium", "asis", "iliac_crest")
    reference, heights = (-270.0, -88.0, -24.0), [frame.heights[name] for name in landmarks]
    flare, thickness = rng.uniform(0.97, 1.02), rng.uniform(0.92, 1.08)
    spread = Curve(_FEMALE_SPREAD)

    def placed(stations: Mapping[float, Line], *, fixed: float = 0.0) -> dict[float, npt.NDArray[np.float64]]:
        lines = {}
        for z, line in stations.items():
            points = np.array(line, dtype=np.float64)
            if frame.female:
                # the symphysis stays in the midline
                points[:, 0] += float(spread(z)) * np.clip((points[:, 0] - fixed) / 25, 0, 1)
            wing = np.clip((z + 156) / 40, 0, 1)
            points[:, 0] = 50 + (points[:, 0] - 50) * (1 + wing * (flare - 1))
            points[:, 2] *= 1 + wing * (thickness - 1)
            lines[float(np.interp(z, reference, heights))] = points
        return lines

    return [
        Blade(placed(_ILIUM), taper=5.0),
        Blade(placed(_PUBIS, fixed=8.0), taper=4.0),
        Blade(placed(_ISCHIUM), taper=5.0),
    ]


def _joined(right: Cut, left: Cut) -> Cut:
    """Both sides' cuts of a bone, the left one's as if it were on the right."""
    marrow = both_sides(right[1], left[1]) if right[1] is not None and left[1] is not None else None
    return both_sides(right[0], left[0]), marrow


def _symphysis(frame: Frame) -> LoftShell:
    """The cartilage between the pubic bones."""
    top, bottom = frame.heights["symphysis_top"], frame.heights["symphysis_bottom"]
    ends = {bottom: (19, 8), (top + bottom) / 2: (30, 10.5), top - 3: (40, 8)}
    return LoftShell({z: ellipse(0, y, 2.4, b, power=4, n=32) for z, (y, b) in ends.items()}, overrun=2.0)


def _bridges(frame: Frame, rng: np.random.Generator) -> list[Tube]:
    """Bone between the sacral wings and the transverse processes of the last lumbar vertebra, on one side or both."""
    last = list(frame.vertebrae.values())[-2]
    s1 = frame.vertebrae["S1"]
    sides = [(1.0,), (-1.0,), (1.0, -1.0)][rng.integers(3)]
    return [
        Tube(
            [
                (s1.x + side * 45, s1.y - 22, s1.z + 4),
                (last.x + side * 46, (s1.y + last.y) / 2 - 20, (s1.z + last.z) / 2 + 3),
                (last.x + side * 43, last.y - 19, last.z),
            ],
            [12, 10, 8],
            step=2.0,
        )
        for side in sides
    ]


def _root_canal(x: float, front: float, canal_x: float, canal_y: float, width: float) -> Points:
    """The way of a nerve from the side of the sacral canal to the front of the bone, where it is widest."""
    corners = [
        (x - width, front), (canal_x - 0.5 * width, canal_y), (canal_x, canal_y - 0.5 * width),
        (canal_x + 0.7 * width, canal_y), (x + width, front),
    ]  # fmt: skip
    return np.array(corners)
