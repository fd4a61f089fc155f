"""NIfTI and NRRD files as the CT series that they would be: identifiers, headers, and the pixels of their frames.

A series is never written as files. Its headers come from the header of the image and its frames from a copy of the
voxels in frame order, which is made when a frame is first asked for and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from pydicom.uid import CTImageStorage
from pydicom.valuerep import format_number_as_ds

from lib.images import read_ct
from lib.images.files import NIFTI_SUFFIXES, image_suffix, is_marked_phantom
from lib.images.frames import FrameOrder, frame_order, refuse_skewed_rows
from lib.images.itk import ITK_ERRORS, affine_of
from lib.refusals import BadImage

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_EDGE = 1 << 12
_WINDOW = (50, 400)  # centre, width in HU: soft tissue
_DAMAGED = (OSError, EOFError, ImageFileError, HeaderDataError, ValueError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a search has to know of an image file.

    Attributes:
        path: name in the studies folder.
        case_id: the case that it is; PatientID and PatientName in the series.
        series, study: identifiers, from a hash of the case's id and the file: the same file has the same ones always.
        frames: how many.
        phantom: whether it says that it is a digital phantom.
    """

    path: str
    case_id: str
    series: str
    study: str
    frames: int
    phantom: bool


@dataclass(frozen=True, kw_only=True)
class Volume(Outline):
    """An image file as a series.

    Attributes:
        columns, rows: of each frame.
        affine: rows of the 4 x 4 matrix from (column, row, frame) to RAS+ mm.
    """

    columns: int
    rows: int
    affine: tuple[tuple[float, ...], ...]


def read_volume_header(path: Path) -> Volume:
    """What the series of an image file is; its voxels are not read.

    Raises:
        BadImage: the file is damaged, or DICOM cannot hold its geometry.
        OSError: it cannot be read.
    """
    order = order_of(path)
    refuse_skewed_rows(order, path.name)
    case_id = path.name[: len(path.name) - len(image_suffix(path.name))]
    identity = f"{case_id}/{_fingerprint(path)}"
    return Volume(
        path=path.name,
        case_id=case_id,
        series=_uid(identity, "series"),
        study=_uid(identity, "study"),
        columns=order.shape[0],
        rows=order.shape[1],
        frames=order.shape[2],
        affine=tuple(map(tuple, order.affine.tolist())),
        phantom=is_marked_phantom(path),
    )


