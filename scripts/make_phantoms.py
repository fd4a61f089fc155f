"""Make a cohort of digital phantoms: CTs of people who do not exist, with exact labels.

.venv/bin/python scripts/make_phantoms.py --region abdomen --count 20 --seed 1 --out FOLDER

FOLDER then holds the images, their labels in `truth/TASK/CASE.nii.gz`, and `cohort.csv`; a server shows the cases with
`--studies FOLDER`. Ctrl-C stops; the same command goes on where it stopped. docs/phantoms.md says more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.phantoms.cohort import TABLE, TRUTH, Cohort, CohortPlan, save_labels
from lib.phantoms.person import CONDITIONS, HARD_SHARE, VARIANT_SHARE
from lib.phantoms.phantom import REGIONS
from scripts.command import Stop, run_command

_MOST_WORKERS = 4  # a large volume takes about 1 GB in each


def main(arguments: Sequence[str]) -> int:
    """Write what is missing of the cohort.

    Raises:
        Stop: the arguments make no cohort, or it cannot be written.
    """
    options = parse(arguments)
    try:
        plan = CohortPlan(
            region=options.region,
            count=options.count,
            seed=options.seed,
            format=options.format,
            matrix=options.matrix,
            slice_mm=options.slice_mm,
            conditions=options.conditions,
            hard_share=options.hard_share,
            variant_share=options.variant_share,
            labels=not options.without_labels,
        )
        cohort = Cohort(options.out, plan)
        done = plan.count - len(cohort.missing)
        with tqdm(total=plan.count, initial=done, unit="case", disable=options.quiet) as bar:
            cohort.write(workers=options.workers, on_case=lambda _: bar.update())
        saved = finish_labels(options.out) if options.finished else 0
    except KeyboardInterrupt:
        print(f"Stopped. The same command goes on with {options.out} where it stopped.", file=sys.stderr)
        return 130
    except BrokenProcessPool as error:
        raise Stop("A worker was ended by the system, perhaps for lack of memory: try --workers 1.") from error
    except (ValueError, OSError) as error:
        raise Stop(str(error)) from error
    print(f"{plan.count} digital phantoms of the {plan.region} in {options.out}, described in {TABLE}.")
    if plan.labels:
        print(f"Their labels: {options.out / TRUTH}" + (f"; {saved} of them saved as final labels." if saved else ""))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="make_phantoms.py", description="Make CTs of people who do not exist.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--region", choices=list(REGIONS), default="abdomen", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=10, help="number of cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed is other people (default: %(default)s)")
    parser.add_argument("--format", choices=["nifti", "dicom"], default="nifti", help="default: %(default)s")
    parser.add_argument("--matrix", type=int, metavar="N", help="voxels along a slice's side (default: by chance)")
    parser.add_argument("--slice-mm", type=float, metavar="MM", help="thickness of the slices (default: by chance)")
    parser.add_argument(
        "--conditions",
        type=conditions,
        metavar="NAME=STRENGTH,...",
        help=f"what everybody has, or `none`; strengths 0 to 1 (default: by chance). Names: {', '.join(CONDITIONS)}",
    )
    parser.add_argument(
        "--hard-share",
        type=float,
        default=HARD_SHARE,
        metavar="SHARE",
        help="share of hard cases (default: %(default)s)",
    )
    parser.add_argument(
        "--variant-share",
        type=float,
        default=VARIANT_SHARE,
        metavar="SHARE",
        help="share of spines with an anatomic variant (default: %(default)s)",
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--without-labels", action="store_true", help=f"write no {TRUTH} folder")
    labels.add_argument(
        "--finished", action="store_true", help="also save the labels as final ones in the server's store of the folder"
    )
    parser.add_argument("--workers", type=int, default=usable_cores(), metavar="N", help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def conditions(text: str) -> dict[str, float]:
    """`ascites=0.8,oedema` as a dictionary; without a number it is 1, and `none` is nothing.

    Raises:
        argparse.ArgumentTypeError: it is none of that.
    """
    found: dict[str, float] = {}
    for part in [] if text.strip() == "none" else text.split(","):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number or 1)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{number!r} is no strength; 0 to 1 is.") from error
    return found


def finish_labels(folder: Path) -> int:
    """Save the labels in the store that a server of the folder uses; gives their number."""
    from lib.stores import CaseStore  # noqa: PLC0415 - takes seconds to import, and only this option needs it

    store = CaseStore(folder)
    try:
        return save_labels(store, folder)
    finally:
        store.close()


def usable_cores() -> int:
    """The cores that this process may use, but no more than memory usually allows for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_WORKERS)


if __name__ == "__main__":
    run_command(main)
