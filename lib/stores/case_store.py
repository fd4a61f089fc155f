"""The store: cases, their labels with history, scores and events, behind MONAI Label's ``Datastore`` interface."""

from __future__ import annotations

import filecmp
import io
import json
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.interfaces.datastore import Datastore
from sqlalchemy import Connection, Row, exists, func, select, union

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.disk import make_folder, sync_folder
from lib.images import PatientFacts, read_ct
from lib.images.files import IMAGE_SUFFIXES, image_suffix
from lib.refusals import Refusal
from lib.stores.cases import PRESENT, REMOVED, Cases, note
from lib.stores.client_shapes import IMAGE_COLUMNS, SHORT_LABEL_COLUMNS, image_info, label_info, short_label
from lib.stores.conversion import convert_dicom_folder, series_facts
from lib.stores.files import place, remove_left_overs, signature_of, stage_copy
from lib.stores.folder import OWN_FOLDER, FoundImage
from lib.stores.geometry import read_grid
from lib.stores.history import History
from lib.stores.index import CASES, CURRENT, EVENTS, REVISIONS, SETTINGS, get_setting
from lib.stores.names import check_name, check_new_id, folder_name
from lib.stores.opening import TakeOver, may_be_saved_under, open_index, rebuild_from_sidecars
from lib.stores.patient import KEPT, EnteredFacts, facts_of, with_checked_facts
from lib.stores.plain import plain, to_json
from lib.stores.queue import QueueKeeping
from lib.stores.records import FINAL, UNINTERPRETED, Event, Revision
from lib.stores.runs import RunKeeping
from lib.stores.saving import checked_labels, save_labels
from lib.stores.scores import ScoreKeeping
from lib.stores.stored_tasks import labelled_mark, stored_task


