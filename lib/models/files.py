"""Writing among the models so that a process killed at any moment leaves the whole of a thing or nothing of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lib.disk import sync_folder
from lib.refusals import Refusal

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOCK_PATIENCE_S = 120.0  # held for single small writes only; whoever holds it for longer hangs


@contextmanager
def refusing_os_errors(purpose: str) -> Iterator[None]:
    """Turn what the operating system says no to into a sentence for the user.

    Args:
        purpose: what is being done, as the sentence's subject ("Keeping the new version of l3_muscle").

    Raises:
        Refusal: an ``OSError`` came out of the block; 507 when the disk is full, else 503.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(purpose) from error
        raise Refusal(f"{purpose} failed: {error.strerror or error}.", status=503) from error


def is_disk_full(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    return error.errno in _DISK_FULL


def disk_full(purpose: str) -> Refusal:
    """What to say when the disk is full."""
    return Refusal(f"{purpose} failed because the disk is full: free some space and try again.", status=507)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads out of what the lock file stands for.

    Raises:
        Refusal: somebody else has held it for two minutes.
        OSError: the lock file cannot be made.
    """
    lock = FileLock(path, timeout=_LOCK_PATIENCE_S)
    try:
        lock.acquire()
    except Timeout as error:
        sentence = (
            f"Another program has kept {path.parent.name}/{path.name} locked for two minutes: end it if it hangs."
        )
        raise Refusal(sentence, status=503) from error
    try:
        yield
    finally:
        lock.release()


def sync_tree(folder: Path) -> None:
    """Sync every file and folder below, and the folder itself, to the disk."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())
    sync_folder(folder)
