"""The papers' tables of segmentation: overlap, agreement, levels, pairs of versions, groups of patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.anatomy.levels import SUCCESS_MM
from lib.evaluation.agreement_summary import Agreement
from lib.evaluation.groups import Groups
from lib.evaluation.level_errors import LevelSizes, LevelSummary
from lib.evaluation.overlap_summary import GOOD_DICE, OverlapSummary
from lib.evaluation.paired import Paired
from lib.reports.statistics_table import Cell, Table, estimate, number, p_text, spread, test, text

METRICS = {
    "dice": ("Dice", 3),
    "sensitivity": ("sensitivity", 3),
    "ppv": ("PPV", 3),
    "assd_mm": ("ASSD (mm)", 2),
    "hausdorff_mm": ("Hausdorff (mm)", 1),
    "hausdorff95_mm": ("Hausdorff 95 % (mm)", 1),
    "ravd_percent": ("RAVD (%)", 1),
}
"""Metric to what it is called and to how many digits."""


def overlap_table(summaries: Mapping[str, Sequence[OverlapSummary]], *, size: str) -> Table:
    """Yu 2026, Tables 2 and 3 and section 3.2; Lee 2021, Table 2; Kim 2024, Figure 5.

    Args:
        summaries: source to its structures.
        size: what of a structure is measured: ``area`` or ``volume``.
    """
    columns = ["source", "structure", "cases", "missed", "extra", *(name for name, _ in METRICS.values())]
    columns += [f"Dice ≥ {GOOD_DICE:.2f} (%)", "mean Dice of the others", "worst Dice", "worst case"]
    rows = [
        [
            text(source),
            text(each.structure),
            number(each.metrics["dice"].cases),
            number(each.missed),
            number(each.extra),
            *(spread(each.metrics[metric], digits) for metric, (_, digits) in METRICS.items()),
            estimate(each.good, 0, percent=True),
            number(each.rest.value, 3, why_not="there are no others"),
            number(each.worst, 3, why_not=each.metrics["dice"].mean.why_not),
            text(each.worst_case),
            estimate(each.size_correlation, 3),
        ]
        for source, summary in summaries.items()
        for each in summary
    ]
    return Table(
        name="overlap",
        title="Overlap and surfaces (Yu 2026, Tables 2 and 3; Lee 2021, Table 2; Kim 2024, Figure 5)",
        columns=[*columns, f"{size} correlation r"],
        rows=rows,
        notes=[
            "Mean ± standard deviation over cases; intervals are 95 %.",
            "A missed structure has a Dice of 0, a RAVD of 100 %, and no distance; an extra one a Dice of 0.",
        ],
    )


def agreement_table(rows: Sequence[tuple[str, str, str, Agreement]], *, name: str, title: str) -> Table:
    """Yu 2026, Tables 4 and 5; Ha 2021, Table 2; the ICC of Kim 2024.

    Args:
        rows: source, structure, quantity with its unit, and how far they agree.
        name: of the table.
        title: of the table.
    """
    columns = ["source", "structure", "quantity", "cases", "reference", "found", "Pearson r", "p of r", "MAE", "bias"]
    columns += ["lower limit", "upper limit", "error (%)", "p of bias (paired t)", "ICC(2,1)", "reliability"]
    return Table(
        name=name,
        title=title,
        columns=columns,
        rows=[
            [
                *(text(each) for each in (source, structure, quantity)),
                number(one.cases),
                spread(one.reference, 2),
                spread(one.found, 2),
                estimate(one.r, 3),
                test(one.r_test),
                estimate(one.mae, 2),
                estimate(one.bland_altman.bias, 2),
                estimate(one.bland_altman.lower, 2),
                estimate(one.bland_altman.upper, 2),
                spread(one.error_percent, 2) if one.error_percent else number(None, why_not=_NO_PERCENT),
                test(one.difference_test),
                estimate(one.icc, 3),
                text(str(one.band or "")),
            ]
            for source, structure, quantity, one in rows
        ],
        notes=[
            "Bias is found minus reference; the limits of agreement are bias ± 1.96 SD (Bland and Altman 1986).",
            "Reliability: ICC below 0.5 poor, to 0.75 moderate, to 0.9 good, above excellent (Koo and Li 2016).",
            "Intervals are 95 %.",
        ],
    )


_BLANK = Cell(text="", values={"": None})
_NO_PERCENT = "HU have no natural zero, so a percentage means nothing"


def paired_table(
    pairs: Mapping[tuple[str, str], Mapping[str, Paired]], overall: Mapping[tuple[str, str], Paired]
) -> Table:
    """Yu 2026, Table 3: Dice of two sources on the same cases.

    Args:
        pairs: first and second source to structure to comparison, corrected for all structures.
        overall: the same of the mean of classes, which is one question and is not corrected.
    """
    columns = ["first", "second", "structure", "cases", "Dice of first", "Dice of second", "difference"]
    columns += ["worst of first", "worst of second", "p (paired t)", "p (Holm)", "p (Benjamini-Hochberg)"]
    columns += ["p (Wilcoxon)"]
    one = "one question, nothing to correct for"
    rows = []
    for (first, second), structures in pairs.items():
        together = {"mean of classes": overall[first, second]} if len(structures) > 1 else {}
        for structure, each in {**structures, **together}.items():
            worst = each.worst or (None, None)
            why = one if structure in together else each.t.why_not
            rows.append(
                [
                    *(text(name) for name in (first, second, structure)),
                    number(each.cases),
                    number(each.first, 3, why_not="no case has both"),
                    number(each.second, 3, why_not="no case has both"),
                    estimate(each.difference, 3),
                    *(number(value, 3, why_not="no case has both") for value in worst),
                    test(each.t),
                    _p(None if structure in together else each.holm, why),
                    _p(None if structure in together else each.benjamini_hochberg, why),
                    test(each.wilcoxon),
                ]
            )
    return Table(
        name="paired",
        title="Two sources on the same cases (Yu 2026, Table 3; Lee 2021, Table S1)",
        columns=columns,
        rows=rows,
        notes=["Difference is second minus first; Holm and Benjamini-Hochberg correct for the number of structures."],
    )


def groups_table(rows: Sequence[tuple[str, str, str, Groups]]) -> Table:
    """Lee 2021, Table S2: Dice by sex, age, BMI, scan range or anything else.

    Args:
        rows: source, structure, what the groups are made by, and the groups.
    """
    cells = []
    for source, structure, by, found in rows:
        tested: Cell = test(found.test)
        for index, (group, each) in enumerate(found.groups.items()):
            last = tested if index == 0 else _BLANK
            cells.append(
                [*(text(word) for word in (source, structure, by, group)), number(each.cases), spread(each, 3), last]
            )
        if found.unknown:
            unknown = [*(text(word) for word in (source, structure, by, "not known"))]
            cells.append([*unknown, number(found.unknown), _BLANK, _BLANK])
    return Table(
        name="subgroups",
        title="Dice in groups of patients (Lee 2021, Table S2)",
        columns=["source", "structure", "by", "group", "cases", "Dice", "p"],
        rows=cells,
        notes=["p: Student's t-test between two groups, one-way analysis of variance between more; not corrected."],
    )


def levels_table(summaries: Mapping[str, Sequence[LevelSummary]]) -> Table:
    """Ha 2021, Figure 4 and Table 3."""
    columns = ["source", "group", "cases", "L3 not found", "distance (mm)", "largest (mm)"]
    columns += [f"within {SUCCESS_MM:g} mm (%)", "p of distance (t)", "p of share (chi-square)"]
    return Table(
        name="levels",
        title="Distance of the slice of L3 (Ha 2021, Figure 4 and Table 3)",
        columns=columns,
        rows=[
            [
                text(source),
                text(each.group),
                number(each.cases),
                number(each.not_found),
                spread(each.distance, 1),
                number(each.largest, 1, why_not=each.distance.mean.why_not),
                estimate(each.success, 1, percent=True),
                test(each.distance_test),
                test(each.success_test),
            ]
            for source, summary in summaries.items()
            for each in summary
        ],
        notes=["A case in which no L3 was found counts as a failure and has no distance."],
    )


def level_sizes_table(rows: Sequence[tuple[str, str, LevelSizes]], *, size: str, unit: str) -> Table:
    """Ha 2021, Tables 2 and 3: sizes on the slice that was found, by where it lies and by anatomic variant.

    Args:
        rows: source, structure, and a group of cases.
        size: what of a structure is measured: ``area`` or ``volume``.
        unit: its unit.
    """
    columns = ["source", "structure", "group", "cases", f"reference ({unit})", f"found ({unit})", "p (paired t)"]
    columns += [f"{size} error (%)", "p of error (t)", "difference (%)", "lower limit (%)", "upper limit (%)"]
    return Table(
        name="size_error_by_level",
        title=f"{size.capitalize()} by where the slice lies and by anatomy (Ha 2021, Tables 2 and 3)",
        columns=columns,
        rows=[
            [
                *(text(each) for each in (source, structure, one.group)),
                number(one.agreement.cases),
                spread(one.agreement.reference, 2),
                spread(one.agreement.found, 2),
                test(one.agreement.difference_test),
                spread(one.agreement.error_percent, 2) if one.agreement.error_percent else number(None),
                test(one.error_test),
                estimate(one.difference_percent.bias, 2),
                estimate(one.difference_percent.lower, 2),
                estimate(one.difference_percent.upper, 2),
            ]
            for source, structure, one in rows
        ],
        notes=[
            f"p of error: slices farther off than {SUCCESS_MM:g} mm against the others, variants against the normal "
            "anatomy; not corrected.",
            "Difference is found minus reference in % of the mean of both, with its 95 % limits of agreement.",
        ],
    )


def _p(value: float | None, why_not: str) -> Cell:
    return Cell(text=p_text(value), values={"": value}, why_not=why_not if value is None else "")
