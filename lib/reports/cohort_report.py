"""One page about many cases: how their numbers are distributed, which are outliers, which cases to look at."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib import VERSION
from lib.reports.case_report import PHANTOM
from lib.reports.case_sheet import RESEARCH_ONLY
from lib.reports.evaluation_figures import COLOURS
from lib.reports.pages import data_url, render
from lib.reports.written_page import A4_INCHES, MARGIN, Column

MEASURES: dict[str, str] = {
    "smi_cm2_m2": "skeletal muscle index (cm²/m²)",
    "skeletal_muscle_muscle_range_area_cm2": "skeletal muscle area, −29 to 150 HU (cm²)",
    "skeletal_muscle_muscle_range_mean_hu": "mean attenuation of that muscle (HU)",
    "visceral_fat_area_cm2": "visceral fat area (cm²)",
    "l3_subcutaneous_fat_area_cm2": "subcutaneous fat area (cm²)",
    "doubt": "doubt of the answer (0: sure, 1: not)",
}
"""Columns of the table of ``analyse.py``, and what they are called."""
_SEXES = {"M": "men", "F": "women", "": "sex not known"}
_LOOKS = {"M": (COLOURS[0], "-"), "F": (COLOURS[5], "--"), "": ("#555555", ":")}
_FEWEST = 10
_LIMIT = 3.5
_MOST_DOUBTFUL = 0.05
_FEWEST_BINS = 8
_FEWEST_FOR_QUARTILES = 4


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A case that somebody should look at.

    Attributes:
        case: its id.
        reasons: why, in sentences.
        address: of its own report beside this page, or "".
    """

    case: str
    reasons: tuple[str, ...]
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class CohortReport:
    """What stands on the page.

    Attributes:
        counts: how many cases there are, analysed and failed, in a sentence.
        values: measure to sex ("" not known) to the values of its cases.
        summary: measure, sex, number of cases, median with quartiles, range, as they are read.
        suspects: cases to look at, those with most reasons first.
        notes: what could not be said, and why.
        phantoms: how many of the cases are digital phantoms.
    """

    counts: str
    values: Mapping[str, Mapping[str, Sequence[float]]]
    summary: tuple[tuple[str, str, str, str, str], ...]
    suspects: tuple[Suspect, ...]
    notes: tuple[str, ...]
    phantoms: int


def cohort_report(rows: Sequence[Mapping[str, Any]]) -> CohortReport:
    """Put the page together.

    An outlier is a value with a modified z-score (by the median absolute deviation) beyond 3.5 among the cases of its
    sex (Iglewicz and Hoaglin 1993), where there are ten of them at least.

    Args:
        rows: of the table of ``analyse.py``, which has written a report of each analysed case as well.
    """
    analysed = [row for row in rows if row.get("status") == "analysed"]
    failed = [row for row in rows if row.get("status") != "analysed"]
    reasons: dict[str, list[str]] = {}
    for row in failed:
        reasons.setdefault(str(row["case"]), []).append(f"It failed: {row.get('reason') or 'no reason is known'}")
    values: dict[str, dict[str, list[float]]] = {}
    notes: list[str] = []
    few: dict[str, list[str]] = {}
    summary: list[tuple[str, str, str, str, str]] = []
    for measure, words in MEASURES.items():
        for sex, whose in _SEXES.items():
            known = _known([row for row in analysed if _sex(row) == sex], measure)
            if not known:
                continue
            found = [value for _, value in known]
            values.setdefault(measure, {})[sex] = found
            summary.append((words, whose, str(len(found)), _median(found), _range(found)))
            if measure == "doubt":
                continue
            if len(found) < _FEWEST:
                few.setdefault(f"{whose} ({len(found)})", []).append(words)
                continue
            middle = statistics.median(found)
            spread = statistics.median(abs(value - middle) for value in found)
            if not spread:
                notes.append(
                    f"{words}, {whose}: more than half of the cases have the same value, so there are no outliers."
                )
                continue
            for case, value in known:
                if 0.6745 * abs(value - middle) / spread > _LIMIT:
                    text = f"{words} is {_said(value)}; the median of {len(found)} {whose} is {_said(middle)}"
                    reasons.setdefault(case, []).append(text)
    notes += [f"Fewer than {_FEWEST} {group} are too few to tell outliers: {', '.join(few[group])}." for group in few]
    for case, doubt in _doubtful(analysed):
        reasons.setdefault(case, []).append(f"Among the most doubtful answers: doubt {doubt:.2f}")
    for row in analysed:
        if not any(_number(row, measure) is not None for measure in MEASURES if measure != "doubt"):
            reasons.setdefault(str(row["case"]), []).append("Nothing was measured")
    done = {str(row["case"]) for row in analysed}
    suspects = [
        Suspect(case=case, reasons=tuple(said), address=f"reports/{quote(case)}.html" if case in done else "")
        for case, said in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0].casefold()))
    ]
    return CohortReport(
        counts=f"{len(rows)} {'case' if len(rows) == 1 else 'cases'}: {len(analysed)} analysed, {len(failed)} failed.",
        values=values,
        summary=tuple(summary),
        suspects=tuple(suspects),
        notes=tuple(notes),
        phantoms=sum(row.get("phantom") == "yes" for row in analysed),
    )


