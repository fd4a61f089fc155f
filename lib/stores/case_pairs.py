"""The pair of files and the lines in the log of every finished case, as Yu 2026 (section 2.2) kept them."""

from __future__ import annotations

import csv
import gzip
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from lib.anatomy.schemas import L3_MUSCLE, L3_TISSUE, STORED_SCHEMAS
from lib.disk import make_folder, write_file
from lib.images import CTImage, read_ct
from lib.images.files import ct_nifti, read_volume
from lib.measures.drawn_slices import labelled_slices, measure_drawn
from lib.stores.geometry import Grid
from lib.stores.history import label_file
from lib.stores.names import folder_name
from lib.stores.records import Revision

_ON_SLICES = (L3_MUSCLE.task, L3_TISSUE.task)
_COLUMNS = (
    *("case", "task", "revision", "author", "saved", "slice_index"),
    *("structure", "area_cm2", "volume_cm3", "mean_hu", "sd_hu"),
)


@dataclass(frozen=True, kw_only=True)
class CasePairs:
    """Keeps ``TASK/CASE-image.nii.gz`` and ``TASK/CASE-label.nii.gz`` of the newest label, and ``case_log.csv`` of all.

    Of a task on slices the pair holds the labelled slice (from the first to the last, where there are several), of any
    other the whole volume. The log has a line for each structure on each slice that was labelled, and for their total.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def write(self, revision: Revision, image_path: Path) -> None:
        """Write the pair of a final label and add it to the log.

        Raises:
            OSError: the disk is full or gone; the label itself is safe.
            Refusal: the image cannot be read.
        """
        image = read_ct(image_path)
        label, _, _ = read_volume(revision.path)
        lines = _lines(revision, image, label)
        if revision.task in _ON_SLICES:
            image, label = _labelled_part(image, label)
        grid = Grid(shape=image.shape, affine=image.affine, file_shape=image.file_shape)
        target = self.folder / revision.task
        make_folder(target)
        stem = folder_name(revision.image_id)
        with FileLock(self.folder / "case_pairs.lock"):
            write_file(
                target / f"{stem}-image.nii.gz", gzip.compress(ct_nifti(image).to_bytes(), compresslevel=1, mtime=0)
            )
            write_file(target / f"{stem}-label.nii.gz", label_file(label.astype(np.uint8), grid))
            self._append(lines)

    def _append(self, lines: list[dict[str, Any]]) -> None:
        path = self.folder / "case_log.csv"
        begun = path.exists() and path.stat().st_size > 0
        text = io.StringIO(newline="")
        if begun and not path.read_bytes().endswith(b"\n"):
            text.write("\n")  # a process was killed while it wrote its last line
        writer = csv.DictWriter(text, _COLUMNS, restval="")
        if not begun:
            writer.writeheader()
        writer.writerows(lines)
        with path.open("ab") as file:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())


def _lines(revision: Revision, image: CTImage, label: npt.NDArray) -> list[dict[str, Any]]:
    about = {
        "case": revision.image_id,
        "task": revision.task,
        "revision": revision.number,
        "author": revision.author,
        "saved": revision.created.isoformat(timespec="seconds"),
    }
    found = measure_drawn(image, label, STORED_SCHEMAS[revision.task], on_slices=revision.task in _ON_SLICES)
    return [
        {**about, "slice_index": composition.slice_index, "structure": name}
        | {key: value for key, value in region.items() if key in _COLUMNS}
        for composition in found
        for name, region in composition.to_json().items()
    ]


def _labelled_part(image: CTImage, label: npt.NDArray) -> tuple[CTImage, npt.NDArray]:
    """The slices from the first to the last labelled one, still where they are in the patient."""
    axis = image.foot_to_head_axis
    slices = labelled_slices(image, label)
    part = [slice(None)] * 3
    part[axis] = slice(slices[0], slices[-1] + 1)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, axis] * slices[0]
    cut = image.hu[tuple(part)]
    return replace(image, hu=cut, affine=affine, file_shape=cut.shape), label[tuple(part)]
