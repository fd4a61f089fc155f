"""How well models do on labelled cases, as the papers print it: tables, figures, and a page of both.

.venv/bin/python scripts/evaluate.py l3_muscle --labels STUDIES --versions v0003 v0003:best cold-start --out FOLDER
.venv/bin/python scripts/evaluate.py l3_muscle --labels LABELS --images IMAGES --versions other=SEGMENTATIONS --out FOLDER

FOLDER then holds `evaluation.md`, `cases.csv`, `tables/` and `figures/`. docs/evaluation.md says what each table is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.disk import make_folder, write_file
from lib.models import Registry
from lib.refusals import Refusal
from lib.stores import CaseStore
from scripts.command import Stop, run_command
from scripts.evaluation.cases import LabelledCase, cases_of_folder, cases_of_store, is_store
from scripts.evaluation.readings import readings_of
from scripts.evaluation.report import (
    Report,
    add_agreement,
    add_levels,
    add_overlap,
    add_readers,
    add_subgroups,
    cases_csv,
    skipped_csv,
    skipped_facts,
    unit_of,
)
from scripts.evaluation.run import Evaluation, Results
from scripts.evaluation.sources import SYNTAX, Models, Source, open_sources
from scripts.evaluation.subgroups import DEFAULT, Grouping, row_of
from scripts.evaluation.tables import Row, merged, read_case_table
from scripts.serve import MODELS


def main(arguments: Sequence[str]) -> int:
    """Evaluate, write everything, and say where it is.

    Raises:
        Stop: the arguments do not fit, there is nothing to evaluate, or the results cannot be written.
    """
    options = parse(arguments)
    schema = STORED_SCHEMAS[options.task]
    try:
        groupings = [Grouping.parse(text) for text in dict.fromkeys((*DEFAULT, *options.subgroup))]
        table = merged(read_case_table(path) for path in options.facts)
        registry = Registry(options.models)
        models = Models(task=options.task, registry=registry, cache=registry.compiled, own_slice=options.own_slice)
        sources = open_sources(options.versions, models, schema)
        store = CaseStore(options.labels, index_url=options.index_url) if is_store(options.labels) else None
        try:
            cases = cases_of_store(store, schema.task) if store else cases_of_folder(options.labels, options.images)
            if not cases:
                raise Stop(f"There is no label of {schema.task} in {options.labels}.")
            results = Evaluation(schema=schema, sources=sources).run(_followed(cases, quiet=options.quiet))
            second = readings_of(store, schema) if store else Results()
        finally:
            if store:
                store.close()
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    known = {name: row_of(case.facts, table.get(case.name, {})) for name, case in results.read.items()}
    report = Report(title=f"Evaluation of {schema.task}", facts=facts_of(results, cases, sources, table))
    answered = {source: each for source, each in results.comparisons.items() if each}
    if answered:
        add_overlap(report, schema, answered)
        add_agreement(report, schema, answered)
    add_levels(report, results, known)
    if answered:
        add_subgroups(report, schema, answered, groupings, known)
    add_readers(report, schema, second)
    try:
        make_folder(options.out)
        report.write(options.out)
        write_file(options.out / "cases.csv", cases_csv(results, unit_of(schema)[1]).encode())
        write_file(options.out / "not_compared.csv", skipped_csv(results, second).encode())
    except OSError as error:
        raise Stop(f"{error.filename or options.out} cannot be written ({error.strerror or error}).") from error
    print(f"{len(results.read)} cases, {len(results.skipped)} without a comparison: {options.out / 'evaluation.md'}")
    return 0


def facts_of(
    results: Results, cases: Sequence[LabelledCase], sources: Sequence[Source], table: Mapping[str, Row]
) -> list[str]:
    """What a reader of the figures has to know first."""
    said = [f"{len(results.read)} labels compared with {', '.join(source.name for source in sources) or 'nothing'}."]
    phantoms = sum(bool(case.facts.phantom) for case in results.read.values())
    if phantoms:
        said.append(f"{phantoms} of them are digital phantoms, whose figures say nothing about patients.")
    said += [warning for source in sources for warning in source.warnings(cases)]
    spare = set(table) - {case.name for case in cases}
    if spare:
        said.append(f"{len(spare)} rows of the tables name no labelled case, such as {min(spare)}.")
    return [*said, *skipped_facts(results), "For research use only."]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description="Compare models with labels, as the papers print it."
    )
    parser.add_argument("task", choices=list(STORED_SCHEMAS))
    parser.add_argument(
        "--labels", type=Path, required=True, help="a studies folder with its labels, or a folder of label files"
    )
    parser.add_argument("--images", type=Path, help="the CTs of a folder of label files, under the same names")
    parser.add_argument("--versions", nargs="+", default=[], metavar="SOURCE", help=SYNTAX)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of trained models")
    parser.add_argument("--index-url", metavar="URL", help="of the PostgreSQL database, where one is used")
    parser.add_argument(
        "--own-slice", action="store_true", help="models search for the slice of L3 instead of taking the labelled one"
    )
    parser.add_argument(
        "--facts",
        type=Path,
        action="append",
        default=[],
        metavar="CSV",
        help="a column case, and sex, age_years, height_m, weight_kg, scan_range, variant or any other",
    )
    parser.add_argument(
        "--subgroup",
        action="append",
        default=[],
        metavar="COLUMN",
        help="more groups: a column of the facts, or COLUMN>NUMBER (always: sex, age, BMI and scan range)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser.parse_args(arguments)


def _followed(cases: Sequence[LabelledCase], *, quiet: bool) -> Iterable[LabelledCase]:
    return tqdm(cases, unit="case", disable=quiet)  # type: ignore[no-any-return]


if __name__ == "__main__":
    run_command(main)
