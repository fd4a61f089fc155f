"""How the muscles of hip and thigh share the room inside the fascia, like the pieces of a jigsaw.

In a slice every muscle is a thick line through a few knots with radii. A voxel goes to the muscle whose line it is
nearest to, counted from the line's surface, so muscles meet in smooth borders wherever they are; where two are about
as near, a plane of fat stays between them. A smooth random field bends the borders and makes the planes wider here and
narrower there, so that in many places muscles touch.
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
_ILIOPSOAS = TISSUES["iliopsoas"].id  # the psoas is drawn down to its tendon; here it is filled up
_ON_WING = tuple(TISSUES[name].id for name in ("gluteus_medius", "gluteus_minimus"))
# Fat between two muscles, mm: of the leanest; what a cover of fat of 100 cm² adds, up to a most, and what age adds
_PLANE_MM = 0.35
_PLANE_PER_FAT_MM = 0.3
_PLANE_FAT_MOST_MM = 1.2
_PLANE_AGED_MM = 0.6
_PLANE_ATROPHIED_MM = 5.0  # what is added when all muscle is gone
_UNEVEN = 2.2  # how much the width of a plane varies: 1 is from nothing to twice its mean
_BEND_MM = 4.5  # how far, at most, the borders of the muscles are bent
_PATCH_MM, _PATCH_HIGH_MM = 20.0, 45.0  # size of the patches of the random field, in the slice and along the leg
_PATCHES = 16  # after so many the field begins anew
_TOUCH_MM = 0.5  # where planes would be thinner, muscles lie on those that other parts have drawn
_MIN_RADIUS_MM = 0.6
_FULL_RADIUS_MM = 4.0  # a muscle that is thinner, near its ends, spreads less
_OFF_MIDLINE_MM = 7.0  # between a muscle and the midline of the perineum
_UNDER_FASCIA_MM = 1.0
_SPINE, _CREST = -88.0, -24.0  # heights, in the tables, of the anterior superior spine and of the iliac crest
_STEP_MM = 2.0  # height between two entries of the table of knots


@dataclass(frozen=True)
class Course:
    """A muscle from its origin to its insertion.

    Attributes:
        stations: z (reference mm with five lumbar vertebrae) to knots, as many at every station.
        reach: how far, mm, the muscle spreads beyond its radii where no neighbour claims the room.
        plane: how wide the planes of fat around the muscle are: 0 where it grows together with its neighbours.
    """

    stations: Mapping[float, Knots]
    reach: float = 6.0
    plane: float = 1.0


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
        self._crest = frame.heights["iliac_crest"] - frame.pelvis_shift
        self._vigour = frame.sizes.thigh_muscle
        self._plane_mm = _plane_mm(frame)
        self._planes: Singles = np.ones(256, np.float32)
        heights = np.arange(self._low, max(ends) + _STEP_MM, _STEP_MM)
        self._muscles: list[tuple[int, slice, float]] = []
        self._vessels: list[int] = []
        self._names = tuple({name.partition(":")[0] for name in courses} - {FAT, VESSEL})
        table, first = [], 0
        for name, course in courses.items():
            knots = _individual(course, heights, rng)
            tissue = name.partition(":")[0]
            part = slice(first, first + knots.shape[1])
            if tissue == VESSEL:
                self._vessels.append(first)
            else:
                self._muscles.append((0 if tissue == FAT else TISSUES[tissue].id, part, course.reach))
                self._planes[TISSUES[tissue].id] = course.plane
            table.append(knots)
            first = part.stop
        self._table = np.concatenate(table, axis=1)
        self._field = _Field(rng)

    def paint(self, canvas: Canvas, over: tuple[str, ...], within: Points | None = None) -> None:
        """Draw the muscles of a slice over some tissues.

        Args:
            canvas: the slice.
            over: the tissues that they may cover.
            within: the inner side of the iliac wing, where those of its outer surface are not.
        """
        z = canvas.z
        knots = self._knots(z)
        if knots is None:
            return
        # where the fascia keeps its place, at hip and knee, wasted muscles do not fill it
        growth = min(self._leg.growth(z), self._vigour)
        radii = knots[:, 2] * growth
        placed = self._under_fascia(self._leg.place(knots[:, :2], z), radii, z)
        # large thighs do not grow across the midline
        least = np.minimum(knots[:, 0], radii + _OFF_MIDLINE_MM)
        placed[:, 0] = self._leg.sign * np.maximum(self._leg.sign * placed[:, 0], least)
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
        width, bend_x, bend_y = self._field.at(*canvas.positions(room), z)
        contest = _Contest(canvas, room, bend_x * np.float32(_BEND_MM), bend_y * np.float32(_BEND_MM))
        barred = None if within is None else _in_window(canvas.polygon(within), room)
        for tissue, spots, sizes, reach in entries:
            contest.enter(tissue, spots, sizes, reach, barred if tissue in _ON_WING else None)
        width = np.maximum(np.float32(1) + np.float32(_UNEVEN) * width, np.float32(0))
        width *= np.float32(self._plane_mm + _PLANE_ATROPHIED_MM * max(1.0 - self._vigour, 0.0))
        won = contest.won(width * self._planes.take(contest.winner, mode="clip"))
        won &= canvas.is_any(room, over)
        beside = _widened(canvas.is_any(room, _NEIGHBOURS)) & (contest.winner != _ILIOPSOAS)
        won &= ~(beside & (width > np.float32(_TOUCH_MM)))
        canvas.tissue[room.window][won] = contest.winner[won]
        # vessels keep their size when muscles shrink
        vessels = canvas.discs(placed[self._vessels], knots[self._vessels, 2])
        canvas.fill(vessels, VESSEL, over=(FAT, *self._names))

    def _knots(self, z: float) -> Floats | None:
        """(k, 3) x, y, radius of all knots in a slice of the right side; a radius of 0 where a muscle is not."""
        at = z - self._shift
        if at > _SPINE:
            at = _SPINE + (at - _SPINE) * (_CREST - _SPINE) / (self._crest - _SPINE)
        place = (at - self._low) / _STEP_MM
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


def _in_window(mask: Mask, room: Mask) -> npt.NDArray[np.bool_]:
    """A mask's voxels in the window of another."""
    i, j = mask.i0 - room.i0, mask.j0 - room.j0
    (nx, ny), (width, height) = mask.inside.shape, room.inside.shape
    inside = np.zeros((width, height), bool)
    inside[max(i, 0) : max(i + nx, 0), max(j, 0) : max(j + ny, 0)] = mask.inside[
        max(-i, 0) : max(width - i, 0), max(-j, 0) : max(height - j, 0)
    ]
    return inside


