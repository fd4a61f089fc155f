"""DICOMweb of a real Orthanc through our server, as OHIF asks for it: without the password of Orthanc."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pydicom
import pytest
import requests
import uvicorn
from dicomweb_client import DICOMwebClient
from fastapi import FastAPI

from lib.server import dicomweb, pacs_proxy
from lib.stores import CaseStore
from tests.stores.dicom_cases import muscles, source_of, write_foreign, write_series
from tests.stores.orthanc import running_orthanc


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A store on Orthanc with one series, served on this machine."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "workspace").mkdir()
    with running_orthanc(folder / "orthanc") as orthanc:
        files = write_series(folder / "abdomen", "abdomen")
        orthanc.upload(*files)
        store = CaseStore(folder / "workspace", pacs=orthanc.options)
        store.ask_archive()
        patch = pytest.MonkeyPatch()
        for module in (dicomweb, pacs_proxy):
            patch.setattr(module, "app_instance", lambda: SimpleNamespace(datastore=lambda: store))
        api = FastAPI()
        api.include_router(pacs_proxy.router)
        api.include_router(dicomweb.router)
        server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/proxy/dicom"
        yield SimpleNamespace(url=url, store=store, files=files, orthanc=orthanc)
        server.should_exit = True
        thread.join()
        patch.undo()
        store.close()


def test_search_metadata_and_frames(served):
    source, client = source_of(served.files), DICOMwebClient(served.url, wado_url_prefix="wado", qido_url_prefix="qido")
    (found,) = client.search_for_series(search_filters={"Modality": "CT"})
    assert found["0020000E"]["Value"] == [source.series_uid]
    assert len(client.retrieve_series_metadata(source.study_uid, source.series_uid)) == len(served.files)
    own = pydicom.dcmread(served.files[0])
    image = f"studies/{source.study_uid}/series/{source.series_uid}/instances/{own.SOPInstanceUID}"
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'  # what OHIF sends
    answer = requests.get(f"{served.url}/wado/{image}/frames/1", headers={"Accept": accept}, timeout=60)
    assert answer.headers["content-type"].startswith("multipart/related")
    assert own.PixelData in answer.content


def test_addresses_in_answers_are_ours(served):
    text = requests.get(f"{served.url}/studies", timeout=60).text
    assert served.url in text
    assert served.orthanc.root not in text


def test_a_stored_segmentation_becomes_a_revision(served, tmp_path):
    written = write_foreign(tmp_path / "label.dcm", source_of(served.files), muscles(), ("psoas", "Paraspinal", "bone"))
    DICOMwebClient(served.url).store_instances([written])
    (image_id,) = served.store.list_images()
    deadline = time.monotonic() + 60
    while not (found := served.store.revisions(image_id)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {revision.task for revision in found} >= {"l3_muscle"}
    assert {revision.author for revision in found} == {"Muster Anna"}


@pytest.mark.parametrize("path", ["studies/../../system", "../system"])
def test_nothing_but_dicomweb_is_reached(served, path):
    request = requests.Request("GET", f"{served.url}/x").prepare()
    request.url = f"{served.url}/{path.replace('..', '%2e%2e')}"
    assert requests.Session().send(request, timeout=60).status_code == 404
