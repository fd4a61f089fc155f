"""DICOMweb over HTTP, on a real store, asked by a client of another program."""

from __future__ import annotations

import io
import threading
import time
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests
import uvicorn
from dicomweb_client import DICOMwebClient
from fastapi import FastAPI
from PIL import Image

from lib.images.frames import frame_order
from lib.refusals import Refusal
from lib.server import dicomweb, ohif
from lib.stores import CaseStore
from tests.archive.dicom_files import COLUMNS, ROWS, ct, in_syntax, pixels, write, write_series
from tests.archive.test_archive import encoded

AFFINE = np.array([[0.7, 0.1, 0, -80], [-0.1, 0.7, 0, -90], [0, 0, -5.0, 300], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A store with a DICOM series, a JPEG 2000 one and an oblique NIfTI, served on this machine."""
    studies = tmp_path_factory.mktemp("studies")
    write_series(studies / "ann", "1.2.3")
    (studies / "ann" / "broken.dcm").write_text("no DICOM")
    write(
        studies / "deep" / "er" / "j.dcm",
        in_syntax(ct("1.5.6", 1), pydicom.uid.JPEG2000Lossless, [encoded(1, pydicom.uid.JPEG2000Lossless)]),
    )
    hu = np.random.default_rng(0).integers(-1000, 900, (9, 8, 7)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, AFFINE), studies / "ben.nii.gz")
    store = CaseStore(studies)
    store.archive.scan()
    patch = pytest.MonkeyPatch()
    app = SimpleNamespace(datastore=lambda: store)
    for module in (dicomweb, ohif):
        patch.setattr(module, "app_instance", lambda: app)
    api = FastAPI()
    api.include_router(dicomweb.router)
    api.include_router(ohif.router)
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}", store=store, hu=hu)
    server.should_exit = True
    thread.join()
    patch.undo()


@pytest.fixture(params=["", "/wado"])
def client(served, request):
    return DICOMwebClient(f"{served.url}/proxy/dicom{request.param}")


class TestSearching:
    def test_studies_series_and_instances(self, client):
        studies = client.search_for_studies(search_filters={"PatientName": "mül"}, fuzzymatching=True)
        assert {each["0020000D"]["Value"][0] for each in studies} == {"1.2.0", "1.5.0"}
        (series,) = client.search_for_series("1.2.0")
        assert (series["0020000E"]["Value"], series["00201209"]["Value"]) == (["1.2.3"], [3])
        found = client.search_for_instances("1.2.0", "1.2.3", search_filters={"InstanceNumber": "2"})
        assert [each["00080018"]["Value"] for each in found] == [["1.2.3.2"]]
        assert len(client.search_for_instances(limit=4)) == 4

    def test_as_ohif_asks(self, served):
        query = "limit=101&offset=0&fuzzymatching=true&includefield=00081030,00080060&00100020=*en*"
        (found,) = requests.get(f"{served.url}/proxy/dicom/qido/studies?{query}", timeout=10).json()
        assert (found["00100020"]["Value"], found["00201208"]["Value"]) == (["ben"], [7])

    def test_files_that_are_not_served_are_told_with_the_reason(self, served):
        told = requests.get(f"{served.url}/proxy/dicom/refused", timeout=10).json()
        assert (told["refused"], told["volumes"]) == (1, 1)
        assert told["reasons"] == {"ann/broken.dcm": "ann/broken.dcm is damaged: it is no DICOM."}

    def test_nonsense_is_refused_in_a_sentence(self, served):
        answer = requests.get(f"{served.url}/proxy/dicom/studies?NoSuchThing=1", timeout=10)
        assert answer.status_code == 400
        assert answer.json()["detail"].endswith(".")


class TestReading:
    def test_headers_say_where_large_values_are_and_these_can_be_had(self, client, served):
        headers = client.retrieve_series_metadata("1.2.0", "1.2.3")
        assert [header["00200013"]["Value"][0] for header in headers] == [1, 2, 3]
        assert len(client.retrieve_study_metadata("1.2.0")) == 3
        # That client leaves the port out of the name of the server, so it is told addresses without one.
        url = f"{served.url}/proxy/dicom/studies/1.2.0/series/1.2.3/instances/1.2.3.2/metadata"
        (header,) = requests.get(url, timeout=10).json()
        content = requests.get(header["7FE00010"]["BulkDataURI"], timeout=10).content
        assert pixels(2).astype("<u2").tobytes() == content

    def test_files_come_as_they_are(self, client, served):
        dataset = client.retrieve_instance("1.2.0", "1.2.3", "1.2.3.1", media_types=(("application/dicom", "*"),))
        assert np.array_equal(dataset.pixel_array, pixels(1))
        assert len(client.retrieve_series("1.2.0", "1.2.3")) == 3

    def test_frames_are_the_voxels(self, client):
        (content,) = client.retrieve_instance_frames("1.2.0", "1.2.3", "1.2.3.3", [1])
        assert np.array_equal(np.frombuffer(content, "<u2").reshape(ROWS, COLUMNS), pixels(3))

    def test_compressed_frames_as_they_are_for_ohif_and_plain_for_others(self, served):
        url = f"{served.url}/proxy/dicom/wado/studies/1.5.0/series/1.5.6/instances/1.5.6.1/frames/1"
        stored = requests.get(
            url, headers={"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}, timeout=10
        )
        assert b"transfer-syntax=1.2.840.10008.1.2.4.90" in stored.content
        assert encoded(1, pydicom.uid.JPEG2000Lossless) in stored.content
        plain = requests.get(url, headers={"Accept": "application/octet-stream"}, timeout=10)
        assert np.array_equal(np.frombuffer(plain.content, "<u2").reshape(ROWS, COLUMNS), pixels(1))
        assert requests.get(url, headers={"Accept": "text/html"}, timeout=10).status_code == 406

    def test_an_image_file_is_read_frame_by_frame(self, client, served):
        study, series = served.store.dicom_identifiers("ben")
        wanted = frame_order(served.hu.shape, AFFINE).to_frames(served.hu)
        for k in (0, 6):
            (content,) = client.retrieve_instance_frames(study, series, f"{series}.{k + 1}", [1])
            assert np.array_equal(
                np.frombuffer(content, "<i2").reshape(wanted.shape[1], wanted.shape[0]), wanted[:, :, k].T
            )

    def test_pictures(self, served):
        url = f"{served.url}/proxy/dicom/studies/1.5.0/series/1.5.6"
        image = Image.open(io.BytesIO(requests.get(f"{url}/thumbnail", timeout=10).content))
        assert image.format == "JPEG"
        frame = requests.get(f"{url}/instances/1.5.6.1/frames/1/rendered", headers={"Accept": "image/png"}, timeout=10)
        assert Image.open(io.BytesIO(frame.content)).format == "PNG"

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/studies/9.9/metadata", 404),
            ("/studies/1.2.0/series/9.9/metadata", 404),
            ("/studies/1.2.0/series/1.2.3/instances/9.9", 404),
            ("/studies/1.2.0/series/1.2.3/instances/1.2.3.1/frames/2", 404),
            ("/studies/1.2.0/series/1.2.3/instances/1.2.3.1/frames/0", 400),
            ("/studies/1.2.0/series/1.2.3/instances/1.2.3.1/bulkdata/xyz", 400),
            ("/studies/1.2.0/series/1.2.3/instances/1.2.3.1/bulkdata/00420011", 404),
        ],
    )
    def test_what_is_not_there_is_said_in_a_sentence(self, served, path, status):
        answer = requests.get(f"{served.url}/proxy/dicom{path}", timeout=10)
        assert (answer.status_code, answer.json()["detail"][-1]) == (status, ".")


class TestStoring:
    def test_a_series_becomes_a_case(self, client, served, tmp_path):
        uid = f"1.7.{int(client.base_url.endswith('wado'))}"
        datasets = [pydicom.dcmread(write(tmp_path / f"{number}", ct(uid, number))) for number in (1, 2)]
        answer = client.store_instances(datasets)
        assert len(answer.ReferencedSOPSequence) == 2
        assert uid in served.store.list_images()
        assert served.store.case_id(uid) == uid
        assert len(client.retrieve_series_metadata(datasets[0].StudyInstanceUID, uid)) == 2

    def test_what_is_damaged_is_refused_and_the_rest_is_kept(self, client, served, tmp_path):
        good = write(tmp_path / "g.dcm", ct("1.8.1", 1)).read_bytes()
        body = (
            b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in (good, b"no"))
            + b"--b--"
        )
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        answer = requests.post(f"{served.url}/proxy/dicom/studies", data=body, headers=headers, timeout=10)
        assert (answer.status_code, len(answer.json()["00081198"]["Value"])) == (202, 1)
        assert "no DICOM file" in answer.headers["Warning"]

    def test_an_object_of_another_study_is_refused(self, client, tmp_path):
        dataset = pydicom.dcmread(write(tmp_path / "x", ct("1.9.1", 1)))
        with pytest.raises(requests.HTTPError, match="409"):
            client.store_instances([dataset], study_instance_uid="1.2.0")

    def test_an_object_that_is_no_image_is_handed_on_and_its_refusal_is_told(self, served, tmp_path, monkeypatch):
        taken = []

        def take(path):
            taken.append(pydicom.dcmread(path).SOPInstanceUID)
            raise Refusal("No case fits.")

        monkeypatch.setattr(served.store.archive, "received", take)
        segmentation = ct("1.10.1", 1, Modality="SEG", SOPClassUID=pydicom.uid.SegmentationStorage)
        content = write(tmp_path / "s.dcm", segmentation).read_bytes()
        answer = requests.post(
            f"{served.url}/proxy/dicom/stow/studies",
            data=content,
            headers={"Content-Type": "application/dicom"},
            timeout=10,
        )
        assert taken == ["1.10.1.1"]
        assert (answer.status_code, "No case fits." in answer.headers["Warning"]) == (202, True)
        assert served.store.archive.instance("1.10.1.1").modality == "SEG"


class TestOhif:
    def test_the_page_needs_nothing_from_elsewhere(self, served):
        page = requests.get(f"{served.url}/ohif/monai-label?StudyInstanceUIDs=1.2.0", timeout=10)
        assert page.headers["Content-Type"].startswith("text/html")
        assert "https://" not in page.text
        config = requests.get(f"{served.url}/ohif/app-config.js", timeout=10).text
        assert "/proxy/dicom" in config

    def test_files_in_sub_folders_are_found_compressed_and_kept(self, served):
        plain = requests.get(f"{served.url}/ohif/assets/yandex-browser-manifest.json", timeout=10)
        assert plain.status_code == 200
        name = next(ohif._PACKAGE.glob("app.bundle.*.js"))
        answer = requests.get(f"{served.url}/ohif/{name.name}", timeout=30)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.content == name.read_bytes()
        assert "immutable" in answer.headers["Cache-Control"]
        again = requests.get(
            f"{served.url}/ohif/{name.name}", headers={"If-None-Match": answer.headers["ETag"]}, timeout=10
        )
        assert again.status_code == 304

    @pytest.mark.parametrize("path", ["nothing.js", "..%2f..%2f..%2fapp.py", "%2fetc%2fpasswd"])
    def test_what_is_not_ohifs_is_not_sent(self, served, path):
        answer = requests.get(f"{served.url}/ohif/{path}", timeout=10)
        assert answer.status_code == 404 or "OHIF Viewer" in answer.text

    def test_a_case_is_opened_by_its_id_or_its_series(self, served):
        study, series = served.store.dicom_identifiers("ben")
        for name in ("ben", series):
            answer = requests.get(f"{served.url}/open/{name}", allow_redirects=False, timeout=10)
            assert f"StudyInstanceUIDs={study}&SeriesInstanceUIDs={series}" in answer.headers["Location"]
        assert requests.get(f"{served.url}/open/nobody", timeout=10).status_code == 404
