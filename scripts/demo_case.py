"""The demo cases: one public CT, fetched once with its checksum checked, and phantoms; or a CT that the user names."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

from scripts.command import Stop

NAME = "example_ct.nii.gz"
URL = "https://raw.githubusercontent.com/wasserth/TotalSegmentator/master/tests/reference_files/example_ct.nii.gz"
"""An abdominal CT of 2 MB, Apache-2.0; wasserth/TotalSegmentator on GitHub."""
SHA256 = "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1"

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
_NO_CASES = ("sarcopenia", "labels")  # where this server, and MONAI Label before it, keep the labels
_CHUNK = 1 << 16
PHANTOMS = 2
_MAKE_PHANTOMS = Path(__file__).with_name("make_phantoms.py")
_PHANTOM_OPTIONS = (
    "--region", "abdomen", "--seed", "1", "--matrix", "256", "--slice-mm", "5", "--variant-share", "0",
    "--without-labels",
)  # fmt: skip


def has_cases(studies: Path) -> bool:
    """Whether a studies folder holds an image: a file that ends like one, or DICOM in any layout.

    Labels are no cases, nor is anything whose name begins with a dot. The server's own look at the folder
    (``lib/stores``) needs the environment, which is not there yet.
    """
    for entry in studies.iterdir():
        if entry.name.startswith(".") or entry.name in _NO_CASES:
            continue
        if entry.is_file() and entry.name.lower().endswith(IMAGE_SUFFIXES):
            return True
        if is_dicom(entry) or (entry.is_dir() and any(is_dicom(file) for file in entry.rglob("*"))):
            return True
    return False


def is_dicom(file: Path) -> bool:
    """Whether a file carries DICOM's mark, `DICM` after a preamble of 128 bytes; its name says nothing."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def add_sample(sample: Path, *, studies: Path) -> Path:
    """Copy a CT into the studies folder under its own name; one that is there already stays as it is.

    Raises:
        Stop: there is no such file, or it is not a kind of image that the server reads.
    """
    if not sample.is_file():
        raise Stop(f"The sample {sample} is not there: give the path of a CT file ({', '.join(IMAGE_SUFFIXES)}).")
    if not sample.name.lower().endswith(IMAGE_SUFFIXES):
        raise Stop(f"The sample {sample} is no image: give the path of a CT file ({', '.join(IMAGE_SUFFIXES)}).")
    target = studies / sample.name
    if not target.exists():
        part = studies / f".{sample.name}.part"
        try:
            shutil.copyfile(sample, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return target


def fetch(*, studies: Path, url: str = URL, sha256: str = SHA256, patience: float = 10.0, limit: float = 120.0) -> Path:
    """Download the demo case into the studies folder.

    The file appears whole and under its name, or not at all.

    Args:
        studies: the folder.
        url: where it is fetched from.
        sha256: what its content must add up to.
        patience: seconds without a single byte after which the download is given up.
        limit: seconds for all of it.

    Raises:
        Stop: it cannot be fetched, or is not the file it should be.
    """
    target = studies / NAME
    part = studies / f".{NAME}.part"
    try:
        digest = _download(url, part, patience=patience, limit=limit)
        if digest != sha256:
            raise Stop(f"The demo CT from {url} is not the expected file (SHA-256 {digest}) and was thrown away.")
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise Stop(f"The demo CT could not be fetched from {url} ({error}).") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def draw_phantoms(*, studies: Path, python: Path, count: int = PHANTOMS) -> list[str]:
    """Draw digital phantoms of the abdomen into the studies folder.

    Args:
        studies: the folder.
        python: of the environment with everything that is needed.
        count: how many.

    Returns:
        The names of their files.

    Raises:
        Stop: they could not be drawn.
    """
    before = {entry.name for entry in studies.iterdir()}
    command = [str(python), str(_MAKE_PHANTOMS), "--out", str(studies), "--count", str(count), *_PHANTOM_OPTIONS]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        raise Stop("The digital phantoms could not be drawn.")
    names = {entry.name for entry in studies.iterdir()} - before
    return sorted(name for name in names if name.endswith(IMAGE_SUFFIXES) and not name.startswith("."))


def _download(url: str, part: Path, *, patience: float, limit: float) -> str:
    """Write what the address gives to a file; gives the SHA-256 of it."""
    digest = hashlib.sha256()
    end = time.monotonic() + limit
    with urllib.request.urlopen(url, timeout=patience) as answer, part.open("wb") as file:  # noqa: S310 - https, fixed
        while chunk := answer.read(_CHUNK):
            if time.monotonic() > end:
                raise TimeoutError(f"not done after {limit:.0f} s")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
