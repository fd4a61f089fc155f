"""The rib cage: as many ribs as the variant says, each with its course, under the fascia and around the chest."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, make_frame
from lib.phantoms.parts.ribs import COUNTED_FROM_MM, Ribs
from lib.phantoms.person import Person, Variant
from lib.phantoms.shapes import inset
from lib.phantoms.tissues import RIBS, SIDES, TISSUES, ids
from lib.phantoms.trunk import Trunk

STEP, X0, Y0, Z0 = 2.0, -180.0, -140.0, 15.0
PLAIN = Variant()


def frame_of(seed: int, variant: Variant = PLAIN, sex: str = "M") -> Frame:
    return make_frame(Person(variant=variant, sex=sex), seed)  # type: ignore[arg-type]


@cache
def cage(seed: int, variant: Variant = PLAIN) -> np.ndarray:
    """Tissues (x, y, z) of the whole chest with nothing but ribs, cartilages and sternum."""
    ribs = Ribs(frame_of(seed, variant))
    slices = []
    for z in np.arange(Z0, 400, STEP):
        canvas = Canvas(Grid(X0, STEP, 181, Y0, STEP, 141), float(z))
        ribs.paint(canvas)
        slices.append(canvas.tissue)
    return np.stack(slices, axis=2)


def seen(volume: np.ndarray) -> set[tuple[int, str]]:
    return {(n, side) for n in RIBS for side in SIDES if (volume == TISSUES[f"rib_{n}_{side}"].id).any()}


def places(volume: np.ndarray, number: int, side: str) -> np.ndarray:
    """(n, 3) coordinates in mm of a rib's cortex."""
    return np.argwhere(volume == TISSUES[f"rib_{number}_{side}"].id) * STEP + (X0, Y0, Z0)


@pytest.mark.parametrize(
    ("variant", "numbers"),
    [
        (Variant(), range(1, 13)),
        (Variant(rib_12="hypoplastic"), range(1, 13)),
        (Variant(rib_12="absent"), range(1, 12)),
        (Variant(rib_l1=True, lumbar=6), range(1, 14)),
        (Variant(rib_l1=True, rib_12="hypoplastic"), range(1, 14)),
    ],
    ids=str,
)
def test_as_many_ribs_as_the_variant_says(variant: Variant, numbers: range) -> None:
    assert seen(cage(1, variant)) == {(n, side) for n in numbers for side in SIDES}


def test_last_ribs_are_as_long_as_their_kind() -> None:
    for seed in range(2):
        for side in SIDES:
            normal = Ribs(frame_of(seed)).lengths
            short = Ribs(frame_of(seed, Variant(rib_12="hypoplastic", rib_l1=True))).lengths
            assert 80 <= normal[12, side] <= 140
            assert 15 <= short[12, side] < COUNTED_FROM_MM
            assert 15 <= short[13, side] <= 35
            # the longest are the seventh and eighth
            assert 200 < max(normal[7, side], normal[8, side]) < 360
            assert normal[1, side] < normal[3, side] < normal[6, side]


@pytest.mark.parametrize("number", [12, 13])
def test_drawn_length_is_the_length_told(number: int) -> None:
    variant = Variant(rib_12="hypoplastic", rib_l1=True)
    lengths = Ribs(frame_of(2, variant)).lengths
    for side in SIDES:
        spots = places(cage(2, variant), number, side)
        extent = np.sqrt(((spots.max(axis=0) - spots.min(axis=0)) ** 2).sum())
        assert extent == pytest.approx(lengths[number, side], abs=11)


def test_each_rib_lies_on_its_side_and_falls_to_the_front() -> None:
    volume = cage(1)
    for number in range(1, 13):
        for side, sign in (("right", 1), ("left", -1)):
            spots = places(volume, number, side)
            assert (spots[:, 0] * sign > 8).all()
            rear = spots[np.abs(spots[:, 0]) < np.abs(spots[:, 0]).min() + 8, 2].mean()
            # the last two end at the side, the others in front
            onwards = np.abs(spots[:, 0]) if number > 10 else spots[:, 1]
            end = spots[onwards > onwards.max() - 8, 2].mean()
            assert end < rear - (10 if number == 1 else 20)


def test_ribs_begin_beside_their_vertebrae() -> None:
    frame = frame_of(1)
    for number in range(1, 13):
        vertebra = frame.vertebrae[f"T{number}"]
        for side in SIDES:
            spots = places(cage(1), number, side)
            distance = np.sqrt(((spots - (vertebra.x, vertebra.y, vertebra.z)) ** 2).sum(axis=1)).min()
            assert vertebra.b - 2 < distance < vertebra.a + 12


def test_seven_reach_the_sternum_three_the_margin_and_two_float() -> None:
    volume = cage(1)
    tissues = ids(("cartilage", "sternum_cortex", "sternum_marrow", "rib_marrow"))[volume]
    for number in range(1, 13):
        for side in SIDES:
            tissues |= volume == TISSUES[f"rib_{number}_{side}"].id
    pieces, _ = ndimage.label(tissues, structure=np.ones((3, 3, 3)))
    sternum = pieces[volume == TISSUES["sternum_marrow"].id][0]
    for side in SIDES:
        joined = {n for n in range(1, 13) if (pieces[volume == TISSUES[f"rib_{n}_{side}"].id] == sternum).any()}
        assert joined == set(range(1, 11))


def test_costal_margin_is_where_the_landmark_says() -> None:
    for seed in (1, 2):
        volume = cage(seed)
        lowest = Z0 + STEP * np.flatnonzero(ids("cartilage")[volume].any(axis=(0, 1)))[0]
        assert lowest == pytest.approx(frame_of(seed).heights["costal_margin"], abs=14)


def test_sternum_from_notch_to_xiphoid_in_the_midline() -> None:
    heights = frame_of(1).heights
    spots = np.argwhere(ids(("sternum_cortex", "sternum_marrow"))[cage(1)]) * STEP + (X0, Y0, Z0)
    assert spots[:, 2].max() == pytest.approx(heights["sternal_notch"], abs=3)
    assert spots[:, 2].min() == pytest.approx(heights["xiphoid"], abs=3)
    assert abs(spots[:, 0].mean()) < 1.5
    assert 48 < np.ptp(spots[:, 0]) < 75


@pytest.mark.parametrize(("seed", "sex"), [(1, "M"), (2, "F"), (3, "M")])
def test_ribs_lie_in_the_wall_of_the_chest(seed: int, sex: str) -> None:
    frame = frame_of(seed, sex=sex)
    ribs, trunk = Ribs(frame), Trunk(frame)
    x = np.abs(X0 + STEP * np.arange(181))[:, None]
    for z in np.arange(40, 380, 11.0):
        canvas = Canvas(Grid(X0, STEP, 181, Y0, STEP, 141), float(z))
        ribs.paint(canvas)
        drawn = canvas.tissue > 0
        under_fascia, in_chest = (np.zeros_like(drawn) for _ in range(2))
        for flags, outline in ((under_fascia, trunk.outer(float(z))), (in_chest, inset(trunk.inner(float(z)), 5.0))):
            mask = canvas.polygon(outline)
            flags[mask.window] = mask.inside
        assert not (drawn & ~under_fascia).any()
        # where the wall is thinner than a rib, that bulges inwards by some mm;
        if z < 320:  # above z = 320 the cage is narrower than the wall, and beside the spine the necks lead inwards
            assert not (drawn & in_chest & (x > 60)).any()


def test_same_seed_same_voxels() -> None:
    first, again = cage(1), cage.__wrapped__(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, cage(2))
