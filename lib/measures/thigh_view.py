"""What an image of hip and thigh does not show, or shows badly: stumps, metal and muscles that are cut off."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.images import CTImage
from lib.measures.sides import LIMB_CM2, STEP_MM, Side, Sides, body_on_slice

_FEMUR = THIGH_MUSCLES.ids["femur"]
_STUMP_MM = 40.0
"""A thigh bone that ends less than this above the image's lower end need not have ended there."""
_METAL_HU, _METAL_CM3 = 2500.0, 1.0


def view_warnings(
    image: CTImage, label: npt.NDArray, sides: Sides, told: Collection[Side], cut_off: Collection[str]
) -> tuple[str, ...]:
    """Sentences on what keeps volumes and HU from being those of whole, undisturbed muscles.

    Args:
        image: in canonical order.
        label: ids of ``THIGH_MUSCLES`` and its guide, same shape and order.
        sides: which side a voxel lies on.
        told: those that were told apart.
        cut_off: names of structures that reach an end of the image.
    """
    warnings = [
        f"The {side} thigh ends above the knee, as after an amputation: its volumes are those of a stump."
        for side in told
        if _is_stump(image, label, sides, side)
    ]
    metal = _metal_cm3(image, label)
    if metal >= _METAL_CM3:
        warnings.append(
            f"There is metal in hip or thigh ({metal:.0f} cm³): HU and borders beside it are not to be trusted."
        )
    muscles = [name for name in cut_off if THIGH_MUSCLES[name].is_muscle]
    if muscles:
        warnings.append(
            f"Cut off at an end of the image: {', '.join(muscles)}; their volumes are those of what is in view."
        )
    return tuple(warnings)


def _is_stump(image: CTImage, label: npt.NDArray, sides: Sides, side: Side) -> bool:
    """Whether a thigh bone ends well within the image, and the leg with it."""
    spacing = image.spacing
    step = max(1, int(STEP_MM / float(min(spacing[:2]))))
    cm2 = float(np.prod(spacing[:2])) * step**2 / 100

    def own(k: int) -> npt.NDArray[np.bool_]:
        right = sides.right_of(k, (label.shape[0], label.shape[1]), spacing)[::step, ::step]
        return right if side is Side.RIGHT else ~right

    def shows_leg(k: int) -> bool:
        return float((body_on_slice(image, k, step) & own(k)).sum()) * cm2 > LIMB_CM2 / 2

    drawn = np.flatnonzero((label[::step, ::step] == _FEMUR).any(axis=(0, 1)))
    end = next((int(k) for k in drawn if ((label[::step, ::step, k] == _FEMUR) & own(k)).any()), None)
    if end is None or end * float(spacing[2]) <= _STUMP_MM or not shows_leg(end):
        return False
    return not any(shows_leg(k) for k in range(max(1, end // 2)))


def _metal_cm3(image: CTImage, label: npt.NDArray) -> float:
    """Within the box around what is drawn on each slice; a metal hip may lie beside what a model labels."""
    voxels = 0
    for k in range(label.shape[2]):
        drawn = label[:, :, k] > 0
        if drawn.any():
            x, y = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
            voxels += int(np.count_nonzero(image.hu[x[0] : x[-1] + 1, y[0] : y[-1] + 1, k] > _METAL_HU))
    return voxels * image.voxel_cm3
