"""The heat map of how muscle volumes go along with sarcopenia, by sex (Kim 2024, Figures 7 and 8)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy import stats

from lib.anatomy.schemas import MUSCLE_GROUPS, THIGH_MUSCLES
from lib.images.facts import Sex
from lib.measures.agreement import Association, association

SEXES: dict[Sex, str] = {"F": "women", "M": "men"}
MUSCLES = tuple(s.name for s in THIGH_MUSCLES if s.is_muscle)
_SIGNIFICANT = 0.05
_COLOURS = "PuOr"  # told apart by the colour-blind
_DARK = 0.75
_DPI = 300


@dataclass(frozen=True, kw_only=True)
class MuscleCase:
    """One patient.

    Attributes:
        sex: "M" or "F".
        sarcopenia: whether it was diagnosed.
        volumes: muscle or group to its volume by height squared, mm³/m²; ``None`` where it is not known.
    """

    sex: Sex
    sarcopenia: bool
    volumes: Mapping[str, float | None]


def associations(cases: Sequence[MuscleCase], names: Sequence[str]) -> dict[Sex, dict[str, Association | None]]:
    """For each sex and muscle or group how its volume goes along with sarcopenia."""
    found: dict[Sex, dict[str, Association | None]] = {}
    for sex in SEXES:
        own = [case for case in cases if case.sex == sex]
        diagnosed = [case.sarcopenia for case in own]
        found[sex] = {name: association([case.volumes.get(name) for case in own], diagnosed) for name in names}
    return found


def significant(found: Mapping[str, Association | None]) -> set[str]:
    """Those with p below 0.05 after the correction of Benjamini and Hochberg for all that were looked at."""
    known = {name: one.p for name, one in found.items() if one}
    if not known:
        return set()
    corrected = stats.false_discovery_control(list(known.values()))
    return {name for name, p in zip(known, corrected, strict=True) if p < _SIGNIFICANT}


def draw_heatmap(cases: Sequence[MuscleCase], form: str = "png") -> bytes:
    """Draw muscles and groups side by side, a column for each sex.

    Args:
        cases: all patients.
        form: ``png`` (300 dots per inch) or ``pdf``.
    """
    counts = {sex: [case for case in cases if case.sex == sex] for sex in SEXES}
    heads = [
        f"{name}\n{sum(case.sarcopenia for case in counts[sex])} of {len(counts[sex])}" for sex, name in SEXES.items()
    ]
    figure = Figure(figsize=(7.0, 8.2), layout="constrained")
    FigureCanvasAgg(figure)
    muscles, groups = figure.subplots(1, 2, width_ratios=[1, 1])
    _panel(muscles, "Muscles", cases, MUSCLES, heads)
    ordered = [THIGH_MUSCLES[name].group for name in MUSCLES]
    for row in range(1, len(ordered)):
        if ordered[row] != ordered[row - 1]:
            muscles.axhline(row - 0.5, color="black", linewidth=1.0)
    _panel(groups, "Groups", cases, MUSCLE_GROUPS, heads)
    scale = ScalarMappable(Normalize(-1, 1), _COLOURS)
    bar = figure.colorbar(scale, ax=[muscles, groups], orientation="horizontal", shrink=0.6, aspect=40)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("Correlation r of volume by height² with sarcopenia", fontsize=8)
    figure.suptitle("Muscle volume and sarcopenia", fontsize=11)
    figure.supxlabel(
        "Below each sex: patients with sarcopenia of all. * p < 0.05, corrected by Benjamini and Hochberg for all "
        "rows. Empty: not known.",
        fontsize=7,
        wrap=True,
    )
    target = io.BytesIO()
    figure.savefig(target, format=form, dpi=_DPI)
    return target.getvalue()


def heatmap_table(cases: Sequence[MuscleCase]) -> str:
    """The numbers of the heat map as CSV: muscle or group, sex, cases, r and p; empty where they are not known."""
    lines = ["name,sex,cases,r,p"]
    for names in (MUSCLES, MUSCLE_GROUPS):
        for sex, found in associations(cases, names).items():
            for name, one in found.items():
                cells = ("", "", "") if one is None else (str(one.cases), f"{one.r:.3f}", f"{one.p:.4g}")
                lines.append(",".join((name, sex, *cells)))
    return "\n".join(lines) + "\n"


def _panel(axes: Axes, title: str, cases: Sequence[MuscleCase], names: Sequence[str], heads: Sequence[str]) -> None:
    found = associations(cases, names)
    values = np.array([
        [np.nan if (one := found[sex][name]) is None else one.r for sex in SEXES] for name in names
    ])  # fmt: skip
    axes.imshow(values, cmap=_COLOURS, vmin=-1, vmax=1, aspect="auto")
    axes.set_title(title, fontsize=9)
    axes.set_xticks(range(len(SEXES)), heads, fontsize=8)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    axes.tick_params(length=0)
    for column, sex in enumerate(SEXES):
        stars = significant(found[sex])
        for row, name in enumerate(names):
            one = found[sex][name]
            if one is not None:
                colour = "white" if abs(one.r) > _DARK else "black"
                text = f"{one.r:.2f}{'*' if name in stars else ''}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
