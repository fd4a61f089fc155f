"""Organs: on which side, how large, and that they stay within the cavity."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lib.phantoms.body import Body
from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Sizes, make_frame
from lib.phantoms.parts.chest import Chest
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.organ_room import Room
from lib.phantoms.parts.organs import Organs
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.person import Person
from lib.phantoms.tissues import ids
from lib.phantoms.trunk import Trunk

MM = 2.0
STEP_MM = 6.0
GRID = Grid(-180.0, MM, 181, -120.0, MM, 121)
INSIDE = ("liver", "spleen", "kidney", "renal_sinus", "pancreas", "adrenal", "gallbladder", "stomach_wall", "bladder")


def body_of(sex: str = "M", seed: int = 1, cavity: float = 1.0, touching: float = 0.0) -> Body:
    """A trunk that holds nothing but its organs."""
    person = Person(sex=sex, conditions={"kidney_on_psoas": touching})  # type: ignore[arg-type]
    frame = make_frame(person, seed)
    frame.sizes = Sizes(cavity=cavity)
    return Body(frame, (Cover, Psoas, Chest, Organs))


@cache
def stack(sex: str = "M", seed: int = 1) -> tuple[list[Canvas], Body]:
    """Its slices from the groin to the domes."""
    body = body_of(sex, seed)
    heights = np.arange(body.frame.heights["symphysis_bottom"] - 60, 225, STEP_MM)
    return [body.slice(GRID, float(z)) for z in heights], body


def places(slices: list[Canvas], *names: str) -> np.ndarray:
    """(n, 3) x, y, z in mm of the voxels of tissues."""
    found = []
    for canvas in slices:
        i, j = np.nonzero(ids(names)[canvas.tissue])
        found.append(np.stack([GRID.x0 + MM * i, GRID.y0 + MM * j, np.full(len(i), canvas.z)], axis=1))
    return np.concatenate(found)


def millilitres(xyz: np.ndarray) -> float:
    return len(xyz) * MM * MM * STEP_MM / 1000


@pytest.mark.parametrize("seed", [1, 4])
def test_every_organ_lies_on_its_side(seed: int) -> None:
    slices, _ = stack("M", seed)
    x = {name: places(slices, name)[:, 0] for name in ("liver", "gallbladder", "spleen", "stomach_wall")}
    assert x["liver"].mean() > 35
    assert x["liver"].min() < -15  # the left lobe crosses the midline
    assert x["gallbladder"].min() > 0
    assert x["spleen"].max() < -20
    assert x["stomach_wall"].mean() < -15


@pytest.mark.parametrize(("sex", "seed"), [("M", 1), ("F", 2), ("M", 4)])
def test_organs_are_as_large_as_in_adults(sex: str, seed: int) -> None:
    slices, _ = stack(sex, seed)
    assert 900 < millilitres(places(slices, "liver")) < 2300
    assert 80 < millilitres(places(slices, "spleen")) < 400
    assert 35 < millilitres(places(slices, "pancreas")) < 140
    kidneys = places(slices, "kidney", "renal_sinus")
    for side in (kidneys[kidneys[:, 0] > 0], kidneys[kidneys[:, 0] < 0]):
        assert 85 < millilitres(side) < 260
        assert 90 <= np.ptp(side[:, 2]) + STEP_MM <= 135


def test_kidneys_lie_behind_the_peritoneum_with_the_lower_pole_further_to_the_side() -> None:
    slices, body = stack()
    kidneys = places(slices, "kidney")
    for sign in (1.0, -1.0):
        side = kidneys[sign * kidneys[:, 0] > 0]
        low, high = np.quantile(side[:, 2], [0.2, 0.8])
        upper, lower = side[side[:, 2] > high], side[side[:, 2] < low]
        assert sign * lower[:, 0].mean() > sign * upper[:, 0].mean()
        assert side[:, 1].mean() < body.frame.vertebrae["L2"].y + 17


def test_the_sinus_opens_towards_the_spine() -> None:
    slices, _ = stack()
    kidney, sinus = places(slices, "kidney"), places(slices, "renal_sinus")
    for sign in (1.0, -1.0):
        whole, opening = (sign * xyz[sign * xyz[:, 0] > 0][:, 0] for xyz in (kidney, sinus))
        assert opening.mean() < whole.mean()


@pytest.mark.parametrize("cavity", [0.6, 1.0, 1.9])
def test_organs_stay_within_the_wall_of_lean_and_fat_bodies(cavity: float) -> None:
    body = body_of(cavity=cavity)
    trunk = Trunk(body.frame)
    slices = [body.slice(GRID, float(z)) for z in np.arange(-190.0, 200.0, 26.0)]
    for canvas in slices:
        within = canvas.polygon(trunk.inner(canvas.z))
        room = np.zeros(canvas.tissue.shape, bool)
        room[within.window] = within.inside
        organs = ids(INSIDE)[canvas.tissue]
        assert not (organs & ~room).any()
    assert len(places(slices, "liver")) > 2000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_kidney_on_the_psoas_shares_a_long_border_with_it_at_l3(seed: int) -> None:
    def border(strength: float) -> float:
        """Length, mm, of the kidney's border with the psoas in the slice through the middle of L3."""
        body = body_of(seed=seed, touching=strength)
        canvas = body.slice(GRID, body.frame.vertebrae["L3"].z)
        kidney, psoas = ids("kidney")[canvas.tissue], ids("psoas_major")[canvas.tissue]
        beside = (kidney[1:] & psoas[:-1]).sum() + (kidney[:-1] & psoas[1:]).sum()
        return MM * float(beside + (kidney[:, 1:] & psoas[:, :-1]).sum() + (kidney[:, :-1] & psoas[:, 1:]).sum())

    assert border(1.0) > max(2 * border(0.0), 20)


