"""Sizes that give the areas of a person."""

import pytest

from lib.phantoms.calibration import calibrate
from lib.phantoms.frame import make_frame
from lib.phantoms.person import Person


def test_a_person_who_can_be_drawn_misses_nothing():
    frame, missed = calibrate(make_frame(Person(), seed=1), thighs=True)
    assert missed == {}
    assert frame.sizes != type(frame.sizes)()


def test_what_cannot_be_reached_is_said_with_the_nearest():
    frame, missed = calibrate(make_frame(Person(psoas_cm2=150.0), seed=1), thighs=False)
    assert set(missed) == {"psoas_cm2"}
    assert 20 < missed["psoas_cm2"] < 150
    assert frame.sizes.psoas > 1.2


def test_the_body_follows_each_of_its_areas():
    usual = calibrate(make_frame(Person(), seed=1), thighs=True)[0].sizes
    for area, size, less in (
        ("psoas_cm2", "psoas", 14.0), ("paraspinal_cm2", "paraspinal", 45.0), ("wall_cm2", "wall", 40.0),
        ("visceral_fat_cm2", "cavity", 60.0), ("subcutaneous_fat_cm2", "fat", 70.0),
        ("thigh_muscle_cm2", "thigh_muscle", 220.0), ("thigh_fat_cm2", "thigh_fat", 60.0),
    ):  # fmt: skip
        sizes = calibrate(make_frame(Person(**{area: less}), seed=1), thighs=True)[0].sizes
        assert getattr(sizes, size) < getattr(usual, size) * 0.97, area


@pytest.mark.parametrize("seed", range(3))
def test_the_same_person_gets_the_same_sizes(seed):
    first, second = (calibrate(make_frame(Person(), seed=seed), thighs=True)[0].sizes for _ in range(2))
    assert first == second
