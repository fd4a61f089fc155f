"""A few numbers that describe an image by what a network makes of it: alike for images that look alike to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import adaptive_avg_pool2d

_FEATURES = 64
"""Numbers that describe an image: enough to tell images apart by, and few enough to keep for every case."""
_CELLS = 2
"""Rows and columns into which the bottleneck is averaged: one mean over all would be the same for every image, as
InstanceNorm makes it so."""


def cells(bottleneck: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over the cells of a window's bottleneck.

    Args:
        bottleneck: ``(channels, rows, columns)``, or ``(channels, slices, rows, columns)``.

    Returns:
        ``(channels, 2, 2)``.
    """
    flat = bottleneck.mean(axis=1) if bottleneck.ndim == 4 else bottleneck
    return adaptive_avg_pool2d(torch.from_numpy(flat), _CELLS).numpy()  # type: ignore[no-any-return]


def describe(windows: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32] | None:
    """The mean over all windows of what :func:`cells` gives, in fewer dimensions; ``None`` where there is none.

    A fixed random projection keeps distances (Johnson and Lindenstrauss), whatever the network's width.

    Returns:
        ``(64,)``.
    """
    if not windows:
        return None
    mean = np.mean([each.ravel() for each in windows], axis=0)
    projection = np.random.default_rng(0).standard_normal((_FEATURES, mean.size)) / np.sqrt(_FEATURES)
    return (projection @ mean).astype(np.float32)  # type: ignore[no-any-return]
