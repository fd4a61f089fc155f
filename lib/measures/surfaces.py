"""How far the surfaces of two segmentations of one structure lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distances between surfaces, mm.

    Attributes:
        assd_mm: average symmetric surface distance, the mean over the surface voxels of both (Heimann 2009).
        hausdorff_mm: the largest distance of a surface voxel of either to the other's surface.
        hausdorff95_mm: the same with the 95th percentile in place of the largest, of the side where it is larger.
    """

    assd_mm: float
    hausdorff_mm: float
    hausdorff95_mm: float


def surface_distances(
    found: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_], spacing: Sequence[float] | npt.NDArray[np.float64]
) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks, by exact distance transforms.

    Surface voxels are those with a face towards outside the mask, or at the edge of the image; distances are those of
    their centres. A slice is compared as an outline: with two axes, not as a volume one voxel thick, whose every voxel
    would lie at its surface.

    Args:
        found: mask ``(i, j, k)`` of a volume, or ``(i, j)`` of a slice.
        reference: mask of the same shape.
        spacing: voxel size in mm along each axis of the arrays; axes at right angles.

    Returns:
        ``None`` where one of the masks is empty: there is no distance to what is not there.

    Raises:
        ValueError: the shapes differ.
    """
    if found.shape != reference.shape:
        raise ValueError(f"masks of shape {found.shape} and {reference.shape} cannot be compared")
    if not found.any() or not reference.any():
        return None
    box = ndimage.find_objects((found | reference).astype(np.uint8))[0]
    edges = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (found, reference)]
    distances = [
        ndimage.distance_transform_edt(~other, sampling=[float(mm) for mm in spacing])[edge]
        for edge, other in (edges, edges[::-1])
    ]
    both = np.concatenate(distances)
    return SurfaceDistances(
        assd_mm=float(both.mean()),
        hausdorff_mm=float(both.max()),
        hausdorff95_mm=max(float(np.percentile(each, 95)) for each in distances),
    )
