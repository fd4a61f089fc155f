"""Making any value fit for JSON: MONAI Label's answers break on NaN and on what JSON does not know."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from lib.refusals import Refusal


def plain(value: Any) -> Any:
    """A copy of the value made of what JSON knows; numbers that are not finite become ``None``."""
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    # Half of a surrogate pair, from a truncated JSON string or a file name of another encoding, is no text.
    return str(value.value if hasattr(value, "value") else value).encode("utf-8", "replace").decode("utf-8")


def to_json(value: Any) -> str:
    """The value as JSON text."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def json_object(value: object, *, what: str) -> dict[str, Any]:
    """A JSON object that a client sent; nothing stands for an empty one.

    Raises:
        Refusal: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(f"{what} has to be a JSON object.")
    return value
