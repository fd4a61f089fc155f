"""Measurements of a label as a DICOM structured report (TID 1500), by highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset

from lib.anatomy.cutoffs import Call
from lib.anatomy.schemas import LabelSchema
from lib.dicom_objects.facts import (
    MANUFACTURER,
    MODEL_NAME,
    PRIVATE_SCHEME,
    LabelFacts,
    as_long_string,
    as_person_name,
    object_uid,
    set_texts,
    set_times,
)
from lib.dicom_objects.segmentation import coded
from lib.dicom_objects.source import SourceSeries
from lib.measures.composition import Attenuation, RegionMeasurement
from lib.measures.saved_label import LabelMeasurements
from lib.measures.whole_body import WholeBody

_SERIES_NUMBER = 9500
_AREA, _VOLUME = CodedConcept("42798000", "SCT", "Area"), CodedConcept("118565006", "SCT", "Volume")
_ATTENUATION = CodedConcept("112031", "DCM", "Attenuation Coefficient")
_MEAN = CodedConcept("373098007", "SCT", "Mean")
_DEVIATION = CodedConcept("386136009", "SCT", "Standard Deviation")
_ABNORMAL, _NORMAL = CodedConcept("263654008", "SCT", "Abnormal"), CodedConcept("17621005", "SCT", "Normal")
_CT = CodedConcept("25045-6", "LN", "CT unspecified body region")
_PERSON, _DEVICE = CodedConcept("121006", "DCM", "Person"), CodedConcept("121007", "DCM", "Device")
_REPORT = CodedConcept("126000", "DCM", "Imaging Measurement Report")
_CM2, _CM3 = CodedConcept("cm2", "UCUM", "square centimeter"), CodedConcept("cm3", "UCUM", "cubic centimeter")
_CM, _M2 = CodedConcept("cm", "UCUM", "centimeter"), CodedConcept("m2", "UCUM", "square meter")
_HU = CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit")
# What no public terminology has a code for that is known for certain.
_IN_RANGE = "in muscle range (-29 to 150 HU)"
_FAT = "intramuscular fat (-190 to -30 HU)"
_INDICES = {
    "smi_cm2_m2": ("Skeletal muscle index at L3", "cm2/m2"),
    "waist_smi_cm2_m2": ("Skeletal muscle index, average of the waist", "cm2/m2"),
    "waist_bfi_cm2_kg": ("Body fat index, average of the waist", "cm2/kg"),
    "torso_smi_cm3_m2": ("Skeletal muscle index of the torso", "cm3/m2"),
    "torso_bfi_cm3_kg": ("Body fat index of the torso", "cm3/kg"),
}
_BMI = CodedConcept("60621009", "SCT", "Body mass index")


def write_report(
    measured: LabelMeasurements,
    schema: LabelSchema,
    source: SourceSeries,
    segmentation: Dataset,
    facts: LabelFacts,
    *,
    version: str,
) -> hd.sr.Comprehensive3DSR:
    """A report of what a label measures: one group for each segment, one for all together, and the calls.

    Args:
        measured: the measurements, with a slice index along the third axis of ``source``.
        schema: what was measured.
        source: the CT series.
        segmentation: the segmentation written from the same revision.
        facts: the revision; the same one always gives the same report.
        version: of this program.
    """

    def uid(of: str) -> str:
        return object_uid(facts, source_series=source.series_uid, of=of)

    groups: list = []
    for item in segmentation.SegmentSequence:
        name, number = str(item.SegmentLabel), int(item.SegmentNumber)
        if name not in measured.composition.regions:
            continue
        structure = schema[name]
        tracking = hd.sr.TrackingIdentifier(uid=str(item.TrackingUID), identifier=name)
        measurements = _of_region(measured.composition.regions[name])
        about: dict[str, Any] = {
            "tracking_identifier": tracking,
            "finding_category": coded(structure.category),
            "finding_type": coded(structure.code),
            "measurements": measurements,
        }
        if measured.composition.slice_index is not None:
            frame = _frame_of(segmentation, number, source.position(measured.composition.slice_index))
            if frame is not None:
                segment = hd.sr.ReferencedSegmentationFrame.from_segmentation(segmentation, frame_number=frame)
                groups.append(hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **about))
        else:
            reference = hd.sr.ReferencedSegment.from_segmentation(segmentation, segment_number=number)
            groups.append(
                hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **about)
            )
    for name, region in measured.composition.regions.items():
        if name not in schema:
            groups.append(_group(uid(f"group {name}"), f"{name.replace('_', ' ')}, together", _of_region(region)))
    if measured.whole:
        groups += [_group(uid(f"group {name}"), name, found) for name, found in _of_body(measured.whole).items()]
    indices = [_index(name, value) for name, value in measured.judgement.indices.items() if value is not None]
    calls = [_evaluation(call) for call in measured.judgement.calls]
    if indices or calls:
        groups.append(_group(uid("group indices"), "Indices and published cut-offs", indices, calls))

    report = hd.sr.MeasurementReport(
        observation_context=_observers(facts, uid("device")),
        procedure_reported=_CT,
        imaging_measurements=groups,
        title=_REPORT,
    )
    wanted = {str(item.ReferencedSOPInstanceUID) for item in segmentation.SourceImageSequence}
    images = [image for image in source.instances if str(image.SOPInstanceUID) in wanted]
    written = hd.sr.Comprehensive3DSR(
        evidence=[*images, segmentation],
        content=report[0],
        series_instance_uid=uid("sr series"),
        series_number=_SERIES_NUMBER + facts.number,
        sop_instance_uid=uid("sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=version,
        series_description=as_long_string(f"Measurements of {facts.series_description}"),
        is_complete=not facts.is_partial,
        is_final=False,
        is_verified=False,
    )
    set_times(written, facts)
    set_texts(written, facts)
    return written


def _frame_of(segmentation: Dataset, number: int, position: Sequence[float]) -> int | None:
    """The number of the frame that shows a segment at a position, or ``None`` where it has no voxels there."""
    for index, frame in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        if int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber) == number and np.allclose(
            np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float), position, atol=1e-3
        ):
            return index
    return None


def _of_region(region: RegionMeasurement) -> list[hd.sr.Measurement]:
    unit, name = (_CM2, _AREA) if region.area_cm2 is not None else (_CM3, _VOLUME)
    size = region.volume_cm3 if region.area_cm2 is None else region.area_cm2
    found = [] if size is None else [_measurement(name, size, unit)]
    found += _of_attenuation(_ATTENUATION, region.attenuation)
    if region.muscle:
        kind = name.meaning
        found.append(_measurement(_private(f"{kind} {_IN_RANGE}"), region.muscle.in_range, unit))
        found += _of_attenuation(_private(f"Attenuation {_IN_RANGE}"), region.muscle.in_range_attenuation)
        found.append(_measurement(_private(f"{kind} of {_FAT}"), region.muscle.intramuscular_fat, unit))
    return found


def _of_attenuation(name: CodedConcept, attenuation: Attenuation) -> list[hd.sr.Measurement]:
    pairs = ((attenuation.mean_hu, _MEAN), (attenuation.sd_hu, _DEVIATION))
    return [_measurement(name, value, _HU, derivation) for value, derivation in pairs if value is not None]


def _of_body(whole: WholeBody) -> Mapping[str, list[hd.sr.Measurement]]:
    groups: dict[str, list[hd.sr.Measurement]] = {}
    if whole.waist:
        found = {f"Average area of {name}": size for name, size in whole.waist.area_cm2.items()}
        groups["Waist"] = [_measurement(_private(name), size, _CM2) for name, size in found.items() if size is not None]
        groups["Waist"].append(_measurement(_private("Height of the waist"), whole.waist.length_cm, _CM))
        if whole.waist.circumference_cm is not None:
            name = CodedConcept("74551000", "SCT", "Circumference")
            groups["Waist"].append(_measurement(name, whole.waist.circumference_cm, _CM))
    if whole.torso:
        incomplete = f" (not in view: {', '.join(whole.torso.missing)})" if whole.torso.missing else ""
        found = {f"Volume of {name}": size for name, size in whole.torso.volume_cm3.items()}
        groups[f"Torso{incomplete}"] = [
            _measurement(_private(name), size, _CM3) for name, size in found.items() if size is not None
        ]
    if whole.surface_m2 is not None:
        groups["Skin"] = [_measurement(_private("Body surface in view"), whole.surface_m2, _M2)]
    return groups


def _index(name: str, value: float) -> hd.sr.Measurement:
    if name == "bmi_kg_m2":
        return _measurement(_BMI, value, CodedConcept("kg/m2", "UCUM", "kilogram per square meter"))
    meaning, unit = _INDICES[name]
    return _measurement(_private(meaning), value, CodedConcept(unit, "UCUM", unit))


def _evaluation(call: Call) -> hd.sr.QualitativeEvaluation:
    """A call: the name says which cut-off, the value on which side of it the patient lies."""
    author = call.source.split(",")[0]
    name = _private(f"{call.cutoff} {call.comparison} {call.threshold:g}; {author}")
    return hd.sr.QualitativeEvaluation(name=name, value=_ABNORMAL if call.is_abnormal else _NORMAL)


def _measurement(
    name: CodedConcept, value: float, unit: CodedConcept, derivation: CodedConcept | None = None
) -> hd.sr.Measurement:
    return hd.sr.Measurement(name=name, value=round(float(value), 3), unit=unit, derivation=derivation)


def _group(
    uid: str,
    name: str,
    measurements: list[hd.sr.Measurement],
    evaluations: list[hd.sr.QualitativeEvaluation] | None = None,
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=uid, identifier=name),
        measurements=measurements,
        qualitative_evaluations=evaluations or None,
    )


def _private(meaning: str) -> CodedConcept:
    """A concept of our own; its code, of the 16 characters that viewers read, is made from its meaning."""
    code = hashlib.sha256(meaning.encode()).hexdigest()[:16].upper()
    return CodedConcept(code, PRIVATE_SCHEME, as_long_string(meaning))


def _observers(facts: LabelFacts, device_uid: str) -> hd.sr.ObservationContext:
    device = hd.sr.ObserverContext(
        observer_type=_DEVICE,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=device_uid, name=MODEL_NAME, manufacturer_name=MANUFACTURER
        ),
    )
    person = None
    if facts.author:
        person = hd.sr.ObserverContext(
            observer_type=_PERSON,
            observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(as_person_name(facts.author)),
        )
    return hd.sr.ObservationContext(observer_person_context=person, observer_device_context=device)
