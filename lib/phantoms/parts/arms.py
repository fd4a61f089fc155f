"""Shoulder girdle and arms: muscles and bones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.arm_surface import ArmSurface
from lib.phantoms.canvas import Canvas, Mask, Points
from lib.phantoms.frame import Frame
from lib.phantoms.parts.chest_wall import thickness_of
from lib.phantoms.shapes import Curve, Loft, Tube, ellipse, inset
from lib.phantoms.trunk import Trunk

Floats = npt.NDArray[np.float64]

_FAT = ("intermuscular_fat",)
_SOFT = (
    "intermuscular_fat", "subcutaneous_fat", "arm_fat", "trapezius", "rhomboids", "serratus", "pectoralis",
    "latissimus_dorsi", "deltoid", "rotator_cuff", "intercostals", "upper_arm_flexors", "upper_arm_extensors",
    "forearm_muscle", "peripheral_vessel", "neck_muscle", "erector_spinae",
)  # fmt: skip
"""What the bones replace: never lung, and never air."""

# The shoulder blade by height: places (half outline of the trunk, 1 the flank, 2 the gutter) of its medial and lateral
# border, their depth outside the inner surface of the wall in mm, and how far the lateral border reaches towards the
# socket of the joint (1: it is the socket).
_BLADE = {
    250: (1.68, 1.6, 15.5, 16.0, 0.0), 275: (1.8, 1.42, 16.0, 18.0, 0.0), 305: (1.84, 1.25, 17.0, 22.0, 0.1),
    328: (1.86, 1.16, 18.0, 27.0, 0.5), 346: (1.86, 1.1, 18.0, 34.0, 1.0), 360: (1.84, 1.1, 18.0, 38.0, 1.0),
    369: (1.78, 1.3, 18.0, 30.0, 0.55),
}  # fmt: skip
_RAISED_TURN = -0.22
"""With the arm raised, the lower angle of the shoulder blade turns outwards, by this share of the outline."""
# Half-thickness of the blade from its medial to its lateral border
_BLADE_HALF_MM = ((0.0, 1.8), (0.12, 1.2), (0.6, 1.2), (0.82, 2.6), (0.93, 5.0), (1.0, 5.5))
_T: Floats = np.linspace(0, 1, 25)

# Offsets from the centre of the humeral head: outwards, to the front, upwards; and radius, mm
_ACROMION = ((-74, -42, -8, 3.5), (-48, -38, 6, 4), (-22, -32, 18, 4.5), (2, -22, 26, 6.5), (8, -6, 28, 6.5))
_CORACOID = ((-28, 0, 8, 6), (-30, 14, 12, 5), (-24, 26, 8, 5), (-18, 28, 4, 4.5))
_SUPRASPINATUS = ((-96, -40, 8, 5), (-78, -40, 14, 10), (-54, -32, 16, 11), (-32, -20, 20, 8), (-12, -8, 22, 5))
_COLLAR = ((-54, 34, 20, 5.5), (-26, 16, 26, 5.5), (-4, 6, 28, 6))
"""Lateral half of the clavicle."""

# The humerus, the radius and the ulna: height, offset outwards and to the front from the arm's axis, radius
_HUMERUS = ((348, 0, 2, 18), (332, 2, 2, 15), (312, 3, 2, 12), (280, 2, 1, 11), (180, 0, 0, 10.5), (110, 0, 0, 11),
            (84, 0, -1, 12), (66, 0, -1, 11))  # fmt: skip
_RADIUS = ((44, 11, 9, 10), (34, 10, 9, 10.5), (18, 9, 8, 7), (-60, 6, 9, 7.5), (-140, 3, 10, 8), (-186, 1, 8, 11),
           (-202, 1, 7, 12))  # fmt: skip
_ULNA = ((72, -3, -22, 7), (60, -3, -21, 10), (40, -5, -14, 12), (20, -6, -10, 10), (-60, -4, -9, 7.5),
         (-140, -2, -11, 6.5), (-190, 0, -15, 6), (-200, 0, -15, 7))  # fmt: skip
_CONDYLES = {44: (18, 9), 50: (25, 12), 60: (28, 12), 72: (22, 11), 84: (14, 11)}
_RAISED_HUMERUS = ((385, 3, -2, 17), (405, 4, -2, 14), (440, 4, 0, 11.5), (540, 0, 0, 10.5), (640, 0, 0, 11))

# The hand, palm to the thigh: y from the axis and radius of the carpal bones of two rows, and of the five rays
_CARPALS = ((-212.0, ((-15, 6), (-4, 7), (8, 8))), (-226.0, ((-17, 6.5), (-6, 7), (6, 7), (18, 7))))
_RAYS = ((-22, -26, 3.8), (-11, -13, 4.2), (1, 1, 4.6), (13, 15, 4.6))
_KNUCKLE, _CARPUS = -288.0, -236.0

_DELTOID = {0.0: 0.64, 30.0: 0.62, 55.0: 0.7, 75.0: 0.84, 92.0: 1.0}
"""Which share of the arm's half-width lies within the deltoid, by the distance from the joint in mm."""
_ELBOW = 58.0


