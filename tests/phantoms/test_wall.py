"""The abdominal wall: its muscles, their order and their ends."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.wall import Wall
from lib.phantoms.person import Person
from lib.phantoms.tissues import TISSUES, ids, label_table
from lib.phantoms.trunk import Trunk

MM = 1.0
GRID = Grid(-200.0, MM, 401, -130.0, MM, 281)
FLAT = ("transversus_abdominis", "internal_oblique", "external_oblique")
WALL = (*FLAT, "rectus_abdominis")


def frame_of(seed: int = 1, *, sizes: Sizes | None = None, **person: object) -> Frame:
    frame = make_frame(Person(**person), seed)  # type: ignore[arg-type]
    frame.sizes = sizes or Sizes()
    return frame


def cut(frame: Frame, z: float = 0.0) -> Canvas:
    canvas = Canvas(GRID, z)
    for part in (Cover(frame), Wall(frame)):
        part.paint(canvas)
    return canvas


def region(canvas: Canvas, *names: str) -> np.ndarray:
    return ids(names)[canvas.tissue]


def cm2(canvas: Canvas, *names: str) -> float:
    return float(region(canvas, *names).sum()) * MM**2 / 100


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_layers_lie_at_the_flank_from_transversus_to_external_oblique(seed: int) -> None:
    canvas = cut(frame_of(seed))
    row = canvas.tissue[:, 135]  # at the height of the spine
    for side in (row[200:], row[200::-1]):
        crossed = [int(tissue) for tissue in side if ids(FLAT)[tissue]]
        order = [tissue for tissue, last in zip(crossed, [-1, *crossed], strict=False) if tissue != last]
        assert order == [TISSUES[name].id for name in FLAT]


@pytest.mark.parametrize("sex", ["M", "F"])
def test_the_recti_lie_in_front_on_both_sides_of_the_linea_alba(sex: str) -> None:
    rectus = region(cut(frame_of(sex=sex), 10.0), "rectus_abdominis")
    x, y = np.nonzero(rectus)
    x, y = x - 200, y - 130
    assert y.min() > 40
    assert not (x == 0).any()
    left, right = -x.min(), x.max()
    assert 50 < left < 85
    assert 50 < right < 85
    assert 0.85 < (x > 0).sum() / (x < 0).sum() < 1.18


def test_the_area_is_that_of_an_average_man_and_follows_the_size() -> None:
    areas = [cm2(cut(frame_of(sizes=Sizes(wall=size))), *WALL) for size in (0.3, 0.6, 1.0, 1.5, 2.5)]
    assert (np.diff(areas) > 5).all()
    assert areas[2] == pytest.approx(66, rel=0.1)


@pytest.mark.parametrize("seed", [1, 4])
def test_a_thin_rectus_is_as_thin_as_paper(seed: int) -> None:
    thickness = {}
    for strength in (0.0, 0.5, 1.0):
        rectus = region(cut(frame_of(seed, conditions={"thin_rectus": strength})), "rectus_abdominis")
        thickness[strength] = np.median(rectus.sum(axis=1)[rectus.any(axis=1)])
    assert thickness[0.0] > 6
    assert thickness[0.0] > thickness[0.5] > thickness[1.0]
    assert 1 <= thickness[1.0] <= 2


def test_all_lies_between_the_surfaces_of_the_wall() -> None:
    frame = frame_of(5, sizes=Sizes(wall=0.4, fat=2.0, cavity=1.5))
    trunk = Trunk(frame)
    for z in (-80.0, 0.0, 60.0, 150.0):
        canvas = cut(frame, z)
        wall = region(canvas, *WALL, "latissimus_dorsi")
        inner, outer = np.zeros_like(wall), np.zeros_like(wall)
        for flags, outline in ((inner, trunk.inner(z)), (outer, trunk.outer(z))):
            mask = canvas.polygon(outline)
            flags[mask.window] = mask.inside
        assert wall.any()
        assert not (wall & inner).any()
        assert not (wall & ~outer).any()


def test_above_the_costal_margin_only_the_external_oblique_is_left_at_the_flank() -> None:
    canvas = cut(frame_of(), 100.0)
    flank = canvas.tissue[300:, 100:150]
    assert ids("external_oblique")[flank].any()
    assert not ids(("transversus_abdominis", "internal_oblique"))[flank].any()


def test_the_obliques_end_at_the_iliac_crest_behind_and_above_the_groin_in_front() -> None:
    frame = frame_of()
    behind = cut(frame, frame.heights["iliac_crest"] - 20).tissue[:, :105]
    assert not ids(FLAT)[behind].any()
    groin = cut(frame, frame.heights["acetabulum_top"] - 5)
    assert not region(groin, *FLAT).any()
    assert region(groin, "rectus_abdominis").any()
    assert not region(cut(frame, frame.heights["symphysis_top"] - 1), *WALL).any()


def test_the_latissimus_begins_at_the_crest_and_is_no_muscle_of_the_wall() -> None:
    frame = frame_of()
    areas = [cm2(cut(frame, z), "latissimus_dorsi") for z in (frame.heights["iliac_crest"], 30.0, 100.0)]
    assert areas[0] == 0 < areas[1] < areas[2]
    table = label_table("l3_muscle")
    assert table[TISSUES["latissimus_dorsi"].id] == 0 != table[TISSUES["external_oblique"].id]
