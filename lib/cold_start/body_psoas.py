"""The psoas muscles, which bulge into the cavity of the trunk beside the lumbar spine and run down to the groin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from lib.anatomy.hounsfield import MUSCLE
from lib.cold_start.body_grid import Mask, dilated

CANAL_TO_FRONT_MM = 40.0
BESIDE_MM = 30.0
SHARE_IN_PLACE = 0.65
TOUCHING_MM = 7.0
LARGEST_CM2 = 35.0


def find_psoas(hu: NDArray[np.float32], cavity: Mask, bone: Mask, canal: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Soft tissue of the cavity that belongs to the psoas, followed from the lumbar spine downwards.

    In every slice soft tissue is parted at its narrow places. A part is psoas when it touches the spine and most of it
    lies beside a vertebral body, or when most of it lies under what was psoas in the slice above; where a part is
    mostly something else, what lies under psoas still is.

    Args:
        hu: coarse CT, RAS order.
        cavity: the cavity of the trunk.
        bone: bone with its marrow.
        canal: the spinal canal.
        spacing: voxel size (mm).
    """
    smooth = ndimage.gaussian_filter(hu, [2.0 / spacing[0], 2.0 / spacing[1], 0], truncate=2)
    psoas = np.zeros(cavity.shape, bool)
    above = np.zeros(cavity.shape[:2], bool)
    area_cm2 = float(spacing[0] * spacing[1]) / 100
    for k in range(cavity.shape[2] - 1, -1, -1):
        soft = cavity[:, :, k] & (smooth[:, :, k] > MUSCLE.low) & (smooth[:, :, k] < MUSCLE.high)
        place = _beside_vertebra(bone[:, :, k], canal[:, :, k], spacing)
        if not (place.any() or above.any()):
            continue
        parts = _parts(soft, spacing)
        size = np.bincount(parts.ravel())
        in_place = np.bincount(parts[place], minlength=size.size)
        under = np.bincount(parts[above], minlength=size.size)
        at_spine = np.zeros(size.size, bool)
        at_spine[parts[dilated(bone[:, :, k], TOUCHING_MM, spacing[:2])]] = True
        chosen = (under > SHARE_IN_PLACE * size) | (at_spine & (in_place > SHARE_IN_PLACE * size))
        chosen &= size * area_cm2 < LARGEST_CM2
        chosen[0] = False
        above = chosen[parts] | ndimage.binary_opening(above & soft, np.ones((3, 3)))
        psoas[:, :, k] = above
    return psoas


def _beside_vertebra(bone: Mask, canal: Mask, spacing: NDArray[np.float64]) -> Mask:
    place = np.zeros(bone.shape, bool)
    if not canal.any():
        return place
    x = (np.arange(bone.shape[0]) + 0.5) * spacing[0]
    y = (np.arange(bone.shape[1]) + 0.5) * spacing[1]
    middle, back = x[canal.any(axis=1)].mean(), y[canal.any(axis=0)].max()
    rows = (y > back - 10) & (y < back + CANAL_TO_FRONT_MM)
    body = bone[:, (y > back + 5) & (y < back + 25)].any(axis=1) & (np.abs(x - middle) < 36)
    if not body.any():
        return place
    left, right = x[body].min(), x[body].max()
    columns = ((x < left) & (x > left - BESIDE_MM)) | ((x > right) & (x < right + BESIDE_MM))
    place[np.ix_(columns, rows)] = True
    return place


def _parts(soft: Mask, spacing: NDArray[np.float64]) -> NDArray[np.int32]:
    """A slice's soft tissue cut at its narrow places."""
    depth = ndimage.distance_transform_edt(soft, sampling=[float(spacing[0]), float(spacing[1])])
    relief = ndimage.gaussian_filter(depth, [2.5 / spacing[0], 2.5 / spacing[1]])
    peaks = (relief == ndimage.maximum_filter(relief, size=(5, 5))) & (depth > 4)
    markers, _ = ndimage.label(peaks, np.ones((3, 3)))
    return watershed(-relief, markers, mask=soft)  # type: ignore[no-any-return]
