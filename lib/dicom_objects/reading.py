"""Reading DICOM segmentations, also those of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import SegmentationStorage

from lib.dicom_objects.facts import as_plain_name
from lib.dicom_objects.source import LPS_TO_RAS
from lib.refusals import Refusal

LABELMAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATION_CLASSES = (str(SegmentationStorage), LABELMAP_STORAGE)
# What pydicom and Python raise for values that are not what their header says.
_DAMAGED = (ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class CodedSegment:
    """A segment as its object describes it.

    Attributes:
        number: by which frames refer to it.
        label: its name.
        code: value and coding scheme of the type of property, "" where there are none.
    """

    number: int
    label: str
    code: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One frame.

    Attributes:
        values: rows and columns; segment numbers, 0 where there is none.
        affine: 4 x 4, indices of column, row and slice to RAS+ mm; the slice of the frame is 0.
    """

    values: npt.NDArray[np.unsignedinteger]
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SegmentationFacts:
    """What a segmentation says of itself.

    Attributes:
        sop_uid: SOPInstanceUID.
        series_uid: its own SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        source_series: SeriesInstanceUIDs that it refers to.
        creator: who made it, or "".
        manufacturer: of the program that made it, or "".
        description: SeriesDescription, or "".
        is_phantom: it says that nobody was scanned.
    """

    sop_uid: str
    series_uid: str
    study_uid: str
    source_series: tuple[str, ...]
    creator: str
    manufacturer: str
    description: str
    is_phantom: bool


class SegmentationFile:
    """A DICOM segmentation.

    Args:
        source: its file, or the bytes of one.

    Raises:
        Refusal: it cannot be read, is no segmentation, or one of fractions.
    """

    def __init__(self, source: Path | bytes) -> None:
        try:
            self._dataset = pydicom.dcmread(BytesIO(source) if isinstance(source, bytes) else source)
            self.facts = segmentation_facts(self._dataset)
            kind = str(self._dataset.SegmentationType)
            self.segments = tuple(_segment(item) for item in self._dataset.SegmentSequence)
            self._shape = int(self._dataset.Rows), int(self._dataset.Columns)
            self._count = int(self._dataset.get("NumberOfFrames") or 1)
        except (InvalidDicomError, *_DAMAGED) as error:
            raise Refusal("The DICOM segmentation cannot be read; it is damaged or cut short.") from error
        if kind not in ("BINARY", "LABELMAP"):
            raise Refusal(f"The DICOM segmentation is {kind}; a label has no fractions, so save it as BINARY.")
        self._is_labelmap = kind == "LABELMAP"

    def planes(self) -> Iterator[Plane]:
        """The frames that have voxels, one after the other.

        Raises:
            Refusal: one is damaged, or does not say where it lies or which segment it shows.
        """
        try:
            frames = self._frames()
            shared = self._dataset.SharedFunctionalGroupsSequence[0]
            groups = self._dataset.PerFrameFunctionalGroupsSequence
            if len(groups) != self._count:
                raise ValueError(f"{len(groups)} descriptions of {self._count} frames")
            for values, own in zip(frames, groups, strict=True):
                if values.any():
                    if not self._is_labelmap:
                        item = _group("SegmentIdentificationSequence", own, shared)
                        values = values * np.uint16(item.ReferencedSegmentNumber)  # noqa: PLW2901
                    yield Plane(values=values, affine=_affine(own, shared))
        except _DAMAGED as error:
            said = " ".join(str(error).split()).rstrip(".")[:120]
            raise Refusal(f"The frames of the DICOM segmentation cannot be read ({said}).") from error

    def _frames(self) -> Iterator[npt.NDArray[np.unsignedinteger]]:
        rows, columns = self._shape
        if self._dataset.BitsAllocated != 1:
            yield from self._dataset.pixel_array.reshape(self._count, rows, columns)
            return
        packed = np.frombuffer(self._dataset.PixelData, np.uint8)
        size = rows * columns
        if packed.size * 8 < size * self._count:
            raise ValueError("the pixels are cut short")
        for number in range(self._count):
            first, skipped = divmod(number * size, 8)
            last = -(-(number + 1) * size // 8)
            yield np.unpackbits(packed[first:last], bitorder="little")[skipped : skipped + size].reshape(rows, columns)


def segmentation_facts(dataset: Dataset) -> SegmentationFacts:
    """What a segmentation says of itself; its pixels need not be there.

    Raises:
        Refusal: it is no segmentation.
        AttributeError: an identifier is missing.
    """
    if dataset.get("SOPClassUID") not in SEGMENTATION_CLASSES:
        raise Refusal("The DICOM object is no segmentation.")
    inside = dataset.get("ReferencedSeriesSequence") or []
    for study in dataset.get("StudiesContainingOtherReferencedInstancesSequence") or []:
        inside = [*inside, *(study.get("ReferencedSeriesSequence") or [])]
    names = (dataset.get("ContentCreatorName"), *_values(dataset.get("OperatorsName")))
    return SegmentationFacts(
        sop_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        study_uid=str(dataset.StudyInstanceUID),
        source_series=tuple(dict.fromkeys(str(item.SeriesInstanceUID) for item in inside)),
        creator=next((name for name in map(as_plain_name, names) if name), ""),
        manufacturer=str(dataset.get("Manufacturer") or ""),
        description=str(dataset.get("SeriesDescription") or ""),
        is_phantom=dataset.get("QualityControlSubject") == "YES",
    )


def _values(value: object) -> list[object]:
    return list(value) if isinstance(value, pydicom.multival.MultiValue) else [value]


def _segment(item: Dataset) -> CodedSegment:
    types = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    code = str(types[0].get("CodeValue") or ""), str(types[0].get("CodingSchemeDesignator") or "")
    return CodedSegment(number=int(item.SegmentNumber), label=str(item.get("SegmentLabel") or "").strip(), code=code)


def _affine(own: Dataset, shared: Dataset) -> npt.NDArray[np.float64]:
    position = np.array(_group("PlanePositionSequence", own, shared).ImagePositionPatient, dtype=float)
    orientation = np.array(_group("PlaneOrientationSequence", own, shared).ImageOrientationPatient, dtype=float)
    row_spacing, column_spacing = map(float, _group("PixelMeasuresSequence", own, shared).PixelSpacing)
    along_row, along_column = orientation[:3], orientation[3:]
    affine = np.eye(4)
    normal = np.cross(along_row, along_column)
    columns = (along_row * column_spacing, along_column * row_spacing, normal, position)
    affine[:3] = np.column_stack(columns) * LPS_TO_RAS[:, None]
    return affine


def _group(name: str, own: Dataset, shared: Dataset) -> Dataset:
    return (own if name in own else shared)[name][0]
