"""What the index keeps of one DICOM file: its identifiers, its header as DICOM JSON, and where its pixels begin."""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.misc import is_dicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage, SegmentationStorage

from lib.images.dicom import DAMAGED, missing_identifiers, said_of, why_no_volume
from lib.refusals import BadImage

BULK = "bulk:"
"""With what a BulkDataURI begins in the index; the address of the server comes in its place."""
_BULK_BYTES = 1024
_INLINE = 1 << 40
PIXELS = {"7FE00010": {"vr": "OW", "BulkDataURI": f"{BULK}7FE00010"}}
"""The pixels in a header as DICOM JSON."""
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UC", b"UN", b"UR", b"UT", b"SQ"}
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One DICOM file.

    Attributes:
        path: relative to the studies folder, with "/".
        sop, series, study: identifiers.
        sop_class: what kind of object it is.
        syntax: UID of its transfer syntax.
        modality: such as CT, or "".
        number: InstanceNumber, or 0.
        frames: number of frames; 0 where there are no pixels.
        pixels_at: where in the file the bytes behind the header of the pixel data begin; ``None`` where there are none,
            or where they are deflated together with the header.
        pixel_bytes: how many there are; ``None`` for encapsulated frames.
        is_body: whether it is a CT of the body in axial slices, no scout and no picture of a screen.
        header: DICOM JSON of everything but the pixels; values beyond 1 KB are a BulkDataURI of "bulk:TAG".
    """

    path: str
    sop: str
    series: str
    study: str
    sop_class: str
    syntax: str
    modality: str
    number: int
    frames: int
    pixels_at: int | None
    pixel_bytes: int | None
    is_body: bool
    header: dict[str, Any]

    @property
    def is_image(self) -> bool:
        """Whether it is an image, other than a segmentation: its pixels are what a scanner or a camera saw."""
        return self.frames > 0 and self.sop_class != SegmentationStorage


def is_instance(path: Path) -> bool:
    """Whether a file carries DICOM's mark.

    Raises:
        OSError: it cannot be read.
    """
    return bool(is_dicom(path))


def read_instance(path: Path, *, name: str) -> Instance | None:
    """Read what the index keeps of a file; ``None`` for the directory of a medium (DICOMDIR).

    Args:
        path: the file.
        name: its path relative to the studies folder.

    Raises:
        BadImage: it is damaged, or lacks the identifiers by which it can be asked for.
        OSError: the system does not let it be read.
    """
    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            syntax = str(header.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian)
            if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
                return None
            at = length = None
            if syntax == DeflatedExplicitVRLittleEndian:
                has_pixels = "Rows" in header
            else:
                at, length = _pixels(file, header)
                has_pixels = at is not None
        if missing := missing_identifiers(name, header):
            raise BadImage(missing)
        if length is not None and at is not None and at + length > path.stat().st_size:
            raise BadImage(f"{name} is cut short: its pixels end before they should.")
        return Instance(
            path=name,
            sop=str(header.SOPInstanceUID),
            series=str(header.SeriesInstanceUID),
            study=str(header.StudyInstanceUID),
            sop_class=str(header.get("SOPClassUID") or ""),
            syntax=syntax,
            modality=str(header.get("Modality") or ""),
            number=_whole(header.get("InstanceNumber")),
            frames=max(1, _whole(header.get("NumberOfFrames"))) if has_pixels else 0,
            pixels_at=at,
            pixel_bytes=length,
            is_body=has_pixels and header.get("Modality") == "CT" and not why_no_volume(header),
            header=as_json(header) | (PIXELS if has_pixels else {}),
        )
    except (*DAMAGED, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(f"{name} is damaged ({said_of(error)}).") from error


def as_json(dataset: pydicom.Dataset) -> dict[str, Any]:
    """A dataset as DICOM JSON, in UTF-8; a value that is not what its type says is left out."""
    told: dict[str, Any] = {}
    for tag in sorted(dataset.keys()):
        if tag.element == 0:
            continue  # group lengths
        try:
            element = dataset[tag]
            largest = _INLINE if element.VR == "SQ" else _BULK_BYTES  # a tag names what lies at the top only
            value = element.to_json_dict(bulk_data_element_handler=_bulk, bulk_data_threshold=largest)
            json.dumps(value, allow_nan=False)
        except DAMAGED:
            continue
        told[f"{tag:08X}"] = value
    told["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return told


def _bulk(element: pydicom.DataElement) -> str:
    return f"{BULK}{element.tag:08X}"


def _pixels(file: IO[bytes], header: pydicom.Dataset) -> tuple[int | None, int | None]:
    """Where the pixel data of a file begin, and their length; pydicom stopped at their element."""
    start = file.read(12)
    order = "<" if header.is_little_endian else ">"
    if len(start) < 8 or struct.unpack(f"{order}HH", start[:4]) != (0x7FE0, 0x0010):
        return None, None
    if not header.is_implicit_VR and start[4:6] in _LONG_VRS:
        length = struct.unpack(f"{order}L", start[8:12])[0]
    else:
        length = struct.unpack(f"{order}L", start[4:8])[0]
        file.seek(-4, os.SEEK_CUR)
    return file.tell(), None if length == _UNDEFINED_LENGTH else length


def _whole(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0
