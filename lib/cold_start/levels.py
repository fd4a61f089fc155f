"""The vertebral levels of a CT and the slice through the inferior endplate of L3, without a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lib.anatomy.levels import FOOT_TO_HEAD
from lib.cold_start.spine_axis import find_axis
from lib.cold_start.spine_discs import Disc, find_discs, spine_range
from lib.cold_start.spine_landmarks import find_landmarks
from lib.cold_start.spine_numbering import L3_L4, Numbering, number_discs
from lib.cold_start.spine_profile import STEP_MM, profile_along
from lib.images.ct import CTImage

NOT_CHECKED = "The image has one slice, so its vertebral level was not checked."
NO_SPINE = "No spine was found in the image."
TOO_FEW = "Too few vertebrae are in view to tell their level."
NO_LANDMARK = "Neither ribs nor iliac crests nor the sacrum are seen clearly, so the vertebrae cannot be numbered."
NO_L3 = "The lower endplate of L3 does not seem to be in the image"

_LEAST_LENGTH_MM = 30.0
_LEAST_PROBABILITY = 0.5
_LEAST_IF_CONTRADICTED = 0.65
_LEAST_CLEARNESS = 0.4
_WORTH_NAMING = 0.05
_ONE_LANDMARK_ONLY = 0.75
_MOST_CERTAIN = 0.99
_FEW_VERTEBRAE = 3
_LUMBAR_COUNT = 5


@dataclass(frozen=True, kw_only=True)
class VertebralLevel:
    """One vertebra in view.

    Attributes:
        name: such as "L3".
        superior: the superior endplate at the centre of the body as a slice position along the foot-to-head axis of
            ``CTImage.canonical()`` (0 = lowest slice, fractions between slices); ``None`` where it is out of view.
        inferior: the inferior endplate, in the same way.
        superior_mm: the superior endplate in mm above the lowest slice.
        inferior_mm: the inferior endplate in mm above the lowest slice.
    """

    name: str
    superior: float | None
    inferior: float | None
    superior_mm: float | None
    inferior_mm: float | None


@dataclass(frozen=True, kw_only=True)
class SpineLevels:
    """What is known of the levels of one image.

    Attributes:
        levels: the vertebrae in view from head to foot; empty where they cannot be numbered.
        l3_slice: the slice through the inferior endplate of L3 (Ha 2021) along the foot-to-head axis of
            ``CTImage.canonical()``, 0 = lowest; ``None`` where it cannot be told.
        confidence: 0 to 1.
        candidates: what else could be L3: the reading in words and its slice, the likeliest first.
        warnings: plain sentences that say what speaks against the answer.
        variants: what is unusual about the spine, in the terms of Ha 2021; a trained detector tells them.
        convention: how the vertebrae were counted, as one sentence; "" where they were not.
        model_version: of the detector, ``None`` for the landmarks of the cold start.
        l3_by_fold: where each fold of the detector alone finds the inferior endplate of L3, mm above the lowest slice;
            ``None`` where it does not.
        centres_mm: (n, 3) the line through the vertebral bodies from foot to head, mm from the first voxel of
            ``CTImage.canonical()`` along x, y, z; ``None`` where no levels are named.
    """

    levels: tuple[VertebralLevel, ...]
    l3_slice: int | None
    confidence: float
    candidates: tuple[tuple[str, int], ...] = ()
    warnings: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    convention: str = ""
    model_version: str | None = None
    l3_by_fold: tuple[float | None, ...] = ()
    centres_mm: npt.NDArray[np.floating] | None = field(default=None, compare=False, repr=False)


def find_levels(image: CTImage) -> SpineLevels:
    """Find the vertebral levels of a CT from its bones.

    Args:
        image: a volume or a single slice in any orientation, HU. A single slice is taken as the L3 slice, with the
            warning that nothing was checked.

    Returns:
        The levels, and the slice of the inferior endplate of L3 or ``None``.
    """
    upright = image.canonical()
    slices, slice_mm = upright.shape[2], float(upright.spacing[2])
    if slices == 1:
        return SpineLevels(levels=(), l3_slice=0, confidence=0.0, warnings=(NOT_CHECKED,))
    if not shows_a_spine(upright):
        return _cannot_tell(TOO_FEW)
    axis = find_axis(upright)
    profile = profile_along(upright, axis)
    spine = spine_range(profile.strength, STEP_MM)
    if spine is None:
        return _cannot_tell(NO_SPINE)
    discs = find_discs(profile, *spine)
    if len(discs) < 2 or np.median([disc.clearness for disc in discs]) < _LEAST_CLEARNESS:
        return _cannot_tell(TOO_FEW)
    numbering = number_discs(discs, find_landmarks(axis, profile, *spine))
    answer = _answer(discs, numbering, slices=slices, slice_mm=slice_mm)
    return replace(answer, centres_mm=np.stack([axis.x, axis.y, axis.z], axis=1))


def shows_a_spine(upright: CTImage) -> bool:
    """Whether an image in canonical order is long enough for a few vertebrae."""
    return upright.shape[2] > 1 and upright.shape[2] * float(upright.spacing[2]) >= _LEAST_LENGTH_MM


def _cannot_tell(*warnings: str, candidates: tuple[tuple[str, int], ...] = ()) -> SpineLevels:
    return SpineLevels(levels=(), l3_slice=None, confidence=0.0, candidates=candidates, warnings=warnings)


def _answer(discs: Sequence[Disc], numbering: Numbering, *, slices: int, slice_mm: float) -> SpineLevels:
    evidence = (numbering.from_sacrum, numbering.from_crests, numbering.from_ribs)
    known = [index for index in evidence if index is not None]
    if not known:
        return _cannot_tell(NO_LANDMARK)
    order = np.argsort(numbering.probability)[::-1]
    best = numbering.first + int(order[0])
    probability = float(numbering.probability[order[0]])

    def l3_slice(l5_s1: int) -> int | None:
        at = l5_s1 + L3_L4
        if not 0 <= at < len(discs):
            return None
        return int(np.clip(round(discs[at].endplate_above_z / slice_mm), 0, slices - 1))

    likely = [numbering.first + int(i) for i in order if numbering.probability[i] > _WORTH_NAMING]
    candidates = tuple(
        (_reading(index, numbering), found)
        for index in likely
        if (found := l3_slice(index)) is not None and (len(likely) > 1)
    )
    levels = _levels(discs, best, slice_mm)
    chosen = l3_slice(best)
    if chosen is None:
        return SpineLevels(
            levels=levels if probability > _LEAST_PROBABILITY else (),
            l3_slice=None,
            confidence=0.0,
            candidates=candidates,
            warnings=(f"{NO_L3}{_in_view(levels) if probability > _LEAST_PROBABILITY else ''}.",),
        )
    contradiction = any(abs(index - best) > 1 for index in known) or (best not in known)
    if probability < (_LEAST_IF_CONTRADICTED if contradiction else _LEAST_PROBABILITY):
        return _cannot_tell(*_warnings(discs, numbering, best), candidates=candidates)
    agreeing = sum(index == best for index in known)
    confidence = min(_MOST_CERTAIN, probability * (1.0 if agreeing > 1 else _ONE_LANDMARK_ONLY))
    return SpineLevels(
        levels=levels,
        l3_slice=chosen,
        confidence=round(confidence, 3),
        candidates=candidates,
        warnings=_warnings(discs, numbering, best),
    )


def _levels(discs: Sequence[Disc], l5_s1: int, slice_mm: float) -> tuple[VertebralLevel, ...]:
    """The vertebrae between and beside the discs, from head to foot."""
    levels = []
    for index in range(-1, len(discs)):
        # The vertebra above disc number ``index``; S1 lies below the disc L5/S1.
        place = index + 1 - l5_s1
        if not 0 <= place < len(FOOT_TO_HEAD):
            continue
        inferior = discs[index].endplate_above_z if index >= 0 else None
        superior = discs[index + 1].endplate_below_z if index + 1 < len(discs) else None
        levels.append(
            VertebralLevel(
                name=FOOT_TO_HEAD[place],
                superior=None if superior is None else superior / slice_mm,
                inferior=None if inferior is None or place == 0 else inferior / slice_mm,
                superior_mm=superior,
                inferior_mm=None if place == 0 else inferior,
            )
        )
    return tuple(levels[::-1])


def _in_view(levels: tuple[VertebralLevel, ...]) -> str:
    return f": it shows about {levels[0].name} to {levels[-1].name}" if levels else ""


def _reading(l5_s1: int, numbering: Numbering) -> str:
    sources = [
        name
        for name, index in (
            ("the sacrum", numbering.from_sacrum),
            ("the iliac crests", numbering.from_crests),
            ("the lowest ribs", numbering.from_ribs),
        )
        if index == l5_s1
    ]
    return f"L3 counted from {' and '.join(sources)}" if sources else "L3 if the count is one off"


def _warnings(discs: Sequence[Disc], numbering: Numbering, best: int) -> tuple[str, ...]:
    warnings = []
    sacrum, crests, ribs = numbering.from_sacrum, numbering.from_crests, numbering.from_ribs
    if len(discs) - 1 < _FEW_VERTEBRAE:
        warnings.append(f"Few vertebrae are in view ({len(discs) - 1} whole ones), so the count is uncertain.")
    if sacrum is None and crests is None:
        warnings.append("No pelvis is in view: the vertebrae are counted down from the lowest ribs alone.")
    elif sacrum is None and ribs is None:
        warnings.append(
            "Neither the sacrum nor the lowest ribs are seen clearly: the level rests on the iliac crests, which lie a "
            "level higher or lower in some people."
        )
    elif ribs is None:
        warnings.append("The lowest ribs are not seen clearly: the vertebrae are counted up from the pelvis alone.")
    if sacrum is not None and ribs is not None and abs(sacrum - ribs) == 1:
        warnings.append(
            f"Between the lowest ribs and the sacrum lie {_LUMBAR_COUNT + ribs - sacrum} vertebrae instead of "
            f"{_LUMBAR_COUNT}: a lumbar variant, or one of the two was misread."
        )
    elif sacrum is not None and ribs is not None and sacrum != ribs:
        warnings.append("The ribs do not agree with the sacrum; they were probably misread.")
    elif ribs is not None and sacrum is None and crests is not None and ribs != crests:
        warnings.append("The count from the lowest ribs and the height of the iliac crests do not agree.")
    elif sacrum is not None and crests is not None and abs(sacrum - crests) > 1:
        warnings.append("The height of the iliac crests does not agree with the sacrum.")
    if best not in (sacrum, crests, ribs):
        warnings.append("No single landmark confirms the level.")
    return tuple(warnings)
