"""The order in which a DICOM series holds the voxels of an image file: frame by frame, as a scanner would send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from lib.refusals import BadImage

_RIGHT_ANGLE = 1e-3  # cosine; NIfTI headers are single precision


@dataclass(frozen=True, kw_only=True)
class FrameOrder:
    """How the axes of a file become columns, rows and frames: by flips and swaps, nothing is resampled.

    Attributes:
        shape: columns, rows, frames.
        affine: 4 x 4, indices (column, row, frame) to RAS+ mm. Columns run as near to the patient's left, rows to the
            back, frames to the head as the file's axes allow; the three are right-handed, as DICOM stacks them.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    _there: npt.NDArray
    _back: npt.NDArray

    def to_frames(self, array: npt.NDArray) -> npt.NDArray:
        """An array in file order as (column, row, frame): a view."""
        return orientations.apply_orientation(array, self._there)  # type: ignore[no-any-return]

    def from_frames(self, array: npt.NDArray) -> npt.NDArray:
        """An array of (column, row, frame) in file order: a view."""
        return orientations.apply_orientation(array, self._back)  # type: ignore[no-any-return]


def frame_order(shape: Sequence[int], affine: npt.NDArray) -> FrameOrder:
    """The order of frames of an image with three axes.

    Args:
        shape: of the array in file order.
        affine: 4 x 4, indices to RAS+ mm.

    Raises:
        BadImage: the affine is not one of a volume.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadImage("The image's affine is not a finite matrix with three directions.")
    own = orientations.io_orientation(affine)
    if np.isnan(own).any():
        raise BadImage("The image's affine has axes that cannot be told apart.")
    there = orientations.ornt_transform(own, orientations.axcodes2ornt(("L", "P", "S")))
    ordered = affine @ orientations.inv_ornt_aff(there, shape)
    if np.linalg.det(ordered[:3, :3]) < 0:
        there[there[:, 0] == 2, 1] *= -1
        ordered = affine @ orientations.inv_ornt_aff(there, shape)
    back = np.empty_like(there)
    for axis, (target, flip) in enumerate(there):
        back[int(target)] = axis, flip
    columns, rows, frames = (int(shape[int(axis)]) for axis in back[:, 0])
    return FrameOrder(shape=(columns, rows, frames), affine=ordered, _there=there, _back=back)


def refuse_skewed_rows(order: FrameOrder, name: str) -> None:
    """Refuse an image whose rows and columns are not at right angles; a tilted stack of frames is none of these.

    Raises:
        BadImage: DICOM has no words for it.
    """
    x, y = order.affine[:3, 0], order.affine[:3, 1]
    if abs(x @ y) > _RIGHT_ANGLE * np.linalg.norm(x) * np.linalg.norm(y):
        raise BadImage(
            f"The rows and columns of {name} are not at right angles: DICOM cannot hold it, OHIF not show it."
        )
