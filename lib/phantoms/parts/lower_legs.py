"""Knee, lower leg and foot: muscles and bones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.legs import Leg
from lib.phantoms.parts.shells import Bar, Cut, LoftShell, Shell, both_sides, cut_all, paint_cuts, paired
from lib.phantoms.shapes import Curve, Loft, ellipse, inset, scaled, smooth

_Corners = Sequence[tuple[float, float]]
_Ovals = Mapping[float, tuple[float, float, float, float]]
_Axis = tuple[float, float, float]

# All bones of the right leg; heights are those of the reference body with five lumbar vertebrae.
# Tibia: height -> middle, then corners from it: front edge, round by the side of the fibula and the back.
_TIBIA: dict[float, tuple[tuple[float, float], _Corners]] = {
    -635: ((95, -28), ((0, 20), (24, 17), (38, 0), (27, -20), (0, -12), (-27, -21), (-39, -1), (-25, 16))),
    -648: ((95, -28), ((0, 22), (22, 17), (36, 0), (26, -19), (0, -15), (-26, -19), (-37, -1), (-23, 16))),
    -665: ((94, -25), ((2, 27), (15, 16), (27, -2), (20, -16), (0, -17), (-20, -16), (-28, -3), (-15, 15))),
    -690: ((90, -16), ((2, 24), (11, 10), (19, -5), (14, -14), (0, -16), (-15, -14), (-20, -5), (-11, 10))),
    -740: ((87, -9), ((1, 18), (8, 6), (14, -6), (9, -12), (-1, -13), (-11, -12), (-16, -5), (-8, 7))),
    -850: ((88, -9), ((1, 15), (7, 5), (12, -5), (8, -10), (-1, -11), (-9, -10), (-14, -4), (-7, 6))),
    -930: ((92, -14), ((0, 12), (7, 6), (11, -3), (8, -9), (-1, -10), (-9, -9), (-13, -3), (-7, 6))),
    -980: ((95, -20), ((0, 13), (9, 9), (15, 0), (11, -10), (0, -12), (-11, -11), (-17, -1), (-9, 9))),
    -1005: ((97, -25), ((0, 17), (13, 13), (19, 0), (15, -14), (0, -16), (-15, -14), (-21, -1), (-13, 12))),
    -1012: ((97, -25), ((0, 15), (12, 12), (17, 0), (14, -13), (0, -15), (-14, -13), (-21, -1), (-12, 11))),
}  # fmt: skip
_TIBIA_CORTEX = {-1012: 1.2, -980: 2.0, -930: 4.0, -850: 5.2, -740: 5.0, -690: 3.0, -660: 1.5, -635: 1.3}
_MALLEOLUS: _Ovals = {-1005: (80, -25, 6.5, 12), -1016: (78.5, -25, 5, 11), -1024: (79, -25, 4, 8)}
_FIBULA: _Ovals = {
    -648: (127, -46, 7, 8), -656: (128, -46, 10, 10), -668: (127.5, -46, 8, 8), -720: (126, -46, 6, 6.5),
    -800: (124, -43, 6.3, 7), -900: (121, -36, 6.3, 7), -960: (119, -33, 6, 6.5), -1000: (121, -32, 7, 9),
    -1018: (121, -33, 6.5, 10), -1032: (121, -34, 5, 7),
}  # fmt: skip
_FIBULA_CORTEX_MM = 2.2
# The kneecap: its corners from the middle, and height -> y of its middle and size.
_PATELLA = ((-22, 3), (-10, 10), (2, 11), (14, 9), (22, 3), (14, -5), (-2, -11), (-14, -5))
_PATELLA_SIZE = {-576: (12, 0.55), -586: (11, 0.9), -597: (10, 1.0), -608: (10, 0.85), -617: (11, 0.4)}
# Cartilage and menisci fill the joint between these heights, where the femur leaves room.
_JOINT = (-635.0, -628.5)

_FOOT: tuple[_Ovals, ...] = (
    {-1016: (98, -24, 15, 17), -1028: (98, -18, 17, 26), -1041: (96, -8, 13, 22)},  # talus
    {-1041: (103, -42, 11, 22), -1055: (104, -38, 15, 31), -1068: (104, -42, 14, 26), -1076: (104, -46, 10, 19)},
    {-1040: (90, 16, 11, 9), -1052: (95, 24, 18, 17), -1062: (102, 24, 25, 18), -1071: (110, 20, 17, 17)},  # tarsus
)  # fmt: skip
# Metatarsals and toes, big toe first: both ends of each and its radius.
_RAYS: tuple[tuple[_Axis, _Axis, float], ...] = (
    ((86, 42, -1050), (82, 104, -1077), 6.8), ((97, 44, -1050), (94, 110, -1076), 5.0),
    ((107, 43, -1053), (106, 107, -1077), 4.8), ((116, 39, -1059), (117, 99, -1078), 4.6),
    ((124, 32, -1066), (127, 90, -1079), 4.6),
    ((82, 106, -1076), (87, 150, -1079), 6.2), ((94, 112, -1075), (97, 156, -1079), 4.2),
    ((106, 109, -1076), (108, 150, -1079), 4.0), ((117, 101, -1077), (119, 139, -1079), 3.8),
    ((127, 92, -1078), (129, 124, -1079), 3.8),
)  # fmt: skip
_FOOT_MUSCLE: _Ovals = {-1056: (98, 40, 16, 26), -1068: (102, 30, 26, 66), -1079: (103, 22, 24, 62)}

# Muscles. Their outlines are in units of the compartment's half-axes: u to the side, v to the front.
_GASTROCNEMIUS_MEDIAL = ((-0.85, 0.05), (-0.6, -0.45), (-0.05, -0.66), (-0.03, -0.97), (-0.5, -0.9), (-0.9, -0.45))
_GASTROCNEMIUS_LATERAL = ((0.04, -0.66), (0.5, -0.66), (0.86, -0.42), (0.7, -0.75), (0.4, -0.93), (0.03, -0.98))
_SOLEUS = (
    (-0.55, 0.25), (-0.3, -0.15), (0.2, -0.38), (0.6, -0.36), (0.86, -0.36), (0.5, -0.62), (0, -0.62), (-0.55, -0.42),
    (-0.82, 0.0),
)  # fmt: skip
_DEEP_FLEXORS = ((-0.4, 0.28), (0.0, 0.3), (0.36, -0.04), (0.46, -0.28), (0.2, -0.32), (-0.25, -0.1))
_TIBIALIS_ANTERIOR = ((-0.1, 0.88), (0.24, 0.88), (0.4, 0.6), (0.3, 0.2), (0.1, 0.22), (0.0, 0.5))
_LONG_EXTENSORS = ((0.3, 0.85), (0.66, 0.64), (0.72, 0.2), (0.6, 0.02), (0.42, 0.05), (0.36, 0.2), (0.46, 0.6))
_PERONEI = ((0.72, 0.5), (0.92, 0.2), (0.96, -0.15), (0.84, -0.3), (0.68, -0.24), (0.68, 0.05), (0.78, 0.2))
_HEAD_MEDIAL = ((-0.62, -0.45), (-0.3, -0.5), (-0.22, -0.8), (-0.45, -0.88), (-0.7, -0.68))
_HEAD_LATERAL = ((0.62, -0.45), (0.3, -0.5), (0.22, -0.8), (0.45, -0.88), (0.7, -0.68))
_ACHILLES = ((-0.25, -0.78), (0.0, -0.72), (0.25, -0.78), (0.2, -0.93), (0.0, -0.96), (-0.2, -0.93))


# Tissue, outline by height, and linear size along z.
_MUSCLES: tuple[tuple[str, dict[float, _Corners], dict[float, float]], ...] = (
    ("calf_flexors", {-640: _HEAD_MEDIAL, -700: _GASTROCNEMIUS_MEDIAL},
     {-596: 0.2, -612: 0.9, -700: 1, -790: 1, -835: 0.6, -855: 0.2}),
    ("calf_flexors", {-640: _HEAD_LATERAL, -700: _GASTROCNEMIUS_LATERAL},
     {-596: 0.2, -612: 0.9, -700: 1, -770: 1, -815: 0.6, -835: 0.2}),
    ("calf_flexors", {-665: _SOLEUS}, {-660: 0.2, -700: 0.8, -740: 1, -860: 1, -930: 0.75, -975: 0.45, -990: 0.2}),
    ("calf_flexors", {-860: _ACHILLES}, {-815: 0.2, -870: 1, -960: 0.85, -1035: 0.8}),
    ("calf_flexors", {-665: _DEEP_FLEXORS}, {-650: 0.5, -710: 1, -900: 1.05, -980: 0.8, -1020: 0.4}),
    ("calf_extensors", {-660: _TIBIALIS_ANTERIOR}, {-652: 0.2, -690: 0.9, -740: 1, -880: 0.9, -960: 0.55, -1020: 0.35}),
    ("calf_extensors", {-660: _LONG_EXTENSORS}, {-655: 0.2, -700: 0.8, -760: 1, -900: 1, -970: 0.7, -1020: 0.35}),
    ("calf_extensors", {-660: _PERONEI}, {-665: 0.2, -700: 0.8, -740: 1, -900: 1, -970: 0.7, -1020: 0.35}),
)  # fmt: skip
_GROWTH = 0.008
"""By how much the outlines grow so that only thin planes of fat stay between them, in the same units."""


class LowerLegs:
    """Knee, lower leg and foot: muscles and bones; the left leg mirrors the right one until the body is deformed."""

    def __init__(self, frame: Frame) -> None:
        shift = frame.pelvis_shift
        bulk = frame.rng("lower_legs").uniform(1.0, 1.05, len(_MUSCLES))
        self.low, self.high = -1090.0 + shift, -570.0 + shift
        self._leg = Leg(frame, "right")
        self._muscles = [
            (tissue, _muscle(outlines, sizes, float(factor), shift))
            for (tissue, outlines, sizes), factor in zip(_MUSCLES, bulk, strict=True)
        ]
        self._cortex = Curve({z + shift: mm for z, mm in _TIBIA_CORTEX.items()})
        self._tibia = LoftShell(
            {z + shift: smooth(np.array(corners) + middle) for z, (middle, corners) in _TIBIA.items()}
        )
        self._fibula = _ovals(_FIBULA, shift, overrun=4.0)
        self._malleolus = _ovals(_MALLEOLUS, shift, overrun=3.0)
        self._patella = LoftShell(
            {z + shift: smooth(np.array(_PATELLA) * size + (95, y)) for z, (y, size) in _PATELLA_SIZE.items()},
            overrun=2.0,
        )
        self._foot: list[tuple[Shell, float]] = [(_ovals(bone, shift, overrun=3.0), 1.2) for bone in _FOOT]
        self._foot += [
            (Bar((x, y, z + shift), (x2, y2, z2 + shift), radius), 1.4) for (x, y, z), (x2, y2, z2), radius in _RAYS
        ]
        self._foot_muscle = _ovals(_FOOT_MUSCLE, shift, overrun=3.0)
        self._joint = _JOINT[0] + shift, _JOINT[1] + shift

    def paint(self, canvas: Canvas) -> None:
        """Muscles within the fascia, then the bones."""
        z = canvas.z
        if not self.low <= z <= self.high:
            return
        self._paint_muscles(canvas)
        if self._joint[0] <= z <= self._joint[1]:
            self._paint_soft(canvas, self._tibia.cut(self._joint[0], 0.0), "cartilage")
        leg = [(self._tibia, float(self._cortex(z))), (self._fibula, _FIBULA_CORTEX_MM), (self._malleolus, 1.5)]
        for bone, shells in (("lower_leg_bone", leg), ("patella", [(self._patella, 1.5)]), ("foot_bone", self._foot)):
            paint_cuts(canvas, paired(cut_all(shells, z)), bone)

    def _paint_muscles(self, canvas: Canvas) -> None:
        """Muscles lie as shares of the compartment, so that they grow with it."""
        z = canvas.z
        compartment = self._leg.outer(z)
        low, high = compartment.min(axis=0), compartment.max(axis=0)
        for tissue, loft in self._muscles:
            outline = loft.at(z)
            if outline is not None:
                outline = (low + high) / 2 + outline * (high - low) / 2
                canvas.fill(both_sides(outline), tissue, over="intermuscular_fat")
        self._paint_soft(canvas, self._foot_muscle.cut(z, 0.0), "foot_muscle")

    @staticmethod
    def _paint_soft(canvas: Canvas, cut: Cut | None, tissue: str) -> None:
        if cut is not None:
            canvas.fill(both_sides(cut[0]), tissue, over="intermuscular_fat")


def _ovals(stations: _Ovals, shift: float, *, overrun: float) -> LoftShell:
    """Bones that are oval in every slice."""
    return LoftShell({z + shift: ellipse(*values, n=32) for z, values in stations.items()}, overrun=overrun)


def _muscle(outlines: Mapping[float, _Corners], sizes: Mapping[float, float], factor: float, shift: float) -> Loft:
    """A muscle in units of the compartment: its outline where its size changes, scaled to that size."""
    heights = sorted(outlines)
    shapes = [inset(smooth(outlines[z]), -_GROWTH) for z in heights]
    grown = {}
    for z, size in sizes.items():
        shape = np.array([[np.interp(z, heights, values) for values in axis] for axis in np.stack(shapes, axis=-1)])
        grown[z + shift] = scaled(shape, size * factor)
    return Loft(grown, overrun=6.0)
