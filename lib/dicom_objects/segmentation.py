"""Writing a label as a DICOM segmentation, by highdicom."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.sr.coding import CodedConcept
from skimage.color import rgb2lab

from lib.anatomy.schemas import Code, LabelSchema, Structure
from lib.dicom_objects.facts import (
    MANUFACTURER,
    MODEL_NAME,
    LabelFacts,
    as_long_string,
    as_person_name,
    object_uid,
    set_texts,
    set_times,
)
from lib.dicom_objects.source import SourceSeries

_SERIES_NUMBER = 9000
# CID 7162, processing algorithm families.
_TRAINED = CodedConcept("123110", "DCM", "Artificial Intelligence")
_COLD_START = CodedConcept("123103", "DCM", "Edge Detection")


class _PackedSegmentation(hd.seg.Segmentation):
    """Packs the bits of each frame when it is made.

    highdicom keeps a byte for every pixel of every frame until the end: 2.3 GB for 300 slices with seven structures,
    where this takes 0.4 GB.
    """

    @staticmethod
    def _get_segment_pixel_array(pixel_array: npt.NDArray, *args: Any, **kwargs: Any) -> npt.NDArray[np.uint8]:
        plane = hd.seg.Segmentation._get_segment_pixel_array(pixel_array, *args, **kwargs)  # noqa: SLF001
        return np.packbits(plane, bitorder="little") if plane.size % 8 == 0 else plane

    def _encode_pixels_native(self, planes: npt.NDArray[np.uint8]) -> bytes:
        if self.Rows * self.Columns % 8:
            return super()._encode_pixels_native(planes)  # type: ignore[no-any-return]
        return planes.tobytes() + bytes(planes.size % 2)


def coded(code: Code) -> CodedConcept:
    """A code of the schemas as highdicom has it."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def write_segmentation(
    label: npt.NDArray[np.uint8], schema: LabelSchema, source: SourceSeries, facts: LabelFacts, *, version: str
) -> hd.seg.Segmentation:
    """A label as a BINARY segmentation with one segment for each structure that has voxels.

    Args:
        label: ids of the schema, ``(column, row, slice)`` in the order of ``source.shape``.
        schema: what the ids mean.
        source: the CT series that the label lies on.
        facts: the revision; the same one always gives the same object.
        version: of this program.

    Returns:
        The object; only slices and structures with voxels have frames, and only images of such slices are referred to.

    Raises:
        ValueError: the label is not on the source's grid, is empty, or holds an id that the schema has not.
    """
    if label.shape != source.shape:
        raise ValueError(f"label of shape {label.shape} for a series of shape {source.shape}")
    planes = np.moveaxis(label, (2, 1, 0), (0, 1, 2))
    drawn = [k for k, plane in enumerate(planes) if plane.any()]
    present = np.unique(planes[drawn])
    structures = [structure for structure in schema if structure.id in present]
    if not structures or len(structures) < np.count_nonzero(present):
        raise ValueError(f"a label of {schema.task} with the values {present.tolist()}")
    numbers = np.zeros(256, np.uint8)
    for number, structure in enumerate(structures, start=1):
        numbers[structure.id] = number
    if source.is_multiframe:
        images = list(source.instances)
        pixels = np.zeros(planes.shape, np.uint8)
        pixels[list(source.frames)] = numbers[planes]
    else:
        images = [source.instances[source.frames[k]] for k in drawn]
        pixels = numbers[planes[drawn]]
    found = _PackedSegmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(s, n, source, facts) for n, s in enumerate(structures, start=1)],
        series_instance_uid=object_uid(facts, source_series=source.series_uid, of="seg series"),
        series_number=_SERIES_NUMBER + facts.number,
        sop_instance_uid=object_uid(facts, source_series=source.series_uid, of="seg"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=version,
        device_serial_number="1",
        content_description=facts.content_description,
        content_creator_name=as_person_name(facts.author),
        content_label=facts.task.upper()[:16],
        series_description=facts.series_description,
    )
    organization = object_uid(facts, source_series=source.series_uid, of="seg dimensions")
    for item in (*found.DimensionOrganizationSequence, *found.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    set_times(found, facts)
    set_texts(found, facts)
    return found


def _description(
    structure: Structure, number: int, source: SourceSeries, facts: LabelFacts
) -> hd.seg.SegmentDescription:
    kind = hd.seg.SegmentAlgorithmTypeValues.MANUAL
    algorithm = None
    if facts.model:
        values = hd.seg.SegmentAlgorithmTypeValues
        kind = values.SEMIAUTOMATIC if facts.is_reviewed else values.AUTOMATIC
        mark = " (learnt from phantoms)" if facts.of_phantoms else ""
        algorithm = hd.AlgorithmIdentificationSequence(
            name=as_long_string(f"{facts.model}{mark}"),
            family=_TRAINED if facts.model_version else _COLD_START,
            version=as_long_string(facts.model_version or "not known, or none: a cold start"),
            source=MANUFACTURER,
        )
    found = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.name,
        segmented_property_category=coded(structure.category),
        segmented_property_type=coded(structure.code),
        algorithm_type=kind,
        algorithm_identification=algorithm,
        tracking_uid=object_uid(facts, source_series=source.series_uid, of=f"segment {structure.name}"),
        tracking_id=structure.name,
    )
    lab = rgb2lab(np.array(structure.color) / 255, illuminant="D50")
    found.RecommendedDisplayCIELabValue = list(hd.color.CIELabColor(*map(float, lab)).value)
    return found
