"""The population is made of people as they are published, and nobody impossible is let in."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lib.phantoms.person import CONDITIONS, HARD_CONDITIONS, Person, Variant, draw_person


def population(count: int = 3000, **shares: float) -> list[Person]:
    return [draw_person(np.random.Generator(np.random.PCG64([seed, 1])), **shares) for seed in range(count)]


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return population()


def values(people: list[Person], sex: str, name: str) -> np.ndarray:
    return np.array([getattr(person, name) for person in people if person.sex == sex])


class TestBody:
    @pytest.mark.parametrize(("sex", "mean", "spread"), [("M", 52, 9), ("F", 41, 7)])
    def test_the_muscle_index_is_the_published_one(self, people, sex, mean, spread):
        smi = values(people, sex, "muscle_cm2") / values(people, sex, "height_m") ** 2
        assert smi.mean() == pytest.approx(mean, abs=1.5)
        assert smi.std() == pytest.approx(spread, abs=1.0)

    def test_the_three_groups_share_the_muscle_as_they_do_at_l3(self, people):
        muscle = np.array([person.muscle_cm2 for person in people])
        for name, share in (("psoas_cm2", 0.16), ("paraspinal_cm2", 0.41), ("wall_cm2", 0.43)):
            assert np.mean([getattr(p, name) for p in people] / muscle) == pytest.approx(share, abs=0.01)

    def test_men_have_visceral_and_women_subcutaneous_fat(self, people):
        for name, more, less in (("visceral_fat_cm2", "M", "F"), ("subcutaneous_fat_cm2", "F", "M")):
            assert np.median(values(people, more, name)) > 1.3 * np.median(values(people, less, name))

    def test_muscle_fades_with_age_and_fat_comes_with_weight(self, people):
        def correlation(first: str, second: str) -> float:
            return np.corrcoef(values(people, "M", first), values(people, "M", second))[0, 1]

        assert correlation("age_years", "muscle_cm2") < -0.2
        assert correlation("age_years", "muscle_hu") < -0.3
        for name in ("visceral_fat_cm2", "subcutaneous_fat_cm2", "thigh_fat_cm2", "muscle_cm2"):
            assert correlation("bmi", name) > 0.4

    def test_there_are_thin_and_very_heavy_people_and_all_ages(self, people):
        bmi = np.array([person.bmi for person in people])
        assert bmi.min() < 19
        assert 38 < bmi.max() <= 45.1
        ages = [person.age_years for person in people]
        assert (min(ages), max(ages)) == (20, 90)

    def test_a_seed_is_the_same_body_whatever_the_shares_are(self):
        for usual, hard in zip(population(20), population(20, hard_share=1.0), strict=True):
            assert (usual.sex, usual.weight_kg, usual.variant) == (hard.sex, hard.weight_kg, hard.variant)


class TestVariants:
    def test_they_come_up_as_often_as_in_ha_2021(self, people):
        kinds = Counter(kind_of(person.variant) for person in people)
        expected = {"normal": 0.875, "thoracolumbar": 0.052, "lumbosacral": 0.047, "numeric": 0.013, "combined": 0.013}
        for kind, share in expected.items():
            assert kinds[kind] / len(people) == pytest.approx(share, abs=3 * (share / len(people)) ** 0.5)

    def test_all_of_them_exist(self):
        variants = [person.variant for person in population(400, variant_share=1.0)]
        assert {v.lumbar for v in variants} == {4, 5, 6}
        assert {v.rib_12 for v in variants} == {"normal", "hypoplastic", "absent"}
        assert {v.transition for v in variants} == {"none", "lumbarisation", "sacralisation"}
        assert {v.rib_l1 for v in variants} == {False, True}


def kind_of(variant: Variant) -> str:
    kinds = [
        kind
        for kind, there in (
            ("thoracolumbar", variant.rib_12 != "normal" or variant.rib_l1),
            ("lumbosacral", variant.transition != "none"),
            ("numeric", variant.lumbar != 5),
        )
        if there
    ]
    return "combined" if len(kinds) == 2 else (kinds or ["normal"])[0]


class TestConditions:
    def test_half_have_contrast_and_fatty_muscle_comes_with_age(self, people):
        assert np.mean([person.strength("contrast") > 0 for person in people]) == pytest.approx(0.5, abs=0.04)
        young, old = (
            np.mean([p.strength("myosteatosis") > 0 for p in people if low <= p.age_years < high])
            for low, high in ((20, 50), (70, 91))
        )
        assert young < 0.1
        assert old > 0.3

    @pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
    def test_the_share_of_hard_cases_is_the_one_asked_for(self, share):
        people = population(600, hard_share=share)
        hard = np.mean([any(name in HARD_CONDITIONS for name in person.conditions) for person in people])
        assert hard == pytest.approx(share, abs=0.05)

    def test_every_condition_comes_up_and_no_other(self, people):
        assert {name for person in people for name in person.conditions} == set(CONDITIONS)


class TestRefusals:
    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"height_m": 175.0}, r"height_m is 1.2 to 2.2 m, got 175"),
            ({"age_years": 3.0}, "age_years is 18 to 110 years, got 3"),
            ({"psoas_cm2": -1.0}, "psoas_cm2 is 2 to 200 cm², got -1"),
            ({"visceral_fat_cm2": float("nan")}, "visceral_fat_cm2 is .*, got nan"),
            ({"weight_kg": 240.0, "height_m": 1.3}, r"Nobody of 1.3 m weighs 240 kg: a body mass index of 142"),
            ({"sex": "X"}, "sex is M or F, got 'X'"),
            ({"conditions": {"flu": 0.5}}, "no condition 'flu'; there are ascites"),
            ({"conditions": {"ascites": 2.0}}, "strength of ascites is 0 to 1, got 2"),
        ],
    )
    def test_an_impossible_person(self, wrong, reason):
        with pytest.raises(ValueError, match=reason):
            Person(**wrong)

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"lumbar": 3}, "4, 5 or 6 lumbar vertebrae, got 3"),
            ({"rib_12": "short"}, "rib_12 is normal, hypoplastic, absent, got 'short'"),
            ({"rib_12": "absent", "rib_l1": True}, "rib of L1 goes with ribs of T12"),
        ],
    )
    def test_an_impossible_spine(self, wrong, reason):
        with pytest.raises(ValueError, match=reason):
            Variant(**wrong)

    def test_impossible_shares(self):
        with pytest.raises(ValueError, match=r"hard_share is 0 to 1, got 1.2"):
            draw_person(np.random.Generator(np.random.PCG64(0)), hard_share=1.2)
