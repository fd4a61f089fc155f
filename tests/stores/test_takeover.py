"""An existing MONAI Label folder is taken over with all its labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monailabel.datastore.local import LocalDatastore

from lib.stores import UNINTERPRETED, CaseStore


@pytest.fixture
def old(studies, write_ct, write_label, muscles):
    """A folder as MONAI Label's own store leaves it: Slicer's labels, the server's answers, and foreign ones."""
    for number, image_id in enumerate(("ann", "ben", "cat", "dan", "eve")):
        write_ct(studies / f"{image_id}.nii.gz", seed=number)
    store = LocalDatastore(str(studies), extensions=("*.nii.gz", "*.nii"))
    store.set_name("old cohort")
    path = str(write_label(np.array([0, 5, 2, 9], np.uint8)[muscles]))
    named = [{"name": "psoas", "idx": 5}, {"name": "paraspinal", "idx": 2}, {"name": "abdominal_wall", "idx": 9}]
    store.save_label("ann", path, "final", {"label_info": named, "client_id": "radiologist", "model": "segmentation"})
    path = str(write_label((muscles == 1).astype(np.uint8)))
    store.save_label("ann", path, "original", {"model": "l3_muscle", "params": {"label_names": {"psoas": 1}}})
    spleen = [{"name": "spleen", "idx": 1}]
    store.save_label("ben", path, "final", {"label_info": spleen, "client_id": "other"})
    store.save_label("cat", path, "final", {})
    store.save_label("dan", str(write_label(muscles[:5], name="cut.nii.gz")), "reviewed", {"label_info": named})
    store.save_label("eve", path, "l3_muscle", {"label_info": [{"name": "psoas", "idx": 1}]})
    (studies / "labels" / "final" / "eve.nii.gz").write_bytes(b"half a file")
    shutil.copy(path, studies / "labels" / "final" / "gone.nii.gz")
    store.update_image_info("ann", {"strategy": {"random": {"ts": 7}}, "height_m": 1.75})
    return store


def test_every_label_is_there_with_its_info(old, studies, muscles):
    before = {p: p.read_bytes() for p in studies.rglob("*") if p.is_file()}
    store = CaseStore(studies)

    final = store.get_label_info("ann", "final")
    assert (final["task"], final["author"], final["model"]) == ("l3_muscle", "radiologist", "segmentation")
    assert final["ts"] == old.get_label_info("ann", "final")["ts"]
    assert np.array_equal(np.asanyarray(nib.load(store.get_label_uri("ann", "final")).dataobj), muscles)
    assert store.get_label_info("ann", "original")["names"] == ["psoas"]

    for image_id, why in (("ben", "spleen"), ("cat", "label_info"), ("eve", "cut short"), ("gone", "no image")):
        info = next(r for r in store.revisions(image_id) if r.tag == "final")
        assert info.task == UNINTERPRETED
        assert why in info.warnings[0]
        assert info.path.read_bytes() == (studies / "labels" / "final" / f"{image_id}.nii.gz").read_bytes()
    assert store.get_label_info("ben", "final")["client_id"] == "other"
    assert store.get_label_info("dan", "reviewed")["task"] == UNINTERPRETED
    assert store.get_label_info("eve", "old-l3_muscle")["names"] == ["psoas"]

    assert store.status()["completed"] == 1
    assert store.status()["tasks"]["l3_muscle"] == 1
    assert store.get_unlabeled_images() == ["ben", "cat", "dan", "eve"]
    assert store.get_image_info("ann")["strategy"] == {"random": {"ts": 7}}
    assert store.case_facts("ann").height_m == 1.75
    assert store.name() == "old cohort"
    assert store.list_images() == ["ann", "ben", "cat", "dan", "eve"]
    assert before.items() <= {p: p.read_bytes() for p in studies.rglob("*") if p.is_file()}.items()


def test_every_label_of_the_old_index_can_be_read_under_its_tag(old, studies):
    store = CaseStore(studies)
    for image_id, entry in old.json()["objects"].items():
        for tag in entry["labels"]:
            assert Path(store.get_label_uri(image_id, tag if tag != "l3_muscle" else "old-l3_muscle")).is_file()


def test_it_happens_once_and_a_label_added_there_later_comes_too(old, studies, write_label, muscles):
    CaseStore(studies).close()
    again = CaseStore(studies)
    assert len(again.revisions("ann")) == 2
    named = [{"name": "gracilis", "idx": 1}]
    old.save_label("ann", str(write_label((muscles == 1).astype(np.uint8))), "final", {"label_info": named})
    again = CaseStore(studies)
    assert [r.task for r in again.revisions("ann") if r.tag == "final"] == ["l3_muscle", "thigh_muscles"]


def test_a_label_saved_here_stays_current_over_an_older_one(old, studies, write_label, muscles):
    (studies / "labels").rename(studies.parent / "labels")
    store = CaseStore(studies)
    label = {"model": "l3_muscle", "client_id": "new"}
    store.save_label("ann", str(write_label(muscles)), "final", label)
    (studies.parent / "labels").rename(studies / "labels")
    store = CaseStore(studies)
    assert len(store.revisions("ann", "l3_muscle")) == 3
    assert store.get_label_info("ann", "final")["client_id"] == "new"


def test_a_damaged_old_index_still_gives_the_labels(old, studies):
    (studies / "datastore_v2.json").write_text('{"objects": {')
    store = CaseStore(studies)
    assert store.revisions("ann")[0].task == UNINTERPRETED
    assert store.get_label_info("ben", "final")["task"] == UNINTERPRETED
    assert "datastore_v2.json" in json.dumps([dict(e.facts) for e in store.events("store_taken_over")])
