"""The queue over HTTP, on a real store."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.config import settings
from monailabel.endpoints.user import auth

from lib.server import queue
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase


@pytest.fixture
def store(tmp_path):
    first = tmp_path / "ann.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.eye(4)), first)
    shutil.copy(first, tmp_path / "ben.nii.gz")
    return CaseStore(tmp_path)


@pytest.fixture
def client(store, monkeypatch):
    app = SimpleNamespace(datastore=lambda: store, conf={"lease_hours": "2"})
    monkeypatch.setattr(queue, "app_instance", lambda: app)
    api = FastAPI()
    api.include_router(queue.router)
    return TestClient(api)


def ask(store, holder):
    return NextCase("first", QueueRules())({"client_id": holder}, store)["id"]


def test_where_the_queue_stands(client, store):
    ask(store, "eva")
    told = client.get("/queue/l3_muscle").json()
    assert (told["waiting"], told["labelled"], told["blind_due"]) == (1, 0, {"double_read": 0, "reread": 0})
    assert [(handed["image_id"], handed["holder"]) for handed in told["in_hands"]] == [("ann", "eva")]
    assert told["nothing_because"] is None
    ask(store, "ida")
    assert "handed out to others" in client.get("/queue/l3_muscle").json()["nothing_because"]


def test_why_a_case_was_given_to_somebody_and_what_became_of_it(client, store):
    ask(store, "eva")
    given = client.delete("/queue/l3_muscle/ann", params={"holder": "eva"}).json()["given_back"]
    assert [handed["outcome"] for handed in given] == ["given_back"]
    ask(store, "ida")
    told = client.get("/queue/l3_muscle/ann").json()["hand_outs"]
    assert [(handed["holder"], handed["outcome"]) for handed in told] == [("eva", "given_back"), ("ida", None)]
    assert told[0]["reason"] == "The first by name of those without a label."
    assert client.get("/queue/l3_tissue/ann").json()["hand_outs"] == []


def test_what_is_not_there_is_404_with_a_sentence(client):
    for method, path in (
        ("GET", "/queue/liver"),
        ("GET", "/queue/liver/ann"),
        ("GET", "/queue/l3_muscle/zoe"),
        ("DELETE", "/queue/l3_muscle/ann"),
        ("DELETE", "/queue/liver/ann"),
    ):
        reply = client.request(method, path)
        assert reply.status_code == 404, path
        assert reply.json()["detail"].endswith(".")


class TestWherePeopleLogIn:
    @pytest.fixture
    def as_user(self, client, monkeypatch):
        monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)

        def log_in(name, *roles):
            user = auth.User(username=name, roles=list(roles))
            client.app.dependency_overrides[auth.get_current_user] = lambda: user
            return client

        return log_in

    def test_only_an_administrator_gives_back_what_another_has(self, as_user, store):
        annotator = settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR
        assert ask(store, "eva") == "ann"
        ida = as_user("ida", annotator)
        assert ida.delete("/queue/l3_muscle/ann", params={"holder": "eva"}).status_code == 403
        assert ida.delete("/queue/l3_muscle/ann").status_code == 404
        assert as_user("eva", annotator).delete("/queue/l3_muscle/ann").status_code == 200
        ask(store, "leo")
        boss = as_user("boss", annotator, settings.MONAI_LABEL_AUTH_ROLE_ADMIN)
        assert boss.delete("/queue/l3_muscle/ann", params={"holder": "leo"}).status_code == 200

    def test_a_role_is_needed(self, as_user):
        stranger = as_user("stranger")
        assert stranger.get("/queue/l3_muscle").status_code == 403
        assert stranger.delete("/queue/l3_muscle/ann").status_code == 403
