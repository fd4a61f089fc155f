"""DICOM series in any layout are cases: by the name of their folder, or each by its identifier."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from lib.refusals import Refusal
from lib.stores import CaseStore
from tests.archive.dicom_files import ct, write, write_series


@pytest.fixture
def store(studies):
    opened = CaseStore(studies)
    yield opened
    opened.close()


def scanned(store):
    store.archive.scan()
    return store.list_images()


def sound(folder, series, **changes):
    """A series with air in it, as a CT has."""
    for number in (1, 2, 3):
        dataset = ct(series, number, **changes)
        pixels = np.full((dataset.Rows, dataset.Columns), 1000 + number, "<u2")
        pixels[10:] = 24
        dataset.PixelData = pixels.tobytes()
        write(folder / f"{series}-{number}.dcm", dataset)
    return series


class TestLayouts:
    def test_a_folder_with_one_series_is_a_case_under_its_name(self, store, studies):
        series = sound(studies / "ann", "1.2.3")
        write(studies / "ann" / "scout", ct("1.2.4", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
        assert scanned(store) == ["ann"]
        assert store.case_id(series) == "ann"
        assert store.dicom_identifiers("ann") == ("1.2.0", series)

    def test_series_deeper_down_or_loose_are_cases_under_their_identifiers(self, store, studies):
        deep = sound(studies / "patient" / "study" / "a", "1.2.3")
        loose = sound(studies, "1.3.4")
        assert scanned(store) == [deep, loose]
        for uid in (deep, loose):
            image = nib.load(store.get_image_uri(uid))
            assert image.shape == (24, 20, 3)
            assert store.dicom_identifiers(uid)[1] == uid
            assert store.get_image_info(uid)["SeriesInstanceUID"] == uid

    def test_two_series_in_a_folder_are_two_cases(self, store, studies):
        one, two = sound(studies / "ann", "1.2.3"), sound(studies / "ann", "1.2.4", RescaleIntercept="-1000")
        assert scanned(store) == [one, two]
        lowest = [np.asarray(nib.load(store.get_image_uri(uid)).dataobj).min() for uid in (one, two)]
        assert lowest == [24 - 1024, 24 - 1000]

    def test_a_case_keeps_its_name_and_its_series_when_another_comes(self, store, studies):
        one = sound(studies / "ann", "1.2.5")
        scanned(store)
        before = np.asarray(nib.load(store.get_image_uri("ann")).dataobj)
        two = sound(studies / "ann", "1.2.4", RescaleIntercept="-1000")
        assert scanned(store) == [two, "ann"]
        assert store.case_id(one) == "ann"
        assert np.array_equal(np.asarray(nib.load(store.get_image_uri("ann")).dataobj), before)
        assert store.dicom_identifiers("ann")[1] == one

    def test_scouts_reformats_and_reports_are_no_cases(self, store, studies):
        write_series(studies / "p" / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        write_series(studies / "p" / "coronal", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
        write_series(studies / "p" / "report", Modality="SR")
        assert scanned(store) == []
        assert store.archive.counts()["series"] == 3  # OHIF shows them all the same


class TestRemoving:
    def test_takes_the_files_of_that_series_only(self, store, studies):
        one, two = sound(studies / "ann", "1.2.3"), sound(studies / "ann", "1.2.4")
        scanned(store)
        store.remove_image(one)
        assert sorted(path.name for path in (studies / "ann").iterdir()) == [f"{two}-{k}.dcm" for k in (1, 2, 3)]
        assert two in store.list_images() or "ann" in store.list_images()
        assert sum(path.is_file() for path in (studies / "sarcopenia" / "removed").rglob("*.dcm")) == 3


def test_a_lost_index_of_the_archive_takes_no_case_away_while_it_is_made_anew(store, studies):
    deep = sound(studies / "p" / "q", "1.2.3")
    assert scanned(store) == [deep]
    store.close()
    for path in (studies / "sarcopenia").glob("archive.sqlite*"):
        path.unlink()
    again = CaseStore(studies)
    assert again.list_images() == [deep]
    assert scanned(again) == [deep]


def test_a_case_that_dicom_cannot_hold_says_why(store, studies):
    affine = np.diag([0.8, 0.8, 5.0, 1.0])
    affine[0, 1] = 0.3
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine), studies / "skewed.nii")
    with pytest.raises(Refusal, match="not at right angles"):
        store.dicom_identifiers("skewed")