class Arms:
    """Shoulder girdle and arms: muscles and bones."""

    def __init__(self, frame: Frame) -> None:
        self._arms = [_Arm(frame, side) for side in ("right", "left")]

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        for arm in self._arms:
            arm.paint(canvas)


class _Arm:
    """One arm with its shoulder."""

    def __init__(self, frame: Frame, side: str) -> None:
        rng = frame.rng(f"arm_{side}")
        self._surface = surface = ArmSurface(frame, side)
        self._sign, self._trunk = surface.sign, Trunk(frame)
        self._head_radius = (20.5 if frame.female else 23.5) * rng.uniform(0.97, 1.03)
        head_z = 374.0 if surface.raised else 352.0
        x, y = surface.axis(head_z)
        self._head = np.array([x - self._sign * 5.0, y, head_z])
        self._blade = Curve(_BLADE)
        strength = float(np.clip(0.6 + 0.4 * frame.sizes.wall, 0.6, 1.2)) * (0.85 if frame.female else 1.0)
        self._strength = strength * rng.uniform(0.94, 1.06)
        front = float(self._trunk.inner(362.0)[:, 1].max())
        collar = [(self._sign * 16.0, front + 10.0, 364.0), (self._sign * 44.0, front + 9.0, 369.0)]
        reach = np.array([self._offset(row) for row in _COLLAR])
        radii = [9.0, 6.5, *(row[3] for row in _COLLAR)]
        self._bones: list[tuple[str, Tube, float]] = [
            ("clavicle", Tube([*collar, *reach], np.array(radii) * (0.9 if frame.female else 1.0), step=2.0), 1.6)
        ]
        for rows in (_ACROMION, _CORACOID):
            path = np.array([self._offset(row) for row in rows])
            self._bones.append(("scapula", Tube(path, np.array([row[3] for row in rows], dtype=float), step=2.0), 1.5))
        self._bones += self._raised_bones() if surface.raised else self._hanging_bones()
        path = np.array([self._offset(row) for row in _SUPRASPINATUS])
        self._supraspinatus = Tube(path, np.array([row[3] for row in _SUPRASPINATUS]) * self._strength, step=3.0)
        self._condyles = None if surface.raised else self._condyle_loft()
        self._vessels = [] if surface.raised else self._vessel_tubes()
        self._deltoid = Curve(_DELTOID)

    def _offset(self, row: tuple[float, ...]) -> Floats:
        """A point given by its offsets from the centre of the humeral head."""
        return self._head + np.array([self._sign * row[0], row[1], row[2]])

    def _on_axis(self, rows: tuple[tuple[float, ...], ...]) -> tuple[Floats, Floats]:
        """Path and radii of a bone whose rows are height, outwards, to the front, radius."""
        path = []
        for z, out, ahead, _ in rows:
            x, y = self._surface.axis(z)
            path.append((x + self._sign * out, y + ahead, z))
        return np.array(path), np.array([row[3] for row in rows], dtype=float)

    def _hanging_bones(self) -> list[tuple[str, Tube, float]]:
        bones = [
            ("humerus", Tube(*self._on_axis(_HUMERUS), step=3.0), 3.6),
            ("forearm_bone", Tube(*self._on_axis(_RADIUS), step=2.5), 2.4),
            ("forearm_bone", Tube(*self._on_axis(_ULNA), step=2.5), 2.4),
        ]
        for z, row in _CARPALS:
            for y, radius in row:
                path, _ = self._on_axis(((z + 3, 0, y, 0), (z - 3, 0, y, 0)))
                bones.append(("hand_bone", Tube(path, radius, step=2.0), 1.2))
        for wrist, knuckle, radius in _RAYS:
            metacarpal = self._on_axis(((_CARPUS, 0, wrist, radius), (_KNUCKLE, 0, knuckle, radius + 0.5)))
            # the fingers lie curled towards the thigh
            finger = self._on_axis(
                ((_KNUCKLE - 5, 0, knuckle, radius), (-312, -2, knuckle, 3.4), (-334, -4, knuckle, 3))
            )
            bones += [("hand_bone", Tube(*rows, step=2.0), 1.3) for rows in (metacarpal, finger)]
        thumb = self._on_axis(((-224, -6, 22, 5), (-246, -9, 31, 4.6), (-270, -8, 36, 4)))
        return [*bones, ("hand_bone", Tube(*thumb, step=2.0), 1.3)]

    def _raised_bones(self) -> list[tuple[str, Tube, float]]:
        return [("humerus", Tube(*self._on_axis(_RAISED_HUMERUS), step=3.0), 3.6)]

    def _condyle_loft(self) -> Loft:
        return Loft({z: ellipse(*self._surface.axis(z), a, b) for z, (a, b) in _CONDYLES.items()}, overrun=4.0)

    def _vessel_tubes(self) -> list[Tube]:
        """Artery and vein from the armpit to the wrist, on the inner side."""
        tubes = []
        for ahead, radius in ((2.0, 2.6), (-4.0, 3.2)):
            rows = [
                (z, out, ahead, 0.0) for z, out in ((330, -32), (290, -22), (180, -19), (90, -14), (40, -4), (-60, -2))
            ]
            path, _ = self._on_axis(tuple(rows))
            start = np.array([[self._sign * 92.0, 4.0 + ahead, 362.0], [self._sign * 120.0, -10.0 + ahead, 346.0]])
            tubes.append(Tube(np.concatenate([start, path]), np.linspace(4.2, radius * 0.6, 8), step=2.5))
        return tubes

    def paint(self, canvas: Canvas) -> None:
        """Muscles first, then the bones within them."""
        z = canvas.z
        surface = self._surface
        shoulder = min(_BLADE) < z < self._head[2] + 45
        if not shoulder and not surface.low <= z <= surface.high:
            return
        if surface.low <= z <= surface.high:
            for tube in self._vessels:
                canvas.fill(canvas.discs(*tube.cut(z)), "peripheral_vessel", over=_FAT)
            self._paint_muscles(canvas)
        if min(_BLADE) < z < max(_BLADE):
            self._paint_blade(canvas)
        canvas.fill(canvas.discs(*self._supraspinatus.cut(z)), "rotator_cuff", over=_FAT)
        for bone, tube, cortex in self._bones:
            self._paint_bone(canvas, bone, tube, cortex)
        if self._condyles is not None and (outline := self._condyles.at(z)) is not None:
            canvas.fill(outline, "humerus_cortex", over=_SOFT)
            canvas.fill(inset(outline, 2.0), "humerus_marrow", over="humerus_cortex")
        self._paint_head(canvas)

    def _paint_bone(self, canvas: Canvas, bone: str, tube: Tube, cortex: float) -> None:
        points, radii = tube.cut(canvas.z)
        if len(points):
            canvas.fill(canvas.discs(points, radii), f"{bone}_cortex", over=(*_SOFT, "humerus_marrow"))
            canvas.fill(canvas.discs(*tube.cut(canvas.z, shrink=cortex)), f"{bone}_marrow", over=f"{bone}_cortex")

    def _paint_head(self, canvas: Canvas) -> None:
        """The ball of the humerus, with a thin cortex."""
        off = canvas.z - float(self._head[2])
        for radius, tissue, over in (
            (self._head_radius, "humerus_cortex", _SOFT),
            (self._head_radius - 1.8, "humerus_marrow", ("humerus_cortex",)),
        ):
            if abs(off) < radius:
                cut = np.array([np.sqrt(radius**2 - off**2)])
                canvas.fill(canvas.discs(self._head[None, :2], cut), tissue, over=over)

    def _paint_muscles(self, canvas: Canvas) -> None:
        z, surface, sign = canvas.z, self._surface, self._sign
        x0, y0 = surface.axis(z)
        a, b = surface.size(z)
        whole = canvas.polygon(inset(surface.outer(z), 0.4))
        x, y = canvas.positions(whole)
        out = (x - x0) * sign
        from_head = z - float(self._head[2])
        if abs(from_head) < max(_DELTOID):
            # a crescent: thick outside, thin in front and behind
            reach, shift = float(self._deltoid(abs(from_head))), 0.8 * a
            deep = _flags(
                canvas, whole, ellipse(x0 - sign * shift, y0, a * reach + shift, b * (1.0 + 0.4 * (reach - 0.6)), n=40)
            )
            canvas.fill(whole.where(~deep & (out > -a)), "deltoid", over=_FAT)
        if surface.raised:
            if from_head > 22.0:
                canvas.fill(whole.where(y > y0 + 1.0), "upper_arm_flexors", over=_FAT)
                canvas.fill(whole.where(y < y0 - 1.0), "upper_arm_extensors", over=_FAT)
        elif z > _ELBOW:
            self._paint_upper_arm(canvas)
        else:
            self._paint_forearm(canvas)

    def _paint_upper_arm(self, canvas: Canvas) -> None:
        """Biceps and brachialis in front of a septum of fat, triceps behind it; they begin below the joint."""
        z = canvas.z
        top = float(self._head[2]) - 16.0
        if z > top:
            return
        x0, y0 = self._surface.axis(z)
        a, b = self._surface.size(z)
        share = min(float(np.sqrt((top - z) / 40.0)), 1.0) * self._strength**0.5
        share = min(share, 0.99)
        belly = canvas.polygon(ellipse(x0, y0, a * share, b * share, n=48))
        _, y = canvas.positions(belly)
        canvas.fill(belly.where(y > y0 + 1.0), "upper_arm_flexors", over=_FAT)
        canvas.fill(belly.where(y < y0 - 1.0), "upper_arm_extensors", over=_FAT)

    def _paint_forearm(self, canvas: Canvas) -> None:
        """Flexors on the inner side, extensors on the outer one; tendons and the hand's short muscles further down."""
        z, sign = canvas.z, self._sign
        x0, y0 = self._surface.axis(z)
        a, b = self._surface.size(z)
        share = float(np.interp(z, [-330, -300, -240, -205, -160, -60], [0.2, 0.55, 0.8, 0.62, 0.8, 0.98]))
        share *= min(self._strength**0.5, 1.0)
        belly = canvas.polygon(ellipse(x0, y0, a * share, b * share, n=48))
        x, _ = canvas.positions(belly)
        # the septum runs along the bones
        canvas.fill(belly.where(abs((x - x0) * sign - 2.0) > 0.9), "forearm_muscle", over=_FAT)

    def blade(self, z: float) -> Points:
        """(25, 2) The middle of the shoulder blade, from its medial to its lateral border."""
        medial, lateral, low, high, joint = self._blade(z)
        if self._surface.raised:
            turn = _RAISED_TURN * float(np.interp(z, [250.0, 350.0], [1.0, 0.2]))
            medial, lateral = medial + turn, lateral + 0.6 * turn
        at = medial + (lateral - medial) * _T
        depth = low + (high - low) * _T
        inner, outer = self._trunk.across(z, self._sign, at)
        line = inner + (outer - inner) * np.clip(depth / thickness_of(inner, outer), 0, 0.8)[:, None]
        socket = self._head[:2] - [self._sign * (self._head_radius + 6.0), 2.0]
        pulled = joint * _T**1.5
        return line + (socket - line[-1]) * pulled[:, None]

    def _paint_blade(self, canvas: Canvas) -> None:
        """Subscapularis in front of the blade, infraspinatus (further up supraspinatus) behind it, then the bone."""
        z = canvas.z
        line = self.blade(z)
        along = np.gradient(line, axis=0)
        length = np.maximum(np.sqrt((along**2).sum(axis=1, keepdims=True)), 1e-6)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / length
        # pointing to the ribs
        normal *= np.sign((normal * (np.array(self._trunk.centre(z)) - line)).sum())
        belly = np.sqrt(np.clip(1 - (2 * _T - 1) ** 4, 0, 1))[:, None]
        rise = float(np.interp(z, [250, 290, 340], [0.3, 0.7, 1.0])) * self._strength
        for depth, tissue in ((12.0, "rotator_cuff"), (-14.0, "rotator_cuff")):
            canvas.fill(np.concatenate([line, (line + normal * depth * rise * belly)[::-1]]), tissue, over=_FAT)
        half = np.interp(_T, *np.array(_BLADE_HALF_MM).T)[:, None]
        half *= float(np.interp(z, [250, 262, 369], [0.6, 1.0, 1.0]))
        canvas.fill(np.concatenate([line + normal * half, (line - normal * half)[::-1]]), "scapula_cortex", over=_SOFT)
        core = np.maximum(half - 1.3, 0.0)
        canvas.fill(
            np.concatenate([line + normal * core, (line - normal * core)[::-1]]),
            "scapula_marrow",
            over="scapula_cortex",
        )


def _flags(canvas: Canvas, window: Mask, outline: Points) -> npt.NDArray[np.bool_]:
    """Where in a mask's window an outline lies."""
    inside = np.zeros(canvas.tissue.shape, bool)
    mask = canvas.polygon(outline)
    inside[mask.window] = mask.inside
    return inside[window.window]
