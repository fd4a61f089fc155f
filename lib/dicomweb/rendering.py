"""Frames as pictures that a browser shows by itself: WADO-RS rendered frames and thumbnails."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lib.refusals import Refusal

_SOFT_TISSUE = (50.0, 400.0)
_LARGEST = 4096


def picture(
    values: npt.NDArray, header: Mapping[str, Any], *, window: str = "", size: str = "", media_type: str = "image/jpeg"
) -> bytes:
    """A frame as JPEG or PNG.

    Args:
        values: (row, column) as stored, or (row, column, colour).
        header: of the instance, as DICOM JSON.
        window: centre and width, as ``50,400``; by default soft tissue for CT, else what the header says, else all
            values.
        size: largest width and height, as ``128,128``.
        media_type: ``image/jpeg`` or ``image/png``.

    Raises:
        Refusal: 400, for a window or size that is none.
    """
    grey = values.ndim == 2
    shown = _windowed(values, header, window) if grey else values.astype(np.uint8)
    if header.get("00280004", {}).get("Value") == ["MONOCHROME1"]:
        shown = 255 - shown
    image = Image.fromarray(shown)
    rows, columns = shown.shape[:2]
    y, x = (header.get("00280030", {}).get("Value") or [1, 1])[:2]
    if y and x and y != x:  # pixels on a screen are square
        image = image.resize((columns, max(1, round(rows * y / x))))
    if size:
        width, height = (min(_LARGEST, int(each)) for each in _numbers(size, "viewport"))
        image.thumbnail((max(1, width), max(1, height)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if media_type == "image/png" else "JPEG")
    return buffer.getvalue()


def _windowed(values: npt.NDArray, header: Mapping[str, Any], window: str) -> npt.NDArray:
    slope, intercept = (_first(header, tag) for tag in ("00281053", "00281052"))
    hu = values * (1.0 if slope is None else slope) + (intercept or 0.0)
    own = _first(header, "00281050"), _first(header, "00281051")
    if window:
        centre, width = _numbers(window, "window")
    elif header.get("00080060", {}).get("Value") == ["CT"]:
        centre, width = _SOFT_TISSUE
    elif own[0] is not None and own[1]:
        centre, width = own[0], own[1]
    else:
        centre, width = (float(hu.max()) + float(hu.min())) / 2, float(np.ptp(hu))
    return (np.clip((hu - centre) / max(width, 1.0) + 0.5, 0, 1) * 255).astype(np.uint8)


def _first(header: Mapping[str, Any], tag: str) -> float | None:
    values = header.get(tag, {}).get("Value") or [None]
    return None if values[0] is None else float(values[0])


def _numbers(text: str, name: str) -> tuple[float, float]:
    try:
        first, second, *_ = (float(each) for each in text.split(",")[:2])
    except ValueError as error:
        raise Refusal(f"{name} is two numbers, such as 50,400, not {text[:80]!r}.", status=400) from error
    return first, second
