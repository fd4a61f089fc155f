"""The thigh bones have the measures of an adult's and follow the axis that the thigh's muscles follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, make_frame
from lib.phantoms.legs import Leg
from lib.phantoms.parts.femur import Femur
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import ids

BONE = ("femur_cortex", "femur_marrow", "femur_fatty_marrow")
MM = 0.5


def frame_of(seed: int = 1, *, sex: str = "M", lumbar: int = 5) -> Frame:
    return make_frame(Person(sex=sex, variant=Variant(lumbar=lumbar)), seed)


def right_femur(frame: Frame, z: float, *names: str, femur: Femur | None = None) -> np.ndarray:
    """Where it is, or some of its tissues, (x, y), x from 50 mm and y from -80 mm on."""
    canvas = Canvas(Grid(50.0, MM, 240, -80.0, MM, 240), z)
    (femur or Femur(frame)).paint(canvas)
    return ids(names or BONE)[canvas.tissue]


def middle(flags: np.ndarray) -> np.ndarray:
    """Centre of a region, x and y, mm."""
    return np.array([50.0, -80.0]) + MM * np.argwhere(flags).mean(axis=0)


def diameter(flags: np.ndarray) -> float:
    """Of the circle of the same area, mm."""
    return float(np.sqrt(flags.sum() * 4 / np.pi)) * MM


@pytest.mark.parametrize(("sex", "low", "high"), [("M", 44, 50), ("F", 40, 46)])
def test_the_head_is_as_large_as_in_adults(sex: str, low: float, high: float) -> None:
    frame = frame_of(sex=sex)
    femur, hip = Femur(frame), frame.heights["hip"]
    over_the_middle = (slice(60, 95), slice(110, 138))
    there = [z for z in np.arange(18, 28, 0.5) if right_femur(frame, hip + z, femur=femur)[over_the_middle].any()]
    assert low <= 2 * there[-1] <= high


@pytest.mark.parametrize("lumbar", [4, 5, 6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_shaft_is_a_tube_around_the_legs_axis(seed: int, lumbar: int) -> None:
    frame = frame_of(seed, lumbar=lumbar)
    leg = Leg(frame, "right")
    for share in (0.35, 0.5, 0.65):
        z = frame.heights["hip"] + share * (frame.heights["knee"] - frame.heights["hip"])
        bone, canal = right_femur(frame, z), right_femur(frame, z, "femur_fatty_marrow", "femur_marrow")
        assert np.abs(middle(bone) - leg.shaft(z)).max() < 2.5
        assert 24 <= diameter(bone) <= 33
        assert 4 <= (diameter(bone) - diameter(canal)) / 2 <= 9
        assert not (ndimage.binary_dilation(canal) & ~bone).any()


def test_the_shafts_marrow_is_fat_and_that_of_both_ends_is_spongy() -> None:
    frame = frame_of()
    for z, fatty in ((frame.heights["mid_thigh"], True), (frame.heights["hip"], False), (frame.heights["knee"], False)):
        assert right_femur(frame, z, "femur_fatty_marrow").any() == fatty
        assert right_femur(frame, z, "femur_marrow").any() != fatty


def test_the_neck_joins_head_and_trochanter_which_stand_apart_above_it() -> None:
    frame = frame_of()
    above, within = (
        ndimage.label(right_femur(frame, z))[1]
        for z in (frame.heights["greater_trochanter"] - 6, frame.heights["hip"] - 13)
    )
    assert (above, within) == (2, 1)


def test_the_lesser_trochanter_points_backwards_and_inwards() -> None:
    frame = frame_of()
    z = frame.heights["lesser_trochanter"]
    bone = np.argwhere(right_femur(frame, z)) * MM + (50.0, -80.0) - Leg(frame, "right").shaft(z)
    furthest = bone[np.argmax((bone**2).sum(axis=1))]
    assert furthest[0] < -5
    assert furthest[1] < -5


def test_the_condyles_stand_apart_behind_the_notch() -> None:
    frame = frame_of()
    across = right_femur(frame, frame.heights["knee"] + 12)
    assert 72 <= np.flatnonzero(across.any(axis=1)).size * MM <= 90
    assert ndimage.label(right_femur(frame, frame.heights["knee"] - 4))[1] == 2
