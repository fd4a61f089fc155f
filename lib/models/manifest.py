"""What a version of a model is made from and how well it did, as it stands in its ``manifest.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from lib.refusals import Refusal

TRAINED = "trained"
"""The origin of a version that was trained here; an imported one says from what it was imported."""
FORMAT = 1
_ADDED = {"variant"}
"""What manifests of this format did not have at first."""
_STRICT = ConfigDict(strict=True, extra="forbid")

Name = Annotated[str, Field(min_length=1)]
Phantoms = Literal["none", "some", "all", "unknown"]


@dataclass(frozen=True, kw_only=True)
class TrainingLabel:
    """One label that a version was trained on.

    Attributes:
        case: the id of the case in the store.
        revision: the number of the label's revision.
        sha256: of the label's file, hexadecimal.
        patient: whose it is; all labels of a patient share a fold.
        fold: the fold that validates on this patient, and was not trained on them.
        phantom: whether nobody was scanned for it.
    """

    __pydantic_config__ = _STRICT

    case: Name
    revision: Annotated[int, Field(ge=0)]
    sha256: str
    patient: Name
    fold: Annotated[int, Field(ge=0)]
    phantom: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a version is.

    Attributes:
        task: the task that it answers.
        network: what kind of network it is, for instance ``nnunet_2d``.
        classes: the name of each structure and the value that stands for it in the network's answer. The names are the
            schema's. So are the values, except in an imported version, which keeps its own.
        folds: number of networks.
        origin: ``trained``, or what it was imported from.
        labels: what it was trained on; empty where that is not known.
        parent: the version whose weights it started from, or ``None``.
        preset: the name of the training recipe, or "".
        variant: of the task, see :meth:`lib.models.Registry.champion`; "" for the usual one.
        seeds: of the random numbers, one for each fold or one for all.
        packages: the names and versions of the packages that trained it.
        metrics: results of the cross-validation, in plain JSON. A number that is not finite is kept as ``None``.
        version: its name; decided when it is published.
        created: when, ISO 8601 in UTC.
        files: every file of the version and its size in bytes; filled in when it is published.

    Raises:
        ValueError: the values contradict each other.
    """

    __pydantic_config__ = _STRICT

    task: Name
    network: Name
    classes: Annotated[dict[str, int], Field(min_length=1)]
    folds: Annotated[int, Field(ge=1)]
    origin: Name = TRAINED
    labels: tuple[TrainingLabel, ...] = ()
    parent: str | None = None
    preset: str = ""
    variant: Annotated[str, Field(pattern="^[a-z0-9_-]*$")] = ""
    seeds: tuple[int, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    files: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = list(self.classes.values())
        if any(value < 1 for value in values) or len(set(values)) < len(values):
            raise ValueError("the values of the classes are not different numbers from 1 up")
        folds = self.patients
        if any(folds[label.patient] != label.fold for label in self.labels):
            raise ValueError("a patient is in two folds")
        object.__setattr__(self, "metrics", _plain(self.metrics))

    @property
    def patients(self) -> dict[str, int]:
        """The fold of every patient that it was trained on."""
        return {label.patient: label.fold for label in self.labels}

    @property
    def imported(self) -> bool:
        """Whether it was trained elsewhere."""
        return self.origin != TRAINED

    @property
    def phantoms(self) -> Phantoms:
        """How many of its own labels were drawn on phantoms; "unknown" where its labels are not known."""
        if not self.labels:
            return "unknown"
        if not any(label.phantom for label in self.labels):
            return "none"
        return "all" if all(label.phantom for label in self.labels) else "some"

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        content = {"format": FORMAT, **asdict(self), "phantoms": self.phantoms}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "The manifest") -> Manifest:
        """Read the text of a ``manifest.json``.

        Args:
            text: of the file.
            name: what the sentence of a refusal calls it.

        Raises:
            Refusal: it is damaged, something in it is missing or contradicts itself, or it is of a later format.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise Refusal(f"{name} is damaged: it is not JSON.") from error
        if not isinstance(content, dict):
            raise Refusal(f"{name} is damaged: it holds no named values.")
        if content.pop("format", None) != FORMAT:
            raise Refusal(f"{name} is of a format that this program does not know: a later one may have written it.")
        said = content.pop("phantoms", None)
        try:
            manifest = _ADAPTER.validate_json(json.dumps(content))
        except ValidationError as error:
            raise Refusal(f"{name} is damaged: {_first_of(error)}.") from error
        missing = {f for f in cls.__dataclass_fields__ if f not in content} - _ADDED
        if missing:
            raise Refusal(f"{name} is damaged: {', '.join(sorted(missing))} is missing.")
        if said != manifest.phantoms:
            raise Refusal(f"{name} is damaged: what it says about phantoms contradicts its labels.")
        return manifest


_ADAPTER = TypeAdapter(Manifest)


def _first_of(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")


def _plain(value: Any) -> Any:
    """The same in what JSON knows: numbers of numpy become Python's, those that are not finite ``None``."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
