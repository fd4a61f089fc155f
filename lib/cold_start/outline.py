"""The outline of the body on CT: everything inside the skin, without table, blankets and, if asked, arms."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.images.ct import CTImage

# About half-way between air and skin, where the edge lies when a voxel is shared by both; above most mattresses.
SKIN_EDGE_HU = -400.0
_COARSE_MM = 2.5
_THINNEST_MM = 12.0
_SMALLEST_CM2 = 8.0
_SMALLEST_PART_OF_VOLUME = 0.02
_ARM_OF_TRUNK = 0.4
_ARM_CONTACT_MM = 30.0
_SLIT_MM = 20.0
CUT_OFF = "The body is cut off at the edge of the image; areas are too small."
_CUT_OFF_MM = 40.0
# Of the circle in a square image, as shares of its radius.
_RIM = (0.97, 0.99)
_BEYOND_RIM = 1.03
# The middle of an arm lies beyond the trunk's flank, or so little before it (as a share of the trunk's width).
_ARM_OVERLAP = 0.05


def body_mask(image: CTImage, *, arms: bool = True) -> npt.NDArray[np.bool_]:
    """What lies inside the skin, slice by slice across the foot-to-head axis.

    Whatever is thinner than 12 mm (table top, blankets, wires) is left off, and so is what does not hang together
    with the body or a limb; gas and lung inside the skin are filled.

    Args:
        image: a volume or a single slice in any orientation, HU.
        arms: whether arms beside the trunk stay in.

    Returns:
        A mask of the shape and in the voxel order of ``image.hu``; all false where there is only air.
    """
    upright = image.canonical()
    spacing = upright.spacing
    steps = tuple(max(1, round(_COARSE_MM / mm)) for mm in spacing[:2])
    tissue = upright.hu > SKIN_EDGE_HU
    coarse = _block_mean(tissue, steps) > 0.5
    coarse_mm = (spacing[0] * steps[0], spacing[1] * steps[1])

    opened = np.stack([_opened(coarse[..., k], coarse_mm) for k in range(coarse.shape[2])], axis=2)
    opened = _large_parts(opened)
    if not arms:
        opened = np.stack([without_arms(opened[..., k], coarse_mm) for k in range(opened.shape[2])], axis=2)
    cross = np.ones((3, 3), dtype=bool)
    body = np.zeros(upright.shape, dtype=bool)
    for k in range(upright.shape[2]):
        if opened[..., k].any():
            near = ndimage.binary_dilation(opened[..., k], structure=cross)
            near = _enlarged(near, steps, upright.shape[:2])
            body[..., k] = ndimage.binary_fill_holes(_largest_parts_2d(tissue[..., k] & near, spacing[:2]))
    return image.from_canonical(body)


def is_cut_off(hu: npt.NDArray, body: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> bool:
    """Whether the field of view cuts a part of the body off, so that areas are too small.

    Args:
        hu: (x, y), HU of an axial slice.
        body: (x, y), inside the skin, without arms.
        spacing: pixel size in mm.
    """
    along_border = (body[[0, -1]].sum(axis=1).max() * spacing[1], body[:, [0, -1]].sum(axis=0).max() * spacing[0])
    x, y = (np.linspace(-1, 1, size) for size in hu.shape)
    radius = np.hypot(x[:, None], y)
    along_rim = 0.0
    whole = hu.shape[0] == hu.shape[1]
    if whole and np.ptp(hu[radius > _BEYOND_RIM]) == 0:  # filled up around the circle that the scanner sees
        on_rim = (radius > _RIM[0]) & (radius <= _RIM[1])
        along_rim = float(body[on_rim].mean()) * np.pi * hu.shape[0] * spacing[0]
    return max(*along_border, along_rim) > _CUT_OFF_MM


def without_arms(mask: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """One axial slice of a body mask without the arms beside the trunk.

    A part is an arm when it is much smaller than the trunk and lies to its side; where skin touches skin, the two are
    parted at the narrow place.

    Args:
        mask: (x, y), inside the skin.
        spacing: pixel size in mm.
    """
    filled = _with_wide_holes_filled(mask, spacing)
    parts = _parts(filled, spacing)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    if np.count_nonzero(areas) < 2:
        return mask
    trunk = int(np.argmax(areas))
    columns = np.flatnonzero((parts == trunk).any(axis=1))
    overlap = _ARM_OVERLAP * (columns[-1] - columns[0])
    small = np.flatnonzero((areas > 0) & (areas < _ARM_OF_TRUNK * areas[trunk]))
    middles = ndimage.center_of_mass(filled, parts, small) if len(small) else []
    arms = [
        part
        for part, (x, _) in zip(small, middles, strict=True)
        if not columns[0] + overlap <= x <= columns[-1] - overlap
    ]
    return mask & ~np.isin(parts, arms)


def _with_wide_holes_filled(mask: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """The mask with gas and lung filled, but not the slit of air between an arm and the trunk that it touches."""
    holes = ndimage.binary_fill_holes(mask) & ~mask
    labels, count = ndimage.label(holes)
    if count == 0:
        return mask
    depth = ndimage.distance_transform_edt(holes, sampling=spacing)
    deepest = ndimage.maximum(depth, labels, index=np.arange(count + 1))
    return mask | (holes & (np.asarray(deepest) > _SLIT_MM / 2)[labels])  # type: ignore[no-any-return]


def _parts(mask: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> npt.NDArray[np.int32]:
    """Number the parts of a mask that hang together by more than a narrow contact; 0 is outside."""
    whole, _ = ndimage.label(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    cores, count = ndimage.label(depth > _ARM_CONTACT_MM / 2)
    if count == 0:
        return whole  # type: ignore[no-any-return]
    nearest = ndimage.distance_transform_edt(cores == 0, sampling=spacing, return_distances=False, return_indices=True)
    thick = np.isin(whole, np.unique(whole[cores > 0]))
    # A thin part that lies free, such as a wrist, has no core of its own.
    owner = np.where(thick, cores[tuple(nearest)], whole + count)
    return np.where(mask, owner, 0)


def _opened(mask: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """The mask without its thin parts; the corners of what stays are kept."""
    radius = _THINNEST_MM / 2
    # Beyond the field of view the body goes on, so the border is no edge of it.
    padded = np.pad(mask, 8, mode="edge")
    core = ndimage.distance_transform_edt(padded, sampling=spacing) > radius
    if not core.any():
        return np.zeros_like(mask)
    grown = ndimage.distance_transform_edt(~core, sampling=spacing) <= radius + 1.5 * max(spacing)
    return mask & grown[8:-8, 8:-8]


def _large_parts(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= _SMALLEST_PART_OF_VOLUME * sizes.max())[labels]  # type: ignore[no-any-return]


def _largest_parts_2d(mask: npt.NDArray[np.bool_], spacing: npt.NDArray) -> npt.NDArray[np.bool_]:
    labels = cc3d.connected_components(mask, connectivity=4)
    sizes = np.bincount(labels.ravel()) * float(spacing[0] * spacing[1]) / 100.0
    sizes[0] = 0.0
    return (sizes >= min(_SMALLEST_CM2, sizes.max()))[labels]  # type: ignore[no-any-return]


def _block_mean(mask: npt.NDArray[np.bool_], steps: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The share of true voxels in blocks of ``steps`` voxels in the plane; the last block may be a part."""
    width, height, depth = mask.shape
    fill = [(0, -width % steps[0]), (0, -height % steps[1]), (0, 0)]
    padded = np.pad(mask, fill, mode="edge")
    blocks = padded.reshape(padded.shape[0] // steps[0], steps[0], padded.shape[1] // steps[1], steps[1], depth)
    return blocks.mean(axis=(1, 3), dtype=np.float32)  # type: ignore[no-any-return]


def _enlarged(mask: npt.NDArray[np.bool_], steps: tuple[int, ...], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.repeat(np.repeat(mask, steps[0], axis=0), steps[1], axis=1)[: shape[0], : shape[1]]
