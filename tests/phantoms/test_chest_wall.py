"""The muscles of the chest: each in its layer, between the lung and the fat below the skin."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.breast_surface import BreastSurface
from lib.phantoms.canvas import Canvas, Grid, Points
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.parts.chest_wall import ChestWall
from lib.phantoms.parts.cover import Cover
from lib.phantoms.person import Person
from lib.phantoms.shapes import area
from lib.phantoms.tissues import ids
from lib.phantoms.trunk import Trunk

STEP = 1.5
GRID = Grid(-230.0, STEP, 307, -170.0, STEP, 227)
X = GRID.x0 + STEP * np.arange(GRID.nx)[:, None] + np.zeros((1, GRID.ny))
Y = GRID.y0 + STEP * np.arange(GRID.ny)[None, :] + np.zeros((GRID.nx, 1))
MUSCLES = ("intercostals", "serratus", "pectoralis", "latissimus_dorsi", "trapezius", "rhomboids")


def frame_of(seed: int = 1, sex: str = "M", **sizes: float) -> Frame:
    frame = make_frame(Person(sex=sex), seed)
    frame.sizes = Sizes(**sizes)
    return frame


def slice_at(frame: Frame, z: float) -> Canvas:
    canvas = Canvas(GRID, z)
    Cover(frame).paint(canvas)
    ChestWall(frame).paint(canvas)
    return canvas


def of(canvas: Canvas, *names: str) -> np.ndarray:
    return ids(names)[canvas.tissue]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("fat", [0.3, 3.0])
def test_muscles_stay_between_the_surfaces_of_the_wall(seed: int, fat: float) -> None:
    frame = frame_of(seed, fat=fat, wall=1.5)
    trunk = Trunk(frame)
    for z in (70.0, 130.0, 200.0, 260.0, 310.0, 350.0, 372.0, 385.0):
        canvas = slice_at(frame, z)
        blank = Canvas(GRID, z)
        wall = np.zeros_like(canvas.tissue, dtype=bool)
        for outline, inside in ((trunk.outer(z), True), (trunk.inner(z), False)):
            mask = blank.polygon(outline)
            wall[mask.window][mask.inside] = inside
        assert not (of(canvas, *MUSCLES) & ~wall).any()


@pytest.mark.parametrize("sex", ["M", "F"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_wall_has_room_for_the_ribs_all_round(sex: str, seed: int) -> None:
    trunk = Trunk(frame_of(seed, sex, fat=0.4, wall=0.6))
    for z in (140.0, 200.0, 225.0, 250.0, 285.0):
        for sign in (1.0, -1.0):
            inner, outer = trunk.across(z, sign, np.linspace(0.15, 1.7, 30))
            assert np.sqrt(((outer - inner) ** 2).sum(axis=1)).min() > 7.0


@pytest.mark.parametrize("sex", ["M", "F"])
def test_layers_in_their_order_on_both_sides(sex: str) -> None:
    frame = frame_of(2, sex)
    trunk = Trunk(frame)
    for z, at, order in (
        (300.0, 0.3, ("intercostals", "pectoralis")),
        (290.0, 1.25, ("intercostals", "serratus", "latissimus_dorsi")),
        (310.0, 2.6, ("rhomboids", "trapezius")),
        (150.0, 1.5, ("intercostals", "latissimus_dorsi")),
    ):
        canvas = slice_at(frame, z)
        for sign in (1.0, -1.0):
            inner, outer = trunk.across(z, sign, np.array([at]))
            names = [name for name in along(canvas, inner[0], outer[0]) if name in MUSCLES]
            assert list(dict.fromkeys(names)) == list(order)


def along(canvas: Canvas, start: Points, end: Points) -> list[str]:
    """The tissues on the way from one point to another."""
    places = start + np.linspace(0, 1, 200)[:, None] * (end - start)
    i = np.rint((places[:, 0] - GRID.x0) / STEP).astype(int)
    j = np.rint((places[:, 1] - GRID.y0) / STEP).astype(int)
    found = canvas.tissue[i, j]
    return [name for value in found for name in MUSCLES if ids(name)[value]]


def test_muscles_at_their_heights_in_front_and_behind() -> None:
    frame = frame_of(1)
    levels = {z: slice_at(frame, z) for z in (100.0, 180.0, 310.0, 340.0)}
    assert not of(levels[100.0], "pectoralis", "serratus", "rhomboids", "trapezius").any()
    assert of(levels[180.0], "latissimus_dorsi", "trapezius").any()
    chest = of(levels[310.0], "pectoralis")
    centre = Trunk(frame).centre(310.0)[1]
    assert (Y[chest] > centre).all()
    assert 8e2 < chest.sum() * STEP**2 < 6e3
    assert (Y[of(levels[310.0], "trapezius", "rhomboids")] < centre).all()
    assert of(levels[340.0], "latissimus_dorsi").sum() < of(levels[180.0], "latissimus_dorsi").sum()


def test_both_sides_are_alike_but_not_the_same() -> None:
    frame = frame_of(3)
    muscles = [of(slice_at(frame, z), "pectoralis", "latissimus_dorsi") for z in (250.0, 310.0)]
    right, left = (sum(int(part[side].sum()) for part in muscles) for side in (X > 0, X < 0))
    assert right != left
    assert right == pytest.approx(left, rel=0.2)


def test_strong_people_have_thicker_muscles() -> None:
    amount = [of(slice_at(frame_of(1, wall=wall), 310.0), "pectoralis").sum() for wall in (0.4, 1.0, 1.6)]
    assert amount[0] < amount[1] < amount[2]


def test_breasts_rise_above_the_skin_of_the_chest_and_grow_with_fat() -> None:
    rise = []
    for fat in (0.4, 1.0, 2.5):
        frame = frame_of(1, "F", fat=fat)
        z = frame.heights["nipple"]
        chest = Trunk(frame).skin(z)
        for side, sign in (("right", 1.0), ("left", -1.0)):
            surface = BreastSurface(frame, side)
            assert surface.low < z < surface.high
            skin = surface.skin(z)
            assert (np.sign(skin[:, 0]) == sign).mean() > 0.9
        rise.append(float(skin[:, 1].max()) - float(chest[:, 1].max()))
        assert abs(area(surface.skin(surface.high))) < 0.3 * abs(area(skin))
    assert rise[0] < rise[2]


def test_only_women_have_glands_and_these_lie_in_the_fat_below_the_skin() -> None:
    woman, man = frame_of(1, "F", fat=1.5), frame_of(1, "M", fat=1.5)
    assert not of(slice_at(man, man.heights["nipple"]), "breast").any()
    canvas = Canvas(GRID, woman.heights["nipple"])
    Cover(woman).paint(canvas)
    fat = of(canvas, "subcutaneous_fat")
    ChestWall(woman).paint(canvas)
    gland = of(canvas, "breast")
    assert gland[X > 0].any()
    assert gland[X < 0].any()
    assert not (gland & ~fat).any()
