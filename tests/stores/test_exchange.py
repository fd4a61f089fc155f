"""With a folder: DICOM objects appear beside the labels, and segmentations of other programs become revisions once."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from lib.images import CTImage, PatientFacts
from lib.images.files import write_ct as write_phantom
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import read_grid
from tests.stores.conftest import AFFINE
from tests.stores.dicom_cases import SHAPE, muscles, source_of, write_foreign, write_series

NAMES = ("psoas", "paraspinal", "abdominal_wall")


@pytest.fixture
def cases(studies, write_ct):
    """A case of DICOM and one of NIfTI."""
    files = write_series(studies / "dan", "dan")
    write_ct(studies / "ann.nii.gz")
    store = CaseStore(studies)
    store.archive.scan()
    yield store, source_of(files)
    store.close()


def saved(store: CaseStore, image_id: str, tmp_path: Path, **info: object) -> np.ndarray:
    """Save a label of random muscles on the case's own grid."""
    grid = read_grid(Path(store.get_image_uri(image_id)))
    label = np.zeros(grid.shape, np.uint8)
    label[:, :, 2] = np.random.default_rng(1).integers(0, 4, grid.shape[:2])
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(label, grid.affine), path)
    store.save_label(image_id, str(path), "final", {"task": "l3_muscle", "user": "ann", **info})
    return label


def objects(store: CaseStore) -> dict[str, list[pydicom.Dataset]]:
    found: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted((store.own_folder / "dicom").glob("*/*.dcm")):
        dataset = pydicom.dcmread(path)
        assert path.stem == dataset.SOPInstanceUID
        found.setdefault(dataset.Modality, []).append(dataset)
    return found


class TestToTheArchive:
    def test_a_segmentation_and_a_report_of_exactly_the_voxels_that_were_saved(self, cases, tmp_path):
        store, source = cases
        label = saved(store, "dan", tmp_path, model="l3_muscle")
        assert store.deliver() == 1
        assert store.undelivered() == []
        found = objects(store)
        assert len(found["SEG"]) == len(found["SR"]) == 1
        segmentation = found["SEG"][0]
        back = read_dicom_label(Path(segmentation.filename), grid=read_grid(Path(store.get_image_uri("dan"))))
        assert np.array_equal(back["l3_muscle"], label)
        assert segmentation.SeriesDescription == "l3_muscle revision 1 (phantom) by ann"
        assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == source.series_uid
        assert segmentation.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"

    def test_every_revision_once(self, cases, tmp_path):
        store, _ = cases
        for _ in range(2):
            saved(store, "dan", tmp_path)
        assert store.deliver() == 2
        assert store.deliver() == 0
        assert len(objects(store)["SEG"]) == 2

    def test_a_series_that_nothing_can_be_made_from_does_not_hold_up_the_others(self, cases, studies, tmp_path):
        store, _ = cases
        saved(store, "dan", tmp_path)
        for path in (studies / "dan").iterdir():
            dataset = pydicom.dcmread(path)
            del dataset.FrameOfReferenceUID
            dataset.save_as(path)
        saved(store, "ann", tmp_path)
        assert store.deliver() == 1
        (waiting,) = store.undelivered()
        assert waiting.image_id == "dan"
        assert "cannot be made" in waiting.error

    @pytest.mark.parametrize("version", ["0003", None])
    def test_what_began_with_a_model_of_phantoms_says_so(self, version, cases, tmp_path):
        store, _ = cases
        store.learnt_from_phantoms = lambda model, asked: (model, asked) == ("l3_muscle", version)
        saved(store, "ann", tmp_path, model="l3_muscle", model_version=version)
        store.deliver()
        (segmentation,) = objects(store)["SEG"]
        assert segmentation.ContentDescription.startswith("model of phantoms")

    def test_a_phantom_of_nifti_says_that_it_is_one(self, cases, studies, tmp_path):
        store, _ = cases
        hu = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
        image = CTImage(hu=hu, affine=AFFINE, facts=PatientFacts(phantom=True))
        write_phantom(studies / "phantom.nii.gz", image)
        saved(store, "phantom", tmp_path)
        store.deliver()
        found = objects(store)
        assert {each.QualityControlSubject for each in (*found["SEG"], *found["SR"])} == {"YES"}
        assert all("(phantom)" in each.SeriesDescription for each in (*found["SEG"], *found["SR"]))

    def test_what_models_answered_and_what_was_withdrawn_stays_here(self, cases, tmp_path):
        store, _ = cases
        saved(store, "dan", tmp_path)
        store.remove_label("dan", "l3_muscle@1")
        store.save_label("dan", str(tmp_path / "label.nii.gz"), "original", {"task": "l3_muscle"})
        store.deliver()
        assert objects(store) == {}
        assert store.undelivered() == []

    def test_a_lost_index_delivers_nothing_twice_and_takes_nothing_of_its_own_in(self, cases, studies, tmp_path):
        store, _ = cases
        saved(store, "dan", tmp_path)
        store.deliver()
        before = {path: path.stat().st_mtime_ns for path in (store.own_folder / "dicom").rglob("*.dcm")}
        store.close()
        for file in (studies / "sarcopenia").glob("index.sqlite*"):
            file.unlink()
        again = CaseStore(studies)
        assert again.look_for_segmentations() == 0
        again.deliver()
        assert again.undelivered() == []
        assert {path: path.stat().st_mtime_ns for path in (again.own_folder / "dicom").rglob("*.dcm")} == before
        assert len(again.revisions("dan")) == 1
        again.close()

    def test_a_case_of_nifti_goes_as_the_series_that_it_is_served_as(self, cases, tmp_path):
        store, _ = cases
        label = saved(store, "ann", tmp_path)
        assert store.deliver() == 1
        (segmentation,) = objects(store)["SEG"]
        back = read_dicom_label(Path(segmentation.filename), grid=read_grid(Path(store.get_image_uri("ann"))))
        assert np.array_equal(back["l3_muscle"], label)
        served = store.dicom_identifiers("ann")
        assert (segmentation.StudyInstanceUID, segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID) == served

    def test_a_case_that_dicom_cannot_hold_waits_with_the_reason(self, cases, studies, write_ct, tmp_path):
        store, _ = cases
        sheared = AFFINE.copy()
        sheared[:3, 0] += 0.3 * sheared[:3, 1]
        write_ct(studies / "eve.nii.gz", affine=sheared)
        saved(store, "eve", tmp_path)
        assert store.deliver() == 0
        waiting = store.undelivered()[0]
        assert (waiting.image_id, waiting.tries) == ("eve", 1)
        assert waiting.error
        assert store.archive_state()["waiting"] == 1