def order_of(path: Path) -> FrameOrder:
    """The order in which the series of an image file holds its voxels.

    Raises:
        BadImage: the file is damaged, or is no volume.
        OSError: it cannot be read.
    """
    try:
        if image_suffix(path.name) in NIFTI_SUFFIXES:
            nifti: Any = nib.load(path)
            shape, affine = tuple(nifti.shape), np.asarray(nifti.affine, dtype=np.float64)
        else:
            reader: Any = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            shape, affine = tuple(reader.GetSize()), affine_of(reader)
    except (*_DAMAGED, *ITK_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(f"{path.name} cannot be read; it is damaged or cut short.") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or 0 in shape:
        raise BadImage(f"{path.name} has the shape {shape}; a volume or a single slice was expected.")
    return frame_order(shape, affine)


def _fingerprint(path: Path) -> str:
    """Of the size and both ends of a file; a gzip ends with the checksum of its content."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_EDGE))
        for at in (size // 2, size - _EDGE):
            file.seek(max(0, at))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()


def _uid(identity: str, what: str) -> str:
    """An identifier in the form of a UUID (DICOM PS3.5 B.2), short enough for a number behind it."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'sarcopenia-label/{identity}/{what}').int}"


# Headers


def instance_uid(series: str, frame: int) -> str:
    """The SOPInstanceUID of a frame, counted from 0."""
    return f"{series}.{frame + 1}"


def series_and_frame(sop: str) -> tuple[str, int] | None:
    """The series and the frame of such an identifier, or ``None`` when it has another form."""
    series, _, number = sop.rpartition(".")
    return (series, int(number) - 1) if series.startswith("2.25.") and number.isdecimal() else None


def headers(volume: Volume) -> Iterator[dict[str, Any]]:
    """The header of every frame as DICOM JSON, without pixels."""
    common = _common(volume)
    origin, step = (np.array(volume.affine)[:3, column] * _RAS_TO_LPS for column in (3, 2))
    axis = int(np.abs(step).argmax())
    for frame in range(volume.frames):
        position = origin + frame * step
        own = {
            "00080018": _value("UI", instance_uid(volume.series, frame)),
            "00200013": _value("IS", frame + 1),
            "00200032": _value("DS", *map(_ds, position)),
            "00201041": _value("DS", _ds(position[axis])),
        }
        yield dict(sorted({**common, **own}.items()))


def _common(volume: Volume) -> dict[str, Any]:
    """What the headers of all frames say; the patient's facts are in the store and not repeated here."""
    affine = np.array(volume.affine)
    spacing = nib.affines.voxel_sizes(affine)
    directions = affine[:3, :3] / spacing * _RAS_TO_LPS[:, None]
    between = abs(float(np.cross(directions[:, 0], directions[:, 1]) @ directions[:, 2])) * spacing[2]
    common = {
        **_attributes(volume),
        "00080008": _value("CS", "DERIVED", "SECONDARY", "AXIAL"),
        "00080016": _value("UI", str(CTImageStorage)),
        "00180050": _value("DS", _ds(between)),
        "00180088": _value("DS", _ds(between)),
        "00200037": _value("DS", *map(_ds, (*directions[:, 0], *directions[:, 1]))),
        "00200052": _value("UI", _uid(volume.series, "frame of reference")),
        "00201040": _value("LO"),
        "00280002": _value("US", 1),
        "00280004": _value("CS", "MONOCHROME2"),
        "00280010": _value("US", volume.rows),
        "00280011": _value("US", volume.columns),
        "00280030": _value("DS", _ds(spacing[1]), _ds(spacing[0])),
        "00280100": _value("US", 16),
        "00280101": _value("US", 16),
        "00280102": _value("US", 15),
        "00280103": _value("US", 1),
        "00281050": _value("DS", _WINDOW[0]),
        "00281051": _value("DS", _WINDOW[1]),
        "00281052": _value("DS", 0),
        "00281053": _value("DS", 1),
        "00281054": _value("LO", "HU"),
    }
    if volume.phantom:
        common["00204000"] = _value("LT", "digital phantom, not a patient")
    return common


def series_attributes(outline: Outline) -> dict[str, Any]:
    """What a search says of the series of an image file, and of its study and patient, as DICOM JSON."""
    return {**_attributes(outline), "00201209": _value("IS", outline.frames)}


def _attributes(outline: Outline) -> dict[str, Any]:
    """Attributes of series, study and patient."""
    told = {
        "00080005": _value("CS", "ISO_IR 192"),
        "00080020": _value("DA"),
        "00080030": _value("TM"),
        "00080050": _value("SH"),
        "00080060": _value("CS", "CT"),
        "00080090": _value("PN"),
        "0008103E": _value("LO", outline.path[:64]),
        "00081030": _value("LO", "Digital phantom, not a patient" if outline.phantom else "Image file"),
        "00100010": _value("PN", {"Alphabetic": _component(outline.case_id)}),
        "00100020": _value("LO", outline.case_id.replace("\\", "_")[:64]),
        "00100030": _value("DA"),
        "00100040": _value("CS"),
        "0020000D": _value("UI", outline.study),
        "0020000E": _value("UI", outline.series),
        "00200010": _value("SH", "1"),
        "00200011": _value("IS", 1),
    }
    if outline.phantom:
        told["00100200"] = _value("CS", "YES")  # QualityControlSubject
    return told


def _component(name: str) -> str:
    return name.translate({ord(c): "_" for c in "^=\\"})[:64]


def _value(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def _ds(number: float) -> float:
    """A number as the sixteen characters of a decimal string can hold it."""
    return float(format_number_as_ds(float(number) + 0.0))


# Pixels


class FrameCopies:
    """Copies of volumes as signed 16-bit HU in frame order, the ones that were not asked for longest deleted first.

    Args:
        folder: where they lie.
        limit_bytes: how much all of them together may take.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def frame(self, volume: Volume, number: int, *, source: Path) -> bytes:
        """The pixels of a frame, little-endian, row by row.

        Args:
            volume: the series.
            number: which frame, from 0.
            source: its file.

        Raises:
            Refusal: the file is damaged or no CT.
        """
        size = volume.columns * volume.rows * 2
        path = self.ready(volume, source=source)
        with path.open("rb") as file:
            file.seek(number * size)
            return file.read(size)

    def ready(self, volume: Volume, *, source: Path) -> Path:
        """The copy of a volume, made now where there is none; who asks meanwhile waits for it.

        Raises:
            Refusal: the file is damaged or no CT.
        """
        path = self._folder / f"{volume.series}.raw"
        whole = volume.columns * volume.rows * volume.frames * 2
        with self._lock_of(volume.series):
            if path.exists() and path.stat().st_size == whole:
                _touch(path)
                return path
            image = read_ct(source)
            order = frame_order(image.shape, image.affine)
            frames = order.to_frames(image.hu)
            if order.shape != (volume.columns, volume.rows, volume.frames):
                raise BadImage(f"{source.name} has just changed; open it again.")
            self._make_room(whole)
            part = path.with_name(f"{volume.series}.{uuid.uuid4().hex}.part")
            try:
                with part.open("xb") as file:
                    for k in range(order.shape[2]):
                        file.write(_as_int16(frames[:, :, k]).tobytes(order="F"))
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path

    def _lock_of(self, series: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(series, threading.Lock())

    def _make_room(self, wanted: int) -> None:
        self._folder.mkdir(exist_ok=True, parents=True)
        with os.scandir(self._folder) as entries:
            copies = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries)
        room = self._limit_bytes - wanted - sum(size for _, size, _ in copies)
        for _, size, path in copies:
            if room >= 0:
                return
            Path(path).unlink(missing_ok=True)
            room += size


def _touch(path: Path) -> None:
    """Note that a copy was asked for, once a minute at most."""
    if time.time() - path.stat().st_mtime > 60:
        os.utime(path)


def _as_int16(hu: npt.NDArray) -> npt.NDArray:
    if hu.dtype == np.int16:
        return hu.astype("<i2", copy=False)
    return np.clip(np.rint(hu), -32768, 32767).astype("<i2")
