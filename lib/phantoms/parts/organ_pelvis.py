"""Bladder, uterus or prostate, and the external genitals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.shapes import Loft, ellipse, inset

# Height above the symphysis' upper edge: y of the middle, half-width, half-depth, mm
_BLADDER_EMPTY = {-22: (14, 12, 9), -5: (16, 26, 16), 12: (20, 31, 17), 26: (25, 24, 12)}
_BLADDER_FULL = {-24: (14, 16, 12), 0: (14, 37, 27), 25: (20, 46, 36), 50: (27, 40, 32), 72: (33, 22, 17)}
_PROSTATE = {-36: (4, 10, 8), -24: (4, 22, 15), -8: (3, 24, 16), 0: (2, 16, 10)}
_SEMINAL_VESICLES = {2: (-14, 18, 4), 10: (-16, 30, 6.5), 18: (-18, 22, 5)}
_CERVIX = {-30: (-8, 13, 5), -8: (-11, 16, 7), 8: (-14, 17, 11)}
_UTERUS = {8: (-14, 18, 12), 24: (-10, 26, 19), 42: (0, 30, 23), 60: (10, 22, 17)}
_OVARY_MM, _OVARY_X_MM, _OVARY_HEIGHT_MM = 12.0, 44.0, 38.0

# Height above the symphysis' lower edge: x, y, half-width, half-depth, mm
_GENITALS = (
    {-2: (0, 6, 13, 11), -14: (0, 10, 15, 12)},
    {36: (0, 70, 9, 9), 12: (0, 66, 14, 12), -20: (0, 62, 14, 11), -50: (0, 62, 13, 10)},
    {-22: (15, 38, 12, 14), -40: (17, 38, 17, 20), -52: (17, 38, 12, 14)},
    {-22: (-15, 38, 12, 14), -42: (-17, 38, 17, 20), -54: (-17, 38, 12, 14)},
    {36: (24, 70, 7, 6), 10: (20, 62, 7, 7), -22: (15, 46, 7, 7)},
    {36: (-24, 70, 7, 6), 10: (-20, 62, 7, 7), -22: (-15, 46, 7, 7)},
)
_BLADDER_WALL_MM = 3.0


class PelvicOrgans:
    """What lies between symphysis and rectum."""

    def __init__(self, frame: Frame, room: Room) -> None:
        rng = frame.rng("pelvic_organs")
        self._room = room
        symphysis = frame.heights["symphysis_top"]
        full = float(rng.beta(1.6, 2.0))
        self._bladder_wall = _BLADDER_WALL_MM * (1.6 - 0.8 * full)
        empty, filled = _Stations(_BLADDER_EMPTY), _Stations(_BLADDER_FULL)
        rows = np.linspace(0, 1, 6)[:, None]
        blend = {}
        for share in rows[:, 0]:
            (z_empty, shape_empty), (z_full, shape_full) = empty(share), filled(share)
            z = symphysis + z_empty + full * (z_full - z_empty)
            y, a, b = shape_empty + full * (shape_full - shape_empty)
            blend[z] = ellipse(0, y, a, b, power=2.4)
        self._bladder = Loft(blend, overrun=7.0)
        x, size = float(rng.normal(0, 3)), float(rng.uniform(0.85, 1.2))
        self._solid: list[Loft] = []
        if frame.female:
            old = float(np.clip((frame.person.age_years - 45) / 30, 0, 1))
            size *= 1 - 0.3 * old
            self._solid += [_loft(_CERVIX, symphysis, 0.0, 1.0, 6.0), _loft(_UTERUS, symphysis, 2 * x, size, 9.0)]
            for side in (-1, 1):
                z = symphysis + _OVARY_HEIGHT_MM + float(rng.normal(0, 6))
                radius = _OVARY_MM * (1 - 0.45 * old)
                section = ellipse(side * _OVARY_X_MM, float(rng.normal(-8, 5)), radius, radius * 0.8)
                self._solid.append(Loft({z - 2: section, z + 2: section}, overrun=radius * 0.8))
        else:
            grown = size * float(np.clip(0.8 + 0.006 * (frame.person.age_years - 20), 0.8, 1.25))
            self._solid += [
                _loft(_PROSTATE, symphysis, 0.0, grown, 5.0),
                _loft(_SEMINAL_VESICLES, symphysis, 0, 1, 3.0),
            ]
        bottom = frame.heights["symphysis_bottom"]
        self._genitals = [
            Loft({bottom + z: ellipse(*shape) for z, shape in stations.items()}, overrun=8.0)
            for stations in (() if frame.female else _GENITALS)
        ]

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them."""
        z = canvas.z
        if not self._solid or z > self._bladder.high + 90:
            return
        for loft in self._solid:
            outline = loft.at(z)
            if outline is not None:
                canvas.fill(outline, "reproductive_organ", over=CAVITY_FAT)
        outline = self._bladder.at(z)
        if outline is not None:
            outline = self._room.kept_inside(outline, z, 3.0)
            drawn = canvas.fill(outline, "bladder_wall", over=CAVITY_FAT)
            if drawn.inside.any():
                canvas.fill(inset(outline, self._bladder_wall), "bladder", over="bladder_wall")
        for loft in self._genitals:
            outline = loft.at(z)
            if outline is not None:
                canvas.fill(outline, "external_genitals", over=("subcutaneous_fat", "intermuscular_fat"))


def _loft(
    stations: Mapping[int, tuple[float, float, float]], base: float, x: float, size: float, overrun: float
) -> Loft:
    outlines = {base + z: ellipse(x, y, a * size, b * size) for z, (y, a, b) in stations.items()}
    return Loft(outlines, overrun=overrun)


class _Stations:
    """A table of heights and shapes, looked up by the share of the way from its lowest to its highest height."""

    def __init__(self, rows: Mapping[int, tuple[float, float, float]]) -> None:
        self._z = np.array(sorted(rows), dtype=np.float64)
        self._rows = np.array([rows[z] for z in sorted(rows)], dtype=np.float64)

    def __call__(self, share: float) -> tuple[float, np.ndarray]:
        z = self._z[0] + share * (self._z[-1] - self._z[0])
        return float(z), np.array([np.interp(z, self._z, column) for column in self._rows.T])