class TestFromTheArchive:
    def test_it_becomes_a_revision_once_with_who_made_it(self, cases, tmp_path):
        store, source = cases
        written = write_foreign(tmp_path / "foreign.dcm", source, muscles(), NAMES)
        assert store.receive(tmp_path / "foreign.dcm")
        assert not store.receive(tmp_path / "foreign.dcm")
        (revision,) = store.revisions("dan")
        assert (revision.task, revision.tag, revision.author) == ("l3_muscle", "final", "Muster Anna")
        label = np.asarray(nib.load(revision.path).dataobj)
        own = read_dicom_label(tmp_path / "foreign.dcm", grid=read_grid(Path(store.get_image_uri("dan"))))
        assert np.array_equal(label, own["l3_muscle"])
        assert [(each.sop_uid, each.taken) for each in store.received()] == [(written.SOPInstanceUID, True)]

    def test_it_is_not_sent_back(self, cases, tmp_path):
        store, source = cases
        write_foreign(tmp_path / "foreign.dcm", source, muscles(), NAMES)
        store.receive(tmp_path / "foreign.dcm")
        assert store.undelivered() == []

    def test_a_lost_index_knows_it_again(self, cases, studies, tmp_path):
        store, source = cases
        write_foreign(tmp_path / "foreign.dcm", source, muscles(), NAMES)
        store.receive(tmp_path / "foreign.dcm")
        store.close()
        for file in (studies / "sarcopenia").glob("index.sqlite*"):
            file.unlink()
        again = CaseStore(studies)
        assert not again.receive(tmp_path / "foreign.dcm")
        assert len(again.revisions("dan")) == 1
        assert again.undelivered() == []
        again.close()

    @pytest.mark.parametrize(
        ("names", "kind", "sentence"),
        [(("liver", "spleen", "bone"), "MANUAL", "liver is none"), (NAMES, "AUTOMATIC", "no label until a person")],
    )
    def test_what_is_refused_is_remembered_with_the_reason(self, names, kind, sentence, cases, tmp_path):
        store, source = cases
        write_foreign(tmp_path / "foreign.dcm", source, muscles(), names, kind=kind)
        with pytest.raises(Refusal, match=sentence):
            store.receive(tmp_path / "foreign.dcm")
        assert not store.receive(tmp_path / "foreign.dcm")
        (refused,) = store.received()
        assert not refused.taken
        assert sentence in refused.reason
        assert store.events("segmentation_refused")[0].facts["image"] == "dan"

    def test_one_of_a_series_that_is_no_case_waits_for_it(self, cases, studies, tmp_path):
        store, _ = cases
        source = source_of(write_series(tmp_path / "late", "late"))
        write_foreign(tmp_path / "foreign.dcm", source, muscles(), NAMES)
        with pytest.raises(Refusal, match="no CT series"):
            store.receive(tmp_path / "foreign.dcm")
        assert not store.receive(tmp_path / "foreign.dcm")
        (tmp_path / "late").rename(studies / "late")
        store.archive.scan()
        assert store.receive(tmp_path / "foreign.dcm")
        assert len(store.revisions("late")) == 1

    def test_other_objects_are_passed_over(self, cases, studies):
        store, _ = cases
        assert not store.receive(next((studies / "dan").iterdir()))

    def test_a_client_cannot_pass_a_label_off_as_received(self, cases, tmp_path):
        store, _ = cases
        saved(store, "dan", tmp_path, sop_instance_uid="1.2.3")
        assert len(store.undelivered()) == 1
        assert store.received() == []

    def test_a_dicom_segmentation_can_be_saved_like_any_label(self, cases, tmp_path):
        store, source = cases
        write_foreign(tmp_path / "foreign.dcm", source, muscles(), NAMES)
        store.save_label("dan", str(tmp_path / "foreign.dcm"), "final", {"user": "eve"})
        assert store.revisions("dan")[0].author == "eve"
        assert read_grid(store.revisions("dan")[0].path).shape == SHAPE
