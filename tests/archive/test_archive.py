"""The files of a folder as a DICOM archive: found in any layout, read frame by frame, and added to."""

from __future__ import annotations

import io
import json
import os

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.frame import encode_frame
from pydicom import uid as uids

from lib.archive import Archive
from lib.images import CTImage, read_ct
from lib.images.files import write_ct
from lib.images.frames import frame_order
from lib.refusals import BadImage, Refusal
from tests.archive.dicom_files import COLUMNS, ROWS, ct, in_syntax, pixels, write, write_series


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "sarcopenia").mkdir()
    return tmp_path


@pytest.fixture
def archive(studies):
    return Archive(studies, studies / "sarcopenia")


def identifiers(archive):
    return {each["0020000E"]["Value"][0] for each in archive.series()}


def shown(archive, sop, number=0):
    content, syntax = archive.frame(sop, number, plain=True)
    assert syntax == uids.ExplicitVRLittleEndian
    return np.frombuffer(content, "<u2").reshape(ROWS, COLUMNS)


class TestFinding:
    def test_files_in_any_layout_whatever_their_names(self, studies, archive):
        one = write_series(studies / "patient" / "study" / "series")
        two = write_series(studies)
        three = write_series(studies / "flat")
        for path in (studies / "flat").iterdir():
            path.rename(path.with_suffix(""))
        archive.scan()
        assert identifiers(archive) == {one, two, three}
        assert archive.counts()["instances"] == 9

    def test_two_series_in_one_folder_are_told_apart(self, studies, archive):
        one = write_series(studies / "mixed")
        for number in (1, 2):
            write(studies / "mixed" / f"b{number}", ct("1.2.3.4", number))
        archive.scan()
        assert identifiers(archive) == {one, "1.2.3.4"}
        assert archive.case_of(one) is None

    def test_what_is_new_changed_and_gone_is_noticed(self, studies, archive):
        series = write_series(studies / "a")
        archive.scan()
        (studies / "a" / "3.dcm").unlink()
        write(studies / "a" / "2.dcm", ct(series, 2, PatientID="other", PatientName="longer than before"))
        write(studies / "a" / "4.dcm", ct(series, 4))
        again = Archive(studies, studies / "sarcopenia")
        again.scan()
        headers = [json.loads(header) for header in again.headers("1.2.826.0", series)]
        assert [header["00200013"]["Value"][0] for header in headers] == [1, 2, 4]
        assert headers[1]["00100020"]["Value"] == ["other"]

    def test_files_that_have_not_changed_are_not_read_again(self, studies, archive):
        write_series(studies / "a")
        archive.scan()
        path = studies / "a" / "1.dcm"
        stat = path.stat()
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        again = Archive(studies, studies / "sarcopenia")
        again.scan()
        assert again.counts()["instances"] == 3
        os.utime(path)
        again.scan()
        assert again.counts()["instances"] == 2

    def test_a_damaged_index_is_made_anew(self, studies, archive):
        series = write_series(studies / "a")
        archive.scan()
        for suffix in ("-wal", "-shm"):
            (studies / "sarcopenia" / f"archive.sqlite{suffix}").unlink(missing_ok=True)
        (studies / "sarcopenia" / "archive.sqlite").write_bytes(b"no database" * 1000)
        again = Archive(studies, studies / "sarcopenia")
        again.scan()
        assert identifiers(again) == {series}

    def test_a_file_that_is_there_twice_is_served_once_until_the_first_is_gone(self, studies, archive):
        write(studies / "a" / "1.dcm", ct("1.2.3", 1))
        write(studies / "b" / "1.dcm", ct("1.2.3", 1))
        archive.scan()
        assert archive.refused() == [("b/1.dcm", "b/1.dcm has the same SOPInstanceUID as a/1.dcm.")]
        (studies / "a" / "1.dcm").unlink()
        archive.scan()
        archive.scan()
        assert (archive.refused(), archive.instance("1.2.3.1").path) == ([], "b/1.dcm")

    def test_the_labels_and_conversions_beside_the_images_are_no_images(self, studies, archive):
        write(studies / "sarcopenia" / "removed" / "x.dcm", ct("1.2.3", 1))
        (studies / ".hidden").mkdir()
        write(studies / ".hidden" / "x.dcm", ct("1.2.3", 2))
        write(studies / "sarcopenia" / "dicom" / "seg.dcm", ct("1.2.4", 1))
        archive.scan()
        assert identifiers(archive) == {"1.2.4"}

    def test_a_link_that_leads_back_is_followed_once(self, studies, archive):
        series = write_series(studies / "a")
        (studies / "a" / "again").symlink_to(studies, target_is_directory=True)
        archive.scan()
        assert (identifiers(archive), archive.refused()) == ({series}, [])

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda d: delattr(d, "SeriesInstanceUID"), "a/1.dcm has no SeriesInstanceUID"),
            (lambda d: setattr(d, "PixelData", d.PixelData[:-4]), None),
        ],
    )
    def test_a_file_that_cannot_be_served_has_a_sentence(self, studies, archive, spoil, sentence):
        dataset = ct("1.2.3", 1)
        spoil(dataset)
        path = write(studies / "a" / "1.dcm", dataset)
        if sentence is None:  # the file itself is cut short
            path.write_bytes(path.read_bytes()[:-20])
            sentence = "a/1.dcm is cut short"
        archive.scan()
        assert [said.startswith(sentence) and said.endswith(".") for _, said in archive.refused()] == [True]

    def test_rubbish_with_the_name_of_dicom_is_refused_and_other_files_are_passed_over(self, studies, archive):
        (studies / "a").mkdir()
        (studies / "a" / "x.dcm").write_text("no DICOM")
        (studies / "a" / "README").write_text("about these files")
        archive.scan()
        assert archive.refused() == [("a/x.dcm", "a/x.dcm is damaged: it is no DICOM.")]

    def test_the_real_series_without_identifiers_is_refused_naming_what_is_missing(self, studies, archive, shared_data):
        (studies / "bare").symlink_to(shared_data / "ct_series_without_uids", target_is_directory=True)
        archive.scan()
        assert (len(archive.refused()), archive.counts()["instances"]) == (20, 0)
        assert "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID" in archive.refused()[0][1]
        assert "slice_" in archive.why_not("bare")


