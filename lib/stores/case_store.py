"""The store: cases, their labels with history, scores and events, behind MONAI Label's ``Datastore`` interface."""

from __future__ import annotations

import filecmp
import hashlib
import io
import json
import logging
import math
import random
import threading
import time
import uuid
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from monailabel.interfaces.datastore import Datastore
from sqlalchemy import Connection, Row, exists, func, insert, or_, select, update

from lib.anatomy.schemas import SCHEMAS, STORED_SCHEMAS, task_of
from lib.images import PatientFacts, read_ct
from lib.images.files import IMAGE_SUFFIXES, image_suffix
from lib.refusals import Refusal
from lib.stores.conversion import convert_dicom_folder
from lib.stores.files import (
    make_folder,
    place,
    remove_left_overs,
    sha256_of,
    signature_of,
    stage,
    stage_copy,
    sync_folder,
)
from lib.stores.folder import OWN_FOLDER, FoundImage, Listing, StudiesFolder
from lib.stores.geometry import Grid, read_grid
from lib.stores.history import History, NewRevision, label_file, labelled_mark
from lib.stores.index import (
    CASES,
    CURRENT,
    EVENTS,
    REVISIONS,
    SCORES,
    SETTINGS,
    TAKEN_OVER,
    DamagedIndexError,
    StoreIndex,
    get_setting,
    sqlite_url,
)
from lib.stores.label_check import TaskLabel, split_by_task
from lib.stores.names import check_name, check_new_id
from lib.stores.patient import facts_of, with_checked_facts
from lib.stores.plain import plain, to_json
from lib.stores.records import FINAL, UNINTERPRETED, Event, Revision
from lib.stores.submitted_label import open_label
from lib.stores.takeover import OldLabel, OldStore, read_old_store

logger = logging.getLogger(__name__)

PRESENT, ABSENT, REMOVED = "present", "absent", "removed"


