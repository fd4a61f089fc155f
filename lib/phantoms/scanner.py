"""The scanner: sampling, blur, noise and artefacts.

Voxels see only additions, multiplications, divisions and square roots, and sums along rays are sums of whole numbers,
so that a volume is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lib.phantoms.artefacts import Rays, metal_streaks
from lib.phantoms.textures import Field, spline_taps

Kernel = Literal["soft", "standard", "sharp"]

MIN_HU, MAX_HU = -1024, 3071


_MOST_OBLIQUE_DEG = 40.0  # beyond 45 the axes change their names


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How a CT was acquired and reconstructed.

    Attributes:
        matrix: voxels along each side of a slice.
        slice_mm: distance and thickness of the slices.
        field_mm: side of the field of view; None: as the body needs.
        kernel: sharpness of the reconstruction.
        noise_hu: standard deviation of the noise in the middle of an average abdomen in slices of 3 mm.
        kvp: tube voltage; bone and contrast agent are brighter at lower ones.
        beam_hardening: 0 to 1.
        circle: whether only the circle within the square field is reconstructed and the rest is -1024.
        orientation: the anatomical direction of each axis of the array, such as "LPS" (DICOM) or "RAS".
        oblique_deg: rotation of the affine around x, y and z, degrees.
    """

    matrix: int = 512
    slice_mm: float = 3.0
    field_mm: float | None = None
    kernel: Kernel = "standard"
    noise_hu: float = 12.0
    kvp: int = 120
    beam_hardening: float = 0.3
    circle: bool = False
    orientation: str = "LPS"
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        axes = [
            next((n for n, pair in enumerate(("LR", "PA", "IS")) if code in pair), None) for code in self.orientation
        ]
        if sorted(axes, key=str) != [0, 1, 2]:
            raise ValueError(f"An orientation names each axis once, such as LPS, got {self.orientation!r}.")
        if any(abs(angle) > _MOST_OBLIQUE_DEG for angle in self.oblique_deg):
            raise ValueError(f"An oblique pose turns by {_MOST_OBLIQUE_DEG:g} degrees at most, got {self.oblique_deg}.")
        if not 16 <= self.matrix <= 2048:
            raise ValueError(f"A matrix is 16 to 2048, got {self.matrix}.")
        if not 0.3 <= self.slice_mm <= 20:
            raise ValueError(f"Slices are 0.3 to 20 mm apart, got {self.slice_mm:g}.")
        if self.field_mm is not None and not 50 <= self.field_mm <= 1000:
            raise ValueError(f"A field of view is 50 to 1000 mm, got {self.field_mm:g}.")


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner and protocol by chance."""
    slices = {1.0: 0.12, 1.25: 0.1, 1.5: 0.1, 2.0: 0.12, 2.5: 0.1, 3.0: 0.18, 5.0: 0.23, 7.0: 0.05}
    kernels: dict[Kernel, float] = {"soft": 0.35, "standard": 0.5, "sharp": 0.15}
    voltages = {80: 0.06, 100: 0.24, 120: 0.62, 140: 0.08}
    kernel: Kernel = _choice(rng, kernels)
    sharpness = {"soft": 0.8, "standard": 1.0, "sharp": 1.5}[kernel]
    return Scanner(
        matrix=_choice(rng, {512: 0.85, 384: 0.15}),
        slice_mm=_choice(rng, slices),
        kernel=kernel,
        noise_hu=float(np.clip(rng.lognormal(np.log(11), 0.3), 6, 22)) * sharpness,
        kvp=_choice(rng, voltages),
        beam_hardening=float(rng.uniform(0.1, 0.7)),
        circle=bool(rng.random() < 0.25),
        orientation="LPS",
    )


def _choice(rng: np.random.Generator, weights: dict[Any, float]) -> Any:
    """One of the keys, by its share."""
    return list(weights)[int(rng.choice(len(weights), p=list(weights.values())))]


# Standard deviation, mm, of the blur of a kernel and of its noise's grain; by how much edges are enhanced
_KERNELS: dict[Kernel, tuple[float, float, float]] = {
    "soft": (0.75, 0.85, 0.0), "standard": (0.55, 0.6, 0.0), "sharp": (0.35, 0.38, 0.6),
}  # fmt: skip
_VOXEL_BLUR = 0.38  # standard deviation, in voxels, of what averages over a voxel do at least
_COARSE_RATIO, _COARSE_SHARE = 2.4, 0.55  # filtered back-projection leaves little noise of low frequency
_REFERENCE_SLICE_MM = 3.0
_STREAK_LENGTH_MM = 55.0


def acquire(
    ideal: npt.NDArray[np.float32], *, scanner: Scanner, spacing: tuple[float, float, float], rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """What the scanner makes of a volume: blur, noise, artefacts, whole HU.

    Args:
        ideal: (nx, ny, nz) HU, RAS order, changed in place; fastest where each slice lies in one piece of memory.
        scanner: the settings.
        spacing: voxel size in world mm.
        rng: random numbers.

    Returns:
        (nx, ny, nz) HU, -1024 to 3071.
    """
    nx, ny, nz = ideal.shape
    rays = Rays((nx, ny), spacing[:2])
    grain = _Grain(scanner.kernel, spacing)
    sharp, _, edges = _KERNELS[scanner.kernel]
    sigma = (float(np.hypot(sharp / spacing[0], _VOXEL_BLUR)), float(np.hypot(sharp / spacing[1], _VOXEL_BLUR)))
    thickness = float(np.clip(np.sqrt(_REFERENCE_SLICE_MM / spacing[2]), 0.6, 2.2))
    outside = _outside_circle(nx, ny) if scanner.circle else None
    values = np.empty((nz, nx, ny), np.int16)
    for k in range(nz):
        hu = np.ascontiguousarray(ideal[:, :, k])
        paths = rays.trace(hu)
        streaks = metal_streaks(hu, spacing[:2], rng)
        if scanner.beam_hardening > 0:
            hu += paths.hardening(scanner.beam_hardening)
        if streaks is not None:
            hu += streaks
        hu = blurred(hu, sigma)
        if edges:
            hu += np.float32(edges) * (hu - blurred(hu, (1.1, 1.1)))
        noise = grain.draw((nx, ny), rng)
        noise *= paths.noise()
        noise += _horizontal_streaks(paths.starved_rows(), (nx, ny), spacing, rng)
        noise *= np.float32(scanner.noise_hu * thickness)
        hu += noise
        np.rint(hu, out=hu)
        np.clip(hu, MIN_HU, MAX_HU, out=hu)
        if outside is not None:
            hu[outside] = MIN_HU
        values[k] = hu
    return values.transpose(1, 2, 0)


def blurred(field: Field, sigma: tuple[float, float]) -> Field:
    """A field convolved with (nearly) a Gaussian of some voxels' standard deviation along x and y."""
    for axis in (0, 1):
        for weight, step in _passes(sigma[axis]):
            field = _smoothed(field, weight, step, axis)
    return field


