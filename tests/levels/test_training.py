"""The folds of the detector trained on phantoms, continued after an interruption, and trained on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from lib.images import CTImage
from lib.levels import fold, training
from lib.levels.dataset import LabelledCT, read_sample
from lib.levels.ensemble import LevelEnsemble
from lib.levels.training import train, unfinished
from lib.levels.views import views_of
from lib.levels.workspace import Recipe, Workspace
from lib.networks.progress import last_epoch
from lib.networks.training import run_of
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner

SHORT = Recipe(name="short", epochs=2, fine_tune_epochs=1, iterations_per_epoch=3, batch_size=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def phantoms():
    """Two coarse abdomens with their labels, in canonical order."""
    made = []
    for seed in (1, 2):
        phantom = Phantom(seed, "abdomen", scanner=Scanner(matrix=96, slice_mm=5.0))
        image = phantom.image
        label = CTImage(hu=phantom.label("l3_slice"), affine=image.affine).canonical().hu
        made.append((image.canonical(), label))
    return made


@pytest.fixture(scope="module")
def cts(phantoms):
    """Each phantom in a fold of its own, and one of them once more with a label that tells no level."""
    image, label = phantoms[1]
    return [
        LabelledCT(key="case0/1", patient="p0", fold=0, load=lambda: phantoms[0]),
        LabelledCT(key="case1/1", patient="p1", fold=1, load=lambda: phantoms[1]),
        LabelledCT(key="empty/1", patient="p9", fold=1, load=lambda: (image, np.zeros_like(label))),
    ]


@pytest.fixture(scope="module")
def trained(cts, tmp_path_factory):
    """A workspace with a finished training, and its result."""
    space = tmp_path_factory.mktemp("trained")
    return Workspace(space), train(space, cts, SHORT, folds=2)


@pytest.fixture
def prepared(trained, cts, tmp_path):
    """Makes a workspace with the views of the training, in which folds can be trained in this process."""

    def prepare(name, parent=""):
        space = Workspace(tmp_path / name)
        shutil.copytree(trained[0].views, space.views)
        run_of(cts, classes={}, folds=2, recipe=SHORT, parent=parent, seed=0).write(space.run)
        return space

    return prepare


def weights(folder, number):
    return LevelEnsemble.load(folder / f"fold_{number}").state_dict()


def test_every_ct_is_judged_by_the_fold_that_never_saw_its_patient(trained):
    cases = {case["key"]: case for case in trained[1].metrics["cases"]}
    assert {key: case["fold"] for key, case in cases.items()} == {"case0/1": 0, "case1/1": 1, "empty/1": 1}
    assert cases["empty/1"]["scores"] == {"l3": None, "levels": None}
    assert 0 <= cases["case0/1"]["scores"]["l3"] <= 1


def test_an_interrupted_training_gives_what_it_would_have_given(prepared, monkeypatch):
    whole, broken = prepared("whole"), prepared("broken")
    fold.train_fold(whole, 0, CPU)
    told = []

    def interrupt(_, epoch):
        told.append(epoch.epoch)
        if len(told) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fold, "append_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fold.train_fold(broken, 0, CPU)
    assert unfinished(broken.root).keys == {"case0/1", "case1/1", "empty/1"}
    fold.train_fold(broken, 0, CPU)
    assert told == [1, 2]
    assert whole.validation(0).read_text() == broken.validation(0).read_text()
    for name, value in weights(whole.model, 0).items():
        assert value.equal(weights(broken.model, 0)[name]), name


def test_a_version_is_trained_on(trained, prepared):
    parent = trained[1].results
    space = prepared("second", parent=str(parent))
    fold.train_fold(space, 0, CPU)
    assert last_epoch(space.progress(0)).epoch == SHORT.fine_tune_epochs
    before, after = (weights(folder, 0)["first.weight"] for folder in (parent, space.model))
    assert 0 < float((before - after).abs().mean()) < 0.5 * float(before.abs().mean())


def test_views_that_cannot_be_read_are_made_again_and_the_others_kept(trained, cts, prepared):
    space = prepared("damaged")
    broken, kept = (space.sample(ct.key) for ct in cts[:2])
    broken.write_bytes(b"half a file")
    before = kept.stat().st_mtime_ns
    training._keep_views(space, cts, lambda: None)
    assert np.array_equal(read_sample(broken).frontal, read_sample(trained[0].sample(cts[0].key)).frontal)
    assert kept.stat().st_mtime_ns == before


def test_a_trained_version_reads_a_ct(phantoms, trained):
    rows = LevelEnsemble.open(trained[1].results).read(views_of(phantoms[0][0]))
    assert rows.identity.sum(axis=0) == pytest.approx(np.ones(rows.identity.shape[1]))
    assert len(rows.l3_by_fold) == 2
