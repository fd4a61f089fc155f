"""How well models do on labelled cases, as the papers print it: tables, figures, and a page of both.

.venv/bin/python scripts/evaluate.py l3_muscle --labels STUDIES --versions v0003 v0003:best cold-start --out FOLDER
.venv/bin/python scripts/evaluate.py l3_muscle --labels LABELS --images IMAGES --versions other=FOLDER2 --out FOLDER

FOLDER then holds `evaluation.md`, `cases.csv`, `tables/` and `figures/`. docs/evaluation.md says what each table is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.anatomy.schemas import L3_SLICE, STORED_SCHEMAS, LabelSchema
from lib.disk import make_folder, write_file
from lib.images import PatientFacts
from lib.models import Registry
from lib.refusals import Refusal
from lib.stores import CaseStore
from scripts.command import Stop, run_command
from scripts.evaluation.cases import LabelledCase, cases_of_folder, cases_of_store, is_store
from scripts.evaluation.outcomes import (
    Call,
    Questions,
    Regression,
    add_outcomes,
    check,
    chosen_columns,
    means_by_case,
    measurement_columns,
    measurements_of,
)
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
from scripts.evaluation.subgroups import BMI, DEFAULT, Grouping, row_of
from scripts.evaluation.tables import Row, merged, number_in, read_case_table, truth_in
from scripts.serve import MODELS


def main(arguments: Sequence[str]) -> int:
    """Evaluate, write everything, and say where it is.

    Raises:
        Stop: the arguments do not fit, there is nothing to evaluate, or the results cannot be written.
    """
    options = parse(arguments)
    schema = STORED_SCHEMAS[options.task]
    if options.labels is None and options.measurements is None:
        raise Stop("There is nothing to evaluate: give --labels, or --measurements with --outcomes.")
    try:
        groupings = [Grouping.parse(text) for text in dict.fromkeys((*DEFAULT, *options.subgroup))]
        table = merged(read_case_table(path) for path in options.facts)
        outcomes = merged(read_case_table(path) for path in options.outcomes)
        measured = read_case_table(options.measurements) if options.measurements else {}
        report = Report(title=f"Evaluation of {schema.task}")
        if outcomes:
            check_questions(options, schema, measured, outcomes, known=table)
        results, second = compare_labels(options, schema, report, table) if options.labels else (Results(), Results())
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    known = {
        name: {
            **({"scan_range": case.scan_range} if case.scan_range else {}),
            **row_of(case.facts, table.get(case.name, {})),
        }
        for name, case in results.read.items()
    }
    answered = {source: each for source, each in results.comparisons.items() if each}
    if answered:
        add_overlap(report, schema, answered)
        add_agreement(report, schema, answered)
    add_levels(report, schema, results, known, searched=options.own_slice or schema is L3_SLICE)
    if answered:
        add_subgroups(report, schema, answered, groupings, known)
    if options.labels:
        add_readers(report, schema, second)
    if outcomes and not measured and not answered:
        report.facts.append("Nothing was measured, so nothing is said of outcomes.")
    elif outcomes:
        case_of = {name: case.name for name, case in results.read.items()}
        if not measured:
            source, cases = next(iter(answered.items()))
            by_slice = measurements_of(cases, schema, _column_unit(schema), known)
            measured = means_by_case(by_slice, case_of)
            report.facts.append(f"Outcomes are held against the measurements of {source}.")
            if len(measured) < len(by_slice):
                report.facts.append("Where a label is on several slices, these are their means.")
        own = {case_of[name]: row for name, row in known.items()}
        people = merged(
            [
                {case: {**table.get(case, {}), **own.get(case, {})} for case in measured},
                {case: outcomes.get(case, {}) for case in measured},
                measured,
            ]
        )
        rows = {name: row_of(PatientFacts(), row) for name, row in people.items()}
        questions = questions_of(options, dict.fromkeys(name for row in measured.values() for name in row), outcomes)
        spare = set(outcomes) - set(measured)
        if spare:
            report.facts.append(f"{len(spare)} rows of the outcomes name no measured case, such as {min(spare)}.")
        add_outcomes(report, questions, rows)
    try:
        make_folder(options.out)
        report.write(options.out)
        write_file(options.out / "cases.csv", cases_csv(results, unit_of(schema)[1]).encode())
        write_file(options.out / "not_compared.csv", skipped_csv(results, second).encode())
    except OSError as error:
        raise Stop(f"{error.filename or options.out} cannot be written ({error.strerror or error}).") from error
    print(f"{len(results.read)} cases, {len(results.skipped)} without a comparison: {options.out / 'evaluation.md'}")
    return 0


def compare_labels(
    options: argparse.Namespace, schema: LabelSchema, report: Report, table: Mapping[str, Row]
) -> tuple[Results, Results]:
    """Compare every source with the labels, and labels with their blind second readings.

    Raises:
        Stop: a source is none, or there is no label.
        Refusal: a version or the store cannot be used.
    """
    registry = Registry(options.models)
    models = Models(task=schema.task, registry=registry, cache=registry.compiled, own_slice=options.own_slice)
    sources = open_sources(options.versions, models, schema)
    store = CaseStore(options.labels, index_url=options.index_url) if is_store(options.labels) else None
    try:
        cases = cases_of_store(store, schema.task) if store else cases_of_folder(options.labels, options.images)
        if not cases:
            raise Stop(f"There is no label of {schema.task} in {options.labels}.")
        followed = tqdm(cases, unit="case", disable=options.quiet)
        results = Evaluation(schema=schema, sources=sources, own_slice=options.own_slice).run(followed)
        second = readings_of(store, schema) if store else Results()
    finally:
        if store:
            store.close()
    report.facts += facts_of(results, cases, sources, table)
    return results, second


def check_questions(
    options: argparse.Namespace,
    schema: LabelSchema,
    measured: Mapping[str, Row],
    outcomes: Mapping[str, Row],
    *,
    known: Mapping[str, Row],
) -> None:
    """Refuse what cannot be asked before cases are compared, which may take hours.

    Raises:
        Stop: a question is none, or about a column that cannot be there.
    """
    columns = dict.fromkeys(name for row in measured.values() for name in row)
    columns = columns or dict.fromkeys(measurement_columns(schema, _column_unit(schema)))
    there = {**columns, **dict.fromkeys(PatientFacts.__dataclass_fields__), BMI: None}
    for rows in (known, outcomes):
        there |= dict.fromkeys(name for row in rows.values() for name in row)
    check(questions_of(options, columns, outcomes), there)


def _column_unit(schema: LabelSchema) -> str:
    return unit_of(schema)[1].replace("²", "2").replace("³", "3")


def questions_of(options: argparse.Namespace, columns: Collection[str], outcomes: Mapping[str, Row]) -> Questions:
    """What is asked of the outcomes; by default every measurement of this evaluation is correlated with all of them.

    Args:
        options: of the command line.
        columns: the measurements that there are.
        outcomes: the tables of outcomes.

    Raises:
        Stop: measurements of a table are to be chosen.
    """
    if options.measurements and not options.measure:
        raise Stop(f"Name the measurements that count with --measure; there are: {', '.join(columns)}.")
    others = dict.fromkeys(name for row in outcomes.values() for name in row)
    own = ("case", "file", *PatientFacts.__dataclass_fields__)
    return Questions(
        measures=chosen_columns(options.measure, columns) or list(columns),
        others=[
            name
            for name in others
            if name not in own
            and any(
                number_in(row.get(name)) is not None or truth_in(row.get(name)) is not None for row in outcomes.values()
            )
        ],
        outcomes=options.outcome,
        adjust=options.adjust,
        calls=[Call.parse(text) for text in options.call],
        regressions=[Regression.parse(text) for text in options.cut_off],
    )


def facts_of(
    results: Results, cases: Sequence[LabelledCase], sources: Sequence[Source], table: Mapping[str, Row]
) -> list[str]:
    """What a reader of the figures has to know first."""
    said = [f"{len(results.read)} labels compared with {', '.join(source.name for source in sources) or 'nothing'}."]
    phantoms = sum(bool(case.facts.phantom) for case in results.read.values())
    if phantoms:
        said.append(f"{phantoms} of them are digital phantoms, whose figures say nothing about patients.")
    patients = len({case.patient for case in results.read.values()})
    if patients < len(results.read):
        said.append(
            f"They are of {patients} patients, but count as independent: intervals are too narrow, p too small."
        )
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
    parser.add_argument("--labels", type=Path, help="a studies folder with its labels, or a folder of label files")
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
        nargs="+",
        action="extend",
        default=[],
        metavar="CSV",
        help="a column case, and sex, age_years, height_m, weight_kg, scan_range, variant or any other",
    )
    parser.add_argument(
        "--subgroup",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="more groups: a column of the facts, or COLUMN>NUMBER (always: sex, age, BMI and scan range)",
    )
    asked = parser.add_argument_group("outcomes and other measurements of the patients")
    asked.add_argument(
        "--outcomes",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="CSV",
        help="a column case, and any others",
    )
    asked.add_argument(
        "--measurements",
        type=Path,
        metavar="CSV",
        help="of the CTs, such as analysis.csv; else those of the first source",
    )
    asked.add_argument(
        "--measure", nargs="+", default=[], metavar="COLUMN", help="measurements that count, or patterns such as *_cm2"
    )
    asked.add_argument("--outcome", nargs="+", default=[], metavar="COLUMN", help="outcomes that are yes or no")
    asked.add_argument(
        "--adjust", nargs="*", default=["age_years", "sex"], metavar="COLUMN", help="covariates (default: age and sex)"
    )
    asked.add_argument(
        "--call", nargs="+", default=[], metavar="CALL", help="a call under a cut-off: MEASURE<40 or MEASURE<M:40,F:35"
    )
    asked.add_argument(
        "--cut-off",
        nargs="+",
        default=[],
        metavar="REGRESSION",
        help="a cut-off that corresponds to a threshold of a reference: MEASURE~REFERENCE@M:7.0,F:5.7",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
