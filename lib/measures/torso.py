"""The torso: from the neck to mid-thigh (Lee 2021, section 2.4), found from the shape of the body and its bones."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lib.measures.body_map import BodyMap

# The neck is that much smaller than the largest section below it.
_NECK_SHARE = 0.4
# From the crest down to the lowest point of the hip bone, over all adults; and how far below that mid-thigh lies, as a
# share of it: half-way between the middles of hip and knee.
_HIP_BONE_MM = (140.0, 300.0)
_MID_THIGH = 0.55
_NEAR_ENOUGH = 0.8
"""Of the way from the hip bone to mid-thigh, what a scan down to mid-thigh has to show at least."""
_LEG_REACH_MM = 170.0
_SMALLEST_BONE_CM2 = 1.0
_BONES_APART_MM = 25.0
_TUBEROSITY_MM = 20.0


def find_neck(body: BodyMap) -> int | None:
    """The narrowest layer of the neck, below the brain; ``None`` where the image shows none above a trunk."""
    along = np.flatnonzero(np.isfinite(body.spine[:, 0]))
    brain = np.flatnonzero(body.head)
    if brain.size:
        along = along[along < brain[0]]
    if not along.size:
        return None
    sections = np.array([_section_cm2(body, int(k)) for k in along])
    widest = int(np.argmax(np.where(np.isfinite(sections), sections, 0)))
    neck = widest + int(np.argmin(sections[widest:]))
    return int(along[neck]) if sections[neck] <= _NECK_SHARE * sections[widest] else None


def find_mid_thigh(body: BodyMap, crest: int) -> int | None:
    """The layer of mid-thigh, or the lowest one where a scan ends close above it; ``None`` where it ends farther up.

    Args:
        body: of the person.
        crest: the layer of the iliac crest.
    """
    lowest = _lowest_of_hip_bones(body, crest)
    if lowest is None:
        return None
    thigh = _MID_THIGH * body.mm(crest - lowest)
    if body.mm(lowest) < _NEAR_ENOUGH * thigh:
        return None
    return max(0, lowest - round(thigh / body.spacing[2]))


def _section_cm2(body: BodyMap, layer: int) -> float:
    """Area of the part of a layer that holds the spinal canal, which no raised arm is."""
    parts, _ = ndimage.label(body.trunk[:, :, layer])
    i, j = (
        min(max(round(float(mm) / size), 0), cells - 1)
        for mm, size, cells in zip(body.spine[layer], body.spacing[:2], parts.shape, strict=True)
    )
    part = parts[i, j]
    return float((parts == part).sum()) * body.cell_cm2 if part else np.inf


def _lowest_of_hip_bones(body: BodyMap, crest: int) -> int | None:
    """The lowest layer in which a side shows another bone beside the femur; ``None`` where that is the image's last."""
    highest = crest - body.layers_of(_HIP_BONE_MM[0])
    if highest < 0:
        return None
    low = max(0, crest - body.layers_of(_HIP_BONE_MM[1]))
    two = np.array([_shows_two_bones(body, k) for k in range(low, highest + 1)])
    needed = body.layers_of(_TUBEROSITY_MM)
    runs = np.convolve(two, np.ones(needed, int), "valid") == needed
    if not runs.any():
        return None
    lowest = low + int(np.argmax(runs))
    return lowest if lowest > 0 else None


def _shows_two_bones(body: BodyMap, layer: int) -> bool:
    """Whether there is on a side, beside the midline of the legs, more than the femur."""
    across = body.x[body.trunk[:, :, layer].any(axis=1)]
    if not across.size:
        return False
    for side in (-1, 1):
        lateral = side * (body.x - (across[0] + across[-1]) / 2)
        near = (lateral > 0) & (lateral < _LEG_REACH_MM)
        pieces, count = ndimage.label(body.bone[:, :, layer] & near[:, None])
        places = [
            float(lateral[cells[0]].mean())
            for cells in (np.nonzero(pieces == number) for number in range(1, count + 1))
            if len(cells[0]) * body.cell_cm2 >= _SMALLEST_BONE_CM2
        ]
        if len(places) > 1 and max(places) - min(places) > _BONES_APART_MM:
            return True
    return False
