"""Labels on their way to a DICOM archive, and segmentations of other programs on their way into the store."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from filelock import FileLock, Timeout
from pydicom.dataset import Dataset
from sqlalchemy import Row, and_, delete, func, select, update

from lib import VERSION
from lib.anatomy.schemas import STORED_SCHEMAS
from lib.dicom_objects.facts import LabelFacts, object_uid
from lib.dicom_objects.pdf import write_pdf
from lib.dicom_objects.reading import SEGMENTATION_CLASSES, SegmentationFacts, segmentation_facts
from lib.dicom_objects.report import write_report
from lib.dicom_objects.segmentation import write_segmentation
from lib.dicom_objects.source import SourceSeries, source_series
from lib.images import CTImage, read_ct
from lib.images.dicom import DAMAGED, said_of
from lib.images.files import is_marked_phantom, read_volume
from lib.measures.saved_label import measure_saved_label
from lib.refusals import Refusal
from lib.stores.cases import PRESENT, note
from lib.stores.geometry import Grid, onto_grid
from lib.stores.index import CASES, OUTBOX, RECEIVED, REVISIONS, SERIES
from lib.stores.labels import LabelKeeping
from lib.stores.object_archives import ObjectArchive, Place
from lib.stores.pacs import PacsImages, Tries
from lib.stores.records import FINAL, SOP_INSTANCE_UID, Revision

_SOME = 20
_REFUSALS_TOLD = 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 3600.0


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """A revision whose DICOM objects are not in the archive yet.

    Attributes:
        image_id: the case.
        task: the task.
        number: of the revision.
        tries: how often it was tried.
        error: what went wrong the last time, or "".
        next_try: when it is tried again, UTC.
    """

    image_id: str
    task: str
    number: int
    tries: int
    error: str
    next_try: datetime


@dataclass(frozen=True, kw_only=True)
class Received:
    """A segmentation of another program.

    Attributes:
        sop_uid: SOPInstanceUID.
        image_id: the case, or "" where it refers to none.
        creator: who made it, or "".
        taken: whether it became a revision.
        reason: why not, or "".
    """

    sop_uid: str
    image_id: str
    creator: str
    taken: bool
    reason: str


class ExchangeKeeping(LabelKeeping):
    """The part of a store that brings labels to an archive and takes segmentations from it.

    What has to be in the archive is written in the transaction that saves a revision, and the objects of a revision
    have the same identifiers whenever they are made. So whatever was cut off is done again, and nothing twice.
    """

    _archive: ObjectArchive
    _own: Path
    _pacs_images: PacsImages | None
    _other_objects: set[str]
    learnt_from_phantoms: Callable[[str, str | None], bool]
    """Tells by name and version, ``None`` where it is not known, whether a model did."""

    # To the archive

    def deliver(self) -> int:
        """Bring to the archive what is due; one process at a time does so.

        Returns:
            How many revisions were delivered.

        Raises:
            Refusal: 503, when the archive does not answer; the rest is tried again later.
        """
        try:
            with FileLock(self._own / "delivering.lock", timeout=0):
                return self._deliver_due()
        except Timeout:
            return 0

    def undelivered(self) -> list[Undelivered]:
        """What still has to be brought to the archive, the next first."""
        query = select(OUTBOX).join(CASES, CASES.c.id == OUTBOX.c.case_id)
        query = query.where(OUTBOX.c.delivered.is_(None), CASES.c.state == PRESENT)
        query = query.order_by(OUTBOX.c.next_try, OUTBOX.c.case_id, OUTBOX.c.task, OUTBOX.c.number)
        with self._index.reading() as connection:
            return [
                Undelivered(
                    image_id=row.case_id,
                    task=row.task,
                    number=row.number,
                    tries=row.tries,
                    error=row.error or "",
                    next_try=datetime.fromtimestamp(row.next_try, UTC),
                )
                for row in connection.execute(query)
            ]

    def _deliver_due(self) -> int:
        done = 0
        while rows := self._due():
            for row in rows:
                key = and_(*(OUTBOX.c[name] == getattr(row, name) for name in ("case_id", "task", "number")))
                try:
                    self._deliver_one(row, key)
                except (Refusal, *DAMAGED) as error:  # whatever is odd about one series must not hold up the others
                    said = str(error) if isinstance(error, Refusal) else f"It cannot be made ({said_of(error)})."
                    wait = min(_FIRST_WAIT_S * 2 ** min(row.tries, 16), _LONGEST_WAIT_S)
                    tried = {"tries": row.tries + 1, "next_try": time.time() + wait, "error": said}
                    with self._index.writing() as connection:
                        connection.execute(update(OUTBOX).where(key).values(**tried))
                    if isinstance(error, Refusal) and error.status_code == 503:
                        raise
                else:
                    done += 1
        return done

    def _due(self) -> list[Row]:
        query = (
            select(OUTBOX)
            .join(CASES, CASES.c.id == OUTBOX.c.case_id)
            .where(OUTBOX.c.delivered.is_(None), OUTBOX.c.next_try <= time.time(), CASES.c.state == PRESENT)
            .order_by(OUTBOX.c.next_try, OUTBOX.c.case_id, OUTBOX.c.task, OUTBOX.c.number)
            .limit(_SOME)
        )
        with self._index.reading() as connection:
            return list(connection.execute(query).all())

    def _deliver_one(self, row: Row, key: Any) -> None:
        same = (REVISIONS.c.case_id == row.case_id, REVISIONS.c.task == row.task, REVISIONS.c.number == row.number)
        with self._index.reading() as connection:
            found = connection.execute(select(REVISIONS).where(*same)).first()
        if found is None or found.withdrawn is not None:
            with self._index.writing() as connection:
                connection.execute(delete(OUTBOX).where(key))
            return
        revision = self._history.revision(found)
        source = source_series(self.dicom_headers(row.case_id))
        is_phantom = source.is_phantom or is_marked_phantom(Path(self.get_image_uri(row.case_id)))
        facts = self._facts_of(revision, is_phantom=is_phantom)

        def place(kind: str) -> Place:
            series = object_uid(facts, source_series=source.series_uid, of=f"{kind} series")
            sop = object_uid(facts, source_series=source.series_uid, of=kind)
            return Place(study=source.study_uid, series=str(series), sop=str(sop))

        with self._index.writing() as connection:
            connection.execute(update(OUTBOX).where(key).values(sop_uid=place("seg").sop))
        has_segmentation, has_report = (self._archive.holds(place(kind)) for kind in ("seg", "sr"))
        if not (has_segmentation and has_report):
            segmentation, report = self._objects_of(revision, source, facts)
            if not has_segmentation:
                self._archive.store(segmentation)
            if report is not None and not has_report:
                self._archive.store(report)
        with self._index.writing() as connection:
            connection.execute(update(OUTBOX).where(key).values(delivered=time.time(), error=None))

    def store_pdf(self, image_id: str, pdf: bytes, *, title: str, reviewed: bool, phantom: bool) -> str:
        """Bring a PDF about a case to the archive, as a DICOM object of the case's study.

        Args:
            image_id: the case.
            pdf: the document; the same one is stored once only.
            title: of it.
            reviewed: whether it is of a label that a person saved.
            phantom: whether nobody was scanned.

        Returns:
            Its SOPInstanceUID.

        Raises:
            Refusal: the case is no DICOM series; 503 or 507, when the archive does not take it now.
        """
        source = source_series(self.dicom_headers(image_id))
        phantom = phantom or source.is_phantom
        document = write_pdf(pdf, source, title=title, is_reviewed=reviewed, is_phantom=phantom, version=VERSION)
        place = Place(study=source.study_uid, series=str(document.SeriesInstanceUID), sop=str(document.SOPInstanceUID))
        if not self._archive.holds(place):
            self._archive.store(document)
            with self._index.writing() as connection:
                note(connection, "report_stored", {"image": image_id, "sop": place.sop})
        return place.sop

    def dicom_headers(self, image_id: str) -> list[Dataset]:
        """The headers of the DICOM series that a case is.

        Raises:
            Refusal: it is none, or 503, when it cannot be asked for now.
        """
        case = self._cases.present(image_id)
        if case.suffix:
            return self.archive.datasets(self.dicom_identifiers(image_id)[1])
        headers = self._source.headers(case.file)
        if headers is not None:
            return headers
        (files,) = self._series_files(case, self._source.path(case.file)).files.values()
        return [pydicom.dcmread(path, stop_before_pixels=True) for path in files]

    def segmentation_of(self, revision: Revision) -> Dataset:
        """A final label as the DICOM segmentation that goes to an archive.

        Raises:
            Refusal: its case cannot be a DICOM series, or cannot be read.
        """
        source = source_series(self.dicom_headers(revision.image_id))
        is_phantom = source.is_phantom or is_marked_phantom(Path(self.get_image_uri(revision.image_id)))
        return self._segmentation(revision, source, self._facts_of(revision, is_phantom=is_phantom))[0]

    def _objects_of(
        self, revision: Revision, source: SourceSeries, facts: LabelFacts
    ) -> tuple[Dataset, Dataset | None]:
        """The segmentation and, where something is measured, the report."""
        schema = STORED_SCHEMAS[revision.task]
        segmentation, label = self._segmentation(revision, source, facts)
        grid = Grid(shape=source.shape, affine=source.affine, file_shape=source.shape)
        image = read_ct(self.get_image_uri(revision.image_id))
        own = CTImage(hu=onto_grid(image.hu, image.affine, grid), affine=source.affine)
        known = image.facts.updated(self.case_facts(revision.image_id))
        measured = measure_saved_label(own, label, schema, known)
        if measured is None:
            return segmentation, None
        return segmentation, write_report(measured, schema, source, segmentation, facts, version=VERSION)

    @staticmethod
    def _segmentation(
        revision: Revision, source: SourceSeries, facts: LabelFacts
    ) -> tuple[Dataset, npt.NDArray[np.uint8]]:
        """The segmentation, and the label on the grid of the series."""
        grid = Grid(shape=source.shape, affine=source.affine, file_shape=source.shape)
        array, affine, _ = read_volume(revision.path)
        label = onto_grid(array, affine, grid)
        return write_segmentation(label, STORED_SCHEMAS[revision.task], source, facts, version=VERSION), label

    def _facts_of(self, revision: Revision, *, is_phantom: bool) -> LabelFacts:
        version = revision.model_version
        return LabelFacts(
            task=revision.task,
            number=revision.number,
            author=revision.author,
            created=revision.created,
            sha256=revision.sha256,
            model=revision.model,
            model_version=version,
            dataset=str(revision.info.get("dataset") or ""),
            is_partial=revision.partial,
            is_phantom=is_phantom or bool(self.case_facts(revision.image_id).phantom),
            of_phantoms=bool(revision.model) and self.learnt_from_phantoms(revision.model, version),
        )

    # From the archive

    def look_for_segmentations(self) -> int:
        """Take in the segmentations in the archive that were not seen before.

        Returns:
            How many became revisions.

        Raises:
            Refusal: 503, when the archive does not answer; the rest is tried again later.
        """
        taken = 0
        studies = None if self._pacs_images is None else self._pacs_images.studies()
        done = self._dealt_with()
        tries = Tries()
        for place in self._archive.segmentations():
            if place.sop in done or place.sop in self._other_objects:
                continue
            if (studies is not None and place.study not in studies) or self._is_known(place.sop):
                continue
            path = self._scratch / f"{uuid.uuid4().hex}.dcm"
            try:
                with tries:
                    self._archive.fetch(place, path)
                    taken += self._received(path, place.sop)
            finally:
                path.unlink(missing_ok=True)
            if tries.are_over:
                break
        tries.tell()
        return taken

    def _received(self, path: Path, sop_uid: str) -> bool:
        """As :meth:`receive`, but a refusal is remembered only."""
        try:
            taken = self.receive(path)
        except Refusal as refusal:
            if refusal.status_code in (503, 507):
                raise
            taken = False
        if not taken and not self._is_known(sop_uid):
            self._other_objects.add(sop_uid)  # such as a report, which need not be opened again
        return taken

    def _dealt_with(self) -> set[str]:
        """The segmentations that were made here, or taken, or refused for good."""
        made = select(OUTBOX.c.sop_uid).where(OUTBOX.c.sop_uid.is_not(None))
        seen = select(RECEIVED.c.sop_uid).where(RECEIVED.c.waits_for == "[]")
        with self._index.reading() as connection:
            return set(connection.execute(made).scalars()) | set(connection.execute(seen).scalars())

    def receive(self, path: Path) -> bool:
        """Take a segmentation of another program in as a revision, once; other objects are passed over.

        Args:
            path: the DICOM file.

        Returns:
            Whether it became a revision now.

        Raises:
            Refusal: it cannot be one, and why; that is remembered. 503 or 507 where it can be tried again.
        """
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if header.get("SOPClassUID") not in SEGMENTATION_CLASSES:
                return False
            facts = segmentation_facts(header)
        except DAMAGED as error:
            raise Refusal("The DICOM segmentation cannot be read, or lacks its identifiers.") from error
        with FileLock(self._own / "receiving.lock"):
            if self._is_known(facts.sop_uid):
                return False
            image_id = next((case for uid in facts.source_series if (case := self.case_of_series(uid))), "")
            if image_id and self._is_own(facts, image_id):
                return False
            try:
                self._take(path, header, facts, image_id)
            except Refusal as refusal:
                if refusal.status_code < 500:
                    self._refuse(facts, image_id, str(refusal))
                raise
        return True

    def received(self) -> list[Received]:
        """The segmentations of other programs that were taken in or refused, newest first."""
        query = select(RECEIVED).order_by(RECEIVED.c.seen.desc(), RECEIVED.c.sop_uid)
        with self._index.reading() as connection:
            return [
                Received(
                    sop_uid=row.sop_uid,
                    image_id=row.case_id or "",
                    creator=row.creator,
                    taken=row.taken,
                    reason=row.reason,
                )
                for row in connection.execute(query)
            ]

    def archive_state(self) -> dict[str, Any]:
        """How the exchange stands, for ``/info/``."""
        waiting = select(func.count(), func.max(OUTBOX.c.error)).join(CASES, CASES.c.id == OUTBOX.c.case_id)
        counts = select(RECEIVED.c.taken, func.count()).group_by(RECEIVED.c.taken)
        refused = select(RECEIVED).where(~RECEIVED.c.taken).order_by(RECEIVED.c.seen.desc()).limit(_REFUSALS_TOLD)
        unwanted = select(func.count()).where(SERIES.c.there, SERIES.c.reason != "")
        with self._index.reading() as connection:
            due = waiting.where(OUTBOX.c.delivered.is_(None), CASES.c.state == PRESENT)
            number, error = connection.execute(due).one()
            received = {bool(row[0]): row[1] for row in connection.execute(counts)}
            return {
                "waiting": number,
                "error": error or "",
                "taken_in": received.get(True, 0),
                "refused": received.get(False, 0),
                "last_refused": [
                    {"sop_uid": row.sop_uid, "image": row.case_id or "", "creator": row.creator, "reason": row.reason}
                    for row in connection.execute(refused)
                ],
                "series_not_wanted": connection.execute(unwanted).scalar_one(),
            }

    def case_of_series(self, uid: str) -> str:
        """The id of the case that is a DICOM series, or ""."""
        self._cases.look()
        case = self._cases.find(self.case_id(uid))
        return "" if case is None or case.state != PRESENT else str(case.id)

    def _take(self, path: Path, header: Dataset, facts: SegmentationFacts, image_id: str) -> None:
        if not image_id:
            raise Refusal("The DICOM segmentation refers to no CT series that is a case here.")
        kinds = {str(item.get("SegmentAlgorithmType")) for item in header.get("SegmentSequence") or []}
        if kinds == {"AUTOMATIC"}:
            raise Refusal(
                "The DICOM segmentation is what a program answered; it is no label until a person corrects it."
            )
        info = {
            "user": facts.creator,
            "client_id": facts.manufacturer or "DICOM",
            "dicom_series_description": facts.description,
            SOP_INSTANCE_UID: facts.sop_uid,
        }
        self._save(image_id, str(path), FINAL, info)

    def _refuse(self, facts: SegmentationFacts, image_id: str, reason: str) -> None:
        row = {"sop_uid": facts.sop_uid, "case_id": image_id or None, "creator": facts.creator, "seen": time.time()}
        waits_for = [] if image_id else list(facts.source_series)
        with self._index.writing() as connection:
            new = {**row, "taken": False, "reason": reason, "waits_for": json.dumps(waits_for)}
            connection.execute(self._index.upsert(RECEIVED, new))
            told = {"sop_uid": facts.sop_uid, "image": image_id, "creator": facts.creator, "reason": reason}
            note(connection, "segmentation_refused", told)

    def _is_known(self, sop_uid: str) -> bool:
        """Whether a segmentation was made here, or dealt with; not so if it waits for a series that has come since."""
        with self._index.reading() as connection:
            if connection.execute(select(OUTBOX.c.sop_uid).where(OUTBOX.c.sop_uid == sop_uid)).first():
                return True
            seen = connection.execute(select(RECEIVED).where(RECEIVED.c.sop_uid == sop_uid)).first()
        return seen is not None and not any(self.case_of_series(uid) for uid in json.loads(seen.waits_for))

    def _is_own(self, facts: SegmentationFacts, image_id: str) -> bool:
        """Whether it was made from a revision of the case, also by an index that was lost since."""
        return any(
            object_uid(self._facts_of(revision, is_phantom=False), source_series=series, of="seg") == facts.sop_uid
            for revision in self.revisions(image_id)
            for series in facts.source_series
        )
