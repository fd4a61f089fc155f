"""The dashboard shows what there is, escaped, and does not read a CT to do so."""

from __future__ import annotations

import io
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from lib.anatomy.schemas import L3_MUSCLE
from lib.models import Registry
from lib.server import dashboard
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase

AFFINE = np.diag([-4.0, -4.0, 5.0, 1.0])
SHAPE = (16, 12, 40)


@pytest.fixture
def store(tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:8, 4:8, 20:] = 1000  # bone in the upper part of the patient's right
    for name in ("ann", "bob", "cyd", "dan"):
        nib.save(nib.Nifti1Image(hu, AFFINE), studies / f"{name}.nii.gz")
    return CaseStore(studies)


@pytest.fixture
def client(store, tmp_path, monkeypatch):
    app = SimpleNamespace(
        datastore=lambda: store, conf={}, registry=Registry(tmp_path / "models"), training_state=lambda _: {}
    )
    monkeypatch.setattr(dashboard, "app_instance", lambda: app)
    api = FastAPI()
    api.include_router(dashboard.router)
    return TestClient(api)


def test_cases_stand_in_the_order_of_their_scores_with_the_reason(client, store):
    store.save_scores("bob", task="l3_muscle", values={"disagreement": 0.2}, model_version="v0001")
    store.save_scores("cyd", task="l3_muscle", values={"disagreement": 0.4}, model_version="v0001")
    store.save_scores("ann", task="l3_muscle", values={"disagreement": 0.9}, model_version=None)
    page = client.get("/dashboard/", params={"task": "l3_muscle"}).text
    places = [page.index(f"<strong>{name}</strong>") for name in ("cyd", "bob", "ann", "dan")]
    assert places == sorted(places)
    assert "Folds disagree by 0.4 (v0001)" in page
    assert "the cold start doubts its own answer by 0.9" in page
    assert "Nothing has scored it yet" in page
    assert 'href="/open/cyd"' in page


def test_who_has_a_case_and_who_saved_labels_is_told_and_escaped(client, store, tmp_path):
    NextCase("first", QueueRules())({"client_id": "<b>eva", "task": "l3_muscle"}, store)
    label = np.zeros(SHAPE, np.uint8)
    label[3:9, 4:9, 2] = L3_MUSCLE.ids["psoas"]
    nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
    for name, author in (("bob", "<i>ida"), ("cyd", "<i>ida"), ("dan", "eva")):
        store.save_label(name, str(tmp_path / "label.nii.gz"), "final", {"task": "l3_muscle", "client_id": author})
    page = client.get("/dashboard/", params={"task": "l3_muscle"}).text
    assert "In the hands of &lt;b&gt;eva until" in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "</span>&lt;i&gt;ida</td><td>2</td>" in page
    assert "2 by &lt;i&gt;ida</title>" in page
    assert "3 labelled, 0 waiting, 1 in somebody" in page


def test_a_long_queue_comes_in_pages(client, monkeypatch):
    monkeypatch.setattr(dashboard, "_ON_A_PAGE", 3)
    first, second, beyond = (client.get("/dashboard/", params={"page": page}).text for page in (1, 2, 9))
    assert first.count("<img") == 3
    assert second.count("<img") == 1
    assert beyond == second


def test_a_thumbnail_has_the_head_up_and_the_left_on_the_right(client):
    answer = client.get("/dashboard/thumbnail/ann")
    picture = np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)
    assert picture.shape == (96, 31)  # 200 mm by 64 mm
    assert picture[10, 25] < picture[10, 5]
    assert picture[10, 5] > picture[90, 5]
    again = client.get("/dashboard/thumbnail/ann", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_unknown_tasks_and_cases_are_refused(client):
    assert client.get("/dashboard/", params={"task": "<x>"}).status_code == 404
    assert client.get("/dashboard/thumbnail/nobody").status_code == 404


def test_a_page_of_a_task_without_models_and_labels_says_so(client):
    for task in ("sarcopenia", "thigh_muscles", "l3_slice"):
        page = client.get("/dashboard/", params={"task": task}).text
        assert "No model was trained yet" in page
        assert "Nothing is trained or scored" in page
