"""Psoas and iliacus: their course, their size, and where they become one."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.legs import HIP_JOINT
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import ids

MM = 1.0
GRID = Grid(-200.0, MM, 401, -130.0, MM, 281)


def frame_of(seed: int = 1, *, sizes: Sizes | None = None, lumbar: int = 5) -> Frame:
    frame = make_frame(Person(variant=Variant(lumbar=lumbar)), seed)
    frame.sizes = sizes or Sizes()
    return frame


def cut(frame: Frame, z: float = 0.0) -> Canvas:
    canvas = Canvas(GRID, z)
    for part in (Cover(frame), Psoas(frame)):
        part.paint(canvas)
    return canvas


def points(canvas: Canvas, name: str, sign: float) -> np.ndarray:
    """(n, 2) |x| and y of the voxels of a tissue on one side (1: the patient's right), mm."""
    i, j = np.nonzero(ids(name)[canvas.tissue])
    xy = np.stack([sign * (i - 200.0), j - 130.0], axis=1)
    return xy[xy[:, 0] > 0]


@pytest.mark.parametrize("lumbar", [4, 5, 6])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_grows_from_level_to_level_and_moves_to_side_and_front(sign: float, lumbar: int) -> None:
    frame = frame_of(2, lumbar=lumbar)
    sections = []
    for level in ("L1", "L2", "L3", "L4"):
        vertebra = frame.vertebrae[level]
        sections.append(points(cut(frame, vertebra.z), "psoas_major", sign) - (0, vertebra.y))
    areas = np.array([len(section) for section in sections]) * MM**2 / 100
    assert (np.diff(areas) > 0).all()
    assert 1.5 < areas[0] < 5
    assert 9 < areas[2] < 14
    assert 13 < areas[3] < 20
    assert (np.diff([section.mean(axis=0) for section in sections], axis=0) > 0).all()


def test_it_lies_beside_the_vertebral_body() -> None:
    frame = frame_of()
    body = frame.vertebrae["L3"]
    for sign in (1.0, -1.0):
        section = points(cut(frame), "psoas_major", sign)
        assert abs(section[:, 0].min() - body.a) < 4
        assert section[:, 1].min() < body.y < section[:, 1].max()


def test_the_area_is_that_of_an_average_man_and_follows_the_size() -> None:
    sizes = np.array([0.3, 0.6, 1.0, 1.3, 1.8, 2.5])
    areas = np.array([ids("psoas_major")[cut(frame_of(sizes=Sizes(psoas=size))).tissue].sum() / 100 for size in sizes])
    assert areas[2] == pytest.approx(24, rel=0.1)
    assert areas / areas[2] == pytest.approx(sizes**2, rel=0.2)


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_psoas_and_iliacus_join_above_the_hip_joint(lumbar: int) -> None:
    frame = frame_of(lumbar=lumbar)
    junction = frame.heights["acetabulum_top"] + 30
    above, below = cut(frame, junction + 3).tissue, cut(frame, junction - 3).tissue
    assert ids("psoas_major")[above].any()
    assert ids("iliacus")[above].any()
    assert not ids("iliopsoas")[above].any()
    assert ids("iliopsoas")[below].any()
    assert not ids(("psoas_major", "iliacus"))[below].any()


def test_the_iliacus_lines_the_wing_to_the_side_of_the_psoas() -> None:
    frame = frame_of()
    canvas = cut(frame, frame.heights["asis"])
    for sign in (1.0, -1.0):
        iliacus, psoas = (points(canvas, name, sign) for name in ("iliacus", "psoas_major"))
        assert iliacus[:, 0].mean() > psoas[:, 0].mean() + 20
        assert 4 < len(iliacus) / 100 < 20
    assert not ids("iliacus")[cut(frame, frame.heights["iliac_crest"]).tissue].any()


def test_the_iliopsoas_runs_before_the_hip_joint_to_the_lesser_trochanter() -> None:
    frame = frame_of()
    hip, trochanter = frame.heights["hip"], frame.heights["lesser_trochanter"]
    for sign in (1.0, -1.0):
        before = points(cut(frame, hip), "iliopsoas", sign).mean(axis=0)
        assert abs(before[0] - HIP_JOINT[0]) < 20
        assert before[1] > HIP_JOINT[1] + 25
        at_end = points(cut(frame, trochanter + 2), "iliopsoas", sign).mean(axis=0)
        assert at_end[1] < before[1] - 30
    assert not ids("iliopsoas")[cut(frame, trochanter - 15).tissue].any()
