"""What is learnt from the forms in which annotators mark levels, on a straight drawn spine."""

from __future__ import annotations

import numpy as np
import pytest

from lib.anatomy.schemas import L3_SLICE
from lib.cold_start.spine_axis import SpineCourse
from lib.images import CTImage
from lib.levels.targets import IDENTITIES, RIB, UNKNOWN, targets_of

ROWS = 100
SHAPE = (80, 50, ROWS)
BODIES = {"T12": (70, 82), "L1": (56, 68), "L2": (44, 54), "L3": (32, 42), "L4": (20, 30), "L5": (10, 18), "S1": (2, 8)}
"""Slices of 2 mm, from the first to one past the last."""


@pytest.fixture
def course():
    line = np.stack([np.full(ROWS, 50.0), np.full(ROWS, 50.0), np.arange(ROWS) * 2.0], axis=1)
    x, y, z = (np.tile(np.eye(3)[i], (ROWS, 1)) for i in range(3))
    return SpineCourse(line=line, tangent=z, side=x, front=y, strength=np.ones(ROWS, np.float32))


@pytest.fixture
def image():
    return CTImage(hu=np.zeros(SHAPE, np.int16), affine=np.diag([2.0, 2.0, 2.0, 1.0]))


def drawn(*names):
    label = np.zeros(SHAPE, np.uint8)
    for name in names:
        low, high = BODIES[name]
        label[20:30, 20:30, low:high] = L3_SLICE.ids[f"vertebra_{name}"]
    return label


def rows_of(targets, level):
    return np.flatnonzero(targets.identity == IDENTITIES.index(level))


def test_a_vertebra_owns_its_body_and_the_disc_above_it(image, course):
    targets = targets_of(image, drawn(*BODIES), course)
    for level, above in (("L4", "L3"), ("L2", "L1"), ("S1", "L5")):
        rows = rows_of(targets, level)
        assert (rows[0], rows[-1] + 1) == (BODIES[level][0], BODIES[above][0])
    assert rows_of(targets, "below").tolist() == [0, 1]
    assert (targets.identity[BODIES["T12"][1] :] == UNKNOWN).all()


def test_endplates_are_where_bodies_begin_and_nowhere_else(image, course):
    heat = targets_of(image, drawn(*BODIES), course).endplate
    for level, (low, high) in BODIES.items():
        if level != "S1":
            assert heat[low - 1 : low + 1].max() > 0.9
            assert heat[(low + high) // 2] < 0.1


def test_what_was_not_marked_is_not_known(image, course):
    targets = targets_of(image, drawn("L3"), course)
    assert np.flatnonzero(targets.identity != UNKNOWN).tolist() == [*range(26, 42)]
    assert {IDENTITIES[i] for i in targets.identity[26:42]} == {"L3", "L4"}
    assert np.isnan(targets.endplate[60:]).all()
    assert np.isnan(targets.crest).all()
    assert (targets.rib == UNKNOWN).all()


def test_the_chosen_slice_alone_tells_the_rows_around_it(image, course):
    label = np.zeros(SHAPE, np.uint8)
    label[5:8, 5:8, 40] = L3_SLICE.ids["l3_slice"]
    targets = targets_of(image, label, course)
    assert rows_of(targets, "L3").tolist() == [*range(40, 46)]
    assert rows_of(targets, "L4").tolist() == [*range(34, 40)]
    assert targets.endplate[40] == pytest.approx(1)
    assert np.isnan(targets.endplate[[20, 60]]).all()


def test_a_mark_beside_a_slanted_spine_means_its_slice(image):
    lean = np.deg2rad(20)
    z = np.arange(ROWS) * 2.0 * np.cos(lean)
    line = np.stack([np.full(ROWS, 50.0), 30 + np.arange(ROWS) * 2.0 * np.sin(lean), z], axis=1)
    tangent = np.tile([0.0, np.sin(lean), np.cos(lean)], (ROWS, 1))
    front = np.tile([0.0, np.cos(lean), -np.sin(lean)], (ROWS, 1))
    side = np.tile([1.0, 0.0, 0.0], (ROWS, 1))
    course = SpineCourse(line=line, tangent=tangent, side=side, front=front, strength=np.ones(ROWS, np.float32))
    label = np.zeros(SHAPE, np.uint8)
    label[70:73, 2:5, 40] = L3_SLICE.ids["l3_slice"]
    row = int(np.argmax(np.nan_to_num(targets_of(image, label, course).endplate)))
    assert z[row] == pytest.approx(80.0, abs=1.0)


def test_a_vertebra_that_was_passed_over_is_not_the_one_below(image, course):
    targets = targets_of(image, drawn("L3", "L4", "S1"), course)
    assert rows_of(targets, "S1").tolist() == [*range(2, 8)]
    assert (targets.identity[8:20] == UNKNOWN).all()


def test_below_the_only_vertebra_that_is_marked_another_superior_endplate_may_lie(image, course):
    assert np.isnan(targets_of(image, drawn("L3"), course).superior[:32]).all()


@pytest.mark.parametrize(("length_mm", "kind"), [(44, "normal"), (36, "short"), (30, "short")])
def test_a_rib_counts_from_its_length(image, course, length_mm, kind):
    label = drawn(*BODIES)
    label[31 : 32 + length_mm // 2, 24, 76] = L3_SLICE.ids["last_rib"]
    rib = targets_of(image, label, course).rib
    assert {RIB[i] for i in rib[70:82]} == {kind}
    assert {RIB[i] for i in rib[2:56]} == {"none"}


def test_a_transitional_vertebra_is_the_one_that_is_marked(image, course):
    label = drawn(*BODIES)
    assert set(targets_of(image, label, course).transitional) == {UNKNOWN}
    label[60:62, 24, 22] = L3_SLICE.ids["iliac_crest"]  # marked by who marks everything
    assert set(targets_of(image, label, course).transitional[:82]) == {0}
    label[24:26, 24:26, 13:15] = L3_SLICE.ids["transitional_vertebra"]
    found = targets_of(image, label, course).transitional
    assert np.flatnonzero(found == 1).tolist() == [*range(10, 20)]


def test_no_identity_is_learnt_from_a_label_without_levels(image, course):
    label = np.zeros(SHAPE, np.uint8)
    label[10, 10, 10] = L3_SLICE.ids["iliac_crest"]
    targets = targets_of(image, label, course)
    assert (targets.identity == UNKNOWN).all()
    assert np.isnan(targets.endplate).all()
    assert targets.crest[10] == pytest.approx(1)
