"""The seven classes of body composition (Lee 2021, section 2.2) from Hounsfield units, shape and place; no weights.

The geometry of the whole body (bone, spinal canal, inside of the skull, the cavity of the trunk, the diaphragm) is
worked out on a coarse copy of about 3 mm; every slice is then labelled at full resolution by Hounsfield ranges within
these regions, so that no second volume of full size beside the label is needed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.anatomy.hounsfield import BONE, FAT
from lib.anatomy.schemas import BODY_COMPOSITION
from lib.cold_start.body_bones import bright_bone, filled_bone, inside_skull, spinal_canal
from lib.cold_start.body_cavity import Trunk, find_cavity
from lib.cold_start.body_grid import (
    Grid,
    Mask,
    box_around,
    by_slice,
    closed,
    dilated,
    eroded,
    midpoint,
    opened,
    without_holes,
)
from lib.cold_start.body_psoas import find_psoas
from lib.cold_start.outline import body_mask
from lib.images import CTImage
from lib.images.arms import without_arms
from lib.refusals import Refusal

THREADS = 2
SKIN_MM = 2.0
SHARED_WITH_SKIN_MM = 2.0
THICKEST_FOLD_MM = 7.0
LARGEST_FOLD_CM2 = 15.0
SMALLEST_MUSCLE_CM2 = 1.0
SMALLEST_FAT_IN_MUSCLE_CM2 = 0.5
# Above this, what is no bone outside the trunk's cavity is a calcified wall or metal, below it a vessel with contrast.
CALCIFIED_HU = 500.0
NARROWEST_TRUNK_MM = 220.0
SACRUM_HALF_WIDTH_MM = 65.0
BUBBLES_SHARE = 0.05
LUNG_HU = (-950.0, -400.0)
NO_BODY = "There is no body in this image: nothing in it is as large and as dense as a limb."

_ID = BODY_COMPOSITION.ids


@dataclass(frozen=True, kw_only=True)
class BodySegmentation:
    """Seven classes of a CT.

    Attributes:
        label: ids of :data:`lib.anatomy.schemas.BODY_COMPOSITION`, in the shape of the image given.
        doubt: 0 (clear) to 1, for the queue of hard cases.
        warnings: what the reader of the result ought to know, one sentence each.
    """

    label: NDArray[np.uint8]
    doubt: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Regions:
    """What the coarse grid knows, each as a mask."""

    bone: Mask
    near_bone: Mask
    nerve: Mask
    cavity: Mask
    chest: Mask
    bowel: Mask
    genitals: Mask


def segment_body(image: CTImage, body: Mask | None = None) -> BodySegmentation:
    """Segment skin, bone, muscle, visceral and subcutaneous fat, organs with vessels, and the central nervous system.

    Args:
        image: a volume or a single slice of any part of the body, axes in the order of :meth:`CTImage.canonical`.
        body: what lies inside the skin, where it is known.

    Raises:
        Refusal: there is no body in the image.
    """
    # Axial slices are worked on one by one; they have to lie together in memory.
    hu = np.asfortranarray(image.hu)
    body = np.asfortranarray(body_mask(image, arms=True) if body is None else body)
    if not body.any():
        raise Refusal(NO_BODY)
    grid = Grid.of(image.shape, image.spacing)
    regions, doubt, warnings = _coarse_regions(grid, hu, body)
    label = np.zeros(image.shape, np.uint8, order="F")

    def fill(k: int) -> None:
        if body[:, :, k].any():
            label[:, :, k] = _label_slice(hu[:, :, k], body[:, :, k], grid, regions, k)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(image.shape[2])))
    return BodySegmentation(label=label, doubt=doubt, warnings=warnings)


def _coarse_regions(grid: Grid, fine_hu: NDArray, fine_body: Mask) -> tuple[_Regions, float, tuple[str, ...]]:
    spacing = grid.spacing
    hu = grid.means(fine_hu)
    body = grid.means(fine_body) > 0.5
    plane = (float(spacing[0]), float(spacing[1]))
    trunk_body = by_slice(partial(without_arms, spacing=plane), body)

    bright, contrast = bright_bone(hu, body, spacing)
    canal = spinal_canal(hu, trunk_body, bright, spacing)
    skull = inside_skull(hu, bright, spacing)
    bone = filled_bone(
        hu, bright, canal, skull=skull, sacral=_sacral_place(trunk_body, bright, spacing), spacing=spacing
    )

    lungs = _lungs(hu, trunk_body, spacing)
    slices = _trunk_slices(trunk_body, bone, lungs, spacing)
    trunk = Trunk(hu=hu, body=trunk_body, bone=bone, contrast=contrast & ~bone, slices=slices, spacing=spacing)
    cavity, unseen = find_cavity(trunk)
    cavity &= ~bone & ~canal
    cavity |= trunk.contrast & trunk_body & slices
    cavity &= ~find_psoas(hu, cavity, bone, canal, spacing)
    bowel = _bowel_with_gas(grid.shares_below(fine_hu, FAT.low - 10), cavity, lungs, spacing)
    warnings = []
    if not slices.any():
        warnings.append("No trunk is in view: all soft tissue but the nervous system counts as muscle.")
    if not bone.any():
        unseen = 1.0
        warnings.append("No bone is in view: check that this is a CT of a patient.")
    regions = _Regions(
        bone=bone,
        near_bone=dilated(bone, 1.1 * float(spacing.max()), spacing),
        nerve=canal | skull,
        cavity=cavity,
        chest=_chest(lungs, cavity),
        bowel=bowel,
        genitals=_before_pubis(trunk_body, bone, slices, spacing),
    )
    return regions, min(1.0, unseen), tuple(warnings)


def _lungs(hu: NDArray[np.float32], body: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Large regions of gas that are not as empty as gas in the bowel."""
    gas = opened((hu < LUNG_HU[1]) & body, 4.0, spacing)
    pieces = cc3d.connected_components(gas, connectivity=6)
    voxel_cm3 = float(np.prod(spacing)) / 1000
    lungs = np.zeros_like(gas)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        if piece.sum() * voxel_cm3 > 20 and float(np.percentile(hu[box][piece], 25)) > LUNG_HU[0]:
            lungs[box] |= piece
    # The opening took thin recesses away.
    return dilated(lungs, 10.0, spacing) & (hu < LUNG_HU[1]) & body


