"""Reading one CT series from a folder of DICOM files."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.misc import is_dicom
from pydicom.uid import MediaStorageDirectoryStorage

from lib.images.ct import CTImage
from lib.images.facts import PatientFacts, parse_facts
from lib.images.faults import refusing_passing_faults
from lib.images.itk import ITK_ERRORS, array_of, is_out_of_memory
from lib.refusals import BadImage

_FILES_LOOKED_AT = 32
_NUMBERS = ("age_years", "height_m", "weight_kg")
_AGE_UNITS_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
_NO_AGENT = re.compile(
    r"(0|N|NO|NON|NONE|NIL|NATIVE|NATIV|PLAIN|WITHOUT|UNENHANCED|W/?O|NON?[ _-]?(IV )?(CONTRAST|CE)"
    r"|(WITHOUT|W/?O) (IV )?CONTRAST|NOT (GIVEN|APPLIED|USED))\.?"
)
_ENTERAL = re.compile(r"(PER )?(ORAL|OS|PO|RECTAL|RECTUM|ENTERAL|ENTERIC)( CONTRAST| ROUTE)?")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_OF_IMAGE = (*_IDENTIFIERS, "Modality", "NumberOfFrames", "ImagePositionPatient")
_OF_SERIES = ("ImageType", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_OF_PATIENT = (
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "QualityControlSubject",
    "ContrastBolusAgent", "ContrastBolusRoute",
    "PatientID", "IssuerOfPatientID",
)  # fmt: skip
_TAGS = [*_OF_IMAGE, *_OF_SERIES, *_OF_PATIENT]
NOT_AXIAL = "reformats that are not axial"
_AXIAL = 0.7  # cosine of the angle to the body's axis
_OFF_THE_LINE_MM = 0.1
_SUFFIXES = (".dcm", ".dicom", ".ima")
DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError,
    NotImplementedError, OSError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What pydicom and Python raise for values that are not what their header says."""


@dataclass(frozen=True)
class Headers:
    """The DICOM files directly in a folder.

    Attributes:
        of: path to the tags that this program uses.
        set_aside: path to a sentence on why a file cannot be used.
    """

    of: dict[Path, pydicom.Dataset]
    set_aside: dict[Path, str]

    @property
    def warning(self) -> str:
        """A sentence on what was set aside, or ""."""
        if not self.set_aside:
            return ""
        files = "1 file" if len(self.set_aside) == 1 else f"{len(self.set_aside)} files"
        first = next(iter(self.set_aside)).name
        return f"{files} of the DICOM folder could not be used (first {first}): slices may be missing at an end."


@dataclass(frozen=True)
class CTSeries:
    """The CT series directly in a folder.

    Attributes:
        files: SeriesInstanceUID to files.
        warnings: what whoever reads a result of any of them has to know.
    """

    files: dict[str, list[Path]]
    warnings: tuple[str, ...]


def read_dicom_folder(folder: Path) -> CTImage:
    """Read the one CT series that lies in a folder.

    Returns:
        Hounsfield units (rescale slope and intercept applied), affine, and the patient's facts; with a warning where
        files had to be set aside.

    Raises:
        BadImage: there is no DICOM, no CT, more than one CT series, identifiers are missing, or pixels are damaged.
        Refusal: 503, when the system does not let it be read.
    """
    series = ct_series(folder)
    if len(series.files) > 1:
        raise BadImage(f"The folder {folder.name} holds {len(series.files)} CT series; give each its own folder.")
    return read_dicom_series(next(iter(series.files.values())), series.warnings)


def holds_dicom(folder: Path) -> bool:
    """Whether any of the first files directly in a folder is DICOM, other than a directory of a medium (DICOMDIR).

    Raises:
        OSError: the folder or a file in it cannot be read.
    """
    with os.scandir(folder) as entries:
        files = [e.path for e in entries if e.is_file() and not e.name.startswith(".")][:_FILES_LOOKED_AT]
    return any(is_dicom(path) and not _is_directory(Path(path)) for path in files)


