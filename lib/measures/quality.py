"""How well a segmentation reproduces a reference, by structure: the metrics of Kim 2024 in their usual form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.measures.overlap import overlaps
from lib.measures.surfaces import surface_distances


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One structure of one case. What has no value is ``None``, never 0 or infinite.

    Attributes:
        dice: Dice similarity coefficient, 0 to 1; 0 where only one side holds the structure, ``None`` where neither.
        sensitivity: share of the reference that was found; ``None`` where the reference lacks it.
        ppv: positive predictive value, the share of what was found that is right; ``None`` where nothing was found.
        assd_mm: average symmetric surface distance; ``None`` unless both sides hold the structure.
        hausdorff_mm: Hausdorff distance; ``None`` unless both sides hold the structure.
        hausdorff95_mm: its 95th percentile; ``None`` unless both sides hold the structure.
        ravd_percent: relative absolute volume difference, ``100 |found - reference| / reference``; 100 where the
            structure was missed, ``None`` where the reference lacks it.
        found_mm3: volume found; of a slice, its area in mm².
        reference_mm3: the same of the reference.
    """

    dice: float | None
    sensitivity: float | None
    ppv: float | None
    assd_mm: float | None
    hausdorff_mm: float | None
    hausdorff95_mm: float | None
    ravd_percent: float | None
    found_mm3: float
    reference_mm3: float

    @property
    def missed(self) -> bool:
        """The reference holds it, and it was not found: no surface distance says so, only Dice and RAVD."""
        return self.reference_mm3 > 0 and self.found_mm3 == 0

    @property
    def invented(self) -> bool:
        """It was found, and the reference lacks it."""
        return self.found_mm3 > 0 and self.reference_mm3 == 0


def qualities(
    found: npt.NDArray,
    reference: npt.NDArray,
    ids: Mapping[str, int],
    spacing: Sequence[float] | npt.NDArray[np.float64],
) -> dict[str, Quality]:
    """Compare two labels of one image.

    Args:
        found: integer label ``(i, j, k)`` of a volume or ``(i, j)`` of a slice.
        reference: integer label of the same shape.
        ids: name to value of what is compared; leave out what the reference leaves unjudged.
        spacing: voxel size in mm along each axis of the arrays; axes at right angles.

    Raises:
        ValueError: the shapes differ.
    """
    overlap = overlaps(found, reference, ids)
    boxes = [ndimage.find_objects(label, max_label=max(ids.values(), default=0)) for label in (found, reference)]
    voxel_mm3 = float(np.prod(spacing))
    results = {}
    for name, value in ids.items():
        box = _around(*(each[value - 1] for each in boxes), axes=found.ndim)
        a, b = found[box] == value, reference[box] == value
        volumes = [float(np.count_nonzero(mask)) * voxel_mm3 for mask in (a, b)]
        distances = surface_distances(a, b, spacing)
        results[name] = Quality(
            **vars(overlap[name]),
            assd_mm=distances.assd_mm if distances else None,
            hausdorff_mm=distances.hausdorff_mm if distances else None,
            hausdorff95_mm=distances.hausdorff95_mm if distances else None,
            ravd_percent=100 * abs(volumes[0] - volumes[1]) / volumes[1] if volumes[1] else None,
            found_mm3=volumes[0],
            reference_mm3=volumes[1],
        )
    return results


def _around(one: tuple[slice, ...] | None, other: tuple[slice, ...] | None, *, axes: int) -> tuple[slice, ...]:
    """The smallest box around two, of which either may be missing."""
    if one is None or other is None:
        return one or other or (slice(0, 0),) * axes
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
