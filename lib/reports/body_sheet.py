"""One picture of a label of body composition: the waist, and where waist and torso lie in the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.cold_start.answers import Answer
from lib.images import CTImage
from lib.measures.whole_body import Range, WholeBody
from lib.reports.case_sheet import footer_lines, sheet_png
from lib.reports.overlay import axial_panel, cropped, frontal_panel


def draw_body(image: CTImage, answer: Answer, whole: WholeBody, *, in_file: CTImage, warnings: Sequence[str]) -> bytes:
    """Draw the middle of the waist beside a frontal slice with lines at the ends of waist and torso.

    Nothing on it names a patient. Without a waist, the middle of the image is drawn.

    Args:
        image: in canonical order.
        answer: to it.
        whole: measured in its label.
        in_file: the image in the order of its file, by which people count slices.
        warnings: sentences for below the pictures.

    Returns:
        A PNG.
    """
    waist, torso = whole.waist, whole.torso
    shown = waist.slices if waist else Range(first=0, last=image.shape[2] - 1)
    middle = (shown.first + shown.last) // 2
    deep = np.flatnonzero((answer.label[:, :, shown.first : shown.last + 1] > 0).any(axis=(0, 2)))
    # A third of the way from the back to the front: through vertebrae and hip bones.
    coronal = int(deep[0] + (deep[-1] - deep[0]) / 3) if deep.size else image.shape[1] // 2
    names: dict[str, float] = {}
    for name, part in (("waist", waist), ("torso", torso)):
        if part:
            names |= {f"{name}, lower end": part.slices.first, f"{name}, upper end": part.slices.last}
    axial = axial_panel(
        image,
        middle,
        title=f"slice {in_file.slice_from_canonical(middle)}",
        label=answer.label,
        schema=BODY_COMPOSITION,
    )
    frontal = frontal_panel(image, coronal, title="frontal", label=answer.label, schema=BODY_COMPOSITION)
    frontal = replace(frontal, line=middle, borders=tuple(names.values()), names=names)
    head = [_waist_line(whole, in_file), _torso_line(whole, in_file)]
    head.append(f"Method: {answer.method}, {answer.model_version or 'no trained model'}")
    return sheet_png([cropped(axial), frontal], head, footer_lines(warnings))


def _waist_line(whole: WholeBody, image: CTImage) -> str:
    if whole.waist is None:
        return whole.not_measured["waist"]
    first, last = whole.waist.slices.in_file(image)
    areas = {"muscle": whole.waist.area_cm2["muscle"], "fat": whole.waist.body_fat_cm2}
    parts = [f"{name} {area:.1f} cm²" for name, area in areas.items() if area is not None]
    if whole.waist.circumference_cm is not None:
        parts.append(f"circumference {whole.waist.circumference_cm:.1f} cm")
    return f"Waist: slices {first} to {last}, {whole.waist.length_cm:.1f} cm; {', '.join(parts)}"


def _torso_line(whole: WholeBody, image: CTImage) -> str:
    if whole.torso is None:
        return whole.not_measured["torso"]
    first, last = whole.torso.slices.in_file(image)
    missing = f", not in view: {' and '.join(whole.torso.missing)}" if whole.torso.missing else ""
    return f"Torso: slices {first} to {last}{missing}"
