"""The surface of the body and its circumference, from the outline that the skin makes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.measure import marching_cubes, mesh_surface_area

from lib.measures.body_map import Mask

_CELL_MM = 4.0
_SEEN_MM = 2.0
"""Voxels are looked at so far apart at most, which is about the thickness of skin."""
_SMOOTH_CELLS = 0.7
_LEAST_VOXELS = 3


def surface_m2(label: npt.NDArray, spacing: npt.NDArray[np.float64], skin: int) -> float | None:
    """The surface of what the skin covers; where the image cuts the body, no surface is counted.

    Args:
        label: integers, axes in the order of ``CTImage.canonical()``.
        spacing: mm along its axes.
        skin: the value of skin.

    Returns:
        m², or ``None`` where no skin is labelled.
    """
    fine = [max(1, int(_SEEN_MM / float(mm))) for mm in spacing[:2]]
    label, spacing = label[:: fine[0], :: fine[1]], spacing * (*fine, 1)
    steps = [max(1, round(_CELL_MM / float(mm))) for mm in spacing]
    shares, skinned = _shares(label, steps, skin)
    if not skinned.any() or min(shares.shape) < 2:
        return None
    cell = spacing * steps
    smooth = ndimage.gaussian_filter(shares, _SMOOTH_CELLS, mode="nearest")
    if not smooth.min() < 0.5 < smooth.max():
        return None
    points, faces, *_ = marching_cubes(smooth, 0.5, mask=ndimage.binary_dilation(skinned, iterations=2))
    return float(mesh_surface_area(points * cell, faces)) / 1e6


def _shares(label: npt.NDArray, steps: list[int], skin: int) -> tuple[npt.NDArray[np.float32], Mask]:
    """For every block of voxels how much of it lies within the body, and whether it holds skin."""
    sizes = [-(-size // step) for size, step in zip(label.shape, steps, strict=True)]
    shares, skinned = np.zeros(sizes, np.float32), np.zeros(sizes, bool)
    starts = [np.arange(0, size, step) for size, step in zip(label.shape[:2], steps[:2], strict=True)]
    per_block = np.outer(*(np.diff([*at, size]) for at, size in zip(starts, label.shape[:2], strict=True)))
    for k in range(sizes[2]):
        slices = range(k * steps[2], min((k + 1) * steps[2], label.shape[2]))
        middle = np.asarray(label[:, :, slices[len(slices) // 2]])
        if not middle.any():
            continue
        body = ndimage.binary_fill_holes(middle > 0)
        blocks = np.add.reduceat(np.add.reduceat(body, starts[0], axis=0, dtype=np.int32), starts[1], axis=1)
        shares[:, :, k] = blocks / per_block
        skinned[:, :, k] = np.logical_or.reduceat(
            np.logical_or.reduceat(middle == skin, starts[0], axis=0), starts[1], axis=1
        )
    return shares, skinned


def circumference_cm(outline: Mask, spacing: tuple[float, float]) -> float | None:
    """What a tape around an axial slice would measure: it bridges every hollow.

    Args:
        outline: (x, y), inside the skin.
        spacing: pixel size in mm.

    Returns:
        cm, or ``None`` where there is too little to put a tape around.
    """
    points = np.argwhere(outline & ~ndimage.binary_erosion(outline))
    if len(points) < _LEAST_VOXELS or (np.ptp(points, axis=0) == 0).any():
        return None
    hull = ConvexHull(points * np.asarray(spacing))
    # In two dimensions `area` is the perimeter; it runs through the middles of pixels, half a pixel inside.
    return float(hull.area + np.pi * np.mean(spacing)) / 10
