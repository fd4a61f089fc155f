"""The line through the vertebral bodies of a CT, found on a coarse copy by the shape of a vertebra."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.images.ct import CTImage

Floats = npt.NDArray[np.float32]

CELL_MM = 4.0
_THREADS = 2
_SAMPLES_PER_CELL = 2
_AIR_HU = -200.0
_BRIGHTEST_HU = 400.0
_TISSUE_HU = -150.0
_PAD_CELLS = 16
_BODY_RADIUS_MM = 13.0
_BESIDE_MM = 32.0
_CANAL_MM = 26.0
_ARCH_MM = 44.0
_ARCH_SPREAD_MM = 8.0
_SEGMENT_MM = 36.0
_SOFT_HU = 80.0
_SPONGY_HU = 180.0
_FULL_BODY_HU = 90.0
_FULL_CANAL_HU = 60.0
_FULL_ARCH_HU = 60.0
_ENOUGH = 140.0
_SYMMETRY_MM = 40.0
_SYMMETRY_DEPTH_MM = 60.0
_FREE_OFF_CENTRE_MM = 30.0
_FARTHEST_OFF_CENTRE_MM = 90.0
_STEEPEST_CELLS = (1, 2)
_BEND_COST = (30.0, 10.0)
_SMOOTHING_MM = 10.0
_TANGENT_SMOOTHING_MM = 15.0


@dataclass(frozen=True, kw_only=True)
class SpineAxis:
    """The centres of the vertebral bodies, one for each 4 mm along the foot-to-head axis.

    Attributes:
        coarse: HU on a grid of 4 mm cells (x, y, z) in canonical order, clipped to -200..400.
        x: centre from the first voxel in mm, one value for each z of ``coarse``.
        y: the same from back to front.
        z: the same from foot to head.
        strength: how much each place looks like a vertebra, HU.
    """

    coarse: Floats
    x: Floats
    y: Floats
    z: Floats
    strength: Floats


@dataclass(frozen=True, kw_only=True)
class SpineCourse:
    """The line through the vertebral bodies at even steps of its length, from foot to head, with a frame at each.

    Attributes:
        line: (n, 3) mm from the first voxel of the canonical image along x, y, z.
        tangent: (n, 3) unit vectors towards the head.
        side: (n, 3) unit vectors to the right, across the line.
        front: (n, 3) unit vectors to the front, across both.
        strength: (n,) how much each place looks like a vertebra, HU.
    """

    line: npt.NDArray[np.float64]
    tangent: npt.NDArray[np.float64]
    side: npt.NDArray[np.float64]
    front: npt.NDArray[np.float64]
    strength: Floats

    def __len__(self) -> int:
        return len(self.line)


def course_along(axis: SpineAxis, step_mm: float) -> SpineCourse:
    """Walk along the axis in even steps."""
    points = np.stack([axis.x, axis.y, axis.z], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    s = np.arange(0.0, length[-1] + 1e-6, step_mm)
    line = np.stack([np.interp(s, length, points[:, c]) for c in range(3)], axis=1)
    tangent = ndimage.gaussian_filter1d(np.gradient(line, axis=0), _TANGENT_SMOOTHING_MM / step_mm, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(np.broadcast_to([0.0, 1.0, 0.0], tangent.shape), tangent)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    return SpineCourse(
        line=line,
        tangent=tangent,
        side=side,
        front=np.cross(tangent, side),
        strength=np.interp(s, length, axis.strength).astype(np.float32),
    )


def find_axis(upright: CTImage) -> SpineAxis:
    """Follow the column of vertebral bodies through a canonical volume.

    A vertebral body is denser than what lies left and right of it and than the canal behind it, and has an arch
    behind the canal. The path that collects most of this without sharp bends is the spine, where there is one;
    :attr:`SpineAxis.strength` says where.
    """
    coarse = _coarse(upright)
    cost = _off_centre_cost(coarse)
    left, right = _reach(cost <= _FARTHEST_OFF_CENTRE_MM)
    back, front = _reach((coarse[left:right] > _TISSUE_HU).any(axis=(0, 2)))
    score = _vertebra_score(coarse, slice(left, right), slice(back, front)) - cost[left:right, None, None]
    xs, ys = _best_path(score)
    strength = score[xs, ys, np.arange(score.shape[2])]
    xs, ys = xs + left, ys + back
    sigma = _SMOOTHING_MM / CELL_MM
    return SpineAxis(
        coarse=coarse,
        x=ndimage.gaussian_filter1d(xs * np.float32(CELL_MM), sigma, mode="nearest"),
        y=ndimage.gaussian_filter1d(ys * np.float32(CELL_MM), sigma, mode="nearest"),
        z=np.arange(coarse.shape[2], dtype=np.float32) * np.float32(CELL_MM),
        strength=strength,
    )


def _coarse(upright: CTImage) -> Floats:
    """Means of a few samples for each 4 mm cell; cell n is centred n * 4 mm from the first voxel's centre."""
    hu, spacing = upright.hu, upright.spacing
    cells = [max(1, int((n - 1) * mm / CELL_MM) + 1) for n, mm in zip(hu.shape, spacing, strict=True)]
    offsets = (np.arange(_SAMPLES_PER_CELL) + 0.5) / _SAMPLES_PER_CELL - 0.5
    picks = [
        [
            np.clip(np.rint((np.arange(count) + offset) * CELL_MM / mm).astype(int), 0, n - 1)
            for offset in (offsets if mm < CELL_MM / 1.5 else offsets[:1] * 0)
        ]
        for count, n, mm in zip(cells, hu.shape, spacing, strict=True)
    ]
    # Slice by slice, whole rows first: several times as fast as voxel by voxel, if rows are what lies together.
    order = np.argsort([-abs(stride) for stride in hu.strides], kind="stable")
    slow, middle, fast = (picks[axis] for axis in order)
    laid_out = hu.transpose(order)
    rows, columns = np.stack(middle, axis=1).ravel(), np.stack(fast, axis=1).ravel()
    total = np.zeros([cells[axis] for axis in order], dtype=np.float32)

    def add(layers: range) -> None:
        for layer, pick in itertools.product(layers, slow):
            taken = laid_out[pick[layer]].take(rows, axis=0).take(columns, axis=1)
            np.clip(taken, _AIR_HU, _BRIGHTEST_HU, out=taken, casting="unsafe")
            lines = sum(taken[first :: len(middle)] for first in range(len(middle)))
            for first in range(len(fast)):
                total[layer] += lines[:, first :: len(fast)]

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(add, [range(first, len(total), _THREADS) for first in range(_THREADS)]))
    samples = len(slow) * len(middle) * len(fast)
    return np.ascontiguousarray(total.transpose(np.argsort(order)) / np.float32(samples))


