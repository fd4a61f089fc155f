"""The surfaces of the trunk: nested, with room for the bones, and what Cover fills between them."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.canvas import Canvas, Grid, Points
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.pelvis import Pelvis
from lib.phantoms.person import Person, Variant
from lib.phantoms.shapes import area
from lib.phantoms.tissues import ids
from lib.phantoms.trunk import ANGLES, SKIN_MM, Trunk

GRID = Grid(-260.0, 2.0, 261, -200.0, 2.0, 201)
LEAN = Sizes(psoas=0.5, paraspinal=0.5, wall=0.4, cavity=0.6, fat=0.15)
STOUT = Sizes(psoas=1.3, paraspinal=1.3, wall=1.5, cavity=1.9, fat=4.0)


def frame_of(seed: int = 1, *, sizes: Sizes | None = None, lumbar: int = 5, **person: object) -> Frame:
    frame = make_frame(Person(variant=Variant(lumbar=lumbar), **person), seed)  # type: ignore[arg-type]
    frame.sizes = sizes or Sizes()
    return frame


def distance(outline: Points, centre: tuple[float, float]) -> np.ndarray:
    return np.sqrt(((outline - centre) ** 2).sum(axis=1))


@pytest.mark.parametrize("sizes", [Sizes(), LEAN, STOUT], ids=["usual", "lean", "stout"])
@pytest.mark.parametrize(("lumbar", "sex", "scoliosis"), [(5, "M", 0.0), (4, "F", 0.0), (6, "M", 0.0), (5, "F", 1.0)])
def test_the_surfaces_lie_within_one_another(lumbar: int, sex: str, scoliosis: float, sizes: Sizes) -> None:
    trunk = Trunk(frame_of(3, sizes=sizes, lumbar=lumbar, sex=sex, conditions={"scoliosis": scoliosis}))
    for z in np.linspace(trunk.low + 1, trunk.high - 1, 60):
        centre = trunk.centre(z)
        skin, outer, inner = (distance(outline(z), centre) for outline in (trunk.skin, trunk.outer, trunk.inner))
        assert inner.min() > 0
        assert (outer - inner).min() > 1.9
        assert (skin - outer).min() > SKIN_MM


def test_the_points_lie_in_the_directions_of_the_angles() -> None:
    trunk = Trunk(frame_of())
    for outline in (trunk.skin, trunk.outer, trunk.inner):
        x, y = (outline(40.0) - trunk.centre(40.0)).T
        turn = np.arctan2(y, x) - ANGLES
        assert np.abs((turn + np.pi) % (2 * np.pi) - np.pi).max() < 1e-9


def test_the_surfaces_change_smoothly_along_the_body() -> None:
    trunk = Trunk(frame_of())
    for surface in (trunk.outer, trunk.inner):
        outlines = np.stack([surface(z) for z in np.arange(-230.0, 390.0, 2.0)])
        assert np.abs(np.diff(outlines, axis=0)).max() < 9


@pytest.mark.parametrize("name", ["fat", "cavity", "wall", "paraspinal"])
def test_a_larger_size_gives_a_larger_area(name: str) -> None:
    areas = []
    for factor in (0.3, 0.6, 0.9, 1.1, 1.5, 2.0, 2.5):
        trunk = Trunk(frame_of(sizes=Sizes(**{name: factor})))
        skin, outer, inner = (area(outline(0.0)) for outline in (trunk.skin, trunk.outer, trunk.inner))
        areas.append({"fat": skin - outer, "cavity": inner, "wall": outer - inner, "paraspinal": outer}[name])
    assert (np.diff(areas) > 0).all()


def test_places_on_the_wall_run_from_the_front_over_the_flank_to_the_spine() -> None:
    trunk = Trunk(frame_of())
    for sign in (1.0, -1.0):
        low, high = trunk.across(10.0, sign, np.array([0.0, 1.0, 2.0, 3.0]))
        front, flank, gutter, spine = low
        assert abs(front[0]) < 1
        assert front[1] > 60
        assert sign * flank[0] > 100
        assert flank[1] > gutter[1]
        assert sign * flank[0] > sign * gutter[0] > 50
        assert abs(spine[0]) < 1
        assert gutter[1] < spine[1] < 0
        assert (distance(high, trunk.centre(10.0)) > distance(low, trunk.centre(10.0))).all()


def test_the_navel_is_a_dimple() -> None:
    frame = frame_of()
    trunk, navel = Trunk(frame), frame.heights["navel"]
    front = {z: trunk.skin(z)[len(ANGLES) // 4, 1] for z in (navel - 25, navel, navel + 25)}
    assert front[navel] < min(front[navel - 25], front[navel + 25]) - 5


def test_hips_are_wider_than_the_waist_and_more_so_in_women() -> None:
    ratio = {}
    for sex in ("M", "F"):
        frame = frame_of(sex=sex)
        trunk = Trunk(frame)
        width = {z: np.ptp(trunk.skin(z)[:, 0]) for z in (30.0, frame.heights["hip"])}
        ratio[sex] = width[frame.heights["hip"]] / width[30.0]
    assert 1 < ratio["M"] < ratio["F"]


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_the_hip_bones_stay_inside_even_the_leanest(lumbar: int) -> None:
    frame = frame_of(2, sizes=LEAN, lumbar=lumbar)
    trunk, pelvis = Trunk(frame), Pelvis(frame)
    for z in np.linspace(frame.heights["acetabulum_top"] + 25, frame.heights["iliac_crest"], 12):
        canvas = Canvas(GRID, z)
        pelvis.paint(canvas)
        bone = canvas.tissue > 0
        within = np.zeros_like(bone)
        mask = canvas.polygon(trunk.skin(z))
        within[mask.window] = mask.inside
        assert not (bone & ~within).any(), z


def test_visceral_fat_fills_the_cavity_down_to_the_symphysis() -> None:
    frame = frame_of()
    cover = Cover(frame)
    bottom = frame.heights["symphysis_bottom"]
    for z, expected in ((0.0, True), (bottom + 2, True), (bottom - 2, False)):
        canvas = Canvas(GRID, z)
        cover.paint(canvas)
        assert ids(("peritoneal_fat", "retroperitoneal_fat"))[canvas.tissue].any() == expected


def test_retroperitoneal_fat_lies_behind_the_peritoneal() -> None:
    canvas = Canvas(GRID, 60.0)
    Cover(frame_of()).paint(canvas)
    middle = canvas.tissue[130 - 30]  # 60 mm to the left, where the kidney lies
    behind, before = (np.nonzero(ids(name)[middle])[0] for name in ("retroperitoneal_fat", "peritoneal_fat"))
    assert len(behind) > 10
    assert len(before) > 10
    assert behind.max() < before.min()
