"""What an evaluation writes: a table of all cases, tables and figures as the papers have them, and a page of both."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from matplotlib.figure import Figure

from lib.anatomy.schemas import LabelSchema
from lib.disk import make_folder, write_file
from lib.evaluation.agreement_summary import Agreement, agree
from lib.evaluation.comparison import MEAN, OVERLAP, TOTAL, CaseComparison
from lib.evaluation.groups import compare_groups
from lib.evaluation.level_errors import summarise_levels, summarise_sizes
from lib.evaluation.overlap_summary import GOOD_DICE, summarise_overlap
from lib.evaluation.paired import compare_pairs
from lib.reports import evaluation_tables as tables
from lib.reports.evaluation_figures import (
    agreement_figure,
    bland_altman_figure,
    box_figure,
    levels_figure,
    save,
)
from lib.reports.statistics_table import Table
from lib.tasks import TASKS
from scripts.evaluation.run import Results
from scripts.evaluation.subgroups import Grouping, variant_of
from scripts.evaluation.tables import Row

_MOST_FIGURES = 12


@dataclass(kw_only=True)
class Report:
    """Tables and figures that are to be written.

    Attributes:
        title: of the page.
        facts: sentences that a reader has to know first.
        tables: in their order.
        figures: name to what it shows and the figure.
    """

    title: str
    facts: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, tuple[str, Figure]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write `evaluation.md`, `tables/NAME.csv`, and `figures/NAME.png` and `.svg`.

        Raises:
            OSError: the folder cannot be written.
        """
        for each in (folder / "tables", folder / "figures"):
            make_folder(each)
        lines = [f"# {self.title}", "", *(f"- {fact}" for fact in self.facts), ""]
        for table in self.tables:
            lines += [table.to_markdown(), ""]
            write_file(folder / "tables" / f"{table.name}.csv", table.to_csv().encode())
        for name, (caption, figure) in self.figures.items():
            save(figure, folder / "figures", name)
            lines += [f"![{caption}](figures/{name}.png)", "", caption, ""]
        write_file(folder / "evaluation.md", "\n".join(lines).encode())


def cases_csv(results: Results, unit: str) -> str:
    """One row for each case, source and structure."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    sizes = [f"reference_{unit}", f"found_{unit}", "reference_hu", "found_hu", "error_percent"]
    writer.writerow(["case", "source", "structure", *OVERLAP, *sizes, "slice_distance_mm"])
    keys = (*OVERLAP, "reference_size", "found_size", "reference_hu", "found_hu", "error_percent")
    for cases in results.comparisons.values():
        for case in cases:
            for structure in case.structures:
                values = [case.value(structure, key) for key in keys]
                row = [case.case, case.source, structure, *values, case.off_mm]
                writer.writerow(["" if value is None else value for value in row])
    return file.getvalue()


def skipped_csv(*results: Results) -> str:
    """The cases without a comparison, and why."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["case", "source", "reason"])
    writer.writerows([one.case, one.source, one.reason] for each in results for one in each.skipped)
    return file.getvalue()


def skipped_facts(results: Results) -> list[str]:
    """How many cases are missing from the figures, and why."""
    unread = Counter(each.reason for each in results.skipped if not each.source)
    said = [f"{number} cases could not be read: {reason}" for reason, number in unread.most_common(5)]
    for source in results.comparisons:
        reasons = Counter(each.reason for each in results.skipped if each.source == source)
        if reasons:
            most = "; ".join(f"{number}: {reason}" for reason, number in reasons.most_common(3))
            said.append(f"{source} has no answer for {reasons.total()} cases, which are in none of its figures: {most}")
    return [*said, *(["`not_compared.csv` names them all."] if results.skipped else [])]