def _passes(sigma: float) -> list[tuple[float, int]]:
    """Weights of the neighbours, and their distances, of three-point averages that add up to a Gaussian."""
    variance, step = sigma * sigma, max(int(sigma / 1.1), 1)
    largest = 0.5 * step * step
    count = max(int(np.ceil(variance / largest - 1e-9)), 1)
    return [(variance / (2 * count * step * step), step)] * count


def _smoothed(field: npt.NDArray, weight: float, step: int, axis: int) -> npt.NDArray:
    """Each voxel's average with its two neighbours at a distance; at the border with itself in their place."""
    shares = field * field.dtype.type(weight)
    result = field * field.dtype.type(1 - 2 * weight)
    if axis == 0:
        result[step:] += shares[:-step]
        result[:-step] += shares[step:]
        result[:step] += shares[:step]
        result[-step:] += shares[-step:]
    else:
        result[:, step:] += shares[:, :-step]
        result[:, :-step] += shares[:, step:]
        result[:, :step] += shares[:, :step]
        result[:, -step:] += shares[:, -step:]
    return result


class _Grain:
    """Noise of mean 0 and standard deviation 1 with the spectrum of a kernel: a band between two blurs."""

    def __init__(self, kernel: Kernel, spacing: tuple[float, float, float]) -> None:
        grain = _KERNELS[kernel][1]
        self._fine = (max(grain / spacing[0], _VOXEL_BLUR), max(grain / spacing[1], _VOXEL_BLUR))
        more = float(np.sqrt(_COARSE_RATIO**2 - 1))
        self._coarse = (self._fine[0] * more, self._fine[1] * more)
        fine, coarse = [], []
        for axis in (0, 1):
            impulse = np.zeros((81, 1))
            impulse[40] = 1.0
            for weight, step in _passes(self._fine[axis]):
                impulse = _smoothed(impulse, weight, step, 0)
            fine.append(impulse[:, 0])
            for weight, step in _passes(self._coarse[axis]):
                impulse = _smoothed(impulse, weight, step, 0)
            coarse.append(impulse[:, 0])
        power = np.prod([(a * a).sum() for a in fine])
        power -= 2 * _COARSE_SHARE * np.prod([(a * b).sum() for a, b in zip(fine, coarse, strict=True)])
        power += _COARSE_SHARE**2 * np.prod([(b * b).sum() for b in coarse])
        self._gain = np.float32(1 / np.sqrt(power))

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Field:
        """A slice of it."""
        fine = blurred(white_noise(rng, shape), self._fine)
        fine -= np.float32(_COARSE_SHARE) * blurred(fine, self._coarse)
        fine *= self._gain
        return fine


def white_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Independent numbers of mean 0 and standard deviation 1, made of whole numbers."""
    bits = rng.integers(0, 65536, shape, dtype=np.uint16)
    noise = ((bits & 255) + (bits >> 8)).astype(np.float32)
    noise -= np.float32(255)
    noise *= np.float32(1 / np.sqrt((256**2 - 1) / 6))
    return noise


def _horizontal_streaks(rows: Field, shape: tuple[int, int], spacing: tuple[float, float, float],
                        rng: np.random.Generator) -> Field | float:  # fmt: skip
    """Streaks from side to side through shoulders, hips and arms, where few photons arrive.

    Args:
        rows: (ny,) their strength.
        shape: nx, ny.
        spacing: voxel size, mm.
        rng: random numbers.
    """
    cell = _STREAK_LENGTH_MM / spacing[0]
    count = int(np.ceil(shape[0] / cell)) + 3
    lattice = white_noise(rng, (count, shape[1]))
    if not rows.any():
        return 0.0
    lattice = _smoothed(lattice, 0.2, 1, 1) * rows
    values = np.zeros(shape, np.float32)
    for i, weight in spline_taps(1.0, 1 / cell, shape[0], count):
        values += lattice[i] * weight[:, None]
    return values


def _outside_circle(nx: int, ny: int) -> npt.NDArray[np.bool_]:
    """Voxels outside the largest circle (ellipse of an oblong field) in the slice."""
    x, y = ((2 * np.arange(n) + 1 - n) / n for n in (nx, ny))
    return x[:, None] ** 2 + y[None, :] ** 2 > 1.0
