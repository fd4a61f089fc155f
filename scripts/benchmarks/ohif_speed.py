"""How soon OHIF shows a CT of 300 slices, in a real Chromium: `benchmark.py ohif-speed [--mode NAME] [--slices N]`."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import requests

from lib.images import CTImage
from lib.images.files import write_ct
from lib.phantoms.dicom import write_dicom_series
from lib.phantoms.scanner import Scanner
from scripts.benchmarks._browser import browsing, wait_for_first_image, wait_for_frames, watch_images
from scripts.benchmarks._server import serving

_MATRIX = 512


def main(argv: Sequence[str]) -> int:
    """Print a table: the same CT as DICOM files and as compressed NIfTI, in a new browser and in one that has OHIF."""
    parser = argparse.ArgumentParser(prog="benchmark.py ohif-speed")
    parser.add_argument("--slices", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--mode", default="viewer", help="OHIF's mode (default: %(default)s)")
    options = parser.parse_args(argv)
    print(f"A CT of {options.slices} slices of {_MATRIX} x {_MATRIX}, in OHIF's mode {options.mode}; seconds:\n")
    print("| kept as | browser | first image | all slices | longest answer to others meanwhile |")
    print("| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        cases = write_cases(studies, options.slices)
        with serving(studies, "--conf", "auto_score", "false") as (url, _):
            requests.get(f"{url}/proxy/dicom/studies", timeout=120)
            addresses = {kind: _address(url, case, options.mode) for case, kind in cases.items()}
            for kind, address in addresses.items():
                (other,) = (each for each in addresses.values() if each != address)
                for browser, before in (("new", None), ("has shown another CT", other)):
                    first, last, longest = measure(url, address, options.slices, before=before)
                    print(f"| {kind} | {browser} | {first:.1f} | {last:.1f} | {longest:.2f} |", flush=True)
    return 0


def write_cases(studies: Path, slices: int) -> dict[str, str]:
    """A cylinder with noise, so that nothing compresses better than a body does; gives the kind of each case."""
    i, j = np.indices((_MATRIX, _MATRIX)) - _MATRIX / 2
    body = np.where(np.hypot(i / 0.8, j) < _MATRIX * 0.4, 60, -1000)
    noise = np.random.default_rng(0).normal(0, 15, (_MATRIX, _MATRIX, 16))
    hu = np.stack([body + noise[:, :, k % 16] for k in range(slices)], axis=2).clip(-1024, 3071).astype(np.int16)
    affine = np.diag([-0.8, -0.8, 1.0, 1.0])
    image = CTImage(hu=hu, affine=affine)
    (studies / "as_dicom").mkdir(parents=True)
    about = {"patient_id": "speed", "description": "cylinder", "scanner": Scanner(slice_mm=1.0), "identity": "speed"}
    write_dicom_series(studies / "as_dicom", image, **about)  # type: ignore[arg-type]
    write_ct(studies / "as_nifti.nii.gz", image)
    return {"as_dicom": "DICOM files", "as_nifti": "NIfTI, compressed"}


def measure(url: str, address: str, slices: int, before: str | None = None) -> tuple[float, float, float]:
    """Seconds until the first image and until all slices, and the longest answer of ``/info/`` meanwhile.

    Args:
        url: of the server.
        address: what is opened.
        slices: how many it has.
        before: what the browser has shown before, so that it has OHIF in its cache.
    """
    ended, answers = threading.Event(), [0.0]

    def ask() -> None:
        while not ended.is_set():
            begin = time.monotonic()
            requests.get(f"{url}/info/", timeout=60)
            answers.append(time.monotonic() - begin)
            ended.wait(0.5)

    with browsing() as page:
        watch_images(page)
        if before is not None:
            page.goto(before, wait_until="commit")
            wait_for_frames(page, slices)
        others = threading.Thread(target=ask)
        others.start()
        try:
            begin = time.time()
            page.goto(address, wait_until="commit")
            first = wait_for_first_image(page) - begin
            last = wait_for_frames(page, slices) - begin
        finally:
            ended.set()
            others.join()
    return first, last, max(answers)


def _address(url: str, case: str, mode: str) -> str:
    """Where a mode shows a case."""
    location = requests.get(f"{url}/open/{case}", allow_redirects=False, timeout=60).headers["Location"]
    query = dict(part.split("=") for part in location.partition("?")[2].split("&"))
    study, series = query["StudyInstanceUIDs"], query["SeriesInstanceUIDs"]
    return f"{url}/ohif/{mode}?StudyInstanceUIDs={study}&SeriesInstanceUIDs={series}"
