"""Opening a store: its index, the labels of a lost index, and the labels of an older MONAI Label folder."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, select

from lib.anatomy.schemas import SCHEMAS
from lib.disk import sha256_of
from lib.refusals import Refusal
from lib.stores.cases import Cases, note
from lib.stores.files import stage_copy
from lib.stores.geometry import read_grid
from lib.stores.hand_outs import DOUBLE_READ, REREAD
from lib.stores.history import History, NewRevision
from lib.stores.index import REVISIONS, SETTINGS, TAKEN_OVER, StoreIndex, UnusableIndexError, get_setting, sqlite_url
from lib.stores.patient import EnteredFacts
from lib.stores.records import UNINTERPRETED
from lib.stores.saving import checked_labels, origin, staged_revision
from lib.stores.takeover import OldLabel, read_old_store

logger = logging.getLogger(__name__)


def open_index(path: Path, *, url: str | None) -> StoreIndex:
    """Open the index at a URL, or the SQLite file; one that cannot be used is kept aside and a new one begun.

    Raises:
        Refusal: the database cannot be reached.
    """
    try:
        return StoreIndex(sqlite_url(path) if url is None else url)
    except UnusableIndexError as error:
        if url is not None:
            raise Refusal(f"The index of the store at {url} cannot be used: {error}.", status=503) from error
        aside = f"{path.name}.unusable-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        logger.warning("The index %s cannot be used (%s); it is kept as %s and made anew.", path, error, aside)
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(path.with_name(aside + suffix))
        return StoreIndex(sqlite_url(path))


def rebuild_from_sidecars(*, index: StoreIndex, cases: Cases, history: History, entered: EnteredFacts) -> None:
    """Fill a new index with the revisions whose files are there, and the entered facts, when the old one was lost."""
    rows, refused = [], {}
    for sidecar in history.sidecars():
        try:
            rows.append(history.row_of(sidecar))
        except (ValueError, OSError) as error:
            refused[f"{sidecar.parent.parent.name}/{sidecar.parent.name}/{sidecar.name}"] = str(error)
    with index.writing() as connection:
        for image_id in sorted({row["case_id"] for row in rows}):
            cases.add(connection, image_id)
        there = connection.execute(select(REVISIONS)).all()
        files = {row.file for row in there}
        given = {(row.case_id, row.task, row.number) for row in there}
        for row in sorted(rows, key=lambda row: (row["created"], row["number"])):
            if row["file"] in files:
                continue
            while (row["case_id"], row["task"], row["number"]) in given:  # files that somebody copied by hand
                row["number"] += 1
            given.add((row["case_id"], row["task"], row["number"]))
            history.insert(connection, row)
        for image_id, facts in entered.all():
            cases.add(connection, image_id)
            cases.merge_info(connection, image_id, facts)
        if rows or refused:
            note(connection, "index_rebuilt", {"revisions": len(rows), "refused": refused})
        index.set_filled(connection)


def may_be_saved_under(tag: str) -> bool:
    """Whether a tag does not already stand for the labels of a task, or for what the store alone can tell."""
    return tag not in (*SCHEMAS, UNINTERPRETED, DOUBLE_READ, REREAD) and not set(tag) & set("@:")


class TakeOver:
    """Taking over an older MONAI Label folder, label by label, so that it can be broken off and go on.

    Args:
        studies: the folder that holds ``datastore_v2.json`` and ``labels``.
        scratch: a folder for temporary files.
        index: the store's index.
        cases: the store's cases.
        history: the store's label revisions.
        image_path: gives the file of an image.
    """

    def __init__(
        self,
        *,
        studies: Path,
        scratch: Path,
        index: StoreIndex,
        cases: Cases,
        history: History,
        image_path: Callable[[str], str],
    ) -> None:
        self._studies = studies
        self._scratch = scratch
        self._index = index
        self._cases = cases
        self._history = history
        self._image_path = image_path

    def run(self) -> None:
        """Take what is not here yet; nothing in the older store is changed."""
        old = read_old_store(self._studies)
        with self._index.reading() as connection:
            taken = {row.file: (row.size, row.mtime_ns) for row in connection.execute(select(TAKEN_OVER))}
            done = bool(get_setting(connection, "taken_over"))
        for label in old.labels:
            stat = label.path.stat()
            if taken.get(label.file) != (stat.st_size, stat.st_mtime_ns):
                self._take(label, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        if done or not (old.images or old.warnings or old.name):
            return
        with self._index.writing() as connection:
            for image_id, info in old.images.items():
                self._cases.merge_info(connection, image_id, info, over=False)
            for key, value in (("name", old.name), ("description", old.description), ("taken_over", "yes")):
                if value and not get_setting(connection, key):
                    connection.execute(insert(SETTINGS).values(key=key, value=value))
            note(connection, "store_taken_over", {"labels": len(old.labels), "warnings": old.warnings})

    def _take(self, old: OldLabel, *, size: int, mtime_ns: int) -> None:
        tag = old.tag if may_be_saved_under(old.tag) else f"old-{old.tag}".translate({ord(c): "-" for c in "@:"})
        written = old.info.get("ts")
        created = mtime_ns / 1e9
        if isinstance(written, int | float) and 0 < written <= time.time():
            created = float(written)
        facts = {"image_id": old.image_id, "tag": tag, "created": created, **origin(old.info)}
        try:
            grid = read_grid(Path(self._image_path(old.image_id)))
            labels = checked_labels(old.path, grid=grid, info=old.info)
        except Refusal as refusal:
            new = [self._kept_as_it_is(old, why=str(refusal), facts=facts)]
        else:
            new = [
                staged_revision(label, grid=grid, scratch=self._scratch, facts=facts, info=old.info) for label in labels
            ]
        with self._index.writing() as connection:
            self._cases.add(connection, old.image_id)
            for revision in new:
                self._history.add(connection, revision)
            row = {"file": old.file, "size": size, "mtime_ns": mtime_ns}
            connection.execute(self._index.upsert(TAKEN_OVER, row))

    def _kept_as_it_is(self, old: OldLabel, *, why: str, facts: dict) -> NewRevision:
        staged = stage_copy(old.path, scratch=self._scratch)
        return NewRevision(
            task=UNINTERPRETED,
            staged=staged,
            suffix=old.suffix,
            sha256=sha256_of(staged),
            partial=True,
            warnings=[f"Kept as it is, from {old.file}: {why}"],
            info=old.info,
            **facts,
        )
