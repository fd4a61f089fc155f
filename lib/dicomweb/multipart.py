"""Messages of several parts (multipart/related, RFC 2387), in which DICOMweb sends files and frames."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from lib.refusals import Refusal


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a message.

    Attributes:
        media_type: as in its Content-Type, with parameters.
        content: its bytes.
    """

    media_type: str
    content: bytes


def compose(parts: Iterable[Part]) -> tuple[bytes, str]:
    """A message.

    Returns:
        Its body, and its own media type, which has the type of the first part.
    """
    boundary = uuid.uuid4().hex
    pieces: list[bytes] = []
    kind = ""
    for part in parts:
        kind = kind or part.media_type.partition(";")[0]
        pieces += [f"--{boundary}\r\nContent-Type: {part.media_type}\r\n\r\n".encode(), part.content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f'multipart/related; type="{kind}"; boundary={boundary}'


def parse(body: bytes, content_type: str) -> list[Part]:
    """Take a message apart.

    Args:
        body: of the message.
        content_type: its Content-Type.

    Raises:
        Refusal: 415, when it is of another type; 400, when it is broken.
    """
    media_type, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if media_type.lower() != b"multipart/related":
        raise Refusal(f"A message of type multipart/related is needed, not {content_type[:80]!r}.", status=415)
    if not boundary:
        raise Refusal("The message does not say what its boundary is.", status=400)
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise Refusal(f"The message cannot be taken apart: {error}.", status=400) from error
    if not reader.ended:
        raise Refusal("The message ends before its last part does.", status=400)
    return reader.parts


class _Reader:
    """Gathers the parts as the parser comes to them."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._content: list[bytes] = []
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._content.append(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._content, self._headers = [], {}

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end_part(self) -> None:
        media_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self.parts.append(Part(media_type=media_type, content=b"".join(self._content)))

    def _end(self) -> None:
        self.ended = True
