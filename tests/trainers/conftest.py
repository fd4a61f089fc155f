"""A store of small drawn CTs with labels, and a training on them that takes seconds for each fold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.models import Registry
from lib.networks.nnunet.recipes import RECIPES
from lib.stores import CaseStore
from lib.trainers.training import TrainOptions, train_task
from tests.networks.nnunet.drawn_slices import TINY, draw

AFFINE = np.diag([2.7, 3.1, 5.0, 1.0])
LABELLED = 2
"""The slice of the four that is drawn and labelled."""


def add_case(studies: Path, seed: int) -> str:
    hu, _, _ = draw(seed)
    volume = np.full((*hu.shape, 4), -1000, np.int16)
    volume[:, :, LABELLED] = hu
    nifti = nib.Nifti1Image(volume, AFFINE)
    if seed == 0:
        nifti.header["descrip"] = "digital phantom, not a patient"
    nib.save(nifti, studies / f"case{seed}.nii.gz")
    return f"case{seed}"


@pytest.fixture(scope="session")
def save_label() -> Callable[..., None]:
    def save(store: CaseStore, case: str, folder: Path, *, keep: tuple[int, ...] = (1, 2, 3), shift: int = 0) -> None:
        _, _, label = draw(int(case.removeprefix("case")))
        volume = np.zeros((*label.shape, 4), np.uint8)
        volume[:, :, LABELLED] = np.roll(np.where(np.isin(label, keep), label, 0), shift, axis=0)
        path = folder / "label.nii.gz"
        nib.save(nib.Nifti1Image(volume, AFFINE), path)
        store.save_label(case, str(path), "final", {"task": "l3_muscle", "user": "ann"})

    return save


@pytest.fixture
def store(tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    for seed in range(7):
        add_case(studies, seed)
    store = CaseStore(studies)
    yield store
    store.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory, save_label):
    """A store, a registry with a first version, and what was reported while it was trained."""
    folder = tmp_path_factory.mktemp("trained")
    studies = folder / "studies"
    studies.mkdir()
    cases = [add_case(studies, seed) for seed in range(6)]
    store, registry, told = CaseStore(studies), Registry(folder / "models"), []
    for case in cases:
        save_label(store, case, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "quick", TINY)
        train_task("l3_muscle", store, registry, TrainOptions(preset="quick", device="cpu"), told.append)
    yield store, registry, told
    store.close()
