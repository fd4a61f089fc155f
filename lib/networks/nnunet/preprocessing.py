"""nnU-Net's preprocessing of one slice, and the way back from its logits, as its plans say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.preprocessing.normalization import default_normalization_schemes
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from skimage.transform import resize
from torch.nn import functional

from lib.refusals import Refusal

_RESAMPLING = "resample_data_or_seg_to_shape"
"""The only one whose answer is known here; it is what nnU-Net plans by default."""


@dataclass(frozen=True)
class Prepared:
    """A slice as the networks see it.

    Attributes:
        data: ``(rows, columns)`` float32: cropped to what is not 0 HU, normalised, at the spacing of the plans.
        cropped_shape: of the slice after the crop, before it was resampled.
        box: of the crop, in the slice's rows and columns.
        shape: of the slice in rows and columns.
    """

    data: npt.NDArray[np.float32]
    cropped_shape: tuple[int, int]
    box: tuple[slice, slice]
    shape: tuple[int, int]


class Preprocessing:
    """What the plans of a 2-D configuration do to a slice.

    nnU-Net's own preprocessor reads the same plans, but it resamples a segmentation that does not exist, and takes
    one spline at a time: with it a slice waits longer than for a network.

    Args:
        plans: of the results folder.
        configuration: the one that the networks were trained in.

    Raises:
        Refusal: the configuration is not one that a single slice of CT can be put through.
    """

    def __init__(self, plans: PlansManager, configuration: ConfigurationManager) -> None:
        settings = configuration.configuration
        if len(configuration.patch_size) != 2 or plans.transpose_forward[0] != 0:
            raise Refusal("These networks were trained on volumes; single slices need a 2-D configuration of nnU-Net.")
        if len(configuration.normalization_schemes) != 1:
            raise Refusal("These networks want several images of one slice; a CT is one.")
        if configuration.use_mask_for_norm[0]:
            raise Refusal("These networks were trained on images normalised within a mask, as CT never is.")
        names = {settings["resampling_fn_data"], settings["resampling_fn_probabilities"]}
        if names != {_RESAMPLING} or settings["resampling_fn_probabilities_kwargs"].get("order") != 1:
            raise Refusal(f"The plans resample with {', '.join(sorted(names))}; only nnU-Net's default is known here.")
        self._order: int = settings["resampling_fn_data_kwargs"]["order"]
        self._spacing = tuple(configuration.spacing)
        # nnU-Net reads a slice of (x, y) as (y, x), and may swap these once more.
        self._swapped = plans.transpose_forward[1] == 1
        scheme = getattr(default_normalization_schemes, configuration.normalization_schemes[0])
        self._normalization = scheme(
            use_mask_for_norm=False,
            intensityproperties=plans.foreground_intensity_properties_per_channel["0"],
        )

    def apply(self, hu: npt.NDArray, spacing: Sequence[float]) -> Prepared:
        """Prepare a slice.

        Args:
            hu: ``(x, y)``.
            spacing: mm along x and y.

        Returns:
            What the networks take.
        """
        image = self._turned(hu.astype(np.float32))
        spacing = tuple(reversed(spacing)) if self._swapped else tuple(spacing)
        shape = (image.shape[0], image.shape[1])
        box = _box_of_nonzero(image)
        image = image[box]
        cropped_shape = (image.shape[0], image.shape[1])
        image = self._normalization.run(image.copy())
        new_shape = tuple(
            round(old / new * size) for size, old, new in zip(cropped_shape, spacing, self._spacing, strict=True)
        )
        if 0 in new_shape:
            raise Refusal("The slice is too small to be segmented.")
        return Prepared(_spline(image, new_shape, self._order), cropped_shape, box, shape)

    def restore(self, logits: torch.Tensor, prepared: Prepared) -> npt.NDArray[np.float32]:
        """Probabilities in the slice's own geometry.

        Args:
            logits: ``(folds, 1 + classes, rows, columns)`` of the prepared slice.
            prepared: the slice.

        Returns:
            ``(folds, 1 + classes, x, y)``; what the crop left out is background.
        """
        if logits.shape[2:] != prepared.cropped_shape:
            # The same as nnU-Net's order 1, at a hundredth of the time.
            logits = functional.interpolate(logits, prepared.cropped_shape, mode="bilinear", align_corners=False)
        inside = torch.softmax(logits, dim=1).numpy()
        if prepared.cropped_shape != prepared.shape:
            whole = np.zeros((*inside.shape[:2], *prepared.shape), dtype=np.float32)
            whole[:, 0] = 1
            whole[(slice(None), slice(None), *prepared.box)] = inside
            inside = whole
        return np.ascontiguousarray(self._turned(inside))

    def _turned(self, array: npt.NDArray) -> npt.NDArray:
        return array.swapaxes(-1, -2) if self._swapped else array


def _box_of_nonzero(image: npt.NDArray) -> tuple[slice, slice]:
    nonzero = image != 0
    if not nonzero.any():
        raise Refusal("The slice is empty: every pixel is 0 HU.")
    rows, columns = (np.flatnonzero(nonzero.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _spline(image: npt.NDArray, shape: tuple[int, ...], order: int) -> npt.NDArray[np.float32]:
    """The image resampled as nnU-Net does it: a spline along either axis, nothing beyond the image's own range."""
    if image.shape == shape:
        return image.astype(np.float32)
    rows, columns = (_spline_matrix(old, new, order) for old, new in zip(image.shape, shape, strict=True))
    result = rows @ image.astype(np.float64) @ columns.T
    return np.clip(result, image.min(), image.max()).astype(np.float32)


@lru_cache(maxsize=16)
def _spline_matrix(old: int, new: int, order: int) -> npt.NDArray[np.float64]:
    """Resampling along one axis is linear: what it makes of each unit vector is the column of a matrix."""
    options: dict[str, Any] = {"order": order, "mode": "edge", "anti_aliasing": False, "clip": False}
    return resize(np.eye(old), (new, old), **options)  # type: ignore[no-any-return]
