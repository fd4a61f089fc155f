"""What tells one vertebra from the next: lowest ribs, iliac crests, and the wings of the sacrum."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.cold_start.spine_axis import CELL_MM, SpineAxis
from lib.cold_start.spine_profile import SpineProfile

Mask = npt.NDArray[np.bool_]

# Mean of a 4 mm cell that a rib or a thin iliac wing shares with soft tissue.
_BONY_HU = 130.0
_BRIDGE_HU = 200.0
# What stands clear of the vertebra: transverse processes reach about 50 mm, a rib of 38 mm and more reaches further.
_MEDIAL_MM = 38.0
_ATTACHED_MM = 50.0
_RIB_REACH_MM = 60.0
_FARTHEST_MM = 170.0
_RIB_BEHIND_MM = (-65.0, 15.0)
_RIB_RISE_MM = 12.0
_CREST_LATERAL_MM = 60.0
_WING_LENGTH_MM = 40.0
_WING_DEPTH_MM = 36.0
_LEAST_RIB_CM3 = 1.5
_LEAST_ILIUM_CM3 = 6.0
_LARGE_ILIUM_CM3 = 100.0
_THICKEST_RIB_CM2 = 2.2
_TALLEST_ROOT_MM = 28.0
_WING_ACROSS_MM = np.arange(26.0, 63.0, 4.0)
_WING_DEPTHS_MM = np.arange(-46.0, 7.0, 4.0)
_WEAKEST_SHARE = 15


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Bony landmarks, heights in mm above the lowest slice; ``None`` or empty where they are not in view.

    Attributes:
        crests_z: the tops of the iliac crests, one for each side that shows it.
        ribs_z: where the lowest rib of a side reaches the spine, one for each side that shows it.
        wings: for each mm of the straightened spine, 0 to 1 for the bridge of bone that the wings of the sacrum
            make between spine and ilium.
        view_z: the lowest and the highest slice that hold image, mm.
    """

    crests_z: tuple[float, ...]
    ribs_z: tuple[float, ...]
    wings: npt.NDArray[np.float32]
    view_z: tuple[float, float]


