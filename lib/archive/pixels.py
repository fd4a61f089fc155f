"""The frames of DICOM files: read from where they lie in the file, and decoded where somebody wants plain pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pydicom
from highdicom.frame import decode_frame
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from lib.archive.headers import Instance
from lib.images.dicom import DAMAGED, said_of
from lib.refusals import BadImage, Refusal

_ITEM = 0xFFFEE000

Pieces = tuple[tuple[int, int], ...]


def stored_frame(path: Path, instance: Instance, number: int) -> tuple[bytes, str]:
    """A frame as it is in the file; big-endian and deflated pixels as plain little-endian ones.

    Args:
        path: the file.
        instance: what the index knows of it.
        number: which frame, from 0.

    Returns:
        The bytes, and the UID of the transfer syntax that they are in.

    Raises:
        Refusal: 404, when it has no such frame; or the file is damaged.
        OSError: it cannot be read.
    """
    if not 0 <= number < instance.frames:
        raise Refusal(f"{instance.path} has {instance.frames} frames; there is no frame {number + 1}.", status=404)
    if instance.pixels_at is None:
        return _frame_of_dataset(path, instance, number), str(ExplicitVRLittleEndian)
    if instance.pixel_bytes is not None:
        size = _frame_bits(instance) // 8
        with path.open("rb") as file:
            file.seek(instance.pixels_at + number * size)
            data = file.read(size)
        if _frame_bits(instance) % 8:  # frames of single bits do not begin at bytes
            data = _frame_of_dataset(path, instance, number)
        if len(data) < size:
            raise BadImage(f"{instance.path} is cut short: frame {number + 1} is not whole.")
        if instance.syntax == ExplicitVRBigEndian and _number(instance.header, "00280100") == 16:
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
        return data, str(ExplicitVRLittleEndian)
    stat = path.stat()
    pieces = _fragments(path, instance.pixels_at, instance.frames, (stat.st_size, stat.st_mtime_ns))
    with path.open("rb") as file:
        return b"".join(_read(file, *piece) for piece in pieces[number]), instance.syntax


def plain_frame(path: Path, instance: Instance, number: int) -> bytes:
    """A frame without compression, little-endian, row by row.

    Raises:
        Refusal: as :func:`stored_frame`; or the frame cannot be decoded.
        OSError: the file cannot be read.
    """
    data, syntax = stored_frame(path, instance, number)
    if syntax == ExplicitVRLittleEndian:
        return data
    return np.ascontiguousarray(_decoded(data, syntax, instance)).tobytes()


def frame_values(path: Path, instance: Instance, number: int) -> npt.NDArray:
    """A frame as numbers of (row, column) or (row, column, colour), without rescaling.

    Raises:
        Refusal: as :func:`plain_frame`.
        OSError: the file cannot be read.
    """
    data, syntax = stored_frame(path, instance, number)
    return _decoded(data, syntax, instance)


def _decoded(data: bytes, syntax: str, instance: Instance) -> npt.NDArray:
    header = instance.header
    photometric = header.get("00280004", {}).get("Value", ["MONOCHROME2"])[0]
    try:
        return decode_frame(  # type: ignore[no-any-return]
            data,
            syntax,
            rows=_number(header, "00280010"),
            columns=_number(header, "00280011"),
            samples_per_pixel=_number(header, "00280002") or 1,
            bits_allocated=_number(header, "00280100"),
            bits_stored=_number(header, "00280101"),
            photometric_interpretation=photometric,
            pixel_representation=_number(header, "00280103"),
            planar_configuration=_number(header, "00280006"),
        )
    except (*DAMAGED, RuntimeError) as error:
        raise BadImage(f"The pixels of {instance.path} cannot be decoded ({said_of(error)}).") from error


def _frame_bits(instance: Instance) -> int:
    wanted = ("00280010", "00280011", "00280100")
    rows, columns, bits = (_number(instance.header, tag) for tag in wanted)
    return rows * columns * bits * (_number(instance.header, "00280002") or 1)


def _number(header: Mapping[str, Any], tag: str) -> int:
    return int((header.get(tag, {}).get("Value") or [0])[0] or 0)


def _frame_of_dataset(path: Path, instance: Instance, number: int) -> bytes:
    """A frame of a file that has to be read as a whole."""
    pixels = pydicom.dcmread(path).PixelData
    bits = _frame_bits(instance)
    if bits % 8 == 0:
        return bytes(pixels[number * bits // 8 : (number + 1) * bits // 8])
    ones = np.unpackbits(np.frombuffer(pixels, np.uint8), bitorder="little")[number * bits : (number + 1) * bits]
    return np.packbits(ones, bitorder="little").tobytes()


@lru_cache(maxsize=1024)
def _fragments(path: Path, at: int, frames: int, signature: tuple[int, int]) -> list[Pieces]:  # noqa: ARG001
    """Where the pieces of each encapsulated frame lie, as (offset, length); the file's signature keys the cache.

    Raises:
        BadImage: there are not as many frames as the header says.
    """
    with path.open("rb") as file:
        file.seek(at)
        items = list(_items(file))
        offsets: tuple[int, ...] = ()
        if items and items[0][1] >= 4:
            table = _read(file, *items[0])
            offsets = struct.unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4])
    pieces = items[1:]
    if frames == 1:
        return [tuple(pieces)]
    if len(pieces) == frames:
        return [(piece,) for piece in pieces]
    if len(offsets) != frames or not pieces:
        raise BadImage(f"{path.name} does not say where its {frames} frames begin.")
    first = pieces[0][0] - 8
    starts = [first + offset for offset in offsets]
    ends = [*starts[1:], pieces[-1][0] + pieces[-1][1]]
    return [
        tuple(piece for piece in pieces if start <= piece[0] - 8 < end) for start, end in zip(starts, ends, strict=True)
    ]


def _items(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """The items of encapsulated pixel data; the first is the table of offsets."""
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHL", head)
        if group << 16 | element != _ITEM:
            return
        at = file.tell()
        yield at, length
        file.seek(at + length)


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
