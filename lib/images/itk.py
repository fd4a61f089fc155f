"""Between SimpleITK's LPS images with reversed axes and arrays with a RAS+ affine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

ITK_ERRORS = (RuntimeError,)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_out_of_memory(error: Exception) -> bool:
    """Whether one of :data:`ITK_ERRORS` is no fault of the file."""
    return "allocate memory" in str(error) or "bad_alloc" in str(error)


def array_of(image: sitk.Image) -> npt.NDArray:
    """The voxels with axes in file order (i, j, k), two or three of them."""
    return sitk.GetArrayFromImage(image).transpose()


def affine_of(image: sitk.Image) -> npt.NDArray[np.float64]:
    """The RAS+ affine in mm; a 2-D image gets a third axis of 1 mm."""
    size = image.GetDimension()
    direction = np.eye(3)
    direction[:size, :size] = np.reshape(image.GetDirection(), (size, size))
    spacing = np.ones(3)
    spacing[:size] = image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:size, 3] = image.GetOrigin()
    return _LPS_TO_RAS @ affine  # type: ignore[no-any-return]


def image_like(array: npt.NDArray, affine: npt.NDArray) -> sitk.Image:
    """A SimpleITK image of an array in file order (i, j, k) with a RAS+ affine in mm."""
    lps = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
