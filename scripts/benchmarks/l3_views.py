"""Whether L3 is found, or its absence said, whatever part of the body an image shows and however it is stored."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from tqdm import tqdm

from lib.anatomy.levels import SUCCESS_MM
from lib.cold_start.levels import SpineLevels, find_levels
from lib.cold_start.spine_axis import find_axis
from lib.images import CTImage, read_ct
from lib.infers.champions import Champions
from lib.infers.levels import Detector
from lib.models import Registry
from lib.phantoms.cohort import read_table

FindLevels = Callable[[CTImage], SpineLevels]

_AIR_HU = -1000
_FIELDS: dict[str, tuple[float, float]] = {
    "whole torso": (-1000, 1000),
    "abdomen and pelvis": (-200, 180),
    "lumbar spine": (-90, 130),
    "lower half": (-1000, 60),
    "chest, L3 out of view": (45, 1000),
    "pelvis, L3 out of view": (-1000, -15),
}
"""mm from the inferior endplate of L3."""


def main(argv: Sequence[str]) -> int:
    """Show parts of phantoms, and a real CT in several ways, to the detector and to the cold start."""
    parser = argparse.ArgumentParser(prog="benchmark.py l3-views", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder with a champion of l3_slice")
    parser.add_argument("--cohort", type=Path, help="folder of torsos")
    parser.add_argument("--count", type=int, default=50, help="torsos at most (default: %(default)s)")
    parser.add_argument("--ct", type=Path, help="a real CT")
    parser.add_argument(
        "--l3", type=float, nargs=2, metavar=("LOW", "HIGH"), help="where its L3 is, mm above the lowest slice"
    )
    options = parser.parse_args(argv)
    champion = Champions(Registry(options.models)).of("l3_slice")
    if champion is None:
        parser.error(f"{options.models} has no champion of l3_slice.")
    methods: dict[str, FindLevels] = {"detector": Detector(champion), "cold start": find_levels}
    if options.cohort:
        print(_phantoms(options.cohort, options.count, methods))
    if options.ct:
        if options.l3 is None:
            parser.error("--ct needs --l3.")
        print(_real(read_ct(options.ct), tuple(options.l3), methods))
    return 0


def _phantoms(cohort: Path, count: int, methods: Mapping[str, FindLevels]) -> str:
    """Of every field: answers within 10 mm, farther ones, none."""
    outcomes = {(field, method): [0, 0, 0] for field in _FIELDS for method in methods}
    for row in tqdm(read_table(cohort)[:count], unit="torso"):
        image = read_ct(cohort / f"{row['case']}.nii.gz")
        true = image.slice_from_canonical(int(row["l3_slice"]))
        upright = image.canonical()
        for field, (low, high) in _FIELDS.items():
            part, first = _between(upright, true, low, high)
            for method, find in methods.items():
                found = find(part).l3_slice
                away = None if found is None else abs(found + first - true) * float(part.spacing[2])
                outcomes[field, method][2 if away is None else int(away >= SUCCESS_MM)] += 1
    lines = [
        f"| field of view | {' | '.join(f'{method}: within 10 mm | farther | no L3' for method in methods)} |",
        "| --- | " + "--- | " * 3 * len(methods),
    ]
    for field in _FIELDS:
        cells = [str(number) for method in methods for number in outcomes[field, method]]
        lines.append(f"| {field} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _between(upright: CTImage, l3: int, low_mm: float, high_mm: float) -> tuple[CTImage, int]:
    """The slices of a canonical image between two distances from L3, and the number of the first."""
    slice_mm = float(upright.spacing[2])
    first = max(0, l3 + round(low_mm / slice_mm))
    last = min(upright.shape[2], l3 + round(high_mm / slice_mm) + 1)
    affine = upright.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    return CTImage(hu=upright.hu[:, :, first:last], affine=affine), first


def _real(image: CTImage, l3_mm: tuple[float, float], methods: Mapping[str, FindLevels]) -> str:
    upright = image.canonical()
    length = upright.shape[2] * float(upright.spacing[2])
    middle_slice = round(sum(l3_mm) / 2 / float(upright.spacing[2]))
    shown = {
        "as it is": upright,
        "axes turned and flipped": _turned(upright),
        "5 mm slices": _resampled(upright, 5.0),
        "lower half": _between(upright, 0, 0, length / 2)[0],
        "rotated by 10° around the left-right axis": _rotated(upright, 0),
        "rotated by 10° around the back-front axis": _rotated(upright, 1),
        "rotated by 10° around the foot-head axis": _rotated(upright, 2),
        "L3 out of view": _between(upright, middle_slice, 60, length)[0],
    }
    lines = [
        f"L3 lies from {l3_mm[0]:g} to {l3_mm[1]:g} mm above the lowest slice.\n",
        f"| the real CT | {' | '.join(f'{method}, mm | confidence' for method in methods)} |",
        "| --- | " + "--- | --- | " * len(methods),
    ]
    for name, part in shown.items():
        cells = []
        for find in methods.values():
            found = find(part.canonical())
            if found.l3_slice is None:
                cells.append(f"none: {found.warnings[0]} | ")
            else:
                cells.append(f"{_height_in(upright, part.canonical(), found.l3_slice):.1f} | {found.confidence:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _turned(upright: CTImage) -> CTImage:
    """The same voxels stored from head to foot first, then front to back, then left to right."""
    turn = np.array([[0, 0, 1, 0], [0, -1, 0, upright.shape[1] - 1], [-1, 0, 0, upright.shape[2] - 1], [0, 0, 0, 1]])
    return CTImage(hu=upright.hu[:, ::-1, ::-1].transpose(2, 1, 0), affine=upright.affine @ turn)


def _resampled(upright: CTImage, slice_mm: float) -> CTImage:
    """Means of what lies within each thicker slice."""
    factor = slice_mm / float(upright.spacing[2])
    count = int(upright.shape[2] / factor)
    smooth = ndimage.uniform_filter1d(upright.hu.astype(np.float32), max(1, round(factor)), axis=2, mode="nearest")
    affine = upright.affine.copy()
    affine[:3, 2] *= factor
    return CTImage(
        hu=_sampled(smooth, np.diag([1, 1, factor]), np.zeros(3), (*upright.shape[:2], count)), affine=affine
    )


def _rotated(upright: CTImage, axis: int) -> CTImage:
    """The patient turned by 10 degrees in the scanner, the image as large as before."""
    one, other = (i for i in range(3) if i != axis)
    turn = np.eye(3)
    cosine, sine = np.cos(np.deg2rad(10)), np.sin(np.deg2rad(10))
    turn[one, one] = turn[other, other] = cosine
    turn[one, other], turn[other, one] = -sine, sine
    scale = np.diag(upright.spacing)
    matrix = np.linalg.inv(scale) @ turn @ scale
    centre = (np.array(upright.shape) - 1) / 2
    offset = centre - matrix @ centre
    affine = upright.affine.copy()
    affine[:3, :3] = upright.affine[:3, :3] @ matrix
    affine[:3, 3] += upright.affine[:3, :3] @ offset
    return CTImage(hu=_sampled(upright.hu, matrix, offset, upright.shape), affine=affine)


def _sampled(
    hu: npt.NDArray, matrix: npt.NDArray, offset: npt.NDArray, shape: tuple[int, ...]
) -> npt.NDArray[np.int16]:
    values = ndimage.affine_transform(hu, matrix, offset, shape, np.float32, order=1, cval=_AIR_HU)
    return np.rint(values).astype(np.int16)


def _height_in(upright: CTImage, shown: CTImage, index: int) -> float:
    """Where a slice of what was shown crosses the spine, mm above the lowest slice of the CT itself."""
    axis = find_axis(shown)
    z = index * float(shown.spacing[2])
    voxel = np.array([np.interp(z, axis.z, axis.x), np.interp(z, axis.z, axis.y), z]) / shown.spacing
    world = shown.affine @ np.append(voxel, 1.0)
    return float((np.linalg.inv(upright.affine) @ world)[2] * upright.spacing[2])
