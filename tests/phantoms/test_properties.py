"""What must hold for every phantom: labels that agree with each other, with the facts and with the parameters."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE, L3_SLICE, L3_TISSUE
from lib.measures.composition import measure
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner
from lib.phantoms.tissues import RIBS

SEEDS = [seed if seed < 6 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(100)]
TORSOS = [seed if seed < 2 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(12)]
STRAIGHT = Scanner(orientation="RAS")  # so that array axes are right, front, head
MUSCLE = BODY_COMPOSITION["muscle"].id


@lru_cache(maxsize=100)
def abdomen(seed: int) -> Phantom:
    return Phantom(seed, shape=(110, 110, 44), scanner=STRAIGHT)


@lru_cache(maxsize=10)
def torso(seed: int) -> Phantom:
    return Phantom(seed, "torso", shape=(150, 150, 110), scanner=STRAIGHT)


def voxel_of(phantom: Phantom, point: tuple[float, float, float]) -> np.ndarray:
    return np.linalg.inv(phantom.image.affine) @ [*point, 1.0]


@pytest.mark.parametrize("seed", SEEDS)
class TestLabelsAgree:
    def test_the_muscles_of_l3_are_muscle_in_the_whole_body_too(self, seed):
        phantom = abdomen(seed)
        groups, tissue = phantom.label("l3_muscle"), phantom.label("l3_tissue")
        assert set(np.unique(groups)) == {0, *L3_MUSCLE.ids.values()}
        assert np.all(phantom.label("body_composition")[groups > 0] == MUSCLE)
        assert np.array_equal(tissue == L3_TISSUE["skeletal_muscle"].id, groups > 0)

    def test_both_fats_are_the_fats_of_the_whole_body(self, seed):
        phantom = abdomen(seed)
        tissue, body = phantom.label("l3_tissue"), phantom.label("body_composition")
        for name, wider in (("visceral_fat", "abdominal_visceral_fat"), ("l3_subcutaneous_fat", "subcutaneous_fat")):
            inside = body[tissue == L3_TISSUE[name].id]
            assert inside.size
            assert np.all(inside == BODY_COMPOSITION[wider].id)

    def test_visceral_fat_lies_inside_the_wall_and_subcutaneous_fat_outside(self, seed):
        """Along any ray from the spine outwards: visceral fat, then the wall, then subcutaneous fat."""
        phantom = abdomen(seed)
        tissue, wall = phantom.label("l3_tissue"), phantom.label("l3_muscle") == L3_MUSCLE["abdominal_wall"].id
        middle = voxel_of(phantom, phantom.l3_endplate_mm)
        k = phantom.l3_slice
        steps = np.arange(0, 90, 0.5)
        for angle in np.deg2rad(np.arange(-20, 200, 6)):
            i = np.clip(np.rint(middle[0] + steps * np.cos(angle)).astype(int), 0, tissue.shape[0] - 1)
            j = np.clip(np.rint(middle[1] + steps * np.sin(angle)).astype(int), 0, tissue.shape[1] - 1)
            on_ray = tissue[i, j, k]
            visceral = steps[on_ray == L3_TISSUE["visceral_fat"].id]
            subcutaneous = steps[on_ray == L3_TISSUE["l3_subcutaneous_fat"].id]
            muscle = steps[wall[i, j, k]]
            assert subcutaneous.size
            assert visceral.max(initial=0) < subcutaneous.min()
            assert muscle.max(initial=0) < subcutaneous.max()
            if muscle.size:
                assert visceral.max(initial=0) < muscle.max()

    def test_nothing_but_skin_and_the_fat_below_it_touches_the_air(self, seed):
        """Voxels of 4 mm are larger than the skin is thick, so the fat below it may be next to the air."""
        body = abdomen(seed).label("body_composition")
        air = abdomen(seed).structure("air")
        touched = np.zeros_like(air)
        for axis in (0, 1):
            for shift in (1, -1):
                touched |= np.roll(air, shift, axis=axis)
        deep = ("bone", "muscle", "abdominal_visceral_fat", "internal_organs_and_vessels", "central_nervous_system")
        found = np.isin(body[touched & ~air], [BODY_COMPOSITION[name].id for name in deep])
        assert found.size
        assert found.mean() < 0.01


@pytest.mark.parametrize("seed", SEEDS)
class TestLevels:
    def test_the_lumbar_vertebrae_are_those_of_the_facts(self, seed):
        phantom = abdomen(seed)
        label = phantom.label("l3_slice")
        seen = {L3_SLICE.names[value - 1].removeprefix("vertebra_") for value in np.unique(label) if value}
        lumbar = {name for name in seen if name.startswith("L")}
        assert lumbar == {f"L{i + 1}" for i in range(phantom.person.variant.lumbar)}
        assert {"T10", "T11", "T12", "S1"} <= seen

    def test_l3_ends_where_its_endplate_is(self, seed):
        phantom = abdomen(seed)
        label = phantom.label("l3_slice") == L3_SLICE["vertebra_L3"].id
        i, j, k = voxel_of(phantom, phantom.l3_endplate_mm)[:3]
        column = np.flatnonzero(label[round(i), round(j)])
        assert column.min() - 0.5 == pytest.approx(k, abs=1.01)
        top = voxel_of(phantom, phantom.levels["L3"].superior_mm)[2]
        assert column.max() + 0.5 == pytest.approx(top, abs=1.01)
        assert abs(phantom.l3_slice - k) <= 0.5

    def test_levels_follow_each_other_from_head_to_foot(self, seed):
        heights = [z for level in abdomen(seed).levels.values() for z in (level.superior_mm[2], level.inferior_mm[2])]
        assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_areas_at_l3_are_those_of_the_person(seed):
    person = abdomen(seed).person
    whole = {name: strength for name, strength in person.conditions.items() if name != "truncated"}
    endplate = Phantom(seed, "l3", shape=(300, 300, 1), scanner=STRAIGHT, conditions=whole)
    areas = {}
    for task, schema in (("l3_muscle", L3_MUSCLE), ("l3_tissue", L3_TISSUE)):
        regions = measure(endplate.image, endplate.label(task), schema, slice_index=0).regions
        areas |= {name: region.area_cm2 for name, region in regions.items()}
    assert areas["paraspinal"] == pytest.approx(person.paraspinal_cm2, rel=0.05)
    assert areas["psoas"] == pytest.approx(person.psoas_cm2, rel=0.05)
    assert areas["abdominal_wall"] == pytest.approx(person.wall_cm2, rel=0.05)
    assert areas["visceral_fat"] == pytest.approx(person.visceral_fat_cm2, rel=0.05)
    assert areas["l3_subcutaneous_fat"] == pytest.approx(person.subcutaneous_fat_cm2, rel=0.05)


@pytest.mark.parametrize("seed", TORSOS)
def test_ribs_are_as_many_as_the_variant_says(seed):
    phantom = torso(seed)
    variant = phantom.person.variant
    expected = {n for n in RIBS if n < 12 or (n == 12 and variant.rib_12 != "absent") or (n == 13 and variant.rib_l1)}
    for side in ("left", "right"):
        assert {n for n in RIBS if phantom.structure(f"rib_{n}_{side}").any()} == expected
