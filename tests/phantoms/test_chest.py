"""The chest: lungs above the diaphragm, the belly below it, the heart to the left, airways and great vessels."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.parts.chest import Chest
from lib.phantoms.parts.cover import Cover
from lib.phantoms.person import Person
from lib.phantoms.tissues import ids
from lib.phantoms.trunk import Trunk

STEP = 1.5
GRID = Grid(-210.0, STEP, 280, -150.0, STEP, 200)
X = GRID.x0 + STEP * np.arange(GRID.nx)[:, None] + np.zeros((1, GRID.ny))
Y = GRID.y0 + STEP * np.arange(GRID.ny)[None, :] + np.zeros((GRID.nx, 1))
BELLY = ("peritoneal_fat", "retroperitoneal_fat")
SEEDS = (1, 2, 3)


@cache
def parts(seed: int, sex: str = "M", cavity: float = 1.0) -> tuple[Frame, Cover, Chest]:
    frame = make_frame(Person(sex=sex), seed)
    frame.sizes = Sizes(cavity=cavity)
    return frame, Cover(frame), Chest(frame)


@cache
def slice_at(seed: int, z: float, sex: str = "M", cavity: float = 1.0) -> Canvas:
    _, cover, chest = parts(seed, sex, cavity)
    canvas = Canvas(GRID, z)
    cover.paint(canvas)
    chest.paint(canvas)
    return canvas


def of(canvas: Canvas, *names: str) -> np.ndarray:
    return ids(names)[canvas.tissue]


def litres(seed: int, *names: str, low: float, high: float, step: float = 8.0) -> float:
    voxels = sum(of(slice_at(seed, float(z)), *names).sum() for z in np.arange(low, high, step))
    return float(voxels) * STEP**2 * step / 1e6


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_and_heart_have_human_volumes(seed: int) -> None:
    assert 3.0 < litres(seed, "lung", low=80, high=400) < 8.5
    assert 0.4 < litres(seed, "heart", "myocardium", low=176, high=280) < 1.1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cavity", [0.6, 1.0, 2.0])
def test_lung_and_belly_are_parted_by_the_diaphragm(seed: int, cavity: float) -> None:
    for z in (95.0, 120.0, 150.0, 180.0, 200.0, 210.0):
        canvas = slice_at(seed, z, cavity=cavity)
        touching = ndimage.binary_dilation(of(canvas, "lung")) & of(canvas, *BELLY)
        assert touching.sum() <= 6  # corners between wall and diaphragm


@pytest.mark.parametrize("sex", ["M", "F"])
def test_no_belly_above_the_domes_and_no_lung_below_the_recess(sex: str) -> None:
    frame, _, chest = parts(1, sex)
    above = max(frame.heights["diaphragm_right"], frame.heights["diaphragm_left"]) + 1
    for z in (above, 250.0, 300.0, 350.0, 395.0):
        assert not of(slice_at(1, z, sex), *BELLY).any()
    for z in (chest.diaphragm.low - 1, frame.vertebrae["L2"].z, 0.0):
        canvas = slice_at(1, z, sex)
        assert not of(canvas, "lung", "intrathoracic_fat").any()
        assert of(canvas, *BELLY).any()


def test_right_dome_stands_higher_than_the_left_one() -> None:
    frame, _, _ = parts(2)
    between = (frame.heights["diaphragm_right"] + frame.heights["diaphragm_left"]) / 2
    belly = of(slice_at(2, between), *BELLY, "liver")
    assert belly[X > 0].any()
    assert not belly[X < 0].any()


def test_recess_of_the_lungs_reaches_down_behind_the_organs() -> None:
    frame, _, _ = parts(1)
    z = frame.vertebrae["T12"].z
    canvas = slice_at(1, z)
    lung = of(canvas, "lung")
    _, middle = Trunk(frame).centre(z)
    assert lung.sum() * STEP**2 > 300
    assert (Y[lung] < middle).all()
    assert lung[X > 40].any()
    assert lung[X < -40].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_heart_lies_to_the_left_in_front_of_the_spine(seed: int) -> None:
    frame, _, _ = parts(seed)
    z = frame.vertebrae["T8"].z
    heart = of(slice_at(seed, z), "heart", "myocardium")
    assert (X[heart] < 0).mean() > 0.55
    apex = np.argmin(np.where(heart, X, np.inf))
    assert Y.ravel()[apex] > 0.7 * Y[heart].min() + 0.3 * Y[heart].max()
    assert Y[heart].min() > frame.column(z)[1] + frame.vertebrae["T8"].b


@pytest.mark.parametrize("seed", SEEDS)
def test_trachea_divides_and_carries_air(seed: int) -> None:
    upper = of(slice_at(seed, 330.0), "airway")
    assert ndimage.label(upper)[1] == 1
    assert 12 < 2 * np.sqrt(upper.sum() * STEP**2 / np.pi) < 24
    lower = of(slice_at(seed, 268.0), "airway")
    assert lower[X > 8].any()
    assert lower[X < -8].any()
    assert not lower[np.abs(X) < 3].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_ascending_aorta_on_the_right_arch_to_the_left(seed: int) -> None:
    aorta = of(slice_at(seed, 285.0), "aorta")
    pieces, count = ndimage.label(aorta)
    assert count >= 1
    ascending = pieces == pieces[tuple(np.argwhere(aorta & (Y > 15))[0])]
    assert 22 < 2 * np.sqrt(ascending.sum() * STEP**2 / np.pi) < 45
    assert X[ascending].mean() > 5
    arch = of(slice_at(seed, 314.0), "aorta")
    ahead, behind = arch & (Y > 10), arch & (Y < -10)
    assert X[ahead].mean() > X[behind].mean()
    cava = of(slice_at(seed, 300.0), "vena_cava")
    assert X[cava].min() > X[of(slice_at(seed, 300.0), "aorta")].mean()


def test_crura_on_both_sides_of_the_aorta_as_far_as_the_second_lumbar_vertebra() -> None:
    frame, _, _ = parts(1)
    z = frame.vertebrae["L1"].z
    x0, y0 = frame.column(z)
    near = (np.abs(X - x0) < 30) & (y0 - 5 < Y) & (y0 + 45 > Y)
    crura = of(slice_at(1, z), "diaphragm") & near
    assert crura[x0 + 2 < X].any()
    assert crura[x0 - 15 > X].any()
    assert not (crura & (x0 > X) & (x0 - 14 < X) & (y0 + 28 < Y)).any()
    below = of(slice_at(1, frame.vertebrae["L2"].inferior_z - 2), "diaphragm")
    assert not below.any()


def test_nothing_leaves_the_room_within_the_wall() -> None:
    frame, cover, chest = parts(3, "F")
    for z in (60.0, 110.0, 190.0, 240.0, 300.0, 370.0):
        before = Canvas(GRID, z)
        cover.paint(before)
        outside = of(before, "air", "skin", "subcutaneous_fat", "intermuscular_fat")
        after = before.tissue.copy()
        canvas = Canvas(GRID, z)
        canvas.tissue[...] = before.tissue
        chest.paint(canvas)
        assert (canvas.tissue[outside] == after[outside]).all()
    assert Trunk(frame).high >= 390


def test_vessels_of_the_lung_lie_in_it_on_both_sides_and_differ_between_people() -> None:
    canvas = slice_at(1, 240.0)
    vessels = of(canvas, "vessel")
    around = ndimage.binary_dilation(of(canvas, "lung"), iterations=2)
    for side in (X > 60, X < -70):
        assert ndimage.label(vessels & side)[1] >= 3
        assert (around & vessels & side).sum() > 0.8 * (vessels & side).sum()
    assert (canvas.tissue != slice_at(2, 240.0).tissue).any()
    frame, cover, _ = parts(1)
    again = Canvas(GRID, 240.0)
    cover.paint(again)
    Chest(frame).paint(again)
    assert (again.tissue == canvas.tissue).all()
