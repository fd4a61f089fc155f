"""Small DICOM files of every kind that an archive meets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS = 20, 24
ORIENTATION = [0.8, 0.6, 0.0, -0.48, 0.64, 0.6]


def pixels(number: int) -> npt.NDArray[np.uint16]:
    """What the file of a number shows."""
    return (np.arange(ROWS * COLUMNS, dtype=np.uint16).reshape(ROWS, COLUMNS) * 7 + 900 + number).astype(np.uint16)


def ct(series: str, number: int, **changes: Any) -> pydicom.Dataset:
    """One oblique CT slice of a series."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{series.rpartition('.')[0]}.0", series
    dataset.PatientName, dataset.PatientID = "Müller^Änne", "4711"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyDescription = "20240229", "101112", "Abdomen"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 3, number
    dataset.SeriesDescription, dataset.ImageType = "portal venous", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImageOrientationPatient = ORIENTATION
    normal = np.cross(ORIENTATION[:3], ORIENTATION[3:])
    dataset.ImagePositionPatient = [float(f"{value:.8f}") for value in 3.0 * number * normal]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.9], "3"
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = pixels(number).astype("<u2").tobytes()
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    return dataset


def write(path: Path, dataset: pydicom.Dataset) -> Path:
    """Write a dataset in its own transfer syntax."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.is_little_endian = meta.TransferSyntaxUID != pydicom.uid.ExplicitVRBigEndian
    dataset.is_implicit_VR = meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(path, write_like_original=False)
    return path


def write_series(folder: Path, series: str = "", *, count: int = 3, **changes: Any) -> str:
    """A series of some slices; gives its identifier."""
    series = series or f"1.2.826.{generate_uid().rpartition('.')[2][:12]}"
    for number in range(1, count + 1):
        write(folder / f"{number}.dcm", ct(series, number, **changes))
    return series


def in_syntax(dataset: pydicom.Dataset, syntax: str, frames: Sequence[bytes]) -> pydicom.Dataset:
    """The same with its pixels in another transfer syntax."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if pydicom.uid.UID(syntax).is_encapsulated:
        dataset.PixelData = encapsulate(list(frames))
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = b"".join(frames)
    return dataset
