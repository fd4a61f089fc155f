"""Shapes that anatomy is drawn with: smooth outlines, tubes, and lofts between outlines at known heights."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from lib.phantoms.canvas import Points


class Curve:
    """A value, or several, along z through known stations: monotone between them, constant beyond the ends."""

    def __init__(self, stations: Mapping[Any, float | Sequence[float]]) -> None:
        heights = sorted(stations)
        curve = PchipInterpolator(heights, np.array([stations[z] for z in heights], dtype=np.float64))
        self._heights, self._coefficients = heights, curve.c

    def __call__(self, z: float) -> npt.NDArray[np.float64]:
        """The value at a height."""
        # as the interpolator does, without its checks, which take longer than all the rest
        z = min(max(z, self._heights[0]), self._heights[-1])
        i = min(bisect_right(self._heights, z), len(self._heights) - 1) - 1
        a, b, c, d = self._coefficients[:, i]
        t = z - self._heights[i]
        return ((a * t + b) * t + c) * t + d  # type: ignore[no-any-return]


class Loft:
    """A body between outlines at known heights.

    Args:
        outlines: height (reference mm) to (n, 2) closed outline; all with as many points, beginning at corresponding
            places and running the same way.
        overrun: how far, mm, the body goes on beyond its first and last outline while it closes like a dome.
    """

    def __init__(self, outlines: Mapping[float, Points], *, overrun: float = 0.0) -> None:
        heights = sorted(outlines)
        if len({len(outlines[z]) for z in heights}) != 1:
            raise ValueError("the outlines of a loft need as many points each")
        self.low, self.high = heights[0], heights[-1]
        self._overrun = overrun
        self._curve = PchipInterpolator(heights, np.stack([outlines[z] for z in heights]), axis=0)

    def at(self, z: float) -> Points | None:
        """The outline at a height, or None where the body is not."""
        if not self.low - self._overrun < z < self.high + self._overrun:
            return None
        outline: Points = self._curve(min(max(z, self.low), self.high))
        beyond = max(self.low - z, z - self.high, 0.0)
        if beyond:
            outline = scaled(outline, float(np.sqrt(1 - (beyond / self._overrun) ** 2)))
        return outline


class Tube:
    """A round tube along a smooth path in space, such as a rib or a vessel.

    Args:
        path: (n, 3) points x, y, z in reference mm.
        radius: one radius, or (n,) one per point, mm.
        step: distance of the samples that the tube is made of, mm.
    """

    def __init__(self, path: npt.ArrayLike, radius: float | npt.ArrayLike, *, step: float = 1.0) -> None:
        knots = np.asarray(path, dtype=np.float64)
        radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(knots))
        along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(knots, axis=0) ** 2).sum(axis=1)))])
        self.length = float(along[-1])
        samples = np.linspace(0, self.length, max(int(np.ceil(self.length / step)), 1) + 1)
        self.points: npt.NDArray[np.float64] = through(along, knots, samples)
        self.radii: npt.NDArray[np.float64] = np.interp(samples, along, radii)

    def cut(self, z: float, *, shrink: float = 0.0) -> tuple[Points, npt.NDArray[np.float64]]:
        """Centres and radii of the discs in which a slice cuts the tube; for :meth:`Canvas.discs`.

        Args:
            z: height of the slice.
            shrink: by how much, mm, the tube is thinner than itself: the marrow within a cortex.
        """
        squared = (self.radii - shrink) ** 2 - (self.points[:, 2] - z) ** 2
        near = (squared > 0) & (self.radii > shrink)
        return self.points[near, :2], np.sqrt(squared[near])


def ellipse(x: float, y: float, a: float, b: float, *, turn: float = 0.0, power: float = 2.0, n: int = 40) -> Points:
    """A superellipse: half-axes a (along x) and b (along y), turned counterclockwise by ``turn`` radians.

    Args:
        x: centre.
        y: centre.
        a: half-axis, mm.
        b: half-axis, mm.
        turn: rotation, radians.
        power: 2 is an ellipse, more is boxier.
        n: number of points.
    """
    angle = 2 * np.pi * np.arange(n) / n
    c, s = np.cos(angle), np.sin(angle)
    u = a * np.sign(c) * np.abs(c) ** (2 / power)
    v = b * np.sign(s) * np.abs(s) ** (2 / power)
    ct, st = np.cos(turn), np.sin(turn)
    return np.stack([x + u * ct - v * st, y + u * st + v * ct], axis=1)


def smooth(corners: npt.ArrayLike, n: int = 48) -> Points:
    """A smooth closed outline through a few points.

    Args:
        corners: (m, 2) points in order round the outline; not closed by a repetition.
        n: number of points of the outline, evenly spread between the corners.
    """
    knots = np.asarray(corners, dtype=np.float64)
    closed = np.concatenate([knots, knots[:1]])
    chord = np.sqrt(np.sqrt((np.diff(closed, axis=0) ** 2).sum(axis=1)))
    along = np.concatenate([[0.0], np.cumsum(chord)])
    # one more corner on either side, so that the curve is as smooth at the seam as elsewhere
    padded = np.concatenate([knots[-1:], closed, knots[1:2]])
    places = np.concatenate([[-chord[-1]], along, [along[-1] + chord[0]]])
    return through(places, padded, np.linspace(0, along[-1], n, endpoint=False))


def through(places: npt.NDArray[np.float64], knots: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> Points:
    """A smooth line through knots: a cubic between each two, its slope at a knot that of the parabola around it.

    Args:
        places: (m,) ascending, where the knots lie along the line; m is 2 or more.
        knots: (m, d).
        at: (n,) places that are asked for, from the first to the last knot's.

    Returns:
        (n, d) points.
    """
    gap = (places[1:] - places[:-1])[:, None]
    rise = (knots[1:] - knots[:-1]) / gap
    middle = (rise[:-1] * gap[1:] + rise[1:] * gap[:-1]) / (gap[:-1] + gap[1:])
    first, last = (2 * rise[:1] - middle[:1], 2 * rise[-1:] - middle[-1:]) if len(knots) > 2 else (rise, rise)
    slope = np.concatenate([first, middle, last])
    i = np.minimum(np.searchsorted(places, at, side="right") - 1, len(knots) - 2)
    t = ((at - places[i])[:, None]) / gap[i]
    bend = slope[i] * gap[i], slope[i + 1] * gap[i]
    step = knots[i + 1] - knots[i]
    return knots[i] + t * (bend[0] + t * (3 * step - 2 * bend[0] - bend[1] + t * (bend[0] + bend[1] - 2 * step)))  # type: ignore[no-any-return]


def scaled(outline: Points, factor: float) -> Points:
    """An outline made larger or smaller around its centre."""
    centre = outline.mean(axis=0)
    return centre + (outline - centre) * factor


def mirrored(outline: Points) -> Points:
    """The same on the other side of the midline x = 0."""
    return outline * np.array([-1.0, 1.0])


def moved(outline: Points, x: float, y: float) -> Points:
    """An outline shifted by x and y, mm."""
    return outline + np.array([x, y])


def inset(outline: Points, distance: float) -> Points:
    """A closed outline moved inwards along its normals by a distance in mm (outwards if negative)."""
    wide = np.concatenate([outline[-1:], outline, outline[:1]])
    tangent = wide[2:] - wide[:-2]
    away = distance * np.sign(area(outline)) / np.maximum(np.sqrt((tangent**2).sum(axis=1, keepdims=True)), 1e-9)
    return outline + tangent[:, ::-1] * (-1.0, 1.0) * away  # type: ignore[no-any-return]


def area(outline: Points) -> float:
    """Signed area of a closed outline in mm², positive for counterclockwise ones."""
    x, y = outline[:, 0], outline[:, 1]
    return float(0.5 * (np.sum(x[:-1] * y[1:] - y[:-1] * x[1:]) + x[-1] * y[0] - y[-1] * x[0]))
