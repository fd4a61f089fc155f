"""Volumes and attenuation of the muscles of hip and thigh: by muscle, by group and by side (Kim 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.anatomy.schemas import ANATOMICAL_STRUCTURE, MUSCLE_GROUPS, THIGH_MUSCLES, LabelSchema, Structure
from lib.anatomy.thigh import PLACES
from lib.images import CTImage
from lib.measures.composition import RegionMeasurement, measure
from lib.measures.sides import Side, Sides, find_sides, misplaced
from lib.measures.thigh_view import view_warnings

NO_HEIGHT = "The height is not known, so there are no volumes by height squared (params.height_m)."
_SHOWN = tuple(THIGH_MUSCLES.shown)
_MUSCLES = tuple(s.name for s in THIGH_MUSCLES if s.is_muscle)
_BONES = tuple(s.name for s in THIGH_MUSCLES if not s.is_muscle)
_COMPARTMENT = "muscle_compartment"
_ON_RIGHT = len(_SHOWN)
_SLIVER = 0.05
_BORDER_MM = 10.0
"""What is less than this share of a muscle, and no farther beyond the midline in the mean, is its border."""
_PAIRED_ENOUGH = 3
_JOINED = "iliopsoas"
_PARTS = ("psoas_major", "iliacus")

# Every structure twice, so that one pass over the image measures both sides; as muscle, so that fat is counted in each.
_BY_SIDE = LabelSchema(
    THIGH_MUSCLES.task,
    tuple(
        Structure(f"{side} {s.name}", s.id + offset, s.color, s.code, "", ANATOMICAL_STRUCTURE, "others")
        for side, offset in ((Side.LEFT, 0), (Side.RIGHT, _ON_RIGHT))
        for s in _SHOWN
    ),
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is drawn of a muscle, a group or a bone.

    Attributes:
        volume_cm3: of all voxels as drawn.
        mean_hu: of the same.
        muscle_range_cm3: voxels of -29 to 150 HU.
        fat_cm3: voxels of -190 to -30 HU.
    """

    volume_cm3: float
    mean_hu: float
    muscle_range_cm3: float
    fat_cm3: float

    @classmethod
    def together(cls, sizes: Sequence[Size]) -> Size | None:
        """Several as one; ``None`` for none."""
        volume = sum(size.volume_cm3 for size in sizes)
        if not volume:
            return None
        return cls(
            volume_cm3=volume,
            mean_hu=sum(size.volume_cm3 * size.mean_hu for size in sizes) / volume,
            muscle_range_cm3=sum(size.muscle_range_cm3 for size in sizes),
            fat_cm3=sum(size.fat_cm3 for size in sizes),
        )


