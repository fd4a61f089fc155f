"""Left and right in a label of hip and thigh, told by geometry: slice by slice, midway between what is paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.images import CTImage

_ID = THIGH_MUSCLES.ids
_PAIRED = ("femur", "iliac_bone")
_APART_MM = 30.0
"""Columns without a voxel between the bones of both sides."""
_SKIN_HU = -400.0
LIMB_CM2 = 40.0
"""What is smaller on a slice is no thigh."""
_ALIKE = 0.35
_STEEPEST = 0.35
_SMOOTHED_MM = 25.0
_BOTH_LEGS_MM = 260.0
"""Wider than this, a part of the body is no single thigh."""
STEP_MM = 3.0
"""Where the outline of the body is needed only roughly."""
_MEDIAL = ("gracilis", "adductor_longus", "adductor_brevis", "adductor_magnus", "pectineus", "semimembranosus")
_LATERAL = ("vastus_lateralis", "tensor_fasciae_latae", "biceps_femoris", "gluteus_medius", "gluteus_minimus")


class Side(StrEnum):
    """Of the patient."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Which side a voxel lies on.

    Attributes:
        middles: (slices, 2), x and y in mm from the corner of the image, of a point between left and right.
        across: (2,), unit vector in the slice from the patient's left to the right.
        only: the one side in view, where it is one leg; ``None`` where both are.
        known: whether left and right can be told apart at all.
    """

    middles: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]
    only: Side | None = None
    known: bool = True

    def right_of(self, k: int, shape: tuple[int, int], spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """(x, y): which pixels of a slice in canonical order are the patient's right."""
        if self.only is not None:
            return np.full(shape, self.only is Side.RIGHT)
        x, y = ((np.arange(n) + 0.5) * mm for n, mm in zip(shape, spacing[:2], strict=True))
        middle = self.middles[k]
        return (x - middle[0])[:, None] * self.across[0] + (y - middle[1])[None, :] * self.across[1] > 0  # type: ignore[no-any-return]


def find_sides(image: CTImage, label: npt.NDArray) -> Sides:
    """Tell left from right.

    Between the thigh bones, or the hip bones, or two legs, lies the middle; slices that show no pair take it from
    their neighbours. Without any pair, a body as wide as two legs is halved. One leg alone is told by which of its
    muscles lie medially.

    Args:
        image: in canonical order.
        label: ids of ``THIGH_MUSCLES``, same shape and order; the guide does not matter.
    """
    spacing = image.spacing
    step = max(1, int(STEP_MM / float(min(spacing[:2]))))
    coarse_mm = spacing[:2] * step
    slices = label.shape[2]
    pairs = np.full((slices, 2, 2), np.nan)
    limbs = np.full((slices, 2, 2), np.nan)
    extents = np.full((slices, 2, 2), np.nan)
    for k in range(slices):
        drawn = label[::step, ::step, k]
        if drawn.any():
            found = next(
                (pair for name in _PAIRED if (pair := _bones(drawn == _ID[name], coarse_mm)) is not None), None
            )
            if found is not None:
                pairs[k] = found
        two, extent = _legs(body_on_slice(image, k, step), coarse_mm)
        if two is not None:
            limbs[k] = two
        if extent is not None:
            extents[k] = extent
    for cue in (pairs, limbs):
        if np.isfinite(cue[:, 0, 0]).sum() >= min(3, slices):
            return Sides(middles=_smooth(cue.mean(axis=1), float(spacing[2])), across=_across(cue))
    widths = extents[:, 1, 0] - extents[:, 0, 0]
    if np.isfinite(widths).any() and np.nanmedian(widths) > _BOTH_LEGS_MM:
        return Sides(middles=_smooth(extents.mean(axis=1), float(spacing[2])), across=np.array([1.0, 0.0]))
    only = _single_leg(label, spacing)
    return Sides(middles=np.zeros((slices, 2)), across=np.array([1.0, 0.0]), only=only, known=only is not None)


def body_on_slice(image: CTImage, k: int, step: int) -> npt.NDArray[np.bool_]:
    """(x, y): what is body on every ``step``-th pixel of a slice, without blankets and other thin things."""
    return ndimage.binary_opening(image.hu[::step, ::step, k] > _SKIN_HU, np.ones((3, 3)))  # type: ignore[no-any-return]


