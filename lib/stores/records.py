"""What the store tells about labels and events."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

# Labels of an older store whose names or values nothing explains; kept under this instead of a task.
UNINTERPRETED = "uninterpreted"
FINAL = "final"
# In the info of a blind reading: the task and the number of the revision that was read a second time.
SECOND_READING_OF = "second_reading_of"
# In the info of a revision that was a DICOM segmentation of another program.
SOP_INSTANCE_UID = "sop_instance_uid"


def lot_of(image_id: str) -> float:
    """The number from 0 to 1 by which a case belongs to a random subset; drawn from its id, so it stays the same."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:6]) / 2**48


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One saved label of one task; never changed, except that it can be withdrawn.

    Attributes:
        image_id: the case.
        task: the task, or ``uninterpreted``.
        number: 1 and up for this case and task.
        tag: ``final`` for what an annotator submitted; other tags never count as labelled.
        author: who saved it, as far as the client said.
        client_id: the client's own name for itself.
        model: the model the annotator started from, or "".
        model_version: its version, or ``None`` for a cold start or unknown.
        created: when, UTC.
        sha256: of the file.
        path: the file: NIfTI, ``uint8``, ids of the task's schema, the image's geometry and file shape.
        names: the structures that have voxels.
        partial: structures of the schema are missing that nobody said are not there.
        warnings: what was changed or noticed when it was saved.
        info: everything that the client sent with it.
        withdrawn: when it was taken back, UTC, or ``None``.
    """

    image_id: str
    task: str
    number: int
    tag: str
    author: str
    client_id: str
    model: str
    model_version: str | None
    created: datetime
    sha256: str
    path: Path
    names: tuple[str, ...]
    partial: bool
    warnings: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    withdrawn: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in the store, for people who look after it.

    Attributes:
        kind: a short name such as ``image_removed``.
        created: when, UTC.
        facts: what there is to know about it.
    """

    kind: str
    created: datetime
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training or a scoring, from its beginning to its end.

    Attributes:
        id: of this run.
        kind: ``train`` or ``score``.
        task: what it is for.
        host: the machine.
        pid: its process there.
        started: when, UTC.
        ended: when, UTC, or ``None`` while it goes on.
        outcome: how it ended in a word; ``lost`` when its process was gone; ``None`` while it goes on.
        facts: what there is to know about it.
    """

    id: int
    kind: str
    task: str
    host: str
    pid: int
    started: datetime
    ended: datetime | None
    outcome: str | None
    facts: Mapping[str, Any]
