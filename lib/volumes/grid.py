"""The grid on which a network works: a CT cropped to the body and resampled, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from lib.cold_start.body_grid import by_slice
from lib.cold_start.outline import body_mask
from lib.images import CTImage
from lib.volumes.recipes import Recipe

_MARGIN_MM = 10.0
_SKIN_MM = 3.0
"""By how much the outline of the body is widened, so that no skin is lost where its edge lies between voxels."""
Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the voxels of the network's grid lie in a CT in canonical order.

    The slices that are dealt with go one by one, so that little memory is needed beside the CT.

    Attributes:
        box: the part of the plane that holds the body: first and last + 1 along x and along y.
        fine: shape of that part of the CT, (x, y, z).
        coarse: shape on the grid, (x, y, z).
    """

    box: tuple[int, int, int, int]
    fine: Shape
    coarse: Shape

    @classmethod
    def of(cls, body: npt.NDArray[np.bool_], spacing: npt.NDArray[np.float64], recipe: Recipe) -> Grid:
        """The grid of a recipe over a body.

        Args:
            body: (x, y, z), inside the skin; where it is empty the whole plane is taken.
            spacing: mm.
            recipe: says how fine.
        """
        x = _range(body.any(axis=(1, 2)), float(spacing[0]))
        y = _range(body.any(axis=(0, 2)), float(spacing[1]))
        fine = (x[1] - x[0], y[1] - y[0], body.shape[2])
        wanted = (recipe.in_plane_mm, recipe.in_plane_mm, recipe.slice_mm)
        coarse = tuple(
            max(1, round(n * _factor(float(mm), to, whole=recipe.whole_voxels)))
            for n, mm, to in zip(fine, spacing, wanted, strict=True)
        )
        return cls(box=(*x, *y), fine=fine, coarse=coarse)  # type: ignore[arg-type]

    @property
    def inside(self) -> tuple[slice, slice]:
        """The part of a plane of the CT."""
        return slice(self.box[0], self.box[1]), slice(self.box[2], self.box[3])

    @property
    def is_the_images(self) -> bool:
        """Whether nothing is resampled."""
        return self.fine == self.coarse

    def image(self, hu: npt.NDArray) -> npt.NDArray[np.int16]:
        """A CT on the grid, means over what is made coarser.

        Args:
            hu: (x, y, z) in canonical order, the whole plane.

        Returns:
            (z, x, y).
        """
        out = np.empty((self.coarse[2], *self.coarse[:2]), np.int16)
        for k in range(self.coarse[2]):
            planes = self._shares(k)
            fine = np.asarray(sum(share * hu[(*self.inside, z)].astype(np.float32) for z, share in planes.items()))
            plane = torch.from_numpy(np.ascontiguousarray(fine.T))[None, None]  # a view, as most images lie in memory
            if self.coarse[:2] != self.fine[:2]:
                plane = functional.interpolate(plane, self.coarse[1::-1], mode="bilinear", antialias=True)
            out[k] = np.rint(plane[0, 0].numpy()).T
        return out

    def label(self, label: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A label on the grid: what lies in the middle of each voxel; (x, y, z) to (z, x, y)."""
        x, y, z = (_middles(fine, coarse) for fine, coarse in zip(self.fine, self.coarse, strict=True))
        inside = label[self.inside]
        return np.stack([inside[:, :, k][np.ix_(x, y)] for k in z])

    def height(self, k: int) -> float:
        """Where a slice of the CT lies along the slices of the grid."""
        at = (k + 0.5) * self.coarse[2] / self.fine[2] - 0.5
        return min(max(at, 0.0), self.coarse[2] - 1.0)

    def plane(self, logits: torch.Tensor) -> torch.Tensor:
        """Maps (..., x, y) of a slice of the grid as finely as the CT is."""
        if self.coarse[:2] == self.fine[:2]:
            return logits
        flat = logits.reshape(1, -1, *self.coarse[:2])
        return functional.interpolate(flat, self.fine[:2], mode="bilinear").reshape(*logits.shape[:-2], *self.fine[:2])

    def _shares(self, k: int) -> dict[int, float]:
        """Which slices of the CT make up a slice of the grid, and with what share."""
        ratio = self.fine[2] / self.coarse[2]
        if ratio <= 1:  # in between, or the very slice
            at = min(max((k + 0.5) * ratio - 0.5, 0.0), self.fine[2] - 1.0)
            low, share = int(at), at - int(at)
            return {low: 1.0} if share < 1e-6 else {low: 1 - share, low + 1: share}
        first, last = k * ratio, (k + 1) * ratio
        parts = {z: min(last, z + 1) - max(first, z) for z in range(int(first), min(self.fine[2], int(np.ceil(last))))}
        return {z: part / ratio for z, part in parts.items() if part > 1e-6}


def outline(hu: npt.NDArray, spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The body with a rim around it, (x, y, z); what is beyond belongs to no class."""
    body = np.asfortranarray(body_mask(CTImage(hu=hu, affine=np.diag([*spacing, 1.0]))))
    steps = max(1, round(_SKIN_MM / float(min(spacing[:2]))))
    cross = ndimage.generate_binary_structure(2, 1)
    return by_slice(partial(ndimage.binary_dilation, structure=cross, iterations=steps), body, reach=steps)


def windowed(hu: npt.NDArray, recipe: Recipe) -> npt.NDArray[np.float32]:
    """HU as the networks see them: 0 and 1 at the ends of the window and beyond, raised to the power gamma."""
    low, high = recipe.window_hu
    seen = np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1)
    return seen if recipe.gamma == 1 else seen**recipe.gamma  # type: ignore[no-any-return]


def _factor(mm: float, wanted: float, *, whole: bool) -> float:
    """How many voxels of the grid there are along one of the CT."""
    if not wanted:
        return 1.0
    if not whole:
        return mm / wanted
    return float(round(mm / wanted)) if mm > wanted else 1 / round(wanted / mm)


def _range(there: npt.NDArray[np.bool_], mm: float) -> tuple[int, int]:
    where = np.flatnonzero(there)
    if not len(where):
        return 0, len(there)
    margin = int(np.ceil(_MARGIN_MM / mm))
    return max(0, int(where[0]) - margin), min(len(there), int(where[-1]) + 1 + margin)


def _middles(fine: int, coarse: int) -> npt.NDArray[np.intp]:
    return ((np.arange(coarse) + 0.5) * fine / coarse).astype(np.intp)
