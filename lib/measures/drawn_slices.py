"""Measuring what somebody drew: every labelled slice of a task on slices, the volume of any other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_SLICE, LabelSchema
from lib.images import CTImage
from lib.measures.composition import Composition, measure


def measure_drawn(image: CTImage, label: npt.NDArray, schema: LabelSchema, *, on_slices: bool) -> list[Composition]:
    """Measure a label as it was drawn.

    Args:
        image: the CT.
        label: integers of the schema, in the voxel order of the image.
        schema: what the values mean.
        on_slices: whether the task labels slices; several may be labelled, each is measured for itself.

    Returns:
        One for each slice, or for the volume; none for a label that only says where something is.
    """
    if schema.task == L3_SLICE.task:
        return []
    if not on_slices:
        return [measure(image, label, schema)]
    return [measure(image, label, schema, slice_index=index) for index in labelled_slices(image, label)]


def labelled_slices(image: CTImage, label: npt.NDArray) -> list[int]:
    """The slices along the image's foot-to-head axis on which anything is labelled."""
    others = tuple(axis for axis in range(3) if axis != image.foot_to_head_axis)
    return [int(index) for index in np.flatnonzero(label.any(axis=others))]
