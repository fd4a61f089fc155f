"""What a label of body composition says of the whole body: torso, waist, surface, and the indices of Lee 2021."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.images import CTImage
from lib.images.arms import without_arms
from lib.images.field_of_view import along_edge_mm
from lib.measures.body_map import BodyMap
from lib.measures.skin import circumference_cm, surface_m2
from lib.measures.torso import find_mid_thigh, find_neck
from lib.measures.waist import BonyMargins, find_margins

_ID = BODY_COMPOSITION.ids
_FAT = ("abdominal_visceral_fat", "subcutaneous_fat")
_SHOWN_WHERE = ("bone", "central_nervous_system")
"""The classes by which torso and waist are found."""
_SMALLEST_TRUNK_CM2 = 300.0
_BELOW_SPINE_MM = 100.0
_CUT_MM = 15.0
_LOOKED_AT = 9
"""Slices of the waist that are searched for parts beyond the field of view."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Slices in canonical order, both inclusive."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many slices."""
        return self.last - self.first + 1

    def in_file(self, image: CTImage) -> list[int]:
        """The same in the order of the image's own file, the lower number first."""
        return sorted(image.slice_from_canonical(index) for index in (self.first, self.last))


@dataclass(frozen=True, kw_only=True)
class Waist:
    """The waist, without arms.

    Attributes:
        slices: from below the last rib to above the iliac crests.
        length_cm: its height.
        area_cm2: class to its average area, which is volume over length; ``None`` where it cannot be told.
        circumference_cm: half-way between rib and crest, or ``None``.
    """

    slices: Range
    length_cm: float
    area_cm2: Mapping[str, float | None]
    circumference_cm: float | None

    @property
    def body_fat_cm2(self) -> float | None:
        """Visceral and subcutaneous fat together."""
        return _sum_of(self.area_cm2)


@dataclass(frozen=True, kw_only=True)
class Torso:
    """The torso without arms, as far as it is in view.

    Attributes:
        slices: from mid-thigh to the neck, or as far as the image goes.
        missing: the ends that are not in view: ``neck``, ``mid-thigh``.
        volume_cm3: class to its volume; ``None`` where the label holds none.
    """

    slices: Range
    missing: tuple[str, ...]
    volume_cm3: Mapping[str, float | None]

    @property
    def body_fat_cm3(self) -> float | None:
        """Visceral and subcutaneous fat together."""
        return _sum_of(self.volume_cm3)


@dataclass(frozen=True, kw_only=True)
class WholeBody:
    """The measurements of a label of body composition beyond those of its classes.

    Attributes:
        torso: ``None`` where it is not in view.
        waist: ``None`` where it is not in view.
        surface_m2: of the skin in view, or ``None``.
        not_measured: what could not be measured, and why, in a sentence.
        warnings: further sentences.
    """

    torso: Torso | None = None
    waist: Waist | None = None
    surface_m2: float | None = None
    not_measured: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def measure_whole_body(image: CTImage, label: npt.NDArray) -> WholeBody:
    """Find torso and waist in a label, and measure them.

    Args:
        image: in canonical order.
        label: ids of ``BODY_COMPOSITION``, same shape and order.
    """
    slice_mm = 1000 * image.voxel_cm3 / (100 * image.slice_area_cm2())  # across the slices, also where they are oblique
    spacing = np.array([*image.spacing[:2], slice_mm])
    counts = _counts(label)
    missing: dict[str, str] = {
        structure.name: f"The label holds no {structure.name}: it is not in view, or was not drawn."
        for structure in BODY_COMPOSITION
        if not counts[structure.id]
    }
    surface = surface_m2(label, spacing, _ID["skin"])
    if surface is None:
        missing["body_surface"] = "There is no body surface without skin in the label, on more than one slice."
    absent = [name for name in _SHOWN_WHERE if name in missing]
    if absent:
        reason = f"cannot be found: the label holds no {' and no '.join(absent)}."
        missing |= {"torso": f"The torso {reason}", "waist": f"The waist {reason}"}
        return WholeBody(surface_m2=surface, not_measured=missing)
    body = BodyMap.of(label, spacing, _ID)
    margins = find_margins(body)
    warnings = []
    if len(margins.crests) == 1:
        warnings.append("Only one hip bone is in view up to its crest; waist and torso go by that one.")
    waist = _waist(image, label, body, margins, missing)
    torso = _torso(image, label, body, margins.crest, missing)
    return WholeBody(
        torso=torso, waist=waist, surface_m2=surface, not_measured=missing, warnings=(*warnings, *_cut_off(body))
    )


