"""Time and memory of the running server on a CT: the L3 answer, the whole body, and who has to wait meanwhile."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import requests
from scipy import ndimage

from scripts.benchmarks._server import serving

LARGE_SHAPE = (512, 512, 200)


def main(argv: list[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py server", description=__doc__)
    parser.add_argument("ct", type=Path, help="an abdominal CT that holds L3, NIfTI")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder)
        (studies / "ct.nii.gz").write_bytes(arguments.ct.read_bytes())
        _enlarge(arguments.ct, studies / "large.nii.gz")
        with serving(studies) as (url, process):
            rows = [*_l3_muscle(url, arguments.repeat), *_body_composition(url, process)]
    print("| what | measured | bar |\n| --- | --- | --- |")
    for what, measured, bar in rows:
        print(f"| {what} | {measured} | {bar} |")
    return 0


def _l3_muscle(url: str, repeat: int) -> Iterator[tuple[str, str, str]]:
    seconds = [_infer(url, "l3_muscle", "ct") for _ in range(repeat + 1)]
    yield "`l3_muscle` cold start, slice search included, first request", f"{seconds[0]:.2f} s", "2 s"
    median = statistics.median(seconds[1:])
    yield f"the same, median of the next {repeat}", f"{median:.2f} s", "2 s"


def _body_composition(url: str, process: psutil.Process) -> Iterator[tuple[str, str, str]]:
    before = process.memory_info().rss
    peak, waits = [before], []
    done = threading.Event()

    def watch_memory() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    def ask_info() -> None:
        while not done.wait(0.05):
            start = time.perf_counter()
            requests.get(f"{url}/info/", timeout=60)
            waits.append(time.perf_counter() - start)

    threads = [threading.Thread(target=watch_memory), threading.Thread(target=ask_info)]
    for thread in threads:
        thread.start()
    seconds = _infer(url, "body_composition", "large")
    done.set()
    for thread in threads:
        thread.join()
    shape = " x ".join(map(str, LARGE_SHAPE))
    yield f"`body_composition` cold start, {shape}", f"{seconds:.1f} s", "30 s"
    yield "peak memory of the server during it", f"{peak[0] / 1e9:.2f} GB", "4 GB"
    yield "the part of it that the request added", f"{(peak[0] - before) / 1e9:.2f} GB", ""
    waits.sort()
    yield (
        f"`/info/` during it, median and slowest of {len(waits)}",
        f"{waits[len(waits) // 2] * 1000:.0f} ms, {waits[-1] * 1000:.0f} ms",
        "100 ms",
    )


def _infer(url: str, model: str, image: str) -> float:
    start = time.perf_counter()
    response = requests.post(f"{url}/infer/{model}?image={image}", data={"params": json.dumps({})}, timeout=600)
    seconds = time.perf_counter() - start
    response.raise_for_status()
    return seconds


def _enlarge(source: Path, target: Path) -> None:
    ct: Any = nib.load(source)
    factors = np.array(LARGE_SHAPE) / ct.shape
    hu = ndimage.zoom(np.asarray(ct.dataobj, dtype=np.float32), factors, order=1)
    affine = ct.affine @ np.diag([*(1 / factors), 1])
    nib.save(nib.Nifti1Image(np.clip(hu, -1024, 3071).astype(np.int16), affine), target)
