"""Time and memory of the networks on volumes (Lee 2021, Kim 2024), and agreement with PyTorch in float32."""

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

from lib.anatomy.schemas import BODY_COMPOSITION, SCHEMAS, THIGH_MUSCLES
from lib.images import read_ct
from lib.measures.overlap import dice
from lib.tasks import TASKS

_SPACING = np.array([0.8, 0.8, 2.0])
_DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class _Bars:
    """What is measured of a task.

    Attributes:
        slices: of the CTs, the first one that of the bar.
        seconds: the bars on :data:`_DEVICES`.
        gib: the bar for the memory, or "-".
        compared: slices on which the answer is compared with that of PyTorch in float32 on the CPU, which takes long;
            those in the middle.
    """

    slices: tuple[int, ...]
    seconds: tuple[int, int]
    gib: str
    compared: int


_BARS = {
    BODY_COMPOSITION.task: _Bars(slices=(200, 1000), seconds=(75, 5), gib="8 GiB", compared=16),
    THIGH_MUSCLES.task: _Bars(slices=(250,), seconds=(20, 3), gib="-", compared=96),
}


@dataclass(frozen=True)
class _Job:
    """What a process of its own measures."""

    task: str
    model: Path
    slices: int
    engine: str
    matrix: int
    compared: int
    ct: Path | None

    def image(self) -> tuple[npt.NDArray, npt.NDArray[np.float64]]:
        """HU (x, y, z) and spacing in mm."""
        if self.ct is None:
            return _DRAWN[self.task](self.matrix, self.slices), _SPACING
        image = read_ct(self.ct).canonical()
        return image.hu, image.spacing


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    from lib.trainers.learners import PRESETS  # noqa: PLC0415 - nothing of it belongs in the memory that is measured

    parser = argparse.ArgumentParser(prog="benchmark.py volume-speed", description=__doc__)
    parser.add_argument("--task", choices=list(_BARS), default=BODY_COMPOSITION.task, help="default: %(default)s")
    parser.add_argument("--model", type=Path, help="folder of a version (default: one untrained fold of the paper's)")
    parser.add_argument("--network", default="", help="of an untrained model (default: the task's usual one)")
    parser.add_argument("--preset", choices=list(PRESETS), default="paper", help="likewise (default: %(default)s)")
    parser.add_argument("--device", choices=_DEVICES, default="cpu")
    parser.add_argument("--bf16", action="store_true", help="let OpenVINO compute in bfloat16, where the CPU has it")
    parser.add_argument("--folds", type=int, default=1, help="of an untrained model (default: %(default)s)")
    parser.add_argument("--slices", type=int, nargs="+", help="default: 200 1000, of thighs 250")
    parser.add_argument("--ct", type=Path, help="a CT in place of a drawn one: what a trained model knows")
    parser.add_argument("--matrix", type=int, default=512, help="pixels along a side (default: %(default)s)")
    options = parser.parse_args(argv)
    bars = _BARS[options.task]
    print("| what | measured | bar |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or write_untrained(
            Path(folder) / "model", options.task, folds=options.folds, network=options.network, preset=options.preset
        )
        engine = "cuda" if options.device == "cuda" else "openvino-bf16" if options.bf16 else "openvino"
        drawn = options.slices or bars.slices
        if options.ct:
            options.matrix, _, *drawn = read_ct(options.ct).canonical().shape
        for number, slices in enumerate(drawn):
            job = _Job(options.task, model, slices, engine, options.matrix, 0 if number else bars.compared, options.ct)
            # Each in a process of its own, so that its memory is its own.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(_measure, job).result()
            size = f"{slices} slices of {options.matrix} x {options.matrix}, {engine}"
            bar = f"{bars.seconds[_DEVICES.index(options.device)]} s" if slices == bars.slices[0] else "-"
            print(f"| {size}: time | {found['seconds']:.1f} s | {bar} |")
            print(f"| {size}: most memory of the process | {found['gib']:.2f} GiB | {bars.gib} |")
            if job.compared:
                print(f"| {size}: Dice with PyTorch in float32, worst class | {found['dice']:.4f} | 0.995 |")
    return 0


