"""What nobody judged teaches nothing."""

from __future__ import annotations

import pytest
import torch

from lib.networks.labels import UNJUDGED
from lib.volumes.loss import cross_entropy, loss_function


@pytest.fixture
def logits():
    return torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def label():
    return torch.randint(0, 3, (2, 4, 5, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_cross_entropy"])
def test_unjudged_voxels_have_no_say(logits, label, name):
    label[:, :2] = UNJUDGED
    loss = loss_function(name)(logits, label)
    loss.backward()
    assert not logits.grad[:, :, :2].any()
    assert logits.grad[:, :, 2:].any()
    judged = loss_function(name)(logits[:, :, 2:], label[:, 2:])
    assert float(loss.detach()) == pytest.approx(float(judged.detach()), rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_cross_entropy"])
def test_a_patch_that_nobody_judged_gives_a_number(logits, label, name):
    loss = loss_function(name)(logits, torch.full_like(label, UNJUDGED))
    loss.backward()
    assert torch.isfinite(loss)
    assert not logits.grad.any()


def test_the_right_answer_costs_nothing(label):
    sure = 50 * torch.nn.functional.one_hot(label.long(), 3).movedim(-1, 1).float()
    assert float(loss_function("dice_cross_entropy")(sure, label)) == pytest.approx(0, abs=1e-4)
    assert float(cross_entropy(-sure, label)) > 10