def _bowel_with_gas(gas: NDArray[np.float32], cavity: Mask, lungs: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Bowel gas and the stool between its bubbles, which has the HU of fat where it shares voxels with gas.

    Args:
        gas: share of gas in every coarse voxel.
        cavity: the cavity of the trunk.
        lungs: gas that is not in the bowel.
        spacing: coarse voxel size (mm).
    """
    bowel = np.zeros_like(cavity)
    gas = np.where(cavity & ~dilated(lungs, 6.0, spacing), gas, 0)
    if gas.any():
        box = box_around(cavity, np.ceil(16.0 / spacing).astype(int))
        bubbly = ndimage.gaussian_filter(gas[box], 6.0 / spacing, truncate=2.5) > BUBBLES_SHARE
        bowel[box] = eroded(bubbly, 6.0, spacing) | closed(gas[box] > 0.3, 7.0, spacing)
    return bowel & cavity


def _trunk_slices(body: Mask, bone: Mask, lungs: Mask, spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Slices as wide as a trunk, from the lowest to the highest with bone in the middle or with both hip bones.

    None of them lies above the lungs.
    """
    x = (np.arange(body.shape[0]) + 0.5) * spacing[0]
    area_cm2 = float(spacing[0] * spacing[1]) / 100
    slices = np.zeros(body.shape[2], bool)
    wide = slices.copy()
    for k in range(body.shape[2]):
        pieces, count = ndimage.label(body[:, :, k])
        if count == 0:
            continue
        largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
        across = x[largest.any(axis=1)]
        wide[k] = across.max() - across.min() >= NARROWEST_TRUNK_MM
        aside = x - 0.5 * (across.max() + across.min())
        bone_cm2 = bone[:, :, k].sum(axis=1) * area_cm2
        slices[k] = bone_cm2[np.abs(aside) < 30].sum() > 1 or (
            largest.sum() * area_cm2 > 400 and _has_hip_bones(bone_cm2, aside)
        )
    # Between sacrum and pubis no bone may lie in the middle.
    seen = np.flatnonzero(slices & wide)
    slices = wide.copy()
    slices[: seen[0] if seen.size else None] = False
    slices[seen[-1] + 1 if seen.size else 0 :] = False
    if lungs.any():
        slices[np.flatnonzero(lungs.any(axis=(0, 1))).max() + 1 :] = False
    return slices


def _sacral_place(body: Mask, bone: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Where the sacrum may lie: behind and near the middle of a trunk, in the slices that show both hip bones."""
    x = (np.arange(body.shape[0]) + 0.5) * spacing[0]
    y = (np.arange(body.shape[1]) + 0.5) * spacing[1]
    area_cm2 = float(spacing[0] * spacing[1]) / 100
    place = np.zeros_like(body)
    for k in range(body.shape[2]):
        columns, rows = body[:, :, k].any(axis=1), body[:, :, k].any(axis=0)
        if not columns.any() or np.ptp(x[columns]) < NARROWEST_TRUNK_MM:
            continue
        aside = x - midpoint(columns, x)
        if _has_hip_bones(bone[:, :, k].sum(axis=1) * area_cm2, aside):
            place[np.ix_(np.abs(aside) < SACRUM_HALF_WIDTH_MM, y < midpoint(rows, y), [k])] = True
    return place


def _has_hip_bones(bone_cm2: NDArray[np.float64], aside: NDArray[np.float64]) -> bool:
    """Whether there is on either side more bone than a femoral shaft has, reaching nearer to the midline than one."""
    return all(
        bone_cm2[(side > 0) & (side < 110)].sum() > 10 and bone_cm2[(side > 0) & (side < 72)].sum() > 1
        for side in (aside, -aside)
    )


def _chest(lungs: Mask, cavity: Mask) -> Mask:
    """What lies above the diaphragm, which in every column is the lowest lung.

    Columns without lung (heart, mediastinum) take the height of the dome, unless most columns have none because the
    dome is not in view.
    """
    chest = np.zeros_like(cavity)
    columns = lungs.any(axis=2)
    if not columns.any():
        return chest
    height = np.where(columns, lungs.argmax(axis=2), cavity.shape[2]).astype(float)
    whole = cavity[:, :, lungs.any(axis=(0, 1))].sum(axis=(0, 1)).max()
    if columns.sum() > 0.55 * whole:
        height[~columns] = np.percentile(height[columns], 90)
    return (np.arange(cavity.shape[2])[None, None, :] >= height[:, :, None]) & cavity


def _before_pubis(body: Mask, bone: Mask, slices: NDArray[np.bool_], spacing: NDArray[np.float64]) -> Mask:
    """The place of the external genitals: in front of the pubic bones near the midline."""
    place = np.zeros_like(body)
    x = (np.arange(body.shape[0]) + 0.5) * spacing[0]
    y = (np.arange(body.shape[1]) + 0.5) * spacing[1]
    for k in np.flatnonzero(slices):
        aside = np.abs(x - midpoint(body[:, :, k].any(axis=1), x))
        band = aside < 25
        rows = body[band, :, k].any(axis=0)
        pubis = bone[band, :, k].any(axis=0) & (y > 0.5 * (y[rows].min() + y[rows].max())) if rows.any() else rows
        behind = bone[band, :, k].any(axis=0) & ~pubis
        # A sternum also lies in front; only in the pelvis the bone behind is as thin as a coccyx or missing.
        if pubis.any() and behind.sum() * spacing[1] < 20:
            place[np.ix_(aside < 45, y > y[pubis].max() + 12, [k])] = True
    return place


def _label_slice(hu: NDArray, body: Mask, grid: Grid, regions: _Regions, k: int) -> NDArray[np.uint8]:
    spacing = grid.fine_spacing
    area_cm2 = spacing[0] * spacing[1] / 100
    smooth = ndimage.gaussian_filter(
        hu.astype(np.float32), [0.0 if s > 1.5 else 0.8 / s for s in spacing[:2]], truncate=2.5
    )
    nerve = grid.fine_slice(regions.nerve, k) > 0.5
    cavity = grid.fine_slice(regions.cavity, k) > 0.5
    chest = grid.fine_slice(regions.chest, k) > 0.5
    bowel = grid.fine_slice(regions.bowel, k) > 0.5
    genitals = grid.fine_slice(regions.genitals, k) > 0.5
    bone = _bone_slice(hu, grid, regions, k) & ~nerve & body

    under_skin = _shrunk(body, SKIN_MM, spacing)
    # Voxels larger than that are shared within the rim itself.
    depths = _shrunk(under_skin, SHARED_WITH_SKIN_MM, spacing) if max(spacing[:2]) <= 2.5 else under_skin
    gas = smooth < FAT.low
    fat = (smooth <= FAT.high) & ~gas
    soft = smooth > FAT.high
    outside = body & ~cavity & ~bone & ~nerve

    muscle = outside & soft & depths & (hu < CALCIFIED_HU) & ~genitals
    muscle = _without_small(muscle, SMALLEST_MUSCLE_CM2 / area_cm2)
    gaps = fat & outside & depths
    muscle |= gaps & ~_without_small(gaps, SMALLEST_FAT_IN_MUSCLE_CM2 / area_cm2)

    label = np.zeros(hu.shape, np.uint8)
    label[outside & (fat | (soft & (hu < BONE.low)))] = _ID["subcutaneous_fat"]
    label[outside & genitals & soft] = _ID["internal_organs_and_vessels"]
    label[muscle] = _ID["muscle"]
    label[cavity & ~chest] = _ID["internal_organs_and_vessels"]
    label[cavity & chest & soft] = _ID["internal_organs_and_vessels"]
    label[cavity & fat & ~chest & ~bowel] = _ID["abdominal_visceral_fat"]
    label[cavity & fat & chest] = _ID["subcutaneous_fat"]
    label[body & ~under_skin & (hu < BONE.low)] = _ID["skin"]
    label[_folds(muscle, body & ~depths, spacing)] = _ID["skin"]
    label[bone] = _ID["bone"]
    label[nerve & body] = _ID["central_nervous_system"]
    return label


def _folds(muscle: Mask, rim: Mask, spacing: tuple[float, float, float]) -> Mask:
    """Pieces of a slice's muscle that are as thin as skin and begin at it: the natal cleft, skin on the table."""
    pieces = cc3d.connected_components(muscle, connectivity=4)
    folds = np.zeros(muscle.shape, bool)
    boxes = ndimage.find_objects(pieces)
    area_cm2 = np.bincount(pieces.ravel()) * spacing[0] * spacing[1] / 100
    beside = np.setdiff1d(pieces[ndimage.binary_dilation(rim) & muscle], 0)
    for number in beside[area_cm2[beside] < LARGEST_FOLD_CM2]:
        box = boxes[number - 1]
        piece = pieces[box] == number
        depth = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=spacing[:2])
        # The depth is that of voxel centres, counted from the centres outside.
        if 2 * depth.max() - min(spacing[:2]) <= THICKEST_FOLD_MM:
            folds[box] |= piece
    return folds


def _bone_slice(hu: NDArray, grid: Grid, regions: _Regions, k: int) -> Mask:
    """Bone at full resolution: the coarse bone's core, the cortex around it, and the marrow between the two."""
    share = grid.fine_slice(regions.bone, k)
    if grid.factors == (1, 1, 1):
        return share > 0.5
    cortex = (grid.fine_slice(regions.near_bone, k) > 0.3) & (hu > 180)
    bone = cortex | (share > 0.75)
    if not bone.any():
        return bone
    box = ndimage.find_objects(bone.astype(np.uint8))[0]
    inner = np.pad(bone[box], 3)
    filled = without_holes(ndimage.binary_closing(inner, iterations=2))[3:-3, 3:-3]
    bone[box] |= filled
    return bone & ((share > 0.4) | cortex)


def _shrunk(mask: Mask, mm: float, spacing: tuple[float, float, float]) -> Mask:
    """A slice's mask without its rim of ``mm``, one voxel at least; the edge of the image is no rim."""
    steps = max(1, round(mm / (0.5 * (spacing[0] + spacing[1]))))
    return ndimage.binary_erosion(mask, iterations=steps, border_value=1)  # type: ignore[no-any-return]


def _without_small(mask: Mask, voxels: float) -> Mask:
    pieces = cc3d.connected_components(mask, connectivity=4)
    keep = np.bincount(pieces.ravel()) >= voxels
    keep[0] = False
    return keep[pieces]  # type: ignore[no-any-return]
