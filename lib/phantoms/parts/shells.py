"""Bones as shells of cortex around marrow: blades of varying thickness, and the painting of what a slice cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline, PchipInterpolator

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.shapes import Loft, area, ellipse, inset

Line = Sequence[tuple[float, float, float]]
"""The middle line of a flat bone in an axial slice: x, y and half its thickness, mm, at each of a few points."""

_CAP = np.linspace(0, np.pi, 7)[1:-1, None]


class Shell(Protocol):
    """A bone that can be cut at a height, also without the outermost millimetres of it."""

    def at(self, z: float, shrink: float = 0.0) -> Points | None:
        """The outline at a height after `shrink` mm have been taken off its surface, or None."""


class Blade:
    """A flat or columnar bone: a strip with rounded ends in every slice.

    Args:
        stations: height (reference mm) to the middle line there; all lines have as many points, from the same end.
        taper: within how many mm of its lowest and its highest station the bone closes.
        n: points along the middle line.
    """

    def __init__(self, stations: Mapping[float, Line | npt.NDArray[np.float64]], *, taper: float, n: int = 20) -> None:
        heights = sorted(stations)
        self.low, self.high = heights[0], heights[-1]
        self._taper = taper
        lines = [_sampled(np.asarray(stations[z], dtype=np.float64), n) for z in heights]
        self._line = PchipInterpolator(heights, np.stack(lines), axis=0)

    def at(self, z: float, shrink: float = 0.0) -> Points | None:
        """The outline at a height after `shrink` mm have been taken off its surface, or None where nothing is left."""
        inward = min(z - self.low, self.high - z) - shrink
        if inward <= 0:
            return None
        line: npt.NDArray[np.float64] = self._line(z)
        share = min(inward / self._taper, 1.0)
        half = np.maximum(line[:, 2] * np.sqrt(share * (2 - share)) - shrink, 0.0)
        return _strip(line[:, :2], half[:, None]) if half.any() else None


class LoftShell:
    """A loft that can be cut without its outermost millimetres.

    Args:
        outlines: as of :class:`Loft`.
        overrun: as of :class:`Loft`.
    """

    def __init__(self, outlines: Mapping[float, Points], *, overrun: float = 0.0) -> None:
        self._loft = Loft(outlines, overrun=overrun)
        self.low, self.high = self._loft.low - overrun, self._loft.high + overrun

    def at(self, z: float, shrink: float = 0.0) -> Points | None:
        """The outline at a height after `shrink` mm have been taken off its surface, or None where nothing is left."""
        outline = self._loft.at(z) if self.low + shrink < z < self.high - shrink else None
        return outline if outline is None or not shrink else shrunk(outline, shrink)


class Bar:
    """A straight round bone between two points in space, cut off upright at both; not for level ones.

    Args:
        start: x, y, z, reference mm.
        end: x, y, z.
        radius: mm.
    """

    def __init__(self, start: npt.ArrayLike, end: npt.ArrayLike, radius: float) -> None:
        self._start = np.asarray(start, dtype=np.float64)
        self._way = np.asarray(end, dtype=np.float64) - self._start
        self._radius = radius
        self._reach = float(np.sqrt((self._way[:2] ** 2).sum()))
        self._stretch = float(np.sqrt((self._way**2).sum()) / abs(self._way[2]))

    def at(self, z: float, shrink: float = 0.0) -> Points | None:
        """As :meth:`Shell.at`; the ends stay open, since they lie in other bones."""
        middle = (z - self._start[2]) / self._way[2] * self._reach
        oval = ellipse(0, 0, (self._radius - shrink) * self._stretch, self._radius - shrink)
        along = np.clip(oval[:, 0] + middle, 0.0, self._reach)
        if np.ptp(along) < 0.5:
            return None
        ahead = self._way[:2] / self._reach
        return self._start[:2] + along[:, None] * ahead + oval[:, 1:] * np.array([-ahead[1], ahead[0]])


class Ball:
    """A round bone, such as the head of the femur."""

    def __init__(self, centre: tuple[float, float, float], radius: float) -> None:
        self._centre = centre
        self._radius = radius

    def at(self, z: float, shrink: float = 0.0) -> Points | None:
        """As :meth:`Shell.at`."""
        squared = (self._radius - shrink) ** 2 - (z - self._centre[2]) ** 2
        return ellipse(*self._centre[:2], *[float(np.sqrt(squared))] * 2) if squared > 0.25 else None


def shrunk(outline: Points, distance: float) -> Points | None:
    """A closed outline moved inwards by a distance in mm, or None if nothing of it is left."""
    inner = inset(outline, distance)
    if np.ptp(outline, axis=0).min() <= 2 * distance or area(inner) * area(outline) <= 0:
        return None
    return inner


def paint_shells(
    canvas: Canvas, shells: Sequence[tuple[Shell, float]], bone: str, *, marrow: str | None = None, sign: float = 1.0
) -> None:
    """Paint bones that melt into one: first all of their cortex, then all of their marrow.

    Args:
        canvas: the slice.
        shells: every bone with the thickness of its cortex, mm.
        bone: tissues are named `bone`_cortex and `bone`_marrow.
        marrow: another tissue than `bone`_marrow inside.
        sign: -1 paints the mirror image.
    """
    there = [(shell, cortex, outline) for shell, cortex in shells if (outline := shell.at(canvas.z)) is not None]
    mirror = np.array([sign, 1.0])
    for _, _, outline in there:
        canvas.fill(outline * mirror, f"{bone}_cortex")
    for shell, cortex, _ in there:
        inner = shell.at(canvas.z, cortex)
        if inner is not None:
            canvas.fill(inner * mirror, marrow or f"{bone}_marrow", over=f"{bone}_cortex")


def _sampled(knots: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    """Points of a smooth line through a few, evenly spread between them; the thickness never overshoots."""
    chord = np.sqrt(np.sqrt((np.diff(knots[:, :2], axis=0) ** 2).sum(axis=1)))
    along = np.concatenate([[0.0], np.cumsum(chord)])
    at = np.linspace(0, along[-1], n)
    return np.column_stack([CubicSpline(along, knots[:, :2])(at), PchipInterpolator(along, knots[:, 2])(at)])


def _strip(line: Points, half: npt.NDArray[np.float64]) -> Points:
    """The closed outline of a strip with round ends around a middle line; (n, 2) and (n, 1)."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.sqrt((tangent**2).sum(axis=1, keepdims=True)), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    c, s = np.cos(_CAP), np.sin(_CAP)
    end = line[-1] + half[-1] * (c * normal[-1] + s * tangent[-1])
    start = line[0] - half[0] * (c * normal[0] + s * tangent[0])
    return np.concatenate([line + half * normal, end, (line - half * normal)[::-1], start])
