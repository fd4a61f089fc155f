"""The papers' figures: Dice as boxes, agreement, Bland-Altman, distances of the slice, cut-offs, ROC, heat maps.

Colours are those of Okabe and Ito, which colour-blind people tell apart; sources also differ in their markers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lib.anatomy.levels import SUCCESS_MM
from lib.evaluation.agreement_summary import Agreement
from lib.evaluation.cut_offs import CutOff
from lib.evaluation.estimates import Estimate, Test, Values, finite_pairs
from lib.evaluation.roc import RocComparison

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DPI = 200
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "sarcopenia",
}
_MOST_PANELS_ACROSS = 3
_PAGE_INCHES = 9.0
_LEAST_INCHES = 0.11
"""Of height for a number of cases beside a box."""
_UNITS = {
    "_cm2_m2": "cm²/m²",
    "_cm3_m2": "cm³/m²",
    "_cm2_kg": "cm²/kg",
    "_cm3_kg": "cm³/kg",
    "_kg_m2": "kg/m²",
    "_cm2": "cm²",
    "_cm3": "cm³",
    "_hu": "HU",
    "_kg": "kg",
    "_cm": "cm",
    "_percent": "%",
    "_years": "years",
}
"""How the names of columns end, and the unit that this means; longer ones first."""


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG and SVG."""
    paths = folder / f"{name}.png", folder / f"{name}.svg"
    with mpl.rc_context(_STYLE):
        figure.savefig(paths[0], dpi=_DPI)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def box_figure(values: Mapping[str, Mapping[str, Sequence[float]]], *, label: str, line: float | None = None) -> Figure:
    """A box for each structure and source: median, quartiles, whiskers to 1.5 interquartile ranges (Yu 2026, Figure 2).

    Args:
        values: source to structure to the values of its cases.
        label: of the axis, with the unit.
        line: a value that is marked.
    """
    structures = list(dict.fromkeys(name for each in values.values() for name in each))
    sources = list(values)
    with mpl.rc_context(_STYLE):
        each = max(0.32, 0.2 * len(sources) + 0.12)
        # 31 structures of the thigh are to fit on a page as well.
        row = min(each, max(0.3, _PAGE_INCHES / len(structures)))
        figure, axes = _figure(7.0, 1.2 + len(structures) * row)
        step = 0.8 / len(sources)
        for number, source in enumerate(sources):
            colour = COLOURS[number % len(COLOURS)]
            places = [index + (number - (len(sources) - 1) / 2) * step for index in range(len(structures))]
            drawn = [list(values[source].get(name, ())) for name in structures]
            axes.boxplot(
                drawn,
                positions=places,
                widths=step * 0.8,
                orientation="horizontal",
                patch_artist=True,
                boxprops={"facecolor": colour, "edgecolor": "black", "linewidth": 0.8},
                medianprops={"color": "black", "linewidth": 1.4},
                flierprops={"marker": _MARKERS[number % len(_MARKERS)], "markersize": 3, "markeredgecolor": colour},
                manage_ticks=False,
            )
        axes.set_yticks(range(len(structures)), [_named(name) for name in structures])
        axes.set_ylim(len(structures) - 0.5, -0.5)
        axes.set_xlabel(label)
        if line is not None:
            axes.axvline(line, color="black", linestyle=":", linewidth=1)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        apart = _counts_differ(values) and step * row >= _LEAST_INCHES
        if apart:
            _name_counts(axes, values, step)
        names = [source if apart else _with_count(source, values[source]) for source in sources]
        handles = [Patch(facecolor=_colour(i), edgecolor="black", label=name) for i, name in enumerate(names)]
        _legend_above(figure, handles)
    return figure


