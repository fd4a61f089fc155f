"""Segmentations of other programs are read by their names and codes, and refused in a sentence where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.sr.coding import CodedConcept
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lib.dicom_objects.naming import structure_of
from lib.dicom_objects.reading import LABELMAP_STORAGE, CodedSegment, SegmentationFile
from lib.dicom_objects.source import SourceSeries
from lib.refusals import Refusal
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import Grid
from lib.stores.submitted_label import open_label

PSOAS, UNKNOWN = ("57240007", "SCT"), ("0", "99XYZ")


def grid_of(source: SourceSeries) -> Grid:
    return Grid(shape=source.shape, affine=source.affine, file_shape=source.shape)


def box(source: SourceSeries, columns: slice, rows: slice = slice(2, 9), slices: slice = slice(1, 4)) -> np.ndarray:
    mask = np.zeros(source.shape, bool)
    mask[columns, rows, slices] = True
    return mask


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Path]:
    """A segmentation as another program writes it: named masks, which may overlap, with their codes."""

    def write(
        source: SourceSeries, masks: dict[str, np.ndarray], codes: dict[str, tuple[str, str]] | None = None
    ) -> Path:
        codes = codes or {}
        descriptions = [
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=CodedConcept("123037004", "SCT", "Anatomical Structure"),
                segmented_property_type=CodedConcept(*codes.get(name, UNKNOWN), "whatever"),
                algorithm_type="MANUAL",
            )
            for number, name in enumerate(masks, start=1)
        ]
        pixels = np.stack([np.moveaxis(mask, (2, 1, 0), (0, 1, 2)) for mask in masks.values()], axis=-1)
        images = [source.instances[n] for n in source.frames]
        written = hd.seg.Segmentation(
            images, pixels.astype(np.uint8), "BINARY", descriptions, generate_uid(), 1, generate_uid(), 1,
            "Another", "Viewer", "1", "1", content_creator_name="Muster^Anna", omit_empty_frames=False,
        )  # fmt: skip
        path = tmp_path / "foreign.dcm"
        written.save_as(path, write_like_original=False)
        return path

    return write


@pytest.fixture
def changed(foreign: Callable[..., Path]) -> Callable[..., Path]:
    """The same with one thing about the data set changed."""

    def write(change: Callable[[pydicom.Dataset], object], source: SourceSeries, masks: dict[str, np.ndarray]) -> Path:
        path = foreign(source, masks)
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
        return path

    return write


class TestNames:
    @pytest.mark.parametrize(
        ("label", "code", "name"),
        [
            ("psoas", UNKNOWN, "psoas"),
            ("Psoas Muscle", UNKNOWN, "psoas"),
            ("abdominal-wall muscles", UNKNOWN, "abdominal_wall"),
            ("Vertebra L3", UNKNOWN, "vertebra_L3"),
            ("Rectus femoris muscle", UNKNOWN, "rectus_femoris"),
            ("Segment 1", ("2577006", "SCT"), "gracilis"),
            ("Segment 1", ("T-D016E", "SRT"), "bone"),
            ("psoas", ("2577006", "SCT"), "psoas"),
        ],
    )
    def test_the_name_decides_before_the_code(self, label, code, name):
        assert structure_of(CodedSegment(number=1, label=label, code=code)).name == name

    def test_a_code_of_several_structures_asks_for_a_name(self):
        with pytest.raises(Refusal, match="Segment 1 can be psoas or psoas_major"):
            structure_of(CodedSegment(number=1, label="Segment 1", code=PSOAS))

    @pytest.mark.parametrize("code", [UNKNOWN, ("", ""), ("T-00000", "SRT")])
    def test_what_nobody_knows_is_refused_with_the_possible_names(self, code):
        with pytest.raises(Refusal, match=r"Liver is none of .*psoas, paraspinal, abdominal_wall"):
            structure_of(CodedSegment(number=1, label="Liver", code=code))


class TestVoxels:
    def test_segments_of_two_tasks_may_overlap_and_become_two_layers(self, series, foreign):
        source = series("oblique")
        masks = {"Psoas": box(source, slice(3, 6)), "Skeletal muscle": box(source, slice(3, 12))}
        path = foreign(source, masks)
        labels = read_dicom_label(path, grid=grid_of(source))
        assert np.array_equal(labels["l3_muscle"] == 1, masks["Psoas"])
        assert np.array_equal(labels["l3_tissue"] == 1, masks["Skeletal muscle"])
        assert len(open_label(path, grid=grid_of(source), info={}).layers) == 2

    def test_empty_segments_are_passed_over(self, series, foreign):
        source = series()
        masks = {"Liver": np.zeros(source.shape, bool), "psoas": box(source, slice(3, 6))}
        assert list(read_dicom_label(foreign(source, masks), grid=grid_of(source))) == ["l3_muscle"]

    def test_overlap_within_a_task_is_refused_by_name(self, series, foreign):
        source = series()
        masks = {"psoas": box(source, slice(3, 6)), "paraspinal": box(source, slice(5, 9))}
        with pytest.raises(Refusal, match="paraspinal and psoas overlap"):
            read_dicom_label(foreign(source, masks), grid=grid_of(source))

    def test_what_a_viewer_flattened_is_refused_by_name(self, series, foreign):
        source = series()
        masks = {"psoas": box(source, slice(3, 6)), "skeletal_muscle": box(source, slice(6, 12))}
        with pytest.raises(Refusal, match="psoas and skeletal_muscle cover each other"):
            read_dicom_label(foreign(source, masks), grid=grid_of(source))

    def test_two_segments_of_one_name_are_refused(self, series, foreign):
        source = series()
        masks = {"psoas": box(source, slice(3, 6)), "Psoas muscle": box(source, slice(8, 9))}
        with pytest.raises(Refusal, match="Two segments mean psoas"):
            read_dicom_label(foreign(source, masks), grid=grid_of(source))

    def test_an_empty_segmentation_is_refused(self, series, foreign):
        source = series()
        with pytest.raises(Refusal, match="empty"):
            read_dicom_label(foreign(source, {"psoas": np.zeros(source.shape, bool)}), grid=grid_of(source))

    def test_frames_that_show_a_part_of_the_image_lie_where_they_say(self, series, foreign, tmp_path):
        source = series("oblique")
        mask = box(source, slice(6, 11), slice(5, 9))
        dataset = pydicom.dcmread(foreign(source, {"psoas": mask}))
        frames = dataset.pixel_array[:, 4:12, 5:13]
        dataset.Rows = dataset.Columns = 8
        dataset.PixelData = pydicom.pixel_data_handlers.util.pack_bits(frames)
        orientation = np.array(source.instances[0].ImageOrientationPatient, float)
        moved = 5 * 0.7 * orientation[:3] + 4 * 0.8 * orientation[3:]
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            item = frame.PlanePositionSequence[0]
            item.ImagePositionPatient = [round(float(x), 6) for x in np.array(item.ImagePositionPatient) + moved]
        dataset.save_as(tmp_path / "part.dcm")
        label = read_dicom_label(tmp_path / "part.dcm", grid=grid_of(source))["l3_muscle"]
        assert np.array_equal(label == 1, mask)

    def test_a_label_map_is_read_by_its_values(self, series, foreign, tmp_path):
        source = series()
        masks = {"psoas": box(source, slice(3, 6)), "abdominal_wall": box(source, slice(7, 9))}
        dataset = pydicom.dcmread(foreign(source, masks))
        values = np.moveaxis(masks["psoas"] + 2 * masks["abdominal_wall"], (2, 1, 0), (0, 1, 2)).astype(np.uint8)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = LABELMAP_STORAGE
        dataset.SegmentationType = "LABELMAP"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[: source.shape[2]]
        dataset.NumberOfFrames = source.shape[2]
        dataset.PixelData = values.tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(tmp_path / "map.dcm")
        label = read_dicom_label(tmp_path / "map.dcm", grid=grid_of(source))["l3_muscle"]
        assert np.array_equal(label == 1, masks["psoas"])
        assert np.array_equal(label == 3, masks["abdominal_wall"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda d: setattr(d, "SegmentationType", "FRACTIONAL"), "FRACTIONAL"),
            (lambda d: setattr(d, "PixelData", d.PixelData[:20]), "cut short"),
            (lambda d: setattr(d, "SOPClassUID", pydicom.uid.CTImageStorage), "no segmentation"),
            (lambda d: delattr(d, "SegmentSequence"), "damaged"),
            (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), "frames"),
            (lambda d: setattr(d.SegmentSequence[0], "SegmentNumber", 9), "does not describe"),
            (
                lambda d: setattr(
                    d.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], "PixelSpacing", [0.75, 0.7]
                ),
                "lies elsewhere",
            ),
            (
                lambda d: setattr(
                    d.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0],
                    "ImageOrientationPatient",
                    [0, 0, 0, 0, 1, 0],
                ),
                "lies elsewhere",
            ),
        ],
    )
    def test_one_sentence_says_what_is_wrong(self, change, sentence, series, changed):
        source = series()
        path = changed(change, source, {"psoas": box(source, slice(3, 6))})
        with pytest.raises(Refusal, match=sentence):
            read_dicom_label(path, grid=grid_of(source))

    def test_beyond_the_image(self, series, foreign):
        source = series()
        grid = Grid(shape=(21, 18, 3), affine=source.affine, file_shape=(21, 18, 3))
        path = foreign(source, {"psoas": box(source, slice(3, 6))})
        with pytest.raises(Refusal, match="beyond"):
            read_dicom_label(path, grid=grid)

    @pytest.mark.parametrize("content", [b"", b"rubbish", bytes(128) + b"DICM" + bytes(40)])
    def test_rubbish(self, content, tmp_path):
        path = tmp_path / "rubbish.dcm"
        path.write_bytes(content)
        with pytest.raises(Refusal):
            SegmentationFile(path)

    def test_who_made_it_and_what_it_lies_on(self, series, foreign):
        source = series()
        facts = SegmentationFile(foreign(source, {"psoas": box(source, slice(3, 6))})).facts
        assert facts.creator == "Muster Anna"
        assert facts.manufacturer == "Another"
        assert facts.source_series == (source.series_uid,)
        assert facts.study_uid == source.study_uid
