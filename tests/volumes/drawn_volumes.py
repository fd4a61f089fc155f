"""Small drawn bodies with the seven classes, and a recipe with which a fold learns them in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.images import CTImage
from lib.volumes.dataset import LabelledVolume
from lib.volumes.recipes import RECIPES

CLASSES = BODY_COMPOSITION.ids
SPACING = (8.0, 7.0, 6.0)
TINY = replace(
    RECIPES["body_composition"]["3d"]["quick"],
    patch=(8, 32, 32),
    in_plane_mm=10.0,
    whole_voxels=False,
    window_hu=(-160.0, 240.0),
    epochs=2,
    fine_tune_epochs=1,
    features=(8, 8, 8, 8),
    iterations_per_epoch=10,
    batch_size=2,
    learning_rate=1.5e-2,
)
TINY_FLAT = replace(
    RECIPES["body_composition"]["2d"]["quick"],
    patch=(1, 32, 32),
    in_plane_mm=10.0,
    whole_voxels=False,
    window_hu=(-160.0, 240.0),
    epochs=2,
    fine_tune_epochs=1,
    iterations_per_epoch=8,
    batch_size=4,
)
_HU = {
    "skin": 30, "bone": 500, "muscle": 60, "abdominal_visceral_fat": -100, "subcutaneous_fat": -100,
    "internal_organs_and_vessels": 40, "central_nervous_system": 30,
}  # fmt: skip


def draw(seed: int, slices: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """HU (x, y, z) int16 and label (x, y, z) uint8 of a body about 300 mm wide, in canonical order."""
    rng = np.random.default_rng(seed)
    shape = (48, 40, slices)
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    a, b = 19 + rng.uniform(-2, 2), 15 + rng.uniform(-1, 1)
    r = np.hypot((x - 24) / a, (y - 20) / b) + 0.02 * np.sin(z / 3)
    label = np.zeros(shape, np.uint8)
    for name, edge in (
        ("skin", 1.0), ("subcutaneous_fat", 0.93), ("muscle", 0.75), ("abdominal_visceral_fat", 0.6),
        ("internal_organs_and_vessels", 0.4),
    ):  # fmt: skip
        label[r < edge] = CLASSES[name]
    spine = np.hypot(x - 24, y - 10)
    label[(spine < 4) & (r < 0.9)] = CLASSES["bone"]
    label[(spine < 1.6) & (r < 0.9)] = CLASSES["central_nervous_system"]
    hu = np.full(shape, -1000, np.float64)
    for name, value in _HU.items():
        hu[label == CLASSES[name]] = value
    hu[label > 0] += rng.normal(0, 8, int((label > 0).sum()))
    return hu.astype(np.int16), label


def image(hu: np.ndarray) -> CTImage:
    """A drawn body as a CT in canonical order."""
    return CTImage(hu=hu, affine=np.diag([*SPACING, 1.0]))


def volume(seed: int, fold: int, slices: int = 12) -> LabelledVolume:
    hu, label = draw(seed, slices)
    return LabelledVolume(key=f"case{seed}@1", patient=f"p{seed}", fold=fold, load=lambda: (image(hu), label))


def volumes(count: int = 4, folds: int = 2) -> list[LabelledVolume]:
    return [volume(seed, seed % folds) for seed in range(count)]
