"""A coarse copy of a label of body composition on which shapes are found: trunk, arms, spine, bones beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.images.arms import without_arms

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

WITHIN_LAYER = np.zeros((3, 3, 3), bool)
"""Which cells are neighbours in a layer, for operations on all layers at once."""
WITHIN_LAYER[:, :, 1] = True

_CELL_MM = 3.0
_LAYER_MM = 2.5
_BRAIN_CM2 = 15.0  # the widest spinal canal has a third of it
_LARGEST_GAP_MM = 60.0
_BEYOND_CANAL_MM = 30.0
_SMOOTH_MM = 30.0


@dataclass(frozen=True, kw_only=True)
class BodyMap:
    """The copy. Axes in the order of ``CTImage.canonical()``; a layer is one slice in every few.

    Attributes:
        spacing: cell size in mm, the last from layer to layer.
        voxels: of the image along the first two sides of a cell.
        step: slices from one layer to the next.
        slices: how many the image has.
        body: all that is labelled with what it encloses, such as the lungs.
        trunk: the same without arms beside it; legs and head stay in.
        bone: bone within ``trunk``.
        head: for every layer, whether it shows brain.
        spine: ``(layers, 2)``, x and y of the spinal canal in mm; NaN where there is none near.
    """

    spacing: tuple[float, float, float]
    voxels: tuple[int, int]
    step: int
    slices: int
    body: Mask
    trunk: Mask
    bone: Mask
    head: Mask
    spine: Floats

    @classmethod
    def of(cls, label: npt.NDArray, spacing: npt.NDArray[np.float64], ids: Mapping[str, int]) -> BodyMap:
        """Look at every few voxels of a label.

        Args:
            label: integers, axes in the order of ``CTImage.canonical()``.
            spacing: mm along its axes, the last from slice to slice.
            ids: name to value.
        """
        x, y = (max(1, round(_CELL_MM / float(mm))) for mm in spacing[:2])
        step = max(1, int(_LAYER_MM / float(spacing[2])))
        coarse = np.ascontiguousarray(label[x // 2 :: x, y // 2 :: y, ::step])
        cell = (float(spacing[0]) * x, float(spacing[1]) * y, float(spacing[2]) * step)
        body = coarse > 0
        for k in np.flatnonzero(body.any(axis=(0, 1))):
            body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
        nerve = coarse == ids["central_nervous_system"]
        nerve_cm2 = nerve.sum(axis=(0, 1)) * cell[0] * cell[1] / 100
        head = nerve_cm2 > _BRAIN_CM2
        spine = _canal(nerve, head, cell)
        inside = body & ~_air_between(body & (coarse == 0), coarse == ids["skin"])
        trunk = body & ~_arms(inside, spine, cell)
        return cls(
            spacing=cell,
            voxels=(x, y),
            step=step,
            slices=label.shape[2],
            body=body,
            trunk=trunk,
            bone=(coarse == ids["bone"]) & trunk,
            head=head,
            spine=spine,
        )

    @property
    def layers(self) -> int:
        """How many there are."""
        return self.body.shape[2]

    def mm(self, layers: float) -> float:
        """The height of so many layers."""
        return layers * self.spacing[2]

    def layers_of(self, mm: float) -> int:
        """How many layers come nearest to a height, one at least."""
        return max(1, round(mm / self.spacing[2]))

    def slice_of(self, layer: int) -> int:
        """The slice that a layer shows."""
        return layer * self.step

    @property
    def cell_cm2(self) -> float:
        """Area of a cell in a layer."""
        return self.spacing[0] * self.spacing[1] / 100

    @property
    def x(self) -> Floats:
        """Place of the cells along the first axis, mm."""
        return np.arange(self.body.shape[0]) * self.spacing[0]

    @property
    def y(self) -> Floats:
        """Place of the cells along the second axis, mm."""
        return np.arange(self.body.shape[1]) * self.spacing[1]

    def arms_on(self, index: int, shape: tuple[int, ...]) -> Mask | None:
        """The arms on a slice of the image, cell by cell at full size; ``None`` where there are none.

        Args:
            index: of the slice.
            shape: of the slice.
        """
        layer = min(round(index / self.step), self.layers - 1)
        arms = self.body[:, :, layer] & ~self.trunk[:, :, layer]
        if not arms.any():
            return None
        places = [
            np.minimum(np.arange(size) // voxels, cells - 1)
            for size, voxels, cells in zip(shape, self.voxels, arms.shape, strict=True)
        ]
        return arms[np.ix_(*places)]  # type: ignore[no-any-return]


def _air_between(holes: Mask, skin: Mask) -> Mask:
    """The holes of the layers that skin borders on: air between an arm and the trunk that it touches, and no lung."""
    pieces, _ = ndimage.label(holes, WITHIN_LAYER)
    beside_skin = np.unique(pieces[ndimage.binary_dilation(skin, WITHIN_LAYER)])
    return np.isin(pieces, beside_skin[beside_skin > 0])


def _arms(inside: Mask, spine: Floats, cell: tuple[float, float, float]) -> Mask:
    """The arms, looked for on every second cell of every second layer."""
    few, middles = inside[::2, ::2, ::2], spine[::2] / (2 * cell[0], 2 * cell[1])
    arms = np.zeros(few.shape, bool)
    for k in np.flatnonzero(few.any(axis=(0, 1))):
        known = np.isfinite(middles[k]).all()
        trunk_at = (round(middles[k, 0]), round(middles[k, 1])) if known else None
        arms[:, :, k] = few[:, :, k] & ~without_arms(few[:, :, k], (2 * cell[0], 2 * cell[1]), trunk_at)
    for axis, size in enumerate(inside.shape):
        arms = arms.repeat(2, axis=axis).take(np.arange(size), axis=axis)
    return arms


def _canal(nerve: Mask, head: Mask, cell: tuple[float, float, float]) -> Floats:
    """Where the spinal canal runs: straight over gaps between the layers that show it, and a little beyond."""
    layers = nerve.shape[2]
    seen = np.flatnonzero(nerve.any(axis=(0, 1)) & ~head)
    if not seen.size:
        return np.full((layers, 2), np.nan)
    canal = np.empty((len(seen), 2))
    for axis in (0, 1):
        counts = nerve[:, :, seen].sum(axis=1 - axis)  # by place and layer
        canal[:, axis] = np.arange(len(counts)) @ counts / counts.sum(axis=0) * cell[axis]
    z = np.arange(layers)
    window = 2 * int(_SMOOTH_MM / cell[2] / 2) + 1
    smooth = ndimage.median_filter(canal, (window, 1), mode="nearest")
    whole = np.stack([np.interp(z, seen, smooth[:, axis]) for axis in (0, 1)], axis=1)
    above = seen[np.minimum(np.searchsorted(seen, z), len(seen) - 1)]
    below = seen[np.maximum(np.searchsorted(seen, z, side="right") - 1, 0)]
    within_gap = (below <= z) & (z <= above) & ((above - below) * cell[2] <= _LARGEST_GAP_MM)
    near = np.minimum(np.abs(above - z), np.abs(z - below)) * cell[2] <= _BEYOND_CANAL_MM
    whole[~(within_gap | near)] = np.nan
    return whole
