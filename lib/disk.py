"""Folders and files on the disk, for whoever must not lose what was written."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_WINDOWS_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, synced to the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder's list of names to the disk; Windows does so by itself and cannot be asked."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write a file, or replace one, in a single step that survives a power cut; nobody else may be writing it.

    Raises:
        OSError: it cannot be written; the file that was there before is still there.
    """
    # One fixed name: what a killed process left of it is overwritten by the next one.
    temporary = path.with_name(f"{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        patiently(lambda: temporary.replace(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as :func:`write_file` does, into a folder that is made when it is not there.

    Raises:
        OSError: it cannot be written; the file that was there before is still there.
    """
    make_folder(path.parent)
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def read_file(path: Path) -> bytes:
    """Read a file that another process may be replacing at this moment.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return patiently(path.read_bytes)


def patiently(action: Callable[[], _T]) -> _T:
    """Do something to a file that Windows forbids for the moments in which somebody else has the file open."""
    for pause in _WINDOWS_PAUSES_S if os.name == "nt" else ():
        try:
            return action()
        except PermissionError:
            time.sleep(pause)
    return action()