def find_landmarks(axis: SpineAxis, profile: SpineProfile, start: int, stop: int) -> Landmarks:
    """Find ribs, crests and sacral wings beside a spine.

    Args:
        axis: with the coarse volume.
        profile: the straightened spine.
        start: the first position of ``profile`` that lies in the spine.
        stop: one past the last.
    """
    low, high = profile.z[start], profile.z[stop - 1]
    held = np.clip(axis.z, low, high)
    x_axis, y_axis = np.interp(held, axis.z, axis.x), np.interp(held, axis.z, axis.y)
    x = np.arange(axis.coarse.shape[0]) * CELL_MM
    sideways = x[:, None] - x_axis[None, :]
    bony = _thin(axis.coarse > _BONY_HU)
    view = np.flatnonzero((axis.coarse > axis.coarse.min() + 50).any(axis=(0, 1)))
    bottom, top = (int(view[0]), int(view[-1])) if len(view) else (0, len(axis.z) - 1)
    crests, ribs = [], []
    for sign in (-1, 1):
        lateral = sign * sideways
        beside = bony & ((lateral >= _MEDIAL_MM) & (lateral <= _FARTHEST_MM))[:, None, :]
        parts = [_Part.of(cells, lateral, y_axis) for cells in _parts(beside)]
        wing = _wing(parts, bottom, top)
        if wing is not None:
            crests.append(float(wing.z.max()) * CELL_MM)
        rib = _lowest_rib(parts, max([float(low), *crests]))
        if rib is not None:
            ribs.append(rib)
    return Landmarks(
        crests_z=tuple(crests),
        ribs_z=tuple(ribs),
        wings=_wings(axis, profile),
        view_z=(float(axis.z[bottom]), float(axis.z[top])),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A connected piece of bone beside the spine; cells of 4 mm."""

    x: npt.NDArray
    y: npt.NDArray
    z: npt.NDArray
    lateral: npt.NDArray
    forward: npt.NDArray

    @classmethod
    def of(cls, cells: npt.NDArray, lateral: npt.NDArray, y_axis: npt.NDArray) -> _Part:
        x, y, z = cells.T
        return cls(x=x, y=y, z=z, lateral=lateral[x, z], forward=y * CELL_MM - y_axis[z])

    @property
    def cm3(self) -> float:
        return len(self.x) * CELL_MM**3 / 1000


def _thin(mask: Mask) -> Mask:
    """A mask without what is thicker than 20 mm, such as a kidney full of contrast."""
    eroded = ndimage.minimum_filter(mask, size=5, mode="constant")
    return mask & ~ndimage.maximum_filter(eroded, size=9)  # type: ignore[no-any-return]


def _parts(mask: Mask) -> list[npt.NDArray]:
    """The cells (n, 3) of each connected piece, corners count as connected."""
    labels = cc3d.connected_components(mask, connectivity=26)
    cells = np.argwhere(labels)
    numbers = labels[tuple(cells.T)]
    order = np.argsort(numbers, kind="stable")
    return np.split(cells[order], np.flatnonzero(np.diff(numbers[order])) + 1) if len(cells) else []


def _lowest_rib(parts: list[_Part], above: float) -> float | None:
    """Where the lowest rib would meet the vertebral body, mm; a rib comes down and outwards from beside the spine."""
    heights = []
    for part in parts:
        attached = (part.lateral <= _ATTACHED_MM) & (part.forward > _RIB_BEHIND_MM[0])
        attached &= part.forward < _RIB_BEHIND_MM[1]
        if part.cm3 < _LEAST_RIB_CM3 or not attached.any() or part.lateral.max() < _RIB_REACH_MM:
            continue
        # Several ribs may hang together by cartilage or by partial volume: each run of slices at the spine is one.
        z = np.unique(part.z[attached])
        runs = np.split(z, np.flatnonzero(np.diff(z) > 1) + 1)
        longest_cm = float(np.linalg.norm([np.ptp(part.x), np.ptp(part.y), np.ptp(part.z)])) * CELL_MM / 10
        if part.cm3 / longest_cm > _THICKEST_RIB_CM2 * len(runs):
            continue
        lowest = runs[0]
        if len(lowest) * CELL_MM > _TALLEST_ROOT_MM:
            continue
        beyond = part.lateral >= _RIB_REACH_MM
        if part.z[beyond].min() * CELL_MM > lowest.mean() * CELL_MM + 2 * CELL_MM:
            continue
        if _is_ilium(part) or lowest.mean() * CELL_MM < above:
            continue
        heights.append(float(lowest.mean()) * CELL_MM + _RIB_RISE_MM)
    return min(heights, default=None)


def _is_ilium(part: _Part) -> bool:
    """A wing is long in the axial plane, and its top lies far from the spine."""
    if part.cm3 < _LEAST_ILIUM_CM3:
        return False
    top = part.z >= part.z.max() - 2
    if part.lateral[top].min() < _CREST_LATERAL_MM:
        return False
    upper = part.z >= part.z.max() - _WING_DEPTH_MM / CELL_MM
    longest = 0.0
    for z in np.unique(part.z[upper]):
        here = part.z == z
        longest = max(longest, float(np.hypot(np.ptp(part.x[here]), np.ptp(part.y[here]))) * CELL_MM)
    return longest >= _WING_LENGTH_MM


def _wing(parts: list[_Part], bottom: int, top: int) -> _Part | None:
    """The iliac wing of one side if its top is in view; it comes up from below the image or is large."""
    wings = [
        part
        for part in parts
        if part.z.max() < top and (part.z.min() <= bottom + 1 or part.cm3 > _LARGE_ILIUM_CM3) and _is_ilium(part)
    ]
    return max(wings, key=lambda part: part.cm3, default=None)


def _wings(axis: SpineAxis, profile: SpineProfile) -> npt.NDArray[np.float32]:
    """How solid the bridge of bone from the spine to the ilium is, across the axis: the sacrum's wings close it."""
    bridges = []
    for sign in (-1, 1):
        front = _WING_DEPTHS_MM[:, None, None] * profile.front[:, None, None, :]
        places = np.stack(
            np.broadcast_arrays(
                profile.x[:, None, None] + sign * _WING_ACROSS_MM + front[..., 0],
                profile.y[:, None, None] + front[..., 1],
                profile.z[:, None, None] + front[..., 2],
            )
        )
        samples = ndimage.map_coordinates(axis.coarse, places / CELL_MM, order=1, mode="constant", cval=0.0)
        densest = np.clip(samples.max(axis=1), 0, _BRIDGE_HU) / _BRIDGE_HU
        bridges.append(np.percentile(densest, _WEAKEST_SHARE, axis=1))
    return ndimage.gaussian_filter1d(np.mean(bridges, axis=0), 2.0).astype(np.float32)  # type: ignore[no-any-return]
