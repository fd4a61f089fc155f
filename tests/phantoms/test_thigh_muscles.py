"""The thigh: every muscle where an anatomy atlas has it, on both sides, within the fascia."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.phantoms.body import Body
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, Sizes, make_frame
from lib.phantoms.legs import Leg
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.thigh_muscles import ThighMuscles
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import BY_ID, TISSUES, label_table

STEP = 1.5
GRID = Grid(-240.0, STEP, 321, -180.0, STEP, 241)
MUSCLES = tuple(tissue.name for tissue in BY_ID if tissue.texture == "muscle")


def frame_of(seed: int = 1, *, sex: str = "M", variant: Variant | None = None, **sizes: float) -> Frame:
    frame = make_frame(Person(sex=sex, variant=variant or Variant()), seed)  # type: ignore[arg-type]
    frame.sizes = Sizes(**sizes)
    return frame


def slice_at(frame: Frame, z: float) -> Canvas:
    """A slice z mm, with five lumbar vertebrae, from L3."""
    canvas = Canvas(GRID, z + frame.pelvis_shift)
    for part in (Cover(frame), ThighMuscles(frame)):
        part.paint(canvas)
    return canvas


def area_cm2(canvas: Canvas, *names: str, side: int = 0) -> float:
    part = canvas.tissue if not side else canvas.tissue[161:] if side > 0 else canvas.tissue[:160]
    return float(np.isin(part, [TISSUES[name].id for name in names]).sum() * STEP**2 / 100)


def centre(canvas: Canvas, name: str, side: int) -> tuple[float, float]:
    """How far from the midline, and y."""
    i, j = np.nonzero(canvas.tissue == TISSUES[name].id)
    x, y = GRID.x0 + STEP * i, GRID.y0 + STEP * j
    own = x * side > 0
    return float(np.abs(x[own]).mean()), float(y[own].mean())


@pytest.mark.parametrize(("seed", "sex"), [(1, "M"), (2, "F"), (3, "M")])
@pytest.mark.parametrize("side", [1, -1])
def test_mid_thigh_is_that_of_an_atlas(seed: int, sex: str, side: int) -> None:
    canvas = slice_at(frame_of(seed, sex=sex), -400)
    at = {name: centre(canvas, name, side) for name in MUSCLES if area_cm2(canvas, name, side=side) > 0.5}
    assert set(at) == {
        "sartorius", "rectus_femoris", "vastus_lateralis", "vastus_intermedius", "vastus_medialis", "adductor_longus",
        "adductor_magnus", "gracilis", "semimembranosus", "semitendinosus", "biceps_femoris",
    }  # fmt: skip
    x, y = ({name: place[axis] for name, place in at.items()} for axis in (0, 1))
    assert max(y, key=lambda name: y[name]) == "rectus_femoris"
    assert max(x, key=lambda name: x[name]) == "vastus_lateralis"
    assert min(x, key=lambda name: x[name]) == "gracilis"
    assert min(y, key=lambda name: y[name]) == "semitendinosus"
    assert x["semimembranosus"] < x["semitendinosus"] < x["biceps_femoris"]
    assert x["sartorius"] < x["vastus_medialis"] < x["vastus_intermedius"] < x["vastus_lateralis"]
    assert y["vastus_intermedius"] < y["rectus_femoris"]
    assert y["sartorius"] > y["adductor_longus"] > y["adductor_magnus"] > y["semimembranosus"]


def test_muscles_come_and_go_along_the_thigh() -> None:
    frame = frame_of()
    proximal, middle, distal = (slice_at(frame, z) for z in (-300, -400, -530))
    assert area_cm2(proximal, "gluteus_maximus") > 15
    assert area_cm2(middle, "gluteus_maximus") == 0
    assert area_cm2(proximal, "adductor_brevis") > 4
    assert area_cm2(distal, "adductor_brevis", "adductor_longus") == 0
    rectus, medialis = (
        [area_cm2(canvas, name) for canvas in (proximal, middle, distal)]
        for name in ("rectus_femoris", "vastus_medialis")
    )
    assert rectus[0] > rectus[1] > 2 * rectus[2]
    assert medialis[0] < medialis[1] < medialis[2] * 1.5


@pytest.mark.parametrize("side", [1, -1])
def test_sartorius_winds_from_the_outside_to_the_back_of_the_inside(side: int) -> None:
    frame = frame_of(2)
    places = [centre(slice_at(frame, z), "sartorius", side) for z in (-280, -350, -420, -500, -580)]
    assert all(upper[1] > lower[1] for upper, lower in pairwise(places))
    assert places[0][0] > places[1][0] > places[2][0]


def test_areas_are_those_of_a_man_and_grow_with_the_sizes() -> None:
    def muscle(size: float) -> float:
        frame = frame_of(thigh_muscle=size)
        return area_cm2(slice_at(frame, -400), *MUSCLES)

    def fat(size: float) -> float:
        return area_cm2(slice_at(frame_of(thigh_fat=size), -400), "subcutaneous_fat")

    areas = [muscle(size) for size in (0.6, 0.8, 1.0, 1.2, 1.4)]
    assert areas[2] == pytest.approx(300, rel=0.06)  # without the femur in it
    assert (np.diff(areas) > 20).all()
    covers = [fat(size) for size in (0.4, 0.7, 1.0, 1.6, 2.5)]
    assert covers[2] == pytest.approx(110, rel=0.08)
    assert (np.diff(covers) > 20).all()


@pytest.mark.parametrize("sizes", [{"thigh_muscle": 0.6}, {}, {"thigh_muscle": 1.4, "thigh_fat": 2.5}])
def test_muscles_lie_within_the_fascia_with_planes_of_fat_between(sizes: dict[str, float]) -> None:
    frame = frame_of(3, **sizes)
    canvas = slice_at(frame, -420)
    muscle = np.isin(canvas.tissue, [TISSUES[name].id for name in MUSCLES])
    inside = np.zeros_like(muscle)
    for side in ("left", "right"):
        mask = canvas.polygon(Leg(frame, side).outer(canvas.z))
        inside[mask.window] |= mask.inside
    assert not (muscle & ~inside).any()
    share = muscle.sum() / inside.sum()
    assert 0.7 < share < 0.97


def test_wasted_muscles_leave_more_fat_between_them() -> None:
    shares = []
    for size in (0.6, 0.8, 1.0):
        canvas = slice_at(frame_of(thigh_muscle=size), -400)
        muscle, fat = area_cm2(canvas, *MUSCLES), area_cm2(canvas, "intermuscular_fat")
        shares.append(fat / (fat + muscle))
    assert shares[0] > 1.2 * shares[1] > 1.2 * shares[2]


def test_the_planes_of_fat_are_uneven_and_wider_in_the_fat_and_the_old() -> None:
    shares = []
    for age, fat in ((30.0, 60.0), (55.0, 150.0), (85.0, 300.0)):
        frame = make_frame(Person(age_years=age, thigh_fat_cm2=fat), 2)
        canvas = slice_at(frame, -400)
        shares.append(area_cm2(canvas, "intermuscular_fat") / area_cm2(canvas, *MUSCLES))
    assert shares[0] < shares[1] < shares[2]
    # how much of the border between two large muscles is without a voxel of fat
    frame = make_frame(Person(age_years=55.0), 2)
    touching, apart = 0, 0
    for z in range(-440, -340, 10):
        tissue = slice_at(frame, z).tissue
        biceps, tendinosus = (tissue == TISSUES[name].id for name in ("biceps_femoris", "semitendinosus"))
        near = [np.roll(biceps, shift, axis) for axis in (0, 1) for shift in (-2, -1, 1, 2)]
        touching += int((np.any([near[1], near[2], near[5], near[6]], axis=0) & tendinosus).sum())
        apart += int((np.any(near, axis=0) & tendinosus).sum())
    assert 0.1 * apart < touching < 0.7 * apart


def test_femoral_vessels_run_from_the_front_to_the_hollow_of_the_knee() -> None:
    frame = frame_of()
    places = [centre(slice_at(frame, z), "peripheral_vessel", 1) for z in (-290, -400, -560)]
    assert places[0][1] > places[1][1] + 10 > places[2][1] + 30


def test_all_muscles_of_the_task_are_in_a_body() -> None:
    frame = frame_of(variant=Variant(lumbar=4))
    body, table = Body(frame), label_table("thigh_muscles")
    found: set[int] = set()
    for z in np.arange(frame.heights["knee"], frame.heights["iliac_crest"] + 20, 18):
        found |= set(np.unique(table[body.slice(Grid(-240.0, 2.0, 241, -180.0, 2.0, 181), float(z)).tissue]).tolist())
    missing = {structure.name for structure in STORED_SCHEMAS["thigh_muscles"] if structure.id not in found}
    assert not missing
