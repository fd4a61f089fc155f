"""The queue: handing cases to people so that no two of them work on the same one, and what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from lib.refusals import Refusal
from lib.stores import hand_outs
from lib.stores.blind_reads import DueReading, TwoReadings, count_due, due_for, pairs
from lib.stores.cases import PRESENT, Cases, lacks_label
from lib.stores.hand_outs import DOUBLE_READ, GIVEN_BACK, LABEL, HandedOut, handed_out, in_hands
from lib.stores.history import History
from lib.stores.index import CASES, HAND_OUTS, StoreIndex
from lib.stores.names import check_name
from lib.stores.open_cases import OpenCases
from lib.stores.queue_rules import QueueRules, person
from lib.stores.stored_tasks import is_labelled, sharing, stored_tasks

# A second reading costs as much as a new label and teaches the model nothing, so most of what people get is new.
_BLIND_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A case that a strategy chose.

    Attributes:
        image_id: the case.
        reason: why this one, in a sentence.
        score: by which it was chosen, or ``None``.
        model_version: which gave the score, or ``None``.
    """

    image_id: str
    reason: str
    score: float | None = None
    model_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """Where the queue of a task stands.

    Attributes:
        task: the task.
        waiting: cases that lack its label, can be read, and are in nobody's hands.
        labelled: cases that have it.
        in_hands: what is in somebody's hands, the oldest first.
        blind_due: how many blind readings are due, by kind.
        nothing_because: why nobody would be given a new case now, in a sentence; ``None`` where they would.
    """

    task: str
    waiting: int
    labelled: int
    in_hands: tuple[HandedOut, ...]
    blind_due: dict[str, int]
    nothing_because: str | None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        return {**vars(self), "in_hands": [handed.to_json() for handed in self.in_hands]}


