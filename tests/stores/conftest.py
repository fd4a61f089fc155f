"""Small CTs and labels on an oblique, anisotropic grid, and a store that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from lib.stores import CaseStore

SHAPE = (24, 20, 8)


def _oblique() -> npt.NDArray:
    """Axes run to the left, the front and the feet, tilted by some degrees, with voxels of 0.8 x 0.9 x 5 mm."""
    a, b = np.deg2rad(12), np.deg2rad(-7)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([-0.8, 0.9, -5.0])
    affine[:3, 3] = [91.5, -80.25, 410.0]
    return affine


AFFINE = _oblique()


@pytest.fixture
def affine() -> npt.NDArray:
    return AFFINE.copy()


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    return folder


@pytest.fixture
def write_ct() -> Callable[..., Path]:
    def write(path: Path, *, shape: tuple[int, ...] = SHAPE, affine: npt.NDArray = AFFINE, seed: int = 0) -> Path:
        hu = np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16)
        nib.save(nib.Nifti1Image(hu, affine), path)
        return path

    return write


@pytest.fixture
def muscles() -> npt.NDArray:
    """Psoas 1, paraspinal 2, abdominal wall 3 on the fourth slice from the head."""
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 3:9, 3] = 1
    label[4:9, 10:16, 3] = 2
    label[12:20, 4:12, 3] = 3
    return label


@pytest.fixture
def write_label(tmp_path: Path) -> Callable[..., Path]:
    def write(label: npt.NDArray, *, affine: npt.NDArray = AFFINE, name: str = "submitted.nii.gz") -> Path:
        nib.save(nib.Nifti1Image(label, affine), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def store(studies: Path, write_ct: Callable[..., Path]) -> Iterator[CaseStore]:
    for number, image_id in enumerate(("ann", "ben", "cat")):
        write_ct(studies / f"{image_id}.nii.gz", seed=number)
    opened = CaseStore(studies)
    yield opened
    opened.close()


@pytest.fixture
def save(store: CaseStore, write_label: Callable[..., Path]) -> Callable[..., None]:
    """Save a label whose values are named in the order of the arguments."""

    def _save(
        image_id: str,
        label: npt.NDArray,
        names: list[str] | None = None,
        *,
        tag: str = "final",
        affine: npt.NDArray = AFFINE,
        **info: object,
    ) -> None:
        names = ["psoas", "paraspinal", "abdominal_wall"] if names is None else names
        named = [{"name": name, "idx": value} for value, name in enumerate(names, start=1)]
        store.save_label(image_id, str(write_label(label, affine=affine)), tag, {"label_info": named, **info})

    return _save
