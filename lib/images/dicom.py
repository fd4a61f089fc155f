"""Reading one CT series from a folder of DICOM files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom

from lib.images.ct import CTImage
from lib.images.facts import PatientFacts, parse_facts
from lib.images.itk import ITK_ERRORS, affine_of, array_of
from lib.refusals import BadImage

_FILES_LOOKED_AT = 32
_AGE_UNITS_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def read_dicom_folder(folder: Path) -> CTImage:
    """Read the one CT series that lies in a folder.

    Returns:
        Hounsfield units (rescale slope and intercept applied), affine, and the patient's facts.

    Raises:
        BadImage: there is no DICOM, no CT, more than one CT series, identifiers are missing, or pixels are damaged.
    """
    series = ct_series(folder)
    if len(series) > 1:
        raise BadImage(f"The folder {folder.name} holds {len(series)} CT series; give each its own folder.")
    return read_dicom_series(next(iter(series.values())))


def holds_dicom(folder: Path) -> bool:
    """Whether any of the first files directly in a folder is DICOM.

    Raises:
        OSError: the folder or a file in it cannot be read.
    """
    with os.scandir(folder) as entries:
        files = [e.path for e in entries if e.is_file() and not e.name.startswith(".")][:_FILES_LOOKED_AT]
    return any(is_dicom(path) for path in files)


def ct_series(folder: Path) -> dict[str, list[Path]]:
    """The CT series whose files lie directly in a folder: SeriesInstanceUID to files.

    Raises:
        BadImage: there is no DICOM, no CT, identifiers are missing, or a file is damaged.
    """
    headers = dicom_headers(folder)
    if not headers:
        raise BadImage(f"The folder {folder.name} holds no DICOM files.")
    check_identifiers(headers)
    series: dict[str, list[Path]] = {}
    other = set()
    for path, header in headers.items():
        if header.get("Modality") == "CT":
            series.setdefault(str(header.SeriesInstanceUID), []).append(path)
        else:
            other.add(str(header.get("Modality", "none")))
    if not series:
        raise BadImage(f"The folder {folder.name} holds no CT (modality {', '.join(sorted(other))}).")
    return series


def dicom_headers(folder: Path) -> dict[Path, pydicom.Dataset]:
    """The headers, without pixels, of all DICOM files directly in a folder; other files are passed over."""
    headers: dict[Path, pydicom.Dataset] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        try:
            headers[path] = pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue  # a README or a thumbnail beside the series
        except (OSError, EOFError, ValueError) as error:
            raise BadImage(f"{path.name} in {folder.name} is damaged: {error}") from error
    return headers


def check_identifiers(headers: dict[Path, pydicom.Dataset]) -> None:
    """Refuse files that were stripped of the identifiers by which slices belong to a series."""
    for path, header in headers.items():
        missing = [name for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID") if not header.get(name)]
        if missing:
            raise BadImage(
                f"{path.name} has no {', '.join(missing)}: the series was anonymised so far that its slices cannot be "
                "told from another's. Export it again with new identifiers, or convert it to NIfTI."
            )


def read_dicom_series(files: list[Path]) -> CTImage:
    """Read the files of one series, in any order, as a volume.

    Raises:
        BadImage: the geometry is not one of evenly spaced parallel slices, or the pixels cannot be decoded.
    """
    headers: list[pydicom.Dataset] = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    if len(files) == 1 and int(headers[0].get("NumberOfFrames", 1)) > 1:
        ordered = files
    else:
        ordered = _ordered_by_position(files, headers)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in ordered])
    try:
        image = reader.Execute() if len(ordered) > 1 else sitk.ReadImage(str(ordered[0]))
    except ITK_ERRORS as error:
        raise BadImage(f"The pixels of {ordered[0].parent.name} cannot be decoded; a file is damaged.") from error
    array = array_of(image)
    if array.ndim == 2:
        array = array[..., np.newaxis]
    hu = array.astype(np.float32) if array.dtype.kind == "f" else np.clip(array, -32768, 32767).astype(np.int16)
    return CTImage(hu=hu, affine=affine_of(image), facts=patient_facts(headers[0]))


def _ordered_by_position(files: list[Path], headers: list[pydicom.Dataset]) -> list[Path]:
    try:
        orientation = np.array(headers[0].ImageOrientationPatient, dtype=float)
        positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    except (AttributeError, TypeError, ValueError) as error:
        raise BadImage(f"{files[0].name} does not say where its slice lies (ImagePositionPatient).") from error
    normal = np.cross(orientation[:3], orientation[3:])
    along = positions @ normal
    order = np.argsort(along)
    gaps = np.diff(along[order])
    if len(gaps) and gaps.min() < 0.01:
        twice = files[int(order[int(np.argmin(gaps)) + 1])]
        raise BadImage(f"Two slices lie at the same position in this series (one is {twice.name}).")
    if len(gaps) > 1 and gaps.max() - gaps.min() > 0.1 * float(np.median(gaps)) + 0.02:
        after = files[int(order[int(np.argmax(np.abs(gaps - np.median(gaps))))])]
        raise BadImage(
            f"The slices are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm, after {after.name}): "
            "a slice is missing or belongs to another scan."
        )
    return [files[int(i)] for i in order]


def patient_facts(header: pydicom.Dataset) -> PatientFacts:
    """What a DICOM header says of the patient; absurd values count as unknown."""
    facts, _ = parse_facts(
        {
            "sex": header.get("PatientSex"),
            "age_years": _age_years(str(header.get("PatientAge", "") or "")),
            "height_m": header.get("PatientSize"),
            "weight_kg": header.get("PatientWeight"),
            "contrast": True if header.get("ContrastBolusAgent") else None,
            "phantom": True if header.get("QualityControlSubject") == "YES" else None,
        }
    )
    return facts


def _age_years(text: str) -> float | None:
    match = re.fullmatch(r"\s*(\d{1,3})([YMWD])\s*", text.upper())
    return int(match[1]) / _AGE_UNITS_PER_YEAR[match[2]] if match else None
