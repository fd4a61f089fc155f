"""Checking a submitted label and splitting it into one label per task, with the schemas' own ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.anatomy.overlaps import cover_each_other
from lib.anatomy.schemas import GUIDES, L3_MUSCLE, L3_TISSUE, STORED_SCHEMAS, THIGH_MUSCLES, task_of
from lib.measures.thigh import misdrawn
from lib.refusals import Refusal
from lib.stores.geometry import Grid
from lib.stores.submitted_label import Segment, SubmittedLabel, count_values

# A 3-D brush spills onto the neighbours of the slice that is drawn on; a slice drawn on purpose is far larger.
SPILL_FRACTION = 1 / 20
_SINGLE_SLICE_TASKS = (L3_MUSCLE.task, L3_TISSUE.task)
_MUSCLE_TOGETHER = "skeletal_muscle"
_FATS = ("visceral_fat", "l3_subcutaneous_fat")


@dataclass(frozen=True, kw_only=True)
class TaskLabel:
    """What a submitted label says for one task.

    Attributes:
        task: which task.
        array: ``uint8``, ``(i, j, k)`` in the image's voxel order, ids of the task's schema.
        names: the structures that have voxels, in schema order.
        partial: structures of the schema are missing, and nobody said that they are not there.
        warnings: what was changed and what seems wrong, in sentences for the annotator.
    """

    task: str
    array: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    partial: bool
    warnings: tuple[str, ...]


def split_by_task(label: SubmittedLabel, *, grid: Grid, complete: bool = False) -> list[TaskLabel]:
    """Check the names of a label and split it by task.

    Args:
        label: the label on its image's grid.
        grid: the image's grid.
        complete: the annotator says that what is not drawn is not there, so the label is not partial.

    Returns:
        One label per task that has voxels, in the order of the schemas.

    Raises:
        Refusal: voxels without a name, a name that no schema knows, one value with two names, or segments of two tasks
            that cover each other in one layer.
    """
    drawn, guides = _drawn_segments(label)
    _refuse_covering(drawn)
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    warnings: dict[str, list[str]] = {}
    for task in STORED_SCHEMAS:
        segments = [segment for segment in drawn if task_of(segment.name) == task]
        if segments:
            arrays[task], warnings[task] = _task_array(label, segments, task=task)
    _add_muscle_together(arrays, warnings, names={segment.name for segment in drawn})
    labels = []
    for task, array in arrays.items():
        if task in _SINGLE_SLICE_TASKS:
            warnings[task] += _drop_spill(array, axis=grid.foot_to_head_axis)
        if task == THIGH_MUSCLES.task:
            warnings[task] += misdrawn(array, grid.affine)
        warnings[task] += [f"{name} was left out: it is shown to draw by and never stored." for name in guides]
        counts = count_values(array)
        names = tuple(s.name for s in STORED_SCHEMAS[task] if s.id < len(counts) and counts[s.id])
        partial = not complete and len(names) < len(STORED_SCHEMAS[task])
        labels.append(TaskLabel(task=task, array=array, names=names, partial=partial, warnings=tuple(warnings[task])))
    return labels


def _drawn_segments(label: SubmittedLabel) -> tuple[list[Segment], list[str]]:
    """The segments that have voxels, and the names of guides that had some and are left out."""
    drawn = [s for s in label.segments if 0 < s.value < len(label.counts[s.layer]) and label.counts[s.layer][s.value]]
    by_value: dict[tuple[int, int], str] = {}
    for segment in drawn:
        other = by_value.setdefault((segment.layer, segment.value), segment.name)
        if other != segment.name:
            raise Refusal(f"The value {segment.value} is named twice, {other} and {segment.name}; give each its own.")
    for layer, counts in enumerate(label.counts):
        nameless = [int(value) for value in np.flatnonzero(counts) if value and (layer, int(value)) not in by_value]
        if nameless:
            listed = ", ".join(map(str, nameless[:8]))
            raise Refusal(f"The label holds the value {listed}, to which no name was given in label_info.")
    guides = sorted({segment.name for segment in drawn if segment.name in GUIDES})
    drawn = [segment for segment in drawn if segment.name not in GUIDES]
    if not drawn:
        raise Refusal(f"The label holds nothing but {', '.join(guides)}, which is shown to draw by and never stored.")
    unknown = sorted({segment.name for segment in drawn if task_of(segment.name) is None})
    if unknown:
        known = "; ".join(f"{task}: {', '.join(schema.names)}" for task, schema in STORED_SCHEMAS.items())
        raise Refusal(f"No label is called {', '.join(unknown)}. Rename the segment or empty it. Possible are {known}.")
    return drawn, guides


def _refuse_covering(drawn: list[Segment]) -> None:
    ones: list[Segment] = []
    others: list[Segment] = []
    for n, one in enumerate(drawn):
        for other in drawn[n + 1 :]:
            if one.layer == other.layer and cover_each_other(one.name, other.name):
                ones.append(one)
                others.append(other)
    if not ones:
        return
    first_tasks = (task_of(ones[0].name), task_of(others[0].name))
    first, second = (
        list(dict.fromkeys(s.name for s in ones + others if task_of(s.name) == task)) for task in first_tasks
    )
    raise Refusal(
        f"{', '.join(first)} ({first_tasks[0]}) and {', '.join(second)} ({first_tasks[1]}) cover each other, and one "
        f"label keeps only one of them at a voxel: remove either {', '.join(first)} or {', '.join(second)}, and save "
        "the other in a label of its own."
    )


def _task_array(
    label: SubmittedLabel, segments: list[Segment], *, task: str
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    schema = STORED_SCHEMAS[task]
    array: npt.NDArray[np.uint8] | None = None
    doubled = 0
    for layer in sorted({segment.layer for segment in segments}):
        table = np.zeros(len(label.counts[layer]), dtype=np.uint8)
        for segment in segments:
            if segment.layer == layer:
                table[segment.value] = schema[segment.name].id
        part = table[label.layers[layer]]
        if array is None:
            array = part
            continue
        doubled += int(np.count_nonzero((array > 0) & (part > 0)))
        np.copyto(array, part, where=part > 0)
    assert array is not None
    warnings = []
    if doubled:
        warnings.append(f"Segments of {task} overlap in {doubled} voxels; the one in the later layer was kept there.")
    return array, warnings


def _add_muscle_together(
    arrays: dict[str, npt.NDArray[np.uint8]], warnings: dict[str, list[str]], *, names: set[str]
) -> None:
    """Three muscle groups and a fat, as the whole pipeline draws them, also make the muscle of ``l3_tissue``."""
    if not names.issuperset(L3_MUSCLE.names) or not names.intersection(_FATS) or _MUSCLE_TOGETHER in names:
        return
    tissue = arrays[L3_TISSUE.task]
    tissue[(arrays[L3_MUSCLE.task] > 0) & (tissue == 0)] = L3_TISSUE[_MUSCLE_TOGETHER].id
    warnings[L3_TISSUE.task].append(f"{_MUSCLE_TOGETHER} was made from {', '.join(L3_MUSCLE.names)}.")


def _drop_spill(array: npt.NDArray[np.uint8], *, axis: int) -> list[str]:
    """Empty, in place, the slices that a 3-D brush only grazed."""
    across = tuple(a for a in range(3) if a != axis)
    voxels = np.count_nonzero(array, axis=across)
    spilled = np.flatnonzero((voxels > 0) & (voxels < SPILL_FRACTION * voxels.max()))
    if not len(spilled):
        return []
    np.moveaxis(array, axis, 0)[spilled] = 0
    slices = ", ".join(map(str, spilled[:12])) + (", ..." if len(spilled) > 12 else "")
    return [
        f"Slice {slices} was dropped: under a twentieth of the largest slice's voxels, as a 3-D brush leaves them on "
        "neighbouring slices."
    ]