def ct_series(folder: Path) -> CTSeries:
    """The CT series whose files lie directly in a folder; files that cannot be used are set aside.

    Raises:
        BadImage: there is no DICOM, no CT, or no file that can be used.
        Refusal: 503, when the system does not let it be read.
    """
    headers = dicom_headers(folder)
    series: dict[str, list[Path]] = {}
    other = set()
    for path, header in headers.of.items():
        if header.get("Modality") == "CT":
            series.setdefault(str(header.SeriesInstanceUID), []).append(path)
        else:
            other.add(str(header.get("Modality", "none")))
    warnings = (headers.warning,) if headers.warning else ()
    reasons = {uid: why_no_volume(headers.of[files[0]]) for uid, files in series.items()}
    for wanted in ("", NOT_AXIAL):  # a reformat is taken where there is nothing else
        if any(reason == wanted for reason in reasons.values()):
            return CTSeries({uid: files for uid, files in series.items() if reasons[uid] == wanted}, warnings)
    if series:
        told = ", ".join(sorted(set(reasons.values())))
        raise BadImage(" ".join([f"The folder {folder.name} holds no CT of the body, only {told}.", *warnings]))
    if other:
        raise BadImage(
            " ".join([f"The folder {folder.name} holds no CT (modality {', '.join(sorted(other))}).", *warnings])
        )
    raise BadImage(next(iter(headers.set_aside.values()), f"The folder {folder.name} holds no DICOM files."))


def why_no_volume(header: pydicom.Dataset) -> str:
    """What a CT image is, if it is none of the body in axial slices; else "".

    Args:
        header: with the tags that say so.
    """
    if "LOCALIZER" in (patient_value(header, "ImageType") or []):
        return "a scout"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return ""  # of many frames each says for itself where it lies
    try:
        orientation = np.array(header.ImageOrientationPatient, dtype=float)
        np.array(header.ImagePositionPatient, dtype=float)
        normal = np.cross(orientation[:3], orientation[3:])
    except DAMAGED:
        return "images without a position"
    return "" if abs(normal[2]) > _AXIAL else NOT_AXIAL


def dicom_headers(folder: Path) -> Headers:
    """The headers of all DICOM files directly in a folder; a README or a thumbnail beside them is passed over.

    Raises:
        Refusal: 503, when the system does not let them be read.
    """
    headers = Headers({}, {})
    with refusing_passing_faults(folder.name):
        for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
            try:
                if not is_dicom(path):
                    if path.suffix.lower() in _SUFFIXES or path.stat().st_size == 0:
                        headers.set_aside[path] = f"{path.name} in {folder.name} is damaged: it is no DICOM."
                else:
                    headers.of[path] = read_header(path)
            except BadImage as fault:
                if not _is_directory(path):  # that has no identifiers of its own
                    headers.set_aside[path] = str(fault)
    return headers


def _is_directory(path: Path) -> bool:
    """Whether a DICOM file lists what lies on a medium and holds no image itself."""
    try:
        return read_file_meta_info(path).get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
    except DAMAGED:
        return False  # reading it as an image will say what is wrong


