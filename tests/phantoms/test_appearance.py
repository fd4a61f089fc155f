"""HU of tissues: the published values, their spread, and what age, illness, contrast and tube voltage do to them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lib.phantoms.appearance import Appearance
from lib.phantoms.canvas import Grid
from lib.phantoms.frame import make_frame
from lib.phantoms.person import Person
from lib.phantoms.tissues import TISSUES

GRID = Grid(-100.0, 1.6, 128, -100.0, 1.6, 128)


@cache
def appearance(seed: int = 1, kvp: int = 120, age: float = 50.0, **conditions: float) -> Appearance:
    return Appearance(make_frame(Person(age_years=age, conditions=conditions), seed), kvp=kvp)


def hu_of(name: str, z: float = 40.0, grid: Grid = GRID, **who: float) -> np.ndarray:
    tissue = np.full((grid.nx, grid.ny), TISSUES[name].id, np.uint8)
    return appearance(**who).hu(tissue, grid, z)


class TestPatients:
    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [
            ("psoas_major", 40, 58), ("subcutaneous_fat", -110, -90), ("peritoneal_fat", -110, -82), ("liver", 40, 75),
            ("L3_marrow", 100, 230), ("L3_cortex", 500, 800), ("lung", -880, -720), ("air", -1000, -1000),
            ("stool", -150, 20),
        ],
    )  # fmt: skip
    def test_means_are_those_of_patients(self, name, low, high):
        for seed in (1, 2, 3):
            assert low <= hu_of(name, seed=seed).mean() <= high

    def test_muscle_and_fat_spread_as_in_a_scan_without_noise(self):
        assert 5 < hu_of("psoas_major").std() < 35
        assert 8 < hu_of("subcutaneous_fat").std() < 25

    def test_trabecular_bone_lies_well_below_cortical(self):
        assert hu_of("L3_marrow").mean() < 0.5 * hu_of("L3_cortex").mean()

    def test_people_differ(self):
        assert len({float(hu_of("liver", seed=seed).mean()) for seed in range(1, 6)}) == 5

    def test_one_person_looks_the_same_every_time(self):
        first, second = (Appearance(make_frame(Person(), 4)) for _ in range(2))
        tissue = np.full((GRID.nx, GRID.ny), TISSUES["multifidus"].id, np.uint8)
        assert np.array_equal(first.hu(tissue, GRID, 12.0), second.hu(tissue, GRID, 12.0))

    def test_patterns_go_on_from_slice_to_slice(self):
        near = np.corrcoef(hu_of("multifidus", z=40.0).ravel(), hu_of("multifidus", z=41.0).ravel())[0, 1]
        far = np.corrcoef(hu_of("multifidus", z=40.0).ravel(), hu_of("multifidus", z=140.0).ravel())[0, 1]
        assert near > 0.8
        assert abs(far) < 0.3


class TestAgeAndIllness:
    def test_age_lowers_bone_and_muscle(self):
        for name in ("L3_marrow", "L3_cortex", "erector_spinae"):
            means = [hu_of(name, age=age).mean() for age in (25.0, 55.0, 85.0)]
            assert means[1] <= means[0]
            assert means[2] < means[1] - 3

    def test_myosteatosis_puts_fat_into_muscle_by_its_strength(self):
        values = [hu_of("vastus_lateralis", myosteatosis=strength) for strength in (0.0, 0.5, 1.0)]
        means, fat = [v.mean() for v in values], [(v < 0).mean() for v in values]
        assert means[0] > means[1] + 5 > means[2] + 10
        assert 10 <= means[2] <= 30
        assert fat[0] < 0.1 < fat[1] < fat[2]
        assert 0.2 <= fat[2] <= 0.35

    def test_fat_comes_to_the_multifidus_before_the_psoas(self):
        assert (hu_of("multifidus") < 0).mean() > 1.5 * (hu_of("psoas_major") < 0).mean()

    def test_fat_of_illness_begins_beside_the_laminae(self):
        fat = np.mean([hu_of("multifidus", seed=seed, myosteatosis=0.8) < 10 for seed in (1, 2, 3)], axis=0)
        x, y = -100.0 + 1.6 * np.arange(128), -100.0 + 1.6 * np.arange(128)
        deep = fat[np.abs(x) < 25][:, np.abs(y + 42) < 15].mean()
        assert deep > 1.3 * fat[np.abs(x) > 60].mean() > 0.05

    def test_fat_of_illness_lies_in_streaks_along_the_fibres(self):
        # finer from side to side than from front to back
        hu = hu_of("erector_spinae", myosteatosis=0.8)
        across, along = (np.abs(np.diff(hu, axis=axis)).mean() for axis in (0, 1))
        assert across > 1.3 * along

    def test_oedema_soaks_the_fat_of_the_back_but_not_the_visceral_fat(self):
        soaked, dry = hu_of("subcutaneous_fat", oedema=1.0), hu_of("subcutaneous_fat")
        back, front = soaked[:, :30].mean(), soaked[:, -15:].mean()
        assert -25 <= back <= 15
        assert dry.mean() + 10 < front < back
        assert abs(hu_of("peritoneal_fat", oedema=1.0).mean() - hu_of("peritoneal_fat").mean()) < 20

    def test_a_kidney_takes_the_hu_of_the_psoas(self):
        gaps = [
            abs(hu_of("kidney", kidney_on_psoas=s, contrast=1.0).mean() - hu_of("psoas_major", contrast=1.0).mean())
            for s in (0.0, 0.5, 1.0)
        ]
        assert gaps[0] > gaps[1] > gaps[2]
        assert gaps[2] < 12


class TestContrast:
    def test_the_agent_brightens_what_it_reaches(self):
        for name in ("aorta", "kidney", "liver", "spleen"):
            assert hu_of(name, contrast=1.0).mean() > hu_of(name, contrast=0.5).mean() > hu_of(name).mean()
        assert 120 <= hu_of("aorta", contrast=1.0).mean() <= 190
        assert hu_of("bladder", contrast=1.0).mean() < 20

    def test_iodine_and_bone_are_brighter_at_low_voltage(self):
        for name in ("aorta", "L3_marrow", "L3_cortex"):
            means = [hu_of(name, kvp=kvp, contrast=1.0).mean() for kvp in (80, 100, 120, 140)]
            assert means == sorted(means, reverse=True)
        assert abs(hu_of("aorta", kvp=80).mean() - hu_of("aorta").mean()) < 5

    def test_an_unknown_voltage_is_refused(self):
        with pytest.raises(ValueError, match="80, 100, 120, 140 kVp, got 110"):
            Appearance(make_frame(Person(), 1), kvp=110)


def test_stool_holds_gas_and_lung_holds_vessels():
    stool, lung = hu_of("stool"), hu_of("lung")
    assert 0.05 < (stool < -300).mean() < 0.3
    assert (stool > 0).mean() > 0.5
    assert 0.005 < (lung > -300).mean() < 0.15


def test_the_lung_is_denser_where_the_patient_lies_on_it():
    lung = np.median(hu_of("lung"), axis=0)
    assert lung[:30].mean() > lung[-30:].mean() + 30
