"""From the label files of a case to one label for each task, on the grid of its image and with our own ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_SLICE, STORED_SCHEMAS, task_of
from lib.datasets.found import Found, FoundCase, FoundLabel
from lib.datasets.mapping import Rule, Slices, Use
from lib.datasets.provenance import Provenance
from lib.disk import sha256_of
from lib.images.files import read_volume
from lib.refusals import Refusal
from lib.stores.geometry import Grid, onto_grid

CLIENT = "import_cases"
_BODY_SHARE = 1 / 3
"""Below its endplate a vertebra shows only the articular processes and the tip of the spinous process, which are far
less than a third of its largest section; the body alone is more than that."""


@dataclass(frozen=True, kw_only=True)
class FirstLabel:
    """A label for one task.

    Attributes:
        task: the task.
        use: what becomes of it.
        array: ``uint8``, ``(i, j, k)`` in the voxel order of the image, ids of the task's schema; never empty.
        info: what is kept with it.
    """

    task: str
    use: Use
    array: npt.NDArray[np.uint8]
    info: Mapping[str, Any]


@dataclass
class CaseLabels:
    """What the label files of a case give.

    Attributes:
        labels: for each task and use at most one.
        faults: file to what is wrong with it.
        notes: file to what is worth knowing.
        unknown: names that the mapping does not hold.
    """

    labels: list[FirstLabel] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[tuple[Path, str]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)


@dataclass
class _Draft:
    array: npt.NDArray[np.uint8]
    files: list[FoundLabel] = field(default_factory=list)
    only_l3: npt.NDArray[np.bool_] | None = None


def read_labels(
    case: FoundCase, found: Found, grid: Grid, mapping: Mapping[str, tuple[Rule, ...]], *, author: str = ""
) -> CaseLabels:
    """Read the labels of a case.

    Args:
        case: what was found.
        found: the folder that it was found in.
        grid: of the image.
        mapping: the rules of each name.
        author: of labels whose author nothing tells; the dataset by default.
    """
    result = CaseLabels()
    drafts: dict[tuple[str, Use], _Draft] = {}
    for label in case.labels:
        result.unknown |= set(label.names.values()) - set(mapping)
        if label.may_be_empty and not _used(label, mapping):
            continue
        try:
            values = _whole_numbers(label.file, grid)
        except Refusal as refusal:
            result.faults.append((label.file, str(refusal)))
            continue
        present = {int(value) for value in np.unique(values) if value} - {label.ignore}
        nameless = sorted(present - set(label.names))
        if nameless:
            listed = ", ".join(map(str, nameless[:8]))
            result.faults.append((label.file, f"It holds the value {listed}, which has no name."))
        elif present:
            _paint(label, values, mapping, drafts=drafts, result=result)
            _check_ignored(label, values, drafts, grid=grid, result=result)
        elif not label.may_be_empty:
            result.faults.append((label.file, "The label is empty: no voxel is marked."))
    _keep_l3(drafts, grid, result)
    for (task, use), draft in drafts.items():
        if draft.array.any():
            info = _info(task, draft, found, author=author, result=result)
            result.labels.append(FirstLabel(task=task, use=use, array=draft.array, info=info))
    return result


def _used(label: FoundLabel, mapping: Mapping[str, tuple[Rule, ...]]) -> bool:
    return any(rule.use is not Use.NOTHING for name in label.names.values() for rule in mapping.get(name, ()))


def _paint(
    label: FoundLabel,
    values: npt.NDArray,
    mapping: Mapping[str, tuple[Rule, ...]],
    *,
    drafts: dict[tuple[str, Use], _Draft],
    result: CaseLabels,
) -> None:
    for value, name in sorted(label.names.items()):
        mask = values == value
        if not mask.any():
            continue
        for rule in mapping.get(name, ()):
            if rule.use is Use.NOTHING:
                continue
            task = str(task_of(rule.structure))
            number = STORED_SCHEMAS[task].ids[rule.structure]
            draft = drafts.setdefault((task, rule.use), _Draft(array=np.zeros(values.shape, np.uint8)))
            doubled = int(np.count_nonzero(mask & (draft.array > 0) & (draft.array != number)))
            if doubled:
                said = f"{name} overlaps other structures of {task} in {doubled} voxels, and is kept there."
                result.notes.append((label.file, said))
            draft.array[mask] = number
            if label not in draft.files:
                draft.files.append(label)
            if rule.slices is Slices.L3:
                draft.only_l3 = mask if draft.only_l3 is None else draft.only_l3 | mask


def _check_ignored(
    label: FoundLabel,
    values: npt.NDArray,
    drafts: Mapping[tuple[str, Use], _Draft],
    *,
    grid: Grid,
    result: CaseLabels,
) -> None:
    """The store knows labels in which classes were not drawn, but none of which places were left unjudged."""
    if label.ignore is None:
        return
    across = tuple(axis for axis in range(3) if axis != grid.foot_to_head_axis)
    ignored = np.count_nonzero(values == label.ignore, axis=across)
    for (task, _), draft in drafts.items():
        drawn = draft.array.any(axis=across)
        here = int(ignored[drawn].sum())
        if label in draft.files and here and len(np.unique(draft.array)) > len(STORED_SCHEMAS[task]):
            said = f"{here} voxels of drawn slices are to be ignored though every class of {task} is drawn; a label"
            result.faults.append((label.file, f"{said} here cannot leave places out."))


def _keep_l3(drafts: Mapping[tuple[str, Use], _Draft], grid: Grid, result: CaseLabels) -> None:
    """Empty what is meant for the L3 slice on all other slices."""
    if all(draft.only_l3 is None for draft in drafts.values()):
        return
    index = _l3_slice(drafts, grid)
    for (task, _), draft in drafts.items():
        if draft.only_l3 is None:
            continue
        elsewhere = np.ones(draft.array.shape, bool)
        if index is None:
            said = f"The slice of L3 cannot be told: L3 is not marked, or cut off. Nothing for {task} was taken."
            result.notes.append((draft.files[0].file, said))
        else:
            np.moveaxis(elsewhere, grid.foot_to_head_axis, 0)[index] = False
        draft.array[elsewhere & draft.only_l3] = 0


def _l3_slice(drafts: Mapping[tuple[str, Use], _Draft], grid: Grid) -> int | None:
    """The lowest slice of the vertebral body of L3 in the array of the image, where it is whole in view."""
    axis = grid.foot_to_head_axis
    across = tuple(each for each in range(3) if each != axis)
    for (task, _), draft in drafts.items():
        if task != L3_SLICE.task:
            continue
        areas = np.count_nonzero(draft.array == L3_SLICE.ids["vertebra_L3"], axis=across)
        if not areas.any():
            continue
        body = np.flatnonzero(areas >= _BODY_SHARE * areas.max())
        upwards = nib.aff2axcodes(grid.affine)[axis] == "S"
        lowest = int(body[0] if upwards else body[-1])
        at_the_edge = lowest == (0 if upwards else grid.shape[axis] - 1)
        return None if at_the_edge else lowest
    return None


def _whole_numbers(file: Path, grid: Grid) -> npt.NDArray:
    array, affine, _ = read_volume(file)
    if array.dtype.kind not in "iufb":
        raise Refusal(f"It holds {array.dtype} voxels; a label holds whole numbers.")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise Refusal("It holds values that are not whole numbers.")
    if array.size and array.min() < 0:
        raise Refusal(f"It holds the value {array.min():g}; a label holds whole numbers from 0 up.")
    return onto_grid(array, affine, grid)


def _info(task: str, draft: _Draft, found: Found, *, author: str, result: CaseLabels) -> dict[str, Any]:
    """What is kept with a label: who drew it, as far as the provenance of an untouched file says, and where from."""
    rows = [_provenance(label, result) for label in draft.files]
    known = [row for row in rows if row is not None]
    row = known[0] if len(known) == len(rows) and len({each.author for each in known}) == 1 else None
    files = [label.file.relative_to(found.root).as_posix() for label in draft.files]
    imported: dict[str, Any] = {"from": found.dataset, "layout": found.layout, "files": files}
    info = {
        "label_info": [{"name": name, "idx": number} for name, number in STORED_SCHEMAS[task].ids.items()],
        "client_id": CLIENT,
        "user": author or found.dataset,
        "imported": imported,
    }
    if row is None:
        return info if author else {**info, "dataset": found.dataset}
    imported |= {"case": row.case, "revision": row.revision, "saved": row.saved, "client": row.client}
    return {
        **info,
        "user": row.author,
        "model": row.model,
        **({"model_version": row.model_version} if row.model_version else {}),
        **({"dataset": row.dataset} if row.dataset else {}),
        "complete": not any(each.is_partial for each in known),
    }


def _provenance(label: FoundLabel, result: CaseLabels) -> Provenance | None:
    row = label.provenance
    if row is None or row.label_sha256 == sha256_of(label.file):
        return row
    said = f"It was changed after {row.author or 'somebody'} saved it, so it does not count as theirs."
    result.notes.append((label.file, said))
    return None
