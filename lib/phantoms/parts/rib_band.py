"""Flat bands along a path, such as ribs and their cartilages, and how a slice cuts them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline, PchipInterpolator

from lib.phantoms.canvas import Points

Sections = dict[float, tuple[float, float]]
"""Share of the length (0 to 1) to half-thickness and half-height of a band, mm."""

_STEP_MM = 2.2
_STEEPEST = 0.4
"""Least cosine of a path's slope: steeper bands are cut as if they were this steep."""


class Band:
    """A band that stands on edge along a path, tangent to the wall of the chest, with rounded edges.

    Args:
        path: (n, 3) points x, y, z in reference mm.
        sections: share of the length (0 to 1) to half-thickness and half-height of the section, mm.
        length: the band ends after so many mm of its path; by default with the path.
        lean: (n, 2) by how much, mm per mm of height, the band leans along x and y; by default it stands upright.
    """

    def __init__(
        self,
        path: npt.ArrayLike,
        sections: Sections,
        *,
        length: float | None = None,
        lean: npt.NDArray[np.float64] | None = None,
    ) -> None:
        knots = np.asarray(path, dtype=np.float64)
        along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(knots, axis=0) ** 2).sum(axis=1)))])
        spline = CubicSpline(along, knots)
        fine = spline(np.linspace(0, along[-1], 200))
        run = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(fine, axis=0) ** 2).sum(axis=1)))])
        self.length = float(run[-1] if length is None else min(length, run[-1]))
        at = np.linspace(0, self.length, max(int(np.ceil(self.length / _STEP_MM)), 2) + 1)
        self.points = np.stack([np.interp(at, run, fine[:, axis]) for axis in range(3)], axis=1)
        self._lean = np.zeros((len(at), 2))
        if lean is not None:
            self._lean = np.stack([np.interp(at, along, lean[:, axis]) for axis in range(2)], axis=1)
        slope = np.gradient(self.points, axis=0)
        flat = np.sqrt((slope[:, :2] ** 2).sum(axis=1))
        self._normal = np.stack([-slope[:, 1], slope[:, 0]], axis=1) / np.maximum(flat, 1e-9)[:, None]
        cosine = np.maximum(flat / np.sqrt((slope**2).sum(axis=1)), _STEEPEST)
        shares = sorted(sections)
        self._thick, height = PchipInterpolator(shares, [sections[share] for share in shares])(at / self.length).T
        self._high = height / cosine
        self.low, self.high = (
            float((self.points[:, 2] - self._high).min()),
            float((self.points[:, 2] + self._high).max()),
        )

    def cut(self, z: float, *, shrink: float = 0.0) -> list[Points]:
        """The outlines in which a slice cuts the band.

        Args:
            z: height of the slice.
            shrink: by how much, mm, the band is thinner than itself: the marrow within a cortex.
        """
        share = (z - self.points[:, 2]) / np.maximum(self._high - shrink, 0.1)
        inside = np.flatnonzero(np.abs(share) < 1)
        if not len(inside):
            return []
        outlines = []
        for run in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):
            if len(run) < 2:
                continue
            # the ends are halved in thickness, which rounds them off
            lens = np.maximum(self._thick[run] - shrink, 0.1) * np.sqrt(1 - share[run] ** 4)
            lens[[0, -1]] *= 0.5
            side = self._normal[run] * lens[:, None]
            middle = self.points[run, :2] + self._lean[run] * (z - self.points[run, 2])[:, None]
            outlines.append(np.concatenate([middle + side, (middle - side)[::-1]]))
        return outlines
