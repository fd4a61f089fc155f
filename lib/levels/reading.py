"""What a numbered spine means: the levels, the slice of L3, variants, and how sure all of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lib.cold_start.levels import NO_L3, NO_SPINE, TOO_FEW, SpineLevels, VertebralLevel
from lib.levels.decoding import Numbering
from lib.levels.ensemble import Rows
from lib.levels.targets import LEVELS, RIB
from lib.levels.views import STEP_MM

LUMBARISATION, SACRALISATION = "lumbarisation of S1", "sacralisation of the last lumbar vertebra"
APLASIA, HYPOPLASIA, RUDIMENT = "no ribs of T12", "short ribs of T12 (below 3.8 cm)", "rudimentary ribs of L1"
FOUR, SIX = "four lumbar vertebrae", "six lumbar vertebrae"

_NEAR_MM = 10.0
_LEAST_PROBABILITY = 0.5
_LEAST_TO_ANSWER = 0.6
_WORTH_NAMING = 0.05
_WORTH_A_WARNING = 0.1
_FEWEST = 3
_CLEAR = 0.5
_SEEN_ROWS = 8
_MOST_CERTAIN = 0.99
_BY_LOOK_ALONE = 0.75
"""The most that is said where nothing to count from is in view; as much as the cold start says by one landmark."""


@dataclass(frozen=True)
class _Segment:
    """A vertebra of the likeliest numbering, rows from foot to head."""

    name: str
    low: int
    high: int


def read_levels(rows: Rows, z_mm: npt.NDArray[np.float64], *, slices: int, slice_mm: float) -> SpineLevels:
    """Say which vertebrae are in view, where L3 ends, and what is unusual.

    Args:
        rows: what the networks say.
        z_mm: (n,) height of the rows above the lowest slice.
        slices: of the image.
        slice_mm: from one to the next.
    """
    found = _read(rows, z_mm, slices=slices, slice_mm=slice_mm)
    return replace(found, l3_by_fold=tuple(_l3_mm(l3, z_mm) for l3 in rows.l3_by_fold))


def _l3_mm(l3: npt.NDArray[np.float64], z_mm: npt.NDArray[np.float64]) -> float | None:
    return float(z_mm[int(l3.argmax())]) if l3.sum() > _LEAST_PROBABILITY else None


def _read(rows: Rows, z_mm: npt.NDArray[np.float64], *, slices: int, slice_mm: float) -> SpineLevels:
    spine = [_Segment(*each) for each in rows.numbering.path if each[0] in LEVELS]
    if not spine:
        return SpineLevels(levels=(), l3_slice=None, confidence=0.0, warnings=(NO_SPINE,))
    if len(spine) < _FEWEST or _whole_ones(spine, rows) < _FEWEST - 1:
        return SpineLevels(levels=(), l3_slice=None, confidence=0.0, warnings=(TOO_FEW,))
    levels = _levels(spine, rows, z_mm, slice_mm)
    places = _places(spine, rows.numbering)

    def slice_at(row: float) -> int:
        return int(np.clip(round(float(np.interp(row, np.arange(len(z_mm)), z_mm)) / slice_mm), 0, slices - 1))

    likely = sorted((place for place in places if place[2] > _WORTH_NAMING), key=lambda place: -place[2])
    readings = tuple(
        (f"with a probability of {mass:.0%}, the vertebra counted as {name}", slice_at(row))
        for name, row, mass in likely
    )
    best = likely[0] if likely else None
    if best is None or best[2] < _LEAST_TO_ANSWER:
        in_image = float(rows.numbering.endplate["L3"].sum())
        if in_image < _LEAST_PROBABILITY:
            said = f"{NO_L3}: it shows about {spine[-1].name} to {spine[0].name}."
            return SpineLevels(levels=levels, l3_slice=None, confidence=0.0, candidates=readings, warnings=(said,))
        said = "The view does not settle which vertebra is L3: the numbering is uncertain."
        return SpineLevels(levels=(), l3_slice=None, confidence=0.0, candidates=readings, warnings=(said,))
    _, row, mass = best
    agreeing = np.mean([_agrees(row, l3) for l3 in rows.l3_by_fold])
    most = _MOST_CERTAIN if _counts_from_something(spine, rows) else _BY_LOOK_ALONE
    return SpineLevels(
        levels=levels,
        l3_slice=slice_at(row),
        confidence=round(min(most, mass * float(agreeing)), 3),
        candidates=readings if len(readings) > 1 else (),
        warnings=(*_doubts(likely), *_warnings(spine, rows)),
        variants=_variants(spine, rows),
        convention=_convention(spine, ribs=_last_with_ribs(spine, rows) is not None),
    )


def _doubts(likely: Sequence[tuple[str, float, float]]) -> tuple[str, ...]:
    return tuple(
        f"The numbering is not sure: with a probability of {mass:.0%}, the vertebra counted as {name} is L3."
        for name, _, mass in likely[1:]
        if mass > _WORTH_A_WARNING
    )


def _levels(
    spine: Sequence[_Segment], rows: Rows, z_mm: npt.NDArray[np.float64], slice_mm: float
) -> tuple[VertebralLevel, ...]:
    """The vertebrae from head to foot with their endplates."""
    found = []
    last = len(z_mm)
    for segment in reversed(spine):
        inferior = _exactly(rows.endplate, segment.low) if segment.low > 0 and segment.name != "S1" else None
        half = (segment.low + segment.high) // 2
        superior = None
        if segment.high < last and segment.high > half:
            superior = _exactly(rows.superior, half + int(rows.superior[half : segment.high].argmax()))
        at = [None if row is None else float(np.interp(row, np.arange(last), z_mm)) for row in (superior, inferior)]
        found.append(
            VertebralLevel(
                name=segment.name,
                superior=None if at[0] is None else at[0] / slice_mm,
                inferior=None if at[1] is None else at[1] / slice_mm,
                superior_mm=at[0],
                inferior_mm=at[1],
            )
        )
    return tuple(found)


def _exactly(heat: npt.NDArray[np.float64], row: int) -> float:
    """The middle of the peak around a row, in fractions of rows."""
    around = np.arange(max(0, row - 2), min(len(heat), row + 3))
    return float((around * heat[around]).sum() / max(heat[around].sum(), 1e-9))


def _places(spine: Sequence[_Segment], numbering: Numbering) -> list[tuple[str, float, float]]:
    """For every inferior endplate in view: its vertebra, its row, and the probability that it is that of L3."""
    l3 = numbering.endplate["L3"]
    reach = round(_NEAR_MM / STEP_MM)
    places = []
    for segment in spine:
        if segment.low == 0 or segment.name == "S1":
            continue
        around = np.arange(max(0, segment.low - reach), min(len(l3), segment.low + reach + 1))
        mass = float(l3[around].sum())
        row = float((around * l3[around]).sum() / mass) if mass > _WORTH_NAMING else float(segment.low)
        places.append((segment.name, row, mass))
    return places


def _agrees(row: float, l3: npt.NDArray[np.float64]) -> bool:
    return bool(l3.sum() > _LEAST_PROBABILITY and abs(int(l3.argmax()) - row) * STEP_MM <= _NEAR_MM)


def _variants(spine: Sequence[_Segment], rows: Rows) -> tuple[str, ...]:
    """As Ha 2021 names them; only what is in view can be told."""
    by_name = {segment.name: segment for segment in spine}
    found = []
    if (t12 := _whole(by_name.get("T12"), rows)) is not None and (l1 := _whole(by_name.get("L1"), rows)) is not None:
        of_t12, of_l1 = (rows.rib[:, each.low : each.high].mean(axis=1) for each in (t12, l1))
        if of_l1[RIB.index("none")] < 1 - _CLEAR:
            found.append(RUDIMENT)
        kind = RIB[int(of_t12.argmax())]
        found += {"none": [APLASIA], "short": [HYPOPLASIA], "normal": []}[kind]
    if "S1" in by_name and "L1" in by_name:
        lumbar = [segment for segment in spine if segment.name.startswith("L")]
        found += {4: [FOUR], 6: [SIX]}.get(len(lumbar), [])
        for segment, name in ((by_name["S1"], LUMBARISATION), (lumbar[0], SACRALISATION)):
            if rows.transitional[segment.low : segment.high].mean() > _CLEAR:
                found.append(name)
    return tuple(found)


def _whole_ones(spine: Sequence[_Segment], rows: Rows) -> int:
    return sum(segment.low > 0 and segment.high < len(rows.endplate) for segment in spine)


def _whole(segment: _Segment | None, rows: Rows) -> _Segment | None:
    """A vertebra that is in view with its ribs, which leave it at its upper end."""
    if segment is None or segment.low == 0 or segment.high > len(rows.endplate) - _SEEN_ROWS:
        return None
    return segment


def _warnings(spine: Sequence[_Segment], rows: Rows) -> tuple[str, ...]:
    by_name = {segment.name: segment for segment in spine}
    warnings = []
    if (whole := _whole_ones(spine, rows)) < _FEWEST:
        warnings.append(f"Few vertebrae are in view ({whole} whole ones), so the count is uncertain.")
    ribbed = _last_with_ribs(spine, rows)
    if "S1" not in by_name and ribbed is None:
        said = "Neither the sacrum nor the lowest ribs are in view: the vertebrae are told by their look alone."
        return (*warnings, said)
    if "S1" not in by_name:
        warnings.append("The sacrum is not in view: the vertebrae are counted down from the ribs alone.")
    if ribbed is None:
        warnings.append("The lowest ribs are not in view: the vertebrae are counted up from the sacrum alone.")
    if ribbed is not None and "S1" in by_name:
        between = LEVELS.index("S1") - LEVELS.index(ribbed) - 1 - ("L6" not in by_name) - ("L5" not in by_name)
        if between != 5:
            warnings.append(
                f"Between the lowest ribs and the sacrum lie {between} vertebrae instead of 5: counted from above and "
                "from below, L3 is not the same."
            )
    return tuple(warnings)


def _counts_from_something(spine: Sequence[_Segment], rows: Rows) -> bool:
    return any(segment.name in {"S1", "T1"} for segment in spine) or _last_with_ribs(spine, rows) is not None


def _last_with_ribs(spine: Sequence[_Segment], rows: Rows) -> str | None:
    """The lowest vertebra that carries ribs that count, if the one below it is seen to carry none."""
    below_has_none = False
    for segment in spine:
        if segment.name == "S1" or segment.low == 0:
            continue
        counts = float(rows.rib[RIB.index("normal"), segment.low : segment.high].mean()) > _CLEAR
        if counts:
            return segment.name if below_has_none else None
        below_has_none = True
    return None


def _convention(spine: Sequence[_Segment], *, ribs: bool) -> str:
    names = {segment.name for segment in spine}
    if "T1" in names:
        return "Counted from the first thoracic vertebra down; T12 is the twelfth, whatever ribs it carries."
    if "S1" in names and ribs:
        return "Counted from the lowest ribs down and from the sacrum up, weighed against each other."
    if "S1" in names:
        return "Counted from the sacrum up; five lumbar vertebrae are assumed."
    if ribs:
        return "Counted from the lowest ribs down; twelve pairs of ribs are assumed."
    return "Told by the look of the vertebrae; no landmark to count from is in view."
