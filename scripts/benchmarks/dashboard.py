"""How long the dashboard takes with many cases, labels and scores."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import nibabel as nib
import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import insert

from lib.models import Registry
from lib.server import dashboard
from lib.stores import CaseStore
from lib.stores.index import REVISIONS, SCORES, StoreIndex

_BAR_S = 1.0
_TASK = "l3_muscle"
_LABELLED = 0.25
_DAY_S = 86400.0


def main(argv: Sequence[str]) -> int:
    """Fill a store, ask for the first and the last page through the web framework, and print the times."""
    parser = argparse.ArgumentParser(prog="benchmark.py dashboard", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="cases (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="requests for each page (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        store = _filled(Path(folder) / "studies", options.cases)
        app = SimpleNamespace(
            datastore=lambda: store, conf={}, registry=Registry(Path(folder) / "models"), training_state=lambda _: {}
        )
        api = FastAPI()
        api.include_router(dashboard.router)
        with patch.object(dashboard, "app_instance", lambda: app), TestClient(api) as client:
            taken = {
                name: [_seconds(client, page) for _ in range(options.repeats)]
                for name, page in (("first", 1), ("last", options.cases))
            }
        store.close()
    print("| page | cases | s, median | s, longest | bar |\n| --- | --- | --- | --- | --- |")
    for name, seconds in taken.items():
        print(f"| {name} | {options.cases} | {statistics.median(seconds):.3f} | {max(seconds):.3f} | {_BAR_S:g} |")
    return int(max(statistics.median(seconds) for seconds in taken.values()) > _BAR_S)


def _seconds(client: TestClient, page: int) -> float:
    start = time.perf_counter()
    answer = client.get("/dashboard/", params={"task": _TASK, "page": page})
    answer.raise_for_status()
    return time.perf_counter() - start


def _filled(studies: Path, count: int) -> CaseStore:
    """Cases with a score each, and as many labels as if every fourth had been corrected once."""
    studies.mkdir()
    nifti = nib.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.eye(4))
    nib.save(nifti, studies / "case_00000.nii.gz")
    content = (studies / "case_00000.nii.gz").read_bytes()
    for number in range(1, count):
        (studies / f"case_{number:05}.nii.gz").write_bytes(content)
    store = CaseStore(studies)
    rng = np.random.default_rng(0)
    now = time.time()
    index = StoreIndex(f"sqlite:///{store.own_folder / 'index.sqlite'}")
    with index.writing() as connection:
        for number in range(count):
            case = f"case_{number:05}"
            score = {"value": float(rng.random()), "model_version": "v0001", "trained": True, "labelled": False}
            key = {"task": _TASK, "case_id": case, "method": "disagreement", "created": now}
            connection.execute(insert(SCORES).values(**key, **score))
            for revision in (1, 2) if rng.random() < _LABELLED else ():
                connection.execute(
                    insert(REVISIONS).values(**_revision(case, revision, now - rng.random() * 60 * _DAY_S))
                )
    index.close()
    return store


def _revision(case: str, number: int, created: float) -> dict[str, object]:
    return {
        "case_id": case,
        "task": _TASK,
        "number": number,
        "tag": "final",
        "author": f"reader {int(case[-5:]) % 5}",
        "client_id": "",
        "model": "",
        "created": created,
        "sha256": "",
        "file": f"{case}-{number}",
        "names": "[]",
        "partial": False,
        "warnings": "[]",
        "info": "{}",
    }
