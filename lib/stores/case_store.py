"""The store: cases, their labels with history, scores and events, behind MONAI Label's ``Datastore`` interface."""

from __future__ import annotations

import json
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import func, select

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.archive import Archive
from lib.disk import make_folder
from lib.images.files import image_suffix
from lib.refusals import Refusal
from lib.stores.board import BoardKeeping
from lib.stores.case_pairs import CasePairs
from lib.stores.cases import PRESENT, Cases, note
from lib.stores.client_shapes import IMAGE_COLUMNS, SHORT_LABEL_COLUMNS, image_info, short_label
from lib.stores.exchange import ExchangeKeeping
from lib.stores.files import remove_left_overs
from lib.stores.folder import OWN_FOLDER, ImageSource, StudiesFolder
from lib.stores.history import History
from lib.stores.index import CASES, CURRENT, EVENTS, REVISIONS, SETTINGS, get_setting
from lib.stores.object_archives import FolderObjects, PacsObjects
from lib.stores.opening import TakeOver, open_index, rebuild_from_sidecars
from lib.stores.pacs import Pacs, PacsImages, PacsOptions
from lib.stores.patient import EnteredFacts
from lib.stores.queue import QueueKeeping
from lib.stores.records import FINAL, UNINTERPRETED, Event
from lib.stores.runs import RunKeeping
from lib.stores.scores import ScoreKeeping
from lib.stores.stored_tasks import labelled_mark

_PACS_FILE = "pacs.json"


class CaseStore(BoardKeeping, QueueKeeping, ScoreKeeping, RunKeeping, ExchangeKeeping):
    """Cases in a folder or a PACS, and everything people and models have said about them.

    The image files lie in the studies folder, or in the PACS, and are never changed. What the store adds lies in its
    sub-folder ``sarcopenia``: the index, the label revisions with a sidecar each, converted DICOM, DICOM objects made
    from labels, and removed images. Several processes may use one store at once.

    A label's id is its image's id. The tag ``final`` stands for the newest label of the case over all tasks, a task's
    name for that task's newest label, ``TASK@NUMBER`` for any revision of it; every other tag, such as ``original``,
    holds labels that never count as done by a person. ``double_read`` and ``reread`` hold blind second readings.

    Args:
        studies: the folder with images (NIfTI, NRRD, sub-folders with one DICOM series); with a PACS, the folder for
            what the store adds.
        index_url: an SQLAlchemy URL of a PostgreSQL database; by default an SQLite file beside the labels.
        pacs: the DICOMweb server that the images come from and that labels are brought to; without one, that with which
            the folder was opened before, or else the folder itself.
        keep_pairs: whether every finished case is also kept as a pair of files with a log (see :class:`CasePairs`).

    Raises:
        Refusal: the folder is missing or cannot be written, or the index cannot be opened.
    """

    def __init__(
        self,
        studies: str | Path,
        *,
        index_url: str | None = None,
        pacs: PacsOptions | None = None,
        keep_pairs: bool = False,
    ) -> None:
        self._studies = Path(studies).resolve()
        if not self._studies.is_dir():
            raise Refusal(f"There is no studies folder {self._studies}.", status=404)
        self._own = self._studies / OWN_FOLDER
        self._labels = self._own / "labels"
        self._scratch = self._own / "tmp"
        self._converted = self._own / "converted"
        self._removed = self._own / "removed"
        self._facts = self._own / "facts"
        self._pairs = CasePairs(folder=self._own / "pairs") if keep_pairs else None
        self.learnt_from_phantoms = _never
        self._other_objects: set[str] = set()
        try:
            for folder in (self._labels, self._scratch, self._converted, self._removed, self._facts):
                make_folder(folder)
        except OSError as error:
            raise Refusal(f"The folder {self._own} cannot be made: {error.strerror}.", status=503) from error
        with FileLock(self._own / "opening.lock"):
            self.archive = Archive(self._studies, self._own)
            self._index = open_index(self._own / "index.sqlite", url=index_url)
            self._history = History(index=self._index, labels=self._labels, scratch=self._scratch)
            self._entered = EnteredFacts(folder=self._facts, scratch=self._scratch)
            self._connect(pacs or PacsOptions.kept(self._own / _PACS_FILE))
            of_folder = self.archive if self.pacs is None else None
            self._cases = Cases(index=self._index, source=self._source, archive=of_folder)
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
        self.archive.received = self.receive

    def _connect(self, options: PacsOptions | None) -> None:
        """Say where images come from and where labels are brought to."""
        self.pacs: Pacs | None = None
        self._pacs_images: PacsImages | None = None
        self._converted_limit_bytes = None if options is None else options.cache_bytes
        if options is None:
            self._source: ImageSource = StudiesFolder(self._studies)
            self._archive = FolderObjects(self._own / "dicom")
            return
        options.keep(self._own / _PACS_FILE)
        self.pacs = pacs = Pacs(options)
        fetched = self._own / "fetched"
        self._source = self._pacs_images = PacsImages(pacs, self._index, fetched, min_slices=options.min_slices)
        self._archive = PacsObjects(pacs)

    def ask_archive(self) -> None:
        """Ask a PACS which series it has; nothing to do for a folder.

        Raises:
            Refusal: 503, when it does not answer; what was known stays.
        """
        if self._pacs_images is not None:
            self._pacs_images.refresh()

    def unwanted_series(self) -> dict[str, str]:
        """The CT series of the PACS that are no cases, with the reason."""
        return {} if self._pacs_images is None else self._pacs_images.unwanted()

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

    def _set(self, key: str, value: str) -> None:
        with self._index.writing() as connection:
            connection.execute(self._index.upsert(SETTINGS, {"key": key, "value": value}))


def _never(model: str, version: str | None) -> bool:  # noqa: ARG001
    """Whether a model learnt from phantoms, where nobody keeps models."""
    return False
