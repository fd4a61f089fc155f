"""A label written as DICOM segmentation says what it is, and comes back voxel for voxel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel import orientations

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE, STORED_SCHEMAS, LabelSchema
from lib.dicom_objects.facts import LabelFacts
from lib.dicom_objects.reading import SegmentationFile
from lib.dicom_objects.segmentation import write_segmentation
from lib.dicom_objects.source import SourceSeries, source_series
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import Grid, onto_grid


def drawn(schema: LabelSchema, shape: tuple[int, ...]) -> np.ndarray:
    """Every id of a schema here and there."""
    return np.random.default_rng(7).integers(0, len(schema) + 1, shape).astype(np.uint8)


def grid_of(source: SourceSeries) -> Grid:
    return Grid(shape=source.shape, affine=source.affine, file_shape=source.shape)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(label: np.ndarray, schema: LabelSchema, source: SourceSeries, facts: LabelFacts) -> Path:
        path = tmp_path / "label.seg.dcm"
        facts = replace(facts, task=schema.task)
        write_segmentation(label, schema, source, facts, version="1.2.3").save_as(path, write_like_original=False)
        return path

    return write


class TestRoundTrip:
    @pytest.mark.parametrize("task", STORED_SCHEMAS)
    def test_every_task(self, task, series, written, facts):
        source = series()
        label = drawn(STORED_SCHEMAS[task], source.shape)
        back = read_dicom_label(written(label, STORED_SCHEMAS[task], source, facts), grid=grid_of(source))
        assert list(back) == [task]
        assert np.array_equal(back[task], label)

    @pytest.mark.parametrize("directions", ["RAS", "LPS", "LAI", "oblique", "sagittal"])
    @pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR"])
    def test_on_the_grid_of_a_nifti_with_other_axes(self, directions, codes, series, written, facts):
        source = series(directions)
        turn = orientations.ornt_transform(
            orientations.io_orientation(source.affine), orientations.axcodes2ornt(tuple(codes))
        )
        affine = source.affine @ orientations.inv_ornt_aff(turn, source.shape)
        shape = tuple(orientations.apply_orientation(np.empty(source.shape, bool), turn).shape)
        assert nib.aff2axcodes(affine) == tuple(codes)
        label = drawn(L3_MUSCLE, shape)
        path = written(onto_grid(label, affine, grid_of(source)), L3_MUSCLE, source, facts)
        back = read_dicom_label(path, grid=Grid(shape=shape, affine=affine, file_shape=shape))
        assert np.array_equal(back["l3_muscle"], label)

    @pytest.mark.parametrize("directions", ["LPS", "oblique"])
    def test_one_labelled_slice_of_a_volume(self, directions, series, written, facts):
        source = series(directions)
        label = np.zeros(source.shape, np.uint8)
        label[3:9, 4:11, 4] = 1
        label[10:12, 4:11, 4] = 3
        path = written(label, L3_MUSCLE, source, facts)
        header = pydicom.dcmread(path)
        assert header.NumberOfFrames == 2
        assert [item.SegmentLabel for item in header.SegmentSequence] == ["psoas", "abdominal_wall"]
        assert np.array_equal(read_dicom_label(path, grid=grid_of(source))["l3_muscle"], label)

    def test_a_single_slice(self, series, written, facts):
        source = series(shape=(16, 24, 1))
        label = drawn(BODY_COMPOSITION, source.shape)
        back = read_dicom_label(written(label, BODY_COMPOSITION, source, facts), grid=grid_of(source))
        assert np.array_equal(back["body_composition"], label)

    def test_pixels_that_fill_whole_bytes_are_what_others_unpack(self, series, written, facts):
        source = series(shape=(16, 24, 3))
        label = drawn(L3_MUSCLE, source.shape)
        dataset = pydicom.dcmread(written(label, L3_MUSCLE, source, facts))
        of_psoas = dataset.pixel_array[:3]
        assert np.array_equal(of_psoas, np.moveaxis(label == 1, (2, 1, 0), (0, 1, 2)))

    def test_a_multi_frame_series(self, multi_frame, written, facts):
        label = drawn(L3_MUSCLE, multi_frame.shape)
        path = written(label, L3_MUSCLE, multi_frame, facts)
        assert np.array_equal(read_dicom_label(path, grid=grid_of(multi_frame))["l3_muscle"], label)


@pytest.fixture
def multi_frame(series) -> SourceSeries:
    """The slices of a series in one enhanced CT, the uppermost first."""
    single = series()
    first = single.instances[0]
    enhanced = pydicom.Dataset()
    enhanced.update(first)
    enhanced.SOPClassUID = pydicom.uid.EnhancedCTImageStorage
    measures, plane, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    plane.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    enhanced.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index in reversed(single.frames):
        position, frame = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = single.instances[index].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    enhanced.PerFrameFunctionalGroupsSequence = frames
    enhanced.NumberOfFrames = len(frames)
    found = source_series([enhanced])
    assert np.allclose(found.affine, single.affine)
    return found


class TestWhatItSays:
    def test_task_revision_author_and_phantom(self, series, written, facts):
        dataset = pydicom.dcmread(
            written(drawn(L3_MUSCLE, (21, 18, 6)), L3_MUSCLE, series(), replace(facts, is_phantom=True))
        )
        assert dataset.SeriesDescription == "l3_muscle revision 3 (phantom) by Änne Muster"
        assert dataset.ContentDescription == "phantom; drawn by hand"
        assert dataset.QualityControlSubject == "YES"
        assert SegmentationFile(Path(dataset.filename)).facts.creator == "Änne Muster"

    def test_a_series_that_was_anonymised_carelessly_has_one_all_the_same(self, series, written, facts):
        headers = list(series().instances)
        for header in headers:
            del header.PatientName
            del header.AccessionNumber
            header.PatientSex, header.StudyTime = "X", "noon"
            header["PatientBirthDate"].value = "00000000"
        path = written(drawn(L3_MUSCLE, (21, 18, 6)), L3_MUSCLE, source_series(headers), facts)
        assert pydicom.dcmread(path).PatientBirthDate == ""

    def test_codes_and_who_drew(self, series, written, facts):
        by_hand = pydicom.dcmread(written(drawn(L3_MUSCLE, (21, 18, 6)), L3_MUSCLE, series(), facts))
        segment = by_hand.SegmentSequence[0]
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "57240007"
        assert segment.SegmentAlgorithmType == "MANUAL"

    @pytest.mark.parametrize(("is_reviewed", "kind"), [(True, "SEMIAUTOMATIC"), (False, "AUTOMATIC")])
    def test_model_and_version(self, is_reviewed, kind, series, written, facts):
        facts = replace(facts, model="l3_muscle", model_version="20260101", is_reviewed=is_reviewed, of_phantoms=True)
        dataset = pydicom.dcmread(written(drawn(L3_MUSCLE, (21, 18, 6)), L3_MUSCLE, series(), facts))
        segment = dataset.SegmentSequence[0]
        assert segment.SegmentAlgorithmType == kind
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmVersion == "20260101"
        assert "phantoms" in algorithm.AlgorithmName
        assert "phantoms" in dataset.ContentDescription

    def test_it_refers_to_the_images_of_its_slices(self, series, written, facts):
        source = series()
        label = np.zeros(source.shape, np.uint8)
        label[3:9, 4:11, 2:4] = 1
        dataset = pydicom.dcmread(written(label, L3_MUSCLE, source, facts))
        wanted = [source.instances[source.frames[k]].SOPInstanceUID for k in (2, 3)]
        assert [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence] == wanted
        of_frames = [
            frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            for frame in dataset.PerFrameFunctionalGroupsSequence
        ]
        assert of_frames == wanted
        assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == source.series_uid
        assert dataset.StudyInstanceUID == source.study_uid

    def test_the_same_revision_gives_the_same_bytes_and_another_one_other_identifiers(self, series, written, facts):
        source, label = series(), drawn(L3_MUSCLE, (21, 18, 6))
        one = written(label, L3_MUSCLE, source, facts).read_bytes()
        assert written(label, L3_MUSCLE, source, facts).read_bytes() == one
        other = SegmentationFile(written(label, L3_MUSCLE, source, replace(facts, number=4)))
        assert other.facts.sop_uid != SegmentationFile(one).facts.sop_uid

    def test_a_long_name_of_an_author_is_cut(self, series, written, facts):
        dataset = pydicom.dcmread(
            written(drawn(L3_MUSCLE, (21, 18, 6)), L3_MUSCLE, series(), replace(facts, author="x^" * 80))
        )
        assert len(dataset.SeriesDescription) <= 64
        assert "\\" not in dataset.SeriesDescription

    def test_an_empty_label_and_one_of_another_grid_are_refused(self, series, facts):
        source = series()
        with pytest.raises(ValueError, match="values"):
            write_segmentation(np.zeros(source.shape, np.uint8), L3_MUSCLE, source, facts, version="1")
        with pytest.raises(ValueError, match="shape"):
            write_segmentation(np.ones((2, 2, 2), np.uint8), L3_MUSCLE, source, facts, version="1")


def test_a_label_of_a_public_dataset_is_not_called_drawn_by_hand(facts):
    assert facts.content_description == "drawn by hand"
    assert replace(facts, dataset="TotalSegmentator").content_description == "from TotalSegmentator"


def test_an_anonymised_name_does_not_fill_the_terminal_with_warnings() -> None:
    """In a process of its own, since tests show all warnings."""
    say = "import lib.dicom_objects\nfrom highdicom.valuerep import check_person_name\ncheck_person_name('ANON7')"
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    assert done.stderr == ""