def _bones(mask: npt.NDArray[np.bool_], spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Middles (2, 2) of the left and the right bone on a slice, mm, if there are two with a gap between."""
    columns = np.flatnonzero(mask.any(axis=1))
    if columns.size < 2:
        return None
    gaps = np.diff(columns)
    widest = int(np.argmax(gaps))
    if gaps[widest] * spacing[0] < _APART_MM:
        return None
    parts = (mask[: columns[widest] + 1], mask[columns[widest] + 1 :])
    if not _alike(*(int(part.sum()) for part in parts)):
        return None
    left, right = (np.argwhere(part).mean(axis=0) for part in parts)
    right[0] += columns[widest] + 1
    return (np.array([left, right]) + 0.5) * spacing  # type: ignore[no-any-return]


def _legs(
    body: npt.NDArray[np.bool_], spacing: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    """Middles of two separate legs on a slice, if there are two; and the corners of the box around the body."""
    pieces, _ = ndimage.label(body)
    sizes = np.bincount(pieces.ravel()) * float(np.prod(spacing)) / 100
    sizes[0] = 0
    large = np.flatnonzero(sizes > LIMB_CM2)
    if not large.size:
        return None, None
    own = np.argwhere(np.isin(pieces, large))
    extent = np.array([own.min(axis=0), own.max(axis=0) + 1]) * spacing
    if large.size != 2 or not _alike(*sizes[large]):
        return None, extent
    middles = (np.array(ndimage.center_of_mass(body, pieces, large)) + 0.5) * spacing
    return middles[np.argsort(middles[:, 0])], extent


def _alike(one: float, other: float) -> bool:
    return min(one, other) >= _ALIKE * max(one, other)


def _across(pairs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The direction from left to right; a patient who lies on one side is turned, one with crossed legs is not."""
    apart = pairs[:, 1] - pairs[:, 0]
    slope = float(np.clip(np.nanmedian(apart[:, 1] / apart[:, 0]), -_STEEPEST, _STEEPEST))
    return np.array([1.0, slope]) / np.hypot(1.0, slope)


def _smooth(middles: npt.NDArray[np.float64], slice_mm: float) -> npt.NDArray[np.float64]:
    """Gaps filled from the neighbours, and single slices that are far off evened out."""
    seen = np.flatnonzero(np.isfinite(middles[:, 0]))
    filled = np.stack([np.interp(np.arange(len(middles)), seen, middles[seen, axis]) for axis in (0, 1)], axis=1)
    window = 2 * round(_SMOOTHED_MM / slice_mm / 2) + 1
    return ndimage.median_filter(filled, size=(window, 1), mode="nearest")  # type: ignore[no-any-return]


def _single_leg(label: npt.NDArray, spacing: npt.NDArray[np.float64]) -> Side | None:
    """Which leg it is: its medial muscles lie towards the other one."""
    medial, lateral = (_mean_x(label, names, float(spacing[0])) for names in (_MEDIAL, _LATERAL))
    if medial is None or lateral is None:
        return None
    return Side.LEFT if medial > lateral else Side.RIGHT


def _mean_x(label: npt.NDArray, names: tuple[str, ...], mm: float) -> float | None:
    table = np.zeros(256, bool)
    table[[_ID[name] for name in names]] = True
    columns = np.array([table[label[i]].sum() for i in range(label.shape[0])])
    return float(np.average(np.arange(len(columns)), weights=columns)) * mm if columns.any() else None


def misplaced(
    middles: Mapping[tuple[str, Side], npt.NDArray[np.float64]], pairs: Mapping[str, tuple[tuple[str, str], ...]]
) -> list[tuple[str, str, Side, str]]:
    """Pairs of muscles that lie the wrong way round.

    Args:
        middles: of each muscle and side (slices, 2): how far to the side from the midline, and how far to the front,
            mm; NaN where a slice does not show it.
        pairs: direction to pairs of which the first lies farther that way.

    Returns:
        For each: the first, the second, the side, and the direction.
    """
    wrong = []
    for axis, direction in enumerate(("lateral", "anterior")):
        for first, second in pairs.get(direction, ()):
            for side in Side:
                one, other = middles.get((first, side)), middles.get((second, side))
                if one is None or other is None:
                    continue
                ahead = one[:, axis] - other[:, axis]
                if np.isfinite(ahead).any() and np.nanmedian(ahead) < 0:
                    wrong.append((first, second, side, direction))
    return wrong
