"""The cases of a store, kept in step with the studies folder."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, insert, or_, select, update

from lib.archive import Archive, is_uid, only_folder
from lib.refusals import Refusal
from lib.stores.folder import FoundImage, ImageSource, Listing
from lib.stores.index import CASES, EVENTS, ROW_BY_ROW, StoreIndex
from lib.stores.names import check_name
from lib.stores.plain import to_json
from lib.stores.stored_tasks import labelled_mark

PRESENT, ABSENT, REMOVED = "present", "absent", "removed"
_PATIENCE_S = 5.0  # while the archive looks at a folder for the first time it has something new at every moment
# What the store itself says of an image; a client's own values for these would mislead the other clients.
_NOT_INFO = {"id", "path", "ts", "name"}


class Cases:
    """The table of cases and the folder that it mirrors.

    A folder of DICOM directly in it is a case under the folder's name; any other CT series of the body that the archive
    finds, in a folder of several or deeper down, is one under its SeriesInstanceUID.

    Args:
        index: the store's index.
        source: where the images come from.
        archive: the images of a folder as DICOM series; ``None`` where they come from elsewhere.
    """

    def __init__(self, *, index: StoreIndex, source: ImageSource, archive: Archive | None) -> None:
        self._index = index
        self._archive = archive
        self._changes, self._patient_until = -1, 0.0
        self._source = source
        self._lock = threading.RLock()

    def look(self, *, force: bool = False) -> None:
        """Bring the table up to date with the folder, if that may have changed."""
        with self._lock:
            changes, complete = self._archive.state() if self._archive else (-1, True)
            is_new = changes != self._changes and (complete or time.monotonic() > self._patient_until)
            listing = self._source.changes(force=force or is_new)
            if listing is None:
                return
            self._patient_until = time.monotonic() + _PATIENCE_S
            try:
                self._apply(self._with_series(listing), complete=complete)
                self._changes = changes
            except BaseException:
                self._source.forget()
                raise

    def present(self, image_id: str) -> Row:
        """The row of an image that is there; the folder is looked at again before an id counts as unknown.

        Raises:
            Refusal: 422 for an id that is a path, 404 for one that is not there.
        """
        image_id = check_name(image_id, what="image id")
        case = self.find(image_id)
        if case is None or case.state != PRESENT:
            self.look()
            case = self.find(image_id)
        if case is None:
            raise Refusal(f"There is no image {image_id}.", status=404)
        if case.state != PRESENT:
            why = "was removed" if case.state == REMOVED else "is not in the studies folder any more"
            raise Refusal(f"The image {image_id} {why}.", status=404)
        return case

    def find(self, image_id: str) -> Row | None:
        """The row of a case in whatever state, or ``None``."""
        with self._index.reading() as connection:
            return connection.execute(select(CASES).where(CASES.c.id == image_id)).first()

    def read_as(self, series: str) -> str | None:
        """The id of the case that was read as a certain DICOM series, or ``None``."""
        mark = to_json({"SeriesInstanceUID": series})[1:-1]
        query = select(CASES.c.id).where(CASES.c.suffix == "", CASES.c.facts.contains(mark, autoescape=True))
        with self._index.reading() as connection:
            return connection.execute(query.limit(1)).scalar()

    def change(self, connection: Connection, image_id: str, **values: Any) -> None:
        """Set columns of a case."""
        connection.execute(update(CASES).where(CASES.c.id == image_id).values(**values))

    def add(self, connection: Connection, image_id: str, *, image: FoundImage | None = None) -> None:
        """Add a case, unless it is there; without an image it is absent, and only its labels are known."""
        state = PRESENT if image else ABSENT
        connection.execute(self._index.insert_new(CASES).values(_row(image_id, state=state, image=image)))
        if image:
            self.change(connection, image_id, state=PRESENT, file=image.file, suffix=image.suffix)

    def merge_info(
        self, connection: Connection, image_id: str, info: Mapping[str, Any], *, over: bool = True
    ) -> dict[str, Any]:
        """Merge into the info of a case, over what is there or under it; returns all of it."""
        now = connection.execute(select(CASES.c.info).where(CASES.c.id == image_id)).scalar()
        if now is None:
            return {}
        known = json.loads(now)
        info = {key: value for key, value in info.items() if key not in _NOT_INFO}
        merged = {**known, **info} if over else {**info, **known}
        self.change(connection, image_id, info=to_json(merged))
        return merged

    def note_fault(self, case: Row, sentence: str) -> None:
        """Note why an image cannot be used, until its file changes."""
        with self._index.writing() as connection:
            self.change(connection, case.id, fault=sentence, fault_signature=self._source.signature(case.file))
            note(connection, "image_fault", {"image": case.id, "reason": sentence})

    def faulty(self) -> set[str]:
        """The ids of images that cannot be used and have not changed since that was noted."""
        self.forget_mended_faults()
        with self._index.reading() as connection:
            return set(connection.execute(select(CASES.c.id).where(CASES.c.fault.is_not(None))).scalars())

    def is_there(self, connection: Connection, image_id: str) -> bool:
        """Whether the file of a known image exists at this moment."""
        file = connection.execute(select(CASES.c.file).where(CASES.c.id == image_id)).scalar_one()
        return self._source.has(file)

    def _with_series(self, listing: Listing) -> Listing:
        """The listing with the series that are cases of their own, in place of folders that hold several."""
        images = dict(listing.images)
        own = self._series_of_folders()
        several: dict[str, list[str]] = {}
        for uid, folders in self._archive.bodies().items() if self._archive else ():
            folder = only_folder(folders)
            if folder is not None and any(image.file == folder for image in images.get(folder, ())):
                several.setdefault(folder, []).append(uid)
            elif uid not in images:
                images[uid] = [FoundImage(image_id=uid, file=os.path.commonpath(folders) or ".", suffix="")]
        for folder, uids in several.items():
            if len(uids) == 1:
                continue
            if own.get(folder) not in uids:
                del images[folder]
            for uid in uids:
                if uid != own.get(folder):
                    images[uid] = [FoundImage(image_id=uid, file=folder, suffix="")]
        return Listing(images=images, refused=listing.refused)

    def _series_of_folders(self) -> dict[str, str]:
        """The series that each folder stood for when it was first read: more of them may have come since."""
        query = select(CASES.c.id, CASES.c.facts).where(CASES.c.suffix == "", CASES.c.converted.is_not(None))
        with self._index.reading() as connection:
            return {row.id: json.loads(row.facts).get("SeriesInstanceUID") for row in connection.execute(query)}

    def _apply(self, listing: Listing, *, complete: bool) -> None:
        with self._index.reading() as connection:
            rows = connection.execute(select(CASES.c.id, CASES.c.state, CASES.c.file)).all()
        known = {row.id: (row.state, row.file) for row in rows}
        new, changed = [], {}
        for image_id, images in listing.images.items():
            state, file = known.get(image_id, (None, None))
            image = next((image for image in images if image.file == file), images[0])
            if state is None:
                new.append(_row(image_id, state=PRESENT, image=image))
            elif state != PRESENT or file != image.file:
                changed[image_id] = {"state": PRESENT, "file": image.file, "suffix": image.suffix}
        for image_id, (state, _) in known.items():
            if state == PRESENT and image_id not in listing.images and (complete or not is_uid(image_id)):
                changed[image_id] = {"state": ABSENT}
        notes = _notes_on(listing)
        if not (new or changed or notes):
            return
        with self._index.writing() as connection:
            if new:
                connection.execute(self._index.insert_new(CASES), new)
            for image_id, values in changed.items():
                # Another process may have added or removed the image since; each of them does that to the file first.
                state, file = known[image_id]
                there = self._source.has(values.get("file", file))
                if there == (values["state"] == PRESENT):
                    unchanged = (CASES.c.id == image_id, CASES.c.state == state)
                    connection.execute(update(CASES).where(*unchanged).values(**values))
            for kind, facts in notes:
                told = exists().where(EVENTS.c.kind == kind, EVENTS.c.facts == to_json(facts))
                if not connection.execute(select(told)).scalar():
                    note(connection, kind, facts)

    def forget_mended_faults(self) -> None:
        """Offer images again whose files have changed since they could not be used."""
        with self._index.reading() as connection:
            query = select(CASES.c.id, CASES.c.file, CASES.c.fault_signature).where(CASES.c.fault.is_not(None))
            faulty = connection.execute(query).all()
        mended = [case.id for case in faulty if self._source.signature(case.file) != case.fault_signature]
        if mended:
            with self._index.writing() as connection:
                for image_id in mended:
                    self.change(connection, image_id, fault=None, fault_signature=None)


def note(connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
    """Add an event within a writing transaction."""
    connection.execute(insert(EVENTS).values(kind=kind, created=time.time(), facts=to_json(facts)))


def lacks_label(tasks: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a case has no final label of at least one of some stored tasks."""
    return or_(*(CASES.c.labels.not_like(f'%"{labelled_mark(task)}"%') for task in tasks))