def _reach(found: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """From the first true place to one past the last; the whole where there is none."""
    places = np.flatnonzero(found)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, len(found))


def _vertebra_score(coarse: Floats, across: slice, deep: slice) -> Floats:
    """How much the places in a part of x and y look like the centre of a vertebral body or disc, HU."""
    pad = _PAD_CELLS
    padded = np.pad(coarse, ((pad, pad), (pad, pad), (0, 0)), constant_values=_AIR_HU)
    padded = padded[across.start : across.stop + 2 * pad, deep.start : deep.stop + 2 * pad]
    # About a whole segment, so that a disc between two bodies scores like its neighbours.
    smooth = ndimage.uniform_filter1d(padded, round(_SEGMENT_MM / CELL_MM), axis=2, mode="nearest")
    with ThreadPoolExecutor(_THREADS) as threads:
        return np.concatenate(list(threads.map(_score_of_layers, np.array_split(smooth, _THREADS, axis=2))), axis=2)


def _score_of_layers(smooth: Floats) -> Floats:
    """The same from HU that are smoothed along z, with the padding around x and y."""
    pad = _PAD_CELLS
    width, height = smooth.shape[0] - 2 * pad, smooth.shape[1] - 2 * pad

    def beside(array: Floats, x: int, y: int) -> Floats:
        """What lies x cells to the left and y cells behind each place."""
        return array[pad - x : pad - x + width, pad - y : pad - y + height]

    radius = _BODY_RADIUS_MM / CELL_MM
    density = ndimage.gaussian_filter(np.clip(smooth, -50, _SPONGY_HU), (radius / 1.6, radius / 1.6, 0))
    body = beside(density, 0, 0)
    cells = round(_BESIDE_MM / CELL_MM)
    sides = np.maximum(np.maximum(beside(density, cells, 0), beside(density, -cells, 0)), 0)
    canal = ndimage.gaussian_filter(np.clip(smooth, -50, 300), (1, 1, 0))
    canal = beside(canal, 0, round(_CANAL_MM / CELL_MM))
    bone = ndimage.gaussian_filter(np.clip(smooth - _SOFT_HU, 0, 200), (1.5, 1.5, 0))
    bone = ndimage.maximum_filter1d(bone, 2 * round(_ARCH_SPREAD_MM / CELL_MM) + 1, axis=1)
    arch = beside(bone, 0, round(_ARCH_MM / CELL_MM))
    parts = [
        np.clip((body - sides) / _FULL_BODY_HU, -1, 1.2),
        np.clip((body - canal) / _FULL_CANAL_HU, -1, 1.2),
        np.clip(arch / _FULL_ARCH_HU, -1, 1.2),
    ]
    # The weakest of the three counts most: laminae have bone enough but none behind, an aorta has no canal behind.
    weakest = np.minimum(np.minimum(parts[0], parts[1]), parts[2])
    score = _ENOUGH * (0.2 * (parts[0] + parts[1] + parts[2]) + 0.4 * weakest)
    return score - _asymmetry(smooth, width, height)  # type: ignore[no-any-return]


