"""Bones as shells of cortex around marrow: blades of varying thickness, and the painting of what a slice cuts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline, PchipInterpolator

from lib.phantoms.canvas import Canvas, Points
from lib.phantoms.shapes import Loft, ellipse, inset, mirrored

Line = Sequence[tuple[float, float, float]]
"""The middle line of a flat bone in an axial slice: x, y and half its thickness, mm, at each of a few points."""

_CAP = np.linspace(0, np.pi, 7)[1:-1, None]


Cut = tuple[Points, Points | None]
"""What a slice shows of a bone: its outline and that of its marrow, None where the bone is all cortex."""


class Shell(Protocol):
    """A bone that can be cut at a height."""

    def cut(self, z: float, cortex: float) -> Cut | None:
        """What the slice at a height shows of it with so many mm of cortex; None where it is not."""


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

    def cut(self, z: float, cortex: float) -> Cut | None:
        """As :meth:`Shell.cut`; below the ends of the bone the cortex is as thick as at its sides."""
        depth = min(z - self.low, self.high - z)
        if depth <= 0:
            return None
        line = self.line(z)
        inner = self._outline(line, depth - cortex, cortex) if depth > cortex else None
        return self._outline(line, depth, 0.0), inner

    def line(self, z: float) -> npt.NDArray[np.float64]:
        """(n, 3) x, y and half thickness of the middle line at a height between the bone's ends."""
        line: npt.NDArray[np.float64] = self._line(z)
        return line

    def _outline(self, line: npt.NDArray[np.float64], depth: float, shrink: float) -> Points:
        share = min(depth / self._taper, 1.0)
        half = np.maximum(line[:, 2] * np.sqrt(share * (2 - share)) - shrink, 0.0)
        return _strip(line[:, :2], half[:, None])


class LoftShell:
    """A loft with a cortex.

    Args:
        outlines: as of :class:`Loft`.
        overrun: as of :class:`Loft`.
    """

    def __init__(self, outlines: Mapping[float, Points], *, overrun: float = 0.0) -> None:
        self._loft = Loft(outlines, overrun=overrun)
        self.low, self.high = self._loft.low - overrun, self._loft.high + overrun

    def cut(self, z: float, cortex: float) -> Cut | None:
        """As :meth:`Shell.cut`; below the ends of the bone the cortex is as thick as at its sides."""
        outline = self._loft.at(z)
        if outline is None:
            return None
        covered = min(z - self.low, self.high - z) <= cortex or np.ptp(outline, axis=0).min() <= 2 * cortex
        return outline, None if covered else inset(outline, cortex)


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

    def cut(self, z: float, cortex: float) -> Cut | None:
        """As :meth:`Shell.cut`; the ends stay open, since they lie in other bones."""
        outline = self._oval(z, self._radius)
        return None if outline is None else (outline, self._oval(z, self._radius - cortex))

    def _oval(self, z: float, radius: float) -> Points | None:
        middle = (z - self._start[2]) / self._way[2] * self._reach
        if not -radius * self._stretch < middle < self._reach + radius * self._stretch:
            return None
        oval = ellipse(0, 0, radius * self._stretch, radius)
        along = np.clip(oval[:, 0] + middle, 0.0, self._reach)
        ahead = self._way[:2] / self._reach
        return self._start[:2] + along[:, None] * ahead + oval[:, 1:] * np.array([-ahead[1], ahead[0]])


class Ball:
    """A round bone, such as the head of the femur."""

    def __init__(self, centre: tuple[float, float, float], radius: float) -> None:
        self._centre = centre
        self._radius = radius

    def cut(self, z: float, cortex: float) -> Cut | None:
        """As :meth:`Shell.cut`."""
        outline = self.disc(z, self._radius)
        return None if outline is None else (outline, self.disc(z, self._radius - cortex))

    def disc(self, z: float, radius: float) -> Points | None:
        """What a slice cuts of a ball of another radius around the same point."""
        squared = radius**2 - (z - self._centre[2]) ** 2
        return ellipse(*self._centre[:2], *[float(np.sqrt(squared))] * 2) if squared > 0.25 else None


def both_sides(right: Points, left: Points | None = None) -> Points:
    """One closed outline for a paired structure, so that both sides are filled at once.

    Args:
        right: outline on the right side of the body; nothing of it crosses the midline.
        left: that of the left side as if it were on the right; left out, it is the mirror image.
    """
    # the way from one outline to the other is gone there and back, so that it cancels out
    sides = [right * (1, 1), mirrored(right if left is None else left)]
    sides[0][:, 0] = np.maximum(sides[0][:, 0], 0.0)
    sides[1][:, 0] = np.minimum(sides[1][:, 0], 0.0)
    return np.concatenate([sides[0], sides[0][:1], sides[1], sides[1][:1]])


def paint_cuts(canvas: Canvas, cuts: Sequence[Cut], bone: str) -> None:
    """Paint bones that melt into one: first all of their cortex, then all of their marrow.

    Args:
        canvas: the slice.
        cuts: what it shows of every bone.
        bone: tissues are named `bone`_cortex and `bone`_marrow.
    """
    for outline, _ in cuts:
        canvas.fill(outline, f"{bone}_cortex")
    for _, marrow in cuts:
        if marrow is not None:
            canvas.fill(marrow, f"{bone}_marrow", over=f"{bone}_cortex")


def cut_all(shells: Iterable[tuple[Shell, float]], z: float) -> list[Cut]:
    """What a slice shows of those of some bones, given with the thickness of their cortex, that reach into it."""
    return [cut for shell, cortex in shells if (cut := shell.cut(z, cortex)) is not None]


def paired(cuts: Iterable[Cut]) -> list[Cut]:
    """Bones of the right side together with their mirror images."""
    return [(both_sides(outline), None if marrow is None else both_sides(marrow)) for outline, marrow in cuts]


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