def read_header(path: Path) -> pydicom.Dataset:
    """The tags that this program uses; those of the image can be understood.

    Raises:
        BadImage: it is damaged, or was stripped of the identifiers by which slices belong to a series.
        OSError: the system does not let it be read.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        for name in _OF_IMAGE:
            value = header.get(name)  # pydicom looks at a value only when it is asked for
            if name == "ImagePositionPatient" and value and np.shape(np.array(value, dtype=float)) != (3,):
                raise ValueError(f"{name} is not three numbers")
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(f"{path.name} in {path.parent.name} is damaged ({said_of(error)}).") from error
    if missing := missing_identifiers(path.name, header):
        raise BadImage(missing)
    return header


def missing_identifiers(name: str, header: pydicom.Dataset) -> str:
    """A sentence on the identifiers that a file was stripped of, or ""."""
    missing = [identifier for identifier in _IDENTIFIERS if not header.get(identifier)]
    if not missing:
        return ""
    return (
        f"{name} has no {', '.join(missing)}: the series was anonymised so far that its slices cannot be "
        "told from another's. Export it again with new identifiers, or convert it to NIfTI."
    )


def said_of(error: Exception) -> str:
    """What a library says of a damaged file, short enough for a sentence."""
    return " ".join(str(error).split()).rstrip(".")[:120] or type(error).__name__


def read_dicom_series(files: list[Path], warnings: tuple[str, ...] = ()) -> CTImage:
    """Read the files of one series, in any order, as a volume.

    Args:
        files: as :func:`ct_series` gives them.
        warnings: for the image.

    Raises:
        OSError, MemoryError: the system does not let a file be read, or there is no memory for it.
        BadImage: the geometry is not one of evenly spaced parallel slices, or the pixels cannot be decoded.
    """
    headers = [read_header(path) for path in files]
    if int(headers[0].get("NumberOfFrames") or 1) > 1:
        if len(files) > 1:
            raise BadImage(f"The series has {len(files)} files of many frames each (one is {files[0].name}).")
        ordered, stack = files, _frame_stack(files[0])
    else:
        order = _ordered_by_position(files, headers)
        ordered, headers = [files[i] for i in order], [headers[i] for i in order]
        positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
        _refuse_off_the_line(positions, [path.name for path in ordered])
        plane = np.array(headers[0].ImageOrientationPatient, dtype=float)
        stack = _Stack(
            plane=plane,
            spacing=_spacing(headers[0], ordered[0]),
            thickness=_thickness(headers[0]),
            positions=positions,
            order=slice(None),
        )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in ordered])
    try:
        image = reader.Execute() if len(ordered) > 1 else sitk.ReadImage(str(ordered[0]))
    except ITK_ERRORS as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise BadImage(f"The pixels of {ordered[0].parent.name} cannot be decoded; a file is damaged.") from error
    array = array_of(image)
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if len(stack.positions) != array.shape[2]:
        raise BadImage(f"{ordered[0].name} holds {array.shape[2]} frames and says where {len(stack.positions)} lie.")
    array = array[:, :, stack.order]
    hu = array.astype(np.float32) if array.dtype.kind == "f" else np.clip(array, -32768, 32767).astype(np.int16)
    facts, wrong = _facts(headers[0])
    of_facts = tuple(f"In DICOM, {wrong[name]} It was left out." for name in _NUMBERS if name in wrong)
    return CTImage(hu=hu, affine=_affine(stack), facts=facts, warnings=(*warnings, *of_facts))


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """Where the slices of a series lie.

    Attributes:
        plane: directions of a row and of a column (LPS).
        spacing: between rows and between columns, mm.
        thickness: of a slice, mm.
        positions: of their first voxels (LPS, mm), in their order in space.
        order: which of the decoded slices comes at each place.
    """

    plane: npt.NDArray[np.float64]
    spacing: npt.NDArray[np.float64]
    thickness: float
    positions: npt.NDArray[np.float64]
    order: npt.NDArray[np.intp] | slice


def _spacing(header: pydicom.Dataset, file: Path) -> npt.NDArray[np.float64]:
    """The distances between rows and between columns.

    Raises:
        BadImage: the file does not say them; every area would be a guess.
    """
    try:
        spacing = np.array(header.PixelSpacing, dtype=float)
    except DAMAGED:
        spacing = np.zeros(0)
    if spacing.shape != (2,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise BadImage(f"{file.name} does not say how large its pixels are (PixelSpacing).")
    return spacing


def _thickness(header: pydicom.Dataset) -> float:
    """Of a single slice, mm; 1 where nothing is said."""
    try:
        return float(header.SliceThickness) or 1.0
    except DAMAGED:
        return 1.0


def _refuse_off_the_line(positions: npt.NDArray, names: list[str]) -> None:
    """Refuse slices, in order, that do not begin along a line; it is aslant where the gantry was tilted.

    Raises:
        BadImage: with the name of one of them.
    """
    line = np.linspace(positions[0], positions[-1], len(positions))
    away = np.linalg.norm(positions - line, axis=1)
    step = np.linalg.norm(positions[-1] - positions[0]) / max(1, len(positions) - 1)
    if away.max() > _OFF_THE_LINE_MM + 0.1 * step:
        name = names[int(away.argmax())]
        raise BadImage(f"The slices do not lie behind each other: {name} is {away.max():.1f} mm beside the others.")


def _frame_stack(file: Path) -> _Stack:
    """The frames of an enhanced CT, in their order in space.

    Raises:
        BadImage: they do not say where they lie, or are no evenly spaced parallel slices.
    """
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        frames = dataset.PerFrameFunctionalGroupsSequence
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
        positions = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], dtype=float)
        oriented = [frame if "PlaneOrientationSequence" in frame else shared for frame in frames]
        planes = np.array([each.PlaneOrientationSequence[0].ImageOrientationPatient for each in oriented], dtype=float)
        measured = frames[0] if "PixelMeasuresSequence" in frames[0] else shared
        measures = measured.PixelMeasuresSequence[0]
    except DAMAGED as error:
        raise BadImage(f"{file.name} has many frames and does not say where each of them lies.") from error
    if np.ptp(planes, axis=0).max() > 1e-3:
        raise BadImage(f"The frames of {file.name} are not parallel: it holds several stacks.")
    along = positions @ np.cross(planes[0, :3], planes[0, 3:])
    order = np.argsort(along, kind="stable")
    names = [f"frame {index + 1} of {file.name}" for index in order]
    _refuse_gaps(along[order], names)
    _refuse_off_the_line(positions[order], names)
    return _Stack(
        plane=planes[0],
        spacing=_spacing(measures, file),
        thickness=_thickness(measures),
        positions=positions[order],
        order=order,
    )


def _affine(stack: _Stack) -> npt.NDArray[np.float64]:
    """From (column, row, slice) to RAS+ mm, exactly as the headers say; ITK would put a tilted stack upright."""
    across, down = stack.plane[:3] * stack.spacing[1], stack.plane[3:] * stack.spacing[0]
    count = len(stack.positions)
    if count > 1:
        step = (stack.positions[-1] - stack.positions[0]) / (count - 1)
    else:
        step = np.cross(stack.plane[:3], stack.plane[3:]) * stack.thickness
    affine = np.eye(4)
    affine[:3] = np.column_stack([across, down, step, stack.positions[0]]) * np.array([[-1], [-1], [1]])
    return affine


def _ordered_by_position(files: list[Path], headers: list[pydicom.Dataset]) -> list[int]:
    try:
        orientation = np.array(headers[0].ImageOrientationPatient, dtype=float)
        positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    except DAMAGED as error:
        raise BadImage(f"{files[0].name} does not say where its slice lies (ImagePositionPatient).") from error
    normal = np.cross(orientation[:3], orientation[3:])
    along = positions @ normal
    order = np.argsort(along)
    _refuse_gaps(along[order], [files[index].name for index in order])
    return [int(index) for index in order]


def _refuse_gaps(along: npt.NDArray, names: list[str]) -> None:
    """Refuse slices, in order, that are not evenly spaced.

    Raises:
        BadImage: with the name of one of them.
    """
    gaps = np.diff(along)
    if len(gaps) and gaps.min() < 0.01:
        twice = names[int(np.argmin(gaps)) + 1]
        raise BadImage(f"Two slices lie at the same position in this series (one is {twice}).")
    if len(gaps) > 1 and gaps.max() - gaps.min() > 0.1 * float(np.median(gaps)) + 0.02:
        after = names[int(np.argmax(np.abs(gaps - np.median(gaps))))]
        raise BadImage(
            f"The slices are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm, after {after}): "
            "a slice is missing or belongs to another scan."
        )


def patient_facts(header: pydicom.Dataset) -> PatientFacts:
    """What a DICOM header says of the patient; absurd values count as unknown."""
    return _facts(header)[0]


def _facts(header: pydicom.Dataset) -> tuple[PatientFacts, dict[str, str]]:
    """The facts that are possible, and for every other one a sentence; a size or weight of 0 stands for unknown."""
    return parse_facts(
        {
            "sex": patient_value(header, "PatientSex"),
            "age_years": _age_years(str(patient_value(header, "PatientAge") or "")),
            "height_m": patient_value(header, "PatientSize") or None,
            "weight_kg": patient_value(header, "PatientWeight") or None,
            "contrast": _contrast(header),
            "phantom": True if patient_value(header, "QualityControlSubject") == "YES" else None,
        }
    )


def _contrast(header: pydicom.Dataset) -> bool | None:
    """Whether contrast agent reached the blood: ``None`` where nothing is said, or only that some was drunk.

    Contrast/Bolus Agent (0018,0010) is free text, into which some sites write that none was given.
    """
    agent, route = (
        str(patient_value(header, name) or "").strip().upper() for name in ("ContrastBolusAgent", "ContrastBolusRoute")
    )
    if _NO_AGENT.fullmatch(agent):
        return False
    enteral = _ENTERAL.fullmatch(agent) or _ENTERAL.fullmatch(route)
    return True if agent and not enteral else None


def patient_value(header: pydicom.Dataset, name: str) -> Any:
    """A value that an image can do without: ``None`` where it is not there or cannot be understood."""
    try:
        return header.get(name)
    except DAMAGED:
        return None


def _age_years(text: str) -> float | None:
    match = re.fullmatch(r"\s*(\d{1,3})([YMWD])\s*", text.upper())
    return int(match[1]) / _AGE_UNITS_PER_YEAR[match[2]] if match else None
