"""Time and memory of drawing a phantom with all its labels, on one core."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import psutil
from threadpoolctl import threadpool_limits

from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is drawn, how often, and how long it may take."""

    region: str
    shape: tuple[int, int, int]
    repeats: int
    bar_s: float


JOBS = (
    Job(region="abdomen", shape=(256, 256, 100), repeats=3, bar_s=5.0),
    Job(region="torso", shape=(512, 512, 200), repeats=1, bar_s=60.0),
)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print a table in Markdown; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmark.py phantoms", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first phantom (default: %(default)s)")
    options = parser.parse_args(argv)
    print("| phantom | runs | body | image | labels | all, median | bar | | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    missed = False
    for job in JOBS:
        runs = [_in_its_own_process(job, seed=options.seed + n) for n in range(job.repeats)]
        *steps, total = (
            statistics.median(column) for column in zip(*((*run[0], sum(run[0])) for run in runs), strict=True)
        )
        missed |= total > job.bar_s
        verdict = "ok" if total <= job.bar_s else "**missed**"
        size = " x ".join(map(str, job.shape))
        times = " | ".join(f"{seconds:.1f} s" for seconds in (*steps, total))
        memory = max(run[1] for run in runs) / 1e9
        print(f"| {job.region}, {size} | {job.repeats} | {times} | {job.bar_s:g} s | {verdict} | {memory:.2f} GB |")
    return int(missed)


def _in_its_own_process(job: Job, *, seed: int) -> tuple[tuple[float, float, float], int]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_draw, job, seed).result()


def _draw(job: Job, seed: int) -> tuple[tuple[float, float, float], int]:
    """Seconds for body, image and all labels; peak of the process' memory in bytes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    process, done = psutil.Process(), threading.Event()
    peak = [0]

    def watch_memory() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watch = threading.Thread(target=watch_memory)
    watch.start()
    marks = [time.perf_counter()]
    with threadpool_limits(1):
        phantom = Phantom(seed, job.region, shape=job.shape, scanner=Scanner())
        _ = phantom.person  # its areas are fitted
        marks.append(time.perf_counter())
        _ = phantom.image
        marks.append(time.perf_counter())
        for task in phantom.tasks:
            phantom.label(task)
        marks.append(time.perf_counter())
    done.set()
    watch.join()
    first, second, third, last = marks
    return (second - first, third - second, last - third), peak[0]
