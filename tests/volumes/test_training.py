"""The folds of a network on volumes: they learn, go on where they were killed, are trained on, and are judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.networks.engines import has_bfloat16
from lib.networks.progress import last_epoch
from lib.networks.training import run_of
from lib.refusals import Refusal
from lib.reports.cross_validation import cross_validation_table
from lib.volumes import fold, training
from lib.volumes.ensemble import VolumeEnsemble
from lib.volumes.judging import held_out_dice
from lib.volumes.training import discard, train, unfinished
from lib.volumes.workspace import WEIGHTS, Workspace
from tests.volumes.drawn_volumes import CLASSES, SPACING, TINY, TINY_FLAT, draw, volume, volumes

LEARNING = replace(TINY, epochs=6)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a finished training, its result, and what it told."""
    space, told = tmp_path_factory.mktemp("trained"), []
    return space, train(space, volumes(), CLASSES, LEARNING, folds=2, on_progress=told.append), told


def weights(folder, fold):
    return torch.load(folder / f"fold_{fold}" / WEIGHTS, weights_only=True)


def prepared(folder, recipe, parent=""):
    """A workspace in which folds can be trained in this process."""
    run = run_of(volumes(), classes=CLASSES, folds=2, recipe=recipe, parent=parent, seed=0)
    training._keep_volumes(Workspace(folder), run, volumes(), lambda: None)
    run.write(Workspace(folder).run)


def same(a, b):
    return all(value.equal(b[name]) for name, value in a.items())


def test_it_learns_what_was_drawn(trained):
    pooled = trained[1].metrics["pooled"]["dice"]
    assert pooled["abdominal_visceral_fat"]["mean"] > 0.5
    assert pooled["internal_organs_and_vessels"]["mean"] > 0.7
    told = trained[2]
    assert [each.epoch for each in told if each.fold == 1] == [1, 2, 3, 4, 5, 6]
    assert np.isfinite([[each.loss, each.dice] for each in told]).all()


def test_the_cross_validation_is_what_the_held_out_fold_answers(trained):
    space, result, _ = trained
    hu, label = draw(1)
    found = VolumeEnsemble(result.results).segment(hu, np.array(SPACING), [1]).label
    case = next(each for each in result.metrics["cases"] if each["key"] == "case1@1")
    for name, value in CLASSES.items():
        a, b = found == value, label == value
        assert case["sensitivity"][name] == pytest.approx((a & b).sum() / b.sum(), abs=0.02)
        assert case["dice"][name] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=0.02)
    judged = held_out_dice(result.results, space, volumes())
    assert judged == {each["key"]: pytest.approx(each["dice"], abs=1e-6) for each in result.metrics["cases"]}
    assert cross_validation_table(result.metrics).splitlines()[0].startswith("| fold | CTs | skin")


def test_an_interrupted_training_goes_on_and_ends_where_it_would_have_ended(tmp_path, monkeypatch):
    whole, broken = (Workspace(tmp_path / name) for name in ("whole", "broken"))
    for space in (whole, broken):
        prepared(space.root, TINY)
    fold.train_fold(whole, 0, CPU)
    ended = []

    def interrupt(_, epoch):
        ended.append(epoch.epoch)
        if len(ended) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fold, "append_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fold.train_fold(broken, 0, CPU)
    assert unfinished(broken.root).keys == {each.key for each in volumes()}
    fold.train_fold(broken, 0, CPU)
    assert ended == [1, 2]
    assert same(weights(whole.model, 0), weights(broken.model, 0))
    discard(broken.root)
    assert unfinished(broken.root) is None
    assert len(list(broken.samples.iterdir())) == 4, "what was made of the CTs stays"


def test_a_version_is_trained_on_with_its_own_network_and_grid(trained, tmp_path):
    recipe = replace(TINY, features=(4, 4, 4, 4), in_plane_mm=12.0).following(LEARNING)
    prepared(tmp_path, recipe, parent=str(trained[1].results))
    space = Workspace(tmp_path)
    fold.train_fold(space, 0, CPU)
    assert last_epoch(space.progress(0)).epoch == TINY.fine_tune_epochs
    before, after = (weights(folder, 0)["decoder.final.weight"] for folder in (trained[1].results, space.model))
    assert 0 < float((before - after).abs().mean()) < 0.5 * float(before.abs().mean())


def test_the_two_dimensional_network_is_trained_likewise(tmp_path):
    prepared(tmp_path, TINY_FLAT)
    space = Workspace(tmp_path)
    fold.train_fold(space, 1, CPU)
    hu, _ = draw(5, slices=3)
    ensemble = VolumeEnsemble(space.model, engine="torch")
    assert ensemble.folds == (1,)
    assert ensemble.segment(hu, np.array(SPACING)).label.shape == hu.shape


@pytest.mark.parametrize("recipe", [TINY, TINY_FLAT], ids=["3-D", "2-D"])
def test_on_a_cpu_bfloat16_is_for_slices_and_weights_stay_in_float32(recipe, tmp_path):
    wide = replace(recipe, features=(16,) * len(recipe.features), epochs=1, iterations_per_epoch=1)
    prepared(tmp_path, wide)
    trained, seen = fold._Fold(Workspace(tmp_path), Workspace(tmp_path).unfinished(), 0, CPU), set()
    trained.network.register_forward_hook(lambda network, _, out: seen.add(out.dtype) if network.training else None)
    trained.train()
    assert seen == {torch.bfloat16 if recipe.flat and has_bfloat16() else torch.float32}
    assert {each.dtype for each in trained.network.parameters()} == {torch.float32}


def test_a_class_that_a_fold_could_not_learn_is_named_in_the_metrics(tmp_path):
    others = []
    for seed in (0, 1):
        hu, label = draw(seed)
        if seed:
            label[label == CLASSES["bone"]] = 0
        base = volume(seed, seed)
        others.append(replace(base, load=lambda hu=hu, label=label, load=base.load: (load()[0], label)))
    result = train(tmp_path, others, CLASSES, TINY, folds=2)
    assert result.metrics["unlearnt"] == ["bone"]


def test_labels_without_a_class_of_two_folds_are_refused(tmp_path):
    others = []
    for seed in (0, 1):
        _, label = draw(seed)
        label = np.where(label == 1 + seed, label, 0).astype(np.uint8)
        base = volume(seed, seed)
        others.append(replace(base, load=lambda label=label, load=base.load: (load()[0], label)))
    with pytest.raises(Refusal, match="draw the same classes in CTs of more patients"):
        train(tmp_path, others, CLASSES, TINY, folds=2)
    assert unfinished(tmp_path) is None
