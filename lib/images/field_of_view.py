"""The edge of what a scanner sees: the border of the image, or a circle in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Of the circle in a square image, as shares of its radius.
_RIM = (0.97, 0.99)
_BEYOND_RIM = 1.03


def along_edge_mm(hu: npt.NDArray, mask: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """How much of the edge of the field of view a mask touches, mm.

    Args:
        hu: (x, y), HU of an axial slice, which show whether only a circle was reconstructed.
        mask: (x, y).
        spacing: pixel size in mm.

    Returns:
        The longest stretch along one border of the image, or what lies along the circle.
    """
    along_border = (mask[[0, -1]].sum(axis=1).max() * spacing[1], mask[:, [0, -1]].sum(axis=0).max() * spacing[0])
    x, y = (np.linspace(-1, 1, size) for size in hu.shape)
    radius = np.hypot(x[:, None], y)
    along_rim = 0.0
    square = hu.shape[0] == hu.shape[1]
    if square and np.ptp(hu[radius > _BEYOND_RIM]) == 0:  # filled up around the circle that the scanner sees
        on_rim = (radius > _RIM[0]) & (radius <= _RIM[1])
        along_rim = float(mask[on_rim].mean()) * np.pi * hu.shape[0] * spacing[0]
    return float(max(*along_border, along_rim))
