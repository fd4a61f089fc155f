from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lib.networks.nnunet.dataset import write_dataset
from lib.networks.nnunet.plans import prepare
from lib.networks.nnunet.recipes import RECIPES
from lib.networks.nnunet.workspace import Workspace
from lib.networks.workspace import Run
from tests.networks.nnunet.drawn_slices import CLASSES, slices


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = Workspace(tmp_path)
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    return workspace


def plan(workspace: Workspace, recipe: str) -> dict:
    items = slices(4)
    write_dataset(workspace, items, CLASSES)
    patients = {s.key: (s.patient, s.fold) for s in items}
    Run(samples=patients, classes=CLASSES, folds=2, recipe=RECIPES[recipe], parent="", seed=0).write(workspace.run)
    prepare(workspace)
    return json.loads(workspace.plans.read_text())


def test_the_papers_settings_give_the_network_that_nnunet_plans_for_its_patch(workspace: Workspace) -> None:
    plans = plan(workspace, "paper")
    configuration = plans["configurations"]["2d"]
    assert set(plans["configurations"]) == {"2d"}
    assert configuration["patch_size"] == [640, 640]
    assert configuration["batch_size"] == 6
    assert configuration["spacing"] == [0.782, 0.782]
    assert configuration["normalization_schemes"] == ["CTNormalization"]
    network = configuration["architecture"]["arch_kwargs"]
    assert network["features_per_stage"] == [32, 64, 128, 256, 512, 512, 512, 512]
    assert np.prod(network["strides"], axis=0).tolist() == [128, 128]
    # The drawn structures have 60, 130 and 220 HU with a noise of 10.
    hu = plans["foreground_intensity_properties_per_channel"]["0"]
    assert 30 < hu["percentile_00_5"] < 60
    assert 220 < hu["percentile_99_5"] < 250


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "paper"])
def test_the_networks_of_small_recipes_fit_their_patches(workspace: Workspace, recipe: str) -> None:
    network = plan(workspace, recipe)["configurations"]["2d"]["architecture"]["arch_kwargs"]
    assert tuple(network["features_per_stage"]) == RECIPES[recipe].features
