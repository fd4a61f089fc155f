"""Labelled cases that are labelled again on purpose, blind to the first label, so that agreement is known."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Row, Select, exists, func, select

from lib.stores.cases import PRESENT
from lib.stores.hand_outs import DOUBLE_READ, REREAD
from lib.stores.history import History
from lib.stores.index import CASES, CURRENT, REVISIONS, ROW_BY_ROW
from lib.stores.queue_rules import ANONYMOUS, QueueRules, is_named
from lib.stores.records import FINAL, SECOND_READING_OF, Revision
from lib.stores.stored_tasks import is_labelled, stored_tasks

logger = logging.getLogger(__name__)

_DAY_S = 24 * 3600.0
_FIRST = CURRENT.alias()
_SECOND = CURRENT.alias()


@dataclass(frozen=True, kw_only=True)
class DueReading:
    """A labelled case that is to be read again.

    Attributes:
        image_id: the case.
        kind: ``double_read`` or ``reread``.
        first_labels: the number of its current final revision, by stored task.
    """

    image_id: str
    kind: str
    first_labels: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TwoReadings:
    """A label and its blind second reading.

    Attributes:
        kind: ``double_read`` by another person, ``reread`` by the same one.
        first: the label.
        second: the second reading.
    """

    kind: Literal["double_read", "reread"]
    first: Revision
    second: Revision


def due_for(
    connection: Connection, task: str, holder: str, *, rules: QueueRules, not_these: Collection[str], now: float
) -> DueReading | None:
    """A blind reading that somebody can do now, or ``None``; of a name that several people share it is never known.

    Args:
        connection: a transaction.
        task: the task.
        holder: who asks.
        rules: which cases are read twice.
        not_these: ids that are in somebody's hands.
        now: in seconds since 1970.
    """
    if not is_named(holder):
        return None
    for row in _to_reread(connection, task, rules, now):
        if row.author == holder and row.case_id not in not_these:
            return _due(connection, task, row.case_id, REREAD)
    for row in _to_double_read(connection, task, rules):
        if row.author != holder and row.case_id not in not_these and not _has_drawn(connection, task, row, holder):
            return _due(connection, task, row.case_id, DOUBLE_READ)
    return None


def count_due(connection: Connection, task: str, *, rules: QueueRules, now: float) -> dict[str, int]:
    """How many blind readings of each kind are due, whoever they are for."""
    return {
        DOUBLE_READ: sum(1 for _ in _to_double_read(connection, task, rules)),
        REREAD: sum(1 for _ in _to_reread(connection, task, rules, now)),
    }


def pairs(connection: Connection, task: str, history: History) -> list[TwoReadings]:
    """Every blind reading that stands, with the label that it is a second reading of."""
    query = (
        select(REVISIONS)
        .join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
        .where(CURRENT.c.tag.in_((DOUBLE_READ, REREAD)), CURRENT.c.task.in_(stored_tasks(task)))
        .order_by(CURRENT.c.tag, CURRENT.c.task, CURRENT.c.case_id)
    )
    found = []
    for row in connection.execute(query).all():
        second = history.revision(row)
        first_label = second.info.get(SECOND_READING_OF)
        number = first_label.get("revision") if isinstance(first_label, Mapping) else None
        first = history.find(connection, row.case_id, f"{row.task}@{number}")
        if first is None:
            logger.warning("%s of %s is a second reading of %s, which is gone.", second.path, row.case_id, number)
            continue
        found.append(TwoReadings(kind=row.tag, first=history.revision(first), second=second))
    return found


def _to_double_read(connection: Connection, task: str, rules: QueueRules) -> Iterator[Row]:
    """Labelled cases of the share that is read by a second person, and was not yet; their order is random but fixed."""
    if not rules.double_read:
        return
    query = _labelled_once(task, DOUBLE_READ).where(_FIRST.c.lot < rules.double_read)
    yield from _complete(connection.execute(query.execution_options(**ROW_BY_ROW)), task)


def _to_reread(connection: Connection, task: str, rules: QueueRules, now: float) -> Iterator[Row]:
    """Labelled cases of the random subset that their authors read again, when long enough ago and not done yet.

    Of the cases labelled by then, the subset is those with the smallest lots; one that was read stays in it.
    """
    if not rules.reread:
        return
    part = stored_tasks(task)[0]
    done = select(func.count()).where(CURRENT.c.tag == REREAD, CURRENT.c.task == part)
    places = rules.reread - int(connection.execute(done).scalar_one())
    if places > 0:
        rows = connection.execute(_labelled_once(task, REREAD).limit(places)).all()
        yield from (row for row in _complete(rows, task) if row.created <= now - rules.washout_days * _DAY_S)


def _labelled_once(task: str, kind: str) -> Select:
    """Cases with a final label of a known author and no second reading of a kind, in the order of their lots."""
    part = stored_tasks(task)[0]
    second = exists().where(_SECOND.c.tag == kind, _SECOND.c.task == part, _SECOND.c.case_id == _FIRST.c.case_id)
    return (
        select(_FIRST.c.case_id, REVISIONS.c.author, REVISIONS.c.created, CASES.c.labels)
        .join(REVISIONS, REVISIONS.c.id == _FIRST.c.revision_id)
        .join(CASES, CASES.c.id == _FIRST.c.case_id)
        .where(_FIRST.c.tag == FINAL, _FIRST.c.task == part, REVISIONS.c.author.not_in(ANONYMOUS))
        .where(CASES.c.state == PRESENT, CASES.c.fault.is_(None), ~second)
        .order_by(_FIRST.c.lot)
    )


def _complete(rows: Iterable[Row], task: str) -> Iterator[Row]:
    return (row for row in rows if is_labelled(task, json.loads(row.labels)))


def _has_drawn(connection: Connection, task: str, row: Row, holder: str) -> bool:
    """Whether somebody who is not the current author has saved a label of this case before."""
    theirs = exists().where(
        REVISIONS.c.case_id == row.case_id, REVISIONS.c.author == holder, REVISIONS.c.task.in_(stored_tasks(task))
    )
    return bool(connection.execute(select(theirs)).scalar())


def _due(connection: Connection, task: str, image_id: str, kind: str) -> DueReading:
    query = (
        select(REVISIONS.c.task, REVISIONS.c.number)
        .join(CURRENT, CURRENT.c.revision_id == REVISIONS.c.id)
        .where(CURRENT.c.case_id == image_id, CURRENT.c.tag == FINAL, CURRENT.c.task.in_(stored_tasks(task)))
    )
    numbers = {row.task: row.number for row in connection.execute(query)}
    return DueReading(image_id=image_id, kind=kind, first_labels=numbers)
