"""The page that a browser shows at the server's address."""

from __future__ import annotations

from types import SimpleNamespace

from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib.infers.segmentation import SegmentationTask
from lib.server import welcome
from lib.tasks import TASKS


def test_an_annotator_reads_there_what_belongs_to_each_class(monkeypatch):
    models = {name: SegmentationTask(TASKS[name]).info() for name in ("body_composition", "l3_muscle")}
    info = {"name": "N", "description": "D", "models": models, "datastore": {"total": 0, "completed": 0}}
    monkeypatch.setattr(welcome, "app_instance", lambda: SimpleNamespace(info=lambda: info))
    api = FastAPI()
    api.add_api_route("/", welcome.welcome)
    page = TestClient(api).get("/").text
    for schema in (TASKS["body_composition"].schema, TASKS["l3_muscle"].schema):
        assert all(structure.definition in page for structure in schema)
