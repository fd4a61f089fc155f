"""The scanner: sampling, blur, noise and artefacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Kernel = Literal["soft", "standard", "sharp"]


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How a CT was acquired and reconstructed.

    Attributes:
        matrix: voxels along each side of a slice.
        slice_mm: distance and thickness of the slices.
        field_mm: side of the field of view; None: as the body needs.
        kernel: sharpness of the reconstruction.
        noise_hu: standard deviation of the noise in the middle of an average body.
        kvp: tube voltage; bone and contrast agent are brighter at lower ones.
        beam_hardening: 0 to 1.
        orientation: the anatomical direction of each axis of the array, such as "LPS" (DICOM) or "RAS".
        oblique_deg: rotation of the affine around x, y and z, degrees.
    """

    matrix: int = 512
    slice_mm: float = 3.0
    field_mm: float | None = None
    kernel: Kernel = "standard"
    noise_hu: float = 10.0
    kvp: int = 120
    beam_hardening: float = 0.3
    orientation: str = "LPS"
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner and protocol by chance."""
    return Scanner(slice_mm=float(rng.choice([1.0, 1.5, 2.0, 3.0, 5.0, 7.0])), noise_hu=float(rng.uniform(6, 18)))


def acquire(
    ideal: npt.NDArray[np.float32], *, scanner: Scanner, spacing: tuple[float, float, float], rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """What the scanner makes of a volume: blur, noise, artefacts, whole HU.

    Args:
        ideal: (nx, ny, nz) HU, RAS order, changed in place.
        scanner: the settings.
        spacing: voxel size in world mm.
        rng: random numbers.

    Returns:
        (nx, ny, nz) HU, -1024 to 3071.
    """
    for k in range(ideal.shape[2]):
        ideal[:, :, k] = ndimage.gaussian_filter(ideal[:, :, k], [0.6 / spacing[0], 0.6 / spacing[1]])
        ideal[:, :, k] += scanner.noise_hu * rng.standard_normal(ideal.shape[:2], dtype=np.float32)
    return np.clip(np.rint(ideal), -1024, 3071).astype(np.int16)
