"""The working grid for one axial slice: 1 mm pixels, the patient's own mid-line upright at x = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class SliceFrame:
    """How a 1 mm working grid lies on a slice.

    Attributes:
        shape: pixels of the source slice (x, y).
        spacing: pixel size of the source slice in mm.
        origin: the point of the slice, in mm from its first pixel, at which the working grid has x = y = 0.
        tilt: by how much the patient is turned, radians; positive turns the front towards larger x.
        reach: the working grid covers -reach .. reach mm in x and y.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    origin: tuple[float, float]
    tilt: float
    reach: int

    def to_grid(self, array: Floats, *, outside: float) -> Floats:
        """Sample a source slice (x, y) on the working grid, linearly; ``outside`` where there is no pixel."""
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        matrix = np.array([[cos, sin], [-sin, cos]])
        scale = 1.0 / np.asarray(self.spacing)
        offset = (np.asarray(self.origin) - matrix @ (self.reach, self.reach)) * scale
        size = (2 * self.reach + 1,) * 2
        return ndimage.affine_transform(  # type: ignore[no-any-return]
            array, scale[:, None] * matrix, offset, output_shape=size, order=1, cval=outside
        )

    def to_slice(self, array: Floats) -> Floats:
        """Sample an array on the working grid at the source pixels, linearly; 0 beyond the grid."""
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        matrix = np.array([[cos, -sin], [sin, cos]])
        offset = np.array([self.reach, self.reach]) - matrix @ np.asarray(self.origin)
        return ndimage.affine_transform(  # type: ignore[no-any-return]
            array, matrix * np.asarray(self.spacing), offset, output_shape=self.shape, order=1, cval=0.0
        )


def upright(array: Floats, *, half_width: int, step: float = 2.5, most: float = 25.0) -> tuple[float, float]:
    """The tilt and the sideways shift that make a square array most like its own mirror image.

    Args:
        array: (x, y), 0 where nothing counts; turned about its centre.
        half_width: the pixels around the centre that are compared.
        step: degrees between the tilts that are tried.
        most: the largest tilt that is tried, degrees.

    Returns:
        Tilt in radians and shift in pixels: after turning, the mirror axis lies at x = centre + shift.
    """
    centre = (np.array(array.shape) - 1) / 2.0
    size = (2 * half_width + 1,) * 2
    tilts = np.deg2rad(np.arange(-most, most + step / 2, step))
    scores, shifts = [], []
    for tilt in tilts:
        cos, sin = np.cos(tilt), np.sin(tilt)
        matrix = np.array([[cos, sin], [-sin, cos]])
        turned = ndimage.affine_transform(
            array, matrix, centre - matrix @ (half_width, half_width), output_shape=size, order=1
        )
        # The self-convolution along x at lag 2 s is the likeness of the mirror images about x = s.
        likeness = signal.fftconvolve(turned, turned, axes=0).sum(axis=1)
        near = slice(2 * half_width - half_width // 2, 2 * half_width + half_width // 2 + 1)
        best = int(np.argmax(likeness[near])) + near.start
        scores.append(float(likeness[best] / ((turned**2).sum() + 1e-6)))
        shifts.append(best / 2.0 - half_width)
    return _peak(tilts, np.array(scores)), shifts[int(np.argmax(scores))]


def _peak(positions: Floats, values: Floats) -> float:
    """The place of the highest value, refined by a parabola through its neighbours."""
    i = int(np.argmax(values))
    if i in (0, len(values) - 1):
        return float(positions[i])
    left, top, right = values[i - 1 : i + 2]
    bend = left - 2 * top + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(positions[i] + offset * (positions[1] - positions[0]))
