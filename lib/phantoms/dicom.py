"""Writing a phantom as a DICOM CT series, one file per slice, as a scanner's archive would hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.valuerep import format_number_as_ds

from lib.images.ct import CTImage
from lib.phantoms.scanner import Scanner

_DATE, _TIME = "20000101", "120000"
_HU_OF_ZERO = -1024
_HIGHEST_HU = _HU_OF_ZERO + 4095  # twelve bits
_KERNELS = {"soft": "SOFT", "standard": "STANDARD", "sharp": "SHARP"}
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def as_series(image: CTImage) -> tuple[CTImage, bool]:
    """The image as a DICOM series can hold it: slices are stacked along rows x columns, so axes are right-handed.

    Returns:
        The image, its third axis turned round if need be (a view); whether it was turned.
    """
    if np.linalg.det(image.affine[:3, :3]) > 0:
        return image, False
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (image.shape[2] - 1)
    affine[:3, 2] *= -1
    return CTImage(hu=image.hu[:, :, ::-1], affine=affine, facts=image.facts), True


def write_dicom_series(
    folder: Path, image: CTImage, *, patient_id: str, description: str, scanner: Scanner, identity: str
) -> None:
    """Write one CT series; ``read_ct(folder)`` gives the voxels and affine of ``image`` again.

    Args:
        folder: an existing, empty folder.
        image: right-handed, see :func:`as_series`; whole HU of -1024 to 3071.
        patient_id: PatientID, also the family of PatientName.
        description: SeriesDescription.
        scanner: what the protocol says.
        identity: what the identifiers are made from: the same text gives the same ones, another text others.

    Raises:
        ValueError: the image is left-handed, sheared, or beyond the range of HU.
    """
    directions = image.affine[:3, :3] / image.spacing * _RAS_TO_LPS[:, None]
    if np.linalg.det(directions) < 0 or not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        raise ValueError("A series needs right-handed axes without shear.")
    if image.hu.min() < _HU_OF_ZERO or image.hu.max() > _HIGHEST_HU:
        raise ValueError(f"A series holds HU of {_HU_OF_ZERO} to {_HIGHEST_HU}.")
    common = _common(image, patient_id=patient_id, description=description, scanner=scanner, identity=identity)
    common.ImageOrientationPatient = [_ds(value) for value in (*directions[:, 0], *directions[:, 1])]
    origin, step = image.affine[:3, 3] * _RAS_TO_LPS, image.affine[:3, 2] * _RAS_TO_LPS
    axis = int(np.abs(directions[:, 2]).argmax())
    for k in range(image.shape[2]):
        position = origin + k * step
        own: dict[str, Any] = {
            "SOPInstanceUID": _uid(identity, "instance", str(k)),
            "InstanceNumber": k + 1,
            "ImagePositionPatient": [_ds(value) for value in position],
            "SliceLocation": _ds(position[axis]),
            "PixelData": (image.hu[:, :, k].T.astype(np.int32) - _HU_OF_ZERO).astype("<u2").tobytes(),
        }
        _write(folder / f"IM{k + 1:04d}.dcm", common, own)


def _common(image: CTImage, *, patient_id: str, description: str, scanner: Scanner, identity: str) -> Dataset:
    """What all slices of the series say."""
    x, y, z = image.spacing
    facts = image.facts
    header = Dataset()
    header.SOPClassUID = pydicom.uid.CTImageStorage
    header.SpecificCharacterSet = "ISO_IR 100"
    header.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    header.StudyInstanceUID = _uid(identity, "study")
    header.SeriesInstanceUID = _uid(identity, "series")
    header.FrameOfReferenceUID = _uid(identity, "frame")
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(header, f"{name}Date", _DATE)
        setattr(header, f"{name}Time", _TIME)
    header.Modality = "CT"
    header.Manufacturer, header.ManufacturerModelName = "Sarcopenia Label", "digital phantom"
    header.StudyDescription, header.SeriesDescription = "Digital phantom", description
    header.StudyID, header.SeriesNumber, header.AcquisitionNumber = "1", 1, 1
    header.AccessionNumber = header.ReferringPhysicianName = header.PositionReferenceIndicator = ""
    header.PatientPosition = "HFS"

    header.PatientID, header.PatientName = patient_id, f"Phantom^{patient_id}"
    header.PatientBirthDate = ""
    header.PatientSex = facts.sex or ""
    header.PatientAge = "" if facts.age_years is None else f"{round(facts.age_years):03d}Y"
    header.PatientSize = "" if facts.height_m is None else _ds(facts.height_m)
    header.PatientWeight = "" if facts.weight_kg is None else _ds(facts.weight_kg)
    header.QualityControlSubject = "YES"
    header.PatientComments = header.ImageComments = "digital phantom, not a patient"

    header.KVP, header.ConvolutionKernel = scanner.kvp, _KERNELS[scanner.kernel]
    if facts.contrast:
        header.ContrastBolusAgent = "drawn, portal venous phase"
    header.SliceThickness = header.SpacingBetweenSlices = _ds(z)
    header.PixelSpacing = [_ds(y), _ds(x)]

    header.Columns, header.Rows, _ = image.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, _HU_OF_ZERO, "HU"
    header.WindowCenter, header.WindowWidth = 50, 400
    return header


def _write(path: Path, common: Dataset, own: dict[str, Any]) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = common.SOPClassUID
    meta.MediaStorageSOPInstanceUID = own["SOPInstanceUID"]
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.update(common)
    for name, value in own.items():
        setattr(file, name, value)
    file.is_little_endian, file.is_implicit_VR = True, False
    file.save_as(path, write_like_original=False)


def _uid(*texts: str) -> pydicom.uid.UID:
    return pydicom.uid.generate_uid(entropy_srcs=["sarcopenia-label phantom", *texts])


def _ds(value: float | npt.NDArray) -> str:
    """A number as DICOM writes it, in at most 16 characters."""
    return format_number_as_ds(float(value) + 0.0)
