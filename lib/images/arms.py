"""The arms beside the trunk on an axial slice, told apart by shape alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_ARM_OF_TRUNK = 0.4
_ARM_CONTACT_MM = 30.0
_SLIT_MM = 20.0
# The middle of an arm lies beyond the trunk's flank, or so little before it (as a share of the trunk's width).
_ARM_OVERLAP = 0.05


def without_arms(
    mask: npt.NDArray[np.bool_], spacing: tuple[float, float], trunk_at: tuple[int, int] | None = None
) -> npt.NDArray[np.bool_]:
    """One axial slice of a body mask without the arms beside the trunk.

    A part is an arm when it is much smaller than the trunk and lies to its side; where skin touches skin, the two are
    parted at the narrow place.

    Args:
        mask: (x, y), inside the skin.
        spacing: pixel size in mm.
        trunk_at: a pixel of the trunk or the neck, where one is known: what lies beside it is an arm, however large.
    """
    filled = _with_wide_holes_filled(mask, spacing)
    parts = _parts(filled, spacing)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    if np.count_nonzero(areas) < 2:
        return mask
    given = int(parts[trunk_at]) if trunk_at else 0
    trunk = given or int(np.argmax(areas))
    columns = np.flatnonzero((parts == trunk).any(axis=1))
    overlap = _ARM_OVERLAP * (columns[-1] - columns[0])
    largest = np.inf if given else _ARM_OF_TRUNK * areas[trunk]
    small = np.setdiff1d(np.flatnonzero((areas > 0) & (areas < largest)), trunk)
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
