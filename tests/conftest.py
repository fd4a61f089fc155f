"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data beside the checkout; it is never part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real CTs are not here: {SHARED_DATA.name} folder is missing beside the checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def real_ct_path(shared_data: Path) -> Path:
    """The public abdominal CT, 122 x 101 x 112 voxels of 3 mm, RAS, T11 to the hips."""
    return shared_data / "ct_abdomen_3mm.nii.gz"
