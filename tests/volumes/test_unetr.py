"""UNETR is MONAI's, sees what Kim 2024 describes, and learns the thigh."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from monai.networks import nets

from lib.images import CTImage
from lib.networks.labels import UNJUDGED
from lib.networks.progress import last_epoch
from lib.networks.training import run_of
from lib.volumes import fold, training
from lib.volumes.dataset import LabelledVolume, keep_volume, read_volume
from lib.volumes.ensemble import VolumeEnsemble
from lib.volumes.grid import windowed
from lib.volumes.recipes import RECIPES, recipe_of
from lib.volumes.sampling import Patches
from lib.volumes.unetr import UNETR
from lib.volumes.workspace import Workspace
from tests.volumes.drawn_thighs import SPACING, TINY, draw

PAPER = recipe_of("thigh_muscles", "unetr", "paper")
BOTH = {"muscle": 1, "bone": 2}


def volume(seed, fold=0, hu_offset=0):
    hu, label = draw(seed)
    coarse = np.where(label > 0, np.where(label >= 28, 2, 1), 0).astype(np.uint8)
    image = CTImage(hu=hu + np.int16(hu_offset), affine=np.diag([*SPACING, 1.0]))
    return LabelledVolume(key=f"case{seed}", patient=f"p{seed}", fold=fold, load=lambda: (image, coarse))


def test_it_is_monais_in_two_halves():
    x = torch.randn(1, 1, 32, 16, 48)
    with torch.no_grad():
        torch.manual_seed(0)
        whole = nets.UNETR(1, 5, (32, 16, 48), feature_size=4, hidden_size=24, mlp_dim=96, num_heads=2).eval()
        torch.manual_seed(0)
        ours = UNETR((32, 16, 48), 5, features=4, hidden_size=24, heads=2).eval()
        assert torch.equal(ours(x), whole(x))
        assert ours.encoder(x)[-1].shape == (1, 24, 2, 1, 3)


def test_the_paper_preset_is_the_papers():
    assert (PAPER.patch, PAPER.in_plane_mm, PAPER.slice_mm) == ((96, 96, 96), 1.5, 2.0)
    assert (PAPER.batch_size, PAPER.patches_per_volume) == (4, 4)
    seen = windowed(np.array([-200, -57, 53.5, 164, 900]), PAPER)
    assert seen.tolist() == pytest.approx([0, 0, 0.25, 1, 1])


def test_both_networks_learn_from_the_same():
    for unetr, unet in zip(*(presets.values() for presets in RECIPES["thigh_muscles"].values()), strict=True):
        network = ("architecture", "features", "hidden_size", "heads")
        assert replace(unet, **{name: getattr(unetr, name) for name in network}) == unetr


def test_patches_of_a_batch_are_of_one_ct(tmp_path):
    for seed in range(2):
        keep_volume(tmp_path / str(seed), volume(seed, hu_offset=80 * seed), TINY, BOTH)
    recipe = replace(TINY, window_hu=(0.0, 200.0), gamma=1.0, batch_size=4, patches_per_volume=4)
    came = []
    for batch in islice(Patches([read_volume(tmp_path / str(seed)) for seed in range(2)], recipe), 12):
        hu = [
            200 * float(seen[said == 1].median())
            for seen, said in zip(batch["image"][:, 0], batch["label"], strict=True)
        ]
        came.append([value > 95 for value in hu])
        assert len(set(came[-1])) == 1, hu
    assert len({each[0] for each in came}) == 2, "and batches are of all CTs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace in which a fold has learnt to tell muscle from bone."""
    space = Workspace(tmp_path_factory.mktemp("unetr"))
    recipe = replace(TINY, iterations_per_epoch=20, learning_rate=5e-3)
    volumes = [volume(seed, fold=seed % 2) for seed in range(4)]
    run = run_of(volumes, classes=BOTH, folds=2, recipe=recipe, parent="", seed=0)
    training._keep_volumes(space, run, volumes, lambda: None)
    run.write(space.run)
    fold.train_fold(space, 0, torch.device("cpu"))
    return space


def test_a_fold_learns(trained):
    assert last_epoch(trained.progress(0)).epoch == 2
    ensemble, (hu, label) = VolumeEnsemble(trained.model, engine="torch"), draw(7)
    found = ensemble.segment(hu, np.array(SPACING))
    for value, wanted in ((1, (label > 0) & (label < 28)), (2, label >= 28)):
        mask = found.label == value
        assert 2 * (mask & wanted).sum() / (mask.sum() + wanted.sum()) > 0.6
    assert found.features.shape == (64,)


def test_openvino_answers_as_pytorch_whatever_is_cut_off(trained):
    engines = [VolumeEnsemble(trained.model, engine=engine) for engine in ("openvino", "torch")]
    for part in (np.s_[:, :, 5:8], np.s_[:26], np.s_[:, :, :]):
        hu = np.ascontiguousarray(draw(8)[0][part])
        found, reference = (engine.segment(hu, np.array(SPACING)).label for engine in engines)
        assert found.shape == hu.shape
        assert (reference == 2).any()
        assert (found == reference).mean() > 0.995


def test_an_unjudged_muscle_is_nowhere_learnt_as_background(tmp_path):
    base = volume(0)
    image, label = base.load()
    partial = np.where(label == 2, 2, UNJUDGED).astype(np.uint8)
    keep_volume(tmp_path / "partial", replace(base, load=lambda: (image, partial)), TINY, BOTH)
    kept = read_volume(tmp_path / "partial")
    assert set(np.unique(kept.truth)) == {0, 2, UNJUDGED}
    muscle = kept.hu[kept.truth == 0] > 0
    assert not muscle.any(), "only what is beyond the body is known to be nothing"
