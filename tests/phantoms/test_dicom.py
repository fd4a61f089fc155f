"""A phantom's DICOM series is a sound CT series, says that it is a phantom, and is read as what was written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from lib.images import CTImage, PatientFacts, read_ct
from lib.phantoms.dicom import as_series, write_dicom_series
from lib.phantoms.scanner import Scanner

FACTS = PatientFacts(sex="F", age_years=64, height_m=1.63, weight_kg=58.5, contrast=True, phantom=True)
OBLIQUE = np.linalg.qr(np.array([[1, 0.1, 0.05], [-0.1, 1, 0.2], [0, -0.2, 1]]))[0]
OBLIQUE = OBLIQUE * np.sign(np.diag(OBLIQUE))


def ct(directions: np.ndarray) -> CTImage:
    """Voxels of 0.7 x 0.8 x 2.5 mm along the columns of ``directions``, all of them different."""
    affine = np.eye(4)
    affine[:3, :3] = directions * [0.7, 0.8, 2.5]
    affine[:3, 3] = [-101.234567, 55.5, 1234.987654]
    hu = (np.arange(24 * 20 * 6).reshape(24, 20, 6) % 4096 - 1024).astype(np.int16)
    return CTImage(hu=hu, affine=affine, facts=FACTS)


@pytest.fixture
def write(tmp_path):
    def _write(image: CTImage, name: str = "series", identity: str = "7 abdomen"):
        folder = tmp_path / name
        folder.mkdir()
        write_dicom_series(
            folder, image, patient_id="P7", description="abdomen", scanner=Scanner(kvp=100), identity=identity
        )
        return folder

    return _write


@pytest.mark.parametrize(
    "directions",
    [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.diag([-1.0, 1.0, -1.0]), OBLIQUE, np.eye(3)[[1, 2, 0]]],
    ids=["RAS", "LPS", "LAI", "oblique", "sagittal"],
)
def test_voxels_affine_and_facts_come_back(write, directions):
    image = ct(directions)
    back = read_ct(write(image))
    assert np.array_equal(back.hu, image.hu)
    assert np.allclose(back.affine, image.affine, atol=1e-4)
    assert back.facts == FACTS


def test_a_left_handed_image_is_turned_before(write):
    image = ct(np.diag([-1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="right-handed"):
        write(image, "left-handed")
    turned, was_turned = as_series(image)
    assert was_turned
    back = read_ct(write(turned)).canonical()
    assert np.array_equal(back.hu, image.canonical().hu)
    assert np.allclose(back.affine, image.canonical().affine, atol=1e-4)


def test_every_slice_is_a_ct_of_a_phantom(write):
    files = sorted(write(ct(np.diag([-1.0, -1.0, 1.0]))).iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    assert len({s.SOPInstanceUID for s in slices}) == 6
    assert len({(s.StudyInstanceUID, s.SeriesInstanceUID, s.FrameOfReferenceUID) for s in slices}) == 1
    for s in slices:
        assert s.SOPClassUID == pydicom.uid.CTImageStorage
        assert s.file_meta.MediaStorageSOPInstanceUID == s.SOPInstanceUID
        assert (s.PatientID, str(s.PatientName), s.QualityControlSubject) == ("P7", "Phantom^P7", "YES")
        assert "not a patient" in s.ImageComments
        assert (s.PatientSex, s.PatientAge, s.PatientSize, s.PatientWeight) == ("F", "064Y", 1.63, 58.5)
        assert (s.KVP, s.ConvolutionKernel, bool(s.ContrastBolusAgent)) == (100, "STANDARD", True)
        assert s.pixel_array.shape == (20, 24)
    steps = np.diff([s.ImagePositionPatient[2] for s in slices])
    assert steps == pytest.approx(2.5)


def test_the_same_case_has_the_same_identifiers_and_another_one_others(write):
    image = ct(np.eye(3))
    first, again = (pydicom.dcmread(write(image, name) / "IM0003.dcm") for name in ("first", "again"))
    other = pydicom.dcmread(write(image, "other", identity="8 abdomen") / "IM0003.dcm")
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert first[name] == again[name]
        assert first[name] != other[name]


def test_what_no_series_can_hold_is_refused(write):
    sheared = ct(np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1.0]]))
    with pytest.raises(ValueError, match="shear"):
        write(sheared, "sheared")
    image = ct(np.eye(3))
    with pytest.raises(ValueError, match="HU of -1024 to 3071"):
        write(replace(image, hu=image.hu + np.int16(2000)), "bright")
