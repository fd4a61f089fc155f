"""How the muscles of hip and thigh share the room inside the fascia, like the pieces of a jigsaw.

In a slice every muscle is a thick line through a few knots with radii. A voxel goes to the muscle whose line it is
nearest to, counted from the line's surface, so muscles meet in smooth borders wherever they are; where two are about
as near, a plane of fat stays between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from lib.phantoms.canvas import Canvas, Mask, Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import Leg
from lib.phantoms.tissues import TISSUES
from lib.phantoms.trunk import ANGLES, Trunk

Knots = tuple[tuple[float, float, float], ...]
"""x and y of the right leg, reference mm, and radius, mm, of the knots of a muscle's line in a slice."""
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

FAT = "intermuscular_fat"
VESSEL = "peripheral_vessel"
# Muscles that other parts have drawn before; they keep a plane of fat around them as well.
_NEIGHBOURS = (
    "psoas_major", "iliacus", "iliopsoas", "rectus_abdominis", "external_oblique", "internal_oblique",
    "transversus_abdominis", "erector_spinae", "multifidus", "quadratus_lumborum",
)  # fmt: skip
_PLANE_MM = 1.1  # fat between two healthy muscles
_PLANE_ATROPHIED_MM = 5.0  # what is added when all muscle is gone
_MIN_RADIUS_MM = 0.6
_FULL_RADIUS_MM = 4.0  # a muscle that is thinner, near its ends, spreads less
_UNDER_FASCIA_MM = 1.0
_STEP_MM = 2.0  # height between two entries of the table of knots


@dataclass(frozen=True)
class Course:
    """A muscle from its origin to its insertion.

    Attributes:
        stations: z (reference mm with five lumbar vertebrae) to knots, as many at every station.
        reach: how far, mm, the muscle spreads beyond its radii where no neighbour claims the room.
    """

    stations: Mapping[float, Knots]
    reach: float = 6.0


class Tiling:
    """One side's muscles, ready to be cut.

    Args:
        frame: the individual.
        side: "left" or "right".
        courses: tissue to course. The tissue "intermuscular_fat" keeps room free, such as that of a nerve; vessels lie
            in it and have one knot. Any key may carry a suffix after a colon to tell several apart.
    """

    def __init__(self, frame: Frame, side: str, courses: Mapping[str, Course]) -> None:
        self._leg, self._trunk = Leg(frame, side), Trunk(frame)
        rng = frame.rng(f"hip and thigh muscles {side}")
        ends = [z for course in courses.values() for z in course.stations]
        self._low = min(ends)
        self._shift = frame.pelvis_shift
        self._vigour = frame.sizes.thigh_muscle
        heights = np.arange(self._low, max(ends) + _STEP_MM, _STEP_MM)
        self._muscles: list[tuple[int, slice, float]] = []
        self._vessels: list[int] = []
        table, first = [], 0
        for name, course in courses.items():
            knots = _individual(course, heights, rng)
            tissue = name.partition(":")[0]
            part = slice(first, first + knots.shape[1])
            if tissue == VESSEL:
                self._vessels.append(first)
            else:
                self._muscles.append((0 if tissue == FAT else TISSUES[tissue].id, part, course.reach))
            table.append(knots)
            first = part.stop
        self._table = np.concatenate(table, axis=1)

    def paint(self, canvas: Canvas, over: tuple[str, ...]) -> None:
        """Draw the muscles of a slice over some tissues."""
        z = canvas.z
        knots = self._knots(z)
        if knots is None:
            return
        # where the fascia keeps its place, at hip and knee, wasted muscles do not fill it
        growth = min(self._leg.growth(z), self._vigour)
        radii = knots[:, 2] * growth
        placed = self._under_fascia(self._leg.place(knots[:, :2], z), radii, z)
        centres = canvas.warped(placed)
        entries = [
            (tissue, centres[part], radii[part], reach * growth * min(radii[part].max() / _FULL_RADIUS_MM, 1.0))
            for tissue, part, reach in self._muscles
            if radii[part].max() > _MIN_RADIUS_MM
        ]
        if not entries:
            return
        boxes = [_extent(spots, sizes, reach) for _, spots, sizes, reach in entries]
        (left, back), (right, front) = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
        room = canvas.box(left, right, back, front)
        if not room.inside.size:
            return
        contest = _Contest(canvas, room)
        for tissue, spots, sizes, reach in entries:
            contest.enter(tissue, spots, sizes, reach)
        won = contest.won(_PLANE_MM + _PLANE_ATROPHIED_MM * max(1.0 - self._vigour, 0.0))
        won &= canvas.is_any(room, over) & ~_widened(canvas.is_any(room, _NEIGHBOURS))
        canvas.tissue[room.window][won] = contest.winner[won]
        # vessels keep their size when muscles shrink
        canvas.fill(canvas.discs(placed[self._vessels], knots[self._vessels, 2]), VESSEL, over=FAT)

    def _knots(self, z: float) -> Floats | None:
        """(k, 3) x, y, radius of all knots in a slice of the right side; a radius of 0 where a muscle is not."""
        place = (z - self._shift - self._low) / _STEP_MM
        entry = int(np.floor(place))
        if not 0 <= entry < len(self._table) - 1:
            return None
        share = place - entry
        knots: Floats = self._table[entry] * (1.0 - share) + self._table[entry + 1] * share
        return knots

    def _under_fascia(self, centres: Points, radii: Floats, z: float) -> Points:
        """Knots drawn towards the middle of trunk or leg, whichever is the shorter way, until they lie within it."""
        moved = []
        for surface in (self._trunk, self._leg):
            if not surface.low <= z <= surface.high:
                continue
            outline = surface.outer(z)
            middle = np.array(self._trunk.centre(z)) if surface is self._trunk else outline.mean(axis=0)
            angles = ANGLES
            if surface is self._leg:
                angles = np.arctan2(outline[:, 1] - middle[1], outline[:, 0] - middle[0])
            away = centres - middle
            distance = np.maximum(np.sqrt((away**2).sum(axis=1)), 1.0)
            fascia = np.sqrt(((outline - middle) ** 2).sum(axis=1))
            room = np.interp(np.arctan2(away[:, 1], away[:, 0]), angles, fascia, period=2 * np.pi)
            pulled = np.clip((room - 0.8 * radii - _UNDER_FASCIA_MM) / distance, 0.0, 1.0)
            moved.append((distance * (1.0 - pulled), middle + away * pulled[:, None]))
        if len(moved) < 2:
            return moved[0][1] if moved else centres
        (way, one), (other_way, other) = moved
        return np.where((way <= other_way)[:, None], one, other)