class CaseStore(Datastore):
    """Cases in a folder, and everything people and models have said about them.

    The image files lie in the studies folder and are never changed. What the store adds lies in its sub-folder
    ``sarcopenia``: the index, the label revisions with a sidecar each, converted DICOM, and removed images. Several
    processes may use one store at once.

    A label's id is its image's id. The tag ``final`` stands for the newest label of the case over all tasks, a task's
    name for that task's newest label, ``TASK@NUMBER`` for any revision of it; every other tag, such as ``original``,
    holds labels that never count as done by a person.

    Args:
        studies: the folder with images (NIfTI, NRRD, sub-folders with one DICOM series).
        index_url: an SQLAlchemy URL of a PostgreSQL database; by default an SQLite file beside the labels.

    Raises:
        Refusal: the folder is missing or cannot be written, or the index cannot be opened.
    """

    def __init__(self, studies: str | Path, *, index_url: str | None = None) -> None:
        self._studies = Path(studies).resolve()
        if not self._studies.is_dir():
            raise Refusal(f"There is no studies folder {self._studies}.", status=404)
        self._own = self._studies / OWN_FOLDER
        self._labels = self._own / "labels"
        self._scratch = self._own / "tmp"
        self._converted = self._own / "converted"
        self._removed = self._own / "removed"
        try:
            for folder in (self._labels, self._scratch, self._converted, self._removed):
                make_folder(folder)
        except OSError as error:
            raise Refusal(f"The folder {self._own} cannot be made: {error.strerror}.", status=503) from error
        self._folder = StudiesFolder(self._studies)
        self._lock = threading.RLock()
        with FileLock(self._own / "opening.lock"):
            self._index = self._open_index(index_url)
            self._history = History(index=self._index, labels=self._labels, scratch=self._scratch)
            if self._index.is_new:
                self._rebuild_from_sidecars()
            self._look_at_folder(force=True)
            self._take_over(read_old_store(self._studies))
            remove_left_overs(self._scratch)

    def close(self) -> None:
        """Close the index; the store cannot be used afterwards."""
        self._index.close()

    # Name and description

    def name(self) -> str:
        """The name of the store."""
        with self._index.reading() as connection:
            return get_setting(connection, "name", self._studies.name)

    def set_name(self, name: str) -> None:
        """Name the store."""
        self._set("name", name)

    def description(self) -> str:
        """What the store holds."""
        with self._index.reading() as connection:
            return get_setting(connection, "description")

    def set_description(self, description: str) -> None:
        """Describe what the store holds."""
        self._set("description", description)

    # Images

    def list_images(self) -> list[str]:
        """The ids of all images that are there, sorted."""
        self._look_at_folder()
        with self._index.reading() as connection:
            query = select(CASES.c.id).where(CASES.c.state == PRESENT).order_by(CASES.c.id)
            return list(connection.execute(query).scalars())

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The bytes of the image file."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """The path of the image file; a DICOM folder is converted to NIfTI when it is first asked for.

        Raises:
            Refusal: 404 for an unknown id; 422 when a DICOM folder holds no single sound CT series.
        """
        case = self._case(image_id)
        source = self._studies / case.file
        if not source.exists():
            self._look_at_folder(force=True)
            raise Refusal(f"The file {case.file} of the image {image_id} is gone.", status=404)
        return str(source if case.suffix else self._converted_file(case, source))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image: ``path``, ``name``, ``ts``, facts of the patient, whatever was added to it."""
        case = self._case(image_id)
        try:
            path = self.get_image_uri(image_id)
        except Refusal as refusal:
            if refusal.status_code == 404:
                raise
            return {**_image_info(case), "fault": str(refusal)}
        return {**_image_info(self._case(image_id)), "path": path, "name": Path(path).name}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Merge into an image's info; ``sex``, ``age_years``, ``height_m``, ``weight_kg`` and ``contrast`` are checked.

        Raises:
            Refusal: 404 for an unknown id; 422 for a fact that no patient has.
        """
        checked = with_checked_facts(_mapping(info, what="info"))
        self._case(image_id)
        with self._index.writing() as connection:
            now = connection.execute(select(CASES.c.info).where(CASES.c.id == image_id)).scalar_one()
            merged = {**json.loads(now), **checked}
            connection.execute(update(CASES).where(CASES.c.id == image_id).values(info=to_json(merged)))

    def case_facts(self, image_id: str) -> PatientFacts:
        """What is known of the patient: from DICOM, overridden by what was entered.

        Raises:
            Refusal: 404 for an unknown id.
        """
        case = self._case(image_id)
        return facts_of(json.loads(case.facts)).updated(facts_of(json.loads(case.info)))

    def add_image(self, image_id: str | None, image_filename: str, image_info: dict[str, Any] | None = None) -> str:
        """Store a new image after checking that it is a CT.

        Args:
            image_id: its id; without one, the file's name.
            image_filename: NIfTI or NRRD.
            image_info: facts of the patient and anything else to keep with it.

        Returns:
            The id.

        Raises:
            Refusal: 422 for a bad id, info or file; 409 when another image has the id. Nothing is stored then.
        """
        path = Path(image_filename)
        suffix = image_suffix(path.name)
        if not suffix:
            raise Refusal(f"{path.name} is none of the formats that are read: {', '.join(IMAGE_SUFFIXES)}.")
        image_id = image_id or path.name
        own_suffix = image_suffix(image_id)
        image_id = check_new_id(image_id[: len(image_id) - len(own_suffix)])
        info = with_checked_facts(_mapping(image_info, what="params"))
        try:
            read_ct(path)
        except Refusal as refusal:
            raise Refusal(str(refusal).replace(path.name, f"The image {image_id}"), status=422) from refusal
        self._look_at_folder(force=True)
        with self._index.reading() as connection:
            case = connection.execute(select(CASES).where(CASES.c.id == image_id)).first()
        if case is not None and case.state == PRESENT:
            if case.suffix and filecmp.cmp(path, self._studies / case.file, shallow=False):
                return image_id
            raise Refusal(f"There is another image called {image_id}; choose another id.", status=409)
        if case is not None:
            self._refuse_other_grid(image_id, path)
        with _storage_faults():
            staged = stage_copy(path, scratch=self._scratch)
            try:
                place(staged, self._studies / f"{image_id}{suffix}")
            except FileExistsError as error:
                raise Refusal(f"There is another image called {image_id}; choose another id.", status=409) from error
            finally:
                staged.unlink(missing_ok=True)
            sync_folder(self._studies)
        self._look_at_folder(force=True)
        if info:
            self.update_image_info(image_id, info)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Take an image out: its file moves to ``sarcopenia/removed``, its labels stay in the history."""
        case = self._case(image_id)
        kept_as = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}-{case.file}"
        with _storage_faults():
            (self._studies / case.file).rename(self._removed / kept_as)
            sync_folder(self._removed)
        with self._index.writing() as connection:
            connection.execute(update(CASES).where(CASES.c.id == image_id).values(state=REMOVED))
            _note(connection, "image_removed", {"image": image_id, "kept_as": kept_as})

    def note_fault(self, image_id: str, sentence: str) -> None:
        """Note why an image cannot be used; it is not offered again until its file changes."""
        case = self._case(image_id)
        with self._index.writing() as connection:
            fault = {"fault": sentence, "fault_signature": _signature(self._studies / case.file)}
            connection.execute(update(CASES).where(CASES.c.id == image_id).values(**fault))
            _note(connection, "image_fault", {"image": image_id, "reason": sentence})

    # Labels

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any] | None = None
    ) -> str:
        """Check a label, split it by task, and store a revision for each.

        Args:
            image_id: the image it belongs to.
            label_filename: NIfTI, NRRD or Slicer's ``.seg.nrrd``.
            label_tag: ``final`` (also when empty) for a label submitted by a person; any other tag for others.
            label_info: ``label_info`` or ``params.label_names`` with the names of the values (else ``task`` or
                ``model`` names the schema whose ids they are); ``model``, ``model_version``, ``client_id``, ``user``;
                ``complete: true`` says that structures that are not drawn are not there, so the label is not partial.

        Returns:
            The label's id, which is the image's.

        Raises:
            Refusal: 404 for an unknown image, 422 for a label that cannot be accepted; nothing is stored then.
        """
        tag = _new_tag(label_tag)
        info = plain(_mapping(label_info, what="params"))
        grid = read_grid(Path(self.get_image_uri(image_id)))
        labels = _checked_labels(Path(label_filename), grid=grid, info=info)
        self._save(image_id, labels, grid=grid, tag=tag, info=info)
        return image_id

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The bytes of the label file that a tag stands for."""
        return io.BytesIO(Path(self.get_label_uri(label_id, label_tag)).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The path of the label that a tag stands for (see the class).

        Raises:
            Refusal: 404 when there is none.
        """
        with self._index.reading() as connection:
            return str(self._history.revision(self._label_row(connection, label_id, label_tag)).path)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of the label that a tag stands for; ``params.label_names`` are the ids in its file.

        Raises:
            Refusal: 404 when there is none.
        """
        with self._index.reading() as connection:
            return _label_info(self._history.revision(self._label_row(connection, label_id, label_tag)))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Merge into the info of the label that a tag stands for."""
        with self._index.writing() as connection:
            row = self._label_row(connection, label_id, label_tag)
            self._history.update_info(connection, row, plain(_mapping(info, what="info")))

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Withdraw the label that a tag stands for; nothing is deleted, and the one before it is current again."""
        with self._index.writing() as connection:
            row = self._label_row(connection, label_id, label_tag)
            if row.withdrawn is not None:
                raise Refusal(f"The label {label_tag} of {label_id} was withdrawn before.", status=409)
            self._history.withdraw(connection, row, when=time.time())
            facts = {"image": label_id, "task": row.task, "revision": row.number, "tag": row.tag}
            _note(connection, "label_withdrawn", facts)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """The tags under which the case has labels, each with the label's id."""
        check_name(image_id, what="image id")
        with self._index.reading() as connection:
            query = select(CURRENT.c.tag).where(CURRENT.c.case_id == image_id).distinct()
            return dict.fromkeys(connection.execute(query).scalars(), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The id of the case's label under a tag, or ""."""
        check_name(image_id, what="image id")
        with self._index.reading() as connection:
            return image_id if self._history.find(connection, image_id, _tag(tag)) is not None else ""

    def revisions(self, image_id: str, task: str | None = None) -> list[Revision]:
        """All revisions of a case, oldest first, also withdrawn ones and those of a removed image.

        Raises:
            Refusal: 404 for an id that never was.
        """
        check_name(image_id, what="image id")
        query = select(REVISIONS).where(REVISIONS.c.case_id == image_id).order_by(REVISIONS.c.created, REVISIONS.c.id)
        if task is not None:
            query = query.where(REVISIONS.c.task == task)
        with self._index.reading() as connection:
            found = [self._history.revision(row) for row in connection.execute(query)]
        if not found:
            self._case(image_id)
        return found

    def current_label(self, image_id: str, task: str) -> Path | None:
        """The file of the task's newest final label of a case, or ``None``."""
        check_name(image_id, what="image id")
        with self._index.reading() as connection:
            row = self._history.find(connection, image_id, _stored_task(task))
            return None if row is None else self._history.revision(row).path

    def current_labels(self, task: str) -> list[Revision]:
        """The newest final label of the task for every case whose image is there, in the order of their ids."""
        self._look_at_folder()
        query = (
            select(REVISIONS)
            .join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
            .join(CASES, CASES.c.id == CURRENT.c.case_id)
            .where(CURRENT.c.tag == FINAL, CURRENT.c.task == _stored_task(task), CASES.c.state == PRESENT)
            .order_by(CURRENT.c.case_id)
        )
        with self._index.reading() as connection:
            return [self._history.revision(row) for row in connection.execute(query)]

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The images with a label under a tag (``final`` by default), or with any of the names in ``labels``."""
        labelled = self._labelled(label_tag, labels)
        return [image_id for image_id in self.list_images() if image_id in labelled]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The images without such a label (see :meth:`get_labeled_images`)."""
        labelled = self._labelled(label_tag, labels)
        return [image_id for image_id in self.list_images() if image_id not in labelled]

    # The whole store

    def datalist(self) -> list[dict[str, Any]]:
        """Image and newest final label of every labelled case, tasks mixed; trainers use :meth:`current_labels`."""
        return [
            {"image": self.get_image_uri(image_id), "label": self.get_label_uri(image_id, FINAL)}
            for image_id in self.get_labeled_images()
        ]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A ZIP of all labelled images with the newest final label of each task.

        Args:
            limit_cases: at most so many cases, or ``None``.

        Raises:
            Refusal: 404 when nothing is labelled.
        """
        cases = self.get_labeled_images()[: limit_cases or None]
        if not cases:
            raise Refusal("No image has a label yet, so there is nothing to download.", status=404)
        remove_left_overs(self._scratch)
        path = self._scratch / f"{uuid.uuid4().hex}.zip"
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
            for image_id in cases:
                image = Path(self.get_image_uri(image_id))
                archive.write(image, f"image/{image.name}")
                for task in STORED_SCHEMAS:
                    label = self.current_label(image_id, task)
                    if label is not None:
                        archive.write(label, f"label/{task}/{image_id}{image_suffix(label.name)}")
            archive.writestr("metadata.json", json.dumps(self.json(), ensure_ascii=False), zipfile.ZIP_DEFLATED)
        return str(path)

    def refresh(self) -> None:
        """Look at the studies folder again, whether or not it seems to have changed."""
        self._look_at_folder(force=True)

    def status(self) -> dict[str, Any]:
        """How many images there are, and how many have labels: in all, by tag, and by task."""
        self._look_at_folder()
        query = select(CASES.c.labels, func.count()).where(CASES.c.state == PRESENT).group_by(CASES.c.labels)
        with self._index.reading() as connection:
            counts = [(set(json.loads(row[0])), row[1]) for row in connection.execute(query)]
        marks = {task: labelled_mark(task) for task in STORED_SCHEMAS}
        tags = sorted(set().union(*(labels for labels, _ in counts)) - set(marks.values()))
        return {
            "total": sum(n for _, n in counts),
            "completed": sum(n for labels, n in counts if labels.intersection(marks.values())),
            "label_tags": {tag: sum(n for labels, n in counts if tag in labels) for tag in tags},
            "tasks": {task: sum(n for labels, n in counts if mark in labels) for task, mark in marks.items()},
        }

    def json(self) -> dict[str, Any]:
        """Everything, in the shape of MONAI Label's own store, which 3D Slicer reads."""
        self._look_at_folder()
        with self._index.reading() as connection:
            cases = connection.execute(
                select(CASES.c.id, CASES.c.file, CASES.c.suffix, CASES.c.added, CASES.c.info, CASES.c.facts)
                .where(CASES.c.state == PRESENT)
                .order_by(CASES.c.id)
            )
            objects: dict[str, Any] = {
                case.id: {"image": {"ext": case.suffix or ".nii.gz", "info": _image_info(case)}, "labels": {}}
                for case in cases
            }
            current = connection.execute(
                select(*_SHORT_LABEL_COLUMNS)
                .join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
                .order_by(REVISIONS.c.task == UNINTERPRETED, REVISIONS.c.created.desc(), REVISIONS.c.id.desc())
            )
            for row in current:
                if row.case_id in objects:
                    labels = objects[row.case_id]["labels"]
                    label = _short_label(row)
                    labels.setdefault(row.tag, label)
                    if row.tag == FINAL:
                        labels[row.task] = label
            return {
                "name": get_setting(connection, "name", self._studies.name),
                "description": get_setting(connection, "description"),
                "images_dir": ".",
                "labels_dir": f"{OWN_FOLDER}/labels",
                "objects": objects,
            }

    # The queue

    def next_case(
        self, task: str, *, order: Literal["first", "random"] = "first", exclude: Collection[str] = ()
    ) -> str | None:
        """A case that has no final label for a task yet.

        Args:
            task: a task; for one that is stored as several, a case that lacks any of them.
            order: the first by id, or any.
            exclude: ids not to choose.

        Returns:
            The id of an image that is there and known to be readable, or ``None``.
        """
        self._look_at_folder()
        self._forget_mended_faults()
        skipped = set(exclude)
        start = random.random() if order == "random" else None
        with self._index.reading() as connection:
            for image_id in _open_cases(connection, _stored_tasks(task), start=start):
                if image_id not in skipped:
                    file = connection.execute(select(CASES.c.file).where(CASES.c.id == image_id)).scalar_one()
                    if (self._studies / file).exists():
                        return image_id
        return None

    def save_score(
        self, image_id: str, *, task: str, method: str, value: float, model_version: str | None = None
    ) -> None:
        """Store the score of a case, instead of an earlier one of the same task and method.

        Raises:
            Refusal: 404 for an unknown image, 422 for a value that is not finite.
        """
        if not math.isfinite(value):
            raise Refusal(f"A score of {value} cannot be compared; it has to be a finite number.")
        self._case(image_id)
        row = {
            "task": task,
            "method": method,
            "case_id": image_id,
            "value": float(value),
            "model_version": model_version,
            "created": time.time(),
        }
        with self._index.writing() as connection:
            connection.execute(self._index.upsert(SCORES, row))

    def scores(self, task: str, method: str) -> dict[str, float]:
        """The scores of all cases for a task and method, by image id."""
        query = select(SCORES.c.case_id, SCORES.c.value).where(SCORES.c.task == task, SCORES.c.method == method)
        with self._index.reading() as connection:
            return {row.case_id: row.value for row in connection.execute(query)}

    def note_event(self, kind: str, **facts: Any) -> None:
        """Note something that happened."""
        with self._index.writing() as connection:
            _note(connection, kind, facts)

    def events(self, kind: str | None = None, *, limit: int = 1000) -> list[Event]:
        """What happened, newest first."""
        query = select(EVENTS).order_by(EVENTS.c.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(EVENTS.c.kind == kind)
        with self._index.reading() as connection:
            return [
                Event(kind=row.kind, created=datetime.fromtimestamp(row.created, UTC), facts=json.loads(row.facts))
                for row in connection.execute(query)
            ]

    # Opening

    def _open_index(self, url: str | None) -> StoreIndex:
        if url is not None:
            return StoreIndex(url)
        path = self._own / "index.sqlite"
        try:
            return StoreIndex(sqlite_url(path))
        except DamagedIndexError as error:
            aside = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
            logger.warning("The index %s is damaged (%s); it is kept as %s and made anew.", path, error, aside)
            for suffix in ("", "-wal", "-shm"):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    part.rename(path.with_name(aside + suffix))
            return StoreIndex(sqlite_url(path))

    def _rebuild_from_sidecars(self) -> None:
        """Fill a new index from the label files, for when the old one was lost."""
        rows, refused = [], {}
        for sidecar in self._history.sidecars():
            try:
                rows.append(self._history.row_of(sidecar))
            except (ValueError, OSError) as error:
                refused[sidecar.relative_to(self._labels).as_posix()] = str(error)
        if not rows and not refused:
            return
        with self._index.writing() as connection:
            for image_id in sorted({row["case_id"] for row in rows}):
                connection.execute(self._index.insert_new(CASES).values(_case_row(image_id, state=ABSENT)))
            taken: set[tuple[str, str, int]] = set()
            for row in sorted(rows, key=lambda row: row["created"]):
                # Left by a process that was killed before it acknowledged: whole, so it counts, under a free number.
                while (row["case_id"], row["task"], row["number"]) in taken:
                    row["number"] += 1
                taken.add((row["case_id"], row["task"], row["number"]))
                self._history.insert(connection, row)
            _note(connection, "index_rebuilt", {"revisions": len(rows), "refused": refused})

    def _look_at_folder(self, *, force: bool = False) -> None:
        """Bring the cases up to date with the folder, if it may have changed."""
        with self._lock:
            listing = self._folder.changes(force=force)
            if listing is None:
                return
            try:
                self._apply(listing)
            except BaseException:
                self._folder.forget()
                raise

    def _apply(self, listing: Listing) -> None:
        with self._index.reading() as connection:
            known = {
                id_: (state, file)
                for id_, state, file in connection.execute(select(CASES.c.id, CASES.c.state, CASES.c.file))
            }
        new, changed = [], {}
        for image_id, images in listing.images.items():
            state, file = known.get(image_id, (None, None))
            image = next((image for image in images if image.file == file), images[0])
            if state is None:
                new.append(_case_row(image_id, state=PRESENT, image=image))
            elif state != PRESENT or file != image.file:
                changed[image_id] = {"state": PRESENT, "file": image.file, "suffix": image.suffix}
        for image_id, (state, _) in known.items():
            if state == PRESENT and image_id not in listing.images:
                changed[image_id] = {"state": ABSENT}
        notes = _notes_on(listing)
        if not (new or changed or notes):
            return
        with self._index.writing() as connection:
            if new:
                connection.execute(self._index.insert_new(CASES), new)
            for image_id, values in changed.items():
                connection.execute(update(CASES).where(CASES.c.id == image_id).values(**values))
            for kind, facts in notes:
                told = exists().where(EVENTS.c.kind == kind, EVENTS.c.facts == to_json(facts))
                if not connection.execute(select(told)).scalar():
                    _note(connection, kind, facts)

    def _take_over(self, old: OldStore) -> None:
        """Take labels of an older MONAI Label folder that are not here yet; one transaction each."""
        with self._index.reading() as connection:
            taken = {file: (size, mtime) for file, size, mtime in connection.execute(select(TAKEN_OVER))}
            begun = bool(get_setting(connection, "taken_over"))
        for label in old.labels:
            stat = label.path.stat()
            if taken.get(label.file) != (stat.st_size, stat.st_mtime_ns):
                self._take_over_label(label, stat_=(stat.st_size, stat.st_mtime_ns))
        if begun or not (old.images or old.warnings or old.name):
            return
        with self._index.writing() as connection:
            for image_id, info in old.images.items():
                now = connection.execute(select(CASES.c.info).where(CASES.c.id == image_id)).scalar()
                if now is not None:
                    merged = {**info, **json.loads(now)}
                    connection.execute(update(CASES).where(CASES.c.id == image_id).values(info=to_json(merged)))
            for key, value in (("name", old.name), ("description", old.description), ("taken_over", "yes")):
                if value and not get_setting(connection, key):
                    connection.execute(insert(SETTINGS).values(key=key, value=value))
            _note(connection, "store_taken_over", {"labels": len(old.labels), "warnings": old.warnings})

    def _take_over_label(self, old: OldLabel, *, stat_: tuple[int, int]) -> None:
        tag = f"old-{old.tag}" if not _may_be_saved_under(old.tag) else old.tag
        created = old.info.get("ts")
        seconds = float(created) if isinstance(created, int | float) else stat_[1] / 1e9
        facts = {"image_id": old.image_id, "tag": tag, "created": seconds, **_origin(old.info)}
        try:
            grid = read_grid(Path(self.get_image_uri(old.image_id)))
            labels = _checked_labels(old.path, grid=grid, info=plain(old.info))
            new = [self._staged(label, grid=grid, facts=facts, info=old.info) for label in labels]
        except Refusal as refusal:
            staged = stage_copy(old.path, scratch=self._scratch)
            kept = NewRevision(
                task=UNINTERPRETED,
                staged=staged,
                suffix=old.suffix,
                sha256=sha256_of(staged),
                partial=True,
                warnings=[f"Kept as it is, from {old.file}: {refusal}"],
                info=old.info,
                **facts,
            )
            new = [kept]
        with self._index.writing() as connection:
            connection.execute(self._index.insert_new(CASES).values(_case_row(old.image_id, state=ABSENT)))
            for revision in new:
                self._history.add(connection, revision)
            row = {"file": old.file, "size": stat_[0], "mtime_ns": stat_[1]}
            connection.execute(self._index.upsert(TAKEN_OVER, row))

    # Helpers

    def _case(self, image_id: str) -> Row:
        """The row of an image that is there; the folder is looked at again before an id counts as unknown."""
        image_id = check_name(image_id, what="image id")
        query = select(CASES).where(CASES.c.id == image_id)
        for look_again in (True, False):
            with self._index.reading() as connection:
                case = connection.execute(query).first()
            if case is not None and case.state == PRESENT:
                return case
            if look_again:
                self._look_at_folder()
        if case is None:
            raise Refusal(f"There is no image {image_id}.", status=404)
        why = "was removed" if case.state == REMOVED else "is not in the studies folder any more"
        raise Refusal(f"The image {image_id} {why}.", status=404)

    def _label_row(self, connection: Connection, label_id: str, label_tag: str) -> Row:
        check_name(label_id, what="label id")
        tag = _tag(label_tag)
        state = connection.execute(select(CASES.c.state).where(CASES.c.id == label_id)).scalar()
        row = None if state in (None, REMOVED) else self._history.find(connection, label_id, tag)
        if row is None:
            raise Refusal(f"{label_id} has no label {tag}.", status=404)
        return row

    def _labelled(self, label_tag: str | None, names: Iterable[str] | None) -> set[str]:
        tag = _tag(label_tag or FINAL)
        query = select(CURRENT.c.case_id, REVISIONS.c.names).join(REVISIONS, REVISIONS.c.id == CURRENT.c.revision_id)
        if tag in STORED_SCHEMAS:
            query = query.where(CURRENT.c.tag == FINAL, CURRENT.c.task == tag)
        else:
            query = query.where(CURRENT.c.tag == tag, CURRENT.c.task != UNINTERPRETED)
        wanted = set(names or ())
        with self._index.reading() as connection:
            rows = connection.execute(query).all()
        return {case_id for case_id, drawn in rows if not wanted or wanted.intersection(json.loads(drawn))}

    def _save(self, image_id: str, labels: list[TaskLabel], *, grid: Grid, tag: str, info: Mapping[str, Any]) -> None:
        facts = {"image_id": image_id, "tag": tag, **_origin(info)}
        with _storage_faults():
            staged = [self._staged(label, grid=grid, facts={**facts, "created": 0.0}, info=info) for label in labels]
            with self._index.writing() as connection:
                # A clock that was set back must not make an older label the current one.
                newest = connection.execute(
                    select(func.max(REVISIONS.c.created)).where(REVISIONS.c.case_id == image_id)
                ).scalar()
                created = max(time.time(), newest or 0.0)
                for new in staged:
                    self._history.add(connection, replace(new, created=created))

    def _staged(
        self, label: TaskLabel, *, grid: Grid, facts: Mapping[str, Any], info: Mapping[str, Any]
    ) -> NewRevision:
        content = label_file(label.array, grid)
        return NewRevision(
            task=label.task,
            staged=stage(content, scratch=self._scratch),
            suffix=".nii.gz",
            sha256=hashlib.sha256(content).hexdigest(),
            names=label.names,
            partial=label.partial,
            warnings=label.warnings,
            info=info,
            **facts,
        )

    def _converted_file(self, case: Row, folder: Path) -> Path:
        target = self._converted / f"{case.id}.nii.gz"
        signature = signature_of(folder)
        if target.exists() and case.converted == signature:
            return target
        if case.fault and case.fault_signature == signature:
            raise Refusal(case.fault)
        if target.exists() and self.revisions(case.id):
            return target  # the labels lie on this volume; the folder changed afterwards
        try:
            facts = convert_dicom_folder(folder, target, scratch=self._scratch)
        except Refusal as refusal:
            self.note_fault(case.id, str(refusal))
            raise
        with self._index.writing() as connection:
            values = {"converted": signature, "facts": to_json(facts), "fault": None, "fault_signature": None}
            connection.execute(update(CASES).where(CASES.c.id == case.id).values(**values))
        return target

    def _refuse_other_grid(self, image_id: str, path: Path) -> None:
        """An image that comes back under an id with labels has to lie where they lie."""
        labels = [revision for revision in self.revisions(image_id) if revision.task != UNINTERPRETED]
        if labels and not read_grid(labels[-1].path).same_place(read_grid(path)):
            raise Refusal(
                f"An earlier image called {image_id} had labels that do not fit this one; choose another id.",
                status=409,
            )

    def _forget_mended_faults(self) -> None:
        with self._index.reading() as connection:
            query = select(CASES.c.id, CASES.c.file, CASES.c.fault_signature).where(CASES.c.fault.is_not(None))
            faulty = connection.execute(query).all()
        mended = [id_ for id_, file, signature in faulty if _signature(self._studies / file) != signature]
        if mended:
            with self._index.writing() as connection:
                for id_ in mended:
                    values = {"fault": None, "fault_signature": None}
                    connection.execute(update(CASES).where(CASES.c.id == id_).values(**values))

    def _set(self, key: str, value: str) -> None:
        with self._index.writing() as connection:
            connection.execute(self._index.upsert(SETTINGS, {"key": key, "value": value}))


def _checked_labels(path: Path, *, grid: Grid, info: Mapping[str, Any]) -> list[TaskLabel]:
    try:
        submitted = open_label(path, grid=grid, info=info)
    except Refusal as refusal:
        # The client never saw the temporary file's name.
        raise Refusal(str(refusal).replace(path.name, "The label"), status=refusal.status_code) from refusal
    return split_by_task(submitted, grid=grid, complete=info.get("complete") is True)


def _origin(info: Mapping[str, Any]) -> dict[str, Any]:
    """Who saved a label and which model they started from, as far as the client said."""
    params = info.get("params") if isinstance(info.get("params"), Mapping) else {}
    version = info.get("model_version") or (params or {}).get("model_version")
    return {
        "author": str(info.get("user") or info.get("client_id") or ""),
        "client_id": str(info.get("client_id") or ""),
        "model": str(info.get("model") or ""),
        "model_version": None if version is None else str(version),
    }


def _label_info(revision: Revision) -> dict[str, Any]:
    """The info of a label as MONAI Label's clients read it, with the ids that its file really holds."""
    params = revision.info.get("params")
    known = {
        **revision.info,
        "ts": int(revision.created.timestamp()),
        "name": revision.path.name,
        "task": revision.task,
        "revision": revision.number,
        "author": revision.author,
        "client_id": revision.client_id,
        "model": revision.model,
        "model_version": revision.model_version,
        "sha256": revision.sha256,
        "names": list(revision.names),
        "partial": revision.partial,
        "warnings": list(revision.warnings),
    }
    if revision.task == UNINTERPRETED:
        return known
    ids = STORED_SCHEMAS[revision.task].ids
    known["params"] = {**(params if isinstance(params, dict) else {}), "label_names": ids}
    known["label_info"] = [{"name": name, "idx": value} for name, value in ids.items()]
    return known


_SHORT_LABEL_COLUMNS = [
    REVISIONS.c[name]
    for name in ("case_id", "task", "number", "tag", "author", "client_id", "model", "created", "file", "partial")
]


def _short_label(row: Row) -> dict[str, Any]:
    """A label in the listing of the whole store, which Slicer downloads at every next sample."""
    name = row.file.rpartition("/")[2]
    info = {
        "ts": int(row.created),
        "name": name,
        "task": row.task,
        "revision": row.number,
        "author": row.author,
        "client_id": row.client_id,
        "model": row.model,
        "partial": row.partial,
    }
    if row.task != UNINTERPRETED:
        info["params"] = {"label_names": STORED_SCHEMAS[row.task].ids}
    return {"ext": name[name.index(".") :], "info": info}


def _image_info(case: Row) -> dict[str, Any]:
    info = {**(json.loads(case.facts) if case.facts != "{}" else {})}
    if case.info != "{}":
        info.update(json.loads(case.info))
    info["ts"] = int(case.added)
    info["name"] = case.file if case.suffix else f"{case.id}.nii.gz"
    return info


def _case_row(image_id: str, *, state: str, image: FoundImage | None = None) -> dict[str, Any]:
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


def _open_cases(connection: Connection, tasks: tuple[str, ...], *, start: float | None) -> Iterator[str]:
    """Cases without a final label of one of the tasks, by id or from a random place on."""
    lacks_one = or_(*(CASES.c.labels.not_like(f'%"{labelled_mark(task)}"%') for task in tasks))
    query = select(CASES.c.id).where(CASES.c.state == PRESENT, CASES.c.fault.is_(None), lacks_one)
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


def _note(connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
    connection.execute(insert(EVENTS).values(kind=kind, created=time.time(), facts=to_json(facts)))


def _tag(value: object) -> str:
    return check_name(value or FINAL, what="tag")


def _new_tag(value: object) -> str:
    tag = _tag(value)
    if not _may_be_saved_under(tag):
        raise Refusal(f"The tag {tag} names a stored label and cannot be saved under; use {FINAL}.")
    return tag


def _may_be_saved_under(tag: str) -> bool:
    return tag not in SCHEMAS and tag != UNINTERPRETED and not set(tag) & set("@:")


def _stored_tasks(task: str) -> tuple[str, ...]:
    if task not in SCHEMAS:
        raise Refusal(f"There is no task {task}; there are {', '.join(SCHEMAS)}.")
    return tuple(dict.fromkeys(str(task_of(name)) for name in SCHEMAS[task].names))


def _stored_task(task: str) -> str:
    if task not in STORED_SCHEMAS:
        raise Refusal(f"No labels are stored for the task {task}; there are {', '.join(STORED_SCHEMAS)}.")
    return task


def _mapping(value: object, *, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(f"{what} has to be a JSON object.")
    return value


def _signature(path: Path) -> str:
    return signature_of(path) if path.exists() else ""


@contextmanager
def _storage_faults() -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise Refusal(f"Nothing was saved, the disk refused: {error.strerror or error}.", status=507) from error