def _counts(label: npt.NDArray) -> npt.NDArray[np.int64]:
    """Voxels of each value, counted slice by slice: a count of all at once takes eight times the label's memory."""
    total = np.zeros(len(BODY_COMPOSITION) + 1, np.int64)
    for k in range(label.shape[2]):
        total += np.bincount(label[:, :, k].ravel(order="K"), minlength=len(total))
    return total


def _waist(
    image: CTImage, label: npt.NDArray, body: BodyMap, margins: BonyMargins, missing: dict[str, str]
) -> Waist | None:
    rib, crest = margins.last_rib, margins.crest
    if rib is None or crest is None:
        ends = " and ".join(name for name, at in (("the last rib", rib), ("the iliac crest", crest)) if at is None)
        missing["waist"] = f"The waist is not in view as a whole: {ends} was not found in the label."
        return None
    slices = Range(first=body.slice_of(crest) + 1, last=body.slice_of(rib) - 1)
    if slices.count < 1:
        missing["waist"] = "There is no waist: the last rib reaches down to the iliac crest."
        return None
    length_mm = slices.count * float(1000 * image.voxel_cm3 / (100 * image.slice_area_cm2()))
    counts = _without_arms(label, body, slices).sum(axis=0)
    area: dict[str, float | None] = {}
    cut = _cut_at_waist(image, label, body, slices)
    for structure in BODY_COMPOSITION:
        name = structure.name
        voxels = int(counts[structure.id])  # no NumPy number: JSON would not take what follows from it
        area[name] = voxels * image.voxel_cm3 / (length_mm / 10) if voxels else None
        if name in cut:
            area[name] = None
            missing[f"waist_{name}"] = f"The field of view cuts off {name} at the waist, so it has no area there."
    middle = (slices.first + slices.last) // 2
    around = None
    if counts[_ID["skin"]] and "skin" not in cut and not cut & {"subcutaneous_fat", "muscle"}:
        outline = ndimage.binary_fill_holes(label[:, :, middle] > 0)
        x, y, _ = image.spacing
        around = circumference_cm(without_arms(outline, (float(x), float(y))), (float(x), float(y)))
    else:
        missing["waist_circumference"] = "There is no waist circumference without all of the skin in view around it."
    return Waist(slices=slices, length_cm=length_mm / 10, area_cm2=area, circumference_cm=around)


def _torso(
    image: CTImage,
    label: npt.NDArray,
    body: BodyMap,
    crest: int | None,
    missing: dict[str, str],
) -> Torso | None:
    neck = find_neck(body)
    thigh = find_mid_thigh(body, crest) if crest is not None else None
    spine = np.flatnonzero(np.isfinite(body.spine[:, 0]))
    sections_cm2 = body.trunk[:, :, spine].sum(axis=(0, 1)) * body.cell_cm2
    if sections_cm2.max(initial=0) < _SMALLEST_TRUNK_CM2 or (crest is None and neck is None and body.head.any()):
        missing["torso"] = "No torso is in view."
        return None
    if crest is None and body.mm(spine[0]) > _BELOW_SPINE_MM:
        missing["torso"] = "Where the torso ends cannot be told: legs are in view, but the iliac crest is not."
        return None
    if neck is None and body.head.any():
        missing["torso"] = "Where the torso ends cannot be told: brain is in view, but no neck was found."
        return None
    first = 0 if thigh is None else body.slice_of(thigh)
    last = label.shape[2] - 1 if neck is None else body.slice_of(neck)
    ends = tuple(name for name, at in (("neck", neck), ("mid-thigh", thigh)) if at is None)
    slices = Range(first=first, last=last)
    volume = _without_arms(label, body, slices).sum(axis=0) * image.voxel_cm3
    if ends:
        missing["torso_indices"] = (
            f"The torso is not in view as a whole ({' and '.join(ends)} missing): its volumes are those of the part in "
            "view, and there are no indices of them."
        )
    return Torso(
        slices=slices,
        missing=ends,
        volume_cm3={s.name: None if s.name in missing else float(volume[s.id]) for s in BODY_COMPOSITION},
    )


