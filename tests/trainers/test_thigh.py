"""Muscles of the thigh trained on what annotators saved, some of it partly drawn, and answering from then on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.infers.champions import Champions
from lib.infers.segmentation import SegmentationTask
from lib.models import Registry
from lib.networks.labels import UNJUDGED
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.samples import labelled_volume, training_set
from lib.trainers.training import TrainOptions, check_trainable, train_task
from lib.volumes.grid import outline
from lib.volumes.recipes import RECIPES
from tests.volumes.drawn_thighs import CLASSES, TINY, draw

TASK = THIGH_MUSCLES.task
EVERY = tuple(CLASSES.values())
SOME = (CLASSES["sartorius"], CLASSES["femur"])
# From the feet down, turned and oblique, as files come.
TURN = np.array([[-8.0, 0.4, 0, 120], [0.3, -7.0, 0.5, 90], [0, 0.4, -9.0, 300], [0, 0, 0, 1]])


def save(store, seed, *, keep=EVERY, slices=slice(None), **info):
    _, label = draw(seed)
    drawn = np.zeros_like(label)
    drawn[:, :, slices] = np.where(np.isin(label, keep), label, 0)[:, :, slices]
    path = store.own_folder / f"label{seed}.nii.gz"
    nib.save(nib.Nifti1Image(drawn[::-1, ::-1, ::-1], TURN), path)
    store.save_label(f"case{seed}", str(path), "final", {"task": TASK, "user": "ann", **info})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Five pairs of legs: one partly drawn, one drawn in the middle, and one likewise by an annotator who drew all."""
    studies = tmp_path_factory.mktemp("studies")
    for seed in range(5):
        nib.save(nib.Nifti1Image(draw(seed)[0][::-1, ::-1, ::-1], TURN), studies / f"case{seed}.nii.gz")
    store = CaseStore(studies)
    for seed in range(2):
        save(store, seed)
    save(store, 2, keep=SOME)
    save(store, 3, slices=np.r_[4:8, 10:15])
    save(store, 4, slices=np.r_[4:8, 10:15], complete=True)
    yield store
    store.close()


def loaded(store):
    chosen = training_set(store, THIGH_MUSCLES, labelled_volume, folds=2, known={})
    return {label.case: each[0].load()[1] for label, each in chosen.parts}


def test_five_folds_need_five_patients(store):
    """Asked first: how many folds there are is decided by the first training."""
    check_trainable(TASK, store)
    with pytest.raises(Refusal, match="no network '3d' for thigh_muscles; there are unetr, unet_3d"):
        check_trainable(TASK, store, TrainOptions(network="3d"))
    store.update_image_info("case1", {"patient": "p"})
    store.update_image_info("case0", {"patient": "p"})
    with pytest.raises(Refusal, match="5 folds need labels of as many patients, and those of thigh_muscles are of 4"):
        check_trainable(TASK, store)
    for case in ("case0", "case1"):
        store.update_image_info(case, {"patient": case})


def test_muscles_that_nobody_drew_are_unjudged(store):
    labels = loaded(store)
    assert np.array_equal(labels["case0"], draw(0)[1])
    assert set(np.unique(labels["case2"])) == {*SOME, UNJUDGED}


def test_slices_without_any_muscle_are_unjudged_but_beyond_those_that_were_said_to_be_all(store):
    labels = loaded(store)
    bare = {case: np.flatnonzero((labels[case] == UNJUDGED).all(axis=(0, 1))).tolist() for case in ("case3", "case4")}
    assert bare == {"case3": [0, 1, 2, 3, 8, 9, 15, 16, 17], "case4": [8, 9]}
    assert not labels["case4"][:, :, [0, 1, 2, 3, 15, 16, 17]].any()


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A registry with a version of two folds, for time's sake."""
    registry = Registry(tmp_path_factory.mktemp("models"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES[TASK]["unetr"], "quick", TINY)
        patch.setitem(TASKS, TASK, replace(TASKS[TASK], folds=2))
        train_task(TASK, store, registry, TrainOptions(preset="quick", device="cpu"))
    return registry


def test_a_version_answers_in_the_images_own_geometry(store, trained):
    manifest = trained.champion(TASK).manifest
    assert (manifest.network, manifest.variant, manifest.classes) == ("volume", "", CLASSES)
    response = SegmentationTask(TASKS[TASK], Champions(trained)).respond(
        {"image": store.get_image_uri("case1"), "show": "label"}
    )
    params, label = response.params, nib.load(response.file)
    found = np.asarray(label.dataobj)
    response.file.unlink()
    assert np.allclose(label.affine, TURN)
    assert (params["method"], params["model_version"], params["uncertainty"]["folds"]) == ("ensemble", "v0001", 2)
    assert set(np.unique(found)) <= {0, *CLASSES.values()}
    body = outline(draw(1)[0], np.linalg.norm(TURN[:3, :3], axis=0))
    assert found.any()
    assert not found[::-1, ::-1, ::-1][~body].any(), "nothing is labelled beside the legs"
    assert response.answer.features.shape == (64,)
    assert "thigh" in params["measurements"]


def test_the_baseline_has_a_champion_of_its_own(trained):
    first = trained.version(TASK, "v0001")
    with trained.staging(TASK) as folder:
        shutil.copytree(first.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        other = trained.publish(folder, replace(first.manifest, variant=TASKS[TASK].variant("unet_3d")))
    trained.set_champion(TASK, other.name)
    assert trained.variants(TASK) == ["", "unet_3d"]
    assert (trained.champion_name(TASK), trained.champion_name(TASK, "unet_3d")) == ("v0001", "v0002")


@pytest.fixture
def few(tmp_path):
    """Four pairs of legs of which only some structures were ever drawn, and one of these in a single case."""
    for seed in range(4):
        nib.save(nib.Nifti1Image(draw(seed)[0][::-1, ::-1, ::-1], TURN), tmp_path / f"case{seed}.nii.gz")
    store = CaseStore(tmp_path)
    for seed in range(3):
        save(store, seed, keep=SOME)
    save(store, 3, keep=(*SOME, CLASSES["gracilis"]))
    yield store
    store.close()


def test_structures_that_hardly_anybody_drew_stay_unlearnt_and_the_answer_says_so(few, tmp_path_factory):
    labels = loaded(few)
    truth = draw(3)[1]
    drawn = np.isin(labels["case0"], SOME).any(axis=(0, 1))
    assert set(np.unique(labels["case0"][:, :, drawn])) == {0, *SOME}, "all that can be learnt is drawn"
    assert not labels["case3"][truth == CLASSES["gracilis"]].any(), "drawn in one case alone, it cannot be learnt"
    registry = Registry(tmp_path_factory.mktemp("models"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES[TASK]["unetr"], "quick", TINY)
        patch.setitem(TASKS, TASK, replace(TASKS[TASK], folds=2))
        version = train_task(TASK, few, registry, TrainOptions(preset="quick", device="cpu"))
    unlearnt = [name for name in CLASSES if CLASSES[name] not in SOME]
    assert version.manifest.metrics["unlearnt"] == unlearnt
    said = " ".join(Champions(registry).of(TASK).warnings)
    assert "has not learnt" in said
    assert "gracilis" in said
    assert "sartorius" not in said
    response = SegmentationTask(TASKS[TASK], Champions(registry)).respond({"image": few.get_image_uri("case1")})
    found = np.asarray(nib.load(response.file).dataobj)
    response.file.unlink()
    assert set(np.unique(found)) <= {0, *SOME}, "what was never shown can only be guessed"
    assert any("has not learnt" in warning for warning in response.params["warnings"])