class TestHeaders:
    def test_are_in_utf8_and_name_where_large_values_are(self, studies, archive):
        large = bytes(range(256)) * 16
        series = write_series(studies / "a", count=1, EncapsulatedDocument=large)
        archive.scan()
        (header,) = map(json.loads, archive.headers("1.2.826.0", series))
        assert header["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
        assert header["00080005"]["Value"] == ["ISO_IR 192"]
        assert header["00420011"]["BulkDataURI"] == "bulk:00420011"
        assert archive.bulk(f"{series}.1", 0x00420011) == large
        with pytest.raises(Refusal, match="has no element 00420012"):
            archive.bulk(f"{series}.1", 0x00420012)

    def test_a_value_that_is_not_what_its_type_says_costs_that_value_only(self, studies, archive):
        write_series(studies / "a", count=1)
        path = studies / "a" / "1.dcm"
        path.write_bytes(path.read_bytes().replace(b"IS\x02\x003 ", b"IS\x02\x00??"))
        archive.scan()
        (series,) = archive.series()
        assert "00200011" not in series
        assert series["00100020"]["Value"] == ["4711"]


def encoded(number, syntax):
    return encode_frame(
        pixels(number), syntax, bits_allocated=16, bits_stored=16, photometric_interpretation="MONOCHROME2"
    )


class TestFrames:
    @pytest.mark.parametrize("syntax", [uids.JPEG2000Lossless, uids.JPEGLSLossless, uids.RLELossless])
    @pytest.mark.parametrize("frames", [1, 3])
    def test_compressed_frames_are_given_as_they_are_or_decoded(self, studies, archive, syntax, frames):
        contents = [encoded(number, syntax) for number in range(frames)]
        write(studies / "x.dcm", in_syntax(ct("1.2.3", 1, NumberOfFrames=frames), syntax, contents))
        archive.scan()
        for number in range(frames):
            content, stored = archive.frame("1.2.3.1", number)
            assert stored == syntax
            assert content.rstrip(b"\0") == contents[number].rstrip(b"\0")
            assert np.array_equal(shown(archive, "1.2.3.1", number), pixels(number))

    def test_frames_in_several_fragments_are_put_together_by_the_table_of_offsets(self, studies, archive):
        contents = [encoded(number, uids.JPEG2000Lossless) for number in range(3)]
        dataset = in_syntax(ct("1.2.3", 1, NumberOfFrames=3), uids.JPEG2000Lossless, contents)
        dataset.PixelData = pydicom.encaps.encapsulate(contents, fragments_per_frame=2)
        dataset["PixelData"].is_undefined_length = True
        write(studies / "x.dcm", dataset)
        archive.scan()
        assert all(np.array_equal(shown(archive, "1.2.3.1", number), pixels(number)) for number in range(3))

    @pytest.mark.parametrize(
        ("syntax", "order"),
        [
            (uids.ExplicitVRLittleEndian, "<u2"),
            (uids.ImplicitVRLittleEndian, "<u2"),
            (uids.ExplicitVRBigEndian, ">u2"),
            (uids.DeflatedExplicitVRLittleEndian, "<u2"),
        ],
    )
    def test_plain_frames_are_little_endian_whatever_the_file_is(self, studies, archive, syntax, order):
        contents = [pixels(number).astype(order).tobytes() for number in range(2)]
        write(studies / "x.dcm", in_syntax(ct("1.2.3", 1, NumberOfFrames=2), syntax, contents))
        archive.scan()
        for number in range(2):
            content, stored = archive.frame("1.2.3.1", number)
            assert (stored, content) == (uids.ExplicitVRLittleEndian, pixels(number).astype("<u2").tobytes())

    def test_a_frame_that_is_not_there_is_not_found(self, studies, archive):
        write_series(studies / "a", "1.2.3")
        archive.scan()
        for sop, number in (("1.2.3.1", 1), ("1.2.3.9", 0), ("2.25.7.1", 0)):
            with pytest.raises(Refusal) as caught:
                archive.frame(sop, number)
            assert caught.value.status_code == 404

    def test_damaged_pixels_are_refused_naming_the_file(self, studies, archive):
        broken = encoded(1, uids.JPEG2000Lossless)[:20] + bytes(40)
        write(studies / "x.dcm", in_syntax(ct("1.2.3", 1), uids.JPEG2000Lossless, [broken]))
        archive.scan()
        with pytest.raises(BadImage, match=r"The pixels of x\.dcm cannot be decoded"):
            archive.frame("1.2.3.1", 0, plain=True)


def oblique(signs, order):
    """An oblique, anisotropic affine whose axes are near to some order of the patient's, with signs."""
    a, b, c = np.deg2rad([12, -9, 17])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (x @ y @ z @ np.diag(np.array([0.7, 0.9, 5.0]) * signs))[:, list(order)]
    affine[:3, 3] = [91.5, -80.25, 410.125]
    return affine


def ct_array(shape):
    hu = np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)
    hu[:2] = -1000
    return hu