class QueueKeeping:
    """The part of a store that hands out cases."""

    _index: StoreIndex
    _cases: Cases
    _history: History

    def hand_out(
        self,
        task: str,
        holder: str,
        rules: QueueRules,
        choose: Callable[[OpenCases], Choice | None],
        *,
        strategy: str,
    ) -> HandedOut | None:
        """Give somebody a case, and keep it for them until they saved its label, left it, or their time is over.

        Choosing and noting happen in one transaction, so two people who ask in the same instant get two cases. A case
        is also kept from those who ask for another task with the same labels (``l3_muscle`` and ``sarcopenia``).

        A named person who asks again without having saved has left the case before: others may get it at once, they
        themselves when nothing else is left. Of a name that several people share (``user-xyz``, ``admin``, "") nothing
        of the kind is known: all its cases are kept until their time is over.

        Blind readings go to named persons only. As long as there are new cases, at most every fifth that a person is
        given is one; when no new one is left, they get all that are due.

        Args:
            task: what is to be labelled.
            holder: who asks.
            rules: of the queue.
            choose: picks one of the open cases, or says ``None`` when there is none; everybody waits for it, so it must
                be quick.
            strategy: its name, for the record.

        Returns:
            The case, or ``None`` when there is none; :meth:`queue_state` says why.

        Raises:
            Refusal: 404 for an unknown task.
        """
        stored_tasks(task)
        holder = person(holder)
        self._cases.look()
        self._cases.forget_mended_faults()
        with self._index.writing() as connection:
            now = time.time()
            hand_outs.expire(connection, now)
            hand_outs.leave(connection, task, holder, now)
            chosen = self._choose(connection, task, holder, rules=rules, choose=choose, now=now)
            if chosen is None:
                return None
            choice, reading = chosen
            handed = HandedOut(
                image_id=choice.image_id,
                task=task,
                holder=holder,
                purpose=reading.kind if reading else LABEL,
                strategy=strategy,
                reason=choice.reason,
                score=choice.score,
                model_version=choice.model_version,
                first_labels=reading.first_labels if reading else {},
                handed_out=datetime.fromtimestamp(now, UTC),
                lease_ends=datetime.fromtimestamp(now, UTC) + timedelta(hours=rules.lease_hours),
            )
            hand_outs.record(connection, handed)
            return handed

    def give_back(self, task: str, image_id: str, holder: str | None = None) -> list[HandedOut]:
        """Return a case to the queue before its time is over.

        Args:
            task: the task it was handed out for, or one with the same labels.
            image_id: the case.
            holder: from whom; by default, from whoever has it.

        Returns:
            What was given back, as it is now.

        Raises:
            Refusal: 404 when it is not in these hands.
        """
        stored_tasks(task)
        check_name(image_id, what="image id")
        with self._index.writing() as connection:
            now = time.time()
            hand_outs.expire(connection, now)
            rows = [
                row for row in in_hands(connection, task) if row.case_id == image_id and holder in (None, row.holder)
            ]
            given = [hand_outs.end(connection, row, GIVEN_BACK, ended=now) for row in rows]
        if not given:
            whose = "anybody's hands" if holder is None else f"the hands of {holder or 'nobody in particular'}"
            raise Refusal(f"{image_id} is not in {whose} for {task}.", status=404)
        return given

    def hand_outs(self, image_id: str, task: str | None = None) -> list[HandedOut]:
        """Every time that a case was handed out, the first first: to whom, why, and what became of it.

        Args:
            image_id: the case.
            task: only those for this task, or for another with the same labels.

        Raises:
            Refusal: 404 for an unknown task, or an id that never was.
        """
        check_name(image_id, what="image id")
        query = select(HAND_OUTS).where(HAND_OUTS.c.case_id == image_id).order_by(HAND_OUTS.c.id)
        if task is not None:
            query = query.where(HAND_OUTS.c.task.in_(sharing(task)))
        with self._index.reading() as connection:
            found = [handed_out(row) for row in connection.execute(query)]
        if not found:
            self._cases.present(image_id)
        return found

    def is_blind(self, task: str, image_id: str, holder: str) -> bool:
        """Whether this person is to label the case without seeing its earlier labels.

        So it is while a label that they saved would be a blind reading (see :func:`hand_outs.blind_reading`). It is for
        the app not to show them with its answers; whoever asks for the final label by its id still gets it.
        """
        with self._index.reading() as connection:
            tasks = stored_tasks(task)
            return hand_outs.blind_reading(connection, image_id, person(holder), time.time(), tasks=tasks) is not None

    def agreement(self, task: str) -> list[TwoReadings]:
        """Every label that was read again blindly, with its second reading; the newest one where it was saved twice."""
        with self._index.reading() as connection:
            return pairs(connection, task, self._history)

    def queue_state(self, task: str, rules: QueueRules) -> QueueState:
        """Where the queue of a task stands.

        Raises:
            Refusal: 404 for an unknown task.
        """
        parts = stored_tasks(task)
        self._cases.look()
        by_labels = select(CASES.c.labels, func.count(), func.count(CASES.c.fault)).where(CASES.c.state == PRESENT)
        with self._index.reading() as connection:
            now = time.time()
            counts = connection.execute(by_labels.group_by(CASES.c.labels)).all()
            held = tuple(handed_out(row) for row in in_hands(connection, task) if row.lease_ends > now)
            kept_back = _open_among(connection, parts, {handed.image_id for handed in held})
            due = count_due(connection, task, rules=rules, now=now)
        present = sum(number for _, number, _ in counts)
        lacking = [row for row in counts if not is_labelled(task, json.loads(row[0]))]
        unlabelled, unreadable = sum(row[1] for row in lacking), sum(row[2] for row in lacking)
        waiting = unlabelled - unreadable - len(kept_back)
        because = None
        if not waiting:
            in_the_way = [handed.lease_ends for handed in held if handed.image_id in kept_back]
            because = _nothing_because(task, present, unreadable=unreadable, leases_end=in_the_way)
        return QueueState(
            task=task,
            waiting=waiting,
            labelled=present - unlabelled,
            in_hands=held,
            blind_due=due,
            nothing_because=because,
        )

    def _choose(
        self,
        connection: Connection,
        task: str,
        holder: str,
        *,
        rules: QueueRules,
        choose: Callable[[OpenCases], Choice | None],
        now: float,
    ) -> tuple[Choice, DueReading | None] | None:
        held = frozenset(row.case_id for row in in_hands(connection, task))
        put_off = hand_outs.put_off(connection, task, holder, now)
        reading = partial(due_for, connection, task, holder, rules=rules, now=now)
        if not hand_outs.was_asked_blindly(connection, task, holder, among=_BLIND_EVERY - 1):
            due = reading(not_these=held | put_off)
            if due:
                return _as_choice(due, rules), due
        for not_these in dict.fromkeys((held | put_off, held)):
            choice = self._choose_new(connection, task, choose, not_these)
            if choice:
                return choice, None
            due = reading(not_these=not_these)
            if due:
                return _as_choice(due, rules), due
        return None

    def _choose_new(
        self, connection: Connection, task: str, choose: Callable[[OpenCases], Choice | None], not_these: frozenset[str]
    ) -> Choice | None:
        while choice := choose(OpenCases(connection, task, not_these=not_these)):
            if self._cases.is_there(connection, choice.image_id):
                return choice
            not_these |= {choice.image_id}  # its file vanished, and the folder was not looked at since
        return None


def _open_among(connection: Connection, parts: tuple[str, ...], image_ids: set[str]) -> set[str]:
    query = select(CASES.c.id).where(
        CASES.c.id.in_(image_ids), CASES.c.state == PRESENT, CASES.c.fault.is_(None), lacks_label(parts)
    )
    return set(connection.execute(query).scalars())


def _as_choice(reading: DueReading, rules: QueueRules) -> Choice:
    if reading.kind == DOUBLE_READ:
        share = f"{rules.double_read:.0%} of the labelled cases are"
        reason = f"A second reading, blind to another person's label; {share} read twice."
    else:
        reason = f"A second reading of your own label after {rules.washout_days:g} days, blind to it."
    return Choice(image_id=reading.image_id, reason=reason)


def _nothing_because(task: str, present: int, *, unreadable: int, leases_end: list[datetime]) -> str:
    if not present:
        return "There is no case in the studies folder."
    except_for = f", except {unreadable} that cannot be read" if unreadable else ""
    if leases_end:
        return (
            f"Every case of {task} is labelled or handed out to others{except_for}; "
            f"the next lease ends at {min(leases_end):%H:%M} UTC."
        )
    return f"Every case of {task} is labelled{except_for}."
