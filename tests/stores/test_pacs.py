"""A real Orthanc: its series are cases, labels go to it as DICOM objects, segmentations in it become revisions."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from lib.images import read_ct
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import read_grid
from lib.stores.pacs import Pacs, PacsOptions, why_unwanted
from tests.stores.dicom_cases import muscles, source_of, write_foreign, write_series
from tests.stores.orthanc import Orthanc, behind_tls, free_port, running_orthanc

NAMES = ("psoas", "paraspinal", "abdominal_wall")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(running):
    yield running
    running.clear()


@pytest.fixture
def files(orthanc, tmp_path) -> list[Path]:
    """A wanted series in Orthanc."""
    written = write_series(tmp_path / "abdomen", "abdomen")
    orthanc.upload(*written)
    return written


@pytest.fixture
def open_store(orthanc, tmp_path):
    """The store of a workspace on Orthanc; every call opens it anew."""
    opened: list[CaseStore] = []
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def open_it(options: PacsOptions | None = None) -> CaseStore:
        store = CaseStore(workspace, pacs=options or orthanc.options)
        opened.append(store)
        return store

    yield open_it
    for store in opened:
        store.close()


def save(store: CaseStore, folder: Path) -> tuple[str, np.ndarray]:
    """Save a label of the only case."""
    (image_id,) = store.list_images()
    grid = read_grid(Path(store.get_image_uri(image_id)))
    label = np.zeros(grid.shape, np.uint8)
    label[:, :, 2] = np.random.default_rng(1).integers(0, 4, grid.shape[:2])
    path = folder / "label.nii.gz"
    nib.save(nib.Nifti1Image(label, grid.affine), path)
    store.save_label(image_id, str(path), "final", {"task": "l3_muscle", "user": "ann"})
    return image_id, label


class TestImages:
    def test_wanted_series_are_cases_and_the_others_have_a_reason(self, orthanc, open_store, files, tmp_path):
        orthanc.upload(*write_series(tmp_path / "few", "few", shape=(24, 20, 2)))
        orthanc.upload(*write_series(tmp_path / "sagittal", "sagittal", directions="sagittal"))
        scout = write_series(tmp_path / "scout", "scout")
        for path in scout:
            dataset = pydicom.dcmread(path)
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.save_as(path)
        orthanc.upload(*scout)
        store = open_store()
        store.ask_archive()
        assert store.list_images() == [source_of(files).series_uid]
        reasons = sorted(store.unwanted_series().values())
        assert [reason.split(";")[0].split(" (")[0] for reason in reasons] == [
            "It has 2 slices",
            "It is a scout",
            "Its slices are sagittal",
        ]

    def test_one_file_with_many_frames_counts_by_its_frames(self, orthanc, tmp_path):
        files = write_series(tmp_path / "single", "single", shape=(24, 20, 1))
        dataset = pydicom.dcmread(files[0])
        dataset.NumberOfFrames = 6
        dataset.PixelData = dataset.PixelData * 6
        dataset.save_as(files[0])
        orthanc.upload(*files)
        store = CaseStore(tmp_path, pacs=orthanc.options)
        store.ask_archive()
        assert store.list_images() == [str(dataset.SeriesInstanceUID)]
        store.close()

    def test_an_image_is_fetched_when_it_is_asked_for(self, open_store, files, tmp_path):
        store = open_store()
        store.ask_archive()
        (image_id,) = store.list_images()
        assert list(store.own_folder.glob("converted/*")) == []
        image, own = read_ct(store.get_image_uri(image_id)), read_ct(tmp_path / "abdomen")
        assert np.array_equal(image.hu, own.hu)
        assert np.allclose(image.affine, own.affine)
        assert list(store.own_folder.glob("fetched/*")) == []
        assert store.case_facts(image_id).height_m == 1.6
        assert store.get_image_info(image_id)["StudyInstanceUID"] == source_of(files).study_uid

    def test_what_lies_here_is_limited_and_fetched_again(self, orthanc, open_store, files, tmp_path):
        orthanc.upload(*write_series(tmp_path / "other", "other"))
        store = open_store(replace(orthanc.options, cache_bytes=1))
        store.ask_archive()
        one, two = store.list_images()
        first = Path(store.get_image_uri(one))
        store.get_image_uri(two)
        assert not first.exists()
        assert Path(store.get_image_uri(one)).exists()

    def test_series_come_and_go_and_a_removed_case_stays_away(self, orthanc, open_store, files, tmp_path):
        store = open_store()
        store.ask_archive()
        (image_id,) = store.list_images()
        orthanc.upload(*write_series(tmp_path / "other", "other"))
        store.ask_archive()
        assert len(store.list_images()) == 2
        store.remove_image(image_id)
        store.ask_archive()
        assert image_id not in store.list_images()
        assert len(orthanc.instances("CT")) == 12
        orthanc.clear()
        store.ask_archive()
        assert store.list_images() == []

    def test_a_workspace_that_is_opened_as_a_folder_knows_its_pacs(self, open_store, files, tmp_path):
        store = open_store()
        store.ask_archive()
        cases = store.list_images()
        store.close()
        again = CaseStore(tmp_path / "workspace")
        assert again.list_images() == cases
        assert Path(again.get_image_uri(cases[0])).exists()
        again.close()
        assert "a secret" not in (tmp_path / "workspace" / "sarcopenia" / "pacs.json").read_text()

    def test_an_image_cannot_be_added_here(self, open_store, write_ct, tmp_path):
        with pytest.raises(Refusal, match="archive"):
            open_store().add_image("ann", str(write_ct(tmp_path / "ann.nii.gz")))


class TestLabels:
    def test_segmentation_and_report_are_stored_once_and_are_the_voxels_that_were_saved(
        self, orthanc, open_store, files, tmp_path
    ):
        store = open_store()
        store.ask_archive()
        image_id, label = save(store, tmp_path)
        assert store.deliver() == 1
        assert store.deliver() == 0
        assert len(orthanc.instances("SR")) == 1
        (instance,) = orthanc.instances("SEG")
        path = tmp_path / "stored.dcm"
        path.write_bytes(orthanc.file(instance))
        back = read_dicom_label(path, grid=read_grid(Path(store.get_image_uri(image_id))))
        assert np.array_equal(back["l3_muscle"], label)
        assert store.look_for_segmentations() == 0
        assert len(store.revisions(image_id)) == 1

    def test_while_the_pacs_is_away_labels_are_saved_and_wait(self, tmp_path):
        port, folder = free_port(), tmp_path / "orthanc"
        (tmp_path / "workspace").mkdir()
        with running_orthanc(folder, port=port) as orthanc:
            orthanc.upload(*write_series(tmp_path / "abdomen", "abdomen"))
            store = CaseStore(tmp_path / "workspace", pacs=orthanc.options)
            store.ask_archive()
            store.get_image_uri(store.list_images()[0])
        save(store, tmp_path)
        with pytest.raises(Refusal, match="does not answer") as refused:
            store.deliver()
        assert refused.value.status_code == 503
        assert "does not answer" in store.archive_state()["error"]
        assert len(store.list_images()) == 1
        store.close()
        with running_orthanc(folder, port=port) as orthanc:
            again = CaseStore(tmp_path / "workspace", pacs=orthanc.options)
            _make_due(again)
            assert again.deliver() == 1
            assert len(orthanc.instances("SEG")) == 1
            again.close()


def _make_due(store: CaseStore) -> None:
    with store._index.writing() as connection:
        connection.exec_driver_sql("UPDATE outbox SET next_try = 0")


def _deliver_and_die(workspace: Path, options: PacsOptions, before: int, dies: Callable[[int], bool]) -> None:
    """In a process of its own: deliver, and be killed at the store of an object, before or after it."""
    store = CaseStore(workspace, pacs=options)
    _make_due(store)
    real, count = store._archive.store, 0

    def counted(dataset: pydicom.Dataset) -> None:
        nonlocal count
        count += 1
        if before and dies(count):
            os.kill(os.getpid(), signal.SIGKILL)
        real(dataset)
        if dies(count):
            os.kill(os.getpid(), signal.SIGKILL)

    store._archive.store = counted
    store.deliver()


@pytest.mark.skipif(os.name == "nt", reason="processes are killed otherwise there")
@pytest.mark.parametrize("moment", ["before the segmentation", "after the segmentation", "after the report"])
def test_killed_while_storing_the_archive_and_the_store_agree_afterwards(moment, orthanc, open_store, files, tmp_path):
    store = open_store()
    store.ask_archive()
    image_id, _ = save(store, tmp_path)
    store.close()
    which = 2 if "report" in moment else 1
    child = multiprocessing.get_context("fork").Process(
        target=_deliver_and_die,
        args=(tmp_path / "workspace", orthanc.options, "before" in moment, lambda count: count == which),
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert len(orthanc.instances("SEG")) == ("before" not in moment)
    again = open_store()
    assert len(again.undelivered()) == 1
    assert again.look_for_segmentations() == 0
    assert again.deliver() == 1
    assert again.undelivered() == []
    assert again.look_for_segmentations() == 0
    assert len(orthanc.instances("SEG")) == len(orthanc.instances("SR")) == 1
    assert len(again.revisions(image_id)) == 1


class TestReceiving:
    def test_what_another_viewer_stored_becomes_a_revision_once(self, orthanc, open_store, files, tmp_path):
        write_foreign(tmp_path / "foreign.dcm", source_of(files), muscles(), NAMES)
        orthanc.upload(tmp_path / "foreign.dcm")
        store = open_store()
        store.ask_archive()
        assert store.look_for_segmentations() == 1
        assert store.look_for_segmentations() == 0
        (image_id,) = store.list_images()
        (revision,) = store.revisions(image_id)
        assert (revision.task, revision.author) == ("l3_muscle", "Muster Anna")
        store.deliver()
        assert len(orthanc.instances("SEG")) == 1
        store.close()
        again = open_store()
        assert again.look_for_segmentations() == 0

    def test_one_of_a_series_that_is_not_wanted_is_left_where_it_is(self, orthanc, open_store, files, tmp_path):
        few = write_series(tmp_path / "few", "few", shape=(24, 20, 2))
        label = np.ones((24, 20, 2), np.uint8)
        write_foreign(tmp_path / "foreign.dcm", source_of(few), label, ("psoas",))
        orthanc.upload(*few, tmp_path / "foreign.dcm")
        store = open_store()
        store.ask_archive()
        assert store.look_for_segmentations() == 0
        assert store.received() == []

    def test_what_cannot_be_a_label_is_looked_at_once_and_does_not_hold_up_others(
        self, orthanc, open_store, files, tmp_path
    ):
        source = source_of(files)
        write_foreign(tmp_path / "a.dcm", source, muscles(), ("liver", "spleen", "kidney"))
        write_foreign(tmp_path / "b.dcm", source, muscles(), NAMES)
        orthanc.upload(tmp_path / "a.dcm", tmp_path / "b.dcm")
        store = open_store()
        store.ask_archive()
        assert store.look_for_segmentations() == 1
        assert [each.taken for each in store.received()].count(False) == 1
        assert "liver" in store.archive_state()["last_refused"][0]["reason"]


class TestConnection:
    def test_a_wrong_password_is_told(self, orthanc, tmp_path):
        with pytest.raises(Refusal, match="user and password"):
            Pacs(orthanc.with_wrong_password(tmp_path)).series("CT")

    def test_tls_with_and_without_the_certificate(self, orthanc, files, tmp_path):
        with behind_tls(orthanc, tmp_path) as options:
            assert len(Pacs(options).series("CT")) == 1
            with pytest.raises(Refusal, match="certificate"):
                Pacs(replace(options, ca_file="")).series("CT")

    def test_what_is_no_dicomweb_server_is_told(self, orthanc: Orthanc):
        with pytest.raises(Refusal) as refused:
            Pacs(replace(orthanc.options, url=f"{orthanc.root}/nowhere")).series("CT")
        assert refused.value.status_code == 503

    def test_an_object_that_the_server_does_not_take_is_told(self, orthanc, files):
        dataset = pydicom.dcmread(BytesIO(files[0].read_bytes()))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        Pacs(orthanc.options).store(dataset)
        del dataset.SOPInstanceUID
        with pytest.raises(Refusal):
            Pacs(orthanc.options).store(dataset)


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("min_slices", "many"),
            ("min_slices", "0"),
            ("every_s", "nan"),
            ("query", "Colour=red"),
            ("query", "StudyDate"),
            ("ca", "nowhere.pem"),
            ("password_file", "nowhere.txt"),
        ],
    )
    def test_a_value_that_makes_no_sense_is_refused_by_its_name(self, name, value):
        with pytest.raises(Refusal, match=f"pacs_{name}"):
            PacsOptions.from_conf({f"pacs_{name}": value}, url="")

    def test_what_is_searched_for_can_be_narrowed(self):
        options = PacsOptions.from_conf({"pacs_query": "StudyDate=2025-, PatientID=A*"}, url="u")
        assert options.query == {"StudyDate": "2025-", "PatientID": "A*"}


@pytest.mark.parametrize(("kind", "sentence"), [("axial", ""), ("sagittal", "sagittal")])
def test_axial_is_what_lies_across_the_body(kind, sentence, tmp_path):
    header = pydicom.dcmread(write_series(tmp_path / kind, kind, directions=kind)[0])
    assert sentence in why_unwanted(header)
    del header.ImageOrientationPatient
    assert "ImageOrientationPatient" in why_unwanted(header)
