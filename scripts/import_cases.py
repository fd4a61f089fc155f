"""Labelled cases in the layouts of others, checked and taken into a studies folder.

.venv/bin/python scripts/import_cases.py amos22 --show-mapping > mapping.csv
.venv/bin/python scripts/import_cases.py amos22 --mapping mapping.csv --check
.venv/bin/python scripts/import_cases.py amos22 --mapping mapping.csv --studies datastore

What is there already is never changed, and a run that was interrupted is simply repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.datasets.checking import Finding, Importing, Weight, check, findings_csv
from lib.datasets.dicom_folder import LAYOUT as DICOM
from lib.datasets.dicom_folder import check_dicom, find_dicom, take_dicom
from lib.datasets.found import FoundCase
from lib.datasets.layouts import LAYOUTS, find, layout_of
from lib.datasets.mapping import by_source, mapping_csv, mapping_of, read_mapping
from lib.datasets.taking_in import take_in
from lib.disk import write_file
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.patient import KEPT
from scripts.command import Stop, run_command
from scripts.evaluation.tables import read_case_table
from scripts.serve import STUDIES

_TOLD = 40
_NOTHING = "Nothing was taken in. Mend what is wrong, or take in the other cases with --skip-faulty."


def main(arguments: Sequence[str]) -> int:
    """Check a folder and take in what is sound.

    Returns:
        1 where ``--check`` found faults, else 0.

    Raises:
        Stop: the folder cannot be taken in; faults were found and ``--skip-faulty`` was not given.
    """
    options = parse(arguments)
    try:
        layout = options.layout or layout_of(options.folder)
        if options.show_mapping:
            print(mapping_csv(mapping_of(layout)), end="")
            return 0
        if not options.studies.is_dir():
            raise Stop(f"There is no studies folder {options.studies}.")
        store = CaseStore(options.studies, index_url=options.index_url)
        try:
            return (import_dicom if layout == DICOM else import_files)(store, layout, options)
        finally:
            store.close()
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal


def import_files(store: CaseStore, layout: str, options: argparse.Namespace) -> int:
    """Check and take in NIfTI files; returns the exit code."""
    rules = read_mapping(options.mapping) if options.mapping else mapping_of(layout)
    importing = Importing(
        found=find(options.folder.resolve(), layout, task=options.task),
        mapping=by_source(rules),
        prefix=options.prefix,
        author=options.author,
        newer=options.newer,
        facts=read_facts(options.facts) if options.facts else {},
    )
    if not importing.found.cases:
        raise Stop(f"There is no case in {options.folder}.")
    findings: list[Finding] = []
    unknown: set[str] = set()
    sound: list[FoundCase] = []
    for case, found, names in check(importing, store):
        findings += found
        unknown |= names
        if case is not None and not has_faults(found):
            sound.append(case)
    total = len(importing.found.cases)
    print(f"{layout}: {total} cases of {importing.found.dataset}, {len(sound)} of them without a fault.")
    if unknown:
        print(f"The mapping has no line for {', '.join(sorted(unknown))}: left out.")
    spare = sorted(set(importing.facts) - {case.name for case in importing.found.cases})
    if spare:
        print(f"{len(spare)} rows of {options.facts.name} name no case here, such as {spare[0]}.")
    tell(findings, options)
    if options.check:
        return int(has_faults(findings))
    images, labels = 0, Counter[str]()
    for case in sound:
        taken = take_in(case, importing, store)
        images += taken.image
        labels.update(taken.labels)
    of_tasks = ", ".join(f"{count} of {task}" for task, count in labels.items()) or "none"
    print(f"Taken in: {images} images, labels: {of_tasks}.")
    return 0


def import_dicom(store: CaseStore, layout: str, options: argparse.Namespace) -> int:
    """Check and take in DICOM series and segmentations; returns the exit code."""
    unfit = [name for name in ("mapping", "prefix", "author", "newer", "facts", "task") if getattr(options, name)]
    if unfit:
        raise Stop(f"--{unfit[0]} is not for {layout}: DICOM says itself what and whose it is.")
    store.archive.scan()
    files, faults = find_dicom(options.folder.resolve())
    faults += list(check_dicom(files, store))
    findings = [
        Finding(case="", file=path.relative_to(options.folder.resolve()).as_posix(), weight=Weight.FAULT, what=what)
        for path, what in faults
    ]
    print(f"{layout}: {sum(file.is_label for file in files)} segmentations, {len(findings)} faults.")
    tell(findings, options)
    if options.check:
        return int(has_faults(findings))
    bad = {path for path, _ in faults}
    bad_series = {file.series for file in files if file.path in bad}
    images, labels = take_dicom([file for file in files if file.series not in bad_series], store)
    print(f"Taken in: {images} CT images, {labels} labels.")
    return 0


def tell(findings: Sequence[Finding], options: argparse.Namespace) -> None:
    """Print the findings, the first of them, and write all to a CSV where that was asked for.

    Raises:
        Stop: nothing may be taken in because of faults.
    """
    for each in findings[:_TOLD]:
        print(f"{each.weight}: {each.case} {each.file}: {each.what}".replace("  ", " "))
    if len(findings) > _TOLD:
        print(f"and {len(findings) - _TOLD} more; --report FILE writes all of them.")
    if options.report:
        write_file(options.report.resolve(), findings_csv(tuple(findings)).encode())
    if has_faults(findings) and not options.check and not options.skip_faulty:
        raise Stop(_NOTHING)


def has_faults(findings: Sequence[Finding]) -> bool:
    """Whether something is not sound."""
    return any(each.weight is Weight.FAULT for each in findings)


def read_facts(path: Path) -> dict[str, dict[str, str]]:
    """Facts of patients by case.

    Raises:
        Stop: the CSV cannot be read, or has no column ``case``, or names a case twice.
    """
    return {case: {name: row[name] for name in KEPT if row.get(name)} for case, row in read_case_table(path).items()}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="import_cases.py", description="Labelled cases into a studies folder.")
    parser.add_argument("folder", type=Path, help="what scripts/export.py wrote, AMOS22, TotalSegmentator, DICOM")
    parser.add_argument("--layout", choices=LAYOUTS, help="where it cannot be told from the files")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="folder of images and labels")
    parser.add_argument("--index-url", metavar="URL", help="of the PostgreSQL database, where one is used")
    parser.add_argument("--task", choices=list(STORED_SCHEMAS), help="pairs: whose ids the labels hold")
    parser.add_argument("--show-mapping", action="store_true", help="print which name becomes what, as CSV, and end")
    parser.add_argument("--mapping", type=Path, help="such a CSV, as you edited it")
    parser.add_argument("--prefix", default="", help="put before the name of every case")
    parser.add_argument("--author", default="", help="who drew labels of which nothing says so (default: the dataset)")
    parser.add_argument("--facts", type=Path, help=f"CSV with the columns case and any of {', '.join(KEPT)}")
    parser.add_argument(
        "--newer", action="store_true", help="labels of cases that have one already become newer revisions"
    )
    parser.add_argument("--check", action="store_true", help="say what is wrong, and take nothing in")
    parser.add_argument("--skip-faulty", action="store_true", help="take in the cases without a fault")
    parser.add_argument("--report", type=Path, help="CSV to write all findings to")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