def cohort_html(report: CohortReport) -> str:
    """The page as one file of HTML; it links to the reports of the cases."""
    figure = Figure(figsize=(9.5, 5.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    picture = ""
    if report.values:
        _histograms(list(figure.subplots(2, 3).flat), report)
        picture = data_url(_saved(figure, "png", dpi=110))
    return render(
        "cohort_report.html",
        report=report,
        picture=picture,
        marks=_marks(report),
        version=VERSION,
    )


def cohort_pdf(report: CohortReport) -> bytes:
    """The page as PDF, of A4; cases for which there is no room are counted."""
    return _saved(_page(report), "pdf", metadata={"CreationDate": None, "Title": "Report of a cohort"})


def cohort_png(report: CohortReport, *, dpi: int = 100) -> bytes:
    """The same page as a picture."""
    return _saved(_page(report), "png", dpi=dpi)


def _page(report: CohortReport) -> Figure:
    figure = Figure(figsize=A4_INCHES, facecolor="white")
    FigureCanvasAgg(figure)
    column = Column(figure, top=A4_INCHES[1] - MARGIN, bottom=MARGIN + 0.3)
    column.write("Body composition of a cohort", size=13, weight="bold")
    for mark in _marks(report):
        column.write(mark, size=9, color="#a02c00", weight="bold")
    column.write(report.counts, size=8)
    if report.values:
        wide, high = A4_INCHES
        each, space = 2.2, 1.75
        column.skip_inches(0.25)
        places = [
            (
                (MARGIN + 0.35 + 2.45 * n) / wide,
                (column.top - 1.3 - row * space) / high,
                (each - 0.25) / wide,
                1.2 / high,
            )
            for row in range(2)
            for n in range(3)
        ]
        _histograms([figure.add_axes(place) for place in places], report, size=6)
        column.skip_inches(2 * space + 0.15)
    if report.summary:
        column.row(
            [
                ("Measurement", 0, 3),
                ("Whose", 3, 1),
                ("Cases", 4, 0.5),
                ("Median (quartiles)", 4.5, 1.5),
                ("Range", 6, 1.2),
            ],
            size=7,
            weight="bold",
        )
    for line in report.summary:
        column.row(list(zip(line, (0, 3, 4, 4.5, 6), (3, 1, 0.5, 1.5, 1.2), strict=True)), size=6.4)
    column.skip_inches(0.1)
    column.write(f"Cases to look at: {len(report.suspects) or 'none'}", size=8, weight="bold")
    said = [f"{each.case}: {'; '.join(each.reasons)}" for each in report.suspects] + list(report.notes)
    column.write_as_many_as_fit(said, size=6.4)
    marks = " ".join(_marks(report))
    figure.text(0.5, 0.032, f"{marks} Sarcopenia Label {VERSION}.", ha="center", fontsize=6.6, color="#555555")
    return figure


def _histograms(every: list[Axes], report: CohortReport, *, size: float = 8) -> None:
    """A histogram for each measure, sexes by colour and style of line."""
    for axes, (measure, by_sex) in zip(every, report.values.items(), strict=False):
        together = np.concatenate([np.asarray(found) for found in by_sex.values()])
        bins = np.histogram_bin_edges(together, bins=max(_FEWEST_BINS, min(30, math.isqrt(together.size))))
        for sex, found in by_sex.items():
            colour, style = _LOOKS[sex]
            axes.hist(found, bins=bins, histtype="stepfilled", color=colour, alpha=0.25)  # type: ignore[arg-type]
            label = f"{_SEXES[sex]} ({len(found)})"
            axes.hist(found, bins=bins, histtype="step", color=colour, linestyle=style, label=label)  # type: ignore[arg-type]
        axes.set_xlabel(MEASURES[measure], fontsize=size)
        axes.set_ylabel("cases", fontsize=size)
        axes.tick_params(labelsize=size)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # so that the legend covers no bar
        axes.legend(fontsize=size - 0.5, frameon=False, loc="upper right", ncols=min(2, len(by_sex)))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in every[len(report.values) :]:
        axes.remove()


def _marks(report: CohortReport) -> list[str]:
    number = report.phantoms
    return [RESEARCH_ONLY, *([f"{number} of the cases: {PHANTOM[:1].lower()}{PHANTOM[1:]}"] if number else [])]


def _doubtful(analysed: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """The twentieth of the cases that is most doubtful, as far as it is more so than half of them."""
    known = sorted(_known(analysed, "doubt"), key=lambda item: -item[1])
    middle = statistics.median(value for _, value in known) if known else 0
    return [item for item in known[: math.ceil(_MOST_DOUBTFUL * len(known))] if item[1] > middle]


def _known(rows: Sequence[Mapping[str, Any]], measure: str) -> list[tuple[str, float]]:
    """The cases in which something was measured, with its value."""
    return [(str(row["case"]), value) for row in rows if (value := _number(row, measure)) is not None]


def _sex(row: Mapping[str, Any]) -> str:
    return str(row.get("sex")) if row.get("sex") in ("M", "F") else ""


def _number(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _median(values: Sequence[float]) -> str:
    if len(values) < _FEWEST_FOR_QUARTILES:
        return _said(statistics.median(values))
    low, middle, high = (float(np.percentile(values, share)) for share in (25, 50, 75))
    return f"{_said(middle)} ({_said(low)} to {_said(high)})"


def _range(values: Sequence[float]) -> str:
    return f"{_said(min(values))} to {_said(max(values))}" if len(values) > 1 else "-"


def _said(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if abs(value) < 1 else f"{value:.1f}".replace("-", "−")


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, **options)
    return file.getvalue()
