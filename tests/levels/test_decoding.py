"""Numbering a spine from what is said of every row: what is known stays known, and what is not stays open."""

from __future__ import annotations

import numpy as np
import pytest

from lib.levels.decoding import endplates_of_each, number_rows
from lib.levels.targets import IDENTITIES

LENGTHS = {"below": 40, "S1": 15, "L5": 17, "L4": 19, "L3": 19, "L2": 18, "L1": 17, "T12": 16, "T11": 15, "T10": 14}
"""Rows, from foot to head."""


def rows(lengths=LENGTHS, sure=0.6):
    """Identities and endplates of a drawn spine; ``sure`` is what the right level gets."""
    identity, endplate = [], []
    for level, length in lengths.items():
        column = np.full(len(IDENTITIES), (1 - sure) / (len(IDENTITIES) - 1))
        column[IDENTITIES.index(level)] = sure
        identity += [column] * length
        endplate += [0.05 if level in ("below", "S1") else 0.9, *[0.05] * (length - 1)]
    return np.array(identity).T, np.array(endplate)


def first_row(level, lengths=LENGTHS):
    names = list(lengths)
    return sum(lengths[name] for name in names[: names.index(level)])


def test_a_clear_spine_is_numbered_as_it_is():
    numbering = number_rows(*rows())
    assert [level for level, _, _ in numbering.path] == list(LENGTHS)
    l3 = numbering.endplate["L3"]
    assert l3.argmax() == first_row("L3")
    assert l3.sum() == pytest.approx(1, abs=0.01)


def test_a_sixth_lumbar_vertebra_is_found_where_there_is_evidence_for_it():
    six = {"below": 20, "S1": 15, "L6": 17} | {k: v for k, v in LENGTHS.items() if k not in ("below", "S1")}
    numbering = number_rows(*rows(six))
    assert [level for level, _, _ in numbering.path] == list(six)
    assert numbering.endplate["L3"].argmax() == first_row("L3", six)


def test_without_evidence_no_level_is_sure():
    identity, endplate = rows()
    numbering = number_rows(np.full_like(identity, 1 / len(IDENTITIES)), endplate)
    for mass in numbering.endplate.values():
        assert np.convolve(mass, np.ones(7)).max() < 0.4


def test_what_is_out_of_view_is_not_in_the_image():
    upper = {name: LENGTHS[name] for name in ("L1", "T12", "T11", "T10")}
    numbering = number_rows(*rows(upper))
    assert numbering.endplate["L3"].sum() < 0.01
    assert numbering.path[0] == ("L1", 0, LENGTHS["L1"])
    assert numbering.endplate["L1"].sum() < 0.1  # cut off by the edge of the image


def test_two_readings_that_both_fit_keep_their_share():
    identity, endplate = rows({name: LENGTHS[name] for name in list(LENGTHS)[2:8]})
    shifted = np.roll(identity, 1, axis=0)
    numbering = number_rows((identity + shifted) / 2, endplate)
    l3 = numbering.endplate["L3"]
    start = first_row("L3") - first_row("L5")
    here, above = (l3[max(0, row - 3) : row + 4].sum() for row in (start, start + LENGTHS["L3"]))
    below = l3[max(0, start - LENGTHS["L4"] - 3) : start - LENGTHS["L4"] + 4].sum()
    assert here > 0.2
    assert max(above, below) > 0.2


def test_an_endplate_that_was_missed_does_not_shift_the_numbering():
    identity, endplate = rows()
    endplate[first_row("L2")] = 0.05
    numbering = number_rows(identity, endplate)
    assert [level for level, _, _ in numbering.path] == list(LENGTHS)


def test_several_spines_at_once_are_read_as_each_alone():
    without_l5 = {name: length for name, length in LENGTHS.items() if name != "L5"}
    spines = [rows(), rows(without_l5)]
    shortest = min(each[0].shape[1] for each in spines)
    identity = np.stack([each[0][:, :shortest] for each in spines])
    endplate = np.stack([each[1][:shortest] for each in spines])
    together = endplates_of_each(identity, endplate)
    for number in range(2):
        alone = number_rows(identity[number], endplate[number]).endplate
        np.testing.assert_allclose(together["L3"][number], alone["L3"], atol=1e-12)
        assert alone["L3"].sum() > 0.5
