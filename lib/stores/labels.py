"""The labels of a store: saving, reading and withdrawing them, and who has which."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, union

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.refusals import Refusal
from lib.stores.case_pairs import CasePairs
from lib.stores.cases import PRESENT, REMOVED, note
from lib.stores.client_shapes import label_info
from lib.stores.files import storage_faults
from lib.stores.geometry import read_grid
from lib.stores.images import ImageKeeping
from lib.stores.index import CASES, CURRENT, REVISIONS
from lib.stores.names import check_name
from lib.stores.opening import may_be_saved_under
from lib.stores.plain import json_object, plain
from lib.stores.records import FINAL, SOP_INSTANCE_UID, UNINTERPRETED, Revision
from lib.stores.saving import checked_labels, save_labels
from lib.stores.stored_tasks import stored_task

logger = logging.getLogger(__name__)


class LabelKeeping(ImageKeeping):
    """The part of a store that keeps labels."""

    _pairs: CasePairs | None

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any] | None = None
    ) -> str:
        """Check a label, split it by task, and store a revision for each.

        A final label ends the leases that it answers. When its author was asked to label the case blindly, it is kept
        under the tag ``double_read`` or ``reread`` instead, and never becomes the label of the case.

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
        info = plain(json_object(label_info, what="params"))
        info.pop(SOP_INSTANCE_UID, None)  # not for clients: such a label would not go to the archive
        return self._save(image_id, label_filename, _new_tag(label_tag), info)

    def _save(self, image_id: str, label_filename: str, tag: str, info: dict[str, Any]) -> str:
        grid = read_grid(Path(self.get_image_uri(image_id)))
        labels = checked_labels(Path(label_filename), grid=grid, info=info)
        with storage_faults():
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
        if self._pairs is not None and tag == FINAL:
            self._keep_pairs(self._pairs, image_id, tuple(label.task for label in labels))
        return image_id

    def _keep_pairs(self, pairs: CasePairs, image_id: str, tasks: tuple[str, ...]) -> None:
        """Keep what was just saved as pairs; the label is safe already, so a fault is noted and not the annotator's."""
        for task in tasks:
            newest = self.revisions(image_id, task)[-1]
            if newest.tag != FINAL:
                continue  # a blind reading is never the label of the case
            try:
                pairs.write(newest, Path(self.get_image_uri(image_id)))
            except (OSError, Refusal) as error:
                logger.warning("The pair of %s (%s) was not written: %s", image_id, task, error)
                facts = {"image": image_id, "task": task, "revision": newest.number, "reason": str(error)}
                with self._index.writing() as connection:
                    note(connection, "pair_not_written", facts)

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
            self._history.update_info(connection, row, plain(json_object(info, what="info")))

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
        revision = self.current_revision(image_id, task)
        return None if revision is None else revision.path

    def current_revision(self, image_id: str, task: str) -> Revision | None:
        """The task's newest final label of a case, or ``None``."""
        check_name(image_id, what="image id")
        with self._index.reading() as connection:
            row = self._history.find(connection, image_id, stored_task(task))
            return None if row is None else self._history.revision(row)

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


def _tag(value: object) -> str:
    return check_name(value or FINAL, what="tag")


def _new_tag(value: object) -> str:
    tag = _tag(value)
    if not may_be_saved_under(tag):
        raise Refusal(f"The tag {tag} names a stored label and cannot be saved under; use {FINAL}.")
    if tag != FINAL and tag.strip().lower() == FINAL:
        raise Refusal(f"The tag {tag!r} would not count as {FINAL}; write it like this.")
    return tag
