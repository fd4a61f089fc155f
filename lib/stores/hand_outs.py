"""Cases that were handed to people: leases, how they ended, and what a label cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from lib.stores.cases import note
from lib.stores.index import CASES, CURRENT, HAND_OUTS
from lib.stores.plain import to_json
from lib.stores.queue_rules import is_named
from lib.stores.stored_tasks import is_labelled, sharing, stored_tasks

LABEL, DOUBLE_READ, REREAD = "label", "double_read", "reread"
LABELLED, GIVEN_BACK, LEFT, EXPIRED, UNREADABLE = "labelled", "given_back", "left", "expired", "unreadable"
# Who saves after their lease, or saves again, still answers what they were asked.
_GRACE_S = 24 * 3600.0
_GRACE_OF_BLIND_READING_S = 28 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class HandedOut:
    """A case in the hands of a person, or that once was.

    Attributes:
        image_id: the case.
        task: what it was to be labelled for.
        holder: whom it was given to, as far as they said.
        purpose: ``label``, ``double_read`` (blind to another person's label) or ``reread`` (blind to their own).
        strategy: which strategy chose it.
        reason: why, in one sentence.
        score: by which it was chosen, or ``None``.
        model_version: that gave the score, or ``None``.
        first_labels: the number of the revision, by stored task, that a blind reading is a second one of.
        handed_out: when, UTC.
        lease_ends: until when it is kept for them, UTC.
        ended: when it was labelled, given back, left, expired or found unreadable, UTC; ``None`` while it is in their
            hands.
        outcome: which of these.
        seconds: from hand-out to label, or ``None`` where there is none, or somebody else made it.
    """

    image_id: str
    task: str
    holder: str
    purpose: str
    strategy: str
    reason: str
    score: float | None
    model_version: str | None
    handed_out: datetime
    lease_ends: datetime
    first_labels: Mapping[str, int] = field(default_factory=dict)
    ended: datetime | None = None
    outcome: str | None = None
    seconds: float | None = None

    @property
    def is_blind(self) -> bool:
        """Whether an earlier label is not to be shown."""
        return self.purpose != LABEL

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON knows it; times in ISO 8601."""
        values = dict(vars(self))
        for name in ("handed_out", "lease_ends", "ended"):
            values[name] = values[name] and values[name].isoformat(timespec="seconds")
        return values


def record(connection: Connection, handed: HandedOut) -> None:
    """Note that a case is handed out."""
    row = {
        **vars(handed),
        "case_id": handed.image_id,
        "first_labels": to_json(handed.first_labels),
        "handed_out": handed.handed_out.timestamp(),
        "lease_ends": handed.lease_ends.timestamp(),
    }
    del row["image_id"]
    connection.execute(insert(HAND_OUTS).values(**row))
    told = handed.to_json()
    facts = {"image": told.pop("image_id"), **{name: value for name, value in told.items() if value not in (None, {})}}
    note(connection, "handed_out", facts)


def in_hands(connection: Connection, task: str) -> list[Row]:
    """What is in somebody's hands for a task, or for another that has labels in common with it; the oldest first."""
    query = select(HAND_OUTS).where(HAND_OUTS.c.ended.is_(None), HAND_OUTS.c.task.in_(sharing(task)))
    return list(connection.execute(query.order_by(HAND_OUTS.c.id)))


def expire(connection: Connection, now: float) -> None:
    """End the leases whose time is over, or whose image turned out to be unreadable."""
    query = select(HAND_OUTS, CASES.c.fault).outerjoin(CASES, CASES.c.id == HAND_OUTS.c.case_id)
    over = or_(HAND_OUTS.c.lease_ends <= now, CASES.c.fault.is_not(None))
    for row in connection.execute(query.where(HAND_OUTS.c.ended.is_(None), over)).all():
        if row.lease_ends <= now:
            end(connection, row, EXPIRED, ended=row.lease_ends)
        else:
            end(connection, row, UNREADABLE, ended=now, fault=row.fault)


def leave(connection: Connection, task: str, holder: str, now: float) -> None:
    """A named person who asks again has left what they had; of a name that several share nothing is known."""
    if is_named(holder):
        for row in in_hands(connection, task):
            if row.holder == holder:
                end(connection, row, LEFT, ended=now)


def put_off(connection: Connection, task: str, holder: str, now: float) -> set[str]:
    """The cases that a named person left or gave back: for them at the end of the queue until the lease had ended."""
    if not is_named(holder):
        return set()
    query = select(HAND_OUTS.c.case_id).where(
        HAND_OUTS.c.holder == holder,
        HAND_OUTS.c.lease_ends > now,
        HAND_OUTS.c.task.in_(sharing(task)),
        HAND_OUTS.c.outcome.in_((LEFT, GIVEN_BACK)),
    )
    return set(connection.execute(query).scalars())


def end(connection: Connection, row: Row, outcome: str, *, ended: float, **facts: Any) -> HandedOut:
    """End a lease, with an event.

    Args:
        connection: a writing transaction.
        row: the hand-out.
        outcome: ``labelled``, ``given_back``, ``left``, ``expired`` or ``unreadable``.
        ended: when, in seconds since 1970.
        facts: ``seconds`` from hand-out to label, and what else there is to know.

    Returns:
        The hand-out as it is now.
    """
    values = {"ended": ended, "outcome": outcome, "seconds": facts.get("seconds")}
    change = update(HAND_OUTS).where(HAND_OUTS.c.id == row.id).values(**values).returning(HAND_OUTS)
    changed = connection.execute(change).one()
    told = {"image": row.case_id, "task": row.task, "holder": row.holder, "purpose": row.purpose}
    note(connection, outcome if outcome == LABELLED else f"hand_out_{outcome}", {**told, **facts})
    return handed_out(changed)


def end_by_label(connection: Connection, image_id: str, *, author: str, saved: tuple[str, ...], now: float) -> None:
    """End the leases of a case that a label completes: anybody's ends those to label it, a blind reading its holder's.

    Args:
        connection: the writing transaction that added the label.
        image_id: the case.
        author: who saved it.
        saved: the stored tasks that it was saved for.
        now: in seconds since 1970.
    """
    query = select(HAND_OUTS).where(
        HAND_OUTS.c.case_id == image_id, HAND_OUTS.c.lease_ends > now - _GRACE_OF_BLIND_READING_S
    )
    rows = connection.execute(query.order_by(HAND_OUTS.c.id.desc())).all()
    rows = [row for row in rows if row.purpose != LABEL or row.lease_ends > now - _GRACE_S]
    touched = [row for row in rows if set(saved) & set(stored_tasks(row.task))]
    done = [row for row in touched if row.ended is None and _is_answered(connection, row, author)]
    if not done and is_named(author):  # they took longer than their lease, or came back to what they had left
        late = [row for row in touched if row.holder == author and row.outcome in (EXPIRED, LEFT)]
        done = [row for row in late[:1] if _is_answered(connection, row, author)]
    for row in done:
        theirs = row.holder == author or not (is_named(row.holder) and is_named(author))
        seconds = round(now - row.handed_out, 1) if theirs else None
        end(connection, row, LABELLED, ended=now, by=author, seconds=seconds, strategy=row.strategy)


def _is_answered(connection: Connection, row: Row, author: str) -> bool:
    if row.purpose == LABEL:
        labels = connection.execute(select(CASES.c.labels).where(CASES.c.id == row.case_id)).scalar_one()
        return is_labelled(row.task, json.loads(labels))
    read = select(CURRENT.c.task).where(CURRENT.c.case_id == row.case_id, CURRENT.c.tag == row.purpose)
    return row.holder == author and set(stored_tasks(row.task)) <= set(connection.execute(read).scalars())


def blind_reading(
    connection: Connection, image_id: str, holder: str, now: float, *, tasks: Collection[str]
) -> HandedOut | None:
    """The blind reading that a label of this person would be: the last that they were asked of this case.

    It is one until a day after its lease, also when it was saved before: a second try must not become the case's label
    either. Not yet done it stays one for weeks, so that a reading that waits over the weekend does not replace the
    label that it is to be compared with. Giving it back ends it at once.

    Args:
        connection: a transaction.
        image_id: the case.
        holder: the person.
        now: in seconds since 1970.
        tasks: the stored tasks of the label.
    """
    query = select(HAND_OUTS).where(HAND_OUTS.c.case_id == image_id, HAND_OUTS.c.holder == holder)
    rows = connection.execute(query.order_by(HAND_OUTS.c.id.desc())).all()
    row = next((each for each in rows if set(tasks) & set(stored_tasks(each.task))), None)
    if row is None or row.purpose == LABEL or row.outcome == GIVEN_BACK:
        return None
    grace = _GRACE_S if row.outcome == LABELLED else _GRACE_OF_BLIND_READING_S
    return None if row.lease_ends + grace <= now else handed_out(row)


def was_asked_blindly(connection: Connection, task: str, holder: str, *, among: int) -> bool:
    """Whether a blind reading is among the last so many hand-outs of a task to a person, or there were fewer."""
    query = select(HAND_OUTS.c.purpose).where(HAND_OUTS.c.holder == holder, HAND_OUTS.c.task.in_(sharing(task)))
    last = connection.execute(query.order_by(HAND_OUTS.c.id.desc()).limit(among)).scalars().all()
    return len(last) < among or any(purpose != LABEL for purpose in last)


def recent_cases(connection: Connection, task: str, limit: int) -> list[tuple[float, str]]:
    """When and which cases were handed out last to be labelled, the newest first."""
    found = []
    for each in sharing(task):  # one by one: an index gives the last of one task, not of several
        query = select(HAND_OUTS.c.handed_out, HAND_OUTS.c.case_id).where(
            HAND_OUTS.c.task == each, HAND_OUTS.c.purpose == LABEL
        )
        rows = connection.execute(query.order_by(HAND_OUTS.c.id.desc()).limit(limit))
        found += [(row[0], row[1]) for row in rows]
    return sorted(found, reverse=True)[:limit]


def handed_out(row: Row) -> HandedOut:
    """A row of the index as what the store tells about it."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's own name for it
    del values["id"]
    for name in ("handed_out", "lease_ends", "ended"):
        values[name] = None if values[name] is None else datetime.fromtimestamp(values[name], UTC)
    values["first_labels"] = json.loads(values["first_labels"])
    return HandedOut(image_id=values.pop("case_id"), **values)
