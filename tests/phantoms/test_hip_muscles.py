"""The muscles of the hip: layers outside the iliac wing, rotators behind the joint, all under the fascia."""

from __future__ import annotations

import numpy as np
import pytest

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.legs import Leg
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.femur import Femur
from lib.phantoms.parts.hip_muscles import HipMuscles
from lib.phantoms.parts.pelvis import Pelvis, iliac_wings
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.parts.thigh_courses import COURSES
from lib.phantoms.person import Person
from lib.phantoms.tissues import TISSUES
from lib.phantoms.trunk import Trunk

STEP = 1.5
GRID = Grid(-240.0, STEP, 321, -180.0, STEP, 241)
MUSCLES = {name.partition(":")[0] for name in COURSES} - {"intermuscular_fat", "peripheral_vessel"}


def frame_of(seed: int, sex: str = "M", **sizes: float) -> Frame:
    frame = make_frame(Person(sex=sex), seed)  # type: ignore[arg-type]
    frame.sizes = Sizes(**sizes)
    return frame


def slice_at(frame: Frame, z: float) -> Canvas:
    """A slice z mm, with five lumbar vertebrae, from L3."""
    canvas = Canvas(GRID, z + frame.pelvis_shift)
    for part in (Cover(frame), Psoas(frame), HipMuscles(frame), Pelvis(frame), Femur(frame)):
        part.paint(canvas)
    return canvas


def area_cm2(canvas: Canvas, name: str) -> float:
    return float((canvas.tissue == TISSUES[name].id).sum() * STEP**2 / 100)


def centre(canvas: Canvas, name: str, side: int) -> tuple[float, float]:
    """How far from the midline, and y."""
    i, j = np.nonzero(canvas.tissue == TISSUES[name].id)
    x, y = GRID.x0 + STEP * i, GRID.y0 + STEP * j
    own = x * side > 0
    return float(np.abs(x[own]).mean()), float(y[own].mean())


@pytest.mark.parametrize(("seed", "sex"), [(1, "M"), (2, "F"), (3, "M")])
@pytest.mark.parametrize("side", [1, -1])
def test_gluteal_muscles_lie_in_layers_outside_the_iliac_wing(seed: int, sex: str, side: int) -> None:
    canvas = slice_at(frame_of(seed, sex), -125)
    bone, least, middle, largest = (
        centre(canvas, name, side)
        for name in ("hip_bone_marrow", "gluteus_minimus", "gluteus_medius", "gluteus_maximus")
    )
    assert bone[0] < least[0] < middle[0]
    assert largest[1] < min(bone[1], least[1], middle[1])
    assert area_cm2(canvas, "gluteus_minimus") < area_cm2(canvas, "gluteus_medius")


@pytest.mark.parametrize(("seed", "sex", "z"), [(1, "M", -60), (2, "F", -75), (3, "M", -95)])
@pytest.mark.parametrize("side", [1, -1])
def test_the_iliac_wing_parts_the_gluteal_muscles_from_the_iliacus(seed: int, sex: str, z: float, side: int) -> None:
    frame = frame_of(seed, sex)
    canvas = slice_at(frame, z)
    wing = iliac_wings(frame)[0 if side > 0 else 1].line(canvas.z)
    pelvic = canvas.polygon(np.concatenate([wing[:, :2], [[0, wing[-1, 1]], [0, wing[0, 1]]]]) * np.array([side, 1]))
    within = np.zeros(canvas.tissue.shape, bool)
    within[pelvic.window] = pelvic.inside
    gluteal = np.isin(canvas.tissue, [TISSUES[name].id for name in ("gluteus_medius", "gluteus_minimus")])
    assert gluteal.sum() * STEP**2 > 1500
    assert not (gluteal & within).any()
    assert (canvas.tissue[within] == TISSUES["iliacus"].id).sum() * STEP**2 > 400


def test_iliacus_and_psoas_become_one_muscle_at_one_height() -> None:
    frame = frame_of(2, "F")
    for z in range(-145, -110, 3):
        canvas = slice_at(frame, z)
        assert (area_cm2(canvas, "iliacus") > 0) != (area_cm2(canvas, "iliopsoas") > 0)


@pytest.mark.parametrize("side", [1, -1])
def test_around_the_hip_joint(side: int) -> None:
    canvas = slice_at(frame_of(2), -188)
    at = {
        name: centre(canvas, name, side)
        for name in ("obturator_internus", "femur_marrow", "gluteus_maximus", "sartorius", "rectus_femoris",
                     "tensor_fasciae_latae", "iliopsoas")
    }  # fmt: skip
    assert at["gluteus_maximus"][1] < at["obturator_internus"][1]
    assert at["obturator_internus"][0] < at["femur_marrow"][0]
    assert at["femur_marrow"][1] < at["iliopsoas"][1]
    assert at["iliopsoas"][0] < at["rectus_femoris"][0] < at["tensor_fasciae_latae"][0]
    assert at["sartorius"][1] > at["femur_marrow"][1]


def test_each_muscle_is_found_at_its_height_only() -> None:
    frame = frame_of(1)
    wanted = {
        -100: {"gluteus_maximus", "gluteus_medius", "gluteus_minimus", "tensor_fasciae_latae", "sartorius"},
        -155: {"piriformis", "obturator_internus", "gluteus_maximus", "gluteus_medius", "gluteus_minimus"},
        -232: {"quadratus_femoris", "obturator_externus", "obturator_internus", "pectineus", "pelvic_floor",
               "vastus_lateralis", "gluteus_maximus"},
        -262: {"adductor_longus", "adductor_brevis", "adductor_magnus", "gracilis", "pectineus"},
    }  # fmt: skip
    unwanted = {
        -100: {"piriformis", "pectineus", "vastus_lateralis"}, -155: {"quadratus_femoris", "adductor_magnus"},
        -232: {"piriformis", "gluteus_medius", "semitendinosus"}, -262: {"gluteus_minimus", "gluteus_medius"},
    }  # fmt: skip
    for z, names in wanted.items():
        canvas = slice_at(frame, z)
        assert not [name for name in names if area_cm2(canvas, name) < 0.5], z
        assert not [name for name in unwanted[z] if area_cm2(canvas, name) > 0], z


@pytest.mark.parametrize("z", [-90, -150, -200, -255])
def test_muscles_stay_under_the_fascia(z: float) -> None:
    frame = frame_of(3, "F")
    canvas = slice_at(frame, z)
    inside = np.zeros(canvas.tissue.shape, bool)
    for surface in (Trunk(frame), Leg(frame, "left"), Leg(frame, "right")):
        if surface.low <= canvas.z <= surface.high:
            mask = canvas.polygon(surface.outer(canvas.z))
            inside[mask.window] |= mask.inside
    muscle = np.isin(canvas.tissue, [TISSUES[name].id for name in MUSCLES])
    assert muscle.sum() * STEP**2 > 3000
    assert not (muscle & ~inside).any()


@pytest.mark.parametrize("size", [0.8, 1.0, 1.3])
def test_the_muscles_of_both_thighs_keep_apart_in_the_perineum(size: float) -> None:
    canvas = slice_at(frame_of(4, thigh_muscle=size), -262)
    near = np.abs(GRID.x0 + STEP * np.arange(GRID.nx)) < 5
    assert not np.isin(canvas.tissue[near], [TISSUES[name].id for name in MUSCLES]).any()


def test_wasting_shows_at_the_hip_as_well() -> None:
    areas = [area_cm2(slice_at(frame_of(1, thigh_muscle=size), -160), "gluteus_maximus") for size in (0.6, 0.8, 1.0)]
    assert areas[0] < areas[1] < areas[2]
