"""The store as the server, the strategies and the clients use it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.disk import sha256_of
from lib.images import PatientFacts
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules


class TestImagesInTheFolder:
    def test_files_dropped_in_appear_and_files_taken_away_vanish(self, store, studies, write_ct):
        assert store.list_images() == ["ann", "ben", "cat"]
        write_ct(studies / "dan.nii.gz")
        write_ct(studies / "eve.nii")
        assert store.list_images() == ["ann", "ben", "cat", "dan", "eve"]
        (studies / "dan.nii.gz").unlink()
        assert store.status()["total"] == 4
        with pytest.raises(Refusal) as refused:
            store.get_image_uri("dan")
        assert refused.value.status_code == 404

    def test_a_folder_that_looks_old_is_not_read_again_but_a_change_is_seen(self, studies, write_ct):
        write_ct(studies / "ann.nii.gz")
        long_ago = time.time() - 3600
        store = CaseStore(studies)
        os.utime(studies, (long_ago, long_ago))
        assert store.list_images() == ["ann"]
        assert store._cases._source.changes() is None
        write_ct(studies / "ben.nii.gz")
        assert store.list_images() == ["ann", "ben"]

    def test_what_another_process_did_while_this_one_looked_stands(self, store, studies, tmp_path, write_ct):
        other = CaseStore(studies)
        before = store._cases._source.changes(force=True)
        other.add_image("dan", str(write_ct(tmp_path / "dan.nii.gz")))
        other.remove_image("ann")
        store._cases._apply(before, complete=True)
        assert other.list_images() == ["ben", "cat", "dan"]
        with pytest.raises(Refusal, match="was removed"):
            other.get_image_uri("ann")

    def test_a_vanished_case_keeps_its_labels(self, store, studies, muscles, save, write_ct):
        save("ann", muscles)
        (studies / "ann.nii.gz").rename(studies.parent / "ann.nii.gz")
        assert store.status()["completed"] == 0
        assert len(store.revisions("ann")) == 1
        (studies.parent / "ann.nii.gz").rename(studies / "ann.nii.gz")
        assert store.status()["completed"] == 1
        assert store.current_label("ann", "l3_muscle").is_file()

    def test_what_is_no_image_is_no_case(self, store, studies):
        (studies / "notes.txt").write_text("x")
        (studies / ".hidden.nii.gz").write_text("x")
        (studies / "empty folder").mkdir()
        assert store.list_images() == ["ann", "ben", "cat"]

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps file names that are no Unicode")
    def test_a_file_name_that_is_no_unicode_is_told_and_the_others_are_served(self, studies, write_ct):
        path = write_ct(studies / "ann.nii.gz")
        shutil.copy(path, os.fsencode(studies) + b"/b\xfcrger.nii.gz")
        store = CaseStore(studies)
        assert store.list_images() == ["ann"]
        assert "Unicode" in store.events("file_not_taken")[0].facts["reason"]
        with pytest.raises(Refusal, match="Unicode"):
            store.get_image_uri("b\udcfcrger")

    def test_two_files_with_one_id_are_told_and_the_known_one_stays(self, store, studies, write_ct):
        write_ct(studies / "ann.nii")
        assert store.list_images() == ["ann", "ben", "cat"]
        assert Path(store.get_image_uri("ann")).name == "ann.nii.gz"
        store.refresh()
        (event,) = store.events("same_id_twice")
        assert event.facts == {"image": "ann", "files": ["ann.nii.gz", "ann.nii"]}

    def test_ids_with_dots_and_spaces_and_reserved_characters(self, store, studies, write_ct, muscles, save):
        ids = ["1.2.840.5", "Müller 7", "con", "ab:c"] if os.name != "nt" else ["1.2.840.5", "Müller 7"]
        for image_id in ids:
            write_ct(studies / f"{image_id}.nii.gz")
            save(image_id, muscles)
            assert store.current_label(image_id, "l3_muscle").is_file()
        assert {p.name for p in (studies / "sarcopenia/labels/l3_muscle").iterdir()}.isdisjoint({"con", "ab:c"})

    def test_a_folder_name_may_hold_any_characters(self, tmp_path, write_ct):
        (tmp_path / "100% CT #1").mkdir()
        write_ct(tmp_path / "100% CT #1" / "ann.nii.gz")
        assert CaseStore(tmp_path / "100% CT #1").list_images() == ["ann"]
        assert CaseStore(tmp_path / "100% CT #1").list_images() == ["ann"]

    def test_a_missing_studies_folder_is_said(self, tmp_path):
        with pytest.raises(Refusal, match="no studies folder"):
            CaseStore(tmp_path / "nowhere")


class TestDicomFolders:
    @pytest.fixture
    def series(self, studies):
        import pydicom
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

        study, series = generate_uid(), generate_uid()
        hu = np.random.default_rng(3).integers(-1000, 400, (6, 12, 10)).astype(np.int16)
        (studies / "from pacs").mkdir()
        for k in range(6):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
            ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = study, series, "CT"
            ds.PatientID = "P-1234"
            ds.PatientSex, ds.PatientAge, ds.PatientSize, ds.PatientName = "F", "067Y", "1.62", "Doe^Jane"
            ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3.0 * k], [1, 0, 0, 0, 1, 0]
            ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 3.0
            ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 12, 10, 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
            ds.RescaleSlope, ds.RescaleIntercept = 1, 0
            ds.PixelData = hu[k].tobytes()
            pydicom.dcmwrite(studies / "from pacs" / f"{k}.dcm", ds, write_like_original=False)
        return hu, str(study), str(series)

    def test_a_patient_is_told_from_others_by_the_dicom_id_and_not_named(self, store, series):
        del series
        store.get_image_uri("from pacs")
        patient = store.patient("from pacs")
        assert patient != "from pacs"
        assert "P-1234" not in patient

    def test_a_folder_is_one_case_converted_when_first_asked_for(self, store, series):
        hu, study, series_uid = series
        assert "from pacs" in store.list_images()
        image = nib.load(store.get_image_uri("from pacs"))
        assert np.array_equal(np.asanyarray(image.dataobj), hu.transpose(2, 1, 0))
        info = store.get_image_info("from pacs")
        assert (info["name"], info["StudyInstanceUID"], info["SeriesInstanceUID"]) == (
            "from pacs.nii.gz",
            study,
            series_uid,
        )
        assert store.case_facts("from pacs") == PatientFacts(sex="F", age_years=67.0, height_m=1.62)
        assert "Doe" not in json.dumps(store.json())

    def test_a_label_lies_on_the_converted_volume(self, store, series, write_label):
        image = nib.load(store.get_image_uri("from pacs"))
        label = np.zeros(image.shape, np.uint8)
        label[2:8, 2:8, 2] = 1
        path = write_label(label, affine=image.affine)
        store.save_label("from pacs", str(path), "final", {"task": "l3_muscle"})
        assert store.status()["tasks"]["l3_muscle"] == 1

    def test_a_labelled_series_has_its_facts_also_after_the_index_was_lost(self, store, studies, series, write_label):
        image = nib.load(store.get_image_uri("from pacs"))
        label = np.zeros(image.shape, np.uint8)
        label[2:8, 2:8, 2] = 1
        store.save_label("from pacs", str(write_label(label, affine=image.affine)), "final", {"task": "l3_muscle"})
        store.close()
        for path in (studies / "sarcopenia").glob("index.sqlite*"):
            path.unlink()
        info = CaseStore(studies).get_image_info("from pacs")
        assert (info["SeriesInstanceUID"], info["sex"], info["height_m"]) == (series[2], "F", 1.62)

    def test_another_series_in_a_removed_folders_place_is_shown_itself(self, store, studies, series, write_label):
        image = nib.load(store.get_image_uri("from pacs"))
        label = np.ones(image.shape, np.uint8)
        path = write_label(label, affine=image.affine)
        store.save_label("from pacs", str(path), "final", {"task": "l3_muscle"})
        store.remove_image("from pacs")
        kept = next((studies / "sarcopenia" / "removed").glob("*-from pacs"))
        shutil.copytree(kept, studies / "from pacs")
        (studies / "from pacs" / "5.dcm").unlink()
        assert nib.load(store.get_image_uri("from pacs")).shape == (10, 12, 5)

    def test_files_copied_in_later_make_the_folder_a_case(self, studies):
        (studies / "slow copy").mkdir()
        store = CaseStore(studies)
        assert store.list_images() == []
        (studies / "slow copy" / "1.dcm").write_bytes(b"\0" * 128 + b"DICM")
        assert store.list_images() == ["slow copy"]

    def test_a_bad_series_is_refused_with_the_reason_and_not_offered(self, studies, shared_data):
        (studies / "anonymous").symlink_to(shared_data / "ct_series_without_uids", target_is_directory=True)
        store = CaseStore(studies)
        assert store.list_images() == ["anonymous"]
        with pytest.raises(Refusal, match="UID") as refused:
            store.get_image_uri("anonymous")
        assert refused.value.status_code == 422
        assert "UID" in store.get_image_info("anonymous")["fault"]
        state = store.queue_state("l3_muscle", QueueRules())
        assert state.nothing_because == "Every case of l3_muscle is labelled, except 1 that cannot be read."


class TestAddAndRemoveImages:
    def test_an_upload_becomes_a_case(self, store, tmp_path, write_ct):
        upload = write_ct(tmp_path / "tmpabc.1.2.nii.gz", seed=9)
        assert store.add_image("new", str(upload), {"client_id": "me", "height_m": 1.7}) == "new"
        assert store.get_image("new").read() == upload.read_bytes()
        assert store.get_image_info("new")["name"] == "new.nii.gz"
        assert store.case_facts("new").height_m == 1.7
        assert store.add_image(None, str(upload), {}) == "tmpabc.1.2"

    def test_the_same_again_is_fine_and_another_is_a_conflict(self, store, tmp_path, write_ct, studies):
        same, other = write_ct(tmp_path / "s.nii.gz", seed=0), write_ct(tmp_path / "o.nii.gz", seed=9)
        before = (studies / "ann.nii.gz").read_bytes()
        same.write_bytes(before)
        assert store.add_image("ann", str(same), {}) == "ann"
        with pytest.raises(Refusal, match="another image") as refused:
            store.add_image("ann", str(other), {})
        assert refused.value.status_code == 409
        assert (studies / "ann.nii.gz").read_bytes() == before

    @pytest.mark.parametrize("image_id", ["../x", "a/b", "/abs", ".x", "a\\b", "a\tb", "con", "a?b", "x" * 300])
    def test_ids_that_could_leave_the_folder_or_a_system_are_refused(self, store, tmp_path, write_ct, image_id):
        upload = write_ct(tmp_path / "u.nii.gz")
        with pytest.raises(Refusal) as refused:
            store.add_image(image_id, str(upload), {})
        assert refused.value.status_code == 422

    @pytest.mark.parametrize("bad", ["empty", "truncated", "text", "nan", "4d", "mr", "suffix"])
    def test_what_is_no_ct_is_refused_and_leaves_nothing(self, store, studies, tmp_path, write_ct, bad):
        path = (
            write_ct(tmp_path / ("u.txt.gz" if bad == "suffix" else "u.nii.gz"))
            if bad != "suffix"
            else tmp_path / "u.txt"
        )
        hu = np.random.default_rng(0).integers(-1000, 400, (8, 8, 4)).astype(np.float32)
        if bad == "empty":
            path.write_bytes(b"")
        elif bad == "truncated":
            path.write_bytes(path.read_bytes()[:-2000])
        elif bad in ("text", "suffix"):
            path.write_bytes(b"no image at all")
        elif bad == "nan":
            hu[2, 2, 2] = np.nan
        elif bad == "mr":
            hu = np.abs(hu)
        if bad in ("nan", "mr", "4d"):
            nib.save(nib.Nifti1Image(hu if bad != "4d" else np.stack([hu, hu], -1), np.eye(4)), path)
        before = sorted(p for p in studies.rglob("*") if "index" not in p.name)
        with pytest.raises(Refusal) as refused:
            store.add_image("new", str(path), {})
        assert refused.value.status_code == 422
        assert sorted(p for p in studies.rglob("*") if "index" not in p.name) == before
        assert "new" not in store.list_images()

    def test_a_removed_image_is_kept_aside_with_its_labels_in_history(self, store, studies, muscles, save):
        save("ann", muscles)
        content = (studies / "ann.nii.gz").read_bytes()
        store.remove_image("ann")
        assert store.list_images() == ["ben", "cat"]
        assert [p.read_bytes() for p in (studies / "sarcopenia/removed").iterdir()] == [content]
        assert len(store.revisions("ann")) == 1
        with pytest.raises(Refusal, match="ann"):
            store.get_label_uri("ann", "final")
        with pytest.raises(Refusal, match="removed"):
            store.get_image_uri("ann")

    def test_another_image_does_not_inherit_the_height_of_a_removed_one(self, store, studies, write_ct):
        store.update_image_info("ann", {"height_m": 1.9})
        store.remove_image("ann")
        write_ct(studies / "ann.nii.gz", seed=77)
        assert store.case_facts("ann") == PatientFacts()
        assert store.events("image_removed")[0].facts["info"] == {"height_m": 1.9}
        assert "1.9" in next((studies / "sarcopenia" / "removed").glob("*.json")).read_text()

    def test_another_image_does_not_inherit_the_labels_of_a_removed_one(  # noqa: PLR0917 - fixtures
        self, store, studies, tmp_path, muscles, save, write_ct
    ):
        save("ann", muscles)
        content = (studies / "ann.nii.gz").read_bytes()
        store.remove_image("ann")
        with pytest.raises(Refusal, match="another id") as refused:
            store.add_image("ann", str(write_ct(tmp_path / "x.nii.gz", shape=(5, 6, 7))), {})
        assert refused.value.status_code == 409
        (tmp_path / "back.nii.gz").write_bytes(content)
        assert store.add_image("ann", str(tmp_path / "back.nii.gz"), {}) == "ann"
        assert store.current_label("ann", "l3_muscle") is not None


class TestRevisions:
    def test_saving_again_adds_one_and_the_newest_is_current(self, store, muscles, save):
        save("ann", muscles, client_id="first", model="l3_muscle", model_version="v3")
        first = Path(store.get_label_uri("ann", "final")).read_bytes()
        changed = muscles.copy()
        changed[4, 3, 3] = 0
        save("ann", changed, user="second", client_id="c")
        one, two = store.revisions("ann", "l3_muscle")
        assert (one.number, one.author, one.client_id, one.model, one.model_version) == (
            (1, "first", "first", "l3_muscle", "v3")
        )
        assert (two.number, two.author, two.client_id) == (2, "second", "c")
        assert one.created <= two.created
        assert Path(store.get_label_uri("ann", "final")) == two.path
        assert Path(store.get_label_uri("ann", "l3_muscle@1")).read_bytes() == first
        assert [r.sha256 for r in (one, two)] == [sha256_of(r.path) for r in (one, two)]
        assert store.status() == {
            "total": 3,
            "completed": 1,
            "label_tags": {"final": 1},
            "tasks": {"l3_muscle": 1, "l3_tissue": 0, "body_composition": 0, "thigh_muscles": 0, "l3_slice": 0},
        }

    def test_the_layout_is_readable_without_the_store(self, store, studies, muscles, save):
        save("ann", muscles)
        (revision,) = store.revisions("ann")
        folder = studies / "sarcopenia" / "labels" / "l3_muscle" / "ann"
        assert revision.path == folder / f"0001-{revision.sha256[:8]}.nii.gz"
        facts = json.loads((folder / f"0001-{revision.sha256[:8]}.json").read_text())
        assert (facts["case_id"], facts["names"]) == ("ann", ["psoas", "paraspinal", "abdominal_wall"])

    def test_a_withdrawn_label_stays_readable_and_the_one_before_is_current(self, store, muscles, save):
        save("ann", muscles, client_id="one")
        save("ann", np.where(muscles == 3, 0, muscles).astype(np.uint8), client_id="two")
        store.remove_label("ann", "final")
        assert store.get_label_info("ann", "final")["author"] == "one"
        assert [r.withdrawn is None for r in store.revisions("ann")] == [True, False]
        assert Path(store.get_label_uri("ann", "l3_muscle@2")).is_file()
        store.remove_label("ann", "l3_muscle")
        assert store.status()["completed"] == 0
        assert store.status()["label_tags"] == {}
        with pytest.raises(Refusal) as refused:
            store.remove_label("ann", "final")
        assert refused.value.status_code == 404
        save("ann", muscles, client_id="three")
        assert [r.number for r in store.revisions("ann")] == [1, 2, 3]

    @pytest.mark.parametrize("number", ["2", "\u00b2", "9" * 20, "x", ""])
    def test_a_revision_that_never_was_is_404(self, store, muscles, save, number):
        save("ann", muscles)
        with pytest.raises(Refusal) as refused:
            store.get_label_uri("ann", f"l3_muscle@{number}")
        assert refused.value.status_code == 404

    def test_tags(self, store, muscles, save):
        save("ann", muscles, tag="original")
        save("ann", (muscles == 1).astype(np.uint8) * 2, ["", "gracilis"], tag=DefaultLabelTag.FINAL)
        assert store.get_labels_by_image_id("ann") == {"original": "ann", "final": "ann"}
        assert store.get_label_info("ann", DefaultLabelTag.ORIGINAL)["task"] == "l3_muscle"
        assert store.get_label_info("ann", "final")["task"] == "thigh_muscles"
        assert store.current_label("ann", "l3_muscle") is None
        assert store.get_label_by_image_id("ann", "thigh_muscles") == "ann"
        assert store.get_label_by_image_id("ann", "l3_muscle") == ""
        assert store.status()["label_tags"] == {"final": 1, "original": 1}
        with pytest.raises(Refusal):
            store.get_label_uri("ann", "l3_muscle@9")

    def test_label_info_names_the_ids_in_the_file(self, store, muscles, save):
        save(
            "ann", np.array([0, 2, 3, 1], np.uint8)[muscles], ["abdominal_wall", "psoas", "paraspinal"], client_id="me"
        )
        info = store.get_label_info("ann", "final")
        assert info["params"]["label_names"] == {"psoas": 1, "paraspinal": 2, "abdominal_wall": 3}
        assert info["label_info"][0] == {"name": "psoas", "idx": 1}
        assert json.loads(json.dumps(info)) == info

    def test_label_info_is_merged(self, store, muscles, save):
        save("ann", muscles, client_id="me")
        store.update_label_info("ann", "final", {"quality": "good", "score": float("nan")})
        store.update_label_info("ann", "final", {"checked": True})
        info = store.get_label_info("ann", "final")
        assert (info["quality"], info["checked"], info["score"], info["client_id"]) == ("good", True, None, "me")

    def test_labelled_and_unlabelled(self, store, muscles, save):
        save("ann", muscles)
        save("ben", (muscles == 1).astype(np.uint8), ["gracilis"])
        save("cat", muscles, tag="original")
        assert store.get_labeled_images() == ["ann", "ben"]
        assert store.get_unlabeled_images() == ["cat"]
        assert store.get_labeled_images("l3_muscle") == ["ann"]
        assert store.get_labeled_images("original") == ["cat"]
        assert store.get_unlabeled_images(None, ["psoas", "femur"]) == ["ben", "cat"]
        assert [r.image_id for r in store.current_labels("thigh_muscles")] == ["ben"]

    def test_a_clock_set_back_does_not_revive_an_older_label(self, store, muscles, save, monkeypatch):
        save("ann", muscles, client_id="before")
        monkeypatch.setattr("lib.stores.saving.time.time", lambda: 1000.0)
        save("ann", muscles, client_id="after")
        assert store.get_label_info("ann", "final")["client_id"] == "after"

    def test_a_full_disk_is_said_and_nothing_is_stored(self, store, muscles, save, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("lib.stores.history.place", full)
        with pytest.raises(Refusal, match="No space left") as refused:
            save("ann", muscles)
        assert refused.value.status_code == 507
        assert store.revisions("ann") == []


class TestImageInfo:
    def test_path_name_and_time(self, store, studies):
        info = store.get_image_info("ann")
        assert (info["path"], info["name"]) == (str(studies.resolve() / "ann.nii.gz"), "ann.nii.gz")
        assert abs(info["ts"] - time.time()) < 60

    def test_info_is_merged_and_facts_are_checked(self, store):
        store.update_image_info("ann", {"sex": "f", "height_m": "1.61", "strategy": {"random": {"ts": 1}}})
        store.update_image_info("ann", {"weight_kg": 58, "odd": float("inf")})
        assert store.case_facts("ann") == PatientFacts(sex="F", height_m=1.61, weight_kg=58.0)
        assert store.get_image_info("ann")["strategy"] == {"random": {"ts": 1}}
        assert store.get_image_info("ann")["odd"] is None

    def test_two_files_of_one_patient_can_be_said_to_be_that(self, store, studies):
        assert store.patient("ann") == "ann"
        store.update_image_info("ann", {"patient": "A 17"})
        store.close()
        for path in (studies / "sarcopenia").glob("index.sqlite*"):
            path.unlink()
        assert CaseStore(studies).patient("ann") == "A 17"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"height_m": 161},
            {"sex": "x"},
            {"age_years": -1},
            {"weight_kg": "heavy"},
            {"weight_kg": 10**400},
            {"contrast": "arterial"},
            {"height_m": True},
        ],
    )
    def test_a_fact_no_patient_has_is_refused(self, store, wrong):
        store.update_image_info("ann", {"note": "kept"})
        with pytest.raises(Refusal, match=next(iter(wrong))) as refused:
            store.update_image_info("ann", {**wrong, "note": "lost"})
        assert refused.value.status_code == 422
        assert store.get_image_info("ann")["note"] == "kept"

    def test_what_the_store_says_of_an_image_cannot_be_overwritten(self, store, studies):
        store.update_image_info("ann", {"path": "/etc/passwd", "name": "x", "id": "ben", "ts": 1})
        info = store.get_image_info("ann")
        assert (info["path"], info["name"]) == (str(studies.resolve() / "ann.nii.gz"), "ann.nii.gz")
        assert "id" not in info

    def test_half_a_surrogate_pair_is_kept_as_a_question_mark(self, store, muscles, save):
        store.update_image_info("ann", {"note": "\ud83d", "\ud83d": 1})
        assert store.get_image_info("ann") | {"note": "?", "?": 1} == store.get_image_info("ann")
        save("ann", muscles, client_id="\ud83d")
        assert store.get_label_info("ann", "final")["author"] == "?"

    def test_an_emptied_fact_is_unknown_again(self, store):
        store.update_image_info("ann", {"height_m": 1.6})
        store.update_image_info("ann", {"height_m": None})
        assert store.case_facts("ann") == PatientFacts()

    def test_an_unknown_image_is_404(self, store):
        for call in (store.get_image_uri, store.get_image_info, store.case_facts, store.remove_image, store.revisions):
            with pytest.raises(Refusal) as refused:
                call("zoe")
            assert refused.value.status_code == 404


class TestWholeStore:
    def test_json_has_the_shape_slicer_reads(self, store, muscles, save):
        save("ann", muscles, tag="original", client_id="me")
        save("ann", muscles)
        store.update_image_info("ben", {"strategy": {"first": 1}})
        whole = json.loads(json.dumps(store.json()))
        assert whole.keys() == {"name", "description", "images_dir", "labels_dir", "objects"}
        names = whole["objects"]["ann"]["labels"]["original"]["info"]["params"]["label_names"]
        assert names == {"psoas": 1, "paraspinal": 2, "abdominal_wall": 3}
        assert whole["objects"]["ann"]["labels"].keys() == {"original", "final", "l3_muscle"}
        assert whole["objects"]["ann"]["labels"]["final"]["ext"] == ".nii.gz"
        assert whole["objects"]["ben"] == {
            "image": {"ext": ".nii.gz", "info": {**whole["objects"]["ben"]["image"]["info"], "strategy": {"first": 1}}},
            "labels": {},
        }

    def test_the_datalist_pairs_every_labelled_image_with_its_newest_final_label(self, store, muscles, save):
        save("ben", muscles)
        save("ann", muscles)
        save("ann", (muscles == 1).astype(np.uint8), ["gracilis"])
        save("cat", muscles, tag="original")
        assert store.datalist() == [
            {"image": store.get_image_uri(image_id), "label": store.get_label_uri(image_id, task)}
            for image_id, task in (("ann", "thigh_muscles"), ("ben", "l3_muscle"))
        ]

    def test_the_archive_holds_every_tasks_label(self, store, muscles, save):
        with pytest.raises(Refusal) as refused:
            store.get_dataset_archive(None)
        assert refused.value.status_code == 404
        save("ann", muscles)
        save("ann", (muscles == 1).astype(np.uint8), ["gracilis"])
        save("ben", muscles)
        names = zipfile.ZipFile(store.get_dataset_archive(1)).namelist()
        assert names == [
            "image/ann.nii.gz",
            "label/l3_muscle/ann.nii.gz",
            "label/thigh_muscles/ann.nii.gz",
            "metadata.json",
        ]
        assert len(store.datalist()) == 2

    def test_name_and_description_last(self, store, studies):
        assert store.name() == "studies"
        store.set_name("cohort")
        store.set_name("cohort 2")
        store.set_description("about")
        assert (CaseStore(studies).name(), CaseStore(studies).description()) == ("cohort 2", "about")


class TestEvents:
    def test_events_are_kept_newest_first(self, store, studies):
        store.note_event("training_started", task="l3_muscle", pid=12)
        store.note_event("training_ended", task="l3_muscle")
        assert [e.kind for e in CaseStore(studies).events()][:2] == ["training_ended", "training_started"]
        assert store.events("training_started")[0].facts == {"task": "l3_muscle", "pid": 12}
