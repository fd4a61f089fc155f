"""In which form somebody accepts frames and files: the header Accept of WADO-RS (DICOM PS3.18 8.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from python_multipart.multipart import parse_options_header

from lib.refusals import Refusal

OCTETS = "application/octet-stream"
_PLAIN = str(ExplicitVRLittleEndian)
_TYPES = {
    str(JPEGBaseline8Bit): "image/jpeg",
    str(JPEGExtended12Bit): "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",  # JPEG lossless of any order, for which pydicom 2 has another name
    str(JPEGLosslessSV1): "image/jpeg",
    str(JPEGLSLossless): "image/jls",
    str(JPEGLSNearLossless): "image/jls",
    str(JPEG2000Lossless): "image/jp2",
    str(JPEG2000): "image/jp2",
    str(RLELossless): "image/dicom-rle",
}


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """One form that is accepted.

    Attributes:
        media_type: of the message, such as ``multipart/related``.
        part_type: of its parts, or "".
        syntax: the transfer syntax of the pixels, "*" for any, "" where nothing is said.
    """

    media_type: str
    part_type: str
    syntax: str


def accepted(header: str) -> list[Accepted]:
    """The forms in a header Accept; an empty one accepts anything."""
    forms = []
    for each in re.findall(r'(?:[^,"]|"[^"]*")+', header or "*/*"):
        media_type, parameters = parse_options_header(each.strip())
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in parameters.items()}
        forms.append(
            Accepted(
                media_type=media_type.decode("latin-1").lower(),
                part_type=named.get("type", "").lower(),
                syntax=named.get("transfer-syntax", ""),
            )
        )
    return forms


@dataclass(frozen=True, kw_only=True)
class FrameForm:
    """How frames are sent.

    Attributes:
        plain: without compression, or as they are in the file.
        single: one frame by itself, not in a message of parts.
    """

    plain: bool
    single: bool


def frame_form(forms: list[Accepted], stored: str) -> FrameForm:
    """The first accepted form in which frames can be sent.

    Args:
        forms: what is accepted.
        stored: the transfer syntax in which they are stored.

    Raises:
        Refusal: 406, when there is none.
    """
    for form in forms:
        single = form.media_type in {OCTETS, _TYPES.get(stored, OCTETS)}
        if not single and form.media_type not in {"multipart/related", "multipart/*", "*/*"}:
            continue
        kind = form.media_type if single else form.part_type
        if form.syntax in {"*", stored} and kind in {"", "*/*", OCTETS, media_type_of(stored)}:
            return FrameForm(plain=False, single=single)
        if form.syntax == "" and kind == _TYPES.get(stored):
            return FrameForm(plain=False, single=single)
        if form.syntax in {"", "*", _PLAIN} and kind in {"", "*/*", OCTETS}:
            return FrameForm(plain=True, single=single)
    wanted = ", ".join(form.syntax or form.part_type or form.media_type for form in forms)
    raise Refusal(f"These frames are stored as {stored} and cannot be sent as {wanted[:200]}.", status=406)


def media_type_of(syntax: str) -> str:
    """The media type of frames in a transfer syntax."""
    return _TYPES.get(syntax, OCTETS)
