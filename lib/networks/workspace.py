"""Where a training of folds keeps its files, and what it is made of, written down so that it can be continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from lib.disk import write_json


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a training is made of; the same run continues, another one starts anew.

    Attributes:
        samples: key of every sample to its patient and fold, sorted by key.
        classes: name to value in the labels; empty for networks that know their own.
        folds: number of folds.
        recipe: the preset, a data class with (among others) ``epochs``, ``fine_tune_epochs``, ``learning_rate`` and
            ``fine_tune_lr``.
        parent: the folder of the version whose weights the folds start from, or "".
        seed: of all that is left to chance; fold k uses ``seed + k``.
    """

    samples: Mapping[str, tuple[str, int]]
    classes: Mapping[str, int]
    folds: int
    recipe: Any
    parent: str
    seed: int

    @property
    def keys(self) -> frozenset[str]:
        """Those of its samples."""
        return frozenset(self.samples)

    @property
    def epochs(self) -> int:
        """Epochs of each fold."""
        return int(self.recipe.fine_tune_epochs if self.parent else self.recipe.epochs)

    @property
    def learning_rate(self) -> float:
        """The highest of each fold."""
        return float(self.recipe.fine_tune_lr if self.parent else self.recipe.learning_rate)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the folds."""
        return tuple(self.seed + fold for fold in range(self.folds))

    def held_out(self, fold: int) -> list[str]:
        """The keys that a fold validates on."""
        return [key for key, (_, of) in self.samples.items() if of == fold]

    def trained_on(self, fold: int) -> list[str]:
        """The keys that a fold learns from."""
        return [key for key, (_, of) in self.samples.items() if of != fold]

    def write(self, path: Path) -> None:
        """Write it down."""
        write_json(path, asdict(self))


@dataclass(frozen=True)
class Workspace:
    """The folder of a task's trainings; what is made of the samples stays in it from one training to the next."""

    root: Path

    recipe: ClassVar[Callable[..., Any]]
    """Makes the preset from its values."""

    @property
    def run(self) -> Path:
        """What the current training is made of."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """Held while a training is running."""
        return self.root / "training.lock"

    @property
    def model(self) -> Path:
        """The finished folds, as a version keeps them."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """What a training continues from, and how its folds did."""
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Scalars of the folds, a folder each."""
        return self.root / "tensorboard"

    @property
    def of_run(self) -> tuple[Path, ...]:
        """Files and folders that belong to the current training alone."""
        return self.model, self.checkpoints, self.progress(0).parent

    def checkpoint(self, fold: int) -> Path:
        """Of a fold that is being trained."""
        return self.checkpoints / f"fold_{fold}.pt"

    def validation(self, fold: int) -> Path:
        """How a fold did on its held-out samples; written when the fold is done."""
        return self.checkpoints / f"fold_{fold}.json"

    def progress(self, fold: int) -> Path:
        """The epochs of a fold, a line each."""
        return self.root / "progress" / f"fold_{fold}.jsonl"

    def log(self, step: str) -> Path:
        """What a child process said."""
        return self.root / "logs" / f"{step}.txt"

    def environment(self) -> dict[str, str]:
        """Variables for the child processes."""
        return {}

    def unfinished(self) -> Run | None:
        """The training that is in it, interrupted, or done and not yet discarded; ``None`` where none can be read."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            content = json.loads(self.run.read_text())
            content["recipe"] = type(self).recipe(**_tuples(content["recipe"]))
            content["samples"] = {key: (patient, fold) for key, (patient, fold) in content["samples"].items()}
            return Run(**content)
        return None

    def current(self) -> Run:
        """The training whose child process asks.

        Raises:
            ValueError: there is none.
        """
        run = self.unfinished()
        if run is None:
            raise ValueError(f"{self.run} is not readable")
        return run

    def discard(self) -> None:
        """Remove a training whose result was taken, or is no longer wanted."""
        # What says that there is a run goes first: killed here, nothing half removed is continued.
        self.run.unlink(missing_ok=True)
        for path in self.of_run:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe as they were before JSON made lists of tuples."""
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(each) for each in value) if isinstance(value, list) else value
