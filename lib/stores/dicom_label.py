"""Opening a DICOM segmentation as a submitted label: its frames on the image's grid, its segments by our names."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.anatomy.overlaps import cover_each_other
from lib.anatomy.schemas import STORED_SCHEMAS, task_of
from lib.dicom_objects.naming import structure_of
from lib.dicom_objects.reading import CodedSegment, Plane, SegmentationFile
from lib.refusals import Refusal
from lib.stores.geometry import CORNER_TOLERANCE_VOXELS, Grid

_ELSEWHERE = (
    "The DICOM segmentation lies elsewhere than its image, or between its voxels; save it on the image's own grid."
)


def read_dicom_label(path: Path, *, grid: Grid) -> dict[str, npt.NDArray[np.uint8]]:
    """The labels in a DICOM segmentation.

    Segments of different tasks may cover each other, those of one task may not. Segments without voxels are passed
    over.

    Args:
        path: the file, of any program.
        grid: the grid of the image that it belongs to.

    Returns:
        Stored task to its label: ``(i, j, k)`` in the voxel order of the image, ids of the task's schema.

    Raises:
        Refusal: it cannot be read, lies on another grid, is empty, or has segments that overlap or mean none of our
            structures.
    """
    file = SegmentationFile(path)
    by_number = {segment.number: segment for segment in file.segments}
    labels: dict[str, npt.NDArray[np.uint8]] = {}
    drawn: dict[str, CodedSegment] = {}
    for plane in file.planes():
        view = _Placement(plane, grid)
        for number in np.unique(plane.values[plane.values > 0]).tolist():
            if number not in by_number:
                raise Refusal(
                    f"The DICOM segmentation has a frame of the segment {number}, which it does not describe."
                )
            segment = by_number[number]
            structure = structure_of(segment)
            other = drawn.setdefault(structure.name, segment)
            if other is not segment:
                raise Refusal(f"Two segments mean {structure.name}: {other.label} and {segment.label}. Join them.")
            task = str(task_of(structure.name))
            label = labels.setdefault(task, np.zeros(grid.shape, np.uint8))
            covered = view.paint(label, plane.values == number, structure.id)
            if covered:
                names = ", ".join(s.name for s in STORED_SCHEMAS[task] if s.id in covered)
                raise Refusal(f"The segments {structure.name} and {names} overlap: a voxel of {task} can be one only.")
    if not labels:
        raise Refusal("The DICOM segmentation is empty: no voxel is marked.")
    _refuse_flattened(labels, list(drawn))
    return labels


class _Placement:
    """Where the pixels of a frame lie in an image.

    Raises:
        Refusal: they are no voxels of it.
    """

    def __init__(self, plane: Plane, grid: Grid) -> None:
        rows, columns = plane.values.shape
        to_voxels = np.linalg.solve(grid.affine, plane.affine)[:3, [0, 1, 3]]
        nearest = np.round(to_voxels)
        corners = np.array([[x, y, 1] for x in (0, columns - 1) for y in (0, rows - 1)]).T
        if np.abs((to_voxels - nearest) @ corners).max() > CORNER_TOLERANCE_VOXELS:
            raise Refusal(_ELSEWHERE)
        axes = [int(np.abs(nearest[:, n]).argmax()) for n in (0, 1)]
        if np.abs(nearest[:, :2]).sum(axis=0).tolist() != [1, 1] or axes[0] == axes[1]:
            raise Refusal(_ELSEWHERE)
        first = nearest[:, 2].astype(int).tolist()
        across = 3 - sum(axes)
        self._inside: list[slice] = []  # of the frame's rows and columns
        self._where: list[slice | int] = [first[across]] * 3
        for axis, column, count in ((axes[1], 1, rows), (axes[0], 0, columns)):
            steps, voxels = _within(first[axis], int(nearest[axis, column]), count, grid.shape[axis])
            self._inside.append(steps)
            self._where[axis] = voxels
        self._is_inside = 0 <= first[across] < grid.shape[across]
        self._rows_first = axes[1] < axes[0]

    def paint(self, label: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], value: int) -> set[int]:
        """Write a value where a mask of rows and columns is true.

        Returns:
            The other values that were there before.

        Raises:
            Refusal: the mask reaches beyond the image.
        """
        inside = mask[tuple(self._inside)]
        if not self._is_inside or np.count_nonzero(inside) < np.count_nonzero(mask):
            raise Refusal("The DICOM segmentation reaches beyond its image; save it on the image's own grid.")
        view = label[tuple(self._where)]
        view = view if self._rows_first else view.T
        covered = set(np.unique(view[inside]).tolist()) - {0, value}
        view[inside] = value
        return covered


def _within(first: int, sign: int, count: int, size: int) -> tuple[slice, slice]:
    """Which of ``count`` pixels lie on the ``size`` voxels of an image, and on which, from ``first`` on by ``sign``."""
    start, stop = (-first, size - first) if sign > 0 else (first - size + 1, first + 1)
    start = min(max(start, 0), count)
    stop = max(min(stop, count), start)
    end = first + sign * stop
    return slice(start, stop), slice(first + sign * start, end if end >= 0 else None, sign)


def _refuse_flattened(labels: dict[str, npt.NDArray[np.uint8]], names: list[str]) -> None:
    """Structures that cover each other in the body, but nowhere in the file: a viewer has kept only one of them."""
    for one, other in combinations(names, 2):
        if cover_each_other(one, other):
            masks = [labels[task] == STORED_SCHEMAS[task][name].id for name, task in _with_tasks(one, other)]
            if not (masks[0] & masks[1]).any():
                raise Refusal(
                    f"{one} and {other} cover each other in the body and share no voxel in the DICOM segmentation: "
                    "whoever wrote it kept only one of them at a voxel. Save them in two segmentations."
                )


def _with_tasks(*names: str) -> list[tuple[str, str]]:
    return [(name, str(task_of(name))) for name in names]
