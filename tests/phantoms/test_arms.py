"""Shoulders and arms: beside the body without touching it, or raised; bones within muscles within the skin."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.arm_surface import ArmSurface
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.legs import Leg
from lib.phantoms.parts.arms import Arms
from lib.phantoms.parts.chest_wall import ChestWall
from lib.phantoms.parts.cover import Cover
from lib.phantoms.person import Person
from lib.phantoms.tissues import ids
from lib.phantoms.trunk import Trunk

STEP = 2.0
GRID = Grid(-330.0, STEP, 331, -170.0, STEP, 171)
X = GRID.x0 + STEP * np.arange(GRID.nx)[:, None] + np.zeros((1, GRID.ny))
SIDES = {"right": 1.0, "left": -1.0}


def frame_of(seed: int = 1, sex: str = "M", *, beside: bool = True, cavity: float = 1.0, fat: float = 1.0) -> Frame:
    frame = make_frame(Person(sex=sex), seed, arms_beside=beside)
    frame.sizes = Sizes(cavity=cavity, fat=fat)
    return frame


@cache
def parts(seed: int) -> tuple[Cover, ChestWall, Arms]:
    frame = frame_of(seed)
    return Cover(frame), ChestWall(frame), Arms(frame)


@cache
def slice_at(z: float, seed: int = 1) -> Canvas:
    canvas = Canvas(GRID, z)
    for part in parts(seed):
        part.paint(canvas)
    return canvas


def of(canvas: Canvas, *names: str) -> np.ndarray:
    return ids(names)[canvas.tissue]


def bone(canvas: Canvas, name: str) -> np.ndarray:
    return of(canvas, f"{name}_cortex", f"{name}_marrow")


@pytest.mark.parametrize("sex", ["M", "F"])
@pytest.mark.parametrize("beside", [True, False])
def test_bones_of_the_shoulder_lie_under_the_skin(sex: str, beside: bool) -> None:
    frame = frame_of(2, sex, beside=beside, fat=0.3)
    painters = Cover(frame), ChestWall(frame), Arms(frame)
    for z in np.arange(340.0, 400.0, 5.0):
        canvas = Canvas(GRID, float(z))
        for part in painters:
            part.paint(canvas)
        bones = bone(canvas, "humerus") | bone(canvas, "scapula") | bone(canvas, "clavicle")
        assert bones.any() or z > 382
        assert not (ndimage.binary_dilation(of(canvas, "air")) & bones).any()


@pytest.mark.parametrize("sex", ["M", "F"])
@pytest.mark.parametrize(("cavity", "fat"), [(0.5, 0.4), (1.0, 1.0), (1.6, 3.0), (2.3, 5.0)])
def test_arms_hang_free_of_trunk_and_thighs_however_wide_these_are(sex: str, cavity: float, fat: float) -> None:
    frame = frame_of(2, sex, cavity=cavity, fat=fat)
    trunk = Trunk(frame)
    for side, sign in SIDES.items():
        arm, leg = ArmSurface(frame, side), Leg(frame, side)
        for z in np.arange(arm.low + 4, 285.0, 13.0):
            inner_edge = float((sign * arm.skin(z)[:, 0]).min())
            for surface in (trunk, leg):
                if surface.low <= z <= surface.high:
                    assert inner_edge > float((sign * surface.skin(z)[:, 0]).max()) + 1.0


def test_shoulders_have_human_breadth() -> None:
    for sex, low, high in (("M", 430, 530), ("F", 400, 490)):
        frame = frame_of(1, sex)
        right, left = (ArmSurface(frame, side).skin(345.0)[:, 0] for side in SIDES)
        assert low < (right.max() - left.min()) * frame.width_scale < high


def test_skin_lies_outside_the_fascia() -> None:
    for beside in (True, False):
        surface = ArmSurface(frame_of(3, beside=beside, fat=0.3), "left")
        for z in np.linspace(surface.low, surface.high, 23):
            x, y = surface.axis(z)
            skin, outer = (np.hypot(*(ring - (x, y)).T) for ring in (surface.skin(z), surface.outer(z)))
            assert (skin > outer + 1.0).all()


def test_bones_from_shoulder_to_hand() -> None:
    for name, z, count in (
        ("humerus", 352.0, 2), ("humerus", 200.0, 2), ("forearm_bone", -60.0, 4), ("hand_bone", -265.0, 10),
    ):  # fmt: skip
        found = bone(slice_at(z), name)
        assert ndimage.label(found)[1] == count
        assert found[X > 0].any()
        assert found[X < 0].any()
    assert bone(slice_at(320.0), "scapula").any()
    assert bone(slice_at(372.0), "clavicle").any()
    assert not bone(slice_at(0.0), "humerus").any()
    assert not bone(slice_at(200.0), "forearm_bone").any()


def test_head_of_the_humerus_is_a_ball_of_human_size_beside_its_socket() -> None:
    canvas = slice_at(352.0)
    head = bone(canvas, "humerus") & (X > 0)
    assert 40 < 2 * np.sqrt(head.sum() * STEP**2 / np.pi) < 54
    scapula = bone(canvas, "scapula") & (X > 0)
    assert scapula.any()
    assert X[scapula].mean() < X[head].mean()
    assert X[head].min() - X[scapula & (np.abs(X - X[head].min()) < 30)].max() < 12


def test_flexors_in_front_extensors_behind_and_the_deltoid_outside() -> None:
    canvas = slice_at(200.0)
    y = GRID.y0 + STEP * np.arange(GRID.ny)[None, :] + np.zeros((GRID.nx, 1))
    for side in (X > 0, X < 0):
        flexors, extensors = of(canvas, "upper_arm_flexors") & side, of(canvas, "upper_arm_extensors") & side
        humerus = bone(canvas, "humerus") & side
        assert y[flexors].min() > y[extensors].max()
        assert y[extensors].mean() < y[humerus].mean() < y[flexors].mean()
    shoulder = slice_at(340.0)
    deltoid, humerus = of(shoulder, "deltoid") & (X > 0), bone(shoulder, "humerus") & (X > 0)
    assert X[deltoid].mean() > X[humerus].mean()


def test_bones_lie_within_the_body() -> None:
    for z in (370.0, 340.0, 150.0, 60.0, 0.0, -150.0, -215.0, -330.0):
        canvas = slice_at(z)
        skeleton = np.zeros(canvas.tissue.shape, bool)
        for name in ("humerus", "scapula", "clavicle", "forearm_bone", "hand_bone"):
            skeleton |= bone(canvas, name)
        assert not (ndimage.binary_dilation(skeleton) & of(canvas, "air")).any()


def test_raised_arms_leave_the_belly_alone_and_point_up() -> None:
    frame = frame_of(1, beside=False)
    arms = Arms(frame)
    low = Canvas(GRID, 200.0)
    arms.paint(low)
    assert not low.tissue.any()
    for side in SIDES:
        surface = ArmSurface(frame, side)
        assert surface.low > 300
        assert surface.high > frame.heights["chin"]
    canvas = Canvas(GRID, 380.0)
    canvas.tissue[...] = np.flatnonzero(ids("intermuscular_fat"))[0]
    arms.paint(canvas)
    assert ndimage.label(bone(canvas, "humerus"))[1] == 2


def test_the_same_seed_gives_the_same_arms() -> None:
    frame = frame_of(1)
    again = Canvas(GRID, 352.0)
    for part in (Cover(frame), ChestWall(frame), Arms(frame)):
        part.paint(again)
    assert (again.tissue == slice_at(352.0).tissue).all()
    assert (again.tissue != slice_at(352.0, 2).tissue).any()
