"""What is found in a folder of labelled cases, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.datasets.provenance import Provenance


@dataclass(frozen=True, kw_only=True)
class FoundLabel:
    """A label file.

    Attributes:
        file: NIfTI or NRRD.
        names: what its values mean; a value without a name is a fault.
        may_be_empty: a mask of one structure, which is empty where the structure is out of view.
        ignore: the value of voxels that nobody judged, or ``None``.
        provenance: where it comes from, as far as a CSV beside it says so.
    """

    file: Path
    names: Mapping[int, str]
    may_be_empty: bool = False
    ignore: int | None = None
    provenance: Provenance | None = None


@dataclass(frozen=True, kw_only=True)
class FoundCase:
    """An image with its labels.

    Attributes:
        name: what the case will be called.
        image: the file; ``None`` where there are only labels.
        labels: its label files.
        other_images: further files that stand for the same image.
        facts: of the patient, and ``patient``, where the folder tells.
    """

    name: str
    image: Path | None
    labels: tuple[FoundLabel, ...]
    other_images: tuple[Path, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A folder of labelled cases.

    Attributes:
        layout: how it is laid out.
        dataset: what it is called; the author of labels of which nothing else is known.
        root: the folder.
        cases: in the order of their names.
        passed_over: files that belong to no case, each with the reason.
    """

    layout: str
    dataset: str
    root: Path
    cases: tuple[FoundCase, ...]
    passed_over: Mapping[Path, str] = field(default_factory=dict)


def merged(cases: list[FoundCase]) -> tuple[FoundCase, ...]:
    """The cases by name, each once with all its labels."""
    by_name: dict[str, list[FoundCase]] = {}
    for case in cases:
        by_name.setdefault(case.name, []).append(case)
    return tuple(_joined(by_name[name]) for name in sorted(by_name))


def _joined(parts: list[FoundCase]) -> FoundCase:
    images = list(dict.fromkeys(part.image for part in parts if part.image is not None))
    return FoundCase(
        name=parts[0].name,
        image=images[0] if images else None,
        labels=tuple(label for part in parts for label in part.labels),
        other_images=tuple(images[1:]),
        facts={key: value for part in reversed(parts) for key, value in part.facts.items()},
    )