class CaseStore(QueueKeeping, ScoreKeeping, RunKeeping, Datastore):
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
        self._facts = self._own / "facts"
        try:
            for folder in (self._labels, self._scratch, self._converted, self._removed, self._facts):
                make_folder(folder)
        except OSError as error:
            raise Refusal(f"The folder {self._own} cannot be made: {error.strerror}.", status=503) from error
        with FileLock(self._own / "opening.lock"):
            self._index = open_index(self._own / "index.sqlite", url=index_url)
            self._history = History(index=self._index, labels=self._labels, scratch=self._scratch)
            self._entered = EnteredFacts(folder=self._facts, scratch=self._scratch)
            self._cases = Cases(index=self._index, studies=self._studies)
            if not self._index.is_filled():
                rebuild_from_sidecars(
                    index=self._index, cases=self._cases, history=self._history, entered=self._entered
                )
            self._cases.look(force=True)
            TakeOver(
                studies=self._studies,
                scratch=self._scratch,
                index=self._index,
                cases=self._cases,
                history=self._history,
                image_path=self.get_image_uri,
            ).run()
            remove_left_overs(self._scratch)

    def close(self) -> None:
        """Close the index; the store cannot be used afterwards."""
        self._index.close()

    @property
    def own_folder(self) -> Path:
        """The folder beside the images in which everything lies that the store keeps."""
        return self._own

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
        self._cases.look()
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
        case = self._cases.present(image_id)
        source = self._studies / case.file
        if not source.exists():
            self._cases.look(force=True)
            raise Refusal(f"The file {case.file} of the image {image_id} is gone.", status=404)
        return str(source if case.suffix else self._converted_file(case, source))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image: ``path``, ``name``, ``ts``, facts of the patient, whatever was added to it."""
        case = self._cases.present(image_id)
        try:
            path = self.get_image_uri(image_id)
        except Refusal as refusal:
            if refusal.status_code == 404:
                raise
            return {**image_info(case), "fault": str(refusal)}
        return {**image_info(self._cases.present(image_id)), "path": path, "name": Path(path).name}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Merge into an image's info; ``sex``, ``age_years``, ``height_m``, ``weight_kg`` and ``contrast`` are checked.

        Raises:
            Refusal: 404 for an unknown id; 422 for a fact that no patient has.
        """
        checked = with_checked_facts(_mapping(info, what="info"))
        self._cases.present(image_id)
        with _storage_faults(), self._index.writing() as connection:
            self._merge_info(connection, image_id, checked)

    def case_facts(self, image_id: str) -> PatientFacts:
        """What is known of the patient: from DICOM, overridden by what was entered.

        Raises:
            Refusal: 404 for an unknown id.
        """
        case = self._cases.present(image_id)
        return facts_of(json.loads(case.facts)).updated(facts_of(json.loads(case.info)))

    def patient(self, image_id: str) -> str:
        """Whose image it is: ``patient`` in the image's info, else from DICOM, else nobody's but this case's.

        Raises:
            Refusal: 404 for an unknown id.
        """
        case = self._cases.present(image_id)
        return str(json.loads(case.info).get("patient") or json.loads(case.facts).get("patient") or image_id)

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
        self._cases.look()
        case = self._cases.find(image_id)
        if case is not None and case.state == PRESENT:
            if case.suffix and filecmp.cmp(path, self._studies / case.file, shallow=False):
                self.update_image_info(image_id, info)
                return image_id
            raise Refusal(f"There is another image called {image_id}; choose another id.", status=409)
        self._refuse_other_grid(image_id, path)
        image = FoundImage(image_id=image_id, file=f"{image_id}{suffix}", suffix=suffix)
        with _storage_faults():
            staged = stage_copy(path, scratch=self._scratch)
            try:
                place(staged, self._studies / image.file)
            except FileExistsError as error:
                raise Refusal(f"There is another image called {image_id}; choose another id.", status=409) from error
            finally:
                staged.unlink(missing_ok=True)
            sync_folder(self._studies)
        with _storage_faults(), self._index.writing() as connection:
            self._cases.add(connection, image_id, image=image)
            self._merge_info(connection, image_id, info)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Take an image out: it moves to ``sarcopenia/removed``, its labels stay in the history.

        What is known of the patient goes with it: the next image of that name may be of somebody else.
        """
        case = self._cases.present(image_id)
        kept_as = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}-{case.file}"
        with _storage_faults():
            (self._studies / case.file).rename(self._removed / kept_as)
            for path, suffix in ((self._conversion_path(image_id), ".nii.gz"), (self._entered.path(image_id), ".json")):
                if path.exists():
                    path.rename(self._removed / f"{kept_as}{suffix}")
            sync_folder(self._removed)
        with self._index.writing() as connection:
            self._cases.change(connection, image_id, state=REMOVED, info="{}", facts="{}", converted=None)
            facts = {"image": image_id, "kept_as": kept_as, "info": json.loads(case.info)}
            note(connection, "image_removed", facts)

    def note_fault(self, image_id: str, sentence: str) -> None:
        """Note why an image cannot be used; it is not offered again until its file changes."""
        self._cases.note_fault(self._cases.present(image_id), sentence)

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
        labels = checked_labels(Path(label_filename), grid=grid, info=info)
        with _storage_faults():
            save_labels(
                labels,
                image_id=image_id,
                tag=tag,
                grid=grid,
                info=info,
                history=self._history,
                index=self._index,
                scratch=self._scratch,
            )
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
            return label_info(self._history.revision(self._label_row(connection, label_id, label_tag)))

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
            note(connection, "label_withdrawn", facts)

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
            self._cases.present(image_id)
        return found

    def current_label(self, image_id: str, task: str) -> Path | None:
        """The file of the task's newest final label of a case, or ``None``."""
        check_name(image_id, what="image id")
        with self._index.reading() as connection:
            row = self._history.find(connection, image_id, stored_task(task))
            return None if row is None else self._history.revision(row).path

    def current_labels(self, task: str) -> list[Revision]:
        """The newest final label of the task for every case whose image is there, in the order of their ids."""
        self._cases.look()
        query = (
            select(REVISIONS)
            .join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
            .join(CASES, CASES.c.id == CURRENT.c.case_id)
            .where(CURRENT.c.tag == FINAL, CURRENT.c.task == stored_task(task), CASES.c.state == PRESENT)
            .order_by(CURRENT.c.case_id)
        )
        with self._index.reading() as connection:
            return [self._history.revision(row) for row in connection.execute(query)]

    def labels_since(self, task: str, when: datetime | None = None) -> int:
        """How many cases have another current final label of the task than at a moment, in whatever state the image is.

        Args:
            task: a stored task.
            when: the moment, such as the ``created`` of the newest label that a training took; without it, all count.
        """
        current = (CURRENT.c.tag == FINAL, CURRENT.c.task == stored_task(task))
        count = select(func.count()).where(*current)
        if when is not None:
            moment = when.timestamp() + 1e-6  # a datetime holds microseconds, a row more
            of_task = select(REVISIONS.c.case_id).where(REVISIONS.c.task == task, REVISIONS.c.tag == FINAL)
            saved = of_task.where(REVISIONS.c.created > moment, REVISIONS.c.withdrawn.is_(None))
            taken_back = of_task.where(REVISIONS.c.created <= moment, REVISIONS.c.withdrawn > moment)
            changed = union(saved, taken_back).subquery()
            still_labelled = exists().where(*current, CURRENT.c.case_id == changed.c.case_id)
            count = select(func.count()).select_from(changed).where(still_labelled)
        with self._index.reading() as connection:
            return int(connection.execute(count).scalar_one())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The images with a label under a tag (``final`` by default), or with any of the names in ``labels``."""
        labelled = self._labelled(label_tag, labels)
        return [image_id for image_id in self.list_images() if image_id in labelled]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The usable images without such a label (see :meth:`get_labeled_images` and :meth:`note_fault`)."""
        passed_over = self._labelled(label_tag, labels) | self._cases.faulty()
        return [image_id for image_id in self.list_images() if image_id not in passed_over]

    # The whole store

    def datalist(self) -> list[dict[str, Any]]:
        """Image and newest final label of every labelled case, tasks mixed; trainers use :meth:`current_labels`."""
        self._cases.look()
        query = (
            select(CASES.c.id, CASES.c.file, CASES.c.suffix, REVISIONS.c.file.label("label"))
            .join(CURRENT, CURRENT.c.case_id == CASES.c.id)
            .join(REVISIONS, REVISIONS.c.id == CURRENT.c.revision_id)
            .where(CASES.c.state == PRESENT, CURRENT.c.tag == FINAL, CURRENT.c.task != UNINTERPRETED)
            .order_by(CASES.c.id, REVISIONS.c.created, REVISIONS.c.id)
        )
        with self._index.reading() as connection:
            newest = {row.id: row for row in connection.execute(query)}
        return [
            {
                "image": str(self._studies / row.file) if row.suffix else self.get_image_uri(row.id),
                "label": str(self._labels / row.label),
            }
            for row in newest.values()
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
        self._cases.look(force=True)

    def status(self) -> dict[str, Any]:
        """How many images there are, and how many have labels: in all, by tag, and by task."""
        self._cases.look()
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
        self._cases.look()
        with self._index.reading() as connection:
            query = select(*IMAGE_COLUMNS).where(CASES.c.state == PRESENT).order_by(CASES.c.id)
            objects: dict[str, Any] = {
                case.id: {"image": {"ext": case.suffix or ".nii.gz", "info": image_info(case)}, "labels": {}}
                for case in connection.execute(query)
            }
            current = connection.execute(
                select(*SHORT_LABEL_COLUMNS)
                .join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
                .order_by(REVISIONS.c.task == UNINTERPRETED, REVISIONS.c.created.desc(), REVISIONS.c.id.desc())
            )
            for row in current:
                if row.case_id in objects:
                    labels = objects[row.case_id]["labels"]
                    label = short_label(row)
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

    # Events

    def note_event(self, kind: str, **facts: Any) -> None:
        """Note something that happened."""
        with self._index.writing() as connection:
            note(connection, kind, facts)

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

    # Helpers

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

    def _converted_file(self, case: Row, folder: Path) -> Path:
        target = self._conversion_path(case.id)
        signature = signature_of(folder)
        if target.exists() and case.converted == signature:
            return target
        if case.fault and case.fault_signature == signature:
            raise Refusal(case.fault)
        labelled = target.exists() and self.revisions(case.id)
        if labelled and case.converted:
            return target  # the labels lie on this volume; the folder changed afterwards
        try:
            if not labelled:  # else only the index is new
                convert_dicom_folder(folder, target, scratch=self._scratch)
            facts = series_facts(folder)
        except Refusal as refusal:
            self._cases.note_fault(case, str(refusal))
            raise
        with self._index.writing() as connection:
            values = {"converted": signature, "facts": to_json(facts), "fault": None, "fault_signature": None}
            self._cases.change(connection, case.id, **values)
        return target

    def _conversion_path(self, image_id: str) -> Path:
        return self._converted / f"{folder_name(image_id)}.nii.gz"

    def _merge_info(self, connection: Connection, image_id: str, info: Mapping[str, Any]) -> None:
        merged = self._cases.merge_info(connection, image_id, info)
        if info.keys() & set(KEPT):
            self._entered.keep(image_id, merged)

    def _refuse_other_grid(self, image_id: str, path: Path) -> None:
        """An image that comes back under an id with labels has to lie where they lie."""
        query = select(REVISIONS).where(REVISIONS.c.case_id == image_id, REVISIONS.c.task != UNINTERPRETED)
        with self._index.reading() as connection:
            row = connection.execute(query.order_by(REVISIONS.c.created.desc()).limit(1)).first()
        if row is not None and not read_grid(self._history.revision(row).path).same_place(read_grid(path)):
            raise Refusal(
                f"An earlier image {image_id} had labels that do not fit this one; choose another id.",
                status=409,
            )

    def _set(self, key: str, value: str) -> None:
        with self._index.writing() as connection:
            connection.execute(self._index.upsert(SETTINGS, {"key": key, "value": value}))


def _tag(value: object) -> str:
    return check_name(value or FINAL, what="tag")


def _new_tag(value: object) -> str:
    tag = _tag(value)
    if not may_be_saved_under(tag):
        raise Refusal(f"The tag {tag} names a stored label and cannot be saved under; use {FINAL}.")
    if tag != FINAL and tag.strip().lower() == FINAL:
        raise Refusal(f"The tag {tag!r} would not count as {FINAL}; write it like this.")
    return tag


def _mapping(value: object, *, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(f"{what} has to be a JSON object.")
    return value


@contextmanager
def _storage_faults() -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise Refusal(f"Nothing was saved, the disk refused: {error.strerror or error}.", status=507) from error