class TestImageFiles:
    """NIfTI and NRRD as the series that they would be."""

    @pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)])
    @pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
    def test_the_series_has_the_very_voxels_at_their_places(self, studies, archive, tmp_path, signs, axes):
        image = CTImage(hu=ct_array((7, 6, 5)), affine=oblique(signs, axes))
        write_ct(studies / "ann.nii.gz", image)
        archive.scan()
        (series,) = identifiers(archive)
        folder = tmp_path / "out"
        folder.mkdir()
        frames = archive.datasets(series)
        for dataset in frames:
            (folder / f"{dataset.InstanceNumber}.dcm").write_bytes(archive.file(dataset.SOPInstanceUID))
        back = read_ct(folder)
        order = frame_order(image.shape, nib.load(studies / "ann.nii.gz").affine)
        assert np.array_equal(order.from_frames(back.hu), image.hu)
        assert np.allclose(back.affine, order.affine, atol=1e-4)
        assert back.axis_codes == ("L", "P", "S")

    def test_a_tilted_gantry_keeps_every_slice_where_it_was(self, studies, archive):
        affine = np.diag([-0.8, -0.8, 5.0, 1.0])
        affine[1, 2] = 1.5
        nib.save(nib.Nifti1Image(ct_array((7, 6, 5)), affine), studies / "tilted.nii")
        archive.scan()
        (series,) = identifiers(archive)
        positions = [np.array(d.ImagePositionPatient, float) for d in archive.datasets(series)]
        assert np.allclose(np.diff(positions, axis=0), [0, -1.5, 5.0])

    def test_rows_and_columns_that_are_not_at_right_angles_are_refused(self, studies, archive):
        affine = np.diag([0.8, 0.8, 5.0, 1.0])
        affine[0, 1] = 0.3
        nib.save(nib.Nifti1Image(ct_array((7, 6, 5)), affine), studies / "skewed.nii")
        archive.scan()
        assert "not at right angles" in archive.why_not("skewed.nii")

    def test_identifiers_stay_the_same_and_differ_between_cases(self, studies, tmp_path):
        image = CTImage(hu=ct_array((7, 6, 5)), affine=oblique((1, 1, 1), (0, 1, 2)))
        write_ct(studies / "ann.nii.gz", image)
        (studies / "ben.nii.gz").write_bytes((studies / "ann.nii.gz").read_bytes())
        found = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            archive = Archive(studies, tmp_path / name)
            archive.scan()
            found.append({archive.case_of(uid): uid for uid in identifiers(archive)})
        assert found[0] == found[1]
        assert len(set(found[0].values())) == 2
        assert all(len(f"{uid}.99999") <= 64 for uid in found[0].values())
        write_ct(studies / "ann.nii.gz", CTImage(hu=image.hu + 1, affine=image.affine))
        archive.scan()
        assert archive.series_of_case("ann.nii.gz")[1] not in found[0].values()

    def test_nrrd_slices_and_fractions(self, studies, archive):
        sitk.WriteImage(sitk.GetImageFromArray(ct_array((4, 5, 6)).astype(np.float32) + 0.4), str(studies / "n.nrrd"))
        nib.save(nib.Nifti1Image(ct_array((6, 5)), np.eye(4)), studies / "flat.nii")
        archive.scan()
        counts = {archive.case_of(s["0020000E"]["Value"][0]): s["00201209"]["Value"][0] for s in archive.series()}
        assert counts == {"n": 4, "flat": 1}
        series = archive.series_of_case("n.nrrd")[1]
        values, header = archive.values(f"{series}.2", 0)
        order = frame_order((6, 5, 4), read_ct(studies / "n.nrrd").affine)
        assert np.array_equal(values, order.to_frames(np.rint(read_ct(studies / "n.nrrd").hu))[:, :, 1].T)
        assert header["00281052"]["Value"] == [0]

    def test_a_phantom_says_so(self, studies, archive):
        image = nib.Nifti1Image(ct_array((7, 6, 5)), np.eye(4))
        image.header["descrip"] = "digital phantom, not a patient"
        nib.save(image, studies / "p.nii.gz")
        archive.scan()
        (series,) = identifiers(archive)
        assert all(d.QualityControlSubject == "YES" for d in archive.datasets(series))

    def test_a_file_that_is_no_ct_is_refused_when_its_frames_are_asked_for(self, studies, archive):
        nib.save(nib.Nifti1Image(np.full((7, 6, 5), 300, np.int16), np.eye(4)), studies / "mr.nii.gz")
        archive.scan()
        (series,) = identifiers(archive)
        with pytest.raises(BadImage, match="one value only"):
            archive.frame(f"{series}.1", 0)

    def test_copies_of_frames_are_bounded_the_oldest_go_first(self, studies):
        for name in ("a", "b", "c"):
            write_ct(studies / f"{name}.nii", CTImage(hu=ct_array((7, 6, 5)), affine=np.eye(4)))
        archive = Archive(studies, studies / "sarcopenia")
        archive._copies._limit_bytes = 2 * 7 * 6 * 5 * 2
        archive.scan()
        series = [archive.series_of_case(f"{name}.nii")[1] for name in ("a", "b", "c")]
        for age, uid in enumerate(series):
            archive.make_ready(uid)
            path = studies / "sarcopenia" / "frames" / f"{uid}.raw"
            os.utime(path, (1e9 + age, 1e9 + age))
        assert {path.stem for path in (studies / "sarcopenia" / "frames").iterdir()} == set(series[1:])
        assert len(archive.frame(f"{series[0]}.1", 0)[0]) == 7 * 6 * 2


