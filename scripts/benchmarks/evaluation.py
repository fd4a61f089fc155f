"""How long the evaluation of labelled slices takes."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_MUSCLE
from lib.images.files import compressed

_BAR_S = 60
_SIDE, _PIXEL_MM = 512, 0.78
_ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str]) -> int:
    """Write pairs of labels with their slices, evaluate them in a process of its own, and print the time."""
    parser = argparse.ArgumentParser(prog="benchmark.py evaluation", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="slices (default: %(default)s)")
    count = parser.parse_args(argv).count
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pairs(root, count)
        start = time.perf_counter()
        command = [sys.executable, "scripts/evaluate.py", L3_MUSCLE.task, "--labels", str(root / "labels")]
        command += ["--images", str(root / "images"), "--versions", f"found={root / 'found'}"]
        subprocess.run([*command, "--out", str(root / "out"), "--quiet"], cwd=_ROOT, check=True)
        seconds = time.perf_counter() - start
    print("| slices | pixels | s | bar |\n| --- | --- | --- | --- |")
    print(f"| {count} | {_SIDE} x {_SIDE} | {seconds:.1f} | {_BAR_S} |")
    return 0


def write_pairs(root: Path, count: int) -> None:
    """Slices with muscles as ellipses of the size of real ones, and labels of them that differ by some millimetres."""
    rng = np.random.default_rng(0)
    for name in ("labels", "found", "images"):
        (root / name).mkdir()
    for index in range(count):
        sizes = rng.normal(1.0, 0.1, 3)
        label = draw(sizes)
        found = np.roll(draw(sizes + rng.normal(0, 0.02, 3)), int(rng.integers(-3, 4)), axis=0)
        hu = (np.where(label > 0, 45, -90) + rng.normal(0, 12, label.shape)).astype(np.int16)
        for name, array in (("labels", label), ("found", found), ("images", hu)):
            nifti = nib.Nifti1Image(array, np.diag([-_PIXEL_MM, -_PIXEL_MM, 5.0, 1.0]))
            (root / name / f"case_{index:04}.nii.gz").write_bytes(compressed(nifti))


def draw(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """A label ``(i, j, 1)`` with psoas, paraspinal muscles and abdominal wall, their sizes times those given."""
    x, y = np.indices((_SIDE, _SIDE)) - _SIDE / 2
    label = np.zeros((_SIDE, _SIDE, 1), np.uint8)
    around = np.hypot(x / 1.35, y)
    label[(around > 130) & (around < 130 + 14 * sizes[2])] = L3_MUSCLE.ids["abdominal_wall"]
    for side in (-60, 60):
        label[np.hypot(x - side, y - 14) < 28 * sizes[0]] = L3_MUSCLE.ids["psoas"]
        label[np.hypot((x - side) / 1.3, y - 84) < 34 * sizes[1]] = L3_MUSCLE.ids["paraspinal"]
    return label