def _row(image_id: str, *, state: str, image: FoundImage | None) -> dict[str, Any]:
    return {
        "id": image_id,
        "file": image.file if image else "",
        "suffix": image.suffix if image else "",
        "state": state,
        "shuffle": random.random(),
        "added": time.time(),
        "info": "{}",
        "facts": "{}",
        "labels": "[]",
    }


def open_cases(connection: Connection, tasks: Sequence[str], *, start: float | None) -> Iterator[str]:
    """Present cases without a fault that lack a final label of a stored task, by id or from a random place on."""
    query = select(CASES.c.id).where(CASES.c.state == PRESENT, CASES.c.fault.is_(None), lacks_label(tasks))
    query = query.execution_options(**ROW_BY_ROW)
    if start is None:
        yield from connection.execute(query.order_by(CASES.c.id)).scalars()
        return
    by_chance = query.order_by(CASES.c.shuffle)
    yield from connection.execute(by_chance.where(CASES.c.shuffle >= start)).scalars()
    yield from connection.execute(by_chance.where(CASES.c.shuffle < start)).scalars()


def _notes_on(listing: Listing) -> list[tuple[str, dict[str, Any]]]:
    notes: list[tuple[str, dict[str, Any]]] = [
        ("same_id_twice", {"image": image_id, "files": [image.file for image in images]})
        for image_id, images in listing.images.items()
        if len(images) > 1
    ]
    notes += [("file_not_taken", {"file": file, "reason": reason}) for file, reason in listing.refused.items()]
    return notes
