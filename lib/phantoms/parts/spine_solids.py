"""The solids that a vertebra is made of, and how a slice cuts them: distances to their surfaces, voxel by voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Mask
from lib.phantoms.frame import Vertebra

Field = npt.NDArray[np.float64]
"""About the distance, mm, of every voxel of a window from a surface: negative inside."""

_SPAN_MM = 25.0
_TINY, _NEAR = 1e-9, 1e-6
_DEEPER_BEHIND, _DEEPER_BESIDE = 0.5, 1.35


class Cut:
    """A window of a slice, with its voxels' places in the body as it was before its smooth deformation.

    The deformation is undone by its linear part around the middle of the window.

    Args:
        canvas: the slice.
        middle: x and y, reference mm.
        low: least x and y of the window.
        high: greatest x and y.
    """

    def __init__(
        self, canvas: Canvas, middle: tuple[float, float], low: tuple[float, float], high: tuple[float, float]
    ) -> None:
        x, y = middle
        probes = np.array([[x, y], [x + _SPAN_MM, y], [x - _SPAN_MM, y], [x, y + _SPAN_MM], [x, y - _SPAN_MM]])
        at, right, left, front, back = canvas.warped(probes)
        a, c = (right - left) / (2 * _SPAN_MM)
        b, d = (front - back) / (2 * _SPAN_MM)
        determinant = a * d - b * c
        self._inverse = np.array([[d, -b], [-c, a]]) / determinant
        self._middle, self._moved, self.z = np.array([x, y]), at, canvas.z
        self._forward = np.array([[a, b], [c, d]])
        moved = self._warped(np.array([[low[0], low[1]], [low[0], high[1]], [high[0], low[1]], [high[0], high[1]]]))
        self.mask: Mask = canvas.box(*_interleaved(moved.min(axis=0), moved.max(axis=0)))
        self._x, self._y = canvas.positions(self.mask)
        self._origin = np.array([self._x[0, 0], self._y[0, 0]]) if self.mask.inside.size else np.zeros(2)
        self._step = np.array([canvas.grid.dx, canvas.grid.dy])

    def _warped(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        offset = points - self._middle
        return self._moved + offset[:, :1] * self._forward[:, 0] + offset[:, 1:] * self._forward[:, 1]  # type: ignore[no-any-return]

    def whole(self) -> tuple[slice, slice]:
        """All of the window."""
        return slice(0, self.mask.inside.shape[0]), slice(0, self.mask.inside.shape[1])

    def part(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> tuple[slice, slice]:
        """The part of the window that covers a rectangle: least and greatest (x, y), mm."""
        corners = np.array([[low[0], low[1]], [low[0], high[1]], [high[0], low[1]], [high[0], high[1]]])
        index = (self._warped(corners) - self._origin) / self._step
        first = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
        last = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, self.mask.inside.shape)
        last = np.maximum(last, first)
        return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))

    def along(
        self, direction: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], part: tuple[slice, slice]
    ) -> Field:
        """How far, mm, the voxels of a part of the window lie along a direction from a point (x, y, z)."""
        n = self._inverse[0] * direction[0] + self._inverse[1] * direction[1]
        constant = (
            direction[0] * (self._middle[0] - origin[0])
            + direction[1] * (self._middle[1] - origin[1])
            + direction[2] * (self.z - origin[2])
            - n[0] * self._moved[0]
            - n[1] * self._moved[1]
        )
        return n[0] * self._x[part[0]] + (n[1] * self._y[:, part[1]] + constant)  # type: ignore[no-any-return]


def _interleaved(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


@dataclass(frozen=True)
class Bar:
    """A bar with an elliptical section that tapers from one end to the other, with rounded ends, such as a process.

    Attributes:
        start: x, y, z of one end.
        axes: unit vectors in rows: along the bar, and the two half-axes of its section.
        length: mm.
        thick: first half-axis of the section at start and end, mm.
        wide: second one.
    """

    start: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    length: float
    thick: tuple[float, float]
    wide: tuple[float, float]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @classmethod
    def between(
        cls,
        start: npt.NDArray[np.float64],
        end: npt.NDArray[np.float64],
        across: npt.NDArray[np.float64],
        thick: tuple[float, float],
        wide: tuple[float, float],
    ) -> Bar:
        """A bar from one point to another.

        Args:
            start: x, y, z.
            end: x, y, z.
            across: a direction near which the first half-axis of the section points.
            thick: first half-axis at start and end.
            wide: second half-axis at start and end.
        """
        along = end - start
        length = float(np.sqrt((along**2).sum()))
        along = along / length
        first = across - (across * along).sum() * along
        first = first / np.sqrt((first**2).sum())
        (a, b, c), (d, e, f) = along, first
        axes = np.array([along, first, [b * f - c * e, c * d - a * f, a * e - b * d]])
        corners = []
        for place, p, q in ((start, thick[0], wide[0]), (end, thick[1], wide[1])):
            reach = np.sqrt((p * axes[1]) ** 2 + (q * axes[2]) ** 2 + (min(p, q) * axes[0]) ** 2)
            corners += [place - reach, place + reach]
        return cls(start, axes, length, thick, wide, np.min(corners, axis=0), np.max(corners, axis=0))

    def field(self, cut: Cut, part: tuple[slice, slice]) -> Field:
        """Distance of the voxels of a part of a window from the bar's surface."""
        s, p, q = (cut.along(axis, self.start, part) for axis in self.axes)
        t = np.minimum(np.maximum(s, 0.0), self.length)
        s -= t
        t /= self.length
        a = self.thick[0] + (self.thick[1] - self.thick[0]) * t
        b = self.wide[0] + (self.wide[1] - self.wide[0]) * t
        c = np.minimum(a, b)
        p, q, s = p / a, q / b, s / c
        # the distance from an ellipsoid, to first order
        pp, qq, ss = p * p + _TINY, q * q + _TINY, s * s
        k0 = np.sqrt(pp + qq + ss)
        p, q, s = pp / (a * a), qq / (b * b), ss / (c * c)
        k1 = np.sqrt(p + q + s)
        return k0 * (k0 - 1.0) / k1  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Block:
    """The body of a vertebra, or a disc: an ellipse, somewhat boxy, between two plates.

    Attributes:
        place: of the middle, x, y, z.
        axes: rows: right, front, up.
        a: half-width, mm.
        b: half-depth, mm.
        half: half of the height along the axis, mm.
        waist: by which share it is slimmer half way up.
        taper: by which share it is slimmer at its lower end.
        front: by which share it is narrower in front than behind.
        rims: how far the rims of the lower and the upper plate stand up over their middles, mm.
        wedge: how much the plates part to the right and to the front, mm per mm.
        spur: how far the edges stick out, mm: osteophytes.
    """

    place: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    a: float
    b: float
    half: float
    waist: float = 0.0
    taper: float = 0.0
    front: float = 0.06
    rims: tuple[float, float] = (0.0, 0.0)
    wedge: tuple[float, float] = (0.0, 0.0)
    spur: float = 0.0

    @cached_property
    def reach(self) -> npt.NDArray[np.float64]:
        """How far it reaches from its middle along x, y, z, mm, at most."""
        parting = abs(self.wedge[0]) * self.a + abs(self.wedge[1]) * self.b
        extent = np.array([[self.a + self.spur], [self.b + self.spur], [self.half + max(self.rims) + parting]])
        return np.abs(self.axes * extent).sum(axis=0) + 1.0  # type: ignore[no-any-return]

    def fields(self, cut: Cut, part: tuple[slice, slice]) -> tuple[Field, Field]:
        """Distances from the surface around it and from the nearer plate, for the voxels of a part of a window."""
        u, v, w = (cut.along(axis, self.place, part) for axis in self.axes)
        height = w / self.half
        level = np.minimum(height * height, 1.0)
        size = (1.0 - self.waist) + self.waist * level
        if self.taper:
            size = size * (1.0 - (0.5 * self.taper) * (1.0 - np.minimum(np.maximum(height, -1.0), 1.0)))
        if self.spur:
            size = size + (self.spur / self.a) * np.maximum(level - 0.55, 0.0) * (1.0 / 0.45)
        y = v / (self.b * size)
        x = u / (self.a * size * (1.0 - self.front * y))
        xx, yy = x * x, y * y
        # the small numbers keep the axis itself, where both factors have no value, well inside
        k = np.sqrt(np.sqrt(xx * xx + yy * yy + 1.4 * xx * yy) + _NEAR)
        side = (1.0 - 1.0 / k) * np.sqrt(u * u + v * v + _NEAR * self.b**2)
        plate = np.abs(w) - self.half
        if any(self.rims):
            # a hollow plate, deepest on both sides of the midline and behind the middle
            rise = np.minimum(k * k, 1.0)
            rise = rise + (1.0 - rise) * (_DEEPER_BEHIND * y - _DEEPER_BESIDE * xx)
            plate = plate - np.where(w < 0, self.rims[0], self.rims[1]) * rise
            plate = plate - (self.wedge[0] * u + self.wedge[1] * v)
        return side, plate


def block_of(vertebra: Vertebra, **shape: Any) -> Block:
    """The body of a vertebra."""
    axes = vertebra.axes
    place = np.array([vertebra.x, vertebra.y, vertebra.z])
    return Block(place, axes, vertebra.a, vertebra.b, vertebra.height / 2 / float(axes[2, 2]), **shape)
