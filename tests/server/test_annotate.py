"""What the panel in OHIF is told of tasks and cases, on a real store."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib.anatomy.schemas import L3_MUSCLE, THIGH_MUSCLES
from lib.server import annotate
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase, strategies

AFFINE = np.array([[0, -0.8, 0, 40.0], [0, 0, 0.9, -30.0], [-5.0, 0, 0, 300.0], [0, 0, 0, 1]])


@pytest.fixture
def store(tmp_path):
    hu = np.random.default_rng(0).integers(-100, 100, (6, 20, 16)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, AFFINE), tmp_path / "ann.nii.gz")
    return CaseStore(tmp_path)


@pytest.fixture
def client(store, monkeypatch):
    told = {name: strategy.info() for name, strategy in strategies(QueueRules()).items()}
    app = SimpleNamespace(datastore=lambda: store, info=lambda: {"strategies": told})
    monkeypatch.setattr(annotate, "app_instance", lambda: app)
    api = FastAPI()
    api.include_router(annotate.router)
    return TestClient(api)


@pytest.fixture
def save(store, tmp_path):
    def submit(author: str) -> np.ndarray:
        label = np.zeros((6, 20, 16), np.uint8)
        label[2, 3:9, 4:9] = L3_MUSCLE.ids["psoas"]
        nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
        store.save_label("ann", str(tmp_path / "label.nii.gz"), "final", {"task": "l3_muscle", "client_id": author})
        (tmp_path / "label.nii.gz").unlink()
        return label

    return submit


def test_tasks_come_with_the_colours_and_ids_of_the_schema(client):
    told = client.get("/annotate/tasks").json()
    muscle = next(task for task in told["tasks"] if task["name"] == "l3_muscle")
    assert [(each["name"], each["id"], tuple(each["color"])) for each in muscle["structures"]] == [
        (each.name, each.id, each.color) for each in L3_MUSCLE
    ]
    assert told["strategies"][0]["name"] == "disagreement"
    assert {task["name"] for task in told["tasks"] if not task["trainable"]} >= {"sarcopenia"}
    thigh = next(task for task in told["tasks"] if task["name"] == "thigh_muscles")
    assert thigh["answers"]
    assert {each["name"] for each in thigh["structures"]} == {*THIGH_MUSCLES.names, "muscle_compartment"}


def test_a_case_comes_with_the_grid_of_its_file_and_what_is_known(client, store):
    store.update_image_info("ann", {"height_m": 1.7})
    told = client.get("/annotate/cases/ann").json()
    assert told["grid"]["shape"] == [6, 20, 16]
    assert np.allclose(told["grid"]["affine"], AFFINE)
    assert told["grid"]["axis"] == 0
    assert told["facts"]["height_m"] == 1.7
    assert told["labels"] == []


def test_only_who_has_the_case_is_told_why(client, store):
    NextCase("first", QueueRules())({"client_id": "eva"}, store)
    told = client.get("/annotate/cases/ann", params={"who": "eva"}).json()["hand_outs"]
    assert [each["reason"] for each in told] == ["The first by name of those without a label."]
    assert client.get("/annotate/cases/ann", params={"who": "ida"}).json()["hand_outs"] == []


def test_a_saved_label_is_told_and_measured(client, save, store):
    label = save("eva")
    (told,) = client.get("/annotate/cases/ann").json()["labels"]
    assert (told["task"], told["revision"], told["author"], told["partial"]) == ("l3_muscle", 1, "eva", True)
    (found,) = client.get("/annotate/cases/ann/measurements/l3_muscle").json()["measurements"]
    assert found["slice_index"] == 2
    assert found["regions"]["psoas"]["area_cm2"] == pytest.approx((label > 0).sum() * 0.8 * 0.9 / 100, abs=0.01)


def test_who_is_to_read_blindly_is_not_shown_the_first_label(client, save, store):
    save("eva")
    NextCase("first", QueueRules(double_read=1.0))({"client_id": "ida"}, store)
    assert client.get("/annotate/cases/ann", params={"who": "ida"}).json()["labels"] == []
    assert client.get("/annotate/cases/ann", params={"who": "eva"}).json()["labels"] != []


@pytest.mark.parametrize("path", ["cases/zoe", "cases/ann/measurements/l3_muscle"])
def test_what_is_not_there_is_404(client, path):
    assert client.get(f"/annotate/{path}").status_code == 404
