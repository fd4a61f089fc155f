"""Ascites and tumours: where they begin, what they replace, and that they grow with their strength."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lib.phantoms.body import Body
from lib.phantoms.canvas import Grid
from lib.phantoms.frame import make_frame
from lib.phantoms.parts.bowel import Bowel
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.illness import Illness, Tumour
from lib.phantoms.parts.organ_room import Room
from lib.phantoms.parts.organs import Organs
from lib.phantoms.parts.psoas import Psoas
from lib.phantoms.parts.vessels import Vessels
from lib.phantoms.parts.wall import Wall
from lib.phantoms.person import Person
from lib.phantoms.tissues import ids, label_table

MM = 2.0
GRID = Grid(-180.0, MM, 181, -110.0, MM, 111)
STEP_MM = 20.0
HEIGHTS = np.arange(-140.0, 160.0, STEP_MM)
PARTS = (Cover, Wall, Psoas, Organs, Vessels, Bowel)


@cache
def stack(ill: bool, seed: int = 1, **strengths: float) -> np.ndarray:
    """Tissues (z, x, y) at HEIGHTS of a person with the conditions, with the illness drawn or left out."""
    frame = make_frame(Person(conditions=strengths), seed)
    body = Body(frame, (*PARTS, Illness) if ill else PARTS)
    return np.stack([body.slice(GRID, float(z)).tissue for z in HEIGHTS])


def test_a_healthy_person_has_neither() -> None:
    assert not ids(("ascites", "tumour"))[stack(ill=True)].any()


def test_ascites_grows_with_its_strength_and_replaces_peritoneal_fat_only() -> None:
    amounts = []
    for strength in (0.3, 0.6, 1.0):
        before, after = stack(ill=False, ascites=strength), stack(ill=True, ascites=strength)
        changed = before != after
        assert ids("peritoneal_fat")[before[changed]].all()
        assert ids("ascites")[after[changed]].all()
        amounts.append(changed.sum() * MM * MM * STEP_MM / 1000)
    assert (np.diff(amounts) > 100).all()
    assert amounts[-1] > 1500


def test_it_begins_in_the_flanks() -> None:
    at_l3 = np.flatnonzero(np.abs(HEIGHTS) <= 20)
    beginning, severe = (ids("ascites")[stack(ill=True, ascites=strength)[at_l3]] for strength in (0.3, 1.0))

    def from_middle(fluid: np.ndarray) -> float:
        return float(np.abs(GRID.x0 + MM * np.nonzero(fluid)[1]).mean())

    assert beginning.any()
    assert from_middle(beginning) > 60
    assert from_middle(severe) < from_middle(beginning)


def test_the_mesentery_stays_fat_at_full_strength() -> None:
    tissue = stack(ill=True, ascites=1.0)[np.flatnonzero(np.abs(HEIGHTS) <= 20)]
    middle = np.abs(GRID.x0 + MM * np.arange(GRID.nx)) < 50
    assert ids("peritoneal_fat")[tissue][:, middle].sum() > 200
    assert ids("retroperitoneal_fat")[tissue].any()


def test_a_tumour_is_20_to_90_mm_and_grows() -> None:
    for seed in range(1, 9):
        frame = make_frame(Person(conditions={"tumour": 1.0}), seed)
        small, large = (
            Tumour(make_frame(Person(conditions={"tumour": strength}), seed), Room(frame)) for strength in (0.05, 1.0)
        )
        assert small.site == large.site
        assert 9 <= small.radius < large.radius <= 45


def test_tumours_arise_in_organs_and_in_muscle() -> None:
    sites = set()
    for seed in range(40):
        frame = make_frame(Person(conditions={"tumour": 0.5}), seed)
        sites.add(Tumour(frame, Room(frame)).site)
    assert sites == {"liver", "retroperitoneum", "bowel", "psoas", "wall"}


def _seed_with(site: str) -> int:
    for seed in range(60):
        frame = make_frame(Person(conditions={"tumour": 0.8}), seed)
        if Tumour(frame, Room(frame)).site == site:
            return seed
    raise AssertionError(site)


@pytest.mark.parametrize(("site", "replaced"), [("psoas", "psoas_major"), ("liver", "liver"), ("wall", "wall")])
def test_a_tumour_takes_the_place_of_its_site_and_is_no_muscle(site: str, replaced: str) -> None:
    seed = _seed_with(site)
    before, after = stack(ill=False, seed=seed, tumour=0.8), stack(ill=True, seed=seed, tumour=0.8)
    mass = ids("tumour")[after]
    assert np.array_equal(mass, before != after)
    assert mass.sum() * MM * MM * STEP_MM / 1000 > 3
    wall = ("external_oblique", "internal_oblique", "transversus_abdominis", "rectus_abdominis")
    taken = ids(wall if replaced == "wall" else replaced)[before[mass]]
    assert taken.mean() > 0.25
    assert not label_table("l3_muscle")[after[mass]].any()
