"""The metrics of Kim 2024 on labels whose values are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lib.measures.quality import qualities

IDS = {"sartorius": 1, "gracilis": 2, "femur": 3, "iliacus": 4}
SPACING = (1.0, 2.0, 3.0)


def labels() -> tuple[np.ndarray, np.ndarray]:
    found, reference = np.zeros((2, 20, 20, 20), np.uint8)
    reference[2:8, 2:8, 2:8] = 1
    found[2:8, 2:8, 2:5] = 1  # half of it
    reference[10:12, 10:12, 10:12] = 2  # missed
    found[15:17, 15:17, 15:17] = 3  # not there
    return found, reference


def test_a_half_found_structure():
    one = qualities(*labels(), IDS, SPACING)["sartorius"]
    assert one.dice == pytest.approx(2 * 108 / (108 + 216))
    assert (one.found_mm3, one.reference_mm3) == (108 * 6, 216 * 6)
    assert one.ravd_percent == pytest.approx(50)
    assert one.hausdorff_mm == pytest.approx(9)  # three slices of 3 mm
    assert not one.missed
    assert not one.invented


def test_too_much_is_as_wrong_as_too_little():
    found, reference = labels()
    assert qualities(reference, found, IDS, SPACING)["sartorius"].ravd_percent == pytest.approx(100)


def test_a_missed_structure_counts_in_dice_and_volume_and_has_no_distance():
    one = qualities(*labels(), IDS, SPACING)["gracilis"]
    assert (one.dice, one.ravd_percent, one.assd_mm, one.hausdorff_mm) == (0, 100, None, None)
    assert one.missed


def test_a_structure_that_the_reference_lacks_has_no_relative_difference():
    one = qualities(*labels(), IDS, SPACING)["femur"]
    assert (one.dice, one.ravd_percent, one.assd_mm) == (0, None, None)
    assert one.invented


def test_what_neither_holds_has_no_value():
    one = qualities(*labels(), IDS, SPACING)["iliacus"]
    assert (one.dice, one.ravd_percent, one.assd_mm, one.hausdorff_mm) == (None, None, None, None)
    assert not one.missed
    assert not one.invented


def test_values_that_are_not_asked_for_do_not_matter():
    found, reference = labels()
    found[0], reference[0] = 9, 0
    assert qualities(found, reference, {"sartorius": 1}, SPACING) == {
        "sartorius": qualities(*labels(), IDS, SPACING)["sartorius"]
    }
