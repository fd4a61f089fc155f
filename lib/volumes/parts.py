"""Small pieces of a structure that lie apart from it, which a network found by mistake."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt


def drop_small_parts(label: npt.NDArray[np.uint8], least: float) -> None:
    """Make background, in place, of pieces that are much smaller than the largest one of their class.

    Args:
        label: (x, y, z), values of the classes; voxels hang together across corners.
        least: what stays, as a part of the largest piece of its class.
    """
    pieces, count = cc3d.connected_components(label, connectivity=26, return_N=True)
    sizes = cc3d.statistics(pieces, no_slice_conversion=True)["voxel_counts"]
    classes = np.zeros(count + 1, np.uint8)
    for k in range(label.shape[2]):  # slice by slice, for the index is large
        there = label[:, :, k] > 0
        classes[pieces[:, :, k][there]] = label[:, :, k][there]
    largest = np.zeros(256)
    np.maximum.at(largest, classes[1:], sizes[1:])
    small = sizes < least * largest[classes]
    small[0] = False
    if small.any():
        for k in range(label.shape[2]):
            label[:, :, k][small[pieces[:, :, k]]] = 0
