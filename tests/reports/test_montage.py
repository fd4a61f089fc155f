"""One picture of a CT from end to end: labels in their own colours, slices numbered as in the file."""

import io

import numpy as np
import pytest
from PIL import Image

from lib.anatomy.schemas import BODY_COMPOSITION, THIGH_MUSCLES, LabelSchema
from lib.images import CTImage
from lib.reports import montage
from lib.reports.montage import draw_montage


def ct():
    """A block of fat and muscle, slices counted from the head."""
    hu = np.full((40, 30, 21), -1000, np.int16)
    hu[8:32, 6:24] = 0
    label = np.zeros(hu.shape, np.uint8)
    for number, structure in enumerate(BODY_COMPOSITION):
        label[9 + 3 * number : 12 + 3 * number, 8:22] = structure.id
    return CTImage(hu=hu, affine=np.diag([3.0, 3.0, -5.0, 1.0])), label


def picture(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_every_class_has_its_colour_in_the_picture_and_in_the_legend():
    image, label = ct()
    drawn = picture(draw_montage(image.canonical(), {"ours": label}, BODY_COMPOSITION, in_file=image, slices=4))
    for structure in BODY_COMPOSITION:
        legend = np.array(structure.color)
        over_water = 0.5 * legend + 0.5 * 255 * 0.375  # window 400 at level 50
        for colour in (legend, over_water):
            assert (np.abs(drawn - colour).max(axis=2) < 9).sum() > 20, structure.name


def test_the_legend_has_what_is_drawn_and_room_below_the_pictures():
    image, label = ct()
    for count in (1, len(THIGH_MUSCLES)):
        shown = (np.arange(label.size) % (count + 1)).reshape(label.shape).astype(np.uint8)
        drawn = picture(draw_montage(image.canonical(), {"a": shown}, THIGH_MUSCLES, in_file=image, slices=5))
        filled = np.flatnonzero(drawn.min(axis=(1, 2)) < 240)
        pictures, legend = np.split(filled, np.flatnonzero(np.diff(filled) > 12) + 1)[-2:]
        assert len(pictures) > 100 > len(legend)
        in_legend = [
            structure.name
            for structure in THIGH_MUSCLES
            if (np.abs(drawn[legend] - structure.color).max(axis=2) < 9).sum() > 20
        ]
        assert in_legend == list(THIGH_MUSCLES.names[:count])


@pytest.mark.parametrize("labels", [0, 1, 2])
def test_labels_are_drawn_one_below_the_other_and_a_ct_without_any_as_it_is(labels):
    image, label = ct()
    given = {f"label {number}": label for number in range(labels)}
    drawn = picture(draw_montage(image.canonical(), given, BODY_COMPOSITION, in_file=image, slices=3))
    one = picture(draw_montage(image.canonical(), {"a": label}, BODY_COMPOSITION, in_file=image, slices=3))
    assert (drawn.shape[0] > one.shape[0]) is (labels == 2)
    assert bool(np.ptp(drawn, axis=2).max() < 9) is (labels == 0)


def test_slices_are_numbered_as_in_the_file_from_head_to_foot(monkeypatch):
    titles = []
    monkeypatch.setattr(montage, "draw_panel", lambda _, panel, **__: titles.append(panel.title))
    image, label = ct()
    draw_montage(image.canonical(), {"a": label}, LabelSchema("none", ()), in_file=image, slices=4)
    assert titles == ["frontal", "sagittal", "slice 4", "slice 8", "slice 12", "slice 16"]
