"""How many labels the newest version of a task was not trained on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from lib.models import Registry
from lib.refusals import Refusal
from lib.stores import CaseStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Training:
    """What a version was trained on.

    Attributes:
        labels: case and checksum of each label.
        until: when the newest of them was saved; ``None`` where none of them is current any more.
    """

    labels: frozenset[tuple[str, str]] = frozenset()
    until: datetime | None = None


class Freshness:
    """Compares the labels of a store with what the versions were trained on.

    The manifests are the truth and not the records of runs: they outlive an index that is lost, and a training that was
    interrupted is made of older labels than there were when it was begun again.

    Args:
        store: the labels.
        registry: the versions.
    """

    def __init__(self, store: CaseStore, registry: Registry) -> None:
        self._store, self._registry = store, registry
        # Versions never change; what was read of one stays true. None for one that says nothing about our labels.
        self._known: dict[tuple[str, str], _Training | None] = {}

    def labels(self, task: str) -> int:
        """How many cases have a label of the task that was saved since those of the newest training; a quick count."""
        return self._store.labels_since(task, self._newest(task).until)

    def usable_labels(self, task: str) -> int:
        """How many labels a training would see that the newest one did not; looks at every label.

        Fewer than :meth:`labels` where a label was saved once more as it was, or its image is not there.
        """
        taken = self._newest(task).labels
        return sum((each.image_id, each.sha256) not in taken for each in self._store.current_labels(task))

    def _newest(self, task: str) -> _Training:
        """What the newest version of the usual variant was trained on, if it was trained here and can be opened."""
        for name in reversed(self._registry.versions(task)):
            if (task, name) not in self._known:
                self._known[task, name] = self._read(task, name)
            if training := self._known[task, name]:
                return training
        return _Training()

    def _read(self, task: str, name: str) -> _Training | None:
        try:
            manifest = self._registry.version(task, name).manifest
        except Refusal as refusal:
            logger.warning("What %s of %s was trained on is not known: %s", name, task, refusal)
            return None
        if manifest.imported or manifest.variant:
            return None
        taken = frozenset((label.case, label.sha256) for label in manifest.labels)
        current = self._store.current_labels(task)
        saved = [each.created for each in current if (each.image_id, each.sha256) in taken]
        return _Training(taken, max(saved, default=None))
