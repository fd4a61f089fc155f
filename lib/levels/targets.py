"""What the detector learns, from a label in which vertebrae are marked by name, or L3 alone, or just the slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_SLICE
from lib.cold_start.spine_axis import SpineCourse
from lib.images import CTImage
from lib.levels.views import STEP_MM

LEVELS = (*(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 7)), "S1")
"""From the head down; a spine has four to six of the lumbar ones."""
IDENTITIES = ("above", *LEVELS, "below")
RIB = ("none", "short", "normal")
RIB_COUNTS_FROM_MM = 38.0
"""Length from which on a rib counts as a normal one (Ha 2021)."""
UNKNOWN = -1

_NEAR_AXIS_MM = 14.0
_FEW_VOXELS = 20
_ENDPLATE_SPREAD_MM = 3.0
_AROUND_ENDPLATE_MM = 12.0
_CREST_SPREAD_MM = 6.0
_RIB_ROOT_MM = 60.0
_RIB_END_MM = 3.0
_WIDEST_DISC_MM = 20.0


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is true of every row of :class:`lib.levels.views.SpineViews`, and of which rows it is known.

    Attributes:
        identity: (n,) int8, index into :data:`IDENTITIES` or UNKNOWN. A vertebra owns the rows from its inferior
            endplate up to that of the vertebra above it, with the disc between them.
        endplate: (n,) float32, 1 at an inferior endplate, falling to 0 within some mm; NaN where not known.
        superior: (n,) float32, the same for superior endplates.
        rib: (n,) int8, index into :data:`RIB` of the ribs of the vertebra in this row, or UNKNOWN.
        crest: (n,) float32, 1 at the height of an iliac crest; NaN where not known.
        transitional: (n,) int8, 1 on a lumbosacral transitional vertebra, 0 on others, or UNKNOWN.
    """

    identity: npt.NDArray[np.int8]
    endplate: npt.NDArray[np.float32]
    superior: npt.NDArray[np.float32]
    rib: npt.NDArray[np.int8]
    crest: npt.NDArray[np.float32]
    transitional: npt.NDArray[np.int8]


def targets_of(upright: CTImage, label: npt.NDArray, course: SpineCourse) -> Targets:
    """Read a label of ``l3_slice`` along a spine.

    Args:
        upright: the CT in canonical order.
        label: ids of the schema, shape of ``upright``.
        course: of the spine in the CT.

    Returns:
        What the label tells; where it tells no level, nothing is known of identities.
    """
    marks = _Marks(upright, label, course)
    inferior = marks.endplates()
    n = len(course)
    identity = _identities(n, inferior, marks)
    known = identity != UNKNOWN
    return Targets(
        identity=identity,
        endplate=_endplates(n, inferior.values(), known),
        superior=_endplates(n, marks.superior_endplates(), known & _within(n, marks.extents().values())),
        rib=_ribs(identity, marks),
        crest=_crests(n, marks),
        transitional=_transitional(identity, marks),
    )


