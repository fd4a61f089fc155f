"""One picture of a case: the labelled slice, and where in the spine it lies."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.anatomy.schemas import LabelSchema
from lib.cold_start.answers import Answer
from lib.images import CTImage
from lib.measures.composition import Composition
from lib.measures.indices import Judgement
from lib.reports.overlay import BONE, Panel, axial_panel, cropped, draw_panel, sagittal_panel, size_mm

RESEARCH_ONLY = "For research use only."
_DPI = 100
_MOST_INCHES = ((5.2, 5.0), (3.8, 5.0), (4.6, 5.0))  # width and height that each panel has room for
_LINE_INCHES, _MARGIN_INCHES = 0.2, 0.12
_TITLE_INCHES, _LEGEND_INCHES, _LEGEND_ROW_INCHES = 0.3, 0.25, 0.15
_CHARACTERS = 170
_PROJECTED_VOXELS = 256
_REGIONS = {
    "skeletal_muscle": "skeletal muscle",
    "visceral_fat": "visceral fat",
    "l3_subcutaneous_fat": "subcutaneous fat",
}


def draw_case(
    image: CTImage,
    schema: LabelSchema,
    answer: Answer,
    composition: Composition,
    judgement: Judgement,
    *,
    slice_index: int,
    warnings: Sequence[str],
) -> bytes:
    """Draw the slice with its label beside a sagittal slice and the bones from the front, with a line at the slice.

    Nothing on it names a patient.

    Args:
        image: in canonical order.
        schema: of the answer's label.
        answer: to the image; it has a slice.
        composition: measured on that slice, or in the volume.
        judgement: of the composition.
        slice_index: the number of the slice in the order of the file, which is what people know it by.
        warnings: sentences for below the pictures.

    Returns:
        A PNG.
    """
    assert answer.slice_index is not None
    panels = _panels(image, schema, answer, answer.slice_index)
    head = [
        f"{answer.level or 'Level not known'}: slice {slice_index} (0 to {image.shape[2] - 1})",
        *filter(None, [_measurements(composition, judgement)]),
        f"Method: {answer.method}, {answer.model_version or 'no trained model'}",
    ]
    return sheet_png(panels, head, footer_lines(warnings))


def footer_lines(warnings: Sequence[str]) -> list[str]:
    """Sentences as lines for below the pictures."""
    return [line for sentence in (*warnings, RESEARCH_ONLY) for line in textwrap.wrap(sentence, _CHARACTERS)]


def _panels(image: CTImage, schema: LabelSchema, answer: Answer, index: int) -> list[Panel]:
    slice_mm = float(image.spacing[2])
    names = vertebrae_in_view(answer.details.get("levels") or {}, slice_mm)
    across = np.flatnonzero(answer.label[:, :, index].any(axis=1))
    # The labelled tissue lies on both sides of the spine; without any, the spine lies about in the middle.
    midline = int(across.mean()) if across.size else image.shape[0] // 2
    axial = cropped(axial_panel(image, index, title="axial", label=answer.label, schema=schema))
    if image.shape[2] == 1:
        return [axial]
    sagittal = sagittal_panel(image, midline, title="sagittal", line=index)
    return [axial, replace(sagittal, names=names), bones_panel(image, index, names=names)]


def bones_panel(image: CTImage, index: int, *, names: Mapping[str, float] | None = None) -> Panel:
    """The bones of an image in canonical order from the front, with a line at a slice and names of vertebrae."""
    # Every voxel of a large CT would take longer and be no better to see.
    x, z = (max(1, image.shape[axis] // _PROJECTED_VOXELS) for axis in (0, 2))
    step = max(1, image.shape[1] // _PROJECTED_VOXELS)
    bones: npt.NDArray = image.hu[::x, ::step, ::z].max(axis=1)
    return Panel(
        hu=bones,
        spacing=(float(image.spacing[0]) * x, float(image.spacing[2]) * z),
        title="bones from the front",
        line=index / z,
        names={name: position / z for name, position in (names or {}).items()},
        window=BONE,
    )


def vertebrae_in_view(levels: Mapping[str, Mapping[str, Any]], slice_mm: float) -> dict[str, float]:
    """Where the vertebrae are that lie in view as a whole, as positions among the slices."""
    found = {}
    for name, ends in levels.items():
        superior, inferior = ends.get("superior_mm"), ends.get("inferior_mm")
        if superior is not None and inferior is not None:
            found[name] = (superior + inferior) / 2 / slice_mm
    return found


def _measurements(composition: Composition, judgement: Judgement) -> str:
    parts = []
    for name, words in _REGIONS.items():
        region = composition.regions.get(name)
        if region is None or not region.area_cm2:
            continue
        text = f"{words} {region.area_cm2:.1f} cm²"
        if region.muscle and region.muscle.in_range_attenuation.mean_hu is not None:
            inside = region.muscle
            text += f" ({inside.in_range:.1f} cm² of -29 to 150 HU, mean {inside.in_range_attenuation.mean_hu:.1f} HU)"
        parts.append(text)
    if judgement.smi_cm2_m2 is not None:
        parts.append(f"SMI {judgement.smi_cm2_m2:.1f} cm²/m²")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def sheet_png(panels: Sequence[Panel], head: Sequence[str], foot: Sequence[str]) -> bytes:
    """Up to three panels side by side as a PNG, with lines of text above, the first of them bold, and below."""
    boxes = [fitted(panel, *most) for panel, most in zip(panels, _MOST_INCHES, strict=False)]
    height = max(box[1] for box in boxes)
    wide = sum(most[0] for most in _MOST_INCHES) + _MARGIN_INCHES * (len(_MOST_INCHES) + 1)
    below = _MARGIN_INCHES + len(foot) * _LINE_INCHES + _LEGEND_INCHES + _LEGEND_ROW_INCHES * _legend_rows(panels)
    total = below + height + _TITLE_INCHES + len(head) * _LINE_INCHES + _MARGIN_INCHES
    figure = Figure(figsize=(wide, total), facecolor="white", dpi=_DPI)
    FigureCanvasAgg(figure)
    left = (wide - sum(box[0] for box in boxes) - _MARGIN_INCHES * (len(boxes) - 1)) / 2
    for panel, box in zip(panels, boxes, strict=True):
        bottom = below + (height - box[1]) / 2
        draw_panel(figure.add_axes((left / wide, bottom / total, box[0] / wide, box[1] / total)), panel)
        left += box[0] + _MARGIN_INCHES
    for number, line in enumerate(head):
        top = total - _MARGIN_INCHES - number * _LINE_INCHES
        figure.text(0.5, top / total, line, ha="center", va="top", fontsize=10, weight="normal" if number else "bold")
    for number, line in enumerate(reversed(foot)):
        bottom = _MARGIN_INCHES + number * _LINE_INCHES
        figure.text(0.5, bottom / total, line, ha="center", va="bottom", fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _legend_rows(panels: Sequence[Panel]) -> int:
    """Rows of the longest legend, of two classes each; two at least."""
    classes = [len(np.unique(panel.label)) for panel in panels if panel.label is not None and panel.schema is not None]
    return max(2, *(-(-count // 2) for count in classes), 0)


def fitted(panel: Panel, width: float, height: float) -> tuple[float, float]:
    """The largest size in the panel's own proportions that there is room for."""
    wide, high = size_mm(panel)
    scale = min(width / wide, height / high)
    return wide * scale, high * scale
