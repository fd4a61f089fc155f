"""Dice, sensitivity and PPV against numbers computed by hand."""

import numpy as np
import pytest

from lib.measures.overlap import Overlap, dice, overlaps

IDS = {"psoas": 1, "paraspinal": 2, "abdominal_wall": 3}


def test_dice_of_each_class_is_twice_the_common_voxels_over_both():
    a = np.array([[1, 1, 1, 2], [0, 2, 2, 0]])
    b = np.array([[1, 1, 0, 2], [0, 0, 0, 2]])
    found = dice(a, b, IDS)
    assert found["psoas"] == pytest.approx(2 * 2 / (3 + 2))
    assert found["paraspinal"] == pytest.approx(2 * 1 / (3 + 2))


def test_a_class_that_neither_holds_has_no_dice_and_one_that_only_one_holds_has_zero():
    a, b = np.array([1, 0]), np.array([0, 2])
    assert dice(a, b, IDS) == {"psoas": 0.0, "paraspinal": 0.0, "abdominal_wall": None}


def test_unsigned_bytes_do_not_overflow():
    a = np.full(300, 29, np.uint8)
    assert dice(a, a, {"iliac_bone": 29}) == {"iliac_bone": 1.0}


def test_labels_of_different_shapes_are_an_error():
    with pytest.raises(ValueError, match="shape"):
        dice(np.zeros((2, 2)), np.zeros((2, 3)), IDS)


def test_classes_that_were_not_asked_for_do_not_matter():
    a, b = np.array([1, 1, 3, 2, 0]), np.array([1, 0, 3, 3, 2])
    assert dice(a, b, {"psoas": 1}) == {"psoas": pytest.approx(2 / 3)}


class TestSensitivityAndPPV:
    def test_share_of_the_reference_that_was_found_and_of_the_found_that_is_right(self):
        reference = np.asfortranarray([[1, 1, 1, 1], [2, 2, 0, 0]])
        found = np.array([[1, 1, 0, 0], [2, 2, 2, 1]], np.uint8)
        result = overlaps(found, reference, IDS)
        assert result["psoas"] == Overlap(dice=pytest.approx(4 / 7), sensitivity=0.5, ppv=pytest.approx(2 / 3))
        assert result["paraspinal"] == Overlap(dice=pytest.approx(4 / 5), sensitivity=1.0, ppv=pytest.approx(2 / 3))

    def test_a_class_that_is_nowhere_has_no_value_and_one_on_one_side_only_has_no_overlap(self):
        result = overlaps(np.array([1, 0]), np.array([0, 2]), IDS)
        assert result["psoas"] == Overlap(dice=0.0, sensitivity=None, ppv=0.0)
        assert result["paraspinal"] == Overlap(dice=0.0, sensitivity=0.0, ppv=None)
        assert result["abdominal_wall"] == Overlap(dice=None, sensitivity=None, ppv=None)

    def test_a_volume_larger_than_a_piece_is_counted_whole(self):
        a = np.ones((128, 128, 130), np.uint8)
        b = a.copy(order="F")
        b[:, :, 65:] = 2
        assert overlaps(a, b, IDS)["psoas"] == Overlap(dice=pytest.approx(2 / 3), sensitivity=1.0, ppv=0.5)
