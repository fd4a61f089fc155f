"""Where answers come from: versions, single folds, folds that never saw the patient, the cold start."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.images import read_ct
from lib.models import Registry, TrainingLabel
from lib.models.importing import import_results
from lib.models.manifest import TRAINED
from lib.phantoms.cohort import Cohort, CohortPlan
from scripts.benchmarks.l3_ensemble import write_untrained
from scripts.command import Stop
from scripts.evaluation.cases import LabelledCase
from scripts.evaluation.sources import Models, open_sources


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> LabelledCase:
    folder = tmp_path_factory.mktemp("phantom")
    cohort = Cohort(folder, CohortPlan(region="l3", count=1, seed=7, matrix=160))
    cohort.write()
    path = folder / f"{cohort.plan.case(0)}.nii.gz"
    return LabelledCase(name="ann", label=path, image=path, patient="ann")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """Two versions of untrained networks: one imported, and one whose fold 1 never saw Ann; neither is the champion."""
    root = tmp_path_factory.mktemp("models")
    registry = Registry(root / "models")
    made = write_untrained(root / "untrained", patch=(64, 64), spacing_mm=4.0, features=(8, 16), folds=2)
    imported = import_results(registry, "l3_muscle", made).version
    labels = tuple(
        TrainingLabel(case=name, revision=1, sha256="", patient=name, fold=fold, phantom=True)
        for fold, name in enumerate(("ben", "ann"))
    )
    with registry.staging("l3_muscle") as staging:
        for path in imported.folder.iterdir():
            if path.is_dir():
                shutil.copytree(path, staging / path.name)
            elif path.name != "manifest.json":
                shutil.copy(path, staging / path.name)
        registry.publish(staging, replace(imported.manifest, origin=TRAINED, labels=labels, version="", files={}))
    return Models(task="l3_muscle", registry=registry, cache=registry.compiled)


def answers(models: Models, case: LabelledCase, *names: str) -> list[np.ndarray]:
    assert isinstance(case.image, Path)
    image = read_ct(case.image)
    return [source.answer(case, image, 0).label for source in open_sources(names, models, L3_MUSCLE)]


def test_held_out_is_the_fold_that_never_saw_the_patient(models, case):
    held_out, first, second = answers(models, case, "v0002:held-out", "v0002:0", "v0002:1")
    assert np.array_equal(held_out, second)
    assert not np.array_equal(held_out, first)


def test_whom_no_fold_saw_gets_the_ensemble(models, case):
    held_out, ensemble = answers(models, replace(case, patient="zoe"), "v0002:held-out", "v0002")
    assert np.array_equal(held_out, ensemble)


def test_the_cold_start_answers_beside_a_version(models, case):
    cold, version = answers(models, case, "cold-start", "v0001")
    assert not np.array_equal(cold, version)
    assert set(np.unique(cold)) == {0, 1, 2, 3}


def test_figures_on_patients_that_it_was_trained_on_are_called_too_good(models, case):
    seen, honest, imported = open_sources(["v0002", "v0002:held-out", "v0001"], models, L3_MUSCLE)
    assert any("too good" in said for said in seen.warnings([case]))
    assert not any("too good" in said for said in seen.warnings([replace(case, patient="zoe")]))
    assert not any("too good" in said for said in honest.warnings([case]))
    assert any("digital phantoms" in said for said in honest.warnings([case]))
    assert any("trained elsewhere" in said for said in imported.warnings([case]))


def test_what_is_no_source_is_said_in_a_sentence(models):
    for text, said in (("champion", "no champion"), ("v0002:3", "no fold 3"), ("cold-start:1", "names no source")):
        with pytest.raises(Stop, match=said):
            open_sources([text], models, L3_MUSCLE)


def test_the_same_source_twice_is_one(models):
    assert [source.name for source in open_sources(["v0001", "v0001:ensemble"], models, L3_MUSCLE)] == ["v0001"]
