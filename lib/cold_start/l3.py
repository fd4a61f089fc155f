"""Muscle groups and fat on an axial abdominal slice without a trained model: HU ranges, shape and place.

Hounsfield ranges are those of Lee 2021 and Yu 2026; the compartments follow the definitions of the label schemas. The
slice is laid on a 1 mm grid along the patient's mid-line. There, smooth surfaces part subcutaneous fat, abdominal
wall, the muscles of the back and the abdomen, so that an organ that touches a muscle does not become part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.anatomy.hounsfield import FAT, MUSCLE
from lib.anatomy.schemas import L3_MUSCLE, L3_TISSUE
from lib.cold_start.l3_frame import SliceFrame
from lib.cold_start.l3_psoas import find_psoas
from lib.cold_start.l3_spine import Spine, find_spine, patient_frame
from lib.cold_start.l3_surfaces import GAS_HU, Wall, find_wall, front_of_back
from lib.cold_start.outline import CUT_OFF, body_mask, is_cut_off
from lib.images.ct import CTImage
from lib.refusals import Refusal

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

_DENOISE_MM = 1.0
_SOFTNESS_HU = 12.0
_SKIN_RIM_MM = 1.5
_WIDEST_SLIT_MM = 10.0
_TYPICAL_MUSCLE_HU = 50.0
_DARKER_HU = 32.0
_BRIGHTER_HU = 55.0
# Darker than fat with its noise: stool with bubbles too small to be seen one by one.
_BUBBLE_HU = -145.0
# Where quadratus lumborum and the lateral wall meet, as an angle from straight back (seen from the abdomen's middle).
_MEETING_DEG = (36.0, 74.0)
_MEETING_EXPECTED_DEG = 54.0


@dataclass(frozen=True, kw_only=True)
class L3Segmentation:
    """What was found on one slice.

    Attributes:
        muscle: (x, y), ids of ``L3_MUSCLE``.
        tissue: (x, y), ids of ``L3_TISSUE``.
        doubt: 0..1, how unsure the method is.
        warnings: what speaks against the result, each one plain sentence.
    """

    muscle: npt.NDArray[np.uint8]
    tissue: npt.NDArray[np.uint8]
    doubt: float
    warnings: tuple[str, ...]


def segment_l3(image: CTImage, index: int) -> L3Segmentation:
    """Segment one axial slice at the level of the lumbar spine.

    Args:
        image: a CT in the voxel order of :meth:`CTImage.canonical`; only the slice itself is looked at.
        index: the slice, along axis 2.

    Raises:
        Refusal: there is no such slice, no body or no vertebra on it.
    """
    if not 0 <= index < image.shape[2]:
        raise Refusal(f"There is no slice {index}; the image has {image.shape[2]} slices.")
    one = CTImage(hu=np.ascontiguousarray(image.hu[:, :, index : index + 1]), affine=image.affine)
    hu = one.hu[:, :, 0].astype(np.float32)
    spacing = (float(image.spacing[0]), float(image.spacing[1]))
    body = body_mask(one, arms=False)[:, :, 0]
    frame = patient_frame(hu, body, spacing)
    # A fine matrix is averaged down to the working grid, a coarse one interpolated.
    fine = [max(0.0, 0.4 * (1.0 / mm - 1.0)) for mm in spacing]
    grid = frame.to_grid(ndimage.gaussian_filter(hu, fine) if max(fine) > 0 else hu, outside=-1000.0)
    inside = frame.to_grid(body.astype(np.float32), outside=0.0) > 0.5
    denoised = ndimage.gaussian_filter(grid, _DENOISE_MM)
    spine = find_spine(denoised, inside)

    dense = _logistic((denoised - MUSCLE.low) / _SOFTNESS_HU) * inside
    alike = dense * _like_muscle(denoised, dense, spine)
    wall = find_wall(dense, alike, denoised, inside, spine)
    groups, abdomen, outside_muscles, seen = _muscle_groups(dense, alike, denoised, spine, wall)
    fat = (denoised < MUSCLE.low) & (denoised >= FAT.low)
    rim = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] > _SKIN_RIM_MM
    visceral = abdomen & fat & ~_bowel_content(denoised, inside) & (groups == 0)
    subcutaneous = outside_muscles & inside & rim & fat
    warnings, doubt = _judge(groups, wall, spine, seen=seen, cut_off=is_cut_off(hu, body, spacing))

    muscle = _back_to_slice(frame, [groups == i for i in L3_MUSCLE.ids.values()], spacing)
    tissue = _back_to_slice(frame, [groups > 0, visceral, subcutaneous], spacing)
    tissue[muscle > 0] = L3_TISSUE["skeletal_muscle"].id
    tissue[(muscle == 0) & (tissue == L3_TISSUE["skeletal_muscle"].id)] = 0
    return L3Segmentation(muscle=muscle, tissue=tissue, doubt=doubt, warnings=warnings)


def _muscle_groups(
    dense: Floats, alike: Floats, hu: Floats, spine: Spine, wall: Wall
) -> tuple[npt.NDArray[np.uint8], Mask, Mask, tuple[float, float]]:
    """Ids of ``L3_MUSCLE``, the abdominal cavity, what lies outside the muscles, and how well each psoas is seen."""
    polar = wall.polar
    radius, ray = polar.radius_and_angle(dense.shape)
    outer = polar.at(wall.outer, ray)
    thickness = polar.at(wall.thickness, ray)
    within = radius <= outer
    bony = ndimage.binary_dilation(spine.bone, iterations=3) & (hu > MUSCLE.high)
    front = front_of_back(np.where(bony, dense, alike), (1 - dense) * within, spine)
    y = np.arange(dense.shape[1])[None, :]
    behind = within & (y <= front[:, None]) & ~spine.canal

    # Bone counts as dense only so that ribs do not interrupt a surface; here it is taken out.
    free = np.where(spine.bone | spine.canal | (hu > MUSCLE.high), 0.0, dense)
    muscle = ndimage.binary_opening(free > 0.5, structure=np.ones((2, 2)))
    left, right = _meeting_angles(polar.sample(free * (behind | (within & (radius > outer - thickness)))), polar.rays)
    back_sector = (ray <= right) | (ray >= polar.rays - left)
    back = behind & back_sector
    band = within & (radius >= outer - thickness) & ~back_sector

    groups = np.zeros(dense.shape, dtype=np.uint8)
    groups[band & muscle] = L3_MUSCLE["abdominal_wall"].id
    groups[back & muscle] = L3_MUSCLE["paraspinal"].id
    groups = _without_crumbs(groups)
    groups[spine.bone | (hu > MUSCLE.high)] = 0
    taken = spine.bone | spine.canal | behind | band | ~within
    found = [find_psoas(free, alike, hu, taken, spine, side=side) for side in (-1, 1)]
    for psoas in found:
        groups[psoas.mask] = L3_MUSCLE["psoas"].id
    _close_between(groups, muscle & within & ~spine.bone)
    # Only fat with muscle in front of it lies between muscles; beside quadratus lumborum it is retroperitoneal.
    paraspinal = groups == L3_MUSCLE["paraspinal"].id
    between = np.maximum.accumulate(paraspinal[:, ::-1], axis=1)[:, ::-1]
    medial = np.abs(np.arange(dense.shape[0]) - spine.centre[0]) < spine.half_width + 12.0
    abdomen = within & ~band & ~(back & (between | medial[:, None])) & ~spine.bone & ~spine.canal
    return groups, abdomen, ~within, (found[0].seen, found[1].seen)


def _close_between(groups: npt.NDArray[np.uint8], muscle: Mask) -> None:
    """Give the slits of muscle that are left between psoas and the muscles of the back to the nearer one, in place."""
    psoas, back = (groups == L3_MUSCLE[name].id for name in ("psoas", "paraspinal"))
    if not psoas.any() or not back.any():
        return
    to_psoas, to_back = (ndimage.distance_transform_edt(~mask) for mask in (psoas, back))
    slit = muscle & (groups == 0) & (to_psoas + to_back <= _WIDEST_SLIT_MM)
    groups[slit] = np.where(to_psoas <= to_back, L3_MUSCLE["psoas"].id, L3_MUSCLE["paraspinal"].id)[slit]


def _like_muscle(hu: Floats, dense: Floats, spine: Spine) -> Floats:
    """1 where the HU, averaged over soft tissue, are those of the muscles of the back; 0 for fluid or contrast."""
    x, y = np.ogrid[: hu.shape[0], : hu.shape[1]]
    off, behind = np.abs(x - spine.centre[0]), spine.back - y
    back = (off > 12) & (off < 50) & (behind > 15) & (behind < 45) & MUSCLE.contains(hu)
    typical = float(np.median(hu[back])) if back.sum() > 200 else _TYPICAL_MUSCLE_HU
    counted = dense * (hu <= MUSCLE.high)
    mean = ndimage.gaussian_filter(counted * hu, 2.0) / np.maximum(ndimage.gaussian_filter(counted, 2.0), 0.05)
    return _logistic(np.minimum(mean - typical + _DARKER_HU, typical + _BRIGHTER_HU - mean) / 5.0)


def _meeting_angles(rays: Floats, count: int) -> tuple[float, float]:
    """The rays, counted from straight back, at which back and lateral wall meet: where the muscle is thinnest."""
    total = ndimage.gaussian_filter1d(rays.sum(axis=1), 1.0, mode="wrap")
    step = 360.0 / count
    degrees = np.arange(_MEETING_DEG[0], _MEETING_DEG[1], step)
    met = []
    for side in (-1, 1):
        here = total[np.round(side * degrees / step).astype(int) % count]
        met.append(float(degrees[int(np.argmin(here + 0.015 * (degrees - _MEETING_EXPECTED_DEG) ** 2))]) / step)
    return met[0], met[1]


def _without_crumbs(groups: npt.NDArray[np.uint8], least: int = 60) -> npt.NDArray[np.uint8]:
    """The groups without islands of less than ``least`` pixels and with pinholes closed."""
    result = np.zeros_like(groups)
    for group in (i for i in L3_MUSCLE.ids.values() if (groups == i).any()):
        mask = ndimage.binary_closing(groups == group, structure=np.ones((3, 3)))
        labels, _ = ndimage.label(mask)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        holes_filled = _fill_small_holes((sizes >= least)[labels], 12)
        result[holes_filled & (result == 0)] = group
    return result


def _fill_small_holes(mask: Mask, largest: int) -> Mask:
    labels, _ = ndimage.label(~mask)
    return mask | (np.bincount(labels.ravel()) <= largest)[labels]  # type: ignore[no-any-return]


def _bowel_content(hu: Floats, inside: Mask) -> Mask:
    """Gas with its edge, where partial volume passes through the HU of fat, and stool, which is full of gas."""
    gas = inside & (hu < GAS_HU)
    near = ndimage.distance_transform_edt(~gas) if gas.any() else np.full(hu.shape, np.inf)
    bubbles = ndimage.gaussian_filter((inside & (hu < _BUBBLE_HU)).astype(np.float32), 3.0) > 0.08
    return (near <= 2.5) | bubbles  # type: ignore[no-any-return]


def _judge(
    groups: npt.NDArray[np.uint8],
    wall: Wall,
    spine: Spine,
    *,
    seen: tuple[float, float],
    cut_off: bool,
) -> tuple[tuple[str, ...], float]:
    warnings = []
    middle = groups.shape[0] // 2
    doubts = [0.5 * (1.0 - float(wall.seen.mean())), 0.5 * wall.gaps, 0.5 * (1 - min(seen))]
    for name in L3_MUSCLE.names:
        mask = groups == L3_MUSCLE[name].id
        areas = float(mask[:middle].sum()), float(mask[middle + 1 :].sum())
        if min(areas) == 0 or max(areas) > 1.8 * min(areas):
            warnings.append(f"{name} differs much between left and right; check it.")
        doubts.append(min(1.0, abs(areas[0] - areas[1]) / (max(areas) + 1.0)))
    if cut_off:
        warnings.append(CUT_OFF)
        doubts.append(0.5)
    if spine.contrast < 25:
        warnings.append("The vertebra hardly stands out; check that this is a slice through the lumbar spine.")
        doubts.append(0.5)
    worst, mean = max(doubts), float(np.mean(doubts))
    return tuple(warnings), float(np.clip(0.5 * worst + 0.5 * mean, 0.0, 1.0))


def _back_to_slice(frame: SliceFrame, masks: list[Mask], spacing: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Ids 1, 2, ... of the masks on the source slice: in every pixel the mask that covers most of it, if over half."""
    blur = [0.29 * mm if mm > 1.2 else 0.0 for mm in spacing]
    shares = [frame.to_slice(ndimage.gaussian_filter(mask.astype(np.float32), blur)) for mask in masks]
    total = np.stack([np.zeros_like(shares[0]), *shares])
    total[0] = 1.0 - total[1:].sum(axis=0)
    return total.argmax(axis=0).astype(np.uint8)


def _logistic(value: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(value, -30, 30)))  # type: ignore[no-any-return]
