"""Which ids of images and tags of labels are accepted, and how an id becomes a folder name on any system."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import quote

from lib.refusals import Refusal

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RESERVED_CHARACTERS = '<>:"|?*%'
_RESERVED_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 200


def check_name(value: object, *, what: str) -> str:
    """A name that stays within its folder.

    Args:
        value: the id or tag as it was sent; an enumeration's value counts.
        what: what it names in the refusal, such as ``image id``.

    Returns:
        The name as plain text.

    Raises:
        Refusal: it is empty, too long, a path, hidden, no Unicode text, or holds control characters.
    """
    name = value.value if isinstance(value, Enum) else value
    if not isinstance(name, str) or not name.strip():
        raise Refusal(f"The {what} is empty.")
    if "/" in name or "\\" in name or ".." in name or re.match(r"[A-Za-z]:", name):
        raise Refusal(f"The {what} {name[:80]!r} is a path; a plain name without '..', '/' and '\\' is needed.")
    if name.startswith(".") or _CONTROL.search(name):
        raise Refusal(f"The {what} {name[:80]!r} starts with a dot or holds control characters.")
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise Refusal(f"The {what} {name[:80]!a} is no Unicode text.") from error
    if length > _LONGEST:
        raise Refusal(f"The {what} is longer than {_LONGEST} bytes.")
    return name


def check_new_id(image_id: str) -> str:
    """An id for a new file, which has to work as a file name on Linux, macOS and Windows.

    Raises:
        Refusal: it does not.
    """
    check_name(image_id, what="image id")
    if folder_name(image_id) != image_id:
        raise Refusal(
            f"The image id {image_id!r} does not work as a file name on every system; use letters and digits."
        )
    return image_id


def folder_name(image_id: str) -> str:
    """The name of the folder that holds the labels of a case: its id, with what Windows reserves percent-encoded."""
    name = "".join(quote(c, safe="") if c in _RESERVED_CHARACTERS else c for c in image_id)
    if name.endswith((".", " ")):
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if _RESERVED_NAMES.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return name
