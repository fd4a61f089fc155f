"""What CT measurements say of outcomes and other measurements of the same patients."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from statsmodels.stats.multitest import multipletests

from lib.anatomy.schemas import MUSCLE_GROUPS, LabelSchema
from lib.evaluation.comparison import TOTAL, CaseComparison
from lib.evaluation.cut_offs import CutOff, regression_cut_off
from lib.evaluation.diagnosis import diagnose
from lib.evaluation.estimates import Estimate, Test, Values, finite, finite_pairs, pearson
from lib.evaluation.logistic import LogisticModel, fit_logistic
from lib.evaluation.roc import RocComparison, compare_rocs
from lib.reports.evaluation_figures import cut_off_figure, heat_map_figure, roc_figure, with_unit
from lib.reports.outcome_tables import correlation_table, cut_off_table, diagnosis_table, logistic_table, roc_table
from scripts.command import Stop
from scripts.evaluation.report import Report
from scripts.evaluation.tables import Row, number_in, truth_in

_NUMBER = r"-?\d+(?:\.\d+)?"
_LIMITS = rf"(?P<limits>{_NUMBER}|[MF]:{_NUMBER}(?:,[MF]:{_NUMBER})?)"
_CALL = re.compile(rf"(?P<measure>\w+)(?P<sign>[<>]){_LIMITS}", re.ASCII)
_REGRESSION = re.compile(rf"(?P<measure>\w+)~(?P<reference>\w+)@{_LIMITS}", re.ASCII)
_SEXES = {"M": "men", "F": "women"}
_WOMEN = "women (vs. men)"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call under a cut-off, which may differ between men and women.

    Attributes:
        text: as the user gave it.
        measure: column.
        below: whether values below the limit are called, or those above.
        limits: sex to limit; "" for everybody.
    """

    text: str
    measure: str
    below: bool
    limits: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> Call:
        """Read ``MEASURE<NUMBER``, ``MEASURE>NUMBER`` or ``MEASURE<M:NUMBER,F:NUMBER``.

        Raises:
            Stop: it is none of these.
        """
        found = _CALL.fullmatch(text)
        if not found:
            raise Stop(f"{text!r} is no call; one is MEASURE<NUMBER, or MEASURE<M:40,F:35 by sex.")
        return cls(text=text, measure=found["measure"], below=found["sign"] == "<", limits=_limits(found["limits"]))

    def of(self, row: Row) -> bool | None:
        """Whether a patient is called; ``None`` where measurement or sex are not known."""
        value = number_in(row.get(self.measure))
        limit = self.limits.get("", self.limits.get(row.get("sex", "")))
        if value is None or limit is None:
            return None
        return value < limit if self.below else value > limit


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A cut-off that is wanted.

    Attributes:
        measure: column.
        reference: column.
        thresholds: sex to threshold of the reference; "" for everybody.
    """

    measure: str
    reference: str
    thresholds: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> Regression:
        """Read ``MEASURE~REFERENCE@NUMBER`` or ``MEASURE~REFERENCE@M:7.0,F:5.7``.

        Raises:
            Stop: it is neither.
        """
        found = _REGRESSION.fullmatch(text)
        if not found:
            raise Stop(f"{text!r} asks for no cut-off; MEASURE~REFERENCE@M:7.0,F:5.7 does.")
        return cls(measure=found["measure"], reference=found["reference"], thresholds=_limits(found["limits"]))


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked of a cohort.

    Attributes:
        measures: columns of CT measurements.
        others: columns that they are correlated with.
        outcomes: those of them that are yes or no.
        adjust: covariates.
        calls: under cut-offs.
        regressions: cut-offs that are wanted.
    """

    measures: Sequence[str]
    others: Sequence[str]
    outcomes: Sequence[str]
    adjust: Sequence[str]
    calls: Sequence[Call]
    regressions: Sequence[Regression]


def measurements_of(
    cases: Sequence[CaseComparison], schema: LabelSchema, unit: str, known: Mapping[str, Row]
) -> dict[str, Row]:
    """The sizes and HU of a source's answers as columns, sizes also by height squared; groups of muscles as sums."""
    groups = muscle_groups(schema)
    found: dict[str, Row] = {}
    for case in cases:
        height = number_in(known.get(case.case, {}).get("height_m"))
        sizes = {name: one.found_size for name, one in case.structures.items()}
        for group, members in groups.items():
            if all(name in sizes for name in members):
                sizes[group] = sum(sizes[name] for name in members)
        row: dict[str, str] = {}
        for name, size in sizes.items():
            row[f"{name}_{unit}"] = str(size)
            if height:
                row[f"{name}_{unit}_m2"] = str(size / height**2)
            if name in case.structures and (hu := case.structures[name].found_hu) is not None:
                row[f"{name}_hu"] = str(hu)
        found[case.case] = row
    return found


