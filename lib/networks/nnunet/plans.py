"""Planning and preprocessing through nnU-Net's own classes, in a process of its own.

``python -m lib.networks.nnunet.plans WORKSPACE``
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lib.disk import write_json
from lib.networks.children import child_process
from lib.networks.nnunet.dataset import SLICE_THICKNESS_MM
from lib.networks.nnunet.recipes import Recipe
from lib.networks.nnunet.workspace import CONFIGURATION, DATASET, Workspace

_FOREGROUND_SAMPLES = 10**7
"""Foreground pixels whose HU make the normalisation. nnU-Net's 10^8 are for volumes: a slice has some 30,000."""
_NO_LIMIT_GB = 10_000.0
"""Of the GPU: the recipe decides on patch and batch, so nothing may be shrunk to fit."""


class SlicePlanner(ExperimentPlanner):
    """nnU-Net's planner, held to the grid, patch and batch of a recipe; the network follows from the patch."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        super().__init__(
            DATASET,
            gpu_memory_target_in_gb=_NO_LIMIT_GB,
            overwrite_target_spacing=(SLICE_THICKNESS_MM, recipe.spacing_mm, recipe.spacing_mm),
            suppress_transpose=True,
        )

    def get_plans_for_configuration(self, spacing: Any, median_shape: Any, *args: Any, **kwargs: Any) -> dict:
        """Plan for the recipe's patch in place of the median image."""
        recipe = self._recipe
        plan = super().get_plans_for_configuration(spacing, np.array(recipe.patch_size), *args, **kwargs)
        if tuple(plan["patch_size"]) != recipe.patch_size:
            raise ValueError(f"patch {recipe.patch_size} does not fit its poolings, {plan['patch_size']} would")
        plan["median_image_size_in_voxels"] = median_shape
        plan["batch_size"] = recipe.batch_size
        if recipe.features is not None:
            _limit_network(plan["architecture"]["arch_kwargs"], recipe.features)
        return plan


def _limit_network(architecture: dict, features: tuple[int, ...]) -> None:
    stages = len(features)
    if stages > architecture["n_stages"]:
        raise ValueError(f"the patch allows {architecture['n_stages']} stages, not {stages}")
    architecture.update(
        n_stages=stages,
        features_per_stage=features,
        kernel_sizes=architecture["kernel_sizes"][:stages],
        strides=architecture["strides"][:stages],
        n_conv_per_stage=architecture["n_conv_per_stage"][:stages],
        n_conv_per_stage_decoder=architecture["n_conv_per_stage_decoder"][: stages - 1],
    )


def prepare(workspace: Workspace) -> None:
    """Make plans unless a parent's were taken over, and preprocess the slices that are not yet."""
    run = workspace.current()
    if not _is_json(workspace.plans):
        # nnU-Net adds to plans that are there, and half a file of a killed process would stop it.
        workspace.plans.unlink(missing_ok=True)
        _plan(run.recipe)
    shutil.copyfile(workspace.raw / "dataset.json", workspace.preprocessed / "dataset.json")
    _preprocess(workspace)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


def _plan(recipe: Recipe) -> None:
    extractor = DatasetFingerprintExtractor(DATASET, num_processes=1)
    extractor.show_progress_bar = False
    extractor.num_foreground_voxels_for_intensitystats = _FOREGROUND_SAMPLES
    extractor.run(overwrite_existing=True)
    SlicePlanner(recipe).plan_experiment()


def _preprocess(workspace: Workspace) -> None:
    plans, dataset = json.loads(workspace.plans.read_text()), json.loads((workspace.raw / "dataset.json").read_text())
    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    folder = workspace.preprocessed / configuration.data_identifier
    made_with = workspace.preprocessed / "preprocessed_with.json"
    identity = {"plans": plans, "labels": dataset["labels"]}
    if not made_with.is_file() or json.loads(made_with.read_text()) != identity:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(made_with, identity)
    folder.mkdir(parents=True, exist_ok=True)
    labels = {p.name.removesuffix(".nii.gz"): p for p in (workspace.raw / "labelsTr").iterdir()}
    done = {p.stem for p in folder.glob("*.pkl")} & set(labels)
    for path in folder.iterdir():
        if path.name.split(".")[0].removesuffix("_seg") not in done:
            path.unlink()
    preprocessor = configuration.preprocessor_class(verbose=False)
    incoming = workspace.preprocessed / "incoming"
    for case in sorted(set(labels) - done):
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        image = workspace.raw / "imagesTr" / f"{case}_0000.nii.gz"
        preprocessor.run_case_save(
            str(incoming / case), [str(image)], str(labels[case]), manager, configuration, dataset
        )
        # The .pkl comes last and says that the case is complete.
        for path in sorted(incoming.iterdir(), key=lambda p: p.suffix == ".pkl"):
            path.replace(folder / path.name)
    shutil.rmtree(incoming, ignore_errors=True)


def main() -> None:
    """Prepare the workspace that is named on the command line."""
    with child_process():
        prepare(Workspace(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
