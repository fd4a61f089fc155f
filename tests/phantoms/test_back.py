"""The muscles of the back: where they lie, how far they reach, how large they are."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.parts.back import Back
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import ids

MM = 1.0
GRID = Grid(-200.0, MM, 401, -130.0, MM, 281)
BACK = ("erector_spinae", "multifidus", "quadratus_lumborum")


def frame_of(seed: int = 1, *, sizes: Sizes | None = None, lumbar: int = 5, **person: object) -> Frame:
    frame = make_frame(Person(variant=Variant(lumbar=lumbar), **person), seed)  # type: ignore[arg-type]
    frame.sizes = sizes or Sizes()
    return frame


def cut(frame: Frame, z: float = 0.0) -> Canvas:
    canvas = Canvas(GRID, z)
    for part in (Cover(frame), Back(frame), Psoas(frame)):
        part.paint(canvas)
    return canvas


def points(canvas: Canvas, name: str) -> np.ndarray:
    """(n, 2) x and y of the voxels of a tissue on the patient's right, mm."""
    i, j = np.nonzero(ids(name)[canvas.tissue])
    xy = np.stack([i - 200.0, j - 130.0], axis=1)
    return xy[xy[:, 0] > 0]


def cm2(canvas: Canvas, *names: str) -> float:
    return float(ids(names)[canvas.tissue].sum()) * MM**2 / 100


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_from_the_spine_outwards_lie_multifidus_and_erector_and_before_them_the_quadratus(seed: int) -> None:
    canvas = cut(frame_of(seed))
    multifidus, erector, quadratus, psoas = (
        points(canvas, name).mean(axis=0) for name in (*BACK[1::-1], *BACK[2:], "psoas_major")
    )
    assert multifidus[0] < erector[0]
    assert psoas[0] < quadratus[0]
    assert erector[1] < quadratus[1] < psoas[1]
    assert np.ptp(points(canvas, "erector_spinae")[:, 0]) == pytest.approx(50, abs=10)
    assert np.ptp(points(canvas, "erector_spinae")[:, 1]) == pytest.approx(40, abs=6)


def test_the_area_is_that_of_an_average_man_and_follows_the_size() -> None:
    areas = [cm2(cut(frame_of(sizes=Sizes(paraspinal=size))), *BACK) for size in (0.3, 0.6, 1.0, 1.5, 2.5)]
    assert areas[2] == pytest.approx(62, rel=0.1)
    assert np.array(areas) / areas[2] == pytest.approx(np.array([0.3, 0.6, 1.0, 1.5, 2.5]) ** 2, rel=0.25)


def test_atrophy_leaves_fat_between_muscles_that_keep_their_place() -> None:
    fat, middle = [], []
    for size in (1.0, 0.7, 0.5):
        canvas = cut(frame_of(sizes=Sizes(paraspinal=size)))
        fat.append(cm2(canvas, "intermuscular_fat"))
        middle.append(points(canvas, "multifidus").mean(axis=0))
    assert fat[0] < fat[1] < fat[2]
    assert np.abs(middle[2] - middle[0]).max() < 15


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_the_quadratus_reaches_from_the_twelfth_rib_to_the_iliac_crest(lumbar: int) -> None:
    frame = frame_of(lumbar=lumbar)
    crest, t12 = frame.heights["iliac_crest"], frame.vertebrae["T12"].z
    for z, expected in ((t12 + 15, False), (t12 - 10, True), (20.0, True), (0.0, True), (min(crest, 0) - 25, False)):
        assert ids("quadratus_lumborum")[cut(frame, z).tissue].any() == expected, z


def test_erector_and_multifidus_reach_from_the_neck_to_the_sacrum() -> None:
    frame = frame_of()
    for level in ("T1", "T6", "T12", "L5", "S1"):
        canvas = cut(frame, frame.vertebrae[level].z)
        assert cm2(canvas, "erector_spinae") > 1, level
        assert cm2(canvas, "multifidus") > 1, level
    assert cm2(cut(frame, frame.vertebrae["T6"].z), *BACK) < cm2(cut(frame), *BACK) / 2
    assert cm2(cut(frame, frame.heights["hip"]), *BACK) == 0


def test_the_multifidus_lies_beside_the_spinous_processes_of_a_curved_spine() -> None:
    frame = frame_of(1, conditions={"scoliosis": 1.0})
    for level in ("L3", "L2", "L1"):
        vertebra = frame.vertebrae[level]
        i, _ = np.nonzero(ids("multifidus")[cut(frame, vertebra.z).tissue])
        spinous = vertebra.at(0.0, -52.0, 0.0)[0]
        assert abs(spinous - vertebra.x) > 1
        assert i.mean() - 200 == pytest.approx(spinous, abs=2.5), level
