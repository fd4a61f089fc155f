"""A slice of a CT with a label over it, as a radiologist is used to see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lib.anatomy.schemas import LabelSchema, Structure
from lib.images import CTImage

# Soft-tissue window of Yu 2026, section 2.2.
WINDOW_WIDTH_HU = 400
WINDOW_LEVEL_HU = 50
_OPACITY = 0.5


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
    """

    hu: npt.NDArray
    spacing: tuple[float, float]
    title: str
    label: npt.NDArray | None = None
    schema: LabelSchema | None = None
    line: float | None = None


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


def write_sheet(path: Path, panels: Sequence[Panel], *, columns: int, footer: str = "") -> None:
    """Draw panels side by side: the patient's right on the left, front or head up, window 400 at level 50.

    Args:
        path: a PNG, SVG or PDF.
        panels: what to draw, row by row.
        columns: panels in a row.
        footer: a line below.
    """
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.8 * columns, 4.5 * rows), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.25, "wspace": 0.05})
    for axis in axes.flat:
        axis.axis("off")
    for axis, panel in zip(axes.flat, panels, strict=False):
        width, height = (n * s for n, s in zip(panel.hu.shape, panel.spacing, strict=True))
        axis.imshow(
            _blended(panel)[::-1].swapaxes(0, 1), origin="lower", extent=(0, width, 0, height), interpolation="nearest"
        )
        axis.set_title(panel.title, fontsize=10)
        if panel.line is not None:
            axis.axhline((panel.line + 0.5) * panel.spacing[1], color="yellow", linewidth=1)
        if panel.schema is not None and panel.label is not None:
            present = [s for s in panel.schema if (panel.label == s.id).any()]
            patches = [Patch(color=_rgb(s), label=s.name.replace("_", " ")) for s in present]
            axis.legend(
                handles=patches,
                loc="upper center",
                bbox_to_anchor=(0.5, 0),
                ncols=3 if len(patches) <= 3 else 2,
                fontsize=7,
                frameon=False,
            )
    if footer:
        figure.text(0.5, 0.03, footer, ha="center", fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def _rgb(structure: Structure) -> tuple[float, float, float]:
    red, green, blue = structure.color
    return red / 255, green / 255, blue / 255


def _blended(panel: Panel) -> npt.NDArray[np.float64]:
    low = WINDOW_LEVEL_HU - WINDOW_WIDTH_HU / 2
    gray = np.clip((panel.hu.astype(np.float64) - low) / WINDOW_WIDTH_HU, 0, 1)
    picture = np.repeat(gray[..., np.newaxis], 3, axis=-1)
    if panel.label is not None and panel.schema is not None:
        for structure in panel.schema:
            inside = panel.label == structure.id
            picture[inside] = (1 - _OPACITY) * picture[inside] + _OPACITY * np.array(_rgb(structure))
    return picture
