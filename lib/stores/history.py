"""Label revisions: a file and a sidecar with its facts for each, and a row in the index."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.disk import make_folder, sync_folder
from lib.images.files import compressed
from lib.stores.files import place, stage
from lib.stores.geometry import Grid
from lib.stores.index import CASES, CURRENT, OUTBOX, RECEIVED, REVISIONS, SCORES, StoreIndex
from lib.stores.names import folder_name
from lib.stores.plain import to_json
from lib.stores.records import FINAL, SOP_INSTANCE_UID, UNINTERPRETED, Revision, lot_of
from lib.stores.stored_tasks import is_labelled, labelled_mark, sharing

_SIDECAR = ".json"


@dataclass(frozen=True, kw_only=True)
class NewRevision:
    """A revision about to be added; the fields are those of :class:`lib.stores.records.Revision`.

    Attributes:
        staged: the synced temporary file.
        suffix: of the file to be.
        created: seconds since 1970, UTC.
    """

    image_id: str
    task: str
    tag: str
    staged: Path
    suffix: str
    sha256: str
    created: float
    author: str = ""
    client_id: str = ""
    model: str = ""
    model_version: str | None = None
    names: Sequence[str] = ()
    partial: bool = False
    warnings: Sequence[str] = ()
    info: Mapping[str, Any]


class History:
    """All label revisions of a store.

    Args:
        index: the store's index.
        labels: the folder with ``TASK/IMAGE_ID/0001-<hash>.nii.gz`` and a ``.json`` beside each.
        scratch: a folder for temporary files, on the same file system.
    """

    def __init__(self, *, index: StoreIndex, labels: Path, scratch: Path) -> None:
        self._index = index
        self._labels = labels
        self._scratch = scratch

    def add(self, connection: Connection, new: NewRevision) -> None:
        """Add a revision within a writing transaction; the files are on the disk before the row is."""
        same = (REVISIONS.c.case_id == new.image_id, REVISIONS.c.task == new.task)
        newest = connection.execute(
            select(func.max(REVISIONS.c.number), func.max(REVISIONS.c.created)).where(*same)
        ).one()
        folder = self._labels / new.task / folder_name(new.image_id)
        make_folder(folder)
        # A process killed before its row was committed leaves its file behind; that number is not given again.
        taken = [int(path.name[:4]) for path in folder.iterdir() if path.name[:4].isdigit()]
        number = max([newest[0] or 0, *taken]) + 1
        label = folder / f"{number:04d}-{new.sha256[:8]}{new.suffix}"
        row = {
            "case_id": new.image_id,
            "task": new.task,
            "number": number,
            "tag": new.tag,
            "author": new.author,
            "client_id": new.client_id,
            "model": new.model,
            "model_version": new.model_version,
            "created": new.created,
            "sha256": new.sha256,
            "file": label.relative_to(self._labels).as_posix(),
            "names": to_json(new.names),
            "partial": new.partial,
            "warnings": to_json(new.warnings),
            "info": to_json(new.info),
            "withdrawn": None,
        }
        # The sidecar comes first: a label file without one was never acknowledged. The index holds the same facts.
        place(stage(_sidecar_text(row), scratch=self._scratch, sync=False), _sidecar_of(label))
        place(new.staged, label)
        sync_folder(folder)
        self.insert(connection, row)

    def insert(self, connection: Connection, row: Mapping[str, Any]) -> None:
        """Add the row of a revision whose files are in place, and find out anew which one is current."""
        connection.execute(insert(REVISIONS).values(**row))
        self._renew_current(connection, row["case_id"], row["task"], row["tag"])
        self._note_exchange(connection, row)

    def _note_exchange(self, connection: Connection, row: Mapping[str, Any]) -> None:
        """Note that a revision has to go to the archive, or came from there; also when an index is made anew."""
        received = json.loads(row["info"]).get(SOP_INSTANCE_UID)
        if received:
            values = {"case_id": row["case_id"], "creator": row["author"], "seen": row["created"], "taken": True}
            new = {"sop_uid": received, **values, "reason": "", "waits_for": "[]"}
            connection.execute(self._index.upsert(RECEIVED, new))
        elif row["tag"] == FINAL and row["task"] != UNINTERPRETED and row["withdrawn"] is None:
            key = {name: row[name] for name in ("case_id", "task", "number")}
            connection.execute(self._index.insert_new(OUTBOX).values(**key, tries=0, next_try=0.0))

    def find(self, connection: Connection, image_id: str, tag: str) -> Row | None:
        """The revision that a tag stands for: ``final`` and other tags, a task, or ``task@number``."""
        task, _, number = tag.partition("@")
        if re.fullmatch(r"[0-9]{1,9}", number) and _is_task(task):
            query = select(REVISIONS).where(
                REVISIONS.c.case_id == image_id, REVISIONS.c.task == task, REVISIONS.c.number == int(number)
            )
            return connection.execute(query).first()
        query = select(REVISIONS).join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
        query = query.where(CURRENT.c.case_id == image_id)
        if _is_task(tag):
            return connection.execute(query.where(CURRENT.c.tag == FINAL, CURRENT.c.task == tag)).first()
        order = (REVISIONS.c.task == UNINTERPRETED, REVISIONS.c.created.desc(), REVISIONS.c.id.desc())
        return connection.execute(query.where(CURRENT.c.tag == tag).order_by(*order)).first()

    def withdraw(self, connection: Connection, row: Row, *, when: float) -> None:
        """Take a revision back; its file stays, and the one before it is current again."""
        connection.execute(update(REVISIONS).where(REVISIONS.c.id == row.id).values(withdrawn=when))
        self._renew_current(connection, row.case_id, row.task, row.tag)
        self._renew_sidecar(connection, row)

    def update_info(self, connection: Connection, row: Row, info: Mapping[str, Any]) -> None:
        """Merge into the info of a revision."""
        merged = {**json.loads(row.info), **info}
        connection.execute(update(REVISIONS).where(REVISIONS.c.id == row.id).values(info=to_json(merged)))
        self._renew_sidecar(connection, row)

    def revision(self, row: Row) -> Revision:
        """A row of the index as what the store tells about it."""
        return Revision(
            image_id=row.case_id,
            task=row.task,
            number=row.number,
            tag=row.tag,
            author=row.author,
            client_id=row.client_id,
            model=row.model,
            model_version=row.model_version,
            created=datetime.fromtimestamp(row.created, UTC),
            sha256=row.sha256,
            path=self._labels / row.file,
            names=tuple(json.loads(row.names)),
            partial=row.partial,
            warnings=tuple(json.loads(row.warnings)),
            info=json.loads(row.info),
            withdrawn=None if row.withdrawn is None else datetime.fromtimestamp(row.withdrawn, UTC),
        )

    def sidecars(self) -> list[Path]:
        """The sidecars of all revisions, for making a lost index anew."""
        return sorted(self._labels.glob(f"*/*/[0-9][0-9][0-9][0-9]*-*{_SIDECAR}"))

    def row_of(self, sidecar: Path) -> dict[str, Any]:
        """The row that a sidecar was written from.

        Raises:
            ValueError: it is damaged, or its label is gone or not the one that was saved.
        """
        row: dict[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
        columns = [column for column in REVISIONS.columns if column.name != "id"]
        if not isinstance(row, dict) or not row.keys() >= {c.name for c in columns if not c.nullable}:
            raise ValueError("its facts are not complete")
        row = {c.name: row.get(c.name) for c in columns}  # another version may have written fewer or more of them
        label = self._labels / row["file"]
        if _sidecar_of(label) != sidecar:
            raise ValueError("it belongs to another file")
        try:
            with label.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise ValueError("its label is gone") from error
        if found != row["sha256"]:
            raise ValueError("its label is not the one that was saved")
        for name in ("names", "warnings", "info"):
            row[name] = to_json(row[name])
        return row

    def _renew_current(self, connection: Connection, image_id: str, task: str, tag: str) -> None:
        of_tag = (REVISIONS.c.case_id == image_id, REVISIONS.c.task == task, REVISIONS.c.tag == tag)
        newest = connection.execute(
            select(REVISIONS.c.id)
            .where(*of_tag, REVISIONS.c.withdrawn.is_(None))
            .order_by(REVISIONS.c.created.desc(), REVISIONS.c.number.desc())
            .limit(1)
        ).scalar()
        key = {"tag": tag, "task": task, "case_id": image_id}
        if newest is None:
            connection.execute(delete(CURRENT).where(*(CURRENT.c[name] == value for name, value in key.items())))
        else:
            connection.execute(self._index.upsert(CURRENT, {**key, "revision_id": newest, "lot": lot_of(image_id)}))
        current = connection.execute(select(CURRENT.c.tag, CURRENT.c.task).where(CURRENT.c.case_id == image_id)).all()
        labels = {row.tag for row in current} | {
            labelled_mark(row.task) for row in current if row.tag == FINAL and row.task != UNINTERPRETED
        }
        connection.execute(update(CASES).where(CASES.c.id == image_id).values(labels=to_json(sorted(labels))))
        for each in sharing(task) if tag == FINAL and task != UNINTERPRETED else ():
            of_case = (SCORES.c.task == each, SCORES.c.case_id == image_id)
            connection.execute(update(SCORES).where(*of_case).values(labelled=is_labelled(each, labels)))

    def _renew_sidecar(self, connection: Connection, row: Row) -> None:
        now = connection.execute(select(REVISIONS).where(REVISIONS.c.id == row.id)).mappings().one()
        facts = {key: value for key, value in now.items() if key != "id"}
        sidecar = _sidecar_of(self._labels / row.file)
        stage(_sidecar_text(facts), scratch=self._scratch).replace(sidecar)
        sync_folder(sidecar.parent)


def label_file(array: npt.NDArray[np.uint8], grid: Grid) -> bytes:
    """A label as a compressed NIfTI with the image's affine and file shape."""
    nifti = nib.Nifti1Image(array.reshape(grid.file_shape), grid.affine)
    nifti.header.set_xyzt_units("mm")
    return compressed(nifti)


def _is_task(tag: str) -> bool:
    return tag in STORED_SCHEMAS or tag == UNINTERPRETED


def _sidecar_of(label: Path) -> Path:
    return label.with_name(label.name.partition(".")[0] + _SIDECAR)


def _sidecar_text(row: Mapping[str, Any]) -> bytes:
    facts = {**row, **{name: json.loads(row[name]) for name in ("names", "warnings", "info")}}
    return (json.dumps(facts, ensure_ascii=False, indent=1) + "\n").encode()
