"""Files are read as what they are, or refused in one sentence."""

from __future__ import annotations

import gzip
import os
import sys

import nibabel as nib
import numpy as np
import psutil
import pydicom
import pytest
import SimpleITK as sitk

from lib.images import CTImage, PatientFacts, read_ct, write_label
from lib.images.dicom import ct_series, holds_dicom
from lib.images.files import read_ct_series, read_volume, write_ct
from lib.refusals import BadImage, Refusal

# Oblique and sheared, as a gantry tilt leaves it; ITK reads NIfTI without shear only.
AFFINE = np.array([[-0.8, 0.05, 0, 120], [0.05, 0.8, 0.1, -90], [0, -0.1, 3.0, 700], [0, 0, 0, 1.0]])


def ct_array(shape=(12, 10, 8), dtype=np.int16) -> np.ndarray:
    rng = np.random.default_rng(0)
    array = rng.normal(50, 10, shape)
    array[:2] = -1000
    array[2:4] = -100
    return array.round().astype(dtype)


def save(path, array, affine=AFFINE, **header):
    nifti = nib.Nifti1Image(array, affine)
    nib.save(nifti, path)
    return path


class TestReading:
    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
    def test_integers_and_floats_give_the_same_hounsfield_units(self, tmp_path, dtype):
        image = read_ct(save(tmp_path / "a.nii.gz", ct_array(dtype=dtype)))
        assert np.array_equal(image.hu, ct_array())
        assert np.allclose(image.affine, AFFINE, atol=1e-5)

    def test_rescale_slope_and_intercept_are_applied(self, tmp_path):
        raw = nib.Nifti1Image(((ct_array().astype(np.int32) + 1024) * 2).astype(np.int16), AFFINE)
        raw.header["scl_slope"], raw.header["scl_inter"] = 0.5, -1024
        with (tmp_path / "b.nii").open("wb") as file:
            header = raw.header.copy()
            header["vox_offset"] = 352
            header["magic"] = b"n+1"
            header.set_sform(AFFINE, code=1)
            file.write(header.binaryblock + b"\0" * 4 + raw.get_fdata().astype("<i2").tobytes(order="F"))
        assert np.allclose(read_ct(tmp_path / "b.nii").hu, ct_array())

    @pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (12, 10, 8, 1)])
    def test_two_dimensional_and_single_slices_become_volumes_and_remember_their_shape(self, tmp_path, shape):
        array = ct_array(shape)
        image = read_ct(save(tmp_path / "a.nii.gz", array))
        assert image.hu.ndim == 3
        assert image.file_shape == nib.load(tmp_path / "a.nii.gz").shape
        write_label(tmp_path / "l.nii.gz", np.ones(image.shape, np.uint8), image)
        assert nib.load(tmp_path / "l.nii.gz").shape == image.file_shape

    def test_nrrd_has_the_same_voxels_at_the_same_place_as_nifti(self, tmp_path):
        save(
            tmp_path / "a.nii",
            ct_array(),
            np.array([[-0.8, 0, 0, 9], [0, 0.6, 1.8, 5], [0, -0.45, 2.4, 7], [0, 0, 0, 1]]),
        )
        sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii")), str(tmp_path / "a.nrrd"))
        nifti, nrrd = read_ct(tmp_path / "a.nii"), read_ct(tmp_path / "a.nrrd")
        assert np.array_equal(nifti.hu, nrrd.hu)
        assert np.allclose(nifti.affine, nrrd.affine, atol=1e-4)


class TestWriting:
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
    def test_a_label_comes_back_with_its_voxels_and_the_affine_of_the_image(self, tmp_path, suffix):
        image = CTImage(hu=ct_array(), affine=AFFINE)
        label = (np.arange(image.hu.size) % 5).reshape(image.shape).astype(np.uint8)
        write_label(tmp_path / f"l{suffix}", label, image)
        array, affine, _ = read_volume(tmp_path / f"l{suffix}")
        assert np.array_equal(array, label)
        assert np.allclose(affine, AFFINE, atol=1e-4)

    def test_nrrd_keeps_the_raw_bytes_in_frame_order_behind_its_header(self, tmp_path):
        image = CTImage(hu=ct_array(), affine=AFFINE)
        label = (np.arange(image.hu.size) % 5).reshape(image.shape).astype(np.uint8)
        write_label(tmp_path / "l.nrrd", label, image)
        assert (tmp_path / "l.nrrd").read_bytes().endswith(label.tobytes(order="F"))

    def test_a_label_of_another_shape_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="shape"):
            write_label(tmp_path / "l.nii", np.zeros((3, 3, 3), np.uint8), CTImage(hu=ct_array(), affine=AFFINE))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits can be set there")
