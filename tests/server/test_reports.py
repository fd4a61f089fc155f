"""The report of a case over HTTP, and in the archive."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib.anatomy.schemas import L3_MUSCLE
from lib.infers.reporting import report_of_case
from lib.infers.segmentation import SegmentationTask
from lib.server import reports
from lib.stores import CaseStore
from lib.tasks import TASKS

AFFINE = np.diag([-9.0, -8.0, 5.0, 1.0])
SHAPE = (16, 20, 6)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    studies = tmp_path_factory.mktemp("studies")
    hu = np.random.default_rng(0).integers(-50, 90, SHAPE).astype(np.int16)
    for name in ("ann", "bob"):
        nib.save(nib.Nifti1Image(hu, AFFINE), studies / f"{name}.nii.gz")
    label = np.zeros(SHAPE, np.uint8)
    label[3:9, 4:9, 2] = L3_MUSCLE.ids["psoas"]
    store, sarcopenia = CaseStore(studies), SegmentationTask(TASKS["sarcopenia"])
    path = tmp_path_factory.mktemp("label") / "label.nii.gz"
    nib.save(nib.Nifti1Image(label, AFFINE), path)
    store.save_label("ann", str(path), "final", {"task": "l3_muscle", "client_id": "eva"})
    return SimpleNamespace(
        datastore=lambda: store, report=lambda name, wishes: report_of_case(store, sarcopenia, name, wishes)
    )


@pytest.fixture
def client(app, monkeypatch):
    monkeypatch.setattr(reports, "app_instance", lambda: app)
    api = FastAPI()
    api.include_router(reports.router)
    return TestClient(api)


def test_a_saved_label_is_a_page_that_loads_nothing(client):
    answer = client.get("/reports/ann")
    assert answer.headers["content-type"].startswith("text/html")
    assert "revision 1, saved by eva" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_same_as_pdf(client):
    answer = client.get("/reports/ann", params={"format": "pdf", "cutoffs": "prado_2008_smi"})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF")


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/reports/nobody", 404, "nobody"),
        ("/reports/bob?task=l3_muscle", 404, "no saved label of l3_muscle"),
        ("/reports/bob", 422, "L3 was not found"),
        ("/reports/ann?task=thigh_muscles", 404, "There is no report"),
        ("/reports/ann?cutoffs=mine", 422, "There is no cut-off"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_a_sentence(client, address, status, sentence):
    answer = client.get(address)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


def test_the_archive_gets_the_same_page_once(client, app):
    first, again = (client.post("/reports/ann/archive").json() for _ in range(2))
    assert first == again
    assert first["of_saved_label"]
    stored = list((app.datastore().own_folder / "dicom").rglob(f"{first['sop_instance_uid']}.dcm"))
    assert len(stored) == 1
    document = pydicom.dcmread(stored[0])
    study, _ = app.datastore().dicom_identifiers("ann")
    assert document.StudyInstanceUID == study
    assert document.SOPClassUID == pydicom.uid.EncapsulatedPDFStorage
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength].startswith(b"%PDF")
    assert app.datastore().look_for_segmentations() == 0  # it is not taken for a label
