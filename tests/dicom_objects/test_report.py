"""The structured report of a label holds its measurements with codes and units, and refers to segmentation and CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from lib.anatomy.schemas import L3_SLICE, L3_TISSUE, THIGH_MUSCLES
from lib.dicom_objects.report import write_report
from lib.dicom_objects.segmentation import write_segmentation
from lib.images import CTImage, PatientFacts
from lib.measures.saved_label import measure_saved_label

FACTS = PatientFacts(sex="M", height_m=1.7, weight_kg=70, contrast=False)


@pytest.fixture
def report(series, facts, tmp_path):
    def make(schema, label, source):
        image = CTImage(hu=np.full(source.shape, 40, np.int16), affine=source.affine)
        measured = measure_saved_label(image, label, schema, FACTS)
        of = replace(facts, task=schema.task)
        segmentation = write_segmentation(label, schema, source, of, version="1")
        path = tmp_path / "report.dcm"
        write_report(measured, schema, source, segmentation, of, version="1").save_as(path, write_like_original=False)
        return measured, segmentation, pydicom.dcmread(path)

    return make


def numbers(item: pydicom.Dataset) -> list[tuple[str, float, str]]:
    """Name, value and unit of every number in a report."""
    found = []
    if item.get("ValueType") == "NUM":
        value = item.MeasuredValueSequence[0]
        unit = value.MeasurementUnitsCodeSequence[0]
        assert unit.CodingSchemeDesignator == "UCUM"
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        found.append((name, float(value.NumericValue), unit.CodeValue))
    return found + [each for child in item.get("ContentSequence", []) for each in numbers(child)]


def referenced(item: pydicom.Dataset) -> set[str]:
    own = {r.ReferencedSOPInstanceUID for r in item.get("ReferencedSOPSequence", [])}
    return own.union(*(referenced(child) for child in item.get("ContentSequence", [])))


def tissue(source) -> np.ndarray:
    label = np.zeros(source.shape, np.uint8)
    label[2:18, 2:12, 3] = 1
    label[2:18, 12:14, 3] = 2
    label[2:18, 14:16, 3] = 3
    label[2:4, 2:4, 1] = 1
    return label


class TestSlice:
    def test_area_attenuation_index_and_calls(self, report, series):
        source = series()
        _, _, dataset = report(L3_TISSUE, tissue(source), source)
        found = numbers(dataset)
        area = 160 * 0.7 * 0.8 / 100
        assert ("Area", pytest.approx(area, abs=1e-3), "cm2") in found
        assert ("Attenuation Coefficient", 40, "[hnsf'U]") in found
        assert ("Skeletal muscle index at L3", pytest.approx(area / 1.7**2, abs=1e-3), "cm2/m2") in found
        assert "Abnormal" in str(dataset)
        assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"

    def test_it_refers_to_the_segmentation_and_the_slice(self, report, series):
        source = series()
        measured, segmentation, dataset = report(L3_TISSUE, tissue(source), source)
        assert measured.composition.slice_index == 3
        assert referenced(dataset) == {segmentation.SOPInstanceUID, source.instances[source.frames[3]].SOPInstanceUID}
        evidence = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        assert {item.SeriesInstanceUID for item in evidence} == {source.series_uid, segmentation.SeriesInstanceUID}

    def test_a_partial_label_has_no_sum_and_no_index_of_what_is_missing(self, report, series):
        source = series()
        label = tissue(source)
        label[label == 1] = 0
        _, _, dataset = report(L3_TISSUE, label, source)
        assert "total" not in str(dataset)
        assert not [name for name, *_ in numbers(dataset) if "index at L3" in name]

    def test_the_same_revision_gives_the_same_report(self, report, series):
        source = series()
        first = report(L3_TISSUE, tissue(source), source)[2]
        assert report(L3_TISSUE, tissue(source), source)[2] == first


def test_volumes_of_a_volume(report, series):
    source = series("oblique")
    label = np.zeros(source.shape, np.uint8)
    label[2:12, 2:12, 1:5] = 3
    _, segmentation, dataset = report(THIGH_MUSCLES, label, source)
    assert ("Volume", pytest.approx(400 * 0.7 * 0.8 * 2.5 / 1000, abs=1e-3), "cm3") in numbers(dataset)
    assert segmentation.SOPInstanceUID in referenced(dataset)


def test_marks_of_vertebrae_measure_nothing(series):
    source = series()
    image = CTImage(hu=np.zeros(source.shape, np.int16), affine=source.affine)
    assert measure_saved_label(image, np.ones(source.shape, np.uint8), L3_SLICE, FACTS) is None
