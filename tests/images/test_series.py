"""Series as archives really send them: tilted, compressed, in many frames, beside scouts."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from highdicom.frame import encode_frame
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lib.images import read_ct
from lib.refusals import BadImage
from tests.archive.dicom_files import COLUMNS, ORIENTATION, ROWS, ct, in_syntax, write, write_series

NORMAL = np.cross(ORIENTATION[:3], ORIENTATION[3:])


def body(number):
    """Stored values of a slice: air in a corner, the number elsewhere."""
    stored = np.full((ROWS, COLUMNS), 1000 + number, np.uint16)
    stored[3:, 3:] = 24
    return stored


def slices(folder, positions, *, syntax=uids.ExplicitVRLittleEndian, order="<u2", **changes):
    for number, position in enumerate(positions, start=1):
        content = body(number).astype(order).tobytes()
        if syntax.is_encapsulated:
            options = {"bits_allocated": 16, "bits_stored": 16, "photometric_interpretation": "MONOCHROME2"}
            content = encode_frame(body(number), syntax, **options)
        dataset = ct("1.2.3", number, ImagePositionPatient=[float(f"{x:.6f}") for x in position], **changes)
        write(folder / f"{number}.dcm", in_syntax(dataset, syntax, [content]))


def directions():
    """Of columns, rows and slices in RAS, mm per step."""
    lps = np.array([np.array(ORIENTATION[:3]) * 0.9, np.array(ORIENTATION[3:]) * 0.8, NORMAL * 3]).T
    return lps * np.array([-1, -1, 1])[:, np.newaxis]


@pytest.mark.parametrize(
    ("syntax", "order"),
    [
        (uids.ImplicitVRLittleEndian, "<u2"),
        (uids.ExplicitVRBigEndian, ">u2"),
        (uids.DeflatedExplicitVRLittleEndian, "<u2"),
        (uids.JPEG2000Lossless, "<u2"),
        (uids.JPEGLSLossless, "<u2"),
        (uids.RLELossless, "<u2"),
    ],
)
def test_every_way_of_writing_pixels_gives_the_same_voxels(tmp_path, syntax, order):
    slices(tmp_path, [NORMAL * 3 * k for k in range(3)], syntax=syntax, order=order)
    image = read_ct(tmp_path)
    assert np.array_equal(image.hu, np.stack([body(k).T.astype(int) - 1024 for k in (1, 2, 3)], axis=2))
    assert np.allclose(image.affine[:3, :3], directions(), atol=1e-5)


def test_a_tilted_gantry_leaves_every_slice_where_it_was_taken(tmp_path):
    step = NORMAL * 3 + np.array(ORIENTATION[3:]) * 1.2
    slices(tmp_path, [np.array([10.0, 20.0, 30.0]) + step * k for k in (2, 0, 1)])
    image = read_ct(tmp_path)
    ras = np.array([-1, -1, 1])
    assert np.allclose(image.affine[:3, 3], [-10, -20, 30])
    assert np.allclose(image.affine[:3, 2], step * ras, atol=1e-5)
    assert image.hu[0, 0].tolist() == [1002 - 1024, 1003 - 1024, 1001 - 1024]


def test_pixels_of_unknown_size_are_refused(tmp_path):
    slices(tmp_path, [NORMAL * 3 * k for k in range(3)], PixelSpacing=None)
    with pytest.raises(BadImage, match=r"\.dcm does not say how large its pixels are"):
        read_ct(tmp_path)


def test_a_single_slice_is_as_thick_as_it_says(tmp_path):
    slices(tmp_path, [NORMAL])
    assert np.allclose(read_ct(tmp_path).affine[:3, :3], directions(), atol=1e-5)


def test_a_slice_beside_the_others_is_named(tmp_path):
    places = [NORMAL * 3 * k for k in range(5)]
    places[2] = places[2] + 4 * np.array(ORIENTATION[:3])
    slices(tmp_path, places)
    with pytest.raises(BadImage, match=r"3\.dcm is 4\.0 mm beside the others"):
        read_ct(tmp_path)


def enhanced(positions, *, planes=None):
    """An enhanced CT of many frames."""
    dataset = ct("1.2.3", 1, SOPClassUID=uids.EnhancedCTImageStorage, NumberOfFrames=len(positions))
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, name)
    for name in ("RescaleSlope", "RescaleIntercept"):
        delattr(dataset, name)
    shared, measures, transformation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.9], "3"
    transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = "1", "-1024", "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([transformation])
    frames = []
    for k, position in enumerate(positions):
        frame, place, plane = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(f"{x:.6f}") for x in position]
        plane.ImageOrientationPatient = planes[k] if planes else ORIENTATION
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = Sequence([place]), Sequence([plane])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.PixelData = b"".join(body(k + 1).astype("<u2").tobytes() for k in range(len(positions)))
    return dataset


class TestManyFrames:
    def test_are_put_in_the_order_in_which_they_lie(self, tmp_path):
        write(tmp_path / "e.dcm", enhanced([NORMAL * 3 * k for k in (2, 0, 1)]))
        image = read_ct(tmp_path)
        assert image.hu[0, 0].tolist() == [1002 - 1024, 1003 - 1024, 1001 - 1024]
        assert np.allclose(image.affine[:3, :3], directions(), atol=1e-5)
        assert np.allclose(image.affine[:3, 3], 0, atol=1e-5)

    @pytest.mark.parametrize(
        ("dataset", "sentence"),
        [
            (lambda: enhanced([NORMAL * k for k in (0, 1, 2, 5)]), r"not evenly spaced .* frame 3 of e\.dcm"),
            (lambda: enhanced([NORMAL * k for k in (0, 1, 1)]), r"same position .* frame 3 of e\.dcm"),
            (lambda: enhanced([NORMAL, NORMAL * 2], planes=[ORIENTATION, [1, 0, 0, 0, 1, 0]]), "several stacks"),
            (lambda: ct("1.2.3", 1, NumberOfFrames=2, PixelData=bytes(ROWS * COLUMNS * 4)), "many frames and does not"),
        ],
    )
    def test_that_are_no_volume_are_refused_naming_the_file(self, tmp_path, dataset, sentence):
        write(tmp_path / "e.dcm", dataset())
        with pytest.raises(BadImage, match=sentence):
            read_ct(tmp_path)


class TestBesideOthers:
    def test_scouts_reports_and_reformats_in_the_folder_are_passed_over(self, tmp_path):
        slices(tmp_path, [NORMAL * 3 * k for k in range(3)])
        write(tmp_path / "scout.dcm", ct("1.2.4", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
        write(tmp_path / "dose.dcm", ct("1.2.5", 1, Modality="SR", SOPClassUID=uids.XRayRadiationDoseSRStorage))
        write(tmp_path / "coronal.dcm", ct("1.2.6", 1, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
        saved = ct("1.2.7", 1, SOPClassUID=uids.SecondaryCaptureImageStorage)
        del saved.ImagePositionPatient
        write(tmp_path / "saved.dcm", saved)
        assert read_ct(tmp_path).shape == (COLUMNS, ROWS, 3)

    def test_a_folder_of_scouts_says_what_it_holds(self, tmp_path):
        write_series(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        with pytest.raises(BadImage, match="no CT of the body, only a scout"):
            read_ct(tmp_path)

    def test_a_reformat_alone_is_read(self, tmp_path):
        coronal = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
        slices(tmp_path, [[0, 3.0 * k, 0] for k in range(3)], ImageOrientationPatient=coronal)
        assert read_ct(tmp_path).axis_codes[2] in "AP"


def test_a_dataset_of_pydicom_and_this_reader_agree(tmp_path):
    slices(tmp_path, [NORMAL * 3 * k for k in range(2)])
    assert np.array_equal(pydicom.dcmread(tmp_path / "2.dcm").pixel_array - 1024.0, read_ct(tmp_path).hu[:, :, 1].T)
