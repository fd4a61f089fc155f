"""Psoas and iliacus, from the spine and the iliac wing to the lesser trochanter."""

from __future__ import annotations

import numpy as np

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import Loft, scaled, smooth
from lib.phantoms.trunk import Trunk

_ROOM = ("intermuscular_fat", "peritoneal_fat", "retroperitoneal_fat")

# Right side. Corners (x, y) in mm: medial behind, medial, medial in front, in front, lateral in front, lateral,
# lateral behind, behind; relative to the middle of the spinal column, at the middle of the vertebra (L3: at its
# inferior endplate).
_LUMBAR: dict[str, list[tuple[float, float]]] = {
    "T12": [(23, -12), (23, -8), (23, -4), (25, -2), (27, -4), (28, -8), (27, -12), (25, -14)],
    "L1": [(24, -17), (23, -10), (23, -2), (26, 1), (30, -2), (33, -9), (32, -16), (28, -20)],
    "L2": [(25, -23), (24, -11), (23, 2), (29, 9), (37, 6), (43, -6), (42, -19), (33, -26)],
    "L3": [(27, -27), (25, -12), (25, 6), (33, 17), (45, 14), (55, -2), (55, -19), (41, -29)],
    "L4": [(30, -27), (27, -9), (29, 10), (39, 22), (53, 19), (63, 3), (61, -16), (45, -28)],
    "L5": [(35, -20), (31, -3), (33, 15), (44, 27), (58, 25), (67, 9), (65, -9), (50, -20)],
}
# The same below, absolute, at landmarks: on the pelvic brim, before the hip joint, to the lesser trochanter.
_PELVIC: dict[str, list[tuple[float, float]]] = {
    "brim": [(46, -14), (41, 0), (43, 15), (52, 26), (64, 25), (72, 12), (69, -3), (58, -13)],
    "junction": [(58, 2), (53, 14), (55, 27), (64, 37), (77, 37), (86, 26), (83, 12), (71, 2)],
    "hip": [(76, 10), (70, 17), (71, 27), (79, 35), (92, 34), (101, 24), (98, 14), (88, 8)],
    "neck": [(88, -12), (81, -4), (81, 8), (88, 17), (98, 16), (105, 7), (104, -5), (97, -14)],
    "trochanter": [(95, -40), (90, -33), (90, -25), (95, -19), (102, -20), (107, -27), (106, -35), (101, -41)],
}
_BELOW_JUNCTION = 30.0
"""Psoas and iliacus are one muscle from this far, mm, above the acetabulum on."""


_INTO_BONE = 4.0
"""How far, mm, the iliacus reaches beyond the inner surface of the pelvis, where the iliac wing covers it."""


class Psoas:
    """Psoas and iliacus, from the spine and the iliac wing to the lesser trochanter."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._trunk = Trunk(frame)
        rng = frame.rng("psoas")
        heights = frame.heights
        self._iliacus_top, self._iliacus_low = heights["iliac_crest"] - 12, heights["acetabulum_top"] + 5
        self._junction = heights["acetabulum_top"] + _BELOW_JUNCTION
        size = frame.sizes.psoas
        self._sides = {1.0: float(rng.uniform(0.97, 1.03)), -1.0: float(rng.uniform(0.97, 1.03))}
        stations: dict[float, Points] = {}
        last = [level for level in frame.vertebrae if level != "S1"][-1]
        for level, corners in _LUMBAR.items():
            if level in frame.vertebrae and level not in ("L4", "L5"):
                z = 0.0 if level == "L3" else frame.vertebrae[level].z
                stations[z] = np.array(corners) + frame.column(z)
        for level, corners in (("L4", _LUMBAR["L4"]), (last, _LUMBAR["L5"])):
            if level in frame.vertebrae:
                z = frame.vertebrae[level].z
                stations[z] = np.array(corners) + frame.column(z)
        below = {
            "brim": (self._junction + frame.vertebrae[last].z) / 2, "junction": self._junction - 10,
            "hip": heights["hip"] + 5, "neck": heights["hip"] - 32, "trochanter": heights["lesser_trochanter"] + 4,
        }  # fmt: skip
        stations |= {below[name]: np.array(corners, dtype=np.float64) for name, corners in _PELVIC.items()}
        outlines = {}
        for z, points in stations.items():
            # it grows away from the spine and the bones behind it
            hold = points[1] * 0.25 + points[0] * 0.45 + points[7] * 0.3
            outlines[z] = smooth(hold + (points - hold) * size, 36)
        self._loft = Loft(outlines, overrun=12.0)

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        joined = z <= self._junction
        x0 = 0.0
        for sign, size in self._sides.items():
            if self._iliacus_low < z < self._iliacus_top:
                canvas.fill(self._iliacus(z, sign), "iliopsoas" if joined else "iliacus", over=_ROOM)
            outline = self._loft.at(z)
            if outline is not None:
                x0, _ = self._frame.column(z)
                placed = scaled(_on_side(outline, sign, x0), size)
                canvas.fill(placed, "iliopsoas" if joined else "psoas_major", over=_ROOM)

    def _iliacus(self, z: float, sign: float) -> Points:
        """What lines the inner surface of the iliac wing, reaching into the bone that is drawn over it."""
        deep = min((self._iliacus_top - z) / 55.0, 1.0)
        # it fans out over the wing and narrows towards the front of the hip joint
        last = np.interp(z - self._junction, [-25, -5, 15, 40], [1.15, 1.4, 1.6, 1.8])
        at = np.linspace(1.06 - 0.06 * deep, min(1.5 + 0.3 * deep, float(last)), 18)
        wing, _ = self._trunk.across(z, sign, at)
        along = np.gradient(wing, axis=0)
        inwards = np.stack([along[:, 1], -along[:, 0]], axis=1) * sign
        inwards /= np.sqrt((inwards**2).sum(axis=1, keepdims=True))
        profile = np.sqrt(np.sin(np.linspace(0.12, np.pi - 0.12, 18)))
        thickness = (3.0 + 12.0 * deep) * self._frame.sizes.psoas * profile
        return np.concatenate([wing + inwards * thickness[:, None], (wing - inwards * _INTO_BONE)[::-1]])


def _on_side(outline: Points, sign: float, x0: float) -> Points:
    """An outline of the right side, whose x counts from x0 there, on the side of the sign."""
    return np.stack([x0 + sign * (outline[:, 0] - x0), outline[:, 1]], axis=1)
