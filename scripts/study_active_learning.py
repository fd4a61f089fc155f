"""Study on phantoms: what does choosing the next case by disagreement save against choosing at random?

.venv/bin/python scripts/study_active_learning.py --out active_learning

It may be interrupted, and goes on when it is started again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.anatomy.schemas import SCHEMAS
from lib.phantoms.cohort import Cohort, CohortPlan
from lib.stores.queue_rules import RANDOM_SHARE
from scripts.command import Stop, run_command

_POOL_SEED, _TEST_SEED = 51, 52
_TUNING_SEEDS = 61, 62
_HARD_SHARE = 0.1
"""Of pool and test alike: a long tail, of which a random choice sees little."""
TASK = "l3_muscle"


def main(arguments: Sequence[str]) -> int:
    """Draw the phantoms, run the courses that are missing, and say what came out.

    Raises:
        Stop: the folder holds phantoms of another kind, or courses with other options; or the page is none.
    """
    options = parse(arguments)
    seeds = _TUNING_SEEDS if options.tuning else (_POOL_SEED, _TEST_SEED)
    for name, seed, count in zip(("pool", "test"), seeds, (options.pool, options.test), strict=True):
        _draw(options.out / name, CohortPlan(region="l3", count=count, seed=seed, hard_share=_HARD_SHARE))
    try:
        keep_plan(options)
        _run(options)
        _tell(options)
    except ValueError as error:
        raise Stop(str(error)) from error
    return 0


def _draw(folder: Path, plan: CohortPlan) -> None:
    try:
        cohort = Cohort(folder, plan)
        with tqdm(total=len(cohort.missing), unit="slice", desc=folder.name) as bar:
            cohort.write(workers=os.cpu_count() or 1, on_case=lambda _: bar.update())
    except ValueError as error:
        raise Stop(str(error)) from error


def keep_plan(options: argparse.Namespace) -> None:
    """Write down what all courses in the folder have in common, so that none of another study is mixed with them.

    Raises:
        ValueError: there are courses with other options.
    """
    names = ("pool", "test", "iterations", "more", "random_share", "device", "tuning")
    plan = {name: getattr(options, name) for name in names}
    path = options.out / "study.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else plan
    differing = [f"{name} {there.get(name)} (not {value})" for name, value in plan.items() if there.get(name) != value]
    if differing:
        raise ValueError(f"The study in {options.out} has {', '.join(differing)}; take another folder.")
    path.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")


def _courses(options: argparse.Namespace) -> list[Any]:
    from scripts.active_learning.learner import Schedule  # noqa: PLC0415 - PyTorch takes seconds
    from scripts.active_learning.rounds import STRATEGIES, Course  # noqa: PLC0415

    return [
        Course(
            strategy=strategy,
            repetition=repetition,
            classes=SCHEMAS[TASK].ids,
            random_share=options.random_share if strategy == "disagreement" else STRATEGIES[strategy],
            schedule=Schedule(iterations=options.iterations, more=options.more),
            device=options.device,
        )
        for repetition in range(options.repetitions)
        for strategy in options.strategy or STRATEGIES
    ]


def _run(options: argparse.Namespace) -> None:
    from scripts.active_learning.slices import read_slices  # noqa: PLC0415

    results = options.out / "results"
    results.mkdir(exist_ok=True)
    for name in ("pool", "test"):  # once, before the workers read it
        read_slices(options.out / name, TASK)
    courses = _courses(options)
    total = sum(course.rounds for course in courses)
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(options.workers, mp_context=context, initializer=_begin)
    try:
        with tqdm(total=total, initial=_finished(courses, results), unit="training") as bar:
            jobs = {workers.submit(_work, course, options.out) for course in courses}
            while jobs:
                ended, jobs = wait(jobs, timeout=5, return_when=FIRST_EXCEPTION)
                bar.update(_finished(courses, results) - bar.n)
                for job in ended:
                    job.result()
    except BaseException:  # Ctrl-C, or a course that failed: no other one is to go on for hours
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        workers.shutdown(cancel_futures=True)


def _finished(courses: Sequence[Any], results: Path) -> int:
    from scripts.active_learning.rounds import read_rounds  # noqa: PLC0415

    return sum(len(read_rounds(course.file(results))) for course in courses)


def _begin() -> None:
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)  # one course a core


def _work(course: Any, folder: Path) -> None:
    from scripts.active_learning.rounds import run  # noqa: PLC0415
    from scripts.active_learning.slices import read_slices  # noqa: PLC0415

    run(course, read_slices(folder / "pool", TASK), read_slices(folder / "test", TASK), folder / "results")


def _tell(options: argparse.Namespace) -> None:
    from scripts.active_learning.report import draw, put_into, tables, verdict  # noqa: PLC0415
    from scripts.active_learning.rounds import read_rounds  # noqa: PLC0415

    results: dict[str, list[Any]] = {}
    for course in _courses(options):
        results.setdefault(course.strategy, []).append(read_rounds(course.file(options.out / "results")))
    picture = options.out / "curves.png"
    draw(results, picture)
    found = "\n".join(f"- {sentence}" for sentence in verdict(results)) + f"\n\n{tables(results)}"
    print(f"\n{found}")
    if options.page:
        shown = options.page.parent / "images" / "active_learning.png"
        shutil.copyfile(picture, shown)
        put_into(options.page, f"![Curves](images/{shown.name})\n\n{found}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="study_active_learning.py", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of phantoms and results; gone on with")
    parser.add_argument("--pool", type=int, default=400, help="slices to choose from (default: %(default)s)")
    parser.add_argument("--test", type=int, default=100, help="slices to judge on (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="of every strategy (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=300, help="of a fold's first training (default: %(default)s)")
    parser.add_argument("--more", type=int, default=80, help="of its later ones (default: %(default)s)")
    parser.add_argument(
        "--random-share", type=float, default=RANDOM_SHARE, help="of `disagreement` (default: %(default)s)"
    )
    parser.add_argument("--strategy", action="append", help="one of them (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at once (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="Markdown page to write the results into, such as this project's")
    parser.add_argument("--tuning", action="store_true", help="on other phantoms than those of the final study")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
