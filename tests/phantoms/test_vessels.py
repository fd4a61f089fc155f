"""Vessels: sides, calibres, and where they divide."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.body import Body
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import make_frame
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.organs import Organs
from lib.phantoms.parts.vessels import Vessels
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import ids

GRID = Grid(-130.0, 1.0, 261, -120.0, 1.0, 231)


@cache
def body(seed: int = 1, *, age: float = 50.0, sex: str = "M", lumbar: int = 5, organs: bool = False) -> Body:
    person = Person(age_years=age, sex=sex, variant=Variant(lumbar=lumbar))  # type: ignore[arg-type]
    return Body(make_frame(person, seed), (Cover, Organs, Vessels) if organs else (Cover, Vessels))


def middle(canvas: Canvas, name: str) -> np.ndarray:
    """Centre x, y in mm of a tissue's voxels."""
    i, j = np.nonzero(ids(name)[canvas.tissue])
    return np.array([GRID.x0 + i.mean(), GRID.y0 + j.mean()])


def sections(canvas: Canvas, *names: str) -> int:
    return int(ndimage.label(ids(names)[canvas.tissue])[1])


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("z", [15.0, 60.0, 105.0])
def test_the_aorta_lies_left_of_the_cava_before_the_spine(seed: int, z: float) -> None:
    canvas = body(seed).slice(GRID, z)
    aorta, cava = middle(canvas, "aorta"), middle(canvas, "vena_cava")
    front = body(seed).frame.column(z)[1] + 17
    assert aorta[0] < 0 < cava[0]
    assert cava[0] - aorta[0] > 15
    assert front < min(aorta[1], cava[1]) < front + 20
    assert sections(canvas, "aorta") == sections(canvas, "vena_cava") == 1


@pytest.mark.parametrize(("sex", "seed"), [("M", 1), ("M", 3), ("F", 2)])
def test_the_abdominal_aorta_is_14_to_24_mm_wide(sex: str, seed: int) -> None:
    for z in (20.0, 60.0, 100.0):
        canvas = body(seed, sex=sex).slice(GRID, z)
        width = 2 * np.sqrt(ids("aorta")[canvas.tissue].sum() / np.pi)
        assert 14 < width < 24


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_it_divides_above_the_sacrum_in_every_spine(lumbar: int) -> None:
    there = body(lumbar=lumbar)
    above, below = there.frame.vertebrae["L3"].z, there.frame.vertebrae["S1"].z
    assert sections(there.slice(GRID, above), "aorta") == 1
    canvas = there.slice(GRID, below)
    assert sections(canvas, "aorta", "vena_cava") == 0
    i, _ = np.nonzero(ids("vessel")[canvas.tissue])
    sides = GRID.x0 + i
    assert (sides > 15).any()
    assert (sides < -15).any()


def test_artery_and_vein_reach_either_groin() -> None:
    there = body()
    canvas = there.slice(GRID, there.frame.heights["symphysis_top"] + 5)
    labels, count = ndimage.label(ids("vessel")[canvas.tissue])
    centres = np.add(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)), (GRID.x0, GRID.y0))
    for sign in (1.0, -1.0):
        assert ((sign * centres[:, 0] > 45) & (sign * centres[:, 0] < 80) & (centres[:, 1] > 15)).any()


def test_the_descending_aorta_lies_left_of_the_thoracic_spine_up_to_the_arch() -> None:
    there = body()
    for z in (240.0, 300.0, 325.0):
        canvas = there.slice(GRID, z)
        assert sections(canvas, "aorta") == 1
        assert middle(canvas, "aorta")[0] < -8
    assert sections(there.slice(GRID, 335.0), "aorta") == 0


def test_vessels_branch_within_the_liver() -> None:
    there = body(organs=True)
    branches = 0
    for z in (120.0, 140.0, 160.0, 180.0):
        tissue = there.slice(GRID, z).tissue
        filled = ndimage.binary_fill_holes(ids("liver")[tissue])
        branches += int(ndimage.label(filled & ids("vessel")[tissue])[1])
    assert branches >= 4


def test_plaques_come_with_age_and_lie_in_the_wall_of_the_aorta() -> None:
    def plaque(age: float) -> int:
        slices = [body(2, age=age).slice(GRID, z).tissue for z in np.arange(-30.0, 120.0, 3.0)]
        return int(sum(ids("calcification")[tissue].sum() for tissue in slices))

    assert plaque(30.0) == 0
    assert plaque(85.0) > 20
    for z in np.arange(-30.0, 120.0, 3.0):
        tissue = body(2, age=85.0).slice(GRID, z).tissue
        beside = ndimage.binary_dilation(ids("aorta")[tissue], iterations=3)
        assert not (ids("calcification")[tissue] & ~beside).any()
