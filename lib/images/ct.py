"""A CT in memory: Hounsfield units, the affine that belongs to them, and what is known of the patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel import orientations

from lib.images.facts import PatientFacts
from lib.refusals import BadImage


@dataclass(frozen=True, kw_only=True)
class CTImage:
    """A CT volume or single slice with its geometry.

    Attributes:
        hu: Hounsfield units, always three-dimensional ``(i, j, k)`` in the order of the file, ``int16`` or
            ``float32``.
        affine: 4 x 4, voxel indices to RAS+ millimetres (NIfTI convention).
        facts: what is known of the patient.
        file_shape: the shape in the file, ``(i, j)`` for a 2-D image; a label goes back in this shape.
        warnings: what whoever reads a result of it has to know.
    """

    hu: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    facts: PatientFacts = field(default_factory=PatientFacts)
    file_shape: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.hu.ndim != 3:
            raise BadImage(f"A CT has three axes, this image has {self.hu.ndim}.")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise BadImage("The image's affine is not a finite 4 x 4 matrix.")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise BadImage("The image's affine is singular: at least one voxel spacing is zero.")
        if not self.file_shape:
            object.__setattr__(self, "file_shape", self.hu.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis of the array."""
        return self.hu.shape  # type: ignore[return-value]

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """Voxel size in mm along each axis of the array."""
        return nib.affines.voxel_sizes(self.affine)  # type: ignore[no-any-return]

    @property
    def voxel_cm3(self) -> float:
        """Volume of one voxel in cm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @cached_property
    def axis_codes(self) -> tuple[str, str, str]:
        """The nearest anatomical direction in which each index grows, such as ``("L", "P", "S")``."""
        return nib.aff2axcodes(self.affine)  # type: ignore[no-any-return]

    @property
    def foot_to_head_axis(self) -> int:
        """The axis of the array that runs along the body."""
        return next(i for i, code in enumerate(self.axis_codes) if code in "SI")

    def slice_area_cm2(self) -> float:
        """Area of one voxel in cm² within the slice across the foot-to-head axis."""
        i, j = (axis for axis in range(3) if axis != self.foot_to_head_axis)
        return float(np.linalg.norm(np.cross(self.affine[:3, i], self.affine[:3, j]))) / 100.0

    def canonical(self) -> CTImage:
        """The same voxels with axes as near to RAS+ as flips and swaps bring them (a view, nothing resampled).

        Index 0 grows from the patient's left to the right, index 1 from back to front, index 2 from foot to
        head.
        """
        transform = _to_ras(self.affine)
        hu = orientations.apply_orientation(self.hu, transform)
        affine = self.affine @ orientations.inv_ornt_aff(transform, self.shape)
        return CTImage(hu=hu, affine=affine, facts=self.facts, warnings=self.warnings)

    def from_canonical(self, array: npt.NDArray) -> npt.NDArray:
        """An array in the voxel order of :meth:`canonical`, put back into this image's own order."""
        transform = orientations.ornt_transform(
            orientations.axcodes2ornt(("R", "A", "S")), orientations.io_orientation(self.affine)
        )
        return orientations.apply_orientation(array, transform)  # type: ignore[no-any-return]

    @overload
    def slice_from_canonical(self, index: int) -> int: ...
    @overload
    def slice_from_canonical(self, index: float) -> float: ...
    def slice_from_canonical(self, index: float) -> float:
        """A foot-to-head slice number of :meth:`canonical` as the number in this image's own array, and back."""
        axis = self.foot_to_head_axis
        return index if self.axis_codes[axis] == "S" else self.shape[axis] - 1 - index


def _to_ras(affine: npt.NDArray) -> npt.NDArray:
    return orientations.ornt_transform(  # type: ignore[no-any-return]
        orientations.io_orientation(affine), orientations.axcodes2ornt(("R", "A", "S"))
    )
