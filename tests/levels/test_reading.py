"""What is said of a numbered spine: L3 or why not, variants, and what speaks against the answer."""

from __future__ import annotations

import numpy as np
import pytest

from lib.levels.decoding import number_rows
from lib.levels.ensemble import Rows
from lib.levels.reading import APLASIA, HYPOPLASIA, RUDIMENT, SACRALISATION, SIX, read_levels
from lib.levels.targets import IDENTITIES, RIB

SPINE = {"below": 40, "S1": 15, "L5": 17, "L4": 19, "L3": 19, "L2": 18, "L1": 17, "T12": 16, "T11": 15, "T10": 14}
"""Rows of 2 mm, from foot to head."""
NORMAL = {"T12": "normal", "T11": "normal", "T10": "normal"}


def drawn(spine=SPINE, ribs=NORMAL, transitional=(), sure=0.8):
    identity, endplate, superior, rib, change = [], [], [], [], []
    for level, length in spine.items():
        column = np.full(len(IDENTITIES), (1 - sure) / (len(IDENTITIES) - 1))
        column[IDENTITIES.index(level)] = sure
        identity += [column] * length
        endplate += [0.02 if level in ("below", "S1") else 0.95, *[0.02] * (length - 1)]
        superior += [*[0.02] * (length - 5), 0.95, *[0.02] * 4]
        carries = np.full(len(RIB), 0.05)
        carries[RIB.index(ribs.get(level, "none"))] = 0.9
        rib += [carries] * length
        change += [0.9 if level in transitional else 0.02] * length
    identity, endplate = np.array(identity).T, np.array(endplate)
    numbering = number_rows(identity, endplate)
    return Rows(
        identity=identity,
        endplate=endplate,
        superior=np.array(superior),
        rib=np.array(rib).T,
        crest=np.zeros(len(endplate)),
        transitional=np.array(change),
        numbering=numbering,
        l3_by_fold=np.stack([numbering.endplate["L3"]] * 2),
    )


def read(rows):
    n = len(rows.endplate)
    return read_levels(rows, np.arange(n) * 2.0, slices=n, slice_mm=2.0)


def without(*names):
    return {level: length for level, length in SPINE.items() if level not in names}


def test_a_normal_spine():
    found = read(drawn())
    assert found.l3_slice == SPINE["below"] + 15 + 17 + 19
    assert found.confidence > 0.9
    assert (found.warnings, found.variants) == ((), ())
    levels = {level.name: level for level in found.levels}
    assert next(iter(levels)) == "T10"
    assert list(levels)[-1] == "S1"
    l3 = levels["L3"]
    assert l3.inferior == pytest.approx(found.l3_slice, abs=1)
    assert l3.superior == pytest.approx(found.l3_slice + 14, abs=1)
    assert levels["S1"].inferior_mm is None


def test_six_lumbar_vertebrae_do_not_fit_between_ribs_and_sacrum():
    six = {"below": 40, "S1": 15, "L6": 17} | without("below", "S1")
    found = read(drawn(six))
    assert found.variants == (SIX,)
    assert "6 vertebrae instead of 5" in found.warnings[0]
    assert found.l3_slice == 40 + 15 + 17 + 17 + 19


@pytest.mark.parametrize(
    ("ribs", "variant"),
    [
        ({"T12": "none"}, APLASIA),
        ({"T12": "short"}, HYPOPLASIA),
        ({"L1": "short"}, RUDIMENT),
    ],
)
def test_ribs_that_are_not_as_usual(ribs, variant):
    assert read(drawn(ribs=NORMAL | ribs)).variants == (variant,)


def test_a_sacralised_vertebra():
    assert read(drawn(transitional=("L5",))).variants == (SACRALISATION,)


def test_l3_out_of_view_is_said_with_what_is_in_view():
    found = read(drawn({level: SPINE[level] for level in ("L1", "T12", "T11", "T10")}))
    assert found.l3_slice is None
    assert "L1" in found.warnings[0]


def test_a_view_that_does_not_settle_the_numbering_is_uncertain_with_its_candidates():
    lumbar = {level: SPINE[level] for level in ("L4", "L3", "L2", "L1")}
    rows = drawn(lumbar, sure=0.8)
    rows = drawn_anew(rows, (rows.identity + np.roll(rows.identity, 1, axis=0)) / 2)
    found = read(rows)
    assert found.l3_slice is None
    assert "uncertain" in found.warnings[0]
    slices = [index for _, index in found.candidates]
    assert len(slices) >= 2


def test_vertebrae_told_by_their_look_alone_are_never_called_certain():
    found = read(drawn(without("below", "S1", "T12", "T11", "T10"), ribs={}))
    assert "by their look alone" in " ".join(found.warnings)
    assert found.l3_slice is not None
    assert found.confidence <= 0.75


def test_folds_that_disagree_lower_the_confidence():
    rows = drawn()
    one_off = number_rows(np.roll(rows.identity, 1, axis=0), rows.endplate)
    together = drawn_anew(rows, rows.identity, by_fold=[rows.numbering, one_off])
    assert read(together).confidence == pytest.approx(read(rows).confidence / 2, abs=0.01)


def drawn_anew(rows, identity, by_fold=None):
    numbering = number_rows(identity, rows.endplate)
    l3 = np.stack([each.endplate["L3"] for each in by_fold or [numbering]])
    return Rows(**{**vars(rows), "identity": identity, "numbering": numbering, "l3_by_fold": l3})


@pytest.mark.parametrize(("spine", "said"), [({"below": 90}, "No spine"), ({"L3": 19, "L2": 10}, "Too few")])
def test_too_little_of_a_spine(spine, said):
    found = read(drawn(spine))
    assert found.l3_slice is None
    assert said in found.warnings[0]
