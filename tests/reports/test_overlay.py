"""A picture shows the patient as radiologists look at one: the right on the left, the front on top."""

import matplotlib.image
import numpy as np
import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.images import CTImage
from lib.reports.overlay import axial_panel, frontal_panel, write_sheet

RED = np.array(L3_MUSCLE["psoas"].color) / 255


def volume():
    """Air with a psoas label in the patient's right front head corner."""
    image = CTImage(hu=np.full((20, 20, 20), -1000, np.int16), affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    label = np.zeros(image.shape, np.uint8)
    label[14:, 14:, 14:] = L3_MUSCLE.ids["psoas"]
    return image, label


def centre_of_colour(path) -> tuple[float, float]:
    """Row and column of the drawn label as fractions of the black picture, leaving the legend out."""
    picture = matplotlib.image.imread(path)[..., :3]
    black = np.argwhere(picture.sum(axis=2) < 0.05)
    low, high = black.min(axis=0), black.max(axis=0)
    drawn = np.argwhere(np.abs(picture - RED / 2).sum(axis=2) < 0.1)
    drawn = drawn[((drawn >= low) & (drawn <= high)).all(axis=1)]
    row, column = (drawn.mean(axis=0) - low) / (high - low)
    return row, column


@pytest.mark.parametrize("panel", [axial_panel, frontal_panel])
def test_the_patients_right_is_on_the_left_and_front_or_head_is_up(tmp_path, panel):
    image, label = volume()
    write_sheet(tmp_path / "a.png", [panel(image, 16, title="", label=label, schema=L3_MUSCLE)], columns=1)
    row, column = centre_of_colour(tmp_path / "a.png")
    assert row < 0.4
    assert column < 0.4


def test_a_plane_without_label_is_drawn_as_it_is(tmp_path):
    image, _ = volume()
    write_sheet(tmp_path / "a.png", [axial_panel(image, 0, title="", schema=None)], columns=1)
    picture = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
    assert np.ptp(picture, axis=2).max() == 0


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_pictures_for_print(tmp_path, suffix):
    image, label = volume()
    path = tmp_path / f"a{suffix}"
    write_sheet(path, [axial_panel(image, 16, title="", label=label, schema=L3_MUSCLE)] * 3, columns=2, footer="x")
    assert path.stat().st_size > 1000
