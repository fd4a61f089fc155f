"""The measurements of a label that somebody saved, which may be partial and be drawn on several slices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE, L3_SLICE, L3_TISSUE, SARCOPENIA, TOGETHER, LabelSchema
from lib.images import CTImage, PatientFacts
from lib.measures.composition import Composition, measure
from lib.measures.indices import Judgement, judge, judge_whole_body
from lib.measures.whole_body import WholeBody, measure_whole_body

_ON_SLICE = (L3_MUSCLE.task, L3_TISSUE.task, SARCOPENIA.task)


@dataclass(frozen=True, kw_only=True)
class LabelMeasurements:
    """What a saved label measures.

    Attributes:
        composition: of the structures that are drawn, and of those together whose parts all are.
        judgement: indices and calls.
        whole: for a label of body composition torso, waist and surface, else ``None``.
    """

    composition: Composition
    judgement: Judgement
    whole: WholeBody | None = None


def measure_saved_label(
    image: CTImage, label: npt.NDArray[np.uint8], schema: LabelSchema, facts: PatientFacts
) -> LabelMeasurements | None:
    """Measure a label; one of L3 on the slice that has most of it.

    Args:
        image: the CT.
        label: ids of the schema, in the image's voxel order.
        schema: of a stored task, or ``SARCOPENIA``, which is two of them together.
        facts: what is known of the patient.

    Returns:
        The measurements, or ``None`` for a label that only says where something is.
    """
    if schema.task == L3_SLICE.task:
        return None
    slice_index = None
    if schema.task in _ON_SLICE:
        axis = image.foot_to_head_axis
        across = tuple(each for each in range(3) if each != axis)
        slice_index = int(np.count_nonzero(label, axis=across).argmax())
    composition = measure(image, label, schema, slice_index=slice_index)
    drawn = {schema.names[n - 1] for n in np.unique(label).tolist() if n}
    parts = {**{name: set(names) for name, names in TOGETHER.items() if name not in schema}, "total": set(schema.names)}
    kept = {name: region for name, region in composition.regions.items() if parts.get(name, {name}) <= drawn}
    composition = replace(composition, regions=kept)
    if schema.task != BODY_COMPOSITION.task:
        return LabelMeasurements(composition=composition, judgement=judge(composition, facts))
    whole = measure_whole_body(image.canonical(), replace(image, hu=label.astype(np.int16)).canonical().hu)
    return LabelMeasurements(composition=composition, judgement=judge_whole_body(whole, facts), whole=whole)
