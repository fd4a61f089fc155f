"""The surfaces of the legs: they never overlap, and grow with muscle and fat while the femur keeps its place."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.legs import Leg
from lib.phantoms.person import Person
from lib.phantoms.shapes import area


def frame_of(**sizes: float) -> Frame:
    frame = make_frame(Person(), 1)
    frame.sizes = Sizes(**sizes)
    return frame


def heights_of(frame: Frame) -> np.ndarray:
    return np.linspace(frame.heights["groin"], frame.heights["knee"] + 5, 12)


@pytest.mark.parametrize(
    "sizes", [{}, {"thigh_muscle": 1.4}, {"thigh_fat": 2.4}, {"thigh_muscle": 1.4, "thigh_fat": 5}]
)
def test_each_leg_stays_on_its_side(sizes: dict[str, float]) -> None:
    frame = frame_of(**sizes)
    for side, sign in (("right", 1), ("left", -1)):
        leg = Leg(frame, side)
        for z in heights_of(frame):
            assert (leg.skin(z)[:, 0] * sign).min() > 0
            assert (leg.outer(z)[:, 0] * sign).min() > 2


@pytest.mark.parametrize("sizes", [{"thigh_muscle": 0.6}, {}, {"thigh_muscle": 1.4}])
def test_the_muscles_lie_within_the_skin_and_hold_the_femur(sizes: dict[str, float]) -> None:
    frame = frame_of(**sizes)
    leg = Leg(frame, "right")
    for z in heights_of(frame):
        outer, skin = leg.outer(z), leg.skin(z)
        assert (skin.min(axis=0) < outer.min(axis=0)).all()
        assert (skin.max(axis=0) > outer.max(axis=0)).all()
        around = outer - np.array(leg.shaft(z))
        assert np.sqrt((around**2).sum(axis=1)).min() > 16


def test_muscle_and_fat_grow_with_their_sizes_and_the_femur_does_not() -> None:
    def areas(**sizes: float) -> tuple[float, float]:
        frame = frame_of(**sizes)
        leg, z = Leg(frame, "right"), frame.heights["mid_thigh"]
        return abs(area(leg.outer(z))), abs(area(leg.skin(z))) - abs(area(leg.outer(z)))

    muscle = [areas(thigh_muscle=size)[0] for size in (0.6, 0.8, 1, 1.2, 1.4)]
    fat = [areas(thigh_fat=size)[1] for size in (0.4, 0.8, 1, 1.6, 2.5)]
    assert (np.diff(muscle) > 1000).all()
    assert (np.diff(fat) > 800).all()
    shafts = {Leg(frame_of(thigh_muscle=size), "left").shaft(-400.0) for size in (0.6, 1.4)}
    assert len(shafts) == 1


def test_places_of_the_reference_are_kept_at_size_one_and_mirrored() -> None:
    frame = frame_of()
    points = np.array([(60.0, 20.0), (130.0, -30.0), (100.0, -70.0)])
    assert np.allclose(Leg(frame, "right").place(points, -400.0), points)
    assert np.allclose(Leg(frame, "left").place(points, -400.0), points * (-1, 1))


def test_muscles_beside_the_bone_stay_beside_it_when_they_shrink() -> None:
    leg = Leg(frame_of(thigh_muscle=0.6), "right")
    shaft = np.array(leg.shaft(-400.0))
    near, far = leg.place(shaft + np.array([(0.0, 16.0), (0.0, 48.0)]), -400.0) - shaft
    assert 13 < near[1] < 16
    assert near[1] + 8 < far[1] < 34