def rows_of(schema: LabelSchema) -> dict[str, tuple[str, ...]]:
    """The rows of tables: every class, groups of muscles, the mean of classes, all classes as one."""
    rows: dict[str, tuple[str, ...]] = {name: (name,) for name in schema.names}
    groups = dict.fromkeys(structure.group for structure in schema if structure.group)
    for group in groups:
        rows[f"mean of {group} muscles"] = tuple(each.name for each in schema if each.group == group)
    return {**rows, MEAN: schema.names, TOTAL: (TOTAL,)} if len(schema) > 1 else rows


def unit_of(schema: LabelSchema) -> tuple[str, str]:
    """What of a structure is measured and its unit."""
    return ("area", "cm²") if TASKS[schema.task].dimension == 2 else ("volume", "cm³")


def add_overlap(report: Report, schema: LabelSchema, comparisons: Mapping[str, Sequence[CaseComparison]]) -> None:
    """Overlap and surfaces of each source, and pairs of sources."""
    rows = rows_of(schema)
    size, _ = unit_of(schema)
    summaries = {source: summarise_overlap(cases, rows) for source, cases in comparisons.items()}
    report.tables.append(tables.overlap_table(summaries, size=size))
    shown = [name for name in rows if name != TOTAL]
    for metric, (label, _) in tables.METRICS.items():
        if metric in ("sensitivity", "ppv", "hausdorff_mm"):
            continue
        values = {
            source: {
                name: [v for case in cases if (v := case.mean_over(rows[name], metric)) is not None] for name in shown
            }
            for source, cases in comparisons.items()
        }
        if any(any(each.values()) for each in values.values()):
            line = GOOD_DICE if metric == "dice" else None
            figure = box_figure(values, label=label, line=line)
            report.figures[f"box_{metric}"] = (f"{label} by structure (Yu 2026, Figure 2; Kim 2024, Figure 5).", figure)
    pairs, overall = {}, {}
    for first, second in combinations(comparisons, 2):
        one, other = ({case.case: case for case in comparisons[source]} for source in (first, second))
        common = [name for name in one if name in other]
        dice = [
            {name: [side[case].value(name, "dice") for case in common] for name in (*schema.names, MEAN)}
            for side in (one, other)
        ]
        together = [{MEAN: each.pop(MEAN)} for each in dice]
        pairs[first, second] = compare_pairs(dice[0], dice[1])
        overall[first, second] = compare_pairs(together[0], together[1])[MEAN]
    if pairs:
        report.tables.append(tables.paired_table(pairs, overall))


def add_agreement(
    report: Report,
    schema: LabelSchema,
    comparisons: Mapping[str, Sequence[CaseComparison]],
    *,
    name: str = "agreement",
    title: str = "Agreement of sizes and attenuation (Yu 2026, Table 4; Ha 2021, Table 2; Kim 2024)",
) -> None:
    """Areas or volumes and HU of what was found against the reference."""
    size, unit = unit_of(schema)
    quantities = {"size": (size, unit), "hu": ("mean attenuation", "HU")}
    rows = []
    for key, (quantity, its_unit) in quantities.items():
        panels: dict[str, tuple[list[float | None], list[float | None], Agreement]] = {}
        structures = [*schema.names, *([TOTAL] if len(schema) > 1 else [])]
        for source, cases in comparisons.items():
            for structure in structures:
                held = [case for case in cases if structure in case.structures]
                one, other = (
                    [case.value(structure, f"{side}_{key}") for case in held] for side in ("reference", "found")
                )
                if key == "hu" and not any(value is not None for value in one):
                    continue
                found = agree(one, other, relative=key == "size")
                rows.append((source, structure, f"{quantity} ({its_unit})", found))
                if found.cases:
                    panels[f"{source}: {structure.replace('_', ' ')}"] = (one, other, found)
        chosen = {title: each for title, each in panels.items() if title.endswith(f": {TOTAL}")} or panels
        shown = dict(list(chosen.items())[:_MOST_FIGURES])
        if shown:
            for kind, draw, figures in (
                ("scatter", agreement_figure, "Yu 2026, Figures 3, 5 and 6"),
                ("bland_altman", bland_altman_figure, "Yu 2026, Figures 4 and 7; Ha 2021, Figure 5"),
            ):
                caption = f"{quantity.capitalize()}: found and reference ({figures})."
                report.figures[f"{name}_{kind}_{key}"] = (caption, draw(shown, quantity=quantity, unit=its_unit))
    if rows:
        report.tables.append(tables.agreement_table(rows, name=name, title=title))


