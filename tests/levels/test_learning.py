"""Samples and loss of the detector's training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.levels.learning import ROWS, Sample, augmented, batches, loss_of
from lib.levels.network import LevelNet, counts
from lib.levels.targets import IDENTITIES, RIB

N = 200


@pytest.fixture
def sample():
    """Every row of the views is as bright as its identity is far down the list."""
    identity = torch.arange(N) * len(IDENTITIES) // N
    bright = 0.2 + 0.6 * identity / len(IDENTITIES)
    targets = torch.full((6, N), torch.nan)
    targets[0] = identity
    targets[1] = (identity.diff(prepend=identity[:1]) > 0).float()
    return Sample(
        frontal=bright[None, :, None].expand(2, N, 96).clone(),
        sagittal=bright[None, :, None].expand(2, N, 56).clone(),
        targets=targets,
    )


@pytest.mark.parametrize("seed", range(5))
def test_targets_stay_with_their_rows(sample, seed):
    frontal, sagittal, targets = augmented(sample, torch.Generator().manual_seed(seed))
    assert frontal.shape == (2, ROWS, 96)
    assert targets.shape == (6, ROWS)
    known = ~targets[0].isnan()
    assert known.sum() >= 20
    for view in (frontal, sagittal):
        middle = view[0, :, view.shape[2] // 2 - 6 : view.shape[2] // 2 + 6].mean(dim=1)
        assert (middle[~known] == 0).all()  # outside of the part that was cut out there is nothing
        together = np.corrcoef(middle[known], targets[0][known])[0, 1]
        assert together > 0.9 or targets[0][known].unique().numel() < 4


def test_every_sample_comes_once_in_a_round(sample):
    samples = [
        Sample(frontal=sample.frontal * 0 + i / 10, sagittal=sample.sagittal, targets=sample.targets + 0)
        for i in range(1, 5)
    ]
    for i, each in enumerate(samples):
        each.targets[3] = i
    made = batches(samples, 2, torch.Generator().manual_seed(0))
    seen = [int(one[3][~one[3].isnan()][0]) for _ in range(2) for one in next(made)[2]]
    assert sorted(seen) == [0, 1, 2, 3]


def test_what_is_not_known_teaches_nothing(sample):
    torch.manual_seed(0)
    found = LevelNet().eval()(sample.frontal[None], sample.sagittal[None])
    unknown = torch.full((1, 6, N), torch.nan)
    seen = sample.frontal[None]
    assert all(float(part.detach()) == 0 for part in loss_of(found, unknown, seen).values())
    only_identity = unknown.clone()
    only_identity[0, 0] = sample.targets[0]
    parts = {name: float(part.detach()) for name, part in loss_of(found, only_identity, seen).items()}
    assert parts["identity"] > 0
    assert parts["rib"] == parts["crest"] == parts["transitional"] == parts["endplate"] == parts["superior"] == 0


def test_a_missed_variant_costs_more_than_as_many_other_rows(sample):
    torch.manual_seed(0)
    found = LevelNet().eval()(sample.frontal[None], sample.sagittal[None])
    sure_of_normal = torch.zeros_like(found["rib"])
    sure_of_normal[:, RIB.index("normal")] = 5.0

    def loss(level):
        targets = sample.targets[None].clone()
        targets[:, 3] = RIB.index("normal")
        targets[:, 3][targets[:, 0] == IDENTITIES.index(level)] = RIB.index("short")
        return float(loss_of(found | {"rib": sure_of_normal}, targets, sample.frontal[None])["rib"])

    assert loss("T12") > 3 * loss("T8")


def test_that_an_anchor_is_nowhere_is_learnt_only_from_an_image_that_is_known(sample):
    torch.manual_seed(0)
    found = LevelNet().eval()(sample.frontal[None], sample.sagittal[None])
    partly = torch.full((1, 6, N), torch.nan)
    partly[0, 0, 100:140] = IDENTITIES.index("L3")
    seen = sample.frontal[None]
    assert float(loss_of(found, partly, seen)["anchors"].detach()) == 0
    seen = seen.clone()
    seen[:, :, :100] = seen[:, :, 140:] = 0  # the same rows are all that the image has
    assert float(loss_of(found, partly, seen)["anchors"].detach()) > 0


def test_an_endplate_of_a_larger_person_counts_as_one(sample):
    bell = torch.exp(-0.5 * ((torch.arange(N) - 120) * 2.0 / 3.0) ** 2)
    sample.targets[1] = bell
    inside = 0
    for seed in range(20):
        made = augmented(sample, torch.Generator().manual_seed(seed))[2][1]
        known = torch.where(~made.isnan())[0]
        if len(known) > 60 and made[known[0] : known[0] + 20].max() < 0.01 and made[known[-20:]].max() < 0.01:
            inside += 1
            assert float(made.nan_to_num().sum()) == pytest.approx(float(bell.sum()), rel=0.1)
    assert inside > 5


def test_vertebrae_are_counted_from_their_anchor():
    rows = torch.arange(N)
    plates = sum(torch.exp(-0.5 * ((rows - at) * 2.0 / 3.0) ** 2) for at in range(30, N, 20)).clamp(1e-6, 1 - 1e-6)
    anchors = torch.full((1, 2, 1 + N), -30.0)
    anchors[0, 0, 0] = 0.0  # T1 is nowhere
    anchors[0, 1, 1 + 20] = 0.0  # S1 is below the first endplate
    found = counts(torch.logit(plates)[None, None], anchors)
    assert found[0, 1, [40, 80, 120]] * 10 == pytest.approx(torch.tensor([1.0, 3.0, 5.0]), abs=0.05)
    assert found[0, 0].abs().max() < 1e-3
    assert found[0, 2:, 0].tolist() == pytest.approx([0, 1], abs=1e-3)
