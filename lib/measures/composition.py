"""Areas, volumes and attenuation of what a label marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.anatomy.hounsfield import INTRAMUSCULAR_FAT, MUSCLE
from lib.anatomy.schemas import TOGETHER, LabelSchema, Structure
from lib.images import CTImage


@dataclass(frozen=True, kw_only=True)
class Attenuation:
    """Mean and standard deviation (population) of HU; ``None`` where there is no voxel."""

    mean_hu: float | None
    sd_hu: float | None


@dataclass(frozen=True, kw_only=True)
class RegionMeasurement:
    """One class, or several together.

    Attributes:
        area_cm2: area on the slice, or ``None`` in a volume.
        volume_cm3: volume; ``None`` on a slice, and where a volume holds none: it may only be out of view.
        attenuation: HU of all voxels as drawn.
        muscle: for muscles, what published cut-offs and Ha 2021 want besides; else ``None``.
    """

    area_cm2: float | None
    volume_cm3: float | None
    attenuation: Attenuation
    muscle: MuscleMeasurement | None = None


@dataclass(frozen=True, kw_only=True)
class MuscleMeasurement:
    """What lies within a muscle as drawn; sizes in cm² on a slice, in cm³ in a volume.

    Attributes:
        in_range: size of the voxels of -29 to 150 HU, which published cut-offs mean.
        in_range_attenuation: HU of these voxels.
        intramuscular_fat: size of the voxels of -190 to -30 HU.
    """

    in_range: float
    in_range_attenuation: Attenuation
    intramuscular_fat: float


@dataclass(frozen=True, kw_only=True)
class Composition:
    """The measurements of one label.

    Attributes:
        slice_index: the slice they were taken on (along the image's own foot-to-head axis), ``None`` for a volume.
        regions: name to measurement: every class of the schema, classes that are reported together, and ``total``.
    """

    slice_index: int | None
    regions: Mapping[str, RegionMeasurement]

    def to_json(self) -> dict[str, Any]:
        """Numbers for a client: rounded, units in the keys, muscle sizes named after area or volume."""
        unit = "volume_cm3" if self.slice_index is None else "area_cm2"
        return {name: _region_json(region, unit) for name, region in self.regions.items()}


def measure(image: CTImage, label: npt.NDArray, schema: LabelSchema, *, slice_index: int | None = None) -> Composition:
    """Measure every class of a label, and all of them together.

    Args:
        image: the CT.
        label: integers of the schema or its guides, which are not measured; same shape and voxel order as ``image.hu``.
        schema: what the values mean.
        slice_index: take areas on this slice along the image's own foot-to-head axis; without it, volumes.

    Returns:
        Areas in cm² (of the voxels' faces in the slice, also when it is oblique) or volumes in cm³; HU.

    Raises:
        ValueError: the label's shape is not the image's.
    """
    if label.shape != image.shape:
        raise ValueError(f"label of shape {label.shape} for an image of shape {image.shape}")
    axis = image.foot_to_head_axis
    on_slice = slice_index is not None
    voxel = image.slice_area_cm2() if on_slice else image.voxel_cm3
    sums = _Sums(len(schema.shown) + 1)
    # Slice by slice, so that a volume of any size takes no memory of its own.
    for index in (slice_index,) if slice_index is not None else range(image.shape[axis]):
        sums.add(*(np.moveaxis(each, axis, 0)[index] for each in (image.hu, label)))

    members: dict[str, tuple[Structure, ...]] = {structure.name: (structure,) for structure in schema}
    for name, parts in TOGETHER.items():
        if name not in schema and all(part in schema for part in parts):
            members[name] = tuple(schema[part] for part in parts)
    members["total"] = tuple(schema)
    regions = {}
    for name, structures in members.items():
        ids = [structure.id for structure in structures]
        is_muscle = all(structure.is_muscle for structure in structures)
        regions[name] = _measure_region(sums, ids, voxel, is_muscle=is_muscle, on_slice=on_slice)
    return Composition(slice_index=slice_index, regions=regions)


class _Sums:
    """By value of a label: number of voxels, sum of HU and sum of their squares, for all and for those in a range."""

    def __init__(self, values: int) -> None:
        self.all, self.muscle, self.fat = (np.zeros((3, values)) for _ in range(3))

    def add(self, hu: npt.NDArray, label: npt.NDArray) -> None:
        labelled = label > 0
        if not labelled.any():
            return
        values, numbers = label[labelled].astype(np.intp), hu[labelled].astype(np.float64)
        self._add_to(self.all, values, numbers)
        for sums, hu_range in ((self.muscle, MUSCLE), (self.fat, INTRAMUSCULAR_FAT)):
            inside = hu_range.contains(numbers)
            self._add_to(sums, values[inside], numbers[inside])

    @staticmethod
    def _add_to(sums: npt.NDArray, values: npt.NDArray, numbers: npt.NDArray) -> None:
        size = sums.shape[1]
        sums[0] += np.bincount(values, minlength=size)
        sums[1] += np.bincount(values, numbers, minlength=size)
        sums[2] += np.bincount(values, numbers * numbers, minlength=size)


def _measure_region(sums: _Sums, ids: list[int], voxel: float, *, is_muscle: bool, on_slice: bool) -> RegionMeasurement:
    everything, in_range, fat = (each[:, ids].sum(axis=1) for each in (sums.all, sums.muscle, sums.fat))
    size = float(everything[0]) * voxel
    muscle = None
    if is_muscle:
        muscle = MuscleMeasurement(
            in_range=float(in_range[0]) * voxel,
            in_range_attenuation=_attenuation(in_range),
            intramuscular_fat=float(fat[0]) * voxel,
        )
    return RegionMeasurement(
        area_cm2=size if on_slice else None,
        volume_cm3=None if on_slice or not everything[0] else size,
        attenuation=_attenuation(everything),
        muscle=muscle,
    )


def _attenuation(sums: npt.NDArray) -> Attenuation:
    count, total, squares = (float(each) for each in sums)
    if not count:
        return Attenuation(mean_hu=None, sd_hu=None)
    mean = total / count
    return Attenuation(mean_hu=mean, sd_hu=max(squares / count - mean * mean, 0.0) ** 0.5)


def _region_json(region: RegionMeasurement, unit: str) -> dict[str, Any]:
    size = region.volume_cm3 if region.area_cm2 is None else region.area_cm2
    numbers: dict[str, float | None] = {unit: size, **vars(region.attenuation)}
    if region.muscle:
        held = size is not None
        numbers[f"muscle_range_{unit}"] = region.muscle.in_range if held else None
        numbers["muscle_range_mean_hu"] = region.muscle.in_range_attenuation.mean_hu
        numbers["muscle_range_sd_hu"] = region.muscle.in_range_attenuation.sd_hu
        numbers[f"intramuscular_fat_{unit}"] = region.muscle.intramuscular_fat if held else None
    return {key: None if value is None else round(value, 2) for key, value in numbers.items()}