def means_by_case(measured: Mapping[str, Row], case_of: Mapping[str, str]) -> dict[str, Row]:
    """Each case once, with the means of its slices, for what is asked of outcomes takes rows as different patients."""
    together: dict[str, dict[str, list[float]]] = {}
    for name, row in measured.items():
        columns = together.setdefault(case_of[name], {})
        for column, value in row.items():
            columns.setdefault(column, []).append(float(value))
    return {
        case: {column: str(fmean(values)) for column, values in columns.items()} for case, columns in together.items()
    }


def measurement_columns(schema: LabelSchema, unit: str) -> list[str]:
    """The columns that :func:`measurements_of` can have."""
    names = [*schema.names, TOTAL, *muscle_groups(schema)]
    return [f"{name}_{ending}" for ending in (unit, f"{unit}_m2", "hu") for name in names]


def muscle_groups(schema: LabelSchema) -> dict[str, list[str]]:
    """The groups of Kim 2024, Figure 8, as the names of columns to their muscles."""
    found: dict[str, list[str]] = {}
    for each in schema:
        if each.group in MUSCLE_GROUPS:
            found.setdefault(f"{each.group}_muscles", []).append(each.name)
    return found


def chosen_columns(wanted: Sequence[str], there: Collection[str]) -> list[str]:
    """The columns that a user named, also by patterns such as ``*_cm3_m2``; one that fits nothing stays as it is."""
    return list(dict.fromkeys(name for each in wanted for name in fnmatch.filter(there, each) or [each]))


def check(questions: Questions, there: Collection[str]) -> None:
    """See that every column that is asked about is there.

    Raises:
        Stop: one is not; the sentence names those that are.
    """
    asked = [*questions.measures, *questions.outcomes, *questions.others]
    asked += questions.adjust if questions.outcomes else []
    asked += [call.measure for call in questions.calls]
    asked += [name for each in questions.regressions for name in (each.measure, each.reference)]
    missing = [name for name in dict.fromkeys(asked) if name not in there]
    if missing:
        raise Stop(f"There is no column {missing[0]}; there are: {', '.join(there)}.")


def add_outcomes(report: Report, questions: Questions, rows: Mapping[str, Row]) -> None:
    """Everything that is asked of a cohort.

    Args:
        report: to add to.
        questions: what.
        rows: of each patient, everything that is known as columns.
    """
    patients = list(rows.values())
    _add_correlations(report, questions, patients)
    _add_cut_offs(report, questions.regressions, patients)
    _add_models(report, questions, patients)
    found = [
        (call.text, outcome, diagnose([call.of(row) for row in patients], _outcome(patients, outcome)))
        for outcome in questions.outcomes
        for call in questions.calls
    ]
    if found:
        report.tables.append(diagnosis_table(found))


def _add_correlations(report: Report, questions: Questions, patients: Sequence[Row]) -> None:
    rows: list[tuple[str, str, str, int, Estimate, Test, float | None]] = []
    for number, other in enumerate(questions.others):
        values: dict[str, dict[str, tuple[Estimate, Test]]] = {}
        for group, members in _by_sex(patients).items():
            truth = other in questions.outcomes
            known = [_as_number(row, other, truth=truth) for row in members]
            of_group = {name: pearson(_column(members, name), known) for name in questions.measures}
            corrected = _benjamini_hochberg({name: test for name, (_, test) in of_group.items()})
            values[f"{group}\n(n = {len(finite(known))})"] = of_group
            for name, (r, test) in of_group.items():
                cases = len(finite_pairs(_column(members, name), known)[0])
                rows.append((name, other, group, cases, r, test, corrected.get(name)))
        if any(r.value is not None for each in values.values() for r, _ in each.values()):
            caption = f"Correlation with {other}; * p < 0.05, not corrected (Kim 2024, Figures 7 and 8)."
            report.figures[f"heat_map_{number + 1}"] = (
                caption,
                heat_map_figure(values, title=f"Correlation with {with_unit(other)}"),
            )
    if rows:
        report.tables.append(correlation_table(rows))


