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
        volume_cm3: volume, or ``None`` on a slice.
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
        label: integers of the schema, same shape and voxel order as ``image.hu``.
        schema: what the values mean.
        slice_index: take areas on this slice along the image's own foot-to-head axis; without it, volumes.

    Returns:
        Areas in cm² (of the voxels' faces in the slice, also when it is oblique) or volumes in cm³; HU.

    Raises:
        ValueError: the label's shape is not the image's.
    """
    if label.shape != image.shape:
        raise ValueError(f"label of shape {label.shape} for an image of shape {image.shape}")
    hu: npt.NDArray = image.hu
    voxel = image.voxel_cm3
    if slice_index is not None:
        axis = image.foot_to_head_axis
        hu, label = (np.moveaxis(each, axis, 0)[slice_index] for each in (hu, label))  # `take` copies the volume
        voxel = image.slice_area_cm2()
    on_slice = slice_index is not None
    labelled = label > 0
    hu, values = hu[labelled], label[labelled]

    members: dict[str, tuple[Structure, ...]] = {structure.name: (structure,) for structure in schema}
    for name, parts in TOGETHER.items():
        if name not in schema and all(part in schema for part in parts):
            members[name] = tuple(schema[part] for part in parts)
    members["total"] = tuple(schema)
    regions = {}
    for name, structures in members.items():
        inside = hu[np.isin(values, [structure.id for structure in structures])]
        is_muscle = all(structure.is_muscle for structure in structures)
        regions[name] = _measure_region(inside, voxel, is_muscle=is_muscle, on_slice=on_slice)
    return Composition(slice_index=slice_index, regions=regions)


def _measure_region(hu: npt.NDArray, voxel: float, *, is_muscle: bool, on_slice: bool) -> RegionMeasurement:
    size = hu.size * voxel
    muscle = None
    if is_muscle:
        in_range = hu[MUSCLE.contains(hu)]
        muscle = MuscleMeasurement(
            in_range=in_range.size * voxel,
            in_range_attenuation=_attenuation(in_range),
            intramuscular_fat=int(INTRAMUSCULAR_FAT.contains(hu).sum()) * voxel,
        )
    return RegionMeasurement(
        area_cm2=size if on_slice else None,
        volume_cm3=None if on_slice else size,
        attenuation=_attenuation(hu),
        muscle=muscle,
    )


def _attenuation(hu: npt.NDArray) -> Attenuation:
    if not hu.size:
        return Attenuation(mean_hu=None, sd_hu=None)
    return Attenuation(mean_hu=float(hu.mean(dtype=np.float64)), sd_hu=float(hu.std(dtype=np.float64)))


def _region_json(region: RegionMeasurement, unit: str) -> dict[str, Any]:
    size = region.volume_cm3 if region.area_cm2 is None else region.area_cm2
    numbers: dict[str, float | None] = {unit: size, **vars(region.attenuation)}
    if region.muscle:
        numbers[f"muscle_range_{unit}"] = region.muscle.in_range
        numbers["muscle_range_mean_hu"] = region.muscle.in_range_attenuation.mean_hu
        numbers["muscle_range_sd_hu"] = region.muscle.in_range_attenuation.sd_hu
        numbers[f"intramuscular_fat_{unit}"] = region.muscle.intramuscular_fat
    return {key: None if value is None else round(value, 2) for key, value in numbers.items()}
