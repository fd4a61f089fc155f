"""The real server as a process, started the way users start it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from monailabel.client import MONAILabelClient

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


@dataclass(frozen=True)
class Server:
    """A running server and what it serves."""

    url: str
    studies: Path
    process: subprocess.Popen

    def client(self, client_id: str = "user-xyz") -> MONAILabelClient:
        return MONAILabelClient(self.url, client_id=client_id)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_command(studies: Path, port: int) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "scripts" / "serve.py"), "--studies", str(studies), "--port", str(port)),
        *("--models", str(_models(studies))),
    ]


def _models(studies: Path) -> Path:
    """A folder of its own: what a developer has trained must not answer here."""
    return studies.parent / "models"


def stock_command(studies: Path, port: int) -> list[str]:
    """What a user of MONAI Label types, with MONAI Label's own ASGI app."""
    return [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", str(ROOT / "apps" / "sarcopenia")),
        *("--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)),
        *("--conf", "models", str(_models(studies))),
    ]


@contextmanager
def running(command: list[str], studies: Path, port: int, log: Path, cwd: Path) -> Iterator[Server]:
    """Start a server, wait until it answers, and stop it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, env={**os.environ})
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{url}/info/", timeout=5).read()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}") from error
                time.sleep(0.2)
        yield Server(url=url, studies=studies, process=process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=["serve", "start_server"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, real_ct_path: Path
) -> Iterator[Server]:
    """The server on a folder with two copies of the real CT, by our script and by MONAI Label's own command."""
    studies = tmp_path_factory.mktemp("served") / "studies"
    studies.mkdir()
    for name in ("case_a", "case_b"):
        shutil.copy(real_ct_path, studies / f"{name}.nii.gz")
    port = free_port()
    command = {"serve": serve_command, "start_server": stock_command}[request.param](studies, port)
    command += ["--conf", "auto_score", "false"]  # a job of its own, which would outlive the server
    work = tmp_path_factory.mktemp("work")
    with running(command, studies, port, work / "server.log", work) as started:
        yield started
