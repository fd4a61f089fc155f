"""Bone with its marrow, the spinal canal and the inside of the skull, on a coarse grid."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.anatomy.hounsfield import BONE, FAT, MUSCLE
from lib.cold_start.body_grid import Mask, by_slice, closed, dilated, midpoint, without_holes

TRABECULAR_HU = 160.0
SMALLEST_BONE_CM3 = 1.5
CANAL_REACH_MM = 22.0
MARROW_REACH_MM = 16.0
DIRECTIONS = 16
LARGE_SECTION_CM2 = 20.0
EVEN = 1.7
CONTRAST_HU = 700.0
SMALLEST_CORE_CM3 = 0.3
CORE_TO_EDGE_MM = 6.0
LARGEST_BRANCH_CM3 = 20.0
# From the middle of the sacrum to the hip bone, and from its anterior to its posterior plate, with some room.
SACRUM_MM = (57.0, 39.0)


def bright_bone(hu: NDArray[np.float32], body: Mask, spacing: NDArray[np.float64]) -> tuple[Mask, Mask]:
    """Voxels as dense as bone that hang together with enough cortex to be one; not yet filled.

    Single calcifications, stones and drops of contrast are smaller than any bone in view.

    Returns:
        Bone, and what is filled with contrast agent.
    """
    dense = (hu > TRABECULAR_HU) & body
    contrast = dilated(_contrast_cores(hu, dense, spacing), CORE_TO_EDGE_MM, spacing) & dense
    pieces = cc3d.connected_components(dense & ~contrast, connectivity=26)
    cortex = np.bincount(pieces[hu > BONE.low], minlength=int(pieces.max()) + 1)
    size = np.bincount(pieces.ravel())
    voxel_cm3 = float(np.prod(spacing)) / 1000
    depth_cm = min(1.0, hu.shape[2] * float(spacing[2]) / 10)
    keep = (size * voxel_cm3 >= SMALLEST_BONE_CM3 * depth_cm) & (cortex > 0.15 * size)
    # Branches and rims of what is filled with contrast.
    beside = np.unique(pieces[dilated(contrast, 1.1 * float(spacing.max()), spacing)])
    keep[beside[size[beside] * voxel_cm3 < LARGEST_BRANCH_CM3]] = False
    keep[0] = False
    return keep[pieces], contrast


def _contrast_cores(hu: NDArray[np.float32], dense: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Deep inside vessels, bowel, kidneys or a bladder filled with contrast agent.

    They are as even as other soft tissue, and end soon; bone is uneven, and where it is even (inside a femoral head)
    goes on as bone.
    """
    window = [2 * round(0.5 * (9 / s - 1)) + 1 if s < 6 else 1 for s in spacing]
    mean = ndimage.uniform_filter(hu, window)
    deviation = np.sqrt(np.maximum(ndimage.uniform_filter(hu * hu, window) - mean * mean, 0))
    soft = (hu > 20) & (hu < 80)
    if not soft.any():
        return np.zeros_like(dense)
    noise = float(np.percentile(deviation[soft], 25))
    deep = ndimage.binary_erosion(dense, np.ones(np.minimum(window, 3)))
    pieces = cc3d.connected_components(deep & (deviation < EVEN * noise) & (mean < CONTRAST_HU), connectivity=26)
    cores = np.zeros_like(dense)
    margin = np.ceil(2 * CORE_TO_EDGE_MM / spacing).astype(int) + 1
    size_cm3 = np.bincount(pieces.ravel()) * float(np.prod(spacing)) / 1000
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        if size_cm3[number] < SMALLEST_CORE_CM3:
            continue
        around = tuple(slice(max(0, b.start - m), b.stop + m) for b, m in zip(box, margin, strict=True))
        piece = pieces[around] == number
        distance = ndimage.distance_transform_edt(~piece, sampling=spacing)
        shell = (distance > CORE_TO_EDGE_MM) & (distance <= 2 * CORE_TO_EDGE_MM)
        if dense[around][shell].mean() < 0.5:
            cores[around] |= piece
    return cores


def _closed_slice(mask: Mask, voxels: tuple[int, int]) -> Mask:
    i, j = np.ogrid[-voxels[0] : voxels[0] + 1, -voxels[1] : voxels[1] + 1]
    disc = (i / max(voxels[0], 0.5)) ** 2 + (j / max(voxels[1], 0.5)) ** 2 <= 1.2
    padded = np.pad(mask, [(v + 1, v + 1) for v in voxels])
    done = ndimage.binary_closing(padded, disc)
    return done[voxels[0] + 1 : -voxels[0] - 1, voxels[1] + 1 : -voxels[1] - 1]  # type: ignore[no-any-return]


def _holes(bone: Mask, spacing: NDArray[np.float64], gap_mm: float) -> Mask:
    """What a slice's bone encloses, gaps of up to ``2 * gap_mm`` in the ring bridged."""
    reach = (max(1, round(gap_mm / spacing[0])), max(1, round(gap_mm / spacing[1])))
    ring = by_slice(partial(_closed_slice, voxels=reach), bone)
    return by_slice(without_holes, ring) & ~bone


def inside_skull(hu: NDArray[np.float32], bone: Mask, spacing: NDArray[np.float64]) -> Mask:
    """The intracranial space: a large region enclosed by bone, filled with soft tissue and nearly no fat or gas."""
    holes = _holes(bone, spacing, gap_mm=6)
    pieces, _ = ndimage.label(holes)
    skull = np.zeros(bone.shape, bool)
    area_cm2 = float(spacing[0] * spacing[1]) / 100
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        section = piece.sum(axis=(0, 1)) * area_cm2
        if section.max() < LARGE_SECTION_CM2:
            continue
        # Downwards the piece runs on into the canal and the marrow of the spine, upwards it only closes.
        section[int(np.argmax(section)) :] = LARGE_SECTION_CM2
        piece &= section >= LARGE_SECTION_CM2
        values = hu[box][piece]
        if np.mean(values < -20) < 0.05 and 5 < float(np.median(values)) < 70:
            skull[box] |= piece
    return skull


def spinal_canal(hu: NDArray[np.float32], body: Mask, bone: Mask, spacing: NDArray[np.float64]) -> Mask:
    """The spinal canal: a tube near the midline with bone on nearly every side and a vertebral body in front.

    Args:
        hu: coarse CT, RAS order.
        body: the trunk without arms.
        bone: :func:`bright_bone`.
        spacing: coarse voxel size (mm).
    """
    score = _enclosure(bone, spacing, CANAL_REACH_MM)
    x = (np.arange(bone.shape[0]) + 0.5) * spacing[0]
    y = (np.arange(bone.shape[1]) + 0.5) * spacing[1]
    for k in range(bone.shape[2]):
        score[np.abs(x - midpoint(body[:, :, k].any(axis=1), x)) > 35, :, k] = 0
        score[:, y > midpoint(body[:, :, k].any(axis=0), y) + 10, k] = 0
    front = _bone_in_front_cm2(bone, spacing)
    score[(front < 2) | bone | (hu < -60) | (hu > MUSCLE.high)] = 0
    sigma = [3 / spacing[0], 3 / spacing[1], 7 / spacing[2]]
    smooth = ndimage.gaussian_filter(score, sigma)
    path = _best_path(smooth)
    canal = np.zeros(bone.shape, bool)
    for k, (i, j) in enumerate(path):
        if smooth[i, j, k] < 0.42:
            continue
        near = (x[:, None] - x[i]) ** 2 + (y[None, :] - y[j]) ** 2 <= 13**2
        part = near & (smooth[:, :, k] > 0.6 * smooth[i, j, k]) & ~bone[:, :, k]
        pieces, _ = ndimage.label(part)
        if pieces[i, j]:
            canal[:, :, k] = pieces == pieces[i, j]
    return _bridged(canal, bone, spacing)


