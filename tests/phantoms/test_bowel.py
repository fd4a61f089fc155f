"""Bowel: its course, its room, and gas on top of what it holds."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.body import Body
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Sizes, make_frame
from lib.phantoms.parts.bowel import Bowel
from lib.phantoms.parts.bowel_colon import Colon
from lib.phantoms.parts.bowel_loops import SmallBowel
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.organ_room import CAVITY_FAT, Room
from lib.phantoms.parts.organ_tubes import Filling, HollowTube
from lib.phantoms.parts.organs import Organs
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.parts.vessels import Vessels
from lib.phantoms.person import Person
from lib.phantoms.shapes import Tube
from lib.phantoms.tissues import TISSUES, ids

GRID = Grid(-190.0, 1.0, 381, -120.0, 1.0, 271)
BOWEL = ("bowel_wall", "bowel_fluid", "bowel_gas", "stool")
PARTS = (Cover, Psoas, Organs, Vessels, Bowel)


@cache
def body(seed: int = 1, cavity: float = 1.0) -> Body:
    frame = make_frame(Person(), seed)
    frame.sizes = Sizes(cavity=cavity)
    return Body(frame, PARTS)


def square_cm(canvas: Canvas, *names: str) -> float:
    return float(ids(names)[canvas.tissue].sum()) / 100


def alone(part: object, z: float) -> np.ndarray:
    """Where a part alone draws bowel in a cavity full of fat."""
    canvas = Canvas(GRID, z)
    canvas.tissue[...] = TISSUES["peritoneal_fat"].id
    part.paint(canvas)  # type: ignore[attr-defined]
    return ids(BOWEL)[canvas.tissue]


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_the_colon_frames_the_abdomen(seed: int) -> None:
    frame = make_frame(Person(), seed)
    colon = Colon(frame, Room(frame))
    x = GRID.x0 + np.nonzero(alone(colon, 0.0))[0]
    assert (x > 60).sum() > 800  # ascending
    assert (x < -60).sum() > 150  # descending
    assert (x > 60).sum() > (x < -60).sum()
    rectum = np.nonzero(alone(colon, frame.heights["symphysis_top"] + 10))
    assert np.abs(GRID.x0 + rectum[0]).max() < 35
    assert GRID.y0 + rectum[1].mean() < -15
    across = [alone(colon, z) & (np.abs(GRID.x0 + np.arange(GRID.nx)) < 30)[:, None] for z in np.arange(-40.0, 60.0, 5)]
    assert max(int(slice_.sum()) for slice_ in across) > 800  # transverse


@pytest.mark.parametrize("seed", [1, 2, 5, 7])
def test_small_bowel_fills_the_frame_with_loops_of_its_calibre(seed: int) -> None:
    frame = make_frame(Person(), seed)
    room = Room(frame)
    loops = SmallBowel(frame, room, Colon(frame, room))
    drawn = [alone(loops, z) for z in np.arange(-70.0, 30.0, 20.0)]
    area = np.mean([section.sum() / 100 for section in drawn])
    assert 20 < area < 75
    for section in drawn:
        # loops touch, but seldom form a lump much thicker than one of them
        thickness = 2 * ndimage.distance_transform_edt(section)
        assert 14 < thickness.max() < 48
        assert (thickness > 30).sum() < 0.03 * section.sum()


@pytest.mark.parametrize("seed", [1, 3, 7])
def test_fat_grows_with_the_cavity_and_bowel_much_less(seed: int) -> None:
    sizes = [0.6, 0.8, 1.0, 1.3, 1.6, 1.9]
    canvases = [body(seed, cavity).slice(GRID, 0.0) for cavity in sizes]
    fat = np.array([square_cm(canvas, *CAVITY_FAT) for canvas in canvases])
    bowel = np.array([square_cm(canvas, *BOWEL) for canvas in canvases])
    assert (np.diff(fat) > 3).all()
    assert bowel[-1] / bowel[0] < 0.6 * fat[-1] / fat[0]
    assert 45 < bowel[2] < 125


def test_bowel_takes_the_place_of_fat_only() -> None:
    there = body()
    for z in (-60.0, 0.0, 60.0):
        before = Body(there.frame, PARTS[:-1]).slice(GRID, z).tissue
        after = there.slice(GRID, z).tissue
        changed = before != after
        assert changed.any()
        assert ids(CAVITY_FAT)[before[changed]].all()


def test_gas_stands_above_a_level_line_within_a_wall() -> None:
    tube = Tube([(-40.0, 10.0, 0.0), (0.0, 14.0, 0.0), (40.0, 10.0, 0.0)], 14.0, step=3.0)
    canvas = Canvas(GRID, 2.0)
    canvas.tissue[...] = TISSUES["peritoneal_fat"].id
    HollowTube(tube, 3.0, "bowel_wall", [Filling("bowel_fluid", 13.0)]).paint(canvas, CAVITY_FAT)
    gas, fluid = (GRID.y0 + np.nonzero(ids(name)[canvas.tissue])[1] for name in ("bowel_gas", "bowel_fluid"))
    assert len(gas) > 100
    assert fluid.max() <= 13.0 < gas.min()
    lumen = ids(("bowel_gas", "bowel_fluid"))[canvas.tissue]
    around = ndimage.binary_dilation(lumen) & ~lumen
    assert ids("bowel_wall")[canvas.tissue][around].all()


def test_seeds_differ_and_repeat() -> None:
    first, again = (Body(make_frame(Person(), 11), PARTS).slice(GRID, 0.0).tissue for _ in range(2))
    assert np.array_equal(first, again)
    other = Body(make_frame(Person(), 12), PARTS).slice(GRID, 0.0).tissue
    assert (ids(BOWEL)[first] != ids(BOWEL)[other]).sum() > 500


def test_the_mesentery_shows_many_small_vessels() -> None:
    canvas = body().slice(GRID, -10.0)
    labels, count = ndimage.label(ids("vessel")[canvas.tissue])
    areas = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
    assert (areas < 40).sum() >= 12