def agreement_figure(panels: Mapping[str, tuple[Values, Values, Agreement]], *, quantity: str, unit: str) -> Figure:
    """Found against reference with identity and regression line (Yu 2026, Figures 3 and 5).

    Args:
        panels: title to reference, found, and how far they agree.
        quantity: what is measured.
        unit: its unit.
    """
    with mpl.rc_context(_STYLE):
        figure, every = _panels(len(panels))
        for axes, (title, (reference, found, agreement)) in zip(every, panels.items(), strict=True):
            x, y = finite_pairs(reference, found)
            axes.scatter(x, y, s=14, color=COLOURS[0], alpha=0.7, linewidth=0)
            low, high = _range(np.concatenate([x, y]))
            axes.plot([low, high], [low, high], color="black", linestyle="--", linewidth=1, label="identity")
            if agreement.r.value is not None:
                slope, offset = np.polyfit(x, y, 1)
                axes.plot(
                    [low, high], [slope * low + offset, slope * high + offset], color=COLOURS[5], label="regression"
                )
            r = "r not defined" if agreement.r.value is None else f"r = {agreement.r.value:z.3f}".replace("-", "−")
            axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
            axes.set_title(f"{title}\n{r}, n = {agreement.cases}")
            axes.set_xlabel(f"{quantity}, reference ({unit})")
            axes.set_ylabel(f"{quantity}, found ({unit})")
            axes.legend(loc="best", frameon=False)
    return figure


def bland_altman_figure(panels: Mapping[str, tuple[Values, Values, Agreement]], *, quantity: str, unit: str) -> Figure:
    """Difference against mean with bias and 95 % limits of agreement (Yu 2026, Figure 4; Ha 2021, Figure 5)."""
    with mpl.rc_context(_STYLE):
        figure, every = _panels(len(panels))
        for axes, (title, (reference, found, agreement)) in zip(every, panels.items(), strict=True):
            x, y = finite_pairs(reference, found)
            axes.scatter((x + y) / 2, y - x, s=14, color=COLOURS[0], alpha=0.7, linewidth=0)
            of = agreement.bland_altman
            lines = ((of.upper, "upper limit", "--"), (of.bias, "bias", "-"), (of.lower, "lower limit", "--"))
            for value, name, style in lines:
                if value.value is None:
                    continue
                axes.axhline(value.value, color="black" if name == "bias" else COLOURS[5], linestyle=style, linewidth=1)
                if value.low is not None and value.high is not None:
                    axes.axhspan(value.low, value.high, color="#bbbbbb", alpha=0.3, linewidth=0)
            axes.set_title(f"{title}\nn = {agreement.cases}")
            axes.set_xlabel(f"{quantity}, mean of both ({unit})")
            axes.set_ylabel(f"found − reference ({unit})")
            axes.margins(y=0.25)
            if np.ptp(y - x) < 1e-9:  # else the axis would show rounding
                axes.set_ylim(np.mean(y - x) - 1, np.mean(y - x) + 1)
            _name_lines(axes, [(value, name) for value, name, _ in lines])
    return figure


