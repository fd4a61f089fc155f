"""Neck and head: an outline with a face in front, a brain within the skull, an airway that goes on to the chest."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.head_surface import HeadSurface
from lib.phantoms.parts.chest import Chest
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.head import Head
from lib.phantoms.person import Person
from lib.phantoms.shapes import area
from lib.phantoms.tissues import ids

STEP = 1.0
GRID = Grid(-100.0, STEP, 201, -120.0, STEP, 271)
X = GRID.x0 + STEP * np.arange(GRID.nx)[:, None] + np.zeros((1, GRID.ny))
Y = GRID.y0 + STEP * np.arange(GRID.ny)[None, :] + np.zeros((GRID.nx, 1))


def frame_of(seed: int = 1, *, age: float = 40.0, fat: float = 1.0) -> Frame:
    frame = make_frame(Person(age_years=age), seed)
    frame.sizes = Sizes(fat=fat)
    return frame


@cache
def parts(seed: int, age: float) -> tuple[Cover, Chest, Head]:
    frame = frame_of(seed, age=age)
    return Cover(frame), Chest(frame), Head(frame)


@cache
def slice_at(z: float, seed: int = 1, age: float = 40.0) -> Canvas:
    canvas = Canvas(GRID, z)
    for part in parts(seed, age):
        part.paint(canvas)
    return canvas


def of(canvas: Canvas, *names: str) -> np.ndarray:
    return ids(names)[canvas.tissue]


def test_head_has_human_size_and_a_nose() -> None:
    surface = HeadSurface(frame_of())
    skull = surface.skin(580.0)
    assert 140 < np.ptp(skull[:, 0]) < 170
    assert 180 < np.ptp(skull[:, 1]) < 215
    neck = surface.skin(425.0)
    assert 340 < np.sqrt(4 * np.pi * abs(area(neck))) < 450
    nose = surface.skin(524.0)
    tip = nose[np.argmax(nose[:, 1])]
    assert abs(tip[0]) < 5
    assert tip[1] > surface.skin(565.0)[:, 1].max() + 10
    assert abs(area(surface.skin(surface.high))) < 0.2 * abs(area(surface.skin(640.0)))


@pytest.mark.parametrize("fat", [0.3, 1.0, 4.0])
def test_skin_lies_outside_the_fascia_and_fat_makes_the_neck_wider(fat: float) -> None:
    surface = HeadSurface(frame_of(fat=fat))
    for z in np.arange(surface.low, 650.0, 15.0):
        assert abs(area(surface.skin(z))) > abs(area(surface.outer(z))) + 500
    wider = HeadSurface(frame_of(fat=fat * 1.2))
    assert abs(area(wider.skin(420.0))) > abs(area(surface.skin(420.0)))


def test_brain_has_human_volume_and_lies_within_the_skull() -> None:
    brain = 0.0
    for z in np.arange(512.0, 662.0, 10.0):
        canvas = slice_at(float(z))
        inside = of(canvas, "brain", "cerebrospinal_fluid") & (Y < 50)
        brain += inside.sum() * STEP**2 * 10 / 1000
        if inside.any() and z > 525:
            shell = ndimage.binary_dilation(inside, iterations=2) & ~of(canvas, "brain", "cerebrospinal_fluid")
            assert of(canvas, "skull_cortex", "skull_marrow", "airway")[shell].mean() > 0.97
    assert 1000 < brain < 1900


def test_vault_is_a_closed_shell_of_two_tables() -> None:
    canvas = slice_at(605.0)
    bone = of(canvas, "skull_cortex", "skull_marrow")
    middle = tuple(np.rint([(0 - GRID.x0) / STEP, (0 - GRID.y0) / STEP]).astype(int))
    assert ndimage.binary_fill_holes(bone)[middle]
    column = canvas.tissue[middle[0], : middle[1]]
    names = [name for value in column for name in ("skull_cortex", "skull_marrow", "brain") if ids(name)[value]]
    order = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert order == ["skull_cortex", "skull_marrow", "skull_cortex", "brain"]


def test_two_eyes_in_front_at_the_height_of_the_orbit() -> None:
    eyes = of(slice_at(frame_of().heights["orbit"]), "eye")
    assert ndimage.label(eyes)[1] == 2
    assert Y[eyes].min() > 60
    assert X[eyes & (X > 0)].mean() == pytest.approx(-X[eyes & (X < 0)].mean(), abs=3)
    assert 50 < 2 * X[eyes & (X > 0)].mean() < 75
    assert not of(slice_at(600.0), "eye").any()


def test_airway_goes_on_from_the_throat_to_the_chest() -> None:
    heights = [float(z) for z in np.arange(330.0, 526.0, 3.0)]
    air = np.stack([of(slice_at(z), "airway") & (np.abs(X) < 20) & (Y < 50) for z in heights])
    assert all(layer.any() for layer in air)
    pieces, _ = ndimage.label(ndimage.binary_dilation(air, structure=np.ones((3, 3, 3))))
    throat = [set(np.unique(layer[found])) for layer, found in zip(pieces, air, strict=True)]
    assert set.intersection(*throat)


def test_jaw_below_the_skull_and_organs_of_the_neck_on_both_sides() -> None:
    jaw = of(slice_at(460.0), "mandible_cortex", "mandible_marrow")
    assert jaw[(X > 30)].any()
    assert jaw[(X < -30)].any()
    assert Y[jaw].max() > 85
    assert not of(slice_at(540.0), "mandible_cortex").any()
    for z, name in (
        (400.0, "thyroid"),
        (448.0, "submandibular_gland"),
        (495.0, "parotid"),
        (490.0, "masticatory_muscle"),
    ):
        found = of(slice_at(z), name)
        assert found[X > 5].any()
        assert found[X < -5].any()
    assert of(slice_at(444.0), "hyoid_cortex").any()
    muscle = of(slice_at(430.0), "neck_muscle", "trapezius")
    assert 2000 < muscle.sum() * STEP**2 < 6000


def test_nothing_lies_outside_the_skin() -> None:
    frame = frame_of(2)
    for z in (400.0, 430.0, 450.0, 480.0, 525.0, 560.0, 600.0, 655.0):
        blank = Canvas(GRID, z)
        Cover(frame).paint(blank)
        outside = blank.tissue <= np.flatnonzero(ids("skin"))[0]
        canvas = Canvas(GRID, z)
        Cover(frame).paint(canvas)
        Head(frame).paint(canvas)
        assert (canvas.tissue[outside] == blank.tissue[outside]).all()


def test_old_people_have_more_fluid_in_the_brain() -> None:
    fluid = [of(slice_at(590.0, age=age), "cerebrospinal_fluid").sum() for age in (30.0, 60.0, 85.0)]
    assert fluid[0] < fluid[1] < fluid[2]
