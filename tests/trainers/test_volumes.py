"""Whole-body composition trained on what annotators saved, and answering from then on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.images import read_ct
from lib.infers.champions import Champions
from lib.infers.options import InferOptions
from lib.infers.segmentation import SegmentationTask
from lib.models import Registry
from lib.networks.labels import UNJUDGED
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.tasks import TASKS
from lib.trainers.samples import fold_count, labelled_volume, training_set
from lib.trainers.training import TrainOptions, check_trainable, train_task
from lib.volumes.recipes import RECIPES
from tests.volumes.drawn_volumes import CLASSES, TINY, TINY_FLAT, draw

TASK = "body_composition"
EVERY = tuple(CLASSES.values())
OPTIONS = TrainOptions(preset="quick", device="cpu")
FOLDS = 2
"""Of three, for time's sake."""
# From the feet down, turned and oblique, as files come.
TURN = np.array([[-8.0, 0.4, 0, 120], [0.3, -7.0, 0.5, 90], [0, 0.4, -6.0, 300], [0, 0, 0, 1]])


def save(studies, store, seed, keep=EVERY, slices=slice(None)):
    _, label = draw(seed)
    drawn = np.zeros_like(label)
    drawn[:, :, slices] = np.where(np.isin(label, keep), label, 0)[:, :, slices]
    path = studies.parent / f"label{seed}.nii.gz"
    nib.save(nib.Nifti1Image(drawn[::-1, ::-1, ::-1], TURN), path)
    store.save_label(f"case{seed}", str(path), "final", {"task": TASK, "user": "ann"})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six drawn bodies, one of them partly labelled, and one in some slices only."""
    studies = tmp_path_factory.mktemp("studies")
    for seed in range(6):
        nib.save(nib.Nifti1Image(draw(seed)[0][::-1, ::-1, ::-1], TURN), studies / f"case{seed}.nii.gz")
    store = CaseStore(studies)
    for seed in range(4):
        save(studies, store, seed)
    save(studies, store, 4, keep=(CLASSES["muscle"], CLASSES["subcutaneous_fat"]))
    save(studies, store, 5, slices=slice(2, 5))
    store.update_image_info("case0", {"contrast": "yes"})
    yield store
    store.close()


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A registry with a first version."""
    registry = Registry(tmp_path_factory.mktemp("models"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES[TASK]["3d"], "quick", TINY)
        patch.setitem(TASKS, TASK, replace(TASKS[TASK], folds=FOLDS))
        train_task(TASK, store, registry, OPTIONS)
    return registry


def samples(store):
    chosen = training_set(store, BODY_COMPOSITION, labelled_volume, folds=FOLDS, known={})
    return {label.case: each[0] for label, each in chosen.parts}


def test_a_label_comes_as_it_was_drawn(store):
    image, label = samples(store)["case1"].load()
    hu, expected = draw(1)
    assert np.array_equal(image.hu, hu)
    assert np.array_equal(label, expected)


def test_what_nobody_drew_is_left_unjudged(store):
    _, partial = samples(store)["case4"].load()
    assert set(np.unique(partial)) == {CLASSES["muscle"], CLASSES["subcutaneous_fat"], UNJUDGED}
    _, some = samples(store)["case5"].load()
    assert (some[:, :, [0, 1, *range(5, 12)]] == UNJUDGED).all()
    assert np.array_equal(some[:, :, 2:5], draw(5)[1][:, :, 2:5])


def test_the_number_of_folds_is_decided_once(store):
    """It is a choice until the first training; then a network could be judged on whom another one learnt from."""
    assert [fold_count(store, TASKS["l3_muscle"], asked) for asked in (0, 3)] == [5, 3]
    training_set(store, BODY_COMPOSITION, labelled_volume, folds=FOLDS, known={})
    assert fold_count(store, TASKS[TASK], 0) == FOLDS
    with pytest.raises(Refusal, match="in 2 folds for ever, not in 4"):
        check_trainable(TASK, store, TrainOptions(folds=4))
    with pytest.raises(Refusal, match="2 to 5 folds can be trained, not 9"):
        TrainOptions(folds=9)


def test_a_version_is_made_of_all_labels(trained):
    manifest = trained.champion(TASK).manifest
    assert (manifest.folds, manifest.network, manifest.variant) == (FOLDS, "volume", "")
    assert {case["fold"] for case in manifest.metrics["cases"]} == {0, 1}
    assert len(manifest.labels) == 6


def test_it_answers_in_the_images_own_geometry(store, trained):
    task = SegmentationTask(TASKS[TASK], Champions(trained))
    path = store.get_image_uri("case5")
    response = task.respond({"image": path, "show": "label", "network": "3d"})
    params, label = response.params, nib.load(response.file)
    canonical = np.asarray(label.dataobj)[::-1, ::-1, ::-1]
    response.file.unlink()
    assert np.allclose(label.affine, TURN)
    assert (params["method"], params["model_version"], params["uncertainty"]["folds"]) == ("ensemble", "v0001", FOLDS)
    assert not canonical[:2].any(), "nothing is labelled beside the body"
    assert canonical[20:28, 15:25].all(), "everything within it is"
    assert params["uncertainty"]["classes"]["muscle"]["volume_cm3"]["mean"] > 0
    assert response.as_by_default
    assert response.answer.features.shape == (64,)
    assert params["measurements"]["regions"]["muscle"]["volume_cm3"] > 0
    single = task.respond({"image": path, "fold": "1"})
    single.file.unlink()
    assert single.params["method"] == "single_fold"
    with pytest.raises(Refusal, match="no fold 4; it has 0, 1"):
        task.respond({"image": path, "fold": "4"})


def test_each_variant_has_its_own_champion(store, trained):
    first = trained.version(TASK, "v0001")
    with trained.staging(TASK) as folder:
        shutil.copytree(first.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        flat = trained.publish(folder, replace(first.manifest, variant="2d"))
    trained.set_champion(TASK, flat.name)
    assert trained.champion_name(TASK) == "v0001"
    assert trained.champion_name(TASK, "2d") == "v0002"
    task = SegmentationTask(TASKS[TASK], Champions(trained))
    image = read_ct(store.get_image_uri("case5"))

    def ask(**request):
        return task.analyse(image, InferOptions.parse(request)).params

    assert ask(network="2d")["model_version"] == "v0002"
    assert ask(contrast="yes")["model_version"] == "v0001", "none was trained on contrast alone"
    cold = ask(network="2d", contrast="plain")
    assert (cold["model_version"], cold["method"]) == (None, "thresholds")
    assert any("no trained model 2d-plain yet" in sentence for sentence in cold["warnings"])
    with pytest.raises(Refusal, match="no network '4d' for body_composition; there are 3d, 2d"):
        ask(network="4d")
    with pytest.raises(Refusal, match="v0002 of body_composition answers"):
        trained.remove(TASK, "v0002")


def test_another_network_answers_where_the_usual_one_was_not_trained(store, trained, tmp_path):
    first, registry = trained.version(TASK, "v0001"), Registry(tmp_path)
    with registry.staging(TASK) as folder:
        shutil.copytree(first.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        flat = registry.publish(folder, replace(first.manifest, variant="2d"))
    registry.set_champion(TASK, flat.name)
    task, path = SegmentationTask(TASKS[TASK], Champions(registry)), store.get_image_uri("case5")
    found = task.respond({"image": path})
    found.file.unlink()
    assert found.params["model_version"] == flat.name
    assert found.params["variant"] == "2d"
    assert not found.as_by_default, "the queue goes by the usual network"
    assert task.analyse(read_ct(path), InferOptions.parse({"network": "3d"})).params["method"] == "thresholds"
    assert task.assess(path).model_version is None


@pytest.mark.slow
def test_a_variant_is_trained_and_judged_by_itself(store, trained, monkeypatch):
    monkeypatch.setitem(RECIPES[TASK]["2d"], "quick", TINY_FLAT)
    monkeypatch.setitem(TASKS, TASK, replace(TASKS[TASK], folds=FOLDS))
    options = TrainOptions(preset="quick", device="cpu", network="2d", from_scratch=True)
    flat = train_task(TASK, store, trained, options)
    assert (flat.manifest.variant, flat.manifest.parent) == ("2d", None)
    assert trained.champion_name(TASK) == "v0001"


def test_cts_with_contrast_are_trained_on_apart_where_it_is_known(store):
    with pytest.raises(
        Refusal, match=r"\d folds need labels of as many patients, and those of body_composition are of 1"
    ):
        check_trainable(TASK, store, TrainOptions(contrast="contrast"))
    with pytest.raises(Refusal, match="known to be without contrast"):
        check_trainable(TASK, store, TrainOptions(contrast="plain"))
    with pytest.raises(Refusal, match="l3_muscle is not trained by contrast"):
        check_trainable("l3_muscle", store, TrainOptions(contrast="plain"))
