"""One case: what was found compared with its reference, structure by structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import LabelSchema
from lib.images import CTImage
from lib.measures.composition import Composition, measure
from lib.measures.quality import Quality, qualities

TOTAL, MEAN = "total", "mean of classes"
"""All classes of a schema as one structure; the mean over the classes of a case."""
OVERLAP = ("dice", "sensitivity", "ppv", "assd_mm", "hausdorff_mm", "hausdorff95_mm", "ravd_percent")


@dataclass(frozen=True, kw_only=True)
class StructureComparison:
    """One structure of one case.

    Attributes:
        quality: overlap and surfaces; ``None`` where they were taken on different slices.
        reference_size: cm² on a slice, cm³ in a volume.
        found_size: the same of what was found.
        reference_hu: mean attenuation; ``None`` where there is no voxel or no image.
        found_hu: the same of what was found.
    """

    quality: Quality | None
    reference_size: float
    found_size: float
    reference_hu: float | None
    found_hu: float | None

    @property
    def error_percent(self) -> float | None:
        """``100 |found - reference| / reference`` (Ha 2021); ``None`` where the reference lacks it."""
        if not self.reference_size:
            return None
        return 100 * abs(self.found_size - self.reference_size) / self.reference_size


@dataclass(frozen=True, kw_only=True)
class CaseComparison:
    """One case of one source.

    Attributes:
        case: its name.
        source: where the answer comes from, such as a version.
        structures: name to comparison: the classes that the reference judges, and :data:`TOTAL` where it judges all.
        off_mm: how far apart the slices are on which the two were taken, ``None`` for a volume.
    """

    case: str
    source: str
    structures: Mapping[str, StructureComparison]
    off_mm: float | None = None

    def value(self, structure: str, metric: str) -> float | None:
        """One of :data:`OVERLAP`, or an attribute of :class:`StructureComparison`; ``None`` where there is none.

        :data:`MEAN` is the mean over the classes that have a value.
        """
        if structure == MEAN:
            return self.mean_over([name for name in self.structures if name != TOTAL], metric)
        one = self.structures.get(structure)
        if one is None:
            return None
        if metric in OVERLAP:
            return getattr(one.quality, metric) if one.quality else None
        found: float | None = getattr(one, metric)
        return found

    def mean_over(self, structures: Sequence[str], metric: str) -> float | None:
        """The mean over those of several structures that have a value."""
        known = [value for name in structures if (value := self.value(name, metric)) is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A label, and the slice on which it counts.

    Attributes:
        label: integers of the schema, in the order of the image.
        slice_index: along the image's own foot-to-head axis; ``None`` for a volume.
    """

    label: npt.NDArray
    slice_index: int | None = None


def compare(
    image: CTImage,
    reference: Labelled,
    found: Labelled,
    schema: LabelSchema,
    *,
    judged: Collection[str],
    attenuation: bool,
) -> dict[str, StructureComparison]:
    """Compare two labels of one image.

    Args:
        image: gives the geometry and the HU.
        reference: what is true.
        found: what is judged; sizes and HU are taken on its own slice, as a patient would get them.
        schema: what the values mean.
        judged: the classes of which the reference says something; others are left out, also :data:`TOTAL` then.
        attenuation: whether the image holds HU; without, there are none.

    Raises:
        ValueError: a label's shape is not the image's.
    """
    names = [name for name in schema.names if name in judged]
    ids = {name: schema.ids[name] for name in names}
    complete = len(names) == len(schema)
    composition = [measure(image, each.label, schema, slice_index=each.slice_index) for each in (reference, found)]
    quality: dict[str, Quality] = {}
    if reference.slice_index == found.slice_index:
        arrays, spacing = _arrays(image, reference, found)
        quality = qualities(*arrays, ids, spacing)
        if complete:
            union = [np.isin(array, list(ids.values())).view(np.uint8) for array in arrays]
            quality |= qualities(union[0], union[1], {TOTAL: 1}, spacing)
    return {
        name: _structure(composition, name, quality.get(name), attenuation=attenuation)
        for name in (*names, *((TOTAL,) if complete else ()))
    }


def _arrays(
    image: CTImage, reference: Labelled, found: Labelled
) -> tuple[tuple[npt.NDArray, npt.NDArray], npt.NDArray[np.float64]]:
    """What was found and the reference, of a slice with two axes, and the voxel size along their axes."""
    if reference.slice_index is None:
        return (found.label, reference.label), image.spacing
    axis = image.foot_to_head_axis
    one, other = (np.take(each.label, reference.slice_index, axis) for each in (found, reference))
    return (one, other), np.delete(image.spacing, axis)


def _structure(
    composition: Sequence[Composition], name: str, quality: Quality | None, *, attenuation: bool
) -> StructureComparison:
    regions = [each.regions[name] for each in composition]
    sizes = [region.area_cm2 if region.area_cm2 is not None else region.volume_cm3 or 0.0 for region in regions]
    one = StructureComparison(
        quality=quality,
        reference_size=sizes[0],
        found_size=sizes[1],
        reference_hu=regions[0].attenuation.mean_hu,
        found_hu=regions[1].attenuation.mean_hu,
    )
    return one if attenuation else replace(one, reference_hu=None, found_hu=None)
