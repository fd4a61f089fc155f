"""CT series of a few small slices, as DICOM headers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lib.dicom_objects.facts import LabelFacts
from lib.dicom_objects.source import SourceSeries, source_series
from lib.images import CTImage, PatientFacts
from lib.phantoms.dicom import write_dicom_series
from lib.phantoms.scanner import Scanner

OBLIQUE = np.linalg.qr(np.array([[1, 0.1, 0.05], [-0.1, 1, 0.2], [0, -0.2, 1]]))[0]
OBLIQUE = OBLIQUE * np.sign(np.diag(OBLIQUE))
DIRECTIONS = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "LAI": np.diag([-1.0, 1.0, -1.0]),
    "oblique": OBLIQUE,
    "sagittal": np.eye(3)[[1, 2, 0]],
}
FACTS = LabelFacts(
    task="l3_muscle",
    number=3,
    author="Änne Muster",
    created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    sha256="0123456789abcdef",
)


@pytest.fixture
def facts() -> LabelFacts:
    return FACTS


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    def write(directions: str = "LPS", shape: tuple[int, int, int] = (21, 18, 6)) -> Path:
        affine = np.eye(4)
        affine[:3, :3] = DIRECTIONS[directions] * [0.7, 0.8, 2.5]
        affine[:3, 3] = [-101.234567, 55.5, 1234.987654]
        hu = (np.arange(np.prod(shape)).reshape(shape) % 1400 - 1024).astype(np.int16)
        image = CTImage(hu=hu, affine=affine, facts=PatientFacts(sex="F", phantom=True))
        folder = tmp_path / f"series-{directions}-{shape[2]}"
        folder.mkdir()
        write_dicom_series(folder, image, patient_id="P7", description="abdomen", scanner=Scanner(), identity="7")
        return folder

    return write


@pytest.fixture
def series(write_series: Callable[..., Path]) -> Callable[..., SourceSeries]:
    """A series whose files come in an order that is not that of its slices."""

    def make(directions: str = "LPS", shape: tuple[int, int, int] = (21, 18, 6)) -> SourceSeries:
        files = sorted(write_series(directions, shape).iterdir(), reverse=True)
        return source_series([pydicom.dcmread(file, stop_before_pixels=True) for file in files])

    return make
