"""Orthanc as Debian packages it, on a free port with a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

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
        answer = requests.get(f"{self.root}/{path}", auth=(USER, PASSWORD), timeout=60)
        answer.raise_for_status()
        return answer.json()

    def upload(self, *files: Path) -> None:
        for file in files:
            data = file.read_bytes()
            requests.post(f"{self.root}/instances", data, auth=(USER, PASSWORD), timeout=60).raise_for_status()

    def instances(self, modality: str) -> list[dict]:
        """What Orthanc says of all instances of a modality."""
        series = [each for each in self.get("series?expand") if each["MainDicomTags"]["Modality"] == modality]
        return [self.get(f"instances/{uid}") for each in series for uid in each["Instances"]]

    def file(self, instance: dict) -> bytes:
        answer = requests.get(f"{self.root}/instances/{instance['ID']}/file", auth=(USER, PASSWORD), timeout=60)
        return answer.content

    def clear(self) -> None:
        for patient in self.get("patients"):
            requests.delete(
                f"{self.root}/patients/{patient}",
                auth=(USER, PASSWORD),
                timeout=60,
            ).raise_for_status()

    def with_wrong_password(self, folder: Path) -> PacsOptions:
        (folder / "wrong").write_text("wrong")
        return replace(self.options, password_file=str(folder / "wrong"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_orthanc(folder: Path, *, port: int = 0) -> Iterator[Orthanc]:
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
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("ab") as log:
        process = subprocess.Popen([_PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, env={**os.environ})
    root = f"http://127.0.0.1:{port}"
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n")
    options = PacsOptions(url=f"{root}/dicom-web", user=USER, password_file=str(password), min_slices=4)
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


@contextmanager
def behind_tls(orthanc: Orthanc, folder: Path) -> Iterator[PacsOptions]:
    """The same Orthanc behind a front that speaks TLS, as hospitals have it; Debian's own crashes on a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = _certificate(folder)
    context.load_cert_chain(certificate, folder / "key.pem")
    inner = urlsplit(orthanc.root)

    class Tunnel(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                outside = context.wrap_socket(self.request, server_side=True)
            except OSError:
                return  # the client did not trust the certificate
            with outside, socket.create_connection((inner.hostname, inner.port)) as inside:
                answers = threading.Thread(target=_copy, args=(inside, outside), daemon=True)
                answers.start()
                _copy(outside, inside)
                answers.join(5)

    class Front(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Front(("127.0.0.1", 0), Tunnel) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{front.server_address[1]}/dicom-web"
        yield replace(orthanc.options, url=url, ca_file=str(certificate))
        front.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _certificate(folder: Path) -> Path:
    """A certificate for this machine that nobody else vouches for."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate
