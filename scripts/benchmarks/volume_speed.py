"""Time and memory of the 3-D network of Lee 2021 on a CT of 200 slices, and of 1,000, and agreement with PyTorch."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.measures.overlap import dice

_SPACING = np.array([0.8, 0.8, 2.0])
_COMPARED = 16
"""Slices on which the answer is compared with that of PyTorch in float32 on the CPU, which takes long."""


@dataclass(frozen=True)
class _Job:
    """What a process of its own measures."""

    model: Path
    slices: int
    engine: str
    matrix: int
    compare: bool


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py volume-speed", description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of a version (default: one untrained fold of the paper's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--folds", type=int, default=1, help="of an untrained model (default: %(default)s)")
    parser.add_argument("--slices", type=int, nargs="+", default=[200, 1000], help="default: 200 1000")
    parser.add_argument("--matrix", type=int, default=512, help="pixels along a side (default: %(default)s)")
    options = parser.parse_args(argv)
    print("| what | measured | bar |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or write_untrained(Path(folder) / "model", folds=options.folds)
        engine = "cuda" if options.device == "cuda" else "openvino"
        for number, slices in enumerate(options.slices):
            job = _Job(model, slices, engine, options.matrix, compare=number == 0)
            # Each in a process of its own, so that its memory is its own.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(_measure, job).result()
            size = f"{slices} slices of {options.matrix} x {options.matrix}, {engine}"
            bar = {"cpu": "75 s", "cuda": "5 s"}[options.device] if slices == 200 else "-"
            print(f"| {size}: time | {found['seconds']:.1f} s | {bar} |")
            print(f"| {size}: most memory of the process | {found['gib']:.2f} GiB | 8 GiB |")
            if job.compare:
                print(f"| {size}: Dice with PyTorch in float32, worst class | {found['dice']:.4f} | 0.995 |")
    return 0


def write_untrained(folder: Path, *, folds: int = 1, network: str = "3d", preset: str = "paper") -> Path:
    """A version's folder of networks with seeded random weights.

    Args:
        folder: where; made if it is not there.
        folds: how many.
        network: of body composition.
        preset: whose network and grid.

    Returns:
        The folder.
    """
    import torch  # noqa: PLC0415 - the other benchmarks do without

    from lib.networks.checkpoints import save_whole  # noqa: PLC0415
    from lib.volumes.recipes import recipe_of  # noqa: PLC0415
    from lib.volumes.workspace import WEIGHTS, write_description  # noqa: PLC0415

    recipe = recipe_of(BODY_COMPOSITION.task, network, preset)
    write_description(folder, recipe, BODY_COMPOSITION.ids)
    for fold in range(folds):
        torch.manual_seed(fold)
        weights = recipe.build(1 + len(BODY_COMPOSITION)).state_dict()
        save_whole(weights, folder / f"fold_{fold}" / WEIGHTS)
    return folder


def _measure(job: _Job) -> dict[str, Any]:
    from lib.volumes.ensemble import VolumeEnsemble  # noqa: PLC0415

    hu = _body(job.matrix, job.slices)
    ensemble = VolumeEnsemble(job.model, engine=job.engine)
    stopped, peak = threading.Event(), [0]

    def watch() -> None:
        process = psutil.Process()
        while not stopped.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ensemble.segment(hu[:, :, :8], _SPACING)  # what is compiled at first use
    start = time.perf_counter()
    ensemble.segment(hu, _SPACING)
    seconds = time.perf_counter() - start
    stopped.set()
    watcher.join()
    agreement = _agreement(ensemble, job, hu[:, :, :_COMPARED]) if job.compare else None
    return {"seconds": seconds, "gib": peak[0] / 2**30, "dice": agreement}


def _agreement(ensemble: Any, job: _Job, hu: npt.NDArray[np.int16]) -> float:
    from lib.volumes.ensemble import VolumeEnsemble  # noqa: PLC0415

    ours = ensemble.segment(hu, _SPACING).label
    reference = VolumeEnsemble(job.model, engine="torch").segment(hu, _SPACING).label
    found = dice(ours, reference, BODY_COMPOSITION.ids)
    return min((value for value in found.values() if value is not None), default=float("nan"))


def _body(matrix: int, slices: int) -> npt.NDArray[np.int16]:
    """A drawn trunk as wide as a body usually is in its field of view, with organs at random, int16 HU (x, y, z)."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*(np.linspace(-1, 1, matrix),) * 2, indexing="ij")
    trunk, cavity = np.hypot(x / 0.85, y / 0.6), np.hypot(x / 0.6, y / 0.4)
    plane = np.select([trunk > 1, cavity > 1.2, cavity > 1, np.hypot(x, y - 0.35) < 0.1], [-1000, -100, 60, 400], 40)
    hu = np.empty((matrix, matrix, slices), np.int16, order="F")
    for k in range(slices):
        hu[:, :, k] = plane + rng.normal(0, 15, plane.shape) * (plane > -1000)
    return hu
