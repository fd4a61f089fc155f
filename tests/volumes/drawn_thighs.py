"""Two small drawn legs with all structures of the thigh, and a recipe with which a fold is trained in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.volumes.recipes import RECIPES

CLASSES = THIGH_MUSCLES.ids
SPACING = (8.0, 7.0, 9.0)
TINY = replace(
    RECIPES["thigh_muscles"]["unetr"]["quick"],
    patch=(16, 32, 32),
    in_plane_mm=10.0,
    slice_mm=12.0,
    epochs=2,
    fine_tune_epochs=1,
    iterations_per_epoch=6,
)


def draw(seed: int, slices: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """HU (x, y, z) int16 and label (x, y, z) uint8 in canonical order; the muscles are sectors around the bones."""
    rng = np.random.default_rng(seed)
    shape = (52, 30, slices)
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    label, hu = np.zeros(shape, np.uint8), np.full(shape, -1000.0)
    radius = 11 + rng.uniform(-1, 1)
    for middle in (13, 38):
        r, angle = np.hypot(x - middle, y - 15), np.arctan2(y - 15, np.abs(x - 25.5) - 12.5)
        sector = ((angle + np.pi) / (2 * np.pi) * 9).astype(int) % 9
        hu[r < radius + 2] = -100
        label[r < radius] = (1 + sector + 9 * (3 * z // slices))[r < radius]
        bone = r < 4
        label[bone] = np.where(3 * z // slices == 2, CLASSES["iliac_bone"], CLASSES["femur"])[bone]
    hu[(label > 0) & (label < CLASSES["femur"])] = 55
    hu[label >= CLASSES["femur"]] = 500
    hu[hu > -1000] += rng.normal(0, 8, int((hu > -1000).sum()))
    return hu.astype(np.int16), label