def test_gas_stands_over_the_fluid_of_the_stomach() -> None:
    slices, _ = stack()
    gas, fluid = places(slices, "bowel_gas"), places(slices, "bowel_fluid")
    assert min(len(gas), len(fluid)) > 100
    assert gas[:, 1].min() > fluid[:, 1].max()


def test_men_and_women_have_their_own_organs() -> None:
    man, woman = stack("M", 1), stack("F", 2)
    for slices, body in (man, woman):
        bladder, organ = places(slices, "bladder"), places(slices, "reproductive_organ")
        top = body.frame.heights["symphysis_top"]
        assert len(organ) > 100
        assert abs(bladder[:, 0].mean()) < 8
        assert bladder[:, 2].max() > top
    (slices_m, man_body), (slices_f, _) = man, woman
    prostate, uterus = places(slices_m, "reproductive_organ"), places(slices_f, "reproductive_organ")
    assert prostate[:, 2].mean() < places(slices_m, "bladder")[:, 2].mean()
    assert np.ptp(uterus[:, 2]) > np.ptp(prostate[:, 2])
    assert len(places(slices_f, "external_genitals")) == 0
    genitals = places(slices_m, "external_genitals")
    assert len(genitals) > 100
    assert genitals[:, 2].min() < man_body.frame.heights["symphysis_bottom"]


def test_the_room_has_its_walls_where_the_relative_coordinates_say() -> None:
    frame = make_frame(Person(), 3)
    room, inner = Room(frame), Trunk(frame).inner(40.0)
    assert room.x(40.0, 1.0) == pytest.approx(inner[:, 0].max(), abs=0.5)
    assert room.x(40.0, -1.0) == pytest.approx(inner[:, 0].min(), abs=0.5)
    assert room.y(40.0, 1.0) == pytest.approx(inner[len(inner) // 4, 1], abs=0.5)
    assert room.y(40.0, 0.0) == pytest.approx(frame.column(40.0)[1] + 17.0, abs=0.5)