def levels_figure(distances: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Distances of the slice of L3 by group, with the 10 mm within which it counts as found (Ha 2021, Figure 4)."""
    return box_figure(distances, label="distance to the slice of L3 (mm)", line=SUCCESS_MM)


def with_unit(column: str) -> str:
    """The name of a column for an axis, with the unit at its end where there is one: psoas_cm2 is psoas (cm²)."""
    for ending, unit in _UNITS.items():
        if column.endswith(ending) and column != ending:
            return f"{_named(column.removesuffix(ending))} ({unit})"
    return _named(column)


def _name_lines(axes: Axes, lines: Sequence[tuple[Estimate, str]]) -> None:
    """Names beside the right end of horizontal lines, apart from each other even where the lines are not."""
    known = [(value.value, name) for value, name in lines if value.value is not None]
    low, high = axes.get_ylim()
    least, last = 0.07 * (high - low), np.inf
    for value, name in known:  # from the highest down
        place = min(value, last - least)
        last = place
        axes.annotate(
            f"{name}\n{value:+z.2f}".replace("-", "−"),
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def _named(structure: str) -> str:
    return structure.replace("_", " ")


def _counts_differ(values: Mapping[str, Mapping[str, Sequence[float]]]) -> bool:
    return any(len({len(one) for one in each.values()}) > 1 for each in values.values())


def _name_counts(axes: Axes, values: Mapping[str, Mapping[str, Sequence[float]]], step: float) -> None:
    """The number of cases beside each box."""
    structures = list(dict.fromkeys(name for each in values.values() for name in each))
    for number, each in enumerate(values.values()):
        for index, name in enumerate(structures):
            if each.get(name):
                place = index + (number - (len(values) - 1) / 2) * step
                said = f"n = {len(each[name])}"
                axes.text(1.01, place, said, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def _with_count(source: str, values: Mapping[str, Sequence[float]]) -> str:
    """A source with its number of cases, from the least to the most where they differ between the structures."""
    counts = [len(each) for each in values.values()] or [0]
    least, most = min(counts), max(counts)
    return f"{source} (n = {most})" if least == most else f"{source} (n = {least} to {most})"


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    across = min(count, _MOST_PANELS_ACROSS)
    down = -(-count // across)
    figure = Figure(figsize=(4.6 * across, 4.2 * down), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count])


def _legend_above(figure: Figure, handles: Sequence[Patch | Line2D]) -> None:
    figure.legend(handles=list(handles), loc="outside upper center", ncols=min(3, len(handles)), frameon=False)


def cut_off_figure(panels: Mapping[str, tuple[Values, Values, CutOff]], *, measure: str, reference: str) -> Figure:
    """A measurement against a reference, the line, and what corresponds to the threshold (Lee 2021, Figure 3).

    Args:
        panels: title to reference, measured, and the cut-off.
        measure: the column of what is measured.
        reference: the column of what it is held against.
    """
    with mpl.rc_context(_STYLE):
        figure, every = _panels(len(panels))
        for axes, (title, (known, measured, cut_off)) in zip(every, panels.items(), strict=True):
            x, y = finite_pairs(known, measured)
            axes.scatter(x, y, s=14, color=COLOURS[0], alpha=0.7, linewidth=0)
            said = f"{title} (n = {cut_off.cases})"
            axes.set(xlabel=with_unit(reference), ylabel=with_unit(measure))
            if cut_off.slope is not None and cut_off.intercept is not None and cut_off.value.value is not None:
                ends = np.array(_range(np.append(x, cut_off.threshold)))
                axes.plot(ends, cut_off.intercept + cut_off.slope * ends, color=COLOURS[5])
                axes.axvline(cut_off.threshold, color="black", linestyle=":", linewidth=1)
                axes.axhline(cut_off.value.value, color="black", linestyle=":", linewidth=1)
                said += f": {cut_off.threshold:g} corresponds to {cut_off.value.value:.1f}"
            axes.set_title(said)
    return figure


def roc_figure(panels: Mapping[str, RocComparison]) -> Figure:
    """ROC curves of each outcome, with their areas (Lee 2021, Figure 4)."""
    with mpl.rc_context(_STYLE):
        figure, every = _panels(len(panels))
        for axes, (title, found) in zip(every, panels.items(), strict=True):
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
            for number, (name, curve) in enumerate(found.curves.items()):
                if curve.area.value is None:
                    continue
                label = f"{name}: {curve.area.value:.2f} ({curve.area.low:.2f} to {curve.area.high:.2f})"
                style = ("-", "--", ":", "-.")[number % 4]
                axes.plot(
                    curve.false_positive, curve.true_positive, color=_colour(number), linestyle=style, label=label
                )
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
            axes.set_title(f"{title}\nn = {found.cases}, {found.with_outcome} of them with it")
            axes.set(xlabel="1 − specificity", ylabel="sensitivity")
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=8, title="AUROC (95 % CI)"
            )
    return figure


def heat_map_figure(values: Mapping[str, Mapping[str, tuple[Estimate, Test]]], *, title: str) -> Figure:
    """Correlations by measurement and group of patients; * where p is below 0.05 (Kim 2024, Figures 7 and 8).

    Args:
        values: group to measurement to correlation and its test.
        title: of what.
    """
    groups = list(values)
    names = list(dict.fromkeys(name for each in values.values() for name in each))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.8 + 1.1 * len(groups), 1.6 + 0.3 * len(names))
        found = [[values[group].get(name, (Estimate(), Test())) for group in groups] for name in names]
        colours = np.array([[np.nan if r.value is None else r.value for r, _ in row] for row in found])
        image = axes.imshow(colours, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
        for i, row in enumerate(found):
            for j, (r, test) in enumerate(row):
                star = "*" if test.p is not None and test.p < 0.05 else ""
                said = "-" if r.value is None else f"{r.value:z.2f}{star}".replace("-", "−")
                dark = r.value is not None and abs(r.value) > 0.6
                axes.text(j, i, said, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        axes.set_xticks(range(len(groups)), groups)
        axes.set_yticks(range(len(names)), [with_unit(name) for name in names])
        axes.set_title(title)
        axes.set_xlabel("* p < 0.05, not corrected", fontsize=8)
        figure.colorbar(image, label="Pearson r")
    return figure
