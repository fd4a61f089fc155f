"""Analyse many CTs without a server: one table, and a picture of each case by which to check it.

.venv/bin/python scripts/analyse.py FILES_OR_FOLDERS --out FOLDER

FOLDER then holds `analysis.csv`, `overlays/CASE.png` and, with --labels, `segmentations/CASE.nii.gz`, with
--reports `reports/CASE.pdf` and `.html`, and `cohort.pdf` and `.html`. Ctrl-C stops; the
same command goes on where it stopped, also after a crash, and does anew what has changed. docs/analysis.md says more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.analysis.sources import find_sources, short_hash
from scripts.analysis.worker import Settings
from scripts.command import Stop, run_command
from scripts.serve import MODELS

if TYPE_CHECKING:
    from lib.models import Version
    from scripts.analysis.run import Counts

_TASKS = ("sarcopenia", "l3_muscle", "l3_tissue", "body_composition")
_REASONS_SHOWN = 12


def main(arguments: Sequence[str]) -> int:
    """Analyse what is not done yet, and say how it went.

    Raises:
        Stop: the arguments do not fit, or the results cannot be written.
    """
    options = parse(arguments)
    if options.reports and options.task == "body_composition":
        raise Stop("There are reports of the L3 slice only: leave out --reports, or choose another --task.")
    sources = find_sources(options.inputs)
    if not sources:
        raise Stop(
            f"No CT was found in {', '.join(map(str, options.inputs))}: there has to be a .nii.gz, .nii or .nrrd file, "
            "or a folder of DICOM files."
        )
    from filelock import FileLock, Timeout  # noqa: PLC0415 - what the workers import again should be little
    from tqdm import tqdm  # noqa: PLC0415

    from lib.disk import make_folder  # noqa: PLC0415
    from lib.refusals import Refusal  # noqa: PLC0415
    from lib.reports.case_report import check_cutoffs  # noqa: PLC0415
    from scripts.analysis.facts import FactsTable  # noqa: PLC0415
    from scripts.analysis.memory import default_workers  # noqa: PLC0415
    from scripts.analysis.run import Plan, Run  # noqa: PLC0415
    from scripts.analysis.table import TABLE  # noqa: PLC0415

    out = Path(os.path.abspath(options.out.expanduser()))  # noqa: PTH100 - shown to the user as it was given
    try:
        models = champions(options.models, options.task)
        plan = Plan(
            sources=sources,
            settings=Settings(
                task=options.task,
                models=options.models.resolve(),
                out=out,
                labels=options.labels,
                reports=options.reports,
                cutoffs=check_cutoffs(options.cutoffs) if options.reports else (),
                versions={task: version.name for task, version in models.items()},
            ),
            models={task: stamp_of(version) for task, version in models.items()},
            facts=FactsTable(options.facts) if options.facts else None,
            workers=options.workers or default_workers(models.values()),
        )
        make_folder(out)
        with (
            FileLock(out / ".analysis.lock", timeout=0),
            tqdm(total=len(sources), unit="case", disable=options.quiet) as bar,
        ):
            counts = Run(plan, bar).go()
    except KeyboardInterrupt:
        print(f"Stopped. The same command goes on with {out} where it stopped.", file=sys.stderr)
        return 130
    except Timeout as timeout:
        raise Stop(f"Another analysis is writing to {out}: wait for it, or choose another --out.") from timeout
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    except OSError as error:
        raise Stop(
            f"{error.filename or out} cannot be written ({error.strerror or error}): start the same command again when "
            "it can; what is done is kept."
        ) from error
    print(f"The table is {out / TABLE}.\n{summary(counts)}")
    return 0


def summary(counts: Counts) -> str:
    """How many cases were analysed, why the others were not, and how fast it was."""
    total = counts.before + counts.now
    lines = [f"{total} cases: {total - counts.failed} analysed, {counts.failed} failed."]
    if counts.before:
        lines.append(f"{counts.before} of them were done before.")
    common = counts.reasons.most_common(_REASONS_SHOWN)
    lines += [f"{number:6} failed: {reason}" for reason, number in common]
    if len(counts.reasons) > len(common):
        lines.append(f"       and {len(counts.reasons) - len(common)} other reasons, which the table names.")
    if counts.others:
        lines.append(f"Rows of the table whose inputs were not given this time: {counts.others}.")
    if counts.gone:
        lines.append(f"Rows left out of the table, since their files are not there any more: {counts.gone}.")
    if counts.now:
        lines.append(f"{60 * counts.now / max(counts.seconds, 0.001):.1f} cases a minute.")
    return "\n".join(lines)


def champions(models: Path, task: str) -> dict[str, Version]:
    """The versions that take part in an answer, by task.

    Raises:
        Refusal: one of them cannot be used.
    """
    from lib.models import Registry  # noqa: PLC0415
    from lib.tasks import TASKS  # noqa: PLC0415

    registry = Registry(models)
    level = ("l3_slice",) if TASKS[task].on_slice else ()
    found = {name: registry.champion(name) for name in (*level, *(TASKS[task].parts or (task,)))}
    return {name: version for name, version in found.items() if version}


def stamp_of(version: Version) -> str:
    """What tells a version from all others, also from one of the same name in another folder of models."""
    return f"{version.name} {short_hash(version.manifest.to_json())}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="analyse.py",
        description="Measure muscle and fat of many CTs, on the L3 slice or in the whole body.",
    )
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="NIfTI, NRRD, or folders of these or of DICOM series, searched with all folders in them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the results")
    parser.add_argument("--task", choices=_TASKS, default=_TASKS[0], help="default: %(default)s")
    parser.add_argument("--models", type=Path, default=MODELS, metavar="FOLDER", help="folder of all models")
    parser.add_argument(
        "--facts",
        type=Path,
        metavar="CSV",
        help="sex, age_years, height_m, weight_kg, contrast, slice_index of cases that a column case or file names",
    )
    parser.add_argument(
        "--reports",
        action="store_true",
        help="also write a page about each case and one about all, as PDF and HTML",
    )
    parser.add_argument(
        "--cutoffs",
        nargs="+",
        default=[],
        metavar="NAME",
        help="by which the pages judge, for instance prado_2008_smi (default: all that were published for L3)",
    )
    parser.add_argument("--labels", action="store_true", help="also write the labels as NIfTI")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="cases at once (default: by cores and memory)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
