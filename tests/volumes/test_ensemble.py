"""Answers for volumes of any length: every slice in its place, and nothing lost between stacks.

The network here looks at single voxels, so what it has to answer is known everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.networks.engines import GpuMemoryError, make_engine
from lib.refusals import Refusal
from lib.volumes.ensemble import VolumeEnsemble
from lib.volumes.grid import Grid, outline
from lib.volumes.recipes import ARCHITECTURES, Architecture, Recipe
from lib.volumes.workspace import DESCRIPTION, WEIGHTS, write_description
from tests.volumes.drawn_volumes import CLASSES, SPACING, TINY, TINY_FLAT, draw
from tests.volumes.full_gpu import FullGpu

FAT, LEAN, DENSE = CLASSES["subcutaneous_fat"], CLASSES["muscle"], CLASSES["bone"]
POINTWISE = replace(TINY, architecture="pointwise", in_plane_mm=0.0, patch=(8, 32, 24))


class Pointwise(nn.Module):
    """Logits from single voxels: background for air, fat, muscle, and bone from 0.9 of the window on."""

    def __init__(self, flat, outputs):
        super().__init__()
        self.last = (nn.Conv2d if flat else nn.Conv3d)(1, outputs, 1)

    def forward(self, x):
        return self.last(x)


def weights(bone_from=0.9):
    """Lines over the windowed HU, each the highest one in its range."""
    slope, offset = torch.zeros(8), torch.full((8,), -1000.0)
    slope[[0, FAT, LEAN, DENSE]] = torch.tensor([0.0, 100.0, 200.0, 300.0])
    edges = torch.tensor([0.05, 0.35, bone_from])
    offset[0] = 0
    for low, high, edge in zip((0, FAT, LEAN), (FAT, LEAN, DENSE), edges, strict=True):
        offset[high] = offset[low] - 100 * edge
    return slope, offset


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Writes a version of pointwise networks, a fold for each way in which they begin to call something bone."""
    for name, stride in (("pointwise", (4, 1, 1)), ("pointwise_2d", (1, 1))):
        flat = len(stride) == 2
        monkeypatch.setitem(
            ARCHITECTURES, name, Architecture(lambda _, outputs, flat=flat: Pointwise(flat, outputs), stride)
        )

    def make(recipe: Recipe = POINTWISE, bone_from=(0.9,), engine="torch"):
        write_description(tmp_path, recipe, CLASSES)
        for fold, edge in enumerate(bone_from):
            network = recipe.build(8)
            slope, offset = weights(edge)
            with torch.no_grad():
                network.last.weight.copy_(slope.reshape(network.last.weight.shape))
                network.last.bias.copy_(offset)
            (tmp_path / f"fold_{fold}").mkdir(exist_ok=True)
            torch.save(network.state_dict(), tmp_path / f"fold_{fold}" / WEIGHTS)
        return VolumeEnsemble(tmp_path, engine=engine)

    return make


class OneSize(Pointwise):
    """Takes patches of its recipe only, as a network does that knows where in them it is."""

    def __init__(self, recipe, outputs):
        super().__init__(False, outputs)
        self.size = recipe.patch

    def forward(self, x):
        if tuple(x.shape[2:]) != self.size:
            raise ValueError(f"{tuple(x.shape[2:])} is not {self.size}")
        return super().forward(x)


@pytest.fixture
def one_size(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "one_size", Architecture(OneSize, (4, 1, 1), fixed=True))
    return replace(POINTWISE, architecture="one_size")


def expected(hu, bone_from=0.9):
    seen = np.clip((hu.astype(np.float32) + 160) / 400, 0, 1)
    return np.select([seen < 0.05, seen < 0.35, seen < bone_from], [0, FAT, LEAN], DENSE)


