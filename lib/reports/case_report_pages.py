"""The report of a case as one page of A4 (PDF), and as one file of HTML."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib import VERSION
from lib.reports.case_report import PHANTOM, CaseReport
from lib.reports.case_sheet import RESEARCH_ONLY, fitted
from lib.reports.overlay import Panel, draw_panel
from lib.reports.pages import data_url, render
from lib.reports.written_page import A4_INCHES, MARGIN, NORMAL, Column

_PANEL_INCHES = (2.35, 2.9)
_LEGEND_INCHES = 0.6
_TINY, _SMALL, _HEAD = 5.6, 6.6, 9.0
_RED, _GREY = "#a02c00", "#555555"


def report_pdf(report: CaseReport) -> bytes:
    """The page as PDF; the same report always gives the same bytes."""
    return _saved(_page(report), "pdf", metadata={"CreationDate": None, "Title": f"Report of {report.case}"})


def report_png(report: CaseReport, *, dpi: int = 100) -> bytes:
    """The same page as a picture."""
    return _saved(_page(report), "png", dpi=dpi)


def report_html(report: CaseReport) -> str:
    """The same as one file of HTML that loads nothing, and leaves no sentence out."""
    pictures = [(panel.title, data_url(_picture(panel))) for panel in report.panels]
    return render(
        "case_report.html",
        report=report,
        pictures=pictures,
        research_only=RESEARCH_ONLY,
        phantom=PHANTOM,
        version=VERSION,
    )


def _page(report: CaseReport) -> Figure:
    figure = Figure(figsize=A4_INCHES, facecolor="white")
    FigureCanvasAgg(figure)
    column = Column(figure, top=A4_INCHES[1] - MARGIN, bottom=MARGIN + 0.3)
    column.write(f"Body composition at L3: {report.case}", size=13, weight="bold")
    column.write(RESEARCH_ONLY, size=_HEAD, color=_RED, weight="bold")
    if report.phantom:
        column.write(PHANTOM, size=_HEAD, color=_RED, weight="bold")
    column.write(report.origin.label, weight="normal" if report.origin.reviewed else "bold")
    column.write(f"{report.origin.model}.  {report.slice_text}")
    _pictures(figure, column, report.panels)
    column.row([("   ".join(f"{name}: {text}" for name, text in report.facts), 0, 7.17)], size=NORMAL)
    column.skip(0.6)
    _head(column, [("Measurement", 0), ("Value", 2.35), ("Range of healthy people", 3.35)])
    for number in report.numbers:
        has_range = number.reference != "-"
        cells = [(number.name, 0, 2.3), (number.value, 2.35, 0.95 if has_range else 4.8)]
        column.row([*cells, (number.reference, 3.35, 3.82)] if has_range else cells, size=_SMALL)
    column.skip(0.6)
    _head(column, [("Finding", 0), ("Value", 1.6), ("Cut-off derived from", 3.2)])
    sources = list(dict.fromkeys(call.source for call in report.calls))
    for call in report.calls:
        weight = "bold" if call.is_abnormal else "normal"
        column.put(call.statement, left=0, size=_SMALL, weight=weight)
        column.put(call.comparison, left=1.6, size=_SMALL, weight=weight)
        column.row([(f"{call.population} [{sources.index(call.source) + 1}]", 3.2, 3.9)], size=_SMALL)
    if not report.calls:
        column.write("None: no chosen cut-off applies.", size=_SMALL)
    column.write("A finding names a measurement, never a disease.", size=_SMALL, color=_GREY)
    column.skip(0.3)
    for position, source in enumerate(sources, start=1):
        column.write(f"[{position}] {source}", size=_TINY, color=_GREY)
    _rest(column, report)
    bottom = f"{RESEARCH_ONLY}{f' {PHANTOM}' if report.phantom else ''} Sarcopenia Label {VERSION}."
    figure.text(0.5, 0.032, bottom, ha="center", fontsize=_SMALL, color=_GREY)
    return figure


def _head(column: Column, cells: list[tuple[str, float]]) -> None:
    for text, left in cells:
        column.put(text, left=left, size=NORMAL, weight="bold")
    column.skip(1.1)


def _rest(column: Column, report: CaseReport) -> None:
    """Warnings first, then what else there is to say; what has no room is counted, and stands in the HTML."""
    said = [f"Agreement of the folds: {report.origin.agreement}."]
    said += [f"Not judged by {name}: {reason}." for name, reason in report.not_judged]
    column.skip(0.4)
    if report.warnings:
        warnings = [f"Warning: {sentence}" for sentence in report.warnings]
        column.write_as_many_as_fit(warnings, size=_SMALL, color=_RED)
    column.write_as_many_as_fit(said, size=_SMALL)


def _pictures(figure: Figure, column: Column, panels: tuple[Panel, ...]) -> None:
    boxes = [fitted(panel, *_PANEL_INCHES) for panel in panels]
    height = max(box[1] for box in boxes)
    column.skip(1.7)
    for number, (panel, box) in enumerate(zip(panels, boxes, strict=True)):
        left = MARGIN + number * (_PANEL_INCHES[0] + 0.06) + (_PANEL_INCHES[0] - box[0]) / 2
        bottom = column.top - (height + box[1]) / 2
        wide, high = A4_INCHES
        draw_panel(figure.add_axes((left / wide, bottom / high, box[0] / wide, box[1] / high)), panel)
    column.top -= height + _LEGEND_INCHES


def _picture(panel: Panel) -> bytes:
    wide, high = fitted(panel, 3.4, 4.2)  # about as wide as it is shown, so that its words can be read
    total = high + 0.4 + _LEGEND_INCHES
    figure = Figure(figsize=(max(wide, 3.4), total), facecolor="white")
    FigureCanvasAgg(figure)
    across = max(wide, 3.4)
    place = ((across - wide) / 2 / across, _LEGEND_INCHES / total, wide / across, high / total)
    draw_panel(figure.add_axes(place), panel)
    return _saved(figure, "png", dpi=150)


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, **options)
    return file.getvalue()
