"""Which labels a task needs: most are stored under their own name, ``sarcopenia`` as two others."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from lib.anatomy.schemas import SCHEMAS, STORED_SCHEMAS, task_of
from lib.refusals import Refusal
from lib.stores.records import FINAL


@cache
def stored_tasks(task: str) -> tuple[str, ...]:
    """The tasks whose labels a label of this one becomes.

    Raises:
        Refusal: there is no such task.
    """
    if task not in SCHEMAS:
        raise Refusal(f"There is no task {task}; there are {', '.join(SCHEMAS)}.", status=404)
    return tuple(dict.fromkeys(str(task_of(name)) for name in SCHEMAS[task].names))


def stored_task(task: str) -> str:
    """The task itself, if labels are stored under its name.

    Raises:
        Refusal: they are not.
    """
    if task not in STORED_SCHEMAS:
        raise Refusal(f"No labels are stored for the task {task}; there are {', '.join(STORED_SCHEMAS)}.")
    return task


@cache
def sharing(task: str) -> tuple[str, ...]:
    """The tasks that have a stored label in common with this one, itself among them: work on one is work on all."""
    parts = set(stored_tasks(task))
    return tuple(other for other in SCHEMAS if parts & set(stored_tasks(other)))


def labelled_mark(task: str) -> str:
    """What stands among the tags of a case that has a final label of a stored task."""
    return f"{FINAL}:{task}"


def is_labelled(task: str, labels: Collection[str]) -> bool:
    """Whether a case with these tags has all the labels that a task needs."""
    return all(labelled_mark(part) in labels for part in stored_tasks(task))