class TestCases:
    def test_are_found_by_their_series_and_the_other_way(self, studies, archive):
        series = write_series(studies / "ann")
        write_ct(studies / "ben.nii.gz", CTImage(hu=ct_array((7, 6, 5)), affine=np.eye(4)))
        assert archive.series_of_case("ben.nii.gz") is not None  # before any scan
        archive.scan()
        assert archive.case_of(series) == "ann"
        assert archive.series_of_case("ann") == ("1.2.826.0", series)
        assert archive.case_of(archive.series_of_case("ben.nii.gz")[1]) == "ben"
        for other in ("1.2.3", "", "ann", "1.2.3" * 30, "../x"):
            assert archive.case_of(other) is None


def content(dataset, tmp_path):
    path = write(tmp_path / "sent" / "x.dcm", dataset)
    data = path.read_bytes()
    path.unlink()
    path.parent.rmdir()
    return data


class TestAdding:
    def test_a_ct_is_kept_in_a_folder_of_its_series_and_is_a_case(self, studies, archive, tmp_path):
        for number in (1, 2):
            archive.add(content(ct("1.2.3", number), tmp_path))
        assert sorted(path.name for path in (studies / "1.2.3").iterdir()) == ["1.2.3.1.dcm", "1.2.3.2.dcm"]
        assert archive.case_of("1.2.3") == "1.2.3"

    def test_further_slices_go_where_the_series_is(self, studies, archive, tmp_path):
        series = write_series(studies / "ann")
        archive.scan()
        archive.add(content(ct(series, 9), tmp_path))
        assert (studies / "ann" / f"{series}.9.dcm").is_file()

    def test_what_is_no_ct_is_kept_beside_the_labels(self, studies, archive, tmp_path):
        new = archive.add(content(ct("1.2.3", 1, Modality="SR"), tmp_path))
        assert archive.path_of(new) == studies / "sarcopenia" / "dicom" / "1.2.3" / "1.2.3.1.dcm"
        archive.scan()
        assert identifiers(archive) == {"1.2.3"}

    def test_the_same_again_changes_nothing_and_another_of_that_name_is_refused(self, archive, tmp_path):
        data = content(ct("1.2.3", 1), tmp_path)
        assert archive.add(data).sop == archive.add(data).sop
        with pytest.raises(Refusal) as caught:
            archive.add(content(ct("1.2.3", 1, PatientID="other"), tmp_path))
        assert caught.value.status_code == 409
        assert archive.path_of(archive.instance("1.2.3.1")).read_bytes() == data

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda data: b"no DICOM", "no DICOM file"),
            (lambda data: data[:-8], "cut short"),
            (lambda data: data[:300], "damaged|has no"),
            (lambda data: data.replace(b"1.2.3.1", b"../../x"), "is none"),
        ],
    )
    def test_what_cannot_be_kept_leaves_nothing_behind(self, studies, archive, tmp_path, spoil, sentence):
        with pytest.raises(BadImage, match=sentence):
            archive.add(spoil(content(ct("1.2.3", 1), tmp_path)))
        assert list((studies / "sarcopenia" / "dicom").iterdir()) == []
        assert archive.counts()["files"] == 0