@pytest.mark.parametrize("slices", [1, 3, 8, 37])
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_every_slice_of_a_ct_of_any_length_has_its_own_label(made, slices, engine):
    hu, _ = draw(2, slices)
    found = made(engine=engine).segment(hu, np.array(SPACING))
    inside = outline(hu, np.array(SPACING))
    assert np.array_equal(found.label, np.where(inside, expected(hu), 0))
    assert found.label.dtype == np.uint8
    assert found.warnings == ()


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("patch", [(8, 32, 24), (8, 20, 64), (48, 64, 16)])
def test_windows_of_one_size_cover_a_ct_along_all_axes(made, one_size, patch, engine):
    hu, _ = draw(2, 37)
    found = made(replace(one_size, patch=patch), engine=engine).segment(hu, np.array(SPACING))
    assert np.array_equal(found.label, np.where(outline(hu, np.array(SPACING)), expected(hu), 0))


def test_a_gpu_that_is_too_full_for_a_window_of_one_size_leaves_it_to_the_cpu(made, one_size):
    hu, _ = draw(2, 20)
    ensemble = made(one_size)
    whole = ensemble.segment(hu, np.array(SPACING)).label
    ensemble.engine = FullGpu(ensemble.engine, 4)
    found = ensemble.segment(hu, np.array(SPACING))
    assert np.array_equal(found.label, whole)
    assert ["the CPU answered" in each for each in found.warnings] == [True]


def test_a_flat_network_answers_slice_by_slice(made):
    hu, _ = draw(2, 5)
    recipe = replace(TINY_FLAT, architecture="pointwise_2d", in_plane_mm=0.0, patch=(1, 32, 24))
    found = made(recipe, engine="openvino").segment(hu, np.array(SPACING))
    assert np.array_equal(found.label, np.where(outline(hu, np.array(SPACING)), expected(hu), 0))


@pytest.mark.parametrize("spacing", [(8.0, 7.0, 6.0), (8.0, 7.0, 2.0)])
def test_a_coarser_grid_moves_nothing(made, spacing):
    hu, _ = draw(3, 30)
    hu = np.where(hu > 100, 60, hu)  # two even regions
    recipe = replace(POINTWISE, in_plane_mm=12.0, slice_mm=9.0)
    found = made(recipe).segment(hu, np.array(spacing)).label
    wanted = np.where(outline(hu, np.array(spacing)), expected(hu), 0)
    for value in (FAT, LEAN):
        a, b = np.argwhere(found == value), np.argwhere(wanted == value)
        assert a.mean(axis=0) == pytest.approx(b.mean(axis=0), abs=0.4)
    both = ((found == LEAN) & (wanted == LEAN)).sum()
    assert 2 * both / ((found == LEAN).sum() + (wanted == LEAN).sum()) > 0.7


def test_borders_are_doubtful_on_a_coarser_grid_as_well(made):
    hu, _ = draw(3, 30)
    hu = np.where(hu > 100, 60, hu)
    spacing = np.array([2.0, 2.0, 6.0])
    found = made(replace(POINTWISE, in_plane_mm=12.0, slice_mm=6.0)).segment(hu, spacing)
    across = found.label[:-1] != found.label[1:]
    borders = across & (found.label[:-1] > 0) & (found.label[1:] > 0)
    assert found.disagreement.map[:-1][borders].mean() > 20, "two of eight classes are as likely there"
    assert found.disagreement.score > 0.01


def test_folds_that_disagree_are_counted_where_they_do(made):
    hu, _ = draw(1)
    ensemble = made(bone_from=(0.9, 0.9, 0.45))
    found = ensemble.segment(hu, np.array(SPACING))
    one = made(bone_from=(0.9, 0.9, 0.45)).segment(hu, np.array(SPACING), [2])
    inside = outline(hu, np.array(SPACING))
    strict, loose = (np.where(inside, expected(hu, edge), 0) for edge in (0.9, 0.45))
    assert np.array_equal(one.label, loose)
    both = {n: ((strict == v) & (loose == v)).sum() * 2 / ((strict == v).sum() + (loose == v).sum()) for n, v in (
        ("bone", DENSE), ("muscle", LEAN))}  # fmt: skip
    for name, between in both.items():
        assert found.disagreement.classes[name].dice == pytest.approx((1 + 2 * between) / 3)
    voxel_cm3 = np.prod(SPACING) / 1000
    assert found.disagreement.classes["bone"].size.largest == pytest.approx((loose == DENSE).sum() * voxel_cm3)
    doubt = found.disagreement.map
    assert not doubt[~inside].any()
    assert doubt[(strict != loose) & inside].mean() > doubt[(strict == loose) & inside].mean()
    assert one.disagreement.folds == 1


