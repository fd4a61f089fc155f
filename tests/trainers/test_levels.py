"""The detector of levels trained on what annotators saved, and answering from then on."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from lib.images import read_ct
from lib.images.files import write_ct, write_label
from lib.infers.champions import Champions
from lib.infers.levels import Detector
from lib.infers.segmentation import SegmentationTask
from lib.levels import workspace
from lib.levels.workspace import NETWORK, Recipe
from lib.models import Registry
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner
from lib.refusals import Refusal
from lib.reports.cross_validation import cross_validation_table
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.training import TrainOptions, check_trainable, train_task

OPTIONS = TrainOptions(preset="quick", device="cpu")
SHORT = Recipe(name="quick", epochs=1, fine_tune_epochs=1, iterations_per_epoch=2, batch_size=2)
CASES = ("case0", "case1", "case2")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three coarse abdomens; one label shows vertebrae, the others the chosen slice alone."""
    studies = tmp_path_factory.mktemp("studies")
    scanner = Scanner(matrix=96, slice_mm=5.0)
    phantoms = {case: Phantom(seed, "abdomen", scanner=scanner) for seed, case in enumerate(CASES)}
    for case, phantom in phantoms.items():
        write_ct(studies / f"{case}.nii.gz", phantom.image)
    store = CaseStore(studies)
    for case, phantom in phantoms.items():
        label = phantom.label("l3_slice")
        if case != "case0":
            label = np.zeros_like(label)
            index = [slice(20, 24)] * 3
            index[phantom.image.foot_to_head_axis] = phantom.l3_slice
            label[tuple(index)] = TASKS["l3_slice"].schema.ids["l3_slice"]
        path = studies.parent / f"{case}_label.nii.gz"
        write_label(path, label, phantom.image)
        store.save_label(case, str(path), "final", {"task": "l3_slice", "user": "ann"})
    yield store
    store.close()


def test_five_folds_need_five_patients(store):
    """Asked first: how many folds there are is decided by the first training."""
    with pytest.raises(Refusal, match="5 folds need labels of as many patients, and those of l3_slice are of 3"):
        check_trainable("l3_slice", store)


def train_quickly(store, registry):
    """Two folds, for time's sake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(workspace.RECIPES, "quick", SHORT)
        patch.setitem(TASKS, "l3_slice", replace(TASKS["l3_slice"], folds=2))
        return train_task("l3_slice", store, registry, OPTIONS)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A registry with a first version."""
    registry = Registry(tmp_path_factory.mktemp("models"))
    version = train_quickly(store, registry)
    verdict = version.manifest.metrics["verdict"]
    assert "of the cold start" in verdict["reason"]
    assert (registry.champion("l3_slice") is not None) == verdict["promote"]
    registry.set_champion("l3_slice", "v0001", reason="By hand.")
    return registry


def test_a_version_is_made_of_all_labels(trained):
    manifest = trained.version("l3_slice", "v0001").manifest
    assert (manifest.network, manifest.phantoms) == (NETWORK, "all")
    assert {label.case for label in manifest.labels} == set(CASES)
    assert {case["fold"] for case in manifest.metrics["cases"]} == {0, 1}


def test_its_cross_validation_reads_as_a_table(trained):
    metrics = trained.version("l3_slice", "v0001").manifest.metrics
    lines = cross_validation_table(metrics).splitlines()
    assert lines[0] == "| fold | CTs | l3 | levels | L3 off by |"
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["0", "1", "all"]
    off = [case["l3_mm"] for case in metrics["cases"] if case["l3_mm"] is not None]
    share = np.mean([case["scores"]["l3"] for case in metrics["cases"]])
    assert lines[-1].startswith(f"| all | 3 | {share:.1%} |")
    assert lines[-1].endswith(f"| {np.mean(off):.1f} mm |" if off else "| - |")


@pytest.mark.parametrize("task", ["l3_slice", "l3_muscle"])
def test_every_task_on_a_slice_asks_the_champion_for_it(store, trained, task):
    """Two steps of training teach next to nothing, so it finds L3 or not; either is what the task answers."""
    champions, image = Champions(trained), store.get_image_uri("case0")
    ct = read_ct(image)
    found = Detector(champions.of("l3_slice"))(ct.canonical())
    assert found.model_version == "v0001"
    answering = SegmentationTask(TASKS[task], champions)
    if found.l3_slice is None:
        with pytest.raises(Refusal, match=f"L3 was not found: {re.escape(found.warnings[0].rstrip('.'))}"):
            answering({"image": image})
    else:
        params = answering({"image": image})[1]
        assert params["slice_index"] == ct.slice_from_canonical(found.l3_slice)
        assert params["level_model_version"] == "v0001"
        assert any("digital phantoms only" in warning for warning in params["warnings"])


def test_a_second_training_starts_from_the_first_and_is_judged_against_it(store, trained):
    second = train_quickly(store, trained)
    assert second.manifest.parent == "v0001"
    verdict = second.manifest.metrics["verdict"]
    assert verdict["numbers"]["cases"] == 3
    assert "mean score" in verdict["reason"]
