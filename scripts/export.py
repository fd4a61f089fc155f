"""Labels of a studies folder in the layouts of others, each with a CSV of where every label comes from.

.venv/bin/python scripts/export.py pairs --studies datastore --out yu
.venv/bin/python scripts/export.py nnunet --studies datastore --task l3_muscle --out nnUNet_raw
.venv/bin/python scripts/export.py dicom --studies datastore --out segmentations --labels-only
.venv/bin/python scripts/export.py bids --studies datastore --out bids
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.datasets.bids import write_bids
from lib.datasets.chosen import Chosen, chosen_labels
from lib.datasets.dicom_folder import write_dicom
from lib.datasets.nnunet_raw import write_nnunet
from lib.datasets.pairs import write_pairs
from lib.datasets.provenance import Provenance
from lib.models import FoldBook, Registry
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import TASKS
from scripts.command import Stop, run_command
from scripts.serve import MODELS, STUDIES

_FORMATS = ("pairs", "nnunet", "dicom", "bids")


def main(arguments: Sequence[str]) -> int:
    """Write the newest final labels of the tasks into a new folder.

    Raises:
        Stop: the folder is not new, or something cannot be exported.
    """
    options = parse(arguments)
    out = options.out.expanduser().resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Stop(f"{out} is there already; name a new folder, so that nothing is overwritten.")
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        store = CaseStore(options.studies, index_url=options.index_url)
        try:
            if unfinished.exists():
                shutil.rmtree(unfinished)  # of a run that was interrupted
            unfinished.mkdir(parents=True)
            rows = write(unfinished, store, options)
        finally:
            store.close()
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    except OSError as error:
        raise Stop(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"{len(rows)} labels of {len({row.case for row in rows})} cases are in {out}.")
    return 0


def write(out: Path, store: CaseStore, options: argparse.Namespace) -> list[Provenance]:
    """Write what was asked for.

    Raises:
        Stop: there is no label of the tasks.
        Refusal: something cannot be exported.
        OSError: the disk is full or gone.
    """
    tasks = options.task or list(STORED_SCHEMAS)
    if options.format == "dicom":
        store.archive.scan()
        if store.pacs is not None and not options.labels_only:
            raise Stop("The images are in the PACS already: add --labels-only.")
    labels = list(chosen_labels(store, tasks))
    if not labels:
        raise Stop(f"There is no label of {' or '.join(tasks)} in {options.studies}.")
    if options.format == "pairs":
        return write_pairs(out, labels)
    if options.format == "bids":
        return write_bids(out, labels)
    if options.format == "dicom":
        return write_dicom(out, labels, store, with_images=not options.labels_only)
    rows: list[Provenance] = []
    for number, task in enumerate(STORED_SCHEMAS, start=options.number):
        of_task = [chosen for chosen in labels if chosen.revision.task == task]
        if of_task:
            folds, count = folds_of(store, task, of_task, options.models)
            rows += write_nnunet(out, of_task, number=number, folds=folds, count=count)
    return rows


def folds_of(store: CaseStore, task: str, labels: Sequence[Chosen], models: Path) -> tuple[dict[str, int], int]:
    """The folds by which trainings here go, and how many there are; who has none yet gets one and keeps it."""
    champion = Registry(models).champion(task)
    known = champion.manifest.patients if champion else {}
    book = FoldBook(store.own_folder / "folds" / f"{task}.json")
    usual = champion.manifest.folds if champion and not champion.manifest.imported else TASKS[task].folds
    count = book.count or usual
    return book.assign((chosen.patient for chosen in labels), count, known=known), count


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="export.py", description="Labels in the layouts of others.")
    parser.add_argument("format", choices=_FORMATS, help="pairs (Yu 2026), nnunet (raw dataset), dicom (SEG), bids")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="folder of images and labels")
    parser.add_argument("--index-url", metavar="URL", help="of the PostgreSQL database, where one is used")
    parser.add_argument(
        "--task", action="append", choices=list(STORED_SCHEMAS), help="labels of this task; may be repeated"
    )
    parser.add_argument("--labels-only", action="store_true", help="dicom: without the CT series")
    parser.add_argument("--number", type=int, default=701, help="nnunet: of the first dataset (default: %(default)s)")
    parser.add_argument("--models", type=Path, default=MODELS, help="nnunet: trained models, whose folds are kept")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
