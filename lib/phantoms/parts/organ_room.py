"""Coordinates within the abdominal cavity, so that what lies in it fits a lean body as well as a fat one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Points
from lib.phantoms.frame import Frame
from lib.phantoms.shapes import smooth
from lib.phantoms.trunk import ANGLES, N, Trunk

CAVITY_FAT = ("peritoneal_fat", "retroperitoneal_fat")
"""What fills the cavity before anything lies in it, and what its contents may replace."""

_S1_Z = -101.0
_FRONT_OF_SPINE_MM = 17.0
_STEP_MM = 8.0
"""Distance of the heights at which the cavity is measured."""


class Room:
    """The cavity of one body.

    Relative coordinates: u is 0 in the midline, 1 at the right and -1 at the left inner surface of the wall; v is 0 at
    the front of the vertebral column, 1 at the inner surface of the anterior wall and -1 at that of the posterior one.
    Reference heights are those of a spine with five lumbar vertebrae.
    """

    def __init__(self, frame: Frame, trunk: Trunk | None = None) -> None:
        self._frame = frame
        self._trunk = trunk or Trunk(frame)
        self._measured = lru_cache(maxsize=None)(self._measure)
        self._limit = lru_cache(maxsize=128)(self._distances)

    def level(self, z: float) -> float:
        """The height in this body of a height in the reference body: below L3 everything moves with the pelvis."""
        return z + self._frame.pelvis_shift * min(max(z / _S1_Z, 0.0), 1.0)

    def x(self, z: float, u: float) -> float:
        """Reference mm of a relative position."""
        right, left, *_ = self._ends(z)
        return float(u * (right if u > 0 else left))

    def y(self, z: float, v: float) -> float:
        """Reference mm of a relative position."""
        *_, front, base, back = self._ends(z)
        return float(base + v * (front - base if v > 0 else base - back))

    def at(self, z: float, corners: npt.ArrayLike) -> Points:
        """(n, 2) relative positions u, v at a height as reference mm."""
        right, left, front, base, back = self._ends(z)
        uv = np.asarray(corners, dtype=np.float64)
        u, v = uv[:, 0], uv[:, 1]
        x = u * np.where(u > 0, right, left)
        return np.stack([x, base + v * np.where(v > 0, front - base, base - back)], axis=1)

    def outline(self, z: float, corners: npt.ArrayLike, n: int = 48) -> Points:
        """A smooth closed outline through relative positions."""
        return self.at(z, smooth(corners, n))

    def path(self, knots: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """A path of relative positions (u, v) and reference heights, (n, 3), as (n, 3) reference mm in this body."""
        rows = np.asarray(knots, dtype=np.float64)
        heights = [self.level(float(z)) for z in rows[:, 2]]
        places = [(self.x(z, float(u)), self.y(z, float(v)), z) for z, (u, v, _) in zip(heights, rows, strict=True)]
        return np.array(places)

    def beside_column(self, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """A path given from the front of the vertebral column, as (n, 3) reference mm in this body.

        Args:
            rows: (n, 3): x from the middle of the column and y from the front of its bodies, mm; reference height.
        """
        path = np.array(rows, dtype=np.float64)
        path[:, 2] = [self.level(float(z)) for z in path[:, 2]]
        columns = np.array([self._frame.column(float(z)) for z in path[:, 2]])
        path[:, :2] += columns + np.array([0.0, _FRONT_OF_SPINE_MM])
        return path

    def kept_inside(self, points: Points, z: float, gap: float | npt.NDArray[np.float64]) -> Points:
        """Points moved towards the middle of the cavity until they keep a distance, mm, from its wall."""
        centre, limit = self._limit(z)
        away = points - centre
        distance = np.maximum(np.sqrt((away**2).sum(axis=1)), 1e-6)
        allowed = np.maximum(np.interp(np.arctan2(away[:, 1], away[:, 0]), ANGLES, limit, period=2 * np.pi) - gap, 1.0)
        return centre + away * np.minimum(1.0, allowed / distance)[:, None]

    def path_inside(self, path: npt.NDArray[np.float64], gaps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """A path, (n, 3) reference mm, whose points keep about distances, (n,) mm, from the wall."""
        kept = path.copy()
        for row, gap in zip(kept, gaps, strict=True):
            nearest = _STEP_MM * round(float(row[2]) / _STEP_MM)
            row[:2] = self.kept_inside(row[None, :2], nearest, float(gap))[0]
        return kept

    def _ends(self, z: float) -> npt.NDArray[np.float64]:
        """Right, left, front, front of the column and back, reference mm, between heights that were measured."""
        below = _STEP_MM * float(np.floor(z / _STEP_MM))
        share = (z - below) / _STEP_MM
        return (1 - share) * self._measured(below) + share * self._measured(below + _STEP_MM)

    def _measure(self, z: float) -> npt.NDArray[np.float64]:
        inner = self._trunk.inner(z)
        _, column_y = self._frame.column(z)
        front = float(inner[N // 4, 1])
        base = min(column_y + _FRONT_OF_SPINE_MM, front - 12.0)
        back = min(float(inner[:, 1].min()), base - 12.0)
        return np.array([inner[:, 0].max(), -inner[:, 0].min(), front, base, back])

    def _distances(self, z: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The middle of the cavity and the distance of its wall from there in the directions ANGLES."""
        inner, centre = self._trunk.inner(z), np.array(self._trunk.centre(z))
        away = inner - centre
        angles = np.arctan2(away[:, 1], away[:, 0])
        order = np.argsort(angles)
        limit = np.interp(ANGLES, angles[order], np.sqrt((away**2).sum(axis=1))[order], period=2 * np.pi)
        return centre, limit
