"""How far a training is, in the words of MONAI Label's own trainers, so that its clients' progress bars move."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from lib.disk import write_json
from lib.networks.progress import Progress


@dataclass
class TrainStats:
    """Writes the state of one training to a file.

    Attributes:
        path: of the file; the server reads it while another process trains.
        preset: the recipe's name.
    """

    path: Path
    preset: str
    _started: float = field(default_factory=time.time)
    _folds: dict[int, Progress] = field(default_factory=dict)

    def update(self, progress: Progress) -> None:
        """Note an epoch of a fold."""
        self._folds[progress.fold] = progress
        self._write()

    def finish(self, *, version: str | None = None, metrics: Mapping[str, Any] | None = None, fault: str = "") -> None:
        """Note the end: with a version, or with the sentence that says why there is none.

        The single cases of the cross-validation are left out: clients read this every few seconds.
        """
        told = {name: value for name, value in (metrics or {}).items() if name != "cases"}
        self._write(total_time=_clock(time.time() - self._started), version=version, metrics=told, fault=fault)

    def _write(self, **end: Any) -> None:
        folds = sorted(self._folds.values(), key=lambda progress: progress.fold)
        epochs = folds[0].epochs * folds[0].folds if folds else 1
        write_json(
            self.path,
            {
                "epoch": sum(progress.epoch for progress in folds),
                "total_epochs": max(epochs, 1),
                "start_ts": int(self._started),
                "current_time": _clock(time.time() - self._started),
                "best_metric": round(max((progress.dice for progress in folds), default=0.0), 4),
                "preset": self.preset,
                "folds": [asdict(progress) for progress in folds],
                "process": [os.getpid(), psutil.Process().create_time()],
                **end,
            },
        )


def read_stats(path: Path) -> dict[str, Any]:
    """What the file says, ``{}`` where there is none; a training whose process is gone has a ``total_time``.

    Clients take a training without ``total_time`` for one that runs.
    """
    try:
        stats: dict[str, Any] = json.loads(path.read_text())
        pid, created = stats.pop("process")
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if "total_time" not in stats and not _is_running(pid, created):
        stats["total_time"] = stats["current_time"]
        stats["fault"] = "The training was ended before it was done; start it again and it continues."
    return stats


def _is_running(pid: int, created: float) -> bool:
    with suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - created) < 1
    return False


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
