"""The real server, for benchmarks that ask it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import requests

from scripts.environment import ROOT


@contextmanager
def serving(studies: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run the server on a folder of CTs, with models of its own beside that folder.

    Args:
        studies: the CTs.
        options: further ones of ``serve.py``.

    Yields:
        Its address, and the process that answers there.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, str(ROOT / "scripts" / "serve.py"), "--studies", str(studies), "--port", str(port)),
        *("--models", str(studies.with_name(f"{studies.name}_models")), *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                requests.get(f"{url}/info/", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield url, _listening(process, port)
    finally:
        jobs = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=30)
        for job in jobs:  # trainings and scorings outlive a server on purpose
            with suppress(psutil.NoSuchProcess):
                job.kill()


def _listening(process: subprocess.Popen, port: int) -> psutil.Process:
    """The process that answers on the port: the one that was started, or its child."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return next(p for p in family if any(c.laddr and c.laddr.port == port for c in p.net_connections("tcp")))