class TestFaultsOfTheMachine:
    """They are not noted as faults of the file, since the next try may go well."""

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "folder"])
    def test_a_file_that_cannot_be_opened_now(self, tmp_path, name):
        import resource

        path = tmp_path / name
        if name == "folder":
            path.mkdir()
            write_series(path, positions=[0.0, 3.0])
        else:
            write_label(path, ct_array(), CTImage(hu=ct_array(), affine=AFFINE))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        none_left = os.dup(0)
        os.close(none_left)
        resource.setrlimit(resource.RLIMIT_NOFILE, (none_left, limits[1]))
        try:
            with pytest.raises(Refusal) as caught:
                read_ct(path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (caught.value.status_code, isinstance(caught.value, BadImage)) == (503, False)
        assert "Too many open files" in str(caught.value)

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd"])
    def test_too_little_memory(self, tmp_path, name):
        import resource

        large = np.zeros((512, 512, 400), np.int16)
        write_label(tmp_path / name, large, CTImage(hu=large, affine=AFFINE))
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 50_000_000, limits[1]))
        try:
            with pytest.raises(Refusal) as caught:
                read_ct(tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
        assert (caught.value.status_code, isinstance(caught.value, BadImage)) == (503, False)


class TestPhantomMark:
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
    def test_a_phantom_stays_one_through_a_file(self, tmp_path, suffix):
        image = CTImage(hu=ct_array(), affine=AFFINE, facts=PatientFacts(phantom=True))
        write_ct(tmp_path / f"p{suffix}", image)
        back = read_ct(tmp_path / f"p{suffix}")
        assert back.facts == PatientFacts(phantom=True)
        assert np.array_equal(back.hu, image.hu)
        assert np.allclose(back.affine, AFFINE, atol=1e-4)

    def test_a_patient_is_none(self, tmp_path):
        write_ct(tmp_path / "p.nii", CTImage(hu=ct_array(), affine=AFFINE))
        assert read_ct(tmp_path / "p.nii").facts.phantom is None

    def test_a_series_of_a_quality_control_subject_is_a_phantom(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0], QualityControlSubject="YES")
        assert read_ct(tmp_path).facts.phantom is True

    def test_a_ct_is_written_as_nifti_only(self, tmp_path):
        with pytest.raises(ValueError, match="unknown suffix"):
            write_ct(tmp_path / "p.nrrd", CTImage(hu=ct_array(), affine=AFFINE))


class TestBadFiles:
    def refused(self, path) -> str:
        with pytest.raises(Refusal) as caught:
            read_ct(path)
        assert 400 <= caught.value.status_code < 500
        sentence = str(caught.value)
        assert sentence.endswith(".")
        return sentence

    def test_a_gzip_cut_short_is_refused(self, tmp_path):
        save(tmp_path / "a.nii.gz", ct_array((64, 64, 20)))
        data = (tmp_path / "a.nii.gz").read_bytes()
        (tmp_path / "a.nii.gz").write_bytes(data[: len(data) // 2])
        assert "cut short" in self.refused(tmp_path / "a.nii.gz")

    def test_an_uncompressed_file_cut_short_is_refused(self, tmp_path):
        save(tmp_path / "a.nii", ct_array())
        (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-100])
        assert "cut short" in self.refused(tmp_path / "a.nii")

    def test_an_empty_file_is_refused(self, tmp_path):
        (tmp_path / "a.nii.gz").write_bytes(b"")
        assert "empty" in self.refused(tmp_path / "a.nii.gz")

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.png", "a"])
    @pytest.mark.parametrize("content", [b"not an image" * 100, gzip.compress(b"neither" * 100)], ids=["text", "gz"])
    def test_a_file_that_is_no_image_is_refused(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        self.refused(tmp_path / name)

    def test_a_missing_file_is_not_found(self, tmp_path):
        with pytest.raises(Refusal) as caught:
            read_ct(tmp_path / "a.nii")
        assert caught.value.status_code == 404

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_nan_and_infinity_are_refused(self, tmp_path, value):
        array = ct_array(dtype=np.float64)
        array[5, 5, 5] = value
        assert "NaN or infinite" in self.refused(save(tmp_path / "a.nii.gz", array))

    def test_four_dimensions_are_refused(self, tmp_path):
        assert "(12, 10, 8, 2)" in self.refused(save(tmp_path / "a.nii.gz", ct_array((12, 10, 8, 2))))

    def test_a_perfusion_ct_is_refused_before_its_voxels_are_read(self, tmp_path):
        save(tmp_path / "a.nii", ct_array((12, 10, 8, 2)))
        (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:400])
        assert "(12, 10, 8, 2)" in self.refused(tmp_path / "a.nii")

    def test_colours_are_refused(self, tmp_path):
        rgb = np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        assert "plain numbers" in self.refused(save(tmp_path / "a.nii", rgb))

    def test_an_mr_is_refused(self, tmp_path):
        rng = np.random.default_rng(1)
        assert "an MR" in self.refused(save(tmp_path / "a.nii", rng.gamma(2, 100, (12, 10, 8)).astype(np.int16)))

    def test_a_standardised_mr_is_refused(self, tmp_path):
        rng = np.random.default_rng(1)
        assert "an MR" in self.refused(save(tmp_path / "a.nii", rng.normal(0, 1, (12, 10, 8)).astype(np.float32)))

    def test_one_value_everywhere_is_refused(self, tmp_path):
        assert "one value" in self.refused(save(tmp_path / "a.nii", np.full((5, 5, 5), -1000, np.int16)))


def unknown_type(path):
    path.write_bytes(path.read_bytes().replace(b"CS\x02\x00CT", b"CK\x02\x00CT"))


def wrong_length(path):
    content = path.read_bytes()
    start = content.index(b"DS", content.index(b"\x20\x00\x32\x00"))  # ImagePositionPatient
    path.write_bytes(content[:start] + b"FD" + content[start + 2 :])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:400])