def _bridged(canal: Mask, bone: Mask, spacing: NDArray[np.float64]) -> Mask:
    """The canal through slices whose ring ligament and disc leave open: what its neighbours share."""
    seen = np.flatnonzero(canal.any(axis=(0, 1)))
    whole = canal.copy()
    for low, high in pairwise(seen):
        if high - low > 1 and (high - low) * spacing[2] < 45:
            both = canal[:, :, low] & canal[:, :, high]
            between = both if both.any() else canal[:, :, low]
            whole[:, :, low + 1 : high] = between[:, :, np.newaxis] & ~bone[:, :, low + 1 : high]
    beyond = int(15 / spacing[2])
    if seen.size:
        low, high = int(seen[0]), int(seen[-1])
        start = max(0, low - beyond)
        whole[:, :, start:low] = canal[:, :, low, np.newaxis] & ~bone[:, :, start:low]
        above = slice(high + 1, high + 1 + beyond)
        whole[:, :, above] = canal[:, :, high, np.newaxis] & ~bone[:, :, above]
    return whole


def _enclosure(bone: Mask, spacing: NDArray[np.float64], reach_mm: float) -> NDArray[np.float32]:
    """For every voxel the fraction of in-plane directions in which bone comes within reach."""
    count = np.zeros(bone.shape, np.uint8)
    step = float(max(spacing[:2]))
    margin = int(np.ceil(reach_mm / min(spacing[:2]))) + 1
    padded = np.pad(bone, ((margin, margin), (margin, margin), (0, 0)))
    n, m = bone.shape[:2]
    for angle in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
        seen = np.zeros(bone.shape, bool)
        for distance in np.arange(step, reach_mm + 0.1, step):
            di = margin + round(distance * np.cos(angle) / spacing[0])
            dj = margin + round(distance * np.sin(angle) / spacing[1])
            seen |= padded[di : di + n, dj : dj + m]
        count += seen
    return count.astype(np.float32) / DIRECTIONS


