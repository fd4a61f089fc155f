"""The vertebrae between their endplates as a label, so that an annotator begins from marked levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.anatomy.schemas import L3_SLICE
from lib.cold_start.levels import SpineLevels
from lib.images import CTImage

# Reach of a vertebra from the centre of its body, with the transverse and spinous processes but without the ribs.
_BESIDE_MM = 42.0
_IN_FRONT_MM = 24.0
_BEHIND_MM = 65.0
# Half axes of an adult lumbar vertebral body, a little wide.
_BODY_HALF_WIDTH_MM = 27.0
_BODY_HALF_DEPTH_MM = 20.0
# Spongy bone of a body against the psoas beside it, and dense bone against contrast in vessels.
_BODY_HU = 100.0
_PROCESS_HU = 160.0
_SMOOTHING_MM = 1.0
# Where the basivertebral veins leave the body, its cortex is open.
_GAP_MM = 12.0
# How far a vertebra is marked whose other endplate is out of view.
_HEIGHT_MM = 28.0


def label_vertebrae(image: CTImage, found: SpineLevels) -> npt.NDArray[np.uint8]:
    """Mark the numbered vertebrae and the L3 slice.

    Args:
        image: in canonical order, the one that ``found`` was found in.
        found: the levels; only what they name is marked.

    Returns:
        Ids of the ``l3_slice`` schema, shape of the image. On the L3 slice the vertebral body is ``l3_slice``.
    """
    label = np.zeros(image.shape, np.uint8, order="F")
    if image.shape[2] == 1:
        label[:, :, 0] = mark_slice(image, 0)
        return label
    if found.centres_mm is None:
        return label
    slice_mm = float(image.spacing[2])
    for level in found.levels:
        name = f"vertebra_{level.name}"
        top, bottom = level.superior_mm, level.inferior_mm
        if name not in L3_SLICE or (top is None and bottom is None):
            continue
        low = bottom if bottom is not None else top - _HEIGHT_MM  # type: ignore[operator]
        high = top if top is not None else bottom + _HEIGHT_MM  # type: ignore[operator]
        for index in range(max(0, round(low / slice_mm)), min(image.shape[2], round(high / slice_mm) + 1)):
            body, processes = _bone_at(image, found.centres_mm, index)
            label[:, :, index][body | processes] = L3_SLICE.ids[name]
    if found.l3_slice is not None:
        body = _bone_at(image, found.centres_mm, found.l3_slice)[0]
        plane = label[:, :, found.l3_slice]
        plane[:] = L3_SLICE.ids["l3_slice"] * body if body.any() else mark_slice(image, found.l3_slice)
    return label


def _bone_at(
    image: CTImage, centres_mm: npt.NDArray[np.floating], index: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The vertebral body and the other bone around it on one slice."""
    centre_x, centre_y = (np.interp(index * image.spacing[2], centres_mm[:, 2], centres_mm[:, i]) for i in (0, 1))
    sx, sy = image.spacing[:2]
    x = np.arange(image.shape[0])[:, None] * sx - centre_x
    y = np.arange(image.shape[1])[None, :] * sy - centre_y
    hu = ndimage.gaussian_filter(image.hu[:, :, index].astype(np.float32), (_SMOOTHING_MM / sx, _SMOOTHING_MM / sy))
    in_body = (x / _BODY_HALF_WIDTH_MM) ** 2 + (y / _BODY_HALF_DEPTH_MM) ** 2 <= 1
    closed = ndimage.binary_closing(in_body & (hu > _BODY_HU), iterations=max(1, round(_GAP_MM / sx / 2)))
    body = ndimage.binary_fill_holes(_largest(closed & in_body))
    reach = (np.abs(x) <= _BESIDE_MM) & (y <= _IN_FRONT_MM) & (y >= -_BEHIND_MM)
    return body, reach & (hu > _PROCESS_HU) & ~body


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))  # type: ignore[no-any-return]


def mark_slice(image: CTImage, index: int) -> npt.NDArray[np.uint8]:
    """A slice that was not searched for: a small mark on it where the body is densest, (x, y), ids of the schema."""
    smooth = ndimage.gaussian_filter(image.hu[:, :, index].astype(np.float32), 5.0 / image.spacing[:2])
    x, y = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    marked = np.zeros(image.shape[:2], np.uint8)
    marked[max(0, x - 1) : x + 2, max(0, y - 1) : y + 2] = L3_SLICE.ids["l3_slice"]
    return marked
