"""MONAI Label's own endpoints, unchanged, on the store."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.endpoints import activelearning, datastore
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random


@pytest.fixture
def client(store, monkeypatch):
    strategies = {"first": First(), "random": Random()}
    app = SimpleNamespace(
        datastore=lambda: store,
        info=dict,
        on_save_label=lambda image, label: {},
        next_sample=lambda request: strategies[request["strategy"]](request, store),
    )
    for module in (datastore, activelearning):
        monkeypatch.setattr(module, "app_instance", lambda: app)
    api = FastAPI()
    api.include_router(datastore.router)
    api.include_router(activelearning.router)
    return TestClient(api)


def put_label(client, path, image="ann", **query):
    names = query.pop("names", ["psoas", "paraspinal", "abdominal_wall"])
    params = {
        "label_info": [{"name": n, "idx": i} for i, n in enumerate(names, 1)],
        "client_id": "user-xyz",
        "model": "",
    }
    with path.open("rb") as file:
        files = {"label": (str(path), file)}
        return client.put(
            "/datastore/label", params={"image": image, **query}, data={"params": json.dumps(params)}, files=files
        )


def test_a_label_goes_in_and_comes_out(client, muscles, write_label):
    reply = put_label(client, write_label(muscles))
    assert (reply.status_code, reply.json()) == (200, {"image": "ann", "label": "ann"})
    info = client.get("/datastore/label/info", params={"label": "ann", "tag": "final"}).json()
    content = client.get("/datastore/label", params={"label": "ann", "tag": "final"}).content
    assert hashlib.sha256(content).hexdigest() == info["sha256"]
    assert client.head("/datastore/label", params={"image": "ann", "tag": "final"}).status_code == 200
    assert client.get("/datastore/").json()["completed"] == 1
    assert len(client.get("/datastore/", params={"output": "train"}).json()) == 1
    assert "final" in client.get("/datastore/", params={"output": "all"}).json()["objects"]["ann"]["labels"]
    assert client.get("/datastore/dataset").status_code == 200
    edit = {"label": "ann", "tag": "final"}
    assert client.put("/datastore/label/info", params=edit, data={"info": '{"quality": 3}'}).status_code == 200
    assert client.get("/datastore/label/info", params=edit).json()["quality"] == 3
    assert client.delete("/datastore/label", params={"id": "ann", "tag": "final"}).status_code == 200
    assert client.get("/datastore/label", params=edit).status_code == 404


def test_an_image_goes_in_and_comes_out(client, tmp_path, write_ct):
    path = write_ct(tmp_path / "new.nii.gz", seed=8)
    files = {"file": ("new.nii.gz", path.read_bytes())}
    assert client.put("/datastore/image", params={"image": "new"}, files=files).json() == {"image": "new"}
    assert client.get("/datastore/image", params={"image": "new"}).content == path.read_bytes()
    assert client.head("/datastore/image", params={"image": "new"}).status_code == 200
    info = {"info": '{"height_m": 1.7}'}
    assert client.put("/datastore/image/info", params={"image": "new"}, data=info).status_code == 200
    assert client.get("/datastore/image/info", params={"image": "new"}).json()["height_m"] == 1.7
    assert client.delete("/datastore/image", params={"id": "new"}).status_code == 200
    assert client.get("/datastore/image", params={"image": "new"}).status_code == 404


@pytest.mark.parametrize("strategy", ["first", "random"])
def test_the_stock_strategies_offer_unlabelled_cases(client, strategy, muscles, write_label):
    for image in ("ann", "ben"):
        put_label(client, write_label(muscles), image)
    sample = client.post(f"/activelearning/{strategy}", json={"client_id": "me"}).json()
    assert (sample["id"], sample["name"]) == ("cat", "cat.nii.gz")
    info = client.get("/datastore/image/info", params={"image": "cat"}).json()
    assert info["strategy"][strategy]["client_id"] == "me"


def test_refusals_reach_the_client_as_one_sentence(client, muscles, write_label):
    reply = put_label(client, write_label(muscles), names=["psoas", "paraspinal", "liver"])
    assert reply.status_code == 422
    assert "liver" in reply.json()["detail"]
    assert put_label(client, write_label(muscles), tag="../../x").status_code == 422
    assert put_label(client, write_label(np.zeros_like(muscles))).status_code == 422
    assert client.get("/datastore/image", params={"image": "../x"}).status_code == 422
    assert client.get("/datastore/image", params={"image": "zoe"}).status_code == 404
    files = {"file": ("x.nii.gz", b"rubbish")}
    assert client.put("/datastore/image", params={"image": "../x"}, files=files).status_code == 422
    assert client.put("/datastore/image", params={"image": "x"}, files=files).status_code == 422
