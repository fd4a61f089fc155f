"""The grid of an image without its voxels, and bringing a label onto it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from scipy import ndimage

from lib.images.files import NIFTI_SUFFIXES, NRRD_SUFFIXES, image_suffix, read_volume
from lib.images.itk import ITK_ERRORS, affine_of
from lib.refusals import Refusal

# Affines go through float32 and decimal text on their way through a client: the corners of a 500 mm volume then move by
# micrometres. A twentieth of the smallest voxel edge is far above that and far below what anyone would call a shift.
CORNER_TOLERANCE_VOXELS = 0.05

_UNREADABLE = (OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the voxels of an image lie.

    Attributes:
        shape: number of voxels along the three axes, in file order.
        affine: 4 x 4, voxel indices to RAS+ mm.
        file_shape: the shape in the file, such as ``(i, j)`` for a 2-D image.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    file_shape: tuple[int, ...]

    @property
    def foot_to_head_axis(self) -> int:
        """The axis of the array that runs along the body."""
        return next(i for i, code in enumerate(nib.aff2axcodes(self.affine)) if code in "SI")

    def same_place(self, other: Grid) -> bool:
        """Whether both have the same voxels: equal shapes and corners at the same positions."""
        return self.shape == other.shape and _corner_distance(self, other.affine) <= _tolerance_mm(self.affine)


def read_grid(path: Path) -> Grid:
    """The grid of an image file, from its header where the format allows.

    Raises:
        Refusal: the file is missing or cannot be read.
    """
    if image_suffix(path.name) in NIFTI_SUFFIXES:
        try:
            nifti: Any = nib.load(path)
        except FileNotFoundError as error:
            raise Refusal(f"There is no file {path.name}.", status=404) from error
        except _UNREADABLE as error:
            raise Refusal(f"The image {path.name} cannot be read; it is damaged or cut short.") from error
        shape = list(nifti.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape.pop()
        shape += [1] * (3 - len(shape))
        if len(shape) == 3 and min(shape) > 0:
            return _grid(shape, nifti.affine, nifti.shape)
    if image_suffix(path.name) in NRRD_SUFFIXES and path.is_file():
        reader: Any = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except ITK_ERRORS as error:
            raise Refusal(f"The image {path.name} cannot be read; it is damaged or cut short.") from error
        size = list(reader.GetSize())
        if len(size) in (2, 3):
            return _grid(size + [1] * (3 - len(size)), affine_of(reader), size)
    array, affine, file_shape = read_volume(path)
    return _grid(array.shape, affine, file_shape)


def _grid(shape: Sequence[int], affine: npt.NDArray, file_shape: Sequence[int]) -> Grid:
    i, j, k = shape
    return Grid(shape=(i, j, k), affine=np.asarray(affine, dtype=np.float64), file_shape=tuple(file_shape))


def onto_grid(array: npt.NDArray, affine: npt.NDArray, grid: Grid) -> npt.NDArray:
    """A label in the voxel order of its image; axes may have been swapped or flipped, nothing is resampled.

    Args:
        array: the label, three axes in its own file order.
        affine: its voxel indices to RAS+ mm.
        grid: the image's grid.

    Raises:
        Refusal: shape or position are not the image's.
    """
    columns = np.linalg.solve(_directions(grid.affine), _directions(affine))
    axes = np.abs(columns).argmax(axis=0)
    if sorted(axes) != [0, 1, 2]:
        axes = np.arange(3)
        columns = np.eye(3)
    flips = np.where(columns[axes, range(3)] < 0, -1, 1)
    transform = np.column_stack([axes, flips]).astype(float)
    moved_affine = affine @ orientations.inv_ornt_aff(transform, array.shape)
    moved = orientations.apply_orientation(array, transform)
    if moved.shape != grid.shape:
        raise Refusal(
            f"The label has the shape {array.shape}, its image {grid.shape}; save it on the image's own grid."
        )
    distance = _corner_distance(grid, moved_affine)
    if not distance <= _tolerance_mm(grid.affine):
        raise Refusal(
            f"The label lies elsewhere than its image: their corners are up to {distance:.2f} mm apart. Save it with "
            "the image's own affine."
        )
    return moved  # type: ignore[no-any-return]


def resampled_onto_grid(array: npt.NDArray, affine: npt.NDArray, grid: Grid) -> npt.NDArray:
    """A label of any grid on the image's grid by nearest neighbour; 0 where the label does not reach."""
    # Rounded, because a voxel a billionth outside the array would count as outside.
    matrix = np.round(np.linalg.solve(affine, grid.affine), 6)
    return ndimage.affine_transform(  # type: ignore[no-any-return]
        array, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=0, mode="grid-constant", cval=0
    )


def _directions(affine: npt.NDArray) -> npt.NDArray:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise Refusal("The label's affine is singular or not finite.")
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)  # type: ignore[no-any-return]


def _tolerance_mm(affine: npt.NDArray) -> float:
    return CORNER_TOLERANCE_VOXELS * float(nib.affines.voxel_sizes(affine).min())


def _corner_distance(grid: Grid, affine: npt.NDArray) -> float:
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in grid.shape))], dtype=float)
    return float(np.linalg.norm(corners @ (affine - grid.affine).T, axis=1).max())