class _Marks:
    """Where the structures of a label lie along the course, in rows and fractions of them."""

    def __init__(self, upright: CTImage, label: npt.NDArray, course: SpineCourse) -> None:
        self._course = course
        self._half_slice = float(upright.spacing[2]) / 2 / STEP_MM
        self._points: dict[str, npt.NDArray[np.float64]] = {}
        present = np.bincount(label.ravel(), minlength=len(L3_SLICE) + 1)
        for structure in L3_SLICE:
            if present[structure.id]:
                self._points[structure.name] = np.argwhere(label == structure.id) * upright.spacing

    def rows(self, name: str, *, near_axis: bool = False) -> npt.NDArray[np.float64]:
        """(m,) the row of every voxel of a structure; with ``near_axis`` of those within a vertebral body, if any."""
        points = self._points.get(name)
        if points is None:
            return np.empty(0)
        line = self._course.line
        nearest = np.clip(np.searchsorted(line[:, 2], points[:, 2]), 0, len(line) - 1)
        for _ in range(2):  # along a slanted line the nearest row is not the one of the same height
            away = points - line[nearest]
            along = (away * self._course.tangent[nearest]).sum(axis=1)
            nearest = np.clip(np.rint(nearest + along / STEP_MM).astype(int), 0, len(line) - 1)
        away = points - line[nearest]
        along = (away * self._course.tangent[nearest]).sum(axis=1)
        rows = nearest + along / STEP_MM
        if near_axis:
            beside = np.linalg.norm(away - along[:, None] * self._course.tangent[nearest], axis=1)
            if (beside <= _NEAR_AXIS_MM).sum() >= _FEW_VOXELS:
                rows = rows[beside <= _NEAR_AXIS_MM]
        return rows

    def extents(self) -> dict[str, tuple[float, float]]:
        """The rows of inferior and superior endplate of every vertebra that is marked."""
        found = {}
        for level in LEVELS:
            rows = self.rows(f"vertebra_{level}", near_axis=True)
            if len(rows):
                low, high = np.percentile(rows, (3, 97))  # tilted endplates, and what was painted a voxel too far
                found[level] = float(low) - self._half_slice, float(high) + self._half_slice
        return found

    def endplates(self) -> dict[str, float]:
        """The row of the inferior endplate of every vertebra of which it is known; not of S1, and not at the edge."""
        found = {name: low for name, (low, _) in self.extents().items() if name != "S1" and low > 1}
        chosen = self._points.get("l3_slice")
        if chosen is not None:  # wherever on the slice the mark is: the slice counts, where it crosses the spine
            line = self._course.line
            found["L3"] = float(np.interp(np.median(chosen[:, 2]), line[:, 2], np.arange(len(line))))
        return found

    def superior_endplates(self) -> list[float]:
        """The rows of the superior endplates of the vertebrae that are marked, where they are in view."""
        return [high for _, high in self.extents().values() if high < len(self._course) - 2]

    @property
    def has_landmarks(self) -> bool:
        """Whether ribs or crests are marked, as by who marks all that the schema asks for."""
        return bool({"last_rib", "iliac_crest"} & set(self._points))

    def rib_length_mm(self) -> float:
        """Of the longer of the two last ribs, from its root to its tip; 0 where none is marked."""
        points = self._points.get("last_rib", np.empty((0, 3)))
        beside = self._beside(points)
        return max((_length_mm(points[side], beside[side]) for side in (beside < 0, beside >= 0)), default=0.0)

    def rib_root_row(self) -> float:
        """Where the last ribs come from the spine."""
        rows = self.rows("last_rib")
        away = np.abs(self._beside(self._points["last_rib"]))
        return float(np.median(rows[away <= max(_RIB_ROOT_MM, away.min() + 5.0)]))

    def _beside(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(m,) mm to the right of the spine at the height of each point."""
        line = self._course.line
        return points[:, 0] - np.interp(points[:, 2], line[:, 2], line[:, 0])  # type: ignore[no-any-return]


def _length_mm(points: npt.NDArray[np.float64], beside: npt.NDArray[np.float64]) -> float:
    """From the middle of the end near the spine to that of the far end, and half the thickness of both slabs more."""
    if not len(points):
        return 0.0
    away = np.abs(beside)
    near, far = points[away <= away.min() + _RIB_END_MM], points[away >= away.max() - _RIB_END_MM]
    return float(np.linalg.norm(far.mean(axis=0) - near.mean(axis=0))) + _RIB_END_MM


def _identities(n: int, inferior: dict[str, float], marks: _Marks) -> npt.NDArray[np.int8]:
    identity = np.full(n, UNKNOWN, np.int8)
    known = [level for level in LEVELS if level in inferior]
    margin = _AROUND_ENDPLATE_MM / STEP_MM

    def own(level: str, low: float, high: float) -> None:
        identity[max(0, int(np.ceil(low))) : max(0, int(np.ceil(high)))] = IDENTITIES.index(level)

    extents = marks.extents()
    for level, low in inferior.items():
        above, below = _neighbours(level, known, extents)
        own(level, low, inferior[above] if above else extents.get(level, (low, low + margin))[1])
        if below is None and level == "L3" and "L4" not in extents:
            own("L4", low - margin, low)  # the chosen slice alone
    if "S1" in extents:
        low, high = extents["S1"]
        lumbar = [inferior[level] for level in ("L6", "L5", "L4") if level in inferior]
        # With the disc above it; where the next vertebra is not marked, what is above S1 is not known.
        own("S1", low, min(lumbar) if lumbar and min(lumbar) - high <= _WIDEST_DISC_MM / STEP_MM else high)
        own("below", 0, low)
    if "T1" in extents:
        own("above", extents["T1"][1] + margin / 3, n)
    for level, (low, high) in extents.items():
        if level not in inferior and level != "S1":  # its lower end is out of view
            own(level, low, high)
    return identity


def _neighbours(level: str, known: list[str], extents: dict[str, tuple[float, float]]) -> tuple[str | None, str | None]:
    """The vertebra right above, if its inferior endplate is known, and the one right below, if it is marked."""
    place = LEVELS.index(level)
    above = LEVELS[place - 1] if place and LEVELS[place - 1] in known else None
    lower = [name for name in LEVELS[place + 1 :] if name in extents]
    return above, lower[0] if lower else None


def _within(n: int, extents: Iterable[tuple[float, float]]) -> npt.NDArray[np.bool_]:
    """The rows of vertebrae that are marked as a whole, and of the discs above them."""
    rows = np.arange(n)
    within = np.zeros(n, bool)
    for low, high in extents:
        within |= (rows >= low) & (rows <= high + _AROUND_ENDPLATE_MM / STEP_MM / 2)
    return within


def _endplates(n: int, places: Iterable[float], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    rows = np.arange(n)
    heat = np.where(known, 0.0, np.nan)
    for row in places:
        away = (rows - row) * STEP_MM
        near = np.abs(away) <= _AROUND_ENDPLATE_MM
        bell = np.exp(-0.5 * (away / _ENDPLATE_SPREAD_MM) ** 2)
        heat[near] = np.fmax(heat[near], bell[near])
    return heat.astype(np.float32)


def _ribs(identity: npt.NDArray[np.int8], marks: _Marks) -> npt.NDArray[np.int8]:
    rib = np.full(len(identity), UNKNOWN, np.int8)
    length = marks.rib_length_mm()
    if not length:
        return rib
    row = int(np.clip(round(marks.rib_root_row()), 0, len(identity) - 1))
    carrier = identity[row]
    if carrier in (UNKNOWN, 0, len(IDENTITIES) - 1):
        return rib
    known = identity != UNKNOWN
    rib[known & (identity > carrier)] = RIB.index("none")
    rib[known & (identity < carrier) & (identity > 0)] = RIB.index("normal")
    rib[identity == carrier] = RIB.index("normal" if length >= RIB_COUNTS_FROM_MM else "short")
    return rib


def _crests(n: int, marks: _Marks) -> npt.NDArray[np.float32]:
    rows = marks.rows("iliac_crest")
    if not len(rows):
        return np.full(n, np.nan, np.float32)
    away = (np.arange(n) - np.median(rows)) * STEP_MM
    return np.exp(-0.5 * (away / _CREST_SPREAD_MM) ** 2).astype(np.float32)  # type: ignore[no-any-return]


def _transitional(identity: npt.NDArray[np.int8], marks: _Marks) -> npt.NDArray[np.int8]:
    """Known where the label marks such a vertebra; or both sides of the junction, by who marks more than vertebrae."""
    found = np.full(len(identity), UNKNOWN, np.int8)
    extents = marks.extents()
    rows = marks.rows("transitional_vertebra")
    if marks.has_landmarks and "S1" in extents and {"L4", "L5", "L6"} & set(extents):
        found[identity != UNKNOWN] = 0
    if len(rows):
        row = int(np.clip(round(float(np.median(rows))), 0, len(identity) - 1))
        if identity[row] != UNKNOWN:
            found[identity == identity[row]] = 1
    return found
