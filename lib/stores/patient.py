"""Facts of a patient in the info of an image, and the files that keep those that people entered."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib.disk import sync_folder
from lib.images import PatientFacts, parse_facts
from lib.refusals import Refusal
from lib.stores.files import stage
from lib.stores.names import folder_name
from lib.stores.plain import to_json

KEPT = (*PatientFacts.__dataclass_fields__, "patient")
"""What of an image's info is kept in a file beside the index."""

logger = logging.getLogger(__name__)


def with_checked_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """The info with its patient facts checked; ``None`` and "" stand for unknown.

    Raises:
        Refusal: a fact has a value that no patient has.
    """
    facts, wrong = parse_facts(info)
    if wrong:
        raise Refusal(" ".join(wrong.values()))
    return {**info, **{name: value for name, value in asdict(facts).items() if name in info}}


def facts_of(info: Mapping[str, Any]) -> PatientFacts:
    """The facts in an image's info; values that are not possible (from a store that was taken over) are unknown."""
    return parse_facts(info)[0]


class EnteredFacts:
    """A small file for each case of which somebody entered a fact: a lost index can be made anew, a height cannot.

    Args:
        folder: where the files lie.
        scratch: a folder for temporary files, on the same file system.
    """

    def __init__(self, *, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch

    def path(self, image_id: str) -> Path:
        """The file of a case, whether or not it is there."""
        return self._folder / f"{folder_name(image_id)}.json"

    def keep(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Write the facts in the info of a case, instead of what was kept before."""
        facts = {name: info[name] for name in KEPT if name in info}
        text = to_json({"image": image_id, "facts": facts})
        stage(text.encode(), scratch=self._scratch).replace(self.path(image_id))
        sync_folder(self._folder)

    def all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The id of every case with entered facts, and the facts; files that somebody damaged are passed over."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                image_id, facts = kept["image"], dict(kept["facts"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("The facts in %s cannot be read: %s", path, error)
                continue
            if self.path(image_id) == path:
                yield image_id, facts
