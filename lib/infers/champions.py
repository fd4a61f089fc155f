"""The champions of the tasks, their networks kept loaded."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.models import Registry, Version
from lib.refusals import Refusal

if TYPE_CHECKING:
    from lib.levels.ensemble import LevelEnsemble
    from lib.networks.nnunet.ensemble import Ensemble
    from lib.volumes.ensemble import VolumeEnsemble

_OF_PHANTOMS = {
    "all": "The model of {task} was trained on digital phantoms only: its answers are not for patients.",
    "some": "The model of {task} was trained on digital phantoms too.",
}
_UNLEARNT = (
    "{version} has not learnt {names}: too few patients had them drawn. Draw them by hand; they are not missing in the "
    "patient."
)


@dataclass(frozen=True)
class Champion:
    """A version and its networks.

    Attributes:
        version: what it is.
        ensemble: an :class:`lib.networks.nnunet.ensemble.Ensemble`, or by the version's network a
            :class:`lib.levels.ensemble.LevelEnsemble` (``levels``) or a :class:`lib.volumes.ensemble.VolumeEnsemble`
            (``volume``).
    """

    version: Version
    ensemble: Any

    @property
    def unlearnt(self) -> tuple[str, ...]:
        """Classes of the task that it could not learn from its labels."""
        return tuple(self.version.manifest.metrics.get("unlearnt", ()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever reads an answer of it has to know."""
        manifest = self.version.manifest
        said = _OF_PHANTOMS.get(manifest.phantoms)
        phantoms = () if said is None else (said.format(task=manifest.task),)
        if not self.unlearnt:
            return phantoms
        return (*phantoms, _UNLEARNT.format(version=manifest.version, names=", ".join(self.unlearnt)))


class Champions:
    """Opens the champion of a task when it is first asked for, and another one as soon as one was chosen.

    Args:
        registry: where the versions are.
        cache: folder for what the engine compiles; it may be deleted at any time.
        versions: task to a version that answers in place of its champion, ``None`` for the cold start.
    """

    def __init__(
        self, registry: Registry, cache: Path | None = None, *, versions: Mapping[str, str | None] | None = None
    ) -> None:
        self._registry, self._cache, self._versions = registry, cache, dict(versions or {})
        self._open: dict[tuple[str, str], tuple[str, Champion | None]] = {}
        self._lock = threading.Lock()

    def of(self, task: str, variant: str = "") -> Champion | None:
        """The champion of a variant of a task, ``None`` where none was chosen.

        Raises:
            Refusal: 503, it cannot be used; the sentence says why.
        """
        stamp = self._versions[task] if task in self._versions else self._registry.stamp(task, variant)
        if not stamp:
            return None
        with self._lock:
            known = self._open.get((task, variant))
            if known is None or known[0] != stamp:
                self._open.pop((task, variant), None)  # two at a time would take twice the memory
                known = (stamp, self._load(task, variant))
                self._open[task, variant] = known
            return known[1]

    def name_of(self, task: str) -> str | None:
        """The version of :meth:`of`.

        Raises:
            Refusal: it cannot be used; the sentence says why.
        """
        champion = self.of(task)
        return champion.version.name if champion else None

    def _load(self, task: str, variant: str) -> Champion | None:
        try:
            name = self._versions.get(task)
            version = self._registry.version(task, name) if name else self._registry.champion(task, variant)
            return None if version is None else Champion(version, self._networks(version))
        except Refusal as refusal:
            # Whatever is wrong, it is not the image: the same request is answered once the model is put right.
            raise Refusal(str(refusal), status=503) from refusal

    def _networks(self, version: Version) -> Ensemble | LevelEnsemble | VolumeEnsemble:
        # They take seconds to import, which no cold start should take.
        if version.manifest.network == "levels":
            from lib.levels.ensemble import LevelEnsemble  # noqa: PLC0415

            return LevelEnsemble.open(version.folder)
        if version.manifest.network == "volume":
            from lib.volumes.ensemble import VolumeEnsemble  # noqa: PLC0415

            return VolumeEnsemble(version.folder, cache=self._cache)
        from lib.networks.nnunet.ensemble import Ensemble  # noqa: PLC0415

        return Ensemble(version.folder, cache=self._cache)