def add_levels(
    report: Report, schema: LabelSchema, results: Results, known: Mapping[str, Row], *, searched: bool
) -> None:
    """Distances of the slice, and errors of areas where it was found and where not.

    Args:
        report: to add to.
        schema: of the task.
        results: with the distances.
        known: of each case, with its ``variant``.
        searched: whether the slice was searched for; where it was given, only those that are elsewhere tell anything.
    """
    named = {
        source: [replace(each, variant=variant_of(known.get(each.case, {}))) for each in errors]
        for source, errors in results.levels.items()
        if errors and (searched or any(each.distance_mm != 0 for each in errors))
    }
    if not named:
        return
    report.tables.append(tables.levels_table({source: summarise_levels(each) for source, each in named.items()}))
    boxes: dict[str, dict[str, list[float]]] = {source: {} for source in named}
    for source, errors in named.items():
        for error in errors:
            if error.distance_mm is not None:
                for group in ("all", *([error.variant] if error.variant else [])):
                    boxes[source].setdefault(group, []).append(error.distance_mm)
    report.figures["levels"] = ("Distance to the slice of L3 (Ha 2021, Figure 4).", levels_figure(boxes))
    rows = []
    size, unit = unit_of(schema)
    for source, errors in named.items():
        cases = {case.case: case for case in results.comparisons[source]}
        own = [each for each in errors if each.case in cases]
        for structure in dict.fromkeys(name for case in cases.values() for name in case.structures):
            sides = [
                [cases[each.case].value(structure, f"{side}_size") for each in own] for side in ("reference", "found")
            ]
            rows += [(source, structure, each) for each in summarise_sizes(own, *sides)]
    if rows:
        report.tables.append(tables.level_sizes_table(rows, size=size, unit=unit))


def add_subgroups(
    report: Report,
    schema: LabelSchema,
    comparisons: Mapping[str, Sequence[CaseComparison]],
    groupings: Sequence[Grouping],
    known: Mapping[str, Row],
) -> None:
    """Dice in groups of patients."""
    rows = []
    for by in groupings:
        groups = {
            source: [by.group_of(known.get(case.case, {})) for case in cases] for source, cases in comparisons.items()
        }
        if not any(group is not None for each in groups.values() for group in each):
            report.facts.append(f"There are no groups by {by.column}: it is known of no case.")
            continue
        for source, cases in comparisons.items():
            for structure in rows_of(schema):
                values = [case.mean_over(rows_of(schema)[structure], "dice") for case in cases]
                rows.append((source, structure, by.text, compare_groups(values, groups[source])))
    if rows:
        report.tables.append(tables.groups_table(rows))


def add_readers(report: Report, schema: LabelSchema, second: Results) -> None:
    """Two readers, or one twice, from blind readings (Yu 2026, Table 5)."""
    read = {source: cases for source, cases in second.comparisons.items() if cases}
    if not read:
        report.facts.append("There are no blind second readings, so nothing is said about how far readers agree.")
        return
    summaries = {source: summarise_overlap(cases, rows_of(schema)) for source, cases in read.items()}
    overlap = tables.overlap_table(summaries, size=unit_of(schema)[0])
    report.tables.append(replace(overlap, name="readers_overlap", title="Overlap of two blind readings"))
    add_agreement(
        report, schema, read, name="readers_agreement", title="Agreement of two blind readings (Yu 2026, Table 5)"
    )
