"""The networks are what section 2.3 of Lee 2021 says, as far as it says it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.volumes.recipes import RECIPES, recipe_of


@pytest.mark.parametrize(("network", "size"), [("3d", (8, 32, 16)), ("2d", (32, 16))])
def test_it_gives_logits_of_the_size_of_its_input(network, size):
    recipe = recipe_of("body_composition", network, "quick")
    with torch.no_grad():
        assert recipe.build(8)(torch.zeros(2, 1, *size)).shape == (2, 8, *size)


def test_the_3d_network_has_three_encoders_of_which_the_first_keeps_all_slices():
    network = recipe_of("body_composition", "3d", "paper").build(8)
    with torch.no_grad():
        sizes = [tuple(each.shape[1:]) for each in network.encoder(torch.zeros(1, 1, 8, 16, 16))]
    assert sizes == [(32, 8, 16, 16), (64, 8, 8, 8), (128, 4, 4, 4), (128, 2, 2, 2)]
    kinds = [type(each) for each in network.encoder.levels[0][0]]
    assert kinds == [nn.Conv3d, nn.ReLU, nn.GroupNorm]
    assert [each.kernel_size for each in network.modules() if isinstance(each, nn.Conv3d)][-1] == (1, 1, 1)


def test_the_2d_network_has_four_encoders_and_batch_normalisation():
    network = recipe_of("body_composition", "2d", "paper").build(8)
    assert len(network.encoder.levels) == 1 + 4
    assert len(network.decoder.levels) == 4
    assert [type(each) for each in network.encoder.levels[1][1]] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


def test_weights_begin_as_hes():
    network = recipe_of("body_composition", "3d", "paper").build(8)
    weight = network.encoder.levels[2][1][0].weight
    assert float(weight.std()) == pytest.approx((2 / (weight[0].numel())) ** 0.5, rel=0.05)


def test_every_preset_fits_the_poolings_of_its_network():
    for networks in RECIPES.values():
        for presets in networks.values():
            for recipe in presets.values():
                patch = recipe.patch[1:] if recipe.flat else recipe.patch
                assert all(n % step == 0 for n, step in zip(patch, recipe.stride, strict=True))
