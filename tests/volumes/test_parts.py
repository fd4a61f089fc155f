"""What is dropped lies apart and is small; both legs, a short stump and touching structures stay."""

from __future__ import annotations

import numpy as np
import pytest

from lib.volumes.parts import drop_small_parts


@pytest.mark.parametrize("order", ["C", "F"])
def test_islands_go_and_pairs_stay(order):
    label = np.zeros((60, 30, 40), np.uint8, order=order)
    label[5:15, 10:20, 5:35] = 2
    label[40:50, 10:20, 30:35] = 2  # the other leg, a sixth as long
    label[15:18, 10:20, 5:35] = 3  # touches the first
    wanted = label.copy()
    label[20:22, 20:22, 2:5] = 2
    label[10:12, 12:14, 10:12] = 3  # within the other structure
    wanted[10:12, 12:14, 10:12] = 0
    label[55, 25, 39] = 4  # the only piece of its class
    wanted[55, 25, 39] = 4
    drop_small_parts(label, 0.02)
    assert np.array_equal(label, wanted)


def test_nothing_is_left_as_it_is():
    label = np.zeros((5, 5, 5), np.uint8)
    drop_small_parts(label, 0.02)
    assert not label.any()