def _individual(course: Course, heights: Floats, rng: np.random.Generator) -> Floats:
    """(heights, k, 3) a course with the individual's size and place; beyond its ends the radii are 0."""
    stations = sorted(course.stations)
    curve = PchipInterpolator(stations, np.array([course.stations[z] for z in stations], dtype=np.float64))
    knots: Floats = curve(np.clip(heights, stations[0], stations[-1]))
    knots[..., :2] += rng.uniform(-1.3, 1.3, 2)
    knots[..., 2] *= float(rng.uniform(0.93, 1.07))
    knots[(heights < stations[0]) | (heights > stations[-1]), :, 2] = 0.0
    return knots


def _extent(centres: Points, radii: Floats, reach: float) -> tuple[Floats, Floats]:
    """Lower and upper corner (x, y) of what a muscle may claim."""
    wide = (radii + reach)[:, None]
    return (centres - wide).min(axis=0), (centres + wide).max(axis=0)


def _widened(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A region and the voxels next to it."""
    wide = inside.copy()
    wide[1:] |= inside[:-1]
    wide[:-1] |= inside[1:]
    wide[:, 1:] |= inside[:, :-1]
    wide[:, :-1] |= inside[:, 1:]
    return wide


class _Contest:
    """Which muscle is nearest to each voxel of a window, and how far away the best two are."""

    def __init__(self, canvas: Canvas, room: Mask) -> None:
        self._canvas, self._room = canvas, room
        x, y = canvas.positions(room)
        self._x, self._y = x.astype(np.float32), y.astype(np.float32)
        self._best = np.full(room.inside.shape, np.inf, np.float32)
        self._second = self._best.copy()
        self.winner: npt.NDArray[np.uint8] = np.zeros(room.inside.shape, np.uint8)

    def enter(self, tissue: int, centres: Points, radii: Floats, reach: float) -> None:
        """Let a muscle compete for the voxels within its reach."""
        (left, back), (right, front) = _extent(centres, radii, reach)
        box = self._canvas.box(left, right, back, front)
        i, j = box.i0 - self._room.i0, box.j0 - self._room.j0
        window = slice(i, i + box.inside.shape[0]), slice(j, j + box.inside.shape[1])
        distance = _distance(self._x[window[0]], self._y[:, window[1]], centres, radii)
        distance[distance > np.float32(reach)] = np.inf
        best, second = self._best[window], self._second[window]
        np.copyto(self.winner[window], np.uint8(tissue), where=distance < best)
        np.minimum(second, np.maximum(distance, best), out=second)
        np.minimum(best, distance, out=best)

    def won(self, plane: float) -> npt.NDArray[np.bool_]:
        """Where a muscle is the nearest by more than the plane of fat between two."""
        # where nothing competes, both are infinite and no tissue is the winner
        return (self.winner > 0) & (self._second > self._best + np.float32(plane))  # type: ignore[no-any-return]


def _distance(x: Singles, y: Singles, centres: Points, radii: Floats) -> Singles:
    """Distance of voxels from the surface of a line through knots whose radii change on the way; negative within.

    Args:
        x: (w, 1) positions.
        y: (1, h) positions.
        centres: (k, 2) knots.
        radii: (k,) their radii.
    """
    single = centres.astype(np.float32)
    start, way = single[:-1, :, None, None], np.diff(single, axis=0)[:, :, None, None]
    sizes = radii.astype(np.float32)[:, None, None]
    grows = np.diff(sizes, axis=0)
    ax, ay = way[:, 0], way[:, 1]
    squared = np.maximum(ax * ax + ay * ay, np.float32(1e-3))
    dx, dy = x - start[:, 0], y - start[:, 1]
    along = dx * (ax / squared) + dy * (ay / squared)
    np.clip(along, np.float32(0), np.float32(1), out=along)
    px, py = dx - along * ax, dy - along * ay
    found = np.sqrt(px * px + py * py)
    found -= sizes[:-1] + along * grows
    return found.min(axis=0)  # type: ignore[no-any-return]
