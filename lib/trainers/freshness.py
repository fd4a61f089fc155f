"""How many labels the newest version of a task was not trained on."""

from __future__ import annotations

import logging
from datetime import datetime

from lib.models import Manifest, Registry
from lib.refusals import Refusal
from lib.stores import CaseStore

logger = logging.getLogger(__name__)


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
        # Versions never change; what was read of one stays true.
        self._trained: dict[tuple[str, str], bool] = {}
        self._until: dict[tuple[str, str], datetime | None] = {}

    def labels(self, task: str) -> int:
        """How many cases have a label of the task that is new or changed since the newest training here."""
        return self._store.labels_since(task, self._trained_until(task))

    def _trained_until(self, task: str) -> datetime | None:
        """When the newest label was saved that the newest version was trained on; ``None`` without one."""
        for name in reversed(self._registry.versions(task)):
            key = (task, name)
            if key not in self._trained:
                manifest = self._manifest(task, name)
                if manifest is not None:
                    self._until[key] = self._newest_label(manifest)
                self._trained[key] = manifest is not None
            if self._trained[key]:
                return self._until[key]
        return None

    def _manifest(self, task: str, name: str) -> Manifest | None:
        """What a version was trained on here; ``None`` for one that was imported or cannot be opened."""
        try:
            manifest = self._registry.version(task, name).manifest
        except Refusal as refusal:
            logger.warning("What %s of %s was trained on is not known: %s", name, task, refusal)
            return None
        return None if manifest.imported else manifest

    def _newest_label(self, manifest: Manifest) -> datetime | None:
        taken = {(label.case, label.sha256) for label in manifest.labels}
        current = self._store.current_labels(manifest.task)
        return max((each.created for each in current if (each.image_id, each.sha256) in taken), default=None)
