"""The study's slices: phantoms at L3, all on one small grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from lib.cold_start.outline import body_mask
from lib.images import CTImage, read_ct
from lib.images.files import read_volume
from lib.phantoms.cohort import TRUTH, read_table

SPACING_MM = 4.0
SHAPE = (112, 96)
"""Of the grid, along x and y: 448 x 384 mm around the middle of the body."""
_HU_WINDOW = (-200.0, 300.0)


@dataclass(frozen=True)
class Slices:
    """Slices and their labels.

    Attributes:
        cases: the ids of the phantoms.
        hu: ``(n, x, y)`` float32.
        labels: ``(n, x, y)`` uint8.
        body: ``(n, x, y)``, where there is body.
    """

    cases: tuple[str, ...]
    hu: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    body: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, indices: Sequence[int]) -> Slices:
        """Some of them."""
        chosen = list(indices)
        return Slices(tuple(self.cases[i] for i in chosen), self.hu[chosen], self.labels[chosen], self.body[chosen])


def read_slices(cohort: Path, task: str) -> Slices:
    """Bring a cohort of single slices to the study's grid; read once, then kept beside the cohort.

    Args:
        cohort: folder that :class:`lib.phantoms.cohort.Cohort` wrote, of the region ``l3``.
        task: whose labels.
    """
    rows = sorted(row["case"] for row in read_table(cohort))
    kept = cohort / f"study_{task}_{len(rows)}_{SPACING_MM:g}mm.npz"
    if not kept.exists():
        made = [_on_grid(cohort, case, task) for case in rows]
        part = kept.with_name(f".{kept.stem}.part.npz")
        hu, labels, body = (np.stack(each) for each in zip(*made, strict=True))
        np.savez_compressed(part, cases=np.array(rows), hu=hu, labels=labels, body=body)
        part.replace(kept)
    with np.load(kept) as arrays:
        return Slices(tuple(map(str, arrays["cases"])), arrays["hu"], arrays["labels"], arrays["body"])


def _on_grid(
    cohort: Path, case: str, task: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    image = read_ct(cohort / f"{case}.nii.gz").canonical()
    array, affine, _ = read_volume(cohort / TRUTH / task / f"{case}.nii.gz")
    label = CTImage(hu=array, affine=affine).canonical().hu[:, :, 0]
    body = body_mask(image)[:, :, 0]
    middle = [(places.min() + places.max()) / 2 for places in np.nonzero(body)]
    step = [SPACING_MM / float(mm) for mm in image.spacing[:2]]
    axes = [centre + (np.arange(n) - (n - 1) / 2) * s for centre, n, s in zip(middle, SHAPE, step, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    hu = map_coordinates(image.hu[:, :, 0].astype(np.float32), grid, order=1, mode="nearest")
    nearest = np.rint(grid).astype(int)
    inside = ((nearest >= 0) & (nearest < np.array(label.shape)[:, None, None])).all(axis=0)
    x, y = (np.clip(each, 0, n - 1) for each, n in zip(nearest, label.shape, strict=True))
    return (
        np.clip(hu, *_HU_WINDOW).astype(np.float32),
        np.where(inside, label[x, y], 0).astype(np.uint8),
        inside & body[x, y],
    )