@dataclass(frozen=True, kw_only=True)
class Thigh:
    """The measurements of a label of hip and thigh.

    Attributes:
        sizes: of each structure and, under its name, each group: on each side, and under ``both`` as a whole; ``None``
            where nothing is drawn, which need not mean that nothing is there.
        sides: which sides were told apart; one where one leg is in view, none where they cannot be told.
        cut_off: structures that reach an end of the image, so that their volumes are those of what is in view.
        not_measured: what has no number, and why, in a sentence.
        warnings: further sentences on what is drawn.
        of_view: sentences on what the image does not show, or shows badly.
    """

    sizes: Mapping[str, Mapping[str, Size | None]]
    sides: tuple[Side, ...]
    cut_off: tuple[str, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    of_view: tuple[str, ...] = ()


def measure_thigh(image: CTImage, label: npt.NDArray) -> Thigh:
    """Measure every muscle, group and bone on each side.

    Args:
        image: in canonical order.
        label: ids of ``THIGH_MUSCLES`` and its guide, same shape and order.
    """
    sides = find_sides(image, label)
    coded = np.zeros(label.shape, np.uint8, order="F")
    middles: dict[tuple[str, Side], npt.NDArray[np.float64]] = {}
    together: set[Side] = set()
    for k in range(label.shape[2]):
        drawn = label[:, :, k]
        if not drawn.any():
            continue
        right = sides.right_of(k, (label.shape[0], label.shape[1]), image.spacing)
        coded[:, :, k] = np.where(right & (drawn > 0), drawn + _ON_RIGHT, drawn)
        together |= _note_middles(coded[:, :, k], k, sides, image.spacing, middles=middles)
    found = measure(image, coded, _BY_SIDE).regions
    by_side: dict[str, dict[Side, Size | None]] = {
        s.name: {side: _size(found[f"{side} {s.name}"]) for side in Side} for s in _SHOWN
    }
    warnings = _without_slivers(by_side, middles) if sides.known and sides.only is None else []
    told = _sides_told(sides)
    sizes = _with_groups(by_side, told)
    missing = _not_measured(sizes, sides)
    if sides.known and sides.only is None:
        warnings += _one_sided(sizes)
    if sides.known:
        warnings += _swapped(middles)
    warnings += [
        f"On the {side} iliopsoas and {' or '.join(_PARTS)} are drawn on the same slice; by the rule a slice holds one "
        "or the others."
        for side in Side
        if side in together
    ]
    cut_off = _cut_off(label)
    return Thigh(
        sizes=sizes,
        sides=told,
        cut_off=cut_off,
        not_measured=missing,
        warnings=tuple(warnings),
        of_view=view_warnings(image, label, sides, told, cut_off),
    )


def misdrawn(label: npt.NDArray, affine: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """What seems to lie on the wrong side or to bear another's name, where bones in the label tell left from right.

    Args:
        label: ids of ``THIGH_MUSCLES``, in any voxel order.
        affine: 4 x 4, voxel indices to RAS+ mm.

    Returns:
        Sentences, as in :attr:`Thigh.warnings`.
    """
    drawn = CTImage(hu=label.astype(np.int16), affine=affine).canonical()
    places = ndimage.find_objects(drawn.hu > 0, max_label=1)
    if not places or places[0] is None:
        return ()
    label = drawn.hu[places[0]]
    nothing_seen = CTImage(hu=np.full(label.shape, -1000, np.int16), affine=drawn.affine)
    found = measure_thigh(nothing_seen, label)
    return found.warnings if len(found.sides) == len(Side) else ()


def to_json(thigh: Thigh, height_m: float | None) -> dict[str, Any]:
    """Numbers for a client.

    Args:
        thigh: what was measured.
        height_m: of the patient, for volumes by height squared (Kim 2024); ``None`` leaves those out.
    """

    def numbers(names: Sequence[str]) -> dict[str, Any]:
        return {name: {side: _size_json(size, height_m) for side, size in thigh.sizes[name].items()} for name in names}

    return {
        "thigh": {
            "muscles": numbers(_MUSCLES),
            "groups": numbers([*MUSCLE_GROUPS, "all_muscles"]),
            "bones": numbers(_BONES),
            "muscle_compartment": numbers([_COMPARTMENT])[_COMPARTMENT],
            "sides": list(thigh.sides),
            "cut_off": list(thigh.cut_off),
        },
        "not_measured": dict(thigh.not_measured),
    }


def _size_json(size: Size | None, height_m: float | None) -> dict[str, float | None] | None:
    if size is None:
        return None
    mm3 = 1000 * size.volume_cm3
    return {
        "volume_mm3": round(mm3),
        "volume_cm3": round(size.volume_cm3, 2),
        "volume_mm3_per_m2": round(mm3 / height_m**2) if height_m else None,
        "mean_hu": round(size.mean_hu, 2),
        "muscle_range_volume_cm3": round(size.muscle_range_cm3, 2),
        "fat_volume_cm3": round(size.fat_cm3, 2),
    }


def _size(region: RegionMeasurement) -> Size | None:
    if region.volume_cm3 is None or region.muscle is None or region.attenuation.mean_hu is None:
        return None
    return Size(
        volume_cm3=region.volume_cm3,
        mean_hu=region.attenuation.mean_hu,
        muscle_range_cm3=region.muscle.in_range,
        fat_cm3=region.muscle.intramuscular_fat,
    )


def _note_middles(
    coded: npt.NDArray[np.uint8],
    k: int,
    sides: Sides,
    spacing: npt.NDArray[np.float64],
    *,
    middles: dict[tuple[str, Side], npt.NDArray[np.float64]],
) -> set[Side]:
    """Note where the muscles of a slice lie; gives the sides on which iliopsoas lies beside its parts."""
    i, j = np.nonzero(coded)
    values = coded[i, j]
    count = np.bincount(values, minlength=2 * _ON_RIGHT + 1)
    x, y = (
        np.bincount(values, (index + 0.5) * mm, minlength=len(count)) / np.maximum(count, 1)
        for index, mm in ((i, spacing[0]), (j, spacing[1]))
    )
    for name in _MUSCLES:
        for side, offset in ((Side.LEFT, 0), (Side.RIGHT, _ON_RIGHT)):
            value = THIGH_MUSCLES.ids[name] + offset
            if count[value]:
                place = middles.setdefault((name, side), np.full(sides.middles.shape, np.nan))
                outwards = 1 if side is Side.RIGHT else -1
                aside = (x[value], y[value]) - sides.middles[k]
                place[k] = outwards * float(aside @ sides.across), y[value]
    return {
        side
        for side, offset in ((Side.LEFT, 0), (Side.RIGHT, _ON_RIGHT))
        if count[THIGH_MUSCLES.ids[_JOINED] + offset]
        and any(count[THIGH_MUSCLES.ids[part] + offset] for part in _PARTS)
    }


def _without_slivers(
    by_side: dict[str, dict[Side, Size | None]], middles: Mapping[tuple[str, Side], npt.NDArray[np.float64]]
) -> list[str]:
    """Count, in place, what lies just beyond the midline with the side that it hangs on."""
    warnings = []
    for name in _MUSCLES:
        left, right = by_side[name][Side.LEFT], by_side[name][Side.RIGHT]
        if left is None or right is None:
            continue
        small, large = sorted((Side.LEFT, Side.RIGHT), key=lambda side: by_side[name][side].volume_cm3)  # type: ignore[union-attr]
        over = by_side[name][small]
        assert over is not None
        whole = Size.together([left, right])
        assert whole is not None
        beyond_mm = float(np.nanmean(middles[name, small][:, 0]))
        if over.volume_cm3 < _SLIVER * whole.volume_cm3 and beyond_mm < _BORDER_MM:
            by_side[name] = {small: None, large: whole}
            warnings.append(f"{name}: {over.volume_cm3:.1f} cm³ beyond the midline count with the {large} side.")
    return warnings


def _sides_told(sides: Sides) -> tuple[Side, ...]:
    if not sides.known:
        return ()
    return tuple(Side) if sides.only is None else (sides.only,)


def _with_groups(
    by_side: Mapping[str, Mapping[Side, Size | None]], told: tuple[Side, ...]
) -> dict[str, dict[str, Size | None]]:
    groups = {group: [s.name for s in THIGH_MUSCLES if s.group == group] for group in MUSCLE_GROUPS}
    members = {**{s.name: [s.name] for s in _SHOWN}, **groups, "all_muscles": list(_MUSCLES)}
    sizes: dict[str, dict[str, Size | None]] = {}
    for name, parts in members.items():
        drawn = {side: [size for part in parts if (size := by_side[part][side])] for side in Side}
        sizes[name] = {str(side): Size.together(drawn[side]) if side in told else None for side in Side}
        sizes[name]["both"] = Size.together([size for own in drawn.values() for size in own])
    return sizes


def _not_measured(sizes: Mapping[str, Mapping[str, Size | None]], sides: Sides) -> dict[str, str]:
    missing = {}
    absent = [name for name in _MUSCLES if sizes[name]["both"] is None]
    if len(absent) == len(_MUSCLES):
        missing["muscles"] = "No muscle is labelled by its name, so none has a volume."
    elif absent:
        missing["muscles"] = (
            f"Not labelled: {', '.join(absent)}; out of view or not drawn, which a label cannot tell. Groups and sums "
            "are those of the muscles that are."
        )
    if not sides.known:
        reason = "One leg is in view, and which one cannot be told without muscles on its inner and outer side."
        missing |= dict.fromkeys(Side, reason)
    elif sides.only is not None:
        other = Side.LEFT if sides.only is Side.RIGHT else Side.RIGHT
        missing[other] = f"Only one leg is in view, by its muscles the {sides.only} one."
    return missing


def _one_sided(sizes: Mapping[str, Mapping[str, Size | None]]) -> list[str]:
    """Muscles of one side only, where others are drawn on both."""
    paired = [name for name in _MUSCLES if sizes[name][Side.LEFT] and sizes[name][Side.RIGHT]]
    if len(paired) < _PAIRED_ENOUGH:
        return []
    return [
        f"{name} is drawn on the {side} side only, other muscles on both: check whether it lies on the wrong side, or "
        "is missing on the other."
        for name in _MUSCLES
        for side, other in ((Side.LEFT, Side.RIGHT), (Side.RIGHT, Side.LEFT))
        if sizes[name][side] and not sizes[name][other]
    ]


def _swapped(middles: Mapping[tuple[str, Side], npt.NDArray[np.float64]]) -> list[str]:
    opposite = {"lateral": "medial to", "anterior": "behind"}
    return [
        f"On the {side} {first} lies {opposite[direction]} {second}, where it does not belong: the names may be "
        "swapped, or one of them drawn on the wrong side."
        for first, second, side, direction in misplaced(middles, PLACES)
    ]


def _cut_off(label: npt.NDArray) -> tuple[str, ...]:
    """What reaches an end of the image."""
    ends = [label[0], label[-1], label[:, 0], label[:, -1], label[:, :, 0], label[:, :, -1]]
    values = {int(value) for end in ends for value in np.unique(end)}
    return tuple(s.name for s in THIGH_MUSCLES if s.id in values)