def _widened(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A region and the voxels next to it."""
    wide = inside.copy()
    wide[1:] |= inside[:-1]
    wide[:-1] |= inside[1:]
    wide[:, 1:] |= inside[:, :-1]
    wide[:, :-1] |= inside[:, 1:]
    return wide


class _Field:
    """Smooth random fields in space, three at once, between -1 and 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._knots: Singles = rng.uniform(-1, 1, (_PATCHES, 3, _PATCHES, _PATCHES)).astype(np.float32)

    def at(self, x: Floats, y: Floats, z: float) -> Singles:
        """(3, w, h) the fields at positions x (w, 1) and y (1, h), reference mm, of a slice."""
        first, second, share = _between(np.array([z / _PATCH_HIGH_MM]))
        knots = self._knots[first[0]] * (1 - share) + self._knots[second[0]] * share
        first, second, share = _between(x[:, 0] / _PATCH_MM)
        knots = knots[:, first] * (1 - share[:, None]) + knots[:, second] * share[:, None]
        first, second, share = _between(y[0] / _PATCH_MM)
        field: Singles = knots[:, :, first] * (1 - share) + knots[:, :, second] * share
        return field


def _between(place: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Singles]:
    """The knots before and behind places, and how far on the way from one to the other they lie, without corners."""
    before = np.floor(place)
    share = (place - before).astype(np.float32)
    first = before.astype(np.intp) % _PATCHES
    return first, (first + 1) % _PATCHES, share * share * (3 - 2 * share)


def _plane_mm(frame: Frame) -> float:
    """Mean width of the planes of fat between the muscles: thin in the lean, wide in the fat and the old."""
    person = frame.person
    fat = min(_PLANE_PER_FAT_MM * person.thigh_fat_cm2 / 100, _PLANE_FAT_MOST_MM)
    return float(_PLANE_MM + fat + _PLANE_AGED_MM * min(max((person.age_years - 45) / 40, 0.0), 1.0))


class _Contest:
    """Which muscle is nearest to each voxel of a window, and how far away the best two are."""

    def __init__(self, canvas: Canvas, room: Mask, bend_x: Singles, bend_y: Singles) -> None:
        self._canvas, self._room = canvas, room
        x, y = canvas.positions(room)
        self._x, self._y = x.astype(np.float32) + bend_x, y.astype(np.float32) + bend_y
        self._best = np.full(room.inside.shape, np.inf, np.float32)
        self._second = self._best.copy()
        self.winner: npt.NDArray[np.uint8] = np.zeros(room.inside.shape, np.uint8)

    def enter(
        self, tissue: int, centres: Points, radii: Floats, reach: float, barred: npt.NDArray[np.bool_] | None
    ) -> None:
        """Let a muscle compete for the voxels within its reach, but for those that are barred to it."""
        (left, back), (right, front) = _extent(centres, radii, reach)
        box = self._canvas.box(left, right, back, front)
        i, j = box.i0 - self._room.i0, box.j0 - self._room.j0
        window = slice(i, i + box.inside.shape[0]), slice(j, j + box.inside.shape[1])
        distance = _distance(self._x[window], self._y[window], centres, radii)
        distance[distance > np.float32(reach)] = np.inf
        if barred is not None:
            distance[barred[window]] = np.inf
        best, second = self._best[window], self._second[window]
        np.copyto(self.winner[window], np.uint8(tissue), where=distance < best)
        np.minimum(second, np.maximum(distance, best), out=second)
        np.minimum(best, distance, out=best)

    def won(self, plane: Singles) -> npt.NDArray[np.bool_]:
        """Where a muscle is the nearest by more than the plane of fat, mm, that is between two there."""
        # where nothing competes, both are infinite and no tissue is the winner
        return (self.winner > 0) & (self._second > self._best + plane)  # type: ignore[no-any-return]


def _distance(x: Singles, y: Singles, centres: Points, radii: Floats) -> Singles:
    """Distance of voxels from the surface of a line through knots whose radii change on the way; negative within.

    Args:
        x: (w, h) positions.
        y: (w, h) positions.
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