def _without_arms(label: npt.NDArray, body: BodyMap, slices: Range) -> npt.NDArray[np.int64]:
    """(slices, classes + 1): voxels of each value beside which no arm lies."""
    size = len(BODY_COMPOSITION) + 1
    counts = np.empty((slices.count, size), np.int64)
    for row, k in enumerate(range(slices.first, slices.last + 1)):
        arms = body.arms_on(k, label.shape[:2])
        kept = label[:, :, k].ravel(order="K") if arms is None else label[:, :, k][~arms]
        counts[row] = np.bincount(kept, minlength=size)
    return counts


def _cut_at_waist(image: CTImage, label: npt.NDArray, body: BodyMap, slices: Range) -> set[str]:
    """The classes that go on beyond the field of view at the waist."""
    cut: set[str] = set()
    plane = (float(image.spacing[0]), float(image.spacing[1]))
    step = max(1, slices.count // _LOOKED_AT)
    for k in range(slices.first, slices.last + 1, step):
        arms = body.arms_on(k, label.shape[:2])
        trunk = label[:, :, k] if arms is None else np.where(arms, 0, label[:, :, k])
        if along_edge_mm(image.hu[:, :, k], trunk > 0, plane) <= _CUT_MM:
            continue
        cut |= {s.name for s in BODY_COMPOSITION if along_edge_mm(image.hu[:, :, k], trunk == s.id, plane) > _CUT_MM}
    return cut


def _cut_off(body: BodyMap) -> tuple[str, ...]:
    """Whether the body reaches the sides of the image."""
    x, y, _ = body.spacing
    along = max(body.body[[0, -1]].sum(axis=1).max() * y, body.body[:, [0, -1]].sum(axis=0).max() * x)
    if along <= _CUT_MM:
        return ()
    return (
        "Part of the body lies beyond the sides of the image (an arm or a flank): volumes and the body surface are "
        "those of what is in view.",
    )


def _sum_of(sizes: Mapping[str, float | None]) -> float | None:
    """Both kinds of fat together; ``None`` where one of them is not known."""
    known = [size for name in _FAT if (size := sizes[name]) is not None]
    return sum(known) if len(known) == len(_FAT) else None


def to_json(whole: WholeBody, image: CTImage) -> dict[str, Any]:
    """Numbers for a client, with slices in the order of the image's own file.

    Args:
        whole: what was measured.
        image: in the order of its file.
    """
    return {
        "torso": None
        if whole.torso is None
        else {
            "slices": whole.torso.slices.in_file(image),
            "complete": not whole.torso.missing,
            "missing": list(whole.torso.missing),
            "volume_cm3": _rounded({**whole.torso.volume_cm3, "body_fat": whole.torso.body_fat_cm3}),
        },
        "waist": None
        if whole.waist is None
        else {
            "slices": whole.waist.slices.in_file(image),
            "length_cm": round(whole.waist.length_cm, 2),
            "area_cm2": _rounded({**whole.waist.area_cm2, "body_fat": whole.waist.body_fat_cm2}),
            "circumference_cm": _rounded({"": whole.waist.circumference_cm})[""],
        },
        "body_surface_m2": None if whole.surface_m2 is None else round(whole.surface_m2, 3),
        "not_measured": dict(whole.not_measured),
    }


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 2) for name, value in values.items()}
