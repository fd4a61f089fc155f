"""Patches show every class, and image and label stay together however they are changed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from lib.networks.labels import UNJUDGED
from lib.refusals import Refusal
from lib.volumes.dataset import keep_volume, read_volume
from lib.volumes.sampling import Patches
from tests.volumes.drawn_volumes import CLASSES, TINY, TINY_FLAT, draw, image, volume


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for seed in range(2):
        keep_volume(folder / str(seed), volume(seed, 0), TINY, CLASSES)
    return [read_volume(folder / str(seed)) for seed in range(2)]


@pytest.mark.parametrize("recipe", [TINY, TINY_FLAT, replace(TINY, scaling=0.3, patch=(16, 24, 48))])
def test_image_and_label_stay_together(kept, recipe):
    patches = Patches(kept, recipe)
    for batch in islice(patches, 5):
        seen, said = batch["image"][:, 0], batch["label"]
        assert seen.shape == said.shape == (recipe.batch_size, *recipe.patch[1 if recipe.flat else 0 :])
        organs = seen[said == CLASSES["internal_organs_and_vessels"]]
        fat = seen[said == CLASSES["abdominal_visceral_fat"]]
        if len(organs) > 50 and len(fat) > 50:
            assert float(organs.median()) > 0.4
            assert float(fat.median()) < 0.3


def test_every_class_comes_as_often_as_any_other(kept):
    patches = Patches(kept, replace(TINY, batch_size=1, patch=(1, 8, 8)))
    shows = [set(batch["label"].unique().tolist()) for batch in islice(patches, 70)]
    counts = {name: sum(value in each for each in shows) for name, value in CLASSES.items()}
    assert min(counts.values()) >= 5, counts


def test_the_same_seed_gives_the_same_patches(kept):
    patches, found = Patches(kept, TINY), []
    for seed in (3, 4, 3):
        patches.seed(seed, 1)
        found.append(next(iter(patches))["image"])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_a_ct_of_fewer_slices_than_a_stack_is_learnt_from(tmp_path):
    keep_volume(tmp_path / "short", volume(1, 0, slices=3), TINY, CLASSES)
    batch = next(iter(Patches([read_volume(tmp_path / "short")], TINY)))
    assert batch["image"].shape[2] == TINY.patch[0]
    judged = batch["label"] != UNJUDGED
    assert judged.flatten(2).any(dim=2).sum(dim=1).tolist() == [3] * TINY.batch_size


def test_what_is_kept_is_what_came(kept):
    hu, label = draw(0)
    assert kept[0].hu.shape == kept[0].truth.shape
    for value in CLASSES.values():
        assert (kept[0].truth == value).sum() == (label == value).sum()
    assert kept[0].hu[kept[0].truth == CLASSES["bone"]].min() >= hu[label == CLASSES["bone"]].min()


def test_beyond_the_body_a_partly_drawn_slice_is_known_and_another_is_not(tmp_path):
    hu, label = draw(0)
    partial = np.where(label == CLASSES["muscle"], label, UNJUDGED).astype(np.uint8)
    partial[:, :, 5:] = UNJUDGED
    keep_volume(
        tmp_path / "partial",
        replace(volume(0, 0), load=lambda: (image(hu), partial)),
        replace(TINY, in_plane_mm=0.0),
        CLASSES,
    )
    truth = read_volume(tmp_path / "partial").truth
    assert set(np.unique(truth[:, :, :5])) == {0, CLASSES["muscle"], UNJUDGED}
    assert (truth[:, :, 5:] == UNJUDGED).all()


def test_a_label_that_does_not_fit_is_refused(tmp_path):
    hu, label = draw(0)
    for wrong, sentence in ((label[:-1], "do not fit"), (np.full_like(label, 77), "the value 77")):
        with pytest.raises(Refusal, match=sentence):
            keep_volume(tmp_path / "x", replace(volume(0, 0), load=lambda w=wrong: (image(hu), w)), TINY, CLASSES)
