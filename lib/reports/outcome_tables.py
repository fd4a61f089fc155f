"""The papers' tables of patients: correlations, cut-offs, odds ratios, ROC curves, calls against diagnoses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.evaluation.cut_offs import CutOff
from lib.evaluation.diagnosis import Diagnosis
from lib.evaluation.estimates import Estimate, Test
from lib.evaluation.logistic import LogisticModel
from lib.evaluation.roc import RocComparison
from lib.reports.statistics_table import Cell, Table, estimate, number, p_text, test, text


def correlation_table(rows: Sequence[tuple[str, str, str, int, Estimate, Test, float | None]]) -> Table:
    """Lee 2021, Table 3; Kim 2024, Figure 7.

    Args:
        rows: measurement, what it is held against, group, cases, r, its test, and p corrected for all measurements.
    """
    return Table(
        name="correlations",
        title="Correlations with other measurements and outcomes (Lee 2021, Table 3; Kim 2024, Figure 7)",
        columns=["measurement", "with", "patients", "cases", "Pearson r", "p", "p (Benjamini-Hochberg)"],
        rows=[
            [
                *(text(each) for each in (measure, other, group)),
                number(cases),
                estimate(r, 2),
                test(tested),
                Cell(
                    text=p_text(corrected),
                    values={"": corrected},
                    why_not="" if corrected is not None else tested.why_not,
                ),
            ]
            for measure, other, group, cases, r, tested, corrected in rows
        ],
        notes=["Corrected for the number of measurements within each outcome and group of patients."],
    )


def cut_off_table(rows: Sequence[tuple[str, str, str, CutOff]]) -> Table:
    """Lee 2021, Figure 3: measurement, reference, group of patients, cut-off."""
    columns = ["measurement", "reference", "patients", "cases", "threshold of the reference", "cut-off", "slope"]
    cells = []
    for measure, reference, group, found in rows:
        why = "the threshold lies outside of what was measured" if found.outside else ""
        cut_off = estimate(found.value, 2)
        cells.append(
            [
                *(text(each) for each in (measure, reference, group)),
                number(found.cases),
                number(found.threshold, 2),
                Cell(text=cut_off.text, values=cut_off.values, why_not=why or cut_off.why_not),
                number(found.slope, 3, why_not=found.value.why_not),
                number(found.intercept, 3, why_not=found.value.why_not),
                estimate(found.r, 2),
            ]
        )
    return Table(
        name="cut_offs",
        title="Cut-offs by linear regression on a reference measurement (Lee 2021, Figure 3)",
        columns=[*columns, "intercept", "Pearson r"],
        rows=cells,
        notes=["The measurement is regressed on the reference; the interval is that of the line at the threshold."],
    )


def logistic_table(models: Sequence[tuple[str, str, LogisticModel]]) -> Table:
    """Lee 2021, Table 4: outcome, name of the model, and its fit."""
    rows = [
        [
            text(outcome),
            text(model),
            number(fit.cases),
            number(fit.with_outcome),
            text(name),
            estimate(found.ratio, 2),
            test(found.test),
        ]
        for outcome, model, fit in models
        for name, found in fit.variables.items()
    ]
    return Table(
        name="logistic",
        title="Logistic regression (Lee 2021, Table 4)",
        columns=["outcome", "model", "cases", "with outcome", "variable", "odds ratio", "p"],
        rows=rows,
        notes=["Measurements are per 1 SD increase over all cases; turn an odds ratio over (1 / OR) for a decrease."],
    )


def roc_table(found: Mapping[str, RocComparison]) -> Table:
    """Lee 2021, Figure 4: outcome to its curves."""
    rows = []
    for outcome, each in found.items():
        first = next(iter(each.curves))
        for name, curve in each.curves.items():
            last = [Cell(text="", values={"": None})] * 2
            if name != first:
                last = [estimate(each.difference[name], 3), test(each.tests[name])]
            rows.append(
                [
                    text(outcome), text(name), number(each.cases), number(each.with_outcome),
                    estimate(curve.area, 3), *last,
                ]
            )  # fmt: skip
    return Table(
        name="roc",
        title="ROC curves with and without the CT (Lee 2021, Figure 4)",
        columns=["outcome", "model", "cases", "with outcome", "AUROC", "difference to the first", "p (DeLong)"],
        rows=rows,
        notes=["Fitted and judged on the same cases, as in the paper: new patients will fare somewhat worse."],
    )


def diagnosis_table(rows: Sequence[tuple[str, str, Diagnosis]]) -> Table:
    """Lee 2021, section 3.4: call, outcome, and how they agree."""
    columns = ["call", "outcome", "true positive", "false positive", "false negative", "true negative"]
    return Table(
        name="diagnosis",
        title="Calls under a cut-off against outcomes (Lee 2021, section 3.4)",
        columns=[*columns, "sensitivity (%)", "specificity (%)", "PPV (%)", "NPV (%)", "agreement (%)"],
        rows=[
            [
                text(call),
                text(outcome),
                *(
                    number(count)
                    for count in (
                        found.true_positive, found.false_positive, found.false_negative, found.true_negative,
                    )
                ),
                *(
                    estimate(share, 0, percent=True)
                    for share in (found.sensitivity, found.specificity, found.ppv, found.npv, found.accuracy)
                ),
            ]
            for call, outcome, found in rows
        ],
        notes=["Intervals are Wilson's."],
    )  # fmt: skip