def emptied(path):
    path.write_bytes(b"")


def without_identifiers(path):
    dataset = pydicom.dcmread(path)
    del dataset.SeriesInstanceUID
    dataset.save_as(path)


class TestDicom:
    def test_a_series_without_identifiers_is_refused_by_name(self, shared_data):
        with pytest.raises(Refusal, match=r"slice_00\.dcm has no StudyInstanceUID"):
            read_ct(shared_data / "ct_series_without_uids")

    def test_the_same_series_with_identifiers_is_read_through_its_jpeg_2000(self, shared_data, tmp_path):
        study, series = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
        positions = []
        for path in (shared_data / "ct_series_without_uids").iterdir():
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
            dataset.SOPInstanceUID = pydicom.uid.generate_uid()
            dataset.save_as(tmp_path / path.name)
            positions.append((float(dataset.ImagePositionPatient[2]), dataset))
        image = read_ct(tmp_path).canonical()
        assert image.shape == (512, 512, 20)
        assert image.spacing == pytest.approx([0.98, 0.98, 2.0], abs=0.01)
        lowest = min(positions, key=lambda item: item[0])[1]
        hu = lowest.pixel_array * float(lowest.RescaleSlope) + float(lowest.RescaleIntercept)
        assert np.array_equal(image.hu[::-1, ::-1, 0].T, hu.astype(np.int16))

    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(Refusal, match="no DICOM"):
            read_ct(tmp_path)

    def test_slices_in_any_file_order_become_a_volume_with_the_facts_of_the_patient(self, tmp_path):
        write_series(tmp_path, positions=[9.0, 3.0, 6.0])
        image = read_ct(tmp_path)
        assert image.shape == (6, 5, 3)
        canonical = image.canonical()
        # each slice holds its own position in HU, through a slope of 0.5 and an intercept of -1024
        assert [int(canonical.hu[-1, -1, k]) for k in range(3)] == [3, 6, 9]
        assert canonical.spacing == pytest.approx([0.9, 0.8, 3.0])
        assert image.facts == PatientFacts(sex="F", age_years=64, height_m=1.63, weight_kg=58, contrast=True)

    @pytest.mark.parametrize(
        ("said", "given"),
        [
            ({"ContrastBolusAgent": "None"}, False),
            ({"ContrastBolusAgent": "NO CONTRAST"}, False),
            ({"ContrastBolusAgent": "w/o contrast"}, False),
            ({"ContrastBolusAgent": "Nonionic 300"}, True),
            ({"ContrastBolusAgent": "CE"}, True),
            ({"ContrastBolusAgent": ""}, None),
            ({"ContrastBolusAgent": "Oral"}, None),
            ({"ContrastBolusAgent": "Gastrografin", "ContrastBolusRoute": "ORAL"}, None),
            ({"ContrastBolusAgent": "Iohexol", "ContrastBolusRoute": "IV"}, True),
        ],
    )
    def test_contrast_is_what_dicom_says_of_the_blood(self, tmp_path, said, given):
        write_series(tmp_path, positions=[0.0, 3.0], **said)
        assert read_ct(tmp_path).facts.contrast is given

    def test_absurd_facts_count_as_unknown_and_are_said_to_be(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0], PatientSize="163", PatientSex="O", PatientAge="")
        image = read_ct(tmp_path)
        assert image.facts == PatientFacts(weight_kg=58, contrast=True)
        assert len(image.warnings) == 1
        assert "height_m" in image.warnings[0]
        assert "0.5 to 2.6 metres" in image.warnings[0]

    def test_a_missing_slice_is_refused(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0, 9.0, 12.0])
        with pytest.raises(Refusal, match="not evenly spaced"):
            read_ct(tmp_path)

    def test_a_doubled_slice_is_refused(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0, 3.0, 6.0])
        with pytest.raises(Refusal, match="same position"):
            read_ct(tmp_path)

    @pytest.mark.parametrize("spoil", [unknown_type, wrong_length, cut_in_the_header, emptied, without_identifiers])
    def test_a_bad_file_in_the_middle_fails_its_series_by_the_gap_and_no_other(self, tmp_path, spoil):
        write_series(tmp_path, positions=[0.0, 3.0, 6.0, 9.0], prefix="good")
        write_series(tmp_path, positions=[0.0, 3.0, 6.0, 9.0], prefix="spoilt")
        spoil(tmp_path / "spoilt1.dcm")
        found = ct_series(tmp_path)
        good, spoilt = sorted(found.files.values())
        assert read_ct_series(good, found.warnings).shape == (6, 5, 4)
        with pytest.raises(BadImage, match="not evenly spaced"):
            read_ct_series(spoilt, found.warnings)

    def test_a_bad_file_at_the_end_is_told_also_after_the_conversion_to_nifti(self, tmp_path):
        (tmp_path / "ct").mkdir()
        write_series(tmp_path / "ct", positions=[0.0, 3.0, 6.0])
        unknown_type(tmp_path / "ct" / "a2.dcm")
        image = read_ct(tmp_path / "ct")
        (warning,) = image.warnings
        assert "1 file" in warning
        assert "a2.dcm" in warning
        write_ct(tmp_path / "ct.nii.gz", image)
        assert read_ct(tmp_path / "ct.nii.gz").warnings == (warning,)

    @pytest.mark.parametrize("spoil", [unknown_type, wrong_length])
    def test_a_folder_of_bad_files_is_refused_by_the_first(self, tmp_path, spoil):
        write_series(tmp_path, positions=[0.0, 3.0])
        for path in tmp_path.iterdir():
            spoil(path)
        with pytest.raises(BadImage, match=r"a0\.dcm in .* is damaged \(.*\)\.$"):
            read_ct(tmp_path)

    def test_an_odd_fact_of_the_patient_costs_that_fact_only(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0])
        for path in tmp_path.iterdir():
            path.write_bytes(path.read_bytes().replace(b"DS\x04\x001.63", b"FD\x04\x001.63"))
        assert read_ct(tmp_path).facts == PatientFacts(sex="F", age_years=64, weight_kg=58, contrast=True)

    def test_a_directory_of_a_medium_is_no_image(self, tmp_path):
        directory = pydicom.uid.MediaStorageDirectoryStorage
        write_series(tmp_path, positions=[0.0], SOPClassUID=directory, StudyInstanceUID="", SeriesInstanceUID="")
        (tmp_path / "a0.dcm").rename(tmp_path / "DICOMDIR")
        assert not holds_dicom(tmp_path)
        write_series(tmp_path, positions=[0.0, 3.0])
        assert holds_dicom(tmp_path)
        assert read_ct(tmp_path).warnings == ()

    def test_an_mr_series_is_refused(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0], Modality="MR")
        with pytest.raises(Refusal, match="no CT"):
            read_ct(tmp_path)

    def test_two_series_in_one_folder_are_refused(self, tmp_path):
        write_series(tmp_path, positions=[0.0, 3.0])
        write_series(tmp_path, positions=[0.0, 3.0], prefix="b")
        with pytest.raises(Refusal, match="2 CT series"):
            read_ct(tmp_path)


def write_series(folder, positions, prefix="a", **changes):
    """A small CT series, one value per slice: its position in HU, with air in one corner."""
    study, series = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    for number, z in enumerate(positions):
        hu = np.full((5, 6), z)
        hu[3:, 3:] = -1000
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.InstanceNumber = "CT", str(number + 1)
        dataset.PatientSex, dataset.PatientAge = "F", "064Y"
        dataset.PatientSize, dataset.PatientWeight = "1.63", "58"
        dataset.ContrastBolusAgent = "iohexol"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-10.0, -20.0, z]
        dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.9], "3"
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-1024"
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 5, 6, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelData = ((hu + 1024) * 2).astype("<u2").tobytes()
        for name, value in changes.items():
            setattr(dataset, name, value)
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(folder / f"{prefix}{number}.dcm", write_like_original=False)
