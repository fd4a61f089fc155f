"""A slice of a CT with a label over it, as a radiologist is used to see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lib.anatomy.schemas import LabelSchema, Structure
from lib.images import CTImage


@dataclass(frozen=True)
class Window:
    """Which HU are drawn from black to white."""

    width: float
    level: float


SOFT_TISSUE = Window(width=400, level=50)  # Yu 2026, section 2.2
BONE = Window(width=1000, level=450)
_OPACITY = 0.5
_AIR = -500
_PANEL_INCHES = 4.8


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        hu: HU of a plane, first axis from the patient's left to the right, second axis upwards in the picture
            (front, or head).
        spacing: mm along the two axes.
        title: what it shows.
        label: ids of ``schema`` in the same plane, or ``None``.
        schema: what the label's values mean.
        line: a position along the second axis to draw a line at, or ``None``.
        borders: further positions, for thinner lines.
        names: what is written at the left border, each at a position along the second axis.
        window: which HU are drawn.
    """

    hu: npt.NDArray
    spacing: tuple[float, float]
    title: str
    label: npt.NDArray | None = None
    schema: LabelSchema | None = None
    line: float | None = None
    borders: tuple[float, ...] = ()
    names: Mapping[str, float] = field(default_factory=dict)
    window: Window = SOFT_TISSUE


def axial_panel(
    image: CTImage,
    index: int,
    *,
    title: str,
    label: npt.NDArray | None = None,
    schema: LabelSchema | None = None,
) -> Panel:
    """An axial slice of an image in canonical order, with a label volume of the same shape."""
    plane = None if label is None else label[:, :, index]
    x, y, _ = image.spacing
    return Panel(hu=image.hu[:, :, index], spacing=(x, y), title=title, label=plane, schema=schema)


def frontal_panel(
    image: CTImage,
    index: int,
    *,
    title: str,
    label: npt.NDArray | None = None,
    schema: LabelSchema | None = None,
    line: float | None = None,
) -> Panel:
    """A frontal slice of an image in canonical order; ``line`` marks an axial slice on it."""
    plane = None if label is None else label[:, index]
    x, _, z = image.spacing
    return Panel(hu=image.hu[:, index], spacing=(x, z), title=title, label=plane, schema=schema, line=line)


def sagittal_panel(
    image: CTImage,
    index: int,
    *,
    title: str,
    label: npt.NDArray | None = None,
    schema: LabelSchema | None = None,
    line: float | None = None,
) -> Panel:
    """A sagittal slice of an image in canonical order, front on the left; ``line`` marks an axial slice on it."""
    plane = None if label is None else label[index]
    _, y, z = image.spacing
    return Panel(hu=image.hu[index], spacing=(y, z), title=title, label=plane, schema=schema, line=line)


def cropped(panel: Panel, margin_mm: float = 12.0) -> Panel:
    """A panel without most of the air around the body."""
    inside = panel.hu > _AIR
    if not inside.any():
        return panel
    ends = []
    for axis, spacing in enumerate(panel.spacing):
        there = np.flatnonzero(inside.any(axis=1 - axis))
        margin = round(margin_mm / spacing)
        ends.append((max(int(there[0]) - margin, 0), int(there[-1]) + margin + 1))
    cut = tuple(slice(*end) for end in ends)
    return replace(
        panel,
        hu=panel.hu[cut],
        label=None if panel.label is None else panel.label[cut],
        line=None if panel.line is None else panel.line - ends[1][0],
        borders=tuple(position - ends[1][0] for position in panel.borders),
        names={name: position - ends[1][0] for name, position in panel.names.items()},
    )


def write_sheet(path: Path, panels: Sequence[Panel], *, columns: int, footer: str = "") -> None:
    """Draw panels side by side: the patient's right on the left, front or head up, window 400 at level 50.

    Args:
        path: a PNG, SVG or PDF.
        panels: what to draw, row by row.
        columns: panels in a row.
        footer: a line below.
    """
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(_inches_high(panel) for panel in row) for row in rows]
    figure = Figure(figsize=(_PANEL_INCHES * columns, sum(heights) + 0.3), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, panel in zip(axes.flat, panels, strict=False):
        draw_panel(axis, panel)
    if footer:
        figure.supxlabel(footer, fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def _inches_high(panel: Panel) -> float:
    """With its title, and its legend where it has one."""
    width, height = size_mm(panel)
    legend = 0.16 * -(-len(_present(panel)) // 2)
    return min(_PANEL_INCHES * height / width, _PANEL_INCHES) + 0.3 + legend


def _present(panel: Panel) -> list[Structure]:
    """The classes that are in a panel."""
    if panel.schema is None or panel.label is None:
        return []
    return [s for s in panel.schema if (panel.label == s.id).any()]


def draw_panel(axis: Axes, panel: Panel, *, legend: bool = True, title_size: float = 10) -> None:
    """Draw one panel, if asked for with a legend of the classes that are in it."""
    width, height = size_mm(panel)
    axis.axis("off")
    axis.imshow(
        _blended(panel)[::-1].swapaxes(0, 1), origin="lower", extent=(0, width, 0, height), interpolation="nearest"
    )
    axis.set_title(panel.title, fontsize=title_size)
    if panel.line is not None:
        axis.axhline((panel.line + 0.5) * panel.spacing[1], color="yellow", linewidth=1)
    for position in panel.borders:
        axis.axhline((position + 0.5) * panel.spacing[1], color="white", linewidth=0.8)
    for name, position in panel.names.items():
        height = (position + 0.5) * panel.spacing[1]
        axis.text(0.02 * width, height, name, color="yellow", fontsize=7, va="center", clip_on=True)
    present = _present(panel)
    if legend and present:
        axis.legend(
            handles=[Patch(color=color_of(s), label=s.name.replace("_", " ")) for s in present],
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=3 if len(present) <= 3 else 2,
            fontsize=7,
            frameon=False,
        )


def size_mm(panel: Panel) -> tuple[float, float]:
    """Width and height of what a panel shows."""
    width, height = (count * mm for count, mm in zip(panel.hu.shape, panel.spacing, strict=True))
    return float(width), float(height)


def color_of(structure: Structure) -> tuple[float, float, float]:
    """Red, green and blue of a class, 0 to 1."""
    red, green, blue = structure.color
    return red / 255, green / 255, blue / 255


def _blended(panel: Panel) -> npt.NDArray[np.float32]:
    low = panel.window.level - panel.window.width / 2
    gray = np.clip((panel.hu.astype(np.float32) - low) / panel.window.width, 0, 1)
    picture = np.repeat(gray[..., np.newaxis], 3, axis=-1)
    if panel.label is not None and panel.schema is not None:
        for structure in panel.schema:
            inside = panel.label == structure.id
            picture[inside] = (1 - _OPACITY) * picture[inside] + _OPACITY * np.array(color_of(structure), np.float32)
    return picture
