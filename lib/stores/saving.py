"""From a label that a client sent, or an older store left, to new revisions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from lib.refusals import Refusal
from lib.stores.files import stage
from lib.stores.geometry import Grid
from lib.stores.hand_outs import HandedOut, blind_reading, end_by_label
from lib.stores.history import History, NewRevision, label_file
from lib.stores.index import REVISIONS, StoreIndex
from lib.stores.label_check import TaskLabel, split_by_task
from lib.stores.queue_rules import person
from lib.stores.records import FINAL, SECOND_READING_OF
from lib.stores.stored_tasks import stored_tasks
from lib.stores.submitted_label import open_label


def checked_labels(path: Path, *, grid: Grid, info: Mapping[str, Any]) -> list[TaskLabel]:
    """Open, check and split a label.

    Raises:
        Refusal: it cannot be accepted; the sentence does not name the temporary file.
    """
    try:
        submitted = open_label(path, grid=grid, info=info)
    except Refusal as refusal:
        raise Refusal(str(refusal).replace(path.name, "The label"), status=refusal.status_code) from refusal
    return split_by_task(submitted, grid=grid, complete=info.get("complete") is True)


def staged_revision(
    label: TaskLabel, *, grid: Grid, scratch: Path, facts: Mapping[str, Any], info: Mapping[str, Any]
) -> NewRevision:
    """A label written to a temporary file, ready to be added."""
    content = label_file(label.array, grid)
    return NewRevision(
        task=label.task,
        staged=stage(content, scratch=scratch),
        suffix=".nii.gz",
        sha256=hashlib.sha256(content).hexdigest(),
        names=label.names,
        partial=label.partial,
        warnings=label.warnings,
        info=info,
        **facts,
    )


def save_labels(
    labels: list[TaskLabel],
    *,
    image_id: str,
    tag: str,
    grid: Grid,
    info: Mapping[str, Any],
    history: History,
    index: StoreIndex,
    scratch: Path,
) -> None:
    """Add one revision for each label, all in one transaction, and end the leases that they answer.

    A final label of somebody who was asked for a blind reading is stored under that tag instead.

    Raises:
        OSError: the disk is full or gone; nothing was added.
    """
    facts = {"image_id": image_id, "tag": tag, "created": 0.0, **origin(info)}
    staged: list[NewRevision] = []
    try:
        for label in labels:
            staged.append(staged_revision(label, grid=grid, scratch=scratch, facts=facts, info=info))  # noqa: PERF401
        with index.writing() as connection:
            newest = connection.execute(
                select(func.max(REVISIONS.c.created)).where(REVISIONS.c.case_id == image_id)
            ).scalar()
            # A clock that was set back must not make an older label the current one.
            created = max(time.time(), newest or 0.0)
            blind = None
            if tag == FINAL:
                tasks = {label.task for label in labels}
                blind = blind_reading(connection, image_id, facts["author"], time.time(), tasks=tasks)
            for new in staged:
                history.add(connection, replace(_as_reading(new, blind), created=created))
            if tag == FINAL:
                saved = tuple(label.task for label in labels)
                end_by_label(connection, image_id, author=facts["author"], saved=saved, now=time.time())
    finally:
        for new in staged:
            new.staged.unlink(missing_ok=True)


def _as_reading(new: NewRevision, blind: HandedOut | None) -> NewRevision:
    """The revision as a second reading, if it is one; what it repeats stands in its info, and so in its sidecar."""
    if blind is None or new.task not in stored_tasks(blind.task):
        return new
    first = {"task": new.task, "revision": blind.first_labels[new.task]}
    return replace(new, tag=blind.purpose, info={**new.info, SECOND_READING_OF: first})


def origin(info: Mapping[str, Any]) -> dict[str, Any]:
    """Who saved a label and which model they started from, as far as the client said."""
    params = info.get("params")
    version = info.get("model_version") or (params.get("model_version") if isinstance(params, Mapping) else None)
    return {
        "author": person(info.get("user") or info.get("client_id")),
        "client_id": str(info.get("client_id") or ""),
        "model": str(info.get("model") or ""),
        "model_version": None if version is None else str(version),
    }
