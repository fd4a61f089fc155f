"""nnU-Net's own command, as a user types it, to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

SLICE_MM = 5.0
"""Thickness that a slice is given; nnU-Net's 2-D networks do not look at it."""

Slice = tuple[npt.NDArray, tuple[float, float]]
"""HU ``(x, y)`` and the spacing in mm."""


def nnunet_predict(
    model: Path, slices: Mapping[str, Slice], folds: Sequence[int] | None = None
) -> tuple[dict[str, npt.NDArray[np.uint8]], float]:
    """Let ``nnUNetv2_predict`` label slices on the CPU, without mirroring.

    Args:
        model: a results folder.
        slices: by name.
        folds: which ones; all without it.

    Returns:
        Labels ``(x, y)`` by name, and the seconds that a user waits for them.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        results = place / "results" / "Dataset001_L3" / "nnUNetTrainer__nnUNetPlans__2d"
        results.parent.mkdir(parents=True)
        results.symlink_to(model.resolve())
        source, target = place / "source", place / "target"
        source.mkdir()
        for name, (hu, spacing) in slices.items():
            image = nib.Nifti1Image(hu[:, :, None], np.diag([*spacing, SLICE_MM, 1]))
            nib.save(image, source / f"{name}_0000.nii.gz")
        chosen = sorted(path.name[5:] for path in model.glob("fold_[0-9]")) if folds is None else map(str, folds)
        command = [
            str(Path(sys.executable).parent / "nnUNetv2_predict"),
            *("-i", str(source), "-o", str(target), "-d", "1", "-c", "2d", "-f", *chosen),
            *("--disable_tta", "-device", "cpu"),
        ]
        paths = {f"nnUNet_{name}": str(place / name) for name in ("results", "raw", "preprocessed")}
        start = time.perf_counter()
        subprocess.run(
            command, env={**os.environ, **paths}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - start
        return {name: _label(target / f"{name}.nii.gz") for name in slices}, seconds


def _label(path: Path) -> npt.NDArray[np.uint8]:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj)[:, :, 0].astype(np.uint8)
