"""Knee, lower leg and foot: bones and muscles lie on their sides, and inside the leg."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, make_frame
from lib.phantoms.parts.cover import Cover
from lib.phantoms.parts.lower_legs import LowerLegs
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import ids

LEG_BONE = ("lower_leg_bone_cortex", "lower_leg_bone_marrow")
FOOT_BONE = ("foot_bone_cortex", "foot_bone_marrow")
PATELLA = ("patella_cortex", "patella_marrow")


RIGHT_CORNER = np.array([1, -130])
"""x and y, mm, of the first voxel of what `right` gives."""


def frame_of(seed: int = 1, *, lumbar: int = 5) -> Frame:
    return make_frame(Person(variant=Variant(lumbar=lumbar)), seed)


def cuts(frame: Frame, heights: Iterable[float], *, bare: bool = False) -> Iterator[Canvas]:
    """Slices through both legs; `bare` leaves out all but skin and fat."""
    parts = [Cover(frame), *([] if bare else [LowerLegs(frame)])]
    for z in heights:
        canvas = Canvas(Grid(-180.0, 1.0, 361, -130.0, 1.0, 361), float(z))
        for part in parts:
            part.paint(canvas)
        yield canvas


def cut(frame: Frame, z: float) -> Canvas:
    return next(cuts(frame, [z]))


def right(canvas: Canvas, *names: str) -> np.ndarray:
    """Where the right leg is of some tissues, x from 1 mm and y from -130 mm on."""
    return ids(names)[canvas.tissue[181:]]


def largest_first(flags: np.ndarray) -> list[np.ndarray]:
    """The x and y of the pieces' middles, mm."""
    labels, count = ndimage.label(flags)
    by_size = sorted(range(1, count + 1), key=lambda i: -(labels == i).sum())
    return [np.argwhere(labels == i).mean(axis=0) + RIGHT_CORNER for i in by_size]


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_the_sole_is_skin_over_a_pad_of_fat_over_the_bones(lumbar: int) -> None:
    frame = frame_of(lumbar=lumbar)
    sole = frame.heights["sole"]
    under, skin, pad, foot = (set(np.unique(canvas.tissue)) for canvas in cuts(frame, sole + np.array([-1, 1, 3, 12])))
    air, bone = set(np.flatnonzero(ids("air"))), set(np.flatnonzero(ids(FOOT_BONE)))
    assert under == air
    assert skin == air | set(np.flatnonzero(ids("skin")))
    assert pad == skin | set(np.flatnonzero(ids("subcutaneous_fat")))
    assert foot >= bone


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_the_fibula_lies_at_the_outer_side_of_the_tibia_and_behind_it(lumbar: int) -> None:
    frame = frame_of(lumbar=lumbar)
    knee, ankle = frame.heights["knee"], frame.heights["ankle"]
    for canvas in cuts(frame, [knee + share * (ankle - knee) for share in (0.2, 0.4, 0.6, 0.8)]):
        tibia, fibula = largest_first(right(canvas, *LEG_BONE))
        assert fibula[0] > tibia[0] + 15
        assert fibula[1] < tibia[1]


def test_extensors_lie_in_front_of_the_flexors_which_are_larger() -> None:
    frame = frame_of()
    canvas = cut(frame, frame.heights["knee"] - 130)
    flexors, extensors = right(canvas, "calf_flexors"), right(canvas, "calf_extensors")
    assert np.argwhere(extensors)[:, 1].mean() > np.argwhere(flexors)[:, 1].mean() + 20
    assert flexors.sum() > 1.5 * extensors.sum()


def test_the_kneecap_lies_in_front_of_the_knee() -> None:
    frame = frame_of()
    patella = right(cut(frame, frame.heights["knee"] + 23), *PATELLA)
    x, y = np.argwhere(patella).mean(axis=0) + RIGHT_CORNER
    assert 85 < x < 105
    assert y > 0
    assert 38 <= np.flatnonzero(patella.any(axis=1)).size <= 50


def test_the_foot_has_five_rays_with_the_big_toe_inside() -> None:
    frame = frame_of()
    ankle = frame.heights["ankle"]
    rays = np.any([right(canvas, *FOOT_BONE) for canvas in cuts(frame, ankle - np.arange(45, 76, 5.0))], axis=0)
    across = rays[:, 85 - RIGHT_CORNER[1]]
    labels, count = ndimage.label(across)
    assert count == 5
    assert (labels == 1).sum() == np.bincount(labels)[1:].max()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_everything_stays_inside_the_skin(seed: int) -> None:
    frame = frame_of(seed)
    drawn = ("calf_flexors", "calf_extensors", "foot_muscle", *LEG_BONE, *FOOT_BONE, *PATELLA)
    heights = np.arange(frame.heights["sole"] + 3, frame.heights["knee"] + 50, 20.0)
    for canvas, bare in zip(cuts(frame, heights), cuts(frame, heights, bare=True), strict=True):
        assert not (ids(drawn)[canvas.tissue] & ids(("air", "skin"))[bare.tissue]).any()


def test_the_left_leg_mirrors_the_right_one() -> None:
    frame = frame_of()
    tissue = cut(frame, frame.heights["knee"] - 100).tissue
    bones = ids(LEG_BONE)[tissue]
    assert (bones ^ bones[::-1]).sum() < 0.02 * bones.sum()
