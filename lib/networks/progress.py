"""Progress of the folds: a line for each epoch, written by the fold's process and read by the one that started it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch that is over.

    Attributes:
        epoch: how many are over, 1 and up.
        loss: of the training.
        dice: mean over classes, estimated on patches of the held-out slices.
        class_dice: the same by class.
        gpu_free: bytes that are free on the GPU, 0 without one.
        gpu_needed: bytes that the fold takes on the GPU at most, 0 without one.
    """

    epoch: int
    loss: float
    dice: float
    class_dice: dict[str, float] = field(default_factory=dict)
    gpu_free: int = 0
    gpu_needed: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a training tells whoever waits for it.

    Attributes:
        fold: the fold that finished an epoch.
        folds: number of folds.
        epoch: how many epochs of this fold are over.
        epochs: how many it will train.
        loss: of that epoch.
        dice: mean over classes, estimated on patches of the fold's held-out slices; always finite.
        class_dice: the same by class.
    """

    fold: int
    folds: int
    epoch: int
    epochs: int
    loss: float
    dice: float
    class_dice: dict[str, float] = field(default_factory=dict)


def append_epoch(path: Path, epoch: Epoch) -> None:
    """Add an epoch to a fold's file, on a line of its own whatever a killed process left before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("\n" + json.dumps(asdict(epoch)) + "\n")


class EpochReader:
    """Reads the epochs that are added to a fold's file, from now on or from a position in bytes."""

    def __init__(self, path: Path, *, position: int | None = None) -> None:
        self._path = path
        self._position = (path.stat().st_size if path.is_file() else 0) if position is None else position

    def new(self) -> list[Epoch]:
        """The epochs since the last call; a line that is being written waits for the next one."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return [epoch for line in whole.splitlines() if (epoch := _parse(line))]


def _parse(line: bytes) -> Epoch | None:
    """An epoch, or ``None`` for an empty line or half of one, which a killed process leaves."""
    try:
        return Epoch(**json.loads(line))
    except (ValueError, TypeError):
        return None


def last_epoch(path: Path) -> Epoch | None:
    """The newest epoch in a fold's file, or ``None`` where there is none."""
    epochs = EpochReader(path, position=0).new()
    return epochs[-1] if epochs else None
