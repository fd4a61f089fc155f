"""The models of one analysis: the same ones from its first case to its last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib.models import Registry, Version


class PinnedRegistry(Registry):
    """A registry whose champions do not change, whatever is chosen while an analysis runs.

    It knows the usual variants only, so every case is answered by the same networks.

    Args:
        root: of the registry.
        versions: the champion of each task that has one.
    """

    def __init__(self, root: str | Path, versions: Mapping[str, str]) -> None:
        super().__init__(root)
        self._versions = versions

    def stamp(self, task: str, variant: str = "") -> str:
        """The same for ever; "" without a champion."""
        return "" if variant else self._versions.get(task, "")

    def champion(self, task: str, variant: str = "") -> Version | None:
        """The version that is pinned.

        Raises:
            Refusal: it is not there any more, or cannot be used.
        """
        name = self.stamp(task, variant)
        return None if not name else self.version(task, name)
