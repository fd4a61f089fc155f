"""Writing files so that a process killed at any moment leaves either the whole file or none."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.refusals import Refusal

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EINVAL}
_LEFT_OVER_AFTER_S = 3600.0


def stage(data: bytes, *, scratch: Path, sync: bool = True) -> Path:
    """Write bytes to a new temporary file, synced to the disk unless the content can be made again."""
    temporary = scratch / uuid.uuid4().hex
    with temporary.open("xb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    return temporary


def stage_copy(source: Path, *, scratch: Path) -> Path:
    """Copy a file to a new temporary file and sync it to the disk."""
    temporary = scratch / uuid.uuid4().hex
    with source.open("rb") as reader, temporary.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
    return temporary


def place(temporary: Path, path: Path) -> None:
    """Give a staged file its name, never over another file.

    Raises:
        FileExistsError: the name is taken; the temporary file is still there.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "the name is taken", str(path)) from error
        temporary.rename(path)
        return
    temporary.unlink()


def remove_left_overs(scratch: Path) -> None:
    """Delete temporary files that no living process can still be writing."""
    with os.scandir(scratch) as entries:
        old = [Path(e.path) for e in entries if e.is_file() and time.time() - e.stat().st_mtime > _LEFT_OVER_AFTER_S]
    for path in old:
        path.unlink(missing_ok=True)


def make_room(folder: Path, *, limit_bytes: int, keep: Path) -> None:
    """Delete the oldest files of a folder that can be made again, until the others take no more than a limit.

    Args:
        folder: with files only.
        limit_bytes: what they may take.
        keep: one that stays in any case.
    """
    with os.scandir(folder) as entries:
        files = sorted((e.stat().st_mtime, e.stat().st_size, Path(e.path)) for e in entries if e.is_file())
    excess = sum(size for _, size, _ in files) - limit_bytes
    for _, size, path in files:
        if excess <= 0:
            return
        if path != keep:
            try:
                path.unlink(missing_ok=True)
            except PermissionError:  # Windows: somebody is reading it
                continue
            excess -= size


def signature_of(path: Path) -> str:
    """What changes when a file, or a file directly in a folder, is written again: sizes and modification times."""
    if not path.is_dir():
        stat = path.stat()
        return f"{stat.st_size}:{stat.st_mtime_ns}"
    with os.scandir(path) as entries:
        stats = [entry.stat() for entry in entries if entry.is_file()]
    newest = max((s.st_mtime_ns for s in stats), default=0)
    return f"{len(stats)}:{sum(s.st_size for s in stats)}:{newest}"


@contextmanager
def storage_faults() -> Iterator[None]:
    """Say that the disk is full or gone.

    Raises:
        Refusal: 507, with what the disk said.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise Refusal(f"Nothing was saved, the disk refused: {error.strerror or error}.", status=507) from error
