"""The CT series that a DICOM object refers to: its instances in the order of their positions, and its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from lib.refusals import Refusal

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
# Type 2 in every CT: they may be empty, and are missing where somebody anonymised by deleting.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_SEXES = ("M", "F", "O", "")
_MOMENTS: dict[str, type] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}


@dataclass(frozen=True, kw_only=True)
class SourceSeries:
    """A CT series without its pixels.

    Attributes:
        instances: one data set for each file; a multi-frame series has one.
        frames: for each slice, in the order of the third axis, the index of its instance, or of its frame in the only
            instance of a multi-frame series.
        shape: columns, rows, slices.
        affine: 4 x 4, indices of column, row and slice to RAS+ mm.
    """

    instances: tuple[Dataset, ...]
    frames: tuple[int, ...]
    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    @property
    def is_multiframe(self) -> bool:
        """Whether one file holds all slices."""
        return "NumberOfFrames" in self.instances[0]

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return str(self.instances[0].SeriesInstanceUID)

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return str(self.instances[0].StudyInstanceUID)

    def position(self, index: int) -> list[float]:
        """ImagePositionPatient of a slice, counted along the third axis."""
        return list((self.affine[:3, 3] + index * self.affine[:3, 2]) * LPS_TO_RAS)

    @property
    def is_phantom(self) -> bool:
        """Whether the series says that nobody was scanned."""
        return self.instances[0].get("QualityControlSubject") == "YES"


def source_series(headers: Sequence[Dataset]) -> SourceSeries:
    """Put the instances of one series in order.

    Args:
        headers: the data sets of all its files in any order, with or without pixels; what may be empty and is missing
            is added to them, and a date that is none is emptied.

    Raises:
        Refusal: they do not say where the slices lie, or lie in several places at once.
    """
    first = headers[0]
    for header in headers:
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
        if header.PatientSex not in _SEXES:
            header.PatientSex = "O"
        for name, kind in _MOMENTS.items():
            try:
                kind(header[name].value)
            except ValueError:
                setattr(header, name, "")
    try:
        if "NumberOfFrames" in first:
            positions, orientation, spacing, thickness = _of_multiframe(first)
        else:
            positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
            orientation = np.array(first.ImageOrientationPatient, dtype=float)
            spacing = [float(value) for value in first.PixelSpacing]
            thickness = float(first.get("SliceThickness") or 1.0)
        shape = (int(first.Columns), int(first.Rows), len(positions))
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise Refusal("The DICOM series does not say where its slices lie.") from error
    along_row, along_column = orientation[:3], orientation[3:]
    normal = np.cross(along_row, along_column)
    order = np.argsort(positions @ normal, kind="stable")
    step = (positions[order[-1]] - positions[order[0]]) / (len(order) - 1) if len(order) > 1 else normal * thickness
    affine = np.eye(4)
    columns = (along_row * spacing[1], along_column * spacing[0], step, positions[order[0]])
    affine[:3] = np.column_stack(columns) * LPS_TO_RAS[:, None]
    return SourceSeries(instances=tuple(headers), frames=tuple(int(n) for n in order), shape=shape, affine=affine)


def _of_multiframe(header: Dataset) -> tuple[npt.NDArray, npt.NDArray, list[float], float]:
    """Positions of the frames, the orientation, the spacing of rows and columns, and the slice thickness."""
    shared = header.SharedFunctionalGroupsSequence[0]
    frames = header.PerFrameFunctionalGroupsSequence

    def group(name: str, frame: Dataset) -> pydicom.Dataset:
        return (frame if name in frame else shared)[name][0]

    positions = [group("PlanePositionSequence", frame).ImagePositionPatient for frame in frames]
    orientation = group("PlaneOrientationSequence", frames[0]).ImageOrientationPatient
    measures = group("PixelMeasuresSequence", frames[0])
    thickness = float(measures.get("SliceThickness") or 1.0)
    spacing = [float(value) for value in measures.PixelSpacing]
    return np.array(positions, dtype=float), np.array(orientation, dtype=float), spacing, thickness
