"""Thigh bones, hip bones and the outline of the muscles of hip and thigh on CT, without trained weights.

The geometry is worked out on the coarse copy on which body composition is; the borders of the bones are then drawn at
full resolution, slice by slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.anatomy.hounsfield import BONE
from lib.anatomy.schemas import BODY_COMPOSITION, THIGH_MUSCLES
from lib.cold_start.body import NO_BODY, segment_body
from lib.cold_start.body_grid import Box, Grid, Mask, box_around, by_slice, closed, dilated, without_holes
from lib.cold_start.femur_shaft import Section, Sections, femur_below, find_shafts, stub_below
from lib.cold_start.hip_joint import ISCHIUM_MM, Head, Places, find_heads, hip_bones, proximal_femur, refined
from lib.cold_start.outline import body_mask
from lib.images import CTImage
from lib.images.arms import without_arms
from lib.refusals import Refusal

THREADS = 2
SHORTEST_MM = 30.0
ORGANS_CM2 = 15.0
PLANES_MM = 5.0
"""Half the width of the planes of fat between muscles that the outline runs across."""
CORTEX_SHARE, CORTEX_GAP_MM, OWN_SHARE, LARGEST_SECTION_CM2, RING_SHARE = 0.1, 4.5, 0.03, 70.0, 0.75
HIP_JOINT_MM = 1.7
CORTEX_HU = 180.0
AROUND_VOXELS = 2

_BODY = BODY_COMPOSITION.ids
_ORGANS = (_BODY["internal_organs_and_vessels"], _BODY["abdominal_visceral_fat"])
_COMPARTMENT = THIGH_MUSCLES.shown["muscle_compartment"].id


@dataclass(frozen=True, kw_only=True)
class ThighSegmentation:
    """What can be told of hip and thigh without knowing the muscles.

    Attributes:
        label: ids of :data:`lib.anatomy.schemas.THIGH_MUSCLES` for the bones and of its guide for the outline of the
            muscles, in the shape of the image given.
        doubt: 0 (clear) to 1.
        warnings: what the reader of the result ought to know, one sentence each.
    """

    label: NDArray[np.uint8]
    doubt: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Bones:
    """Masks of the coarse grid, and what was noticed."""

    femur: Mask
    hip: Mask
    knees: tuple[bool, ...]
    heads: tuple[Head, ...]
    shafts: tuple[list[Section], ...]


def segment_thigh(image: CTImage) -> ThighSegmentation:
    """Segment femur and iliac bone, and outline the muscles between knee and iliac crest.

    Args:
        image: a volume of hips or thighs, axes in the order of :meth:`CTImage.canonical`.

    Raises:
        Refusal: the image is too short, or shows neither a thigh bone nor a hip bone.
    """
    height_mm = image.shape[2] * float(image.spacing[2])
    if height_mm < SHORTEST_MM:
        raise Refusal(
            f"Without a trained model, bones of hip and thigh are told by their course over {SHORTEST_MM:.0f} mm or "
            f"more; this image is {height_mm:.0f} mm high."
        )
    hu = np.asfortranarray(image.hu)
    grid = Grid.of(image.shape, image.spacing)
    coarse = CTImage(hu=grid.means(hu), affine=np.diag([*grid.spacing, 1.0]))
    inside = body_mask(coarse, arms=True)
    if not inside.any():
        raise Refusal(NO_BODY)
    box = _columns(inside, AROUND_VOXELS)
    grid, fine = grid.within(box)
    hu, inside, coarse = hu[fine], inside[box], replace(coarse, hu=coarse.hu[box])
    body = segment_body(coarse, inside).label
    bones = _find_bones(coarse.hu, body, hu, grid)
    if not bones.femur.any() and not bones.hip.any():
        raise Refusal("Neither a thigh nor a hip is in view: no thigh bone and no hip bone was found.")
    label = np.zeros(image.shape, np.uint8, order="F")
    _draw(label[fine], hu, grid, bones=bones, compartment=_compartment(body, bones, grid.spacing))
    sure = bool(bones.heads) + bool(bones.shafts)
    return ThighSegmentation(label=label, doubt=1.0 - 0.35 * sure, warnings=_views(bones))


def _columns(mask: Mask, around: int) -> Box:
    """What the mask takes of the plane of the slices, with some voxels around it; all slices."""
    return (*box_around(mask.any(axis=2), np.array([around, around])), slice(0, mask.shape[2]))


def _draw(label: NDArray[np.uint8], hu: NDArray, grid: Grid, *, bones: _Bones, compartment: Mask) -> None:
    """Draw bones and outline at full resolution into an empty label."""
    near = dilated(bones.femur | bones.hip, 1.1 * float(grid.spacing.max()), grid.spacing)
    box = _columns(near | compartment, AROUND_VOXELS)
    grid, fine = grid.within(box)
    label, hu, near, compartment = label[fine], hu[fine], near[box], compartment[box]
    parts = {THIGH_MUSCLES.ids["femur"]: bones.femur[box], THIGH_MUSCLES.ids["iliac_bone"]: bones.hip[box]}

    def fill(k: int) -> None:
        label[:, :, k] = _label_slice(hu[:, :, k], grid, k, parts=parts, near=near, compartment=compartment)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(label.shape[2])))


def _find_bones(hu: NDArray, body: NDArray[np.uint8], fine_hu: NDArray, grid: Grid) -> _Bones:
    spacing = grid.spacing
    plane = (float(spacing[0]), float(spacing[1]))
    limbs = by_slice(partial(without_arms, spacing=plane), body > 0)
    bone = (body == _BODY["bone"]) & limbs
    organs_cm2 = np.isin(body, _ORGANS).sum(axis=(0, 1)) * plane[0] * plane[1] / 100
    pelvic = organs_cm2 > ORGANS_CM2
    _fill_knees(bone, grid.shares_above(fine_hu, CORTEX_HU), limbs & ~pelvic, plane)
    heads = tuple(refined(head, hu, spacing) for head in find_heads(bone, pelvic, spacing))
    sections = Sections(bone, spacing)
    shafts = find_shafts(sections, body == _BODY["muscle"], limbs, heads)
    femur = np.zeros_like(bone)
    knees = []
    for head in heads:
        femur |= proximal_femur(bone, head, spacing)
        stub = stub_below(head, sections)
        if stub and not any(_head_of(shaft, heads) is head for shaft in shafts):
            femur |= femur_below(sections, stub, stub[0].k + 1, from_shaft=False)[0]
    for shaft in shafts:
        own = _head_of(shaft, heads)
        top = body.shape[2] if own is None else own.lowest_slice(spacing)
        below, knee = femur_below(sections, shaft[len(shaft) // 2 :][:1], top)
        femur |= below
        knees.append(knee)
    for k in np.flatnonzero(pelvic & femur.any(axis=(0, 1))):
        femur[:, :, k] |= without_holes(closed(femur[:, :, k], CORTEX_GAP_MM, spacing[:2]))
    hip = _find_hip(bone & ~femur, body, heads, fine_hu, grid) if pelvic.any() else np.zeros_like(bone)
    return _Bones(femur=femur, hip=hip, knees=tuple(knees), heads=heads, shafts=tuple(shafts))


def _head_of(shaft: list[Section], heads: tuple[Head, ...]) -> Head | None:
    """The head nearest to the upper end of a shaft."""
    return min(heads, key=lambda head: abs(float(head.middle[0] - shaft[-1].middle[0])), default=None)


def _fill_knees(bone: Mask, cortex: NDArray[np.float32], legs: Mask, plane: tuple[float, float]) -> None:
    """Fill, in place, what the thin cortex of condyles encloses, in slices without organs."""
    pixel_cm2 = plane[0] * plane[1] / 100
    for k in np.flatnonzero(legs.any(axis=(0, 1))):
        ring = legs[:, :, k] & (cortex[:, :, k] > CORTEX_SHARE)
        bridged = without_holes(closed(ring, CORTEX_GAP_MM, np.array(plane)))
        whole = without_holes(ring)
        pieces, _ = ndimage.label(bridged)
        size, filled, own = (np.bincount(pieces.ravel(), mask.ravel()) for mask in (bridged, whole, bone[:, :, k]))
        keep = (own > OWN_SHARE * size) & (size * pixel_cm2 < LARGEST_SECTION_CM2)
        keep[0] = False
        # Where the ring is closed by itself it is not bridged: that would join the patella to the condyles.
        bone[:, :, k] = legs[:, :, k] & np.where((filled > RING_SHARE * size)[pieces], whole, bridged) & keep[pieces]


def _find_hip(bone: Mask, body: NDArray[np.uint8], heads: tuple[Head, ...], fine_hu: NDArray, grid: Grid) -> Mask:
    """The hip bones, parted from the sacrum on a finer grid: the joint is a line of two millimetres."""
    at = Places(bone.shape, grid.spacing)
    canal = (body == _BODY["central_nervous_system"]).any(axis=(1, 2))
    if heads:
        middle = float(np.mean([head.middle[0] for head in heads]))
    elif canal.any():
        middle = float(at.x[canal].mean())
    else:
        middle = float(at.x[(body > 0).any(axis=(1, 2))].mean())
    hip = np.zeros_like(bone)
    lowest = min((head.middle[2] for head in heads), default=-np.inf) - ISCHIUM_MM
    above = bone & (at.z >= lowest)
    if not above.any():
        return hip
    box = box_around(above, np.full(3, AROUND_VOXELS))
    corner = np.array([each.start for each in box]) * grid.spacing
    heads = tuple(replace(head, middle=head.middle - corner) for head in heads)
    grid, fine = grid.within(box)
    steps = [max(1, int(HIP_JOINT_MM / mm)) for mm in grid.fine_spacing[:2]]
    steps = [step if factor % step == 0 else 1 for step, factor in zip(steps, grid.factors, strict=False)]
    finer = Grid(
        factors=(steps[0], steps[1], grid.factors[2]), fine_shape=grid.fine_shape, fine_spacing=grid.fine_spacing
    )
    repeats = [factor // step for factor, step in zip(grid.factors, steps, strict=False)]
    larger = np.repeat(np.repeat(bone[box], repeats[0], axis=0), repeats[1], axis=1)[: finer.shape[0], : finer.shape[1]]
    parted = hip_bones(larger, finer.means(fine_hu[fine]), heads, middle - float(corner[0]), finer.spacing)
    onto = Grid(factors=(repeats[0], repeats[1], 1), fine_shape=finer.shape, fine_spacing=tuple(finer.spacing))
    hip[box] = onto.means(parted) > 0.5
    return hip


def _compartment(body: NDArray[np.uint8], bones: _Bones, spacing: NDArray[np.float64]) -> Mask:
    """The muscles from the knee to the iliac crest with the fat between them, without the bones."""
    seen = np.flatnonzero((bones.femur | bones.hip).any(axis=(0, 1)))
    muscle = body == _BODY["muscle"]
    muscle[:, :, : seen[0]] = False
    muscle[:, :, seen[-1] + 1 :] = False
    plane = np.array([spacing[0], spacing[1]])
    reach = int(PLANES_MM / plane.min()) + 3
    solid = by_slice(partial(closed, mm=PLANES_MM, spacing=plane), muscle | bones.femur, reach=reach)
    solid = by_slice(without_holes, solid)
    within = muscle | (body == _BODY["subcutaneous_fat"])
    return solid & within & ~bones.femur & ~bones.hip


def _label_slice(
    hu: NDArray, grid: Grid, k: int, *, parts: Mapping[int, Mask], near: Mask, compartment: Mask
) -> NDArray[np.uint8]:
    """Bones to the edge of their cortex, each voxel to the nearer one; the outline around them."""
    label = np.zeros(hu.shape, np.uint8)
    label[grid.fine_slice(compartment, k) > 0.5] = _COMPARTMENT
    shares = {value: grid.fine_slice(mask, k) for value, mask in parts.items()}
    share = sum(shares.values())
    assert isinstance(share, np.ndarray)
    cortex = (grid.fine_slice(near, k) > 0.3) & (hu > BONE.low)
    bone = (cortex & (share > 0.1)) | (share > 0.75)
    if not bone.any():
        return label
    box = ndimage.find_objects(bone.astype(np.uint8))[0]
    inner = np.pad(bone[box], 3)
    bone[box] |= without_holes(ndimage.binary_closing(inner, iterations=2))[3:-3, 3:-3]
    bone &= (share > 0.4) | cortex
    values = np.array(list(shares))
    nearest = values[np.argmax(np.stack(list(shares.values())), axis=0)]
    label[bone] = nearest[bone]
    return label


def _views(bones: _Bones) -> tuple[str, ...]:
    """What of hips and thighs is not in view."""
    warnings = []
    if not bones.shafts:
        warnings.append("No shaft of a thigh bone is in view; the muscles of the thigh are not, or only in part.")
    elif len(bones.shafts) == 1:
        warnings.append("Only one thigh bone was found: one leg is in view, or the other has none.")
    if bones.shafts and not bones.heads:
        warnings.append("The hips are not in view as a whole: the upper ends of the muscles are missing.")
    if bones.shafts and not any(bones.knees):
        warnings.append("No knee is in view: the lower ends of the muscles are missing.")
    return tuple(warnings)
