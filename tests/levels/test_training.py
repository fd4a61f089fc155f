"""The folds of the detector trained on phantoms: continued after an interruption, fine-tuned, and refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lib.images import CTImage
from lib.levels.dataset import LabelledCT
from lib.levels.ensemble import LevelEnsemble
from lib.levels.training import train, unfinished
from lib.levels.views import views_of
from lib.levels.workspace import Recipe, Workspace
from lib.networks.results import CancelledError
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner

SHORT = Recipe(name="short", epochs=2, fine_tune_epochs=1, iterations_per_epoch=3, batch_size=2)


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
    return [
        LabelledCT(key=f"case{i}/1", patient=f"p{i}", fold=i, load=lambda i=i: phantoms[i])
        for i in range(len(phantoms))
    ]


@pytest.fixture(scope="module")
def trained(cts, tmp_path_factory):
    """A workspace with a finished training, and its result."""
    space = tmp_path_factory.mktemp("trained")
    return space, train(space, cts, SHORT, folds=2)


def weights(folder, fold):
    return LevelEnsemble.load(folder / f"fold_{fold}").state_dict()


def test_an_interrupted_training_gives_what_it_would_have_given(cts, trained, tmp_path):
    seen = []
    with pytest.raises(CancelledError):
        train(tmp_path, cts, SHORT, folds=2, on_progress=seen.append, cancelled=lambda: bool(seen))
    assert unfinished(tmp_path) is not None
    again = train(tmp_path, cts, SHORT, folds=2)
    for fold in (0, 1):
        for name, value in weights(trained[1].results, fold).items():
            assert value.equal(weights(again.results, fold)[name]), name
    assert [(case["key"], case["fold"]) for case in again.metrics["cases"]] == [("case0/1", 0), ("case1/1", 1)]


def test_a_version_is_trained_on_and_views_that_cannot_be_read_are_made_again(cts, trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "space")
    Workspace(tmp_path / "space").sample(cts[0].key).write_bytes(b"half a file")
    parent = trained[1].results
    progress = []
    second = train(tmp_path / "space", cts, SHORT, folds=2, parent=parent, on_progress=progress.append)
    assert {each.epochs for each in progress} == {SHORT.fine_tune_epochs}
    before, after = (weights(folder, 0)["first.weight"] for folder in (parent, second.results))
    assert 0 < float((before - after).abs().mean()) < 0.5 * float(before.abs().mean())


def test_a_trained_version_reads_a_ct(phantoms, trained):
    rows = LevelEnsemble.open(trained[1].results).read(views_of(phantoms[0][0]))
    assert rows.identity.sum(axis=0) == pytest.approx(np.ones(rows.identity.shape[1]))
    assert len(rows.l3_by_fold) == 2


def test_a_label_that_tells_no_level_keeps_nobody_from_training(cts, tmp_path):
    image, label = cts[1].load()
    empty = LabelledCT(key="empty/1", patient="p9", fold=1, load=lambda: (image, np.zeros_like(label)))
    result = train(tmp_path, [*cts, empty], SHORT, folds=2)
    (judged,) = [case for case in result.metrics["cases"] if case["key"] == "empty/1"]
    assert judged["scores"] == {"l3": None, "levels": None}