def write_untrained(
    folder: Path, task: str = BODY_COMPOSITION.task, *, folds: int = 1, network: str = "", preset: str = "paper"
) -> Path:
    """A version's folder of networks with seeded random weights.

    Args:
        folder: where; made if it is not there.
        task: one that learns volumes.
        folds: how many.
        network: of the task, "" for the usual one.
        preset: whose network and grid.

    Returns:
        The folder.
    """
    import torch  # noqa: PLC0415 - the other benchmarks do without

    from lib.networks.checkpoints import save_whole  # noqa: PLC0415
    from lib.volumes.recipes import recipe_of  # noqa: PLC0415
    from lib.volumes.workspace import WEIGHTS, write_description  # noqa: PLC0415

    recipe, schema = recipe_of(task, network or TASKS[task].networks[0], preset), SCHEMAS[task]
    write_description(folder, recipe, schema.ids)
    for fold in range(folds):
        torch.manual_seed(fold)
        weights = recipe.build(1 + len(schema)).state_dict()
        save_whole(weights, folder / f"fold_{fold}" / WEIGHTS)
    return folder


def _measure(job: _Job) -> dict[str, Any]:
    from lib.volumes.ensemble import VolumeEnsemble  # noqa: PLC0415

    hu, spacing = job.image()
    ensemble = VolumeEnsemble(job.model, engine=job.engine)
    stopped, peak = threading.Event(), [0]

    def watch() -> None:
        process = psutil.Process()
        while not stopped.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ensemble.segment(hu[:, :, :8], spacing)  # what is compiled at first use
    start = time.perf_counter()
    ensemble.segment(hu, spacing)
    seconds = time.perf_counter() - start
    stopped.set()
    watcher.join()
    first = max(0, (hu.shape[2] - job.compared) // 2)
    middle = hu[:, :, first : first + job.compared]
    agreement = _agreement(ensemble, job, middle, spacing) if job.compared else None
    return {"seconds": seconds, "gib": peak[0] / 2**30, "dice": agreement}


def _agreement(ensemble: Any, job: _Job, hu: npt.NDArray, spacing: npt.NDArray[np.float64]) -> float:
    from lib.volumes.ensemble import VolumeEnsemble  # noqa: PLC0415

    ours = ensemble.segment(hu, spacing).label
    reference = VolumeEnsemble(job.model, engine="torch").segment(hu, spacing).label
    found = dice(ours, reference, SCHEMAS[job.task].ids)
    return min((value for value in found.values() if value is not None), default=float("nan"))


def _body(matrix: int, slices: int) -> npt.NDArray[np.int16]:
    """A drawn trunk as wide as a body usually is in its field of view, with organs at random, int16 HU (x, y, z)."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*(np.linspace(-1, 1, matrix),) * 2, indexing="ij")
    trunk, cavity = np.hypot(x / 0.85, y / 0.6), np.hypot(x / 0.6, y / 0.4)
    plane = np.select([trunk > 1, cavity > 1.2, cavity > 1, np.hypot(x, y - 0.35) < 0.1], [-1000, -100, 60, 400], 40)
    return _stacked(plane, slices, rng)


def _legs(matrix: int, slices: int) -> npt.NDArray[np.int16]:
    """Two drawn thighs as they usually lie in their field of view, int16 HU (x, y, z)."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*(np.linspace(-1, 1, matrix),) * 2, indexing="ij")
    r = np.hypot(np.abs(x) - 0.45, y) / 0.42
    return _stacked(np.select([r > 1, r > 0.85, r < 0.18], [-1000, -100, 500], 55), slices, rng)


def _stacked(plane: npt.NDArray, slices: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    hu = np.empty((*plane.shape, slices), np.int16, order="F")
    for k in range(slices):
        hu[:, :, k] = plane + rng.normal(0, 15, plane.shape) * (plane > -1000)
    return hu


_DRAWN = {BODY_COMPOSITION.task: _body, THIGH_MUSCLES.task: _legs}