def _asymmetry(smooth: Floats, width: int, height: int) -> Floats:
    """How much left and right of a place within the padding differ, mean HU.

    Hips and ilia look like a vertebra but for this.
    """
    pad = _PAD_CELLS
    clipped = np.clip(smooth, -100, 200)
    cells = range(2, round(_SYMMETRY_MM / CELL_MM) + 1)
    differences = sum(
        np.abs(clipped[pad - d : pad - d + width] - clipped[pad + d : pad + d + width]) for d in cells
    ) / len(cells)
    around = ndimage.uniform_filter1d(differences, round(_SYMMETRY_DEPTH_MM / CELL_MM), axis=1, mode="nearest")
    # The stretch that is compared reaches further back than forward: bowel and vessels are not symmetric.
    back = round(0.25 * _SYMMETRY_DEPTH_MM / CELL_MM)
    return around[:, pad - back : pad - back + height]  # type: ignore[no-any-return]


def _off_centre_cost(coarse: Floats) -> Floats:
    """HU for each x: nothing near the middle of the body, more further out, little enough for a body cut off."""
    tissue = (coarse > _TISSUE_HU).sum(axis=(1, 2))
    x = np.arange(len(tissue)) * CELL_MM
    middle = float((x * tissue).sum() / max(1, tissue.sum()))
    return np.clip(np.abs(x - middle) - _FREE_OFF_CENTRE_MM, 0, None).astype(np.float32)


def _best_path(score: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The cells (x, y) for each z whose sum of score less the cost of bends is greatest."""
    side, deep = _STEEPEST_CELLS
    width, height, length = score.shape
    best = score[..., 0].copy()
    from_x, from_y = np.zeros(score.shape, dtype=np.int8), np.zeros(score.shape, dtype=np.int8)
    for z in range(1, length):
        best, from_x[..., z] = _best_step(best, side, _BEND_COST[0])
        turned, steps = _best_step(best.T, deep, _BEND_COST[1])
        best, from_y[..., z] = turned.T + score[..., z], steps.T
    xs, ys = np.empty(length, dtype=np.intp), np.empty(length, dtype=np.intp)
    x, y = np.unravel_index(int(best.argmax()), (width, height))
    for z in range(length - 1, -1, -1):
        xs[z], ys[z] = x, y
        y = y + from_y[x, y, z]
        x = x + from_x[x, y, z]
    return xs, ys


def _best_step(best: Floats, farthest: int, cost: float) -> tuple[Floats, npt.NDArray[np.int8]]:
    """For each place the best of its neighbours along the first axis less the cost of the step, and the step."""
    padded = np.pad(best, ((farthest, farthest), (0, 0)), constant_values=-np.inf)
    arrived, came = best.copy(), np.zeros(best.shape, dtype=np.int8)
    for step in range(-farthest, farthest + 1):
        neighbour = padded[farthest + step : farthest + step + len(best)] - np.float32(cost * step * step)
        better = neighbour > arrived
        np.copyto(arrived, neighbour, where=better)
        came[better] = step
    return arrived, came
