"""The images of a store: what is known of them, adding and removing them, DICOM made into NIfTI."""

from __future__ import annotations

import filecmp
import io
import json
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.interfaces.datastore import Datastore
from sqlalchemy import Connection, Row, exists, select

from lib.archive import Archive, is_uid
from lib.disk import sync_folder
from lib.images import PatientFacts, read_ct
from lib.images.dicom import CTSeries, ct_series
from lib.images.files import IMAGE_SUFFIXES, image_suffix
from lib.refusals import BadImage, Refusal
from lib.stores.cases import PRESENT, REMOVED, Cases, note
from lib.stores.client_shapes import image_info
from lib.stores.conversion import convert_series, series_facts
from lib.stores.files import make_room, place, stage_copy, storage_faults
from lib.stores.folder import FoundImage, ImageSource
from lib.stores.geometry import read_grid
from lib.stores.history import History
from lib.stores.index import CASES, REVISIONS, StoreIndex
from lib.stores.names import check_new_id, folder_name
from lib.stores.patient import KEPT, EnteredFacts, facts_of, with_checked_facts
from lib.stores.plain import json_object, to_json
from lib.stores.records import UNINTERPRETED


class ImageKeeping(Datastore):
    """The part of a store that keeps images."""

    archive: Archive
    """The same images as DICOM series."""
    _index: StoreIndex
    _cases: Cases
    _history: History
    _entered: EnteredFacts
    _studies: Path
    _source: ImageSource
    _scratch: Path
    _converted: Path
    _converted_limit_bytes: int | None
    _removed: Path

    def list_images(self) -> list[str]:
        """The ids of all images that are there, sorted."""
        self._cases.look()
        with self._index.reading() as connection:
            query = select(CASES.c.id).where(CASES.c.state == PRESENT).order_by(CASES.c.id)
            return list(connection.execute(query).scalars())

    def case_id(self, name: str) -> str:
        """The id of a case that is named by its id, or by the SeriesInstanceUID under which DICOMweb serves it."""
        if not is_uid(name) or self._cases.find(name) is not None:
            return name
        return self.archive.case_of(name) or self._cases.read_as(name) or name

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The bytes of the image file."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """The path of the image file; a DICOM folder is converted to NIfTI when it is first asked for.

        Raises:
            Refusal: 404 for an unknown id; 422 when a DICOM folder holds no single sound CT series.
        """
        case = self._cases.present(image_id)
        if not self._source.has(case.file):
            self._cases.look(force=True)
            raise Refusal(f"The file {case.file} of the image {image_id} is gone.", status=404)
        return str(self._source.path(case.file) if case.suffix else self._converted_file(case))

    def image_at_hand(self, image_id: str) -> Path | None:
        """The path of the image file, or ``None`` where it would have to be converted or fetched first.

        Raises:
            Refusal: 404 for an unknown id.
        """
        case = self._cases.present(image_id)
        path = self._source.path(case.file) if case.suffix else self._conversion_path(case.id)
        return path if path.is_file() else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image: ``path``, ``name``, ``ts``, facts of the patient, whatever was added to it."""
        case = self._cases.present(image_id)
        try:
            path = self.get_image_uri(image_id)
        except Refusal as refusal:
            if refusal.status_code == 404:
                raise
            return {**image_info(case), "fault": str(refusal)}
        info = image_info(self._cases.present(image_id))
        if case.suffix and (served := self.archive.series_of_case(case.file)):
            info |= dict(zip(("StudyInstanceUID", "SeriesInstanceUID"), served, strict=True))
        return {**info, "path": path, "name": Path(path).name}

    def dicom_identifiers(self, image_id: str) -> tuple[str, str]:
        """StudyInstanceUID and SeriesInstanceUID under which DICOMweb serves a case.

        Raises:
            Refusal: 404 for an unknown id; 422 for a case that DICOM cannot hold, or that is damaged.
        """
        case = self._cases.present(image_id)
        served = self._source.identifiers(case.file)
        served = served or self.archive.series_of_case(case.file, self._own_series(case))
        if served is None:
            why = self.archive.why_not(case.file)
            raise BadImage(why or f"The case {image_id} is not served as a DICOM series.")
        return served

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Merge into an image's info; ``sex``, ``age_years``, ``height_m``, ``weight_kg`` and ``contrast`` are checked.

        Raises:
            Refusal: 404 for an unknown id; 422 for a fact that no patient has.
        """
        checked = with_checked_facts(json_object(info, what="info"))
        self._cases.present(image_id)
        with storage_faults(), self._index.writing() as connection:
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
            Refusal: 422 for a bad id, info or file, or where images come from an archive; 409 when another image has
                the id. Nothing is stored then.
        """
        if not self._source.takes_images:
            raise Refusal("The images come from a DICOM archive: store the series there, and it becomes a case.")
        path = Path(image_filename)
        suffix = image_suffix(path.name)
        if not suffix:
            raise Refusal(f"{path.name} is none of the formats that are read: {', '.join(IMAGE_SUFFIXES)}.")
        image_id = image_id or path.name
        own_suffix = image_suffix(image_id)
        image_id = check_new_id(image_id[: len(image_id) - len(own_suffix)])
        info = with_checked_facts(json_object(image_info, what="params"))
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
        with storage_faults():
            staged = stage_copy(path, scratch=self._scratch)
            try:
                place(staged, self._studies / image.file)
            except FileExistsError as error:
                raise Refusal(f"There is another image called {image_id}; choose another id.", status=409) from error
            finally:
                staged.unlink(missing_ok=True)
            sync_folder(self._studies)
        with storage_faults(), self._index.writing() as connection:
            self._cases.add(connection, image_id, image=image)
            self._merge_info(connection, image_id, info)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Take an image out: it moves to ``sarcopenia/removed``, its labels stay in the history.

        What is known of the patient goes with it: the next image of that name may be of somebody else.
        """
        case = self._cases.present(image_id)
        name = case.file if case.suffix else case.id
        kept_as = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}-{name}"
        with storage_faults():
            if not self._source.take_out(case.file):
                self._move_away(case, self._removed / kept_as)
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

    def _converted_file(self, case: Row) -> Path:
        target = self._conversion_path(case.id)
        if target.exists() and case.converted == self._source.signature(case.file):
            if self._converted_limit_bytes is not None:
                os.utime(target)  # what was not asked for longest goes first
            return target
        with FileLock(self._scratch / f"{folder_name(case.id)}.converting"):
            return self._convert(self._cases.present(case.id), target)

    def _convert(self, case: Row, target: Path) -> Path:
        signature = self._source.signature(case.file)
        if target.exists() and case.converted == signature:
            return target
        if case.fault and case.fault_signature == signature:
            raise Refusal(case.fault)
        labelled = target.exists() and self._has_labels(case.id)
        if labelled and case.converted:
            return target  # the labels lie on this volume; the series changed afterwards
        try:
            with self._source.series(case.file) as folder:
                series = self._series_files(case, folder)
                if not labelled:  # else only the index is new
                    convert_series(series, target, scratch=self._scratch)
                facts = series_facts(series)
        except BadImage as refusal:
            self._cases.note_fault(case, str(refusal))
            raise
        with self._index.writing() as connection:
            values = {"converted": signature, "facts": to_json(facts), "fault": None, "fault_signature": None}
            self._cases.change(connection, case.id, **values)
        if self._converted_limit_bytes is not None:
            make_room(self._converted, limit_bytes=self._converted_limit_bytes, keep=target)
        return target

    def _own_series(self, case: Row) -> str | None:
        """The series that a case of DICOM files is, where its folder holds or may hold several."""
        return case.id if self._is_own_series(case) else json.loads(case.facts).get("SeriesInstanceUID")

    def _is_own_series(self, case: Row) -> bool:
        return not case.suffix and is_uid(case.id) and case.file != case.id

    def _series_files(self, case: Row, folder: Path) -> CTSeries:
        """The files of a case of DICOM files.

        Raises:
            BadImage: they are not those of one CT series.
        """
        if self._is_own_series(case):
            files = self.archive.files_of(case.id)
            if not files:
                raise Refusal(f"The series {case.id} is gone.", status=404)
            return CTSeries({case.id: files}, ())
        series, known = ct_series(folder), self._own_series(case)
        if known in series.files:
            return CTSeries({known: series.files[known]}, series.warnings)
        if len(series.files) > 1:
            raise BadImage(f"The folder {folder.name} holds {len(series.files)} CT series; give each its own folder.")
        return series

    def _move_away(self, case: Row, target: Path) -> None:
        """Move the files of a case, and those of no other, out of the studies folder."""
        if not self._is_own_series(case):
            (self._studies / case.file).rename(target)
            return
        target.mkdir()
        for path in self.archive.files_of(case.id):
            path.rename(target / path.name)
        self.archive.scan()

    def _has_labels(self, image_id: str) -> bool:
        with self._index.reading() as connection:
            return bool(connection.execute(select(exists().where(REVISIONS.c.case_id == image_id))).scalar())

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
