"""The next case without a label of the task, in the order of the folder or at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from monailabel.interfaces.tasks.strategy import Strategy

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import DEFAULT_TASK, TASKS


class NextUnlabelled(Strategy):
    """Offers a case that has no label of the task yet.

    Args:
        order: ``first`` by name, or ``random``.
    """

    def __init__(self, order: Literal["first", "random"]) -> None:
        which = "The first case" if order == "first" else "A random case"
        super().__init__(f"{which} without a label of the task")
        self.order = order

    def info(self) -> dict[str, Any]:
        """What clients build their choice of task from."""
        return {"description": self.description, "config": {"task": list(TASKS)}}

    def __call__(self, request: Mapping[str, Any], datastore: CaseStore) -> dict[str, Any] | None:
        """The chosen case as ``{"id", "task"}``, or ``None`` when every case is labelled.

        Raises:
            Refusal: the task is unknown.
        """
        task = request.get("task") or DEFAULT_TASK
        if isinstance(task, list):  # a client that sends its list of choices unchosen
            task = task[0]
        if task not in TASKS:
            raise Refusal(f"There is no task {task!r}; there are {', '.join(TASKS)}.", status=404)
        image_id = datastore.next_case(task, order=self.order)
        return {"id": image_id, "task": task} if image_id else None