@pytest.mark.parametrize(("most", "sentence"), [(4, "smaller ones were taken"), (0, "the CPU answered")])
def test_a_full_gpu_costs_time_and_is_said(made, most, sentence):
    hu, _ = draw(2, 20)
    ensemble = made()
    whole = ensemble.segment(hu, np.array(SPACING)).label
    ensemble.engine = FullGpu(ensemble.engine, most)
    found = ensemble.segment(hu, np.array(SPACING))
    assert np.array_equal(found.label, whole)
    assert [sentence in each for each in found.warnings] == [True]


def test_what_cannot_be_answered_is_refused_in_a_sentence(made, tmp_path):
    ensemble = made()
    with pytest.raises(Refusal, match="no body"):
        ensemble.segment(np.full((30, 30, 4), -1000, np.int16), np.array(SPACING))
    with pytest.raises(Refusal, match="no fold 3; it has 0"):
        ensemble.segment(draw(1)[0], np.array(SPACING), [3])
    (tmp_path / "fold_0" / WEIGHTS).write_bytes(b"half")
    with pytest.raises(Refusal, match="is damaged"):
        VolumeEnsemble(tmp_path, engine="torch")
    (tmp_path / DESCRIPTION).write_text("{")
    with pytest.raises(Refusal, match="missing or damaged"):
        VolumeEnsemble(tmp_path)


def test_the_grid_holds_the_whole_body_and_means_of_what_it_makes_coarser():
    hu, _ = draw(4, 10)
    inside = outline(hu, np.array(SPACING))
    grid = Grid.of(inside, np.array(SPACING), replace(TINY, in_plane_mm=14.0, slice_mm=12.0))
    assert inside[grid.inside].sum() == inside.sum()
    assert grid.coarse[2] == 5
    coarse = grid.image(hu)
    assert coarse.shape == (5, *grid.coarse[:2])
    assert coarse.mean() == pytest.approx(hu[grid.inside].mean(), abs=12)
    assert [grid.height(k) for k in (0, 1, 9)] == [0.0, 0.25, 4.0]


@pytest.mark.parametrize(("mm", "ratio"), [(1.5, 1), (2.2, 1), (0.8, 1 / 2), (0.6, 1 / 3), (3.0, 2)])
def test_a_grid_of_whole_voxels_joins_or_divides_those_of_the_image(mm, ratio):
    body = np.zeros((60, 72, 5), bool)
    body[24:48, 24:48] = True
    grid = Grid.of(body, np.array([mm, mm, 5.0]), replace(TINY, in_plane_mm=1.75, whole_voxels=True))
    assert grid.coarse == pytest.approx([round(grid.fine[0] * ratio), round(grid.fine[1] * ratio), 5])
    assert grid.is_the_images == (ratio == 1)


def test_a_gpu_that_is_full_when_the_model_is_opened_is_said_in_every_answer(made, monkeypatch):
    def opened(name, source, cache):
        if name == "cuda":
            raise GpuMemoryError("full")
        return make_engine(name, source, cache)

    monkeypatch.setattr("lib.volumes.ensemble.make_engine", opened)
    ensemble = made(engine="cuda")
    hu, _ = draw(1)
    for _ in range(2):
        assert any("the CPU answered" in sentence for sentence in ensemble.segment(hu, np.array(SPACING)).warnings)
