"""Orthanc as Debian packages it, on a free port with a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from lib.stores.pacs import PacsOptions

USER, PASSWORD = "reader", "a secret"
_PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_S = 60


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    options: PacsOptions
    root: str

    def get(self, path: str) -> object:
        verify = self.options.ca_file or True
        answer = requests.get(f"{self.root}/{path}", auth=(USER, PASSWORD), verify=verify, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def upload(self, *files: Path) -> None:
        for file in files:
            data = file.read_bytes()
            verify = self.options.ca_file or True
            requests.post(
                f"{self.root}/instances", data, auth=(USER, PASSWORD), verify=verify, timeout=60
            ).raise_for_status()

    def instances(self, modality: str) -> list[dict]:
        """What Orthanc says of all instances of a modality."""
        series = [each for each in self.get("series?expand") if each["MainDicomTags"]["Modality"] == modality]
        return [self.get(f"instances/{uid}") for each in series for uid in each["Instances"]]

    def file(self, instance: dict) -> bytes:
        verify = self.options.ca_file or True
        answer = requests.get(
            f"{self.root}/instances/{instance['ID']}/file", auth=(USER, PASSWORD), verify=verify, timeout=60
        )
        return answer.content

    def clear(self) -> None:
        for patient in self.get("patients"):
            requests.delete(
                f"{self.root}/patients/{patient}",
                auth=(USER, PASSWORD),
                verify=self.options.ca_file or True,
                timeout=60,
            ).raise_for_status()

    def without_password(self) -> PacsOptions:
        return replace(self.options, password="wrong")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_orthanc(folder: Path, *, port: int = 0, tls: bool = False) -> Iterator[Orthanc]:
    """Start Orthanc on a folder and stop it afterwards; skips where it is not installed."""
    if not Path(_PROGRAM).exists() or not _PLUGIN.exists():
        pytest.skip("Orthanc is not installed here (Debian packages orthanc and orthanc-dicomweb)")
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    ca_file = ""
    if tls:
        ca_file = str(_certificate(folder))
        settings |= {"SslEnabled": True, "SslCertificate": str(folder / "both.pem"), "SslMinimumProtocolVersion": 4}
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("ab") as log:
        process = subprocess.Popen([_PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, env={**os.environ})
    root = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    options = PacsOptions(url=f"{root}/dicom-web", user=USER, password=PASSWORD, ca_file=ca_file, min_slices=4)
    orthanc = Orthanc(options, root)
    try:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                orthanc.get("system")
                break
            except requests.RequestException as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "orthanc.log").read_text()[-2000:]) from error
                time.sleep(0.05)
        yield orthanc
    finally:
        process.terminate()
        process.wait(timeout=30)


def _certificate(folder: Path) -> Path:
    """A certificate for this machine that nobody else vouches for."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text(certificate.read_text() + key.read_text())
    return certificate