def _add_cut_offs(report: Report, regressions: Sequence[Regression], patients: Sequence[Row]) -> None:
    rows = []
    for number, each in enumerate(regressions):
        panels: dict[str, tuple[Values, Values, CutOff]] = {}
        for sex, threshold in each.thresholds.items():
            members = [row for row in patients if not sex or row.get("sex") == sex]
            known, measured = _column(members, each.reference), _column(members, each.measure)
            found = regression_cut_off(known, measured, threshold)
            group = _SEXES.get(sex, "all")
            rows.append((each.measure, each.reference, group, found))
            if found.slope is not None:
                panels[group] = (known, measured, found)
        if panels:
            caption = f"{each.measure} that corresponds to a threshold of {each.reference} (Lee 2021, Figure 3)."
            figure = cut_off_figure(panels, measure=each.measure, reference=each.reference)
            report.figures[f"cut_off_{number + 1}"] = (caption, figure)
    if rows:
        report.tables.append(cut_off_table(rows))


def _add_models(report: Report, questions: Questions, patients: Sequence[Row]) -> None:
    if not questions.outcomes:
        return
    measures = {f"{name} (per 1 SD)": _standardised(_column(patients, name)) for name in questions.measures}
    calls = {call.text: [_as_float(call.of(row)) for row in patients] for call in questions.calls}
    covariates = {_covariate(name): _covariate_values(patients, name) for name in questions.adjust}
    models: list[tuple[str, str, LogisticModel]] = []
    curves: dict[str, RocComparison] = {}
    for outcome in questions.outcomes:
        truth = _outcome(patients, outcome)
        for name, values in {**measures, **calls, **covariates}.items():
            models.append((outcome, "univariate", fit_logistic(truth, {name: values})))
        full = fit_logistic(truth, {**measures, **covariates})
        models.append((outcome, "measurements, adjusted", full))
        if calls:
            models.append((outcome, "calls, adjusted", fit_logistic(truth, {**calls, **covariates})))
        if full.why_not:
            report.facts.append(f"There are no ROC curves for {outcome}: {full.why_not}.")
            continue
        # All curves are of the patients of the full model.
        common = [each if np.isfinite(p) else None for each, p in zip(truth, full.probability, strict=True)]
        fits = {"with CT": full, "CT alone": fit_logistic(common, measures)}
        if covariates:
            fits = {f"{' and '.join(questions.adjust)} alone": fit_logistic(common, covariates), **fits}
        scores = {name: list(fit.probability) for name, fit in fits.items() if not fit.why_not}
        curves[outcome] = compare_rocs(common, scores)
    report.tables.append(logistic_table(models))
    if curves:
        report.tables.append(roc_table(curves))
        report.figures["roc"] = ("ROC curves with and without the CT (Lee 2021, Figure 4).", roc_figure(curves))


def _limits(text: str) -> dict[str, float]:
    parts = [part.rpartition(":") for part in text.split(",")]
    return {sex: float(number) for sex, _, number in parts}


def _by_sex(patients: Sequence[Row]) -> dict[str, list[Row]]:
    """Men and women (Lee 2021, Table 3), or all where nobody's sex is known."""
    groups = {name: [row for row in patients if row.get("sex") == sex] for sex, name in _SEXES.items()}
    return {name: members for name, members in groups.items() if members} or {"all": list(patients)}


def _column(patients: Sequence[Row], name: str) -> list[float | None]:
    return [number_in(row.get(name)) for row in patients]


def _outcome(patients: Sequence[Row], name: str) -> list[bool | None]:
    return [truth_in(row.get(name)) for row in patients]


def _as_float(value: bool | None) -> float | None:  # noqa: FBT001 - it is what is converted
    return None if value is None else float(value)


def _as_number(row: Row, name: str, *, truth: bool) -> float | None:
    return _as_float(truth_in(row.get(name))) if truth else number_in(row.get(name))


def _standardised(values: Values) -> list[float | None]:
    known = finite(values)
    sd = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return [None if value is None else value / (sd or 1.0) for value in values]


def _covariate(name: str) -> str:
    return _WOMEN if name == "sex" else name


def _covariate_values(patients: Sequence[Row], name: str) -> list[float | None]:
    if name == "sex":
        return [{"F": 1.0, "M": 0.0}.get(row.get("sex", "")) for row in patients]
    return _column(patients, name)


def _benjamini_hochberg(tests: Mapping[str, Test]) -> dict[str, float]:
    known = {name: test.p for name, test in tests.items() if test.p is not None}
    if not known:
        return {}
    corrected = multipletests(list(known.values()), method="fdr_bh")[1]
    return {name: float(p) for name, p in zip(known, corrected, strict=True)}