def _bone_in_front_cm2(bone: Mask, spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Area of bone in a box 40 mm wide that reaches 45 mm forward."""
    wide, deep = max(1, round(40 / spacing[0])), max(1, round(45 / spacing[1]))
    across = ndimage.uniform_filter1d(bone.astype(np.float32), wide, axis=0, mode="constant")
    forward = ndimage.uniform_filter1d(across, deep, axis=1, mode="constant", origin=-(deep // 2))
    nearby = ndimage.uniform_filter1d(forward, max(1, round(15 / spacing[2])), axis=2, mode="nearest")
    return nearby * np.float32(wide * deep * spacing[0] * spacing[1] / 100)  # type: ignore[no-any-return]


def _best_path(score: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The chain of one voxel per slice, neighbours at most two voxels apart, with the greatest sum of scores."""
    total = score[:, :, 0].copy()
    sums = [total]
    for k in range(1, score.shape[2]):
        total = score[:, :, k] + ndimage.maximum_filter(total, size=5, mode="constant")
        sums.append(total)
    i, j = (int(v) for v in np.unravel_index(int(np.argmax(total)), total.shape))
    path = [(i, j)]
    for k in range(score.shape[2] - 2, -1, -1):
        lo_i, lo_j = max(0, i - 2), max(0, j - 2)
        window = sums[k][lo_i : i + 3, lo_j : j + 3]
        di, dj = np.unravel_index(int(np.argmax(window)), window.shape)
        i, j = lo_i + int(di), lo_j + int(dj)
        path.append((i, j))
    return path[::-1]


def filled_bone(
    hu: NDArray[np.float32], bone: Mask, canal: Mask, *, skull: Mask, sacral: Mask, spacing: NDArray[np.float64]
) -> Mask:
    """Bone with its marrow: small regions that cortex encloses belong to it, canal and skull do not.

    Args:
        hu: coarse CT, RAS order.
        bone: :func:`bright_bone`.
        canal: :func:`spinal_canal`.
        skull: :func:`inside_skull`.
        sacral: where the sacrum may lie.
        spacing: coarse voxel size (mm).
    """
    bone = bone | _column(bone, canal, spacing)
    not_marrow = dilated(canal, 1.0, spacing) | skull
    bone = bone | (_sacral_marrow(hu, bone, sacral, spacing) & ~not_marrow)
    # Between two plates of cortex, as in the wing of the ilium, bone is near in nearly every direction.
    bone = bone | (closed(bone, 13.0, spacing) & (_enclosure(bone, spacing, MARROW_REACH_MM) > 0.78) & ~not_marrow)
    marrow = _enclosed(bone | canal, spacing, largest_cm2=25)
    # The wings of the sacrum are closed from front to back and from above, not within an axial slice.
    sagittal = _enclosed(np.moveaxis(bone | canal, 0, 2), spacing[[1, 2, 0]], largest_cm2=15, smallest_cm2=2)
    marrow = (marrow | np.moveaxis(sagittal, 2, 0)) & ~not_marrow
    return (bone | marrow) & ~canal & ~skull


def _sacral_marrow(hu: NDArray[np.float32], bone: Mask, sacral: Mask, spacing: NDArray[np.float64]) -> Mask:
    """What lies between the anterior and the posterior plate of the sacrum and between the hip bones, fat left out.

    The plates are open at the foramina and thin in osteoporosis, so that the marrow, which then has the HU of muscle,
    is no hole of the bone.
    """
    wide, deep = (max(1, round(mm / s)) for mm, s in zip(SACRUM_MM, spacing[:2], strict=True))
    across, along = np.ones((wide, 1)), np.ones((1, deep))
    between = np.zeros_like(bone)
    for k in np.flatnonzero(sacral.any(axis=(0, 1))):
        padded = np.pad(bone[:, :, k], ((wide, wide), (deep, deep)))
        plates = ndimage.binary_closing(padded, across) & ndimage.binary_closing(padded, along)
        between[:, :, k] = plates[wide:-wide, deep:-deep]
    return between & sacral & (hu > FAT.high)


def _enclosed(ring: Mask, spacing: NDArray[np.float64], *, largest_cm2: float, smallest_cm2: float = 0) -> Mask:
    """The holes of every slice whose area lies within the limits."""
    pieces = cc3d.connected_components(_sliced_apart(_holes(ring, spacing, gap_mm=4)), connectivity=6)
    size = np.bincount(pieces.ravel()) * float(spacing[0] * spacing[1]) / 100
    fits = (size >= smallest_cm2) & (size < largest_cm2)
    fits[0] = False
    return fits[pieces][:, :, ::2]  # type: ignore[no-any-return]


def _column(bone: Mask, canal: Mask, spacing: NDArray[np.float64]) -> Mask:
    """The vertebral bodies and discs in front of the canal, thin endplates and pale discs bridged."""
    slices = np.flatnonzero(canal.any(axis=(0, 1)))
    column = np.zeros_like(bone)
    if slices.size == 0:
        return column
    x = (np.arange(bone.shape[0]) + 0.5) * spacing[0]
    y = (np.arange(bone.shape[1]) + 0.5) * spacing[1]
    zone = np.zeros_like(bone)
    for k in slices:
        across, along = canal[:, :, k].any(axis=1), canal[:, :, k].any(axis=0)
        middle, front = x[across].mean(), y[along].max()
        zone[np.ix_(np.abs(x - middle) < 32, (y > front) & (y < front + 48), [k])] = True
    box = tuple(slice(max(0, c.min() - 6), c.max() + 7) for c in np.nonzero(zone))
    # No padding from foot to head: the column goes on beyond the first and the last slice.
    padded = np.pad(bone[box] & zone[box], ((6, 6), (6, 6), (0, 0)))
    column[box] = closed(padded, 13.0, spacing)[6:-6, 6:-6] & zone[box]
    return column & ~dilated(canal, 1.0, spacing)


def _sliced_apart(mask: Mask) -> Mask:
    """The slices with an empty one between each two, so that a three-dimensional labelling labels each by itself."""
    apart = np.zeros((*mask.shape[:2], 2 * mask.shape[2]), bool)
    apart[:, :, ::2] = mask
    return apart
