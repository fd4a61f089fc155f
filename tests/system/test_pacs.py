"""The real server on a real Orthanc: its series are cases, and a saved label comes to it as DICOM objects."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from tests.stores.dicom_cases import source_of, write_series
from tests.stores.orthanc import PASSWORD, USER, running_orthanc
from tests.system.conftest import free_port, running, serve_command


def wait_for(what, seconds: float):
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running_one:
        yield running_one


def test_a_label_goes_to_the_archive_also_when_the_server_is_killed_after_saving(orthanc, tmp_path):
    files = write_series(tmp_path / "abdomen", "abdomen", shape=(64, 64, 12))
    orthanc.upload(*files)
    (tmp_path / "password").write_text(PASSWORD)
    image_id = source_of(files).series_uid
    port = free_port()
    conf = {"workspace": str(tmp_path / "workspace"), "pacs_user": USER, "pacs_every_s": "1", "auto_score": "false"}
    conf["pacs_password_file"] = str(tmp_path / "password")
    command = serve_command(Path(tmp_path / "studies"), port)
    command[command.index("--studies") + 1] = orthanc.options.url
    command += [word for name, value in conf.items() for word in ("--conf", name, value)]

    def served():
        return running(command, tmp_path / "studies", port, tmp_path / "server.log", tmp_path)

    with served() as server:
        wait_for(
            lambda: image_id in requests.get(f"{server.url}/datastore/?output=all", timeout=60).json()["objects"], 60
        )
        client = server.client("ann")
        image = tmp_path / "image.nii.gz"
        image.write_bytes(requests.get(f"{server.url}/datastore/image?image={image_id}", timeout=60).content)
        label = np.zeros(nib.load(image).shape, np.uint8)
        label[20:30, 20:40, 5] = 1
        nib.save(nib.Nifti1Image(label, nib.load(image).affine), tmp_path / "label.nii.gz")
        client.save_label(image_id, str(tmp_path / "label.nii.gz"), params={"task": "l3_muscle"})
        server.process.kill()
    with served() as server:
        wait_for(lambda: orthanc.instances("SR"), 60)
        wait_for(lambda: requests.get(f"{server.url}/info/", timeout=60).json()["archive"]["waiting"] == 0, 60)
        assert len(orthanc.instances("SEG")) == len(orthanc.instances("SR")) == 1
        found = requests.get(f"{server.url}/proxy/dicom/series?Modality=SEG", timeout=60).json()
        assert found[0]["0008103E"]["Value"][0].startswith("l3_muscle revision 1")