def test_an_instance_is_a_whole_dicom_file(studies, archive):
    write_ct(studies / "ben.nii", CTImage(hu=ct_array((7, 6, 5)), affine=np.eye(4)))
    study, series = archive.series_of_case("ben.nii")
    dataset = pydicom.dcmread(io.BytesIO(archive.file(f"{series}.3")))
    assert (dataset.StudyInstanceUID, dataset.PatientID, dataset.InstanceNumber) == (study, "ben", 3)
    assert dataset.pixel_array.shape == (6, 7)


def test_a_link_to_nowhere_costs_no_other_file_and_an_unreadable_one_is_tried_again(studies, archive, monkeypatch):
    series = write_series(studies / "a")
    (studies / "a" / "0").symlink_to(studies / "nowhere")
    path = studies / "a" / "2.dcm"
    moment = "2.dcm"
    usual = type(path).open

    def fail(self, *arguments, **options):
        if self.name == moment:
            raise PermissionError(13, "not now")
        return usual(self, *arguments, **options)

    monkeypatch.setattr(type(path), "open", fail)
    archive.scan()
    assert archive.refused() == [("a/2.dcm", "a/2.dcm cannot be read now (not now).")]
    moment = ""
    archive.scan()
    assert (archive.refused(), archive.counts()["instances"]) == ([], 3)
    assert identifiers(archive) == {series}


def test_an_affine_of_hardly_three_axes_is_refused(studies, archive):
    affine = np.array([[1, 1, 0, 0], [1, 1 + 1e-7, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(ct_array((4, 5, 6)), affine)
    image.header.set_sform(affine, code=2)
    nib.save(image, studies / "flat.nii")
    archive.scan()
    assert archive.why_not("flat.nii").endswith(".")
