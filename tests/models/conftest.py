"""A registry, and what goes into it; the networks' weights are opaque to it."""

from __future__ import annotations

import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.models import Manifest, Registry, TrainingLabel

TASK = "l3_muscle"


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "model")


@pytest.fixture
def manifest():
    labels = tuple(
        TrainingLabel(case=f"case{n}", revision=1, sha256="0" * 64, patient=f"p{n}", fold=n % 5, phantom=n == 0)
        for n in range(10)
    )
    return Manifest(task=TASK, network="nnunet_2d", classes=L3_MUSCLE.ids, folds=5, labels=labels)


@pytest.fixture
def add_version(registry, manifest):
    """Publishes a version with two folds of a few bytes."""

    def add(weights: bytes = b"weights"):
        with registry.staging(TASK) as folder:
            for fold in (0, 3):
                (folder / f"fold_{fold}").mkdir()
                (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(weights)
            return registry.publish(folder, manifest)

    return add
