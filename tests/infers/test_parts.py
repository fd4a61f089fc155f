"""A task that is answered by the models of others."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.images.files import read_volume
from lib.infers.champions import Champions
from lib.infers.segmentation import SegmentationTask
from lib.models import Registry
from lib.models.importing import import_results
from lib.phantoms.cohort import Cohort, CohortPlan
from lib.tasks import TASKS
from scripts.benchmarks.l3_ensemble import write_untrained

SARCOPENIA = TASKS["sarcopenia"].schema


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    cohort = Cohort(folder, CohortPlan(region="l3", count=1, seed=7, matrix=160))
    cohort.write()
    return folder / f"{cohort.plan.case(0)}.nii.gz"


@pytest.fixture
def registry(tmp_path):
    """Of the two parts of `sarcopenia`, only muscle has a model."""
    made = Registry(tmp_path / "models")
    model = write_untrained(tmp_path / "untrained", patch=(64, 64), spacing_mm=4.0, features=(8, 16), folds=2)
    made.set_champion("l3_muscle", import_results(made, "l3_muscle", model).version.name)
    return made


def ask(name, case, registry=None, **options):
    task = SegmentationTask(TASKS[name], Champions(registry) if registry else None)
    path, params = task({"image": str(case), **options})
    label = read_volume(Path(path))[0]
    Path(path).unlink()
    return label, params


def test_each_part_is_answered_by_its_model_or_else_by_its_cold_start(case, registry):
    label, params = ask("sarcopenia", case, registry)
    muscle, by_model = ask("l3_muscle", case, registry)
    tissue, by_cold_start = ask("l3_tissue", case, registry)
    for name in ("psoas", "paraspinal", "abdominal_wall"):
        expected = muscle == TASKS["l3_muscle"].schema.ids[name]
        assert np.array_equal(label == SARCOPENIA.ids[name], expected)
    fat = (tissue == TASKS["l3_tissue"].schema.ids["visceral_fat"]) & (muscle == 0)
    assert np.array_equal(label == SARCOPENIA.ids["visceral_fat"], fat)
    assert fat.any()
    assert params["method"] == "mixed"
    assert params["model_version"] == "l3_muscle v0001"
    assert params["parts"] == {
        "l3_tissue": {"method": "thresholds", "model_version": None},
        "l3_muscle": {"method": "ensemble", "model_version": "v0001"},
    }
    assert params["uncertainty"]["score"] == max(
        by_model["uncertainty"]["score"], by_cold_start["uncertainty"]["score"]
    )


def test_the_doubt_of_the_model_can_be_shown(case, registry):
    shown, _ = ask("sarcopenia", case, registry, show="disagreement")
    of_muscle, _ = ask("l3_muscle", case, registry, show="disagreement")
    assert np.array_equal(shown, of_muscle)


def test_without_any_model_the_cold_start_answers_all(case, tmp_path):
    with_none, params = ask("sarcopenia", case, Registry(tmp_path / "none"))
    assert params["method"] == "thresholds"
    assert params["model_version"] is None
    assert np.array_equal(with_none, ask("sarcopenia", case)[0])


def test_an_ensemble_s_answer_says_that_the_body_is_cut_off(case, registry, tmp_path):
    image = nib.load(case)
    narrow = tmp_path / "narrow.nii.gz"
    half = np.asarray(image.dataobj)[80:]
    nib.save(nib.Nifti1Image(half, image.affine), narrow)
    assert not any("cut off" in warning for warning in ask("l3_muscle", case, registry)[1]["warnings"])
    assert any("cut off" in warning for warning in ask("l3_muscle", narrow, registry)[1]["warnings"])
