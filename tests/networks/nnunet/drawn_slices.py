"""Small drawn slices with three round structures, and a recipe that trains on them in seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lib.networks.nnunet.dataset import LoadedSlice, Slice
from lib.networks.nnunet.recipes import Recipe

CLASSES = {"psoas": 1, "paraspinal": 2, "abdominal_wall": 3}
TINY = Recipe(
    name="tiny",
    epochs=4,
    fine_tune_epochs=2,
    iterations_per_epoch=4,
    validation_iterations=1,
    batch_size=2,
    patch_size=(48, 64),
    spacing_mm=3.0,
    features=(8, 16, 32),
)


def draw(seed: int, *, without: tuple[int, ...] = ()) -> LoadedSlice:
    """A slice of 72 x 56 pixels of 2.7 x 3.1 mm."""
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[0:72, 0:56]
    hu = np.where(np.hypot((x - 36) / 1.25, y - 28) < 26, -100.0, -1000.0)
    label = np.zeros(hu.shape, np.uint8)
    for value, (cx, cy, radius, density) in {1: (24, 30, 6, 60), 2: (48, 30, 6, 130), 3: (36, 42, 6, 220)}.items():
        if value not in without:
            dx, dy = rng.uniform(-2, 2, 2)
            inside = np.hypot(x - cx - dx, y - cy - dy) < radius
            hu[inside], label[inside] = density, value
    return (hu + rng.normal(0, 10, hu.shape)).astype(np.int16), (2.7, 3.1), label


def slices(count: int, *, folds: int = 2, load: Callable[[int], LoadedSlice] = draw) -> list[Slice]:
    """One slice each of so many patients, dealt to the folds."""
    return [
        Slice(key=f"case{i}@1", patient=f"patient{i}", fold=i % folds, load=lambda i=i: load(i)) for i in range(count)
    ]
