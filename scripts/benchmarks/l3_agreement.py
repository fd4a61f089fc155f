"""Whether the app and ``nnUNetv2_predict`` give the same answer with the same trained networks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.cold_start.answers import choose_slice
from lib.images import read_ct
from lib.measures.overlap import dice
from lib.models import Registry
from lib.networks.nnunet.ensemble import Ensemble, label_of
from lib.phantoms.cohort import read_table
from lib.tasks import SLICE_TASKS
from scripts.benchmarks._nnunet import Slice, nnunet_predict

_BAR = 0.995


def main(argv: Sequence[str]) -> int:
    """Predict every slice in both ways, and print the Dice between the two in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py l3-agreement", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of trained models")
    parser.add_argument("--task", choices=SLICE_TASKS, action="append", help="one of the tasks (default: all)")
    parser.add_argument("--cohort", type=Path, required=True, help="folder of phantoms")
    parser.add_argument("--count", type=int, default=50, help="phantoms at most (default: %(default)s)")
    parser.add_argument("--ct", type=Path, action="append", default=[], help="a real CT; its L3 slice is taken")
    options = parser.parse_args(argv)
    slices = {row["case"]: options.cohort / f"{row['case']}.nii.gz" for row in read_table(options.cohort)}
    slices = dict(list(slices.items())[: options.count]) | {path.name.split(".")[0]: path for path in options.ct}
    images = {name: _l3(path) for name, path in slices.items()}
    real = {path.name.split(".")[0] for path in options.ct}
    print(f"| task | folds | class | phantoms ({len(images) - len(real)}): mean | lowest | real CT | bar |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for task in options.task or SLICE_TASKS:
        version = Registry(options.models).champion(task)
        if version is None:
            continue
        ensemble = Ensemble(version.folder)
        for folds in (ensemble.folds, ensemble.folds[:1]):
            theirs, _ = nnunet_predict(version.folder, images, folds)
            found = {
                name: dice(theirs[name], label_of(ensemble.predict(hu, spacing, folds=folds)), ensemble.classes)
                for name, (hu, spacing) in images.items()
            }
            for each in ensemble.classes:
                of_phantoms = [found[name][each] for name in images if name not in real]
                values = np.array([value for value in of_phantoms if value is not None])
                of_real = ", ".join(f"{found[name][each]:.4f}" for name in real)
                print(
                    f"| {task} | {'ensemble' if len(folds) > 1 else folds[0]} | {each} | {values.mean():.4f} | "
                    f"{values.min():.4f} | {of_real} | {_BAR} |"
                )
    return 0


def _l3(path: Path) -> Slice:
    """HU of the L3 slice in canonical order, and its spacing."""
    image = read_ct(path).canonical()
    index = 0 if image.shape[2] == 1 else choose_slice(image, None).index
    x, y = (float(mm) for mm in image.spacing[:2])
    return np.rint(image.hu[:, :, index]).astype(np.int16), (x, y)
