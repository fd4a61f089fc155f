"""The outline of the body on CT: everything inside the skin, without table, blankets and, if asked, arms."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.cold_start.body_grid import without_holes
from lib.images.arms import without_arms
from lib.images.ct import CTImage
from lib.images.field_of_view import along_edge_mm

# About half-way between air and skin, where the edge lies when a voxel is shared by both; above most mattresses.
SKIN_EDGE_HU = -400.0
_COARSE_MM = 2.5
_THINNEST_MM = 12.0
_SMALLEST_CM2 = 8.0
_SMALLEST_PART_OF_VOLUME = 0.02
CUT_OFF = "The body is cut off at the edge of the image; areas are too small."
_CUT_OFF_MM = 40.0


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
    tissue = np.asfortranarray(upright.hu > SKIN_EDGE_HU)  # its slices are dealt with one by one
    coarse = np.stack([_block_mean(tissue[..., k], steps) > 0.5 for k in range(tissue.shape[2])], axis=2)
    coarse_mm = (spacing[0] * steps[0], spacing[1] * steps[1])

    opened = np.stack([_opened(coarse[..., k], coarse_mm) for k in range(coarse.shape[2])], axis=2)
    opened = _large_parts(opened)
    if not arms:
        opened = np.stack([without_arms(opened[..., k], coarse_mm) for k in range(opened.shape[2])], axis=2)
    cross = np.ones((3, 3), dtype=bool)
    body = np.zeros(upright.shape, dtype=bool, order="F")
    for k in range(upright.shape[2]):
        if opened[..., k].any():
            near = ndimage.binary_dilation(opened[..., k], structure=cross)
            near = _enlarged(near, steps, upright.shape[:2])
            body[..., k] = without_holes(_largest_parts_2d(tissue[..., k] & near, spacing[:2]))
    return image.from_canonical(body)


def is_cut_off(hu: npt.NDArray, body: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> bool:
    """Whether the field of view cuts a part of the body off, so that areas are too small.

    Args:
        hu: (x, y), HU of an axial slice.
        body: (x, y), inside the skin, without arms.
        spacing: pixel size in mm.
    """
    return along_edge_mm(hu, body, spacing) > _CUT_OFF_MM


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
    """The share of true pixels in blocks of ``steps`` pixels of a slice; the last block may be a part."""
    padded = np.pad(mask, [(0, -n % step) for n, step in zip(mask.shape, steps, strict=True)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // steps[0], steps[0], padded.shape[1] // steps[1], steps[1])
    return blocks.mean(axis=(1, 3), dtype=np.float32)  # type: ignore[no-any-return]


def _enlarged(mask: npt.NDArray[np.bool_], steps: tuple[int, ...], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.repeat(np.repeat(mask, steps[0], axis=0), steps[1], axis=1)[: shape[0], : shape[1]]
