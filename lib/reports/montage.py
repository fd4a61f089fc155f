"""A CT from end to end with labels over it: axial slices, a frontal and a sagittal one, one legend for all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from lib.anatomy.schemas import LabelSchema
from lib.images import CTImage
from lib.reports.overlay import Panel, axial_panel, color_of, draw_panel, frontal_panel, sagittal_panel, size_mm

_COLUMNS = 7
_PANEL_INCHES = 1.9
_TITLE_INCHES, _BLOCK_INCHES, _FOOT_INCHES, _LEGEND_ROW_INCHES = 0.18, 0.3, 0.38, 0.17
_DPI = 100
_COLOURS = 256
_AIR = -500
_MARGIN_MM = 10.0


def draw_montage(
    image: CTImage,
    labels: Mapping[str, npt.NDArray],
    schema: LabelSchema,
    *,
    in_file: CTImage,
    slices: int = 12,
    caption: str = "",
) -> bytes:
    """Draw evenly spaced axial slices, and the middle of the body from the front and from the side.

    Args:
        image: in canonical order.
        labels: what stands above each block of pictures, and a label in the order of the image; without one the CT is
            drawn as it is.
        schema: of the labels; the legend has those of its structures that one of them shows.
        in_file: the image in the order of its file, by which people count slices.
        slices: how many axial slices a block has.
        caption: a line below.

    Returns:
        A PNG of at most 256 colours.
    """
    shown: Mapping[str, npt.NDArray | None] = labels if labels else {"": None}
    blocks = {title: _panels(image, label, schema, in_file, slices) for title, label in shown.items()}
    count = max(len(panels) for panels in blocks.values())
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    row_inches = _PANEL_INCHES + _TITLE_INCHES
    wide = columns * _PANEL_INCHES
    drawn = set().union(*(np.unique(label).tolist() for label in labels.values()))
    legend = [Patch(color=color_of(s), label=s.name.replace("_", " ")) for s in schema if s.id in drawn]
    foot = _FOOT_INCHES + _LEGEND_ROW_INCHES * -(-len(legend) // _COLUMNS)
    high = len(blocks) * (_BLOCK_INCHES + rows * row_inches) + foot
    figure = Figure(figsize=(wide, high), facecolor="white", dpi=_DPI)
    FigureCanvasAgg(figure)
    top = high
    for title, panels in blocks.items():
        figure.text(0.5, (top - 0.08) / high, title, ha="center", va="top", fontsize=10, weight="bold")
        top -= _BLOCK_INCHES
        for number, panel in enumerate(panels):
            row, column = divmod(number, columns)
            width, height = size_mm(panel)
            scale = 0.98 * _PANEL_INCHES / max(width, height)
            box = (width * scale, height * scale)
            left = column * _PANEL_INCHES + (_PANEL_INCHES - box[0]) / 2
            bottom = top - (row + 1) * row_inches + (_PANEL_INCHES - box[1]) / 2
            draw_panel(
                figure.add_axes((left / wide, bottom / high, box[0] / wide, box[1] / high)),
                panel,
                legend=False,
                title_size=7,
            )
        top -= rows * row_inches
    if legend:
        figure.legend(
            handles=legend,
            loc="lower center",
            bbox_to_anchor=(0.5, 0.2 / high),
            ncols=_COLUMNS,
            fontsize=7,
            frameon=False,
        )
    figure.text(0.5, 0.08 / high, caption, ha="center", va="bottom", fontsize=7)
    return _png(figure)


def _panels(
    image: CTImage, label: npt.NDArray | None, schema: LabelSchema, in_file: CTImage, slices: int
) -> list[Panel]:
    """Of one label; all axial slices are cut to the same part of the plane."""
    body = (image.hu > _AIR).any(axis=2)
    across, deep = (_range(body.any(axis=1 - axis), float(image.spacing[axis])) for axis in (0, 1))
    middle = (int(np.mean([across.start, across.stop])), int(np.mean([deep.start, deep.stop])))
    panels = [
        frontal_panel(image, middle[1], title="frontal", label=label, schema=schema),
        sagittal_panel(image, middle[0], title="sagittal", label=label, schema=schema),
    ]
    cut = [_cut(panel, each) for panel, each in zip(panels, (across, deep), strict=True)]
    for k in np.unique(np.linspace(0, image.shape[2] - 1, slices + 2).round().astype(int)[1:-1])[::-1]:
        title = f"slice {in_file.slice_from_canonical(int(k))}"
        panel = axial_panel(image, int(k), title=title, label=label, schema=schema)
        cut.append(_cut(panel, across, deep))
    return cut


def _cut(panel: Panel, first: slice, second: slice = slice(None)) -> Panel:
    part = (first, second)
    return replace(panel, hu=panel.hu[part], label=None if panel.label is None else panel.label[part])


def _range(there: npt.NDArray[np.bool_], mm: float) -> slice:
    """What is there with a margin; all where nothing is."""
    found = np.flatnonzero(there)
    if not found.size:
        return slice(0, len(there))
    margin = round(_MARGIN_MM / mm)
    return slice(max(0, int(found[0]) - margin), int(found[-1]) + 1 + margin)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    # The usual method takes neighbouring classes for one.
    few, kept = Image.open(file).convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE), io.BytesIO()
    few.save(kept, format="PNG", optimize=True)
    return kept.getvalue()
