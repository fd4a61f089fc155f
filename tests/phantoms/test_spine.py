"""The spine: its levels lie where the frame says, and its bones have the shape and size of a human's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, make_frame
from lib.phantoms.parts.spine import Spine
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import BY_ID, TISSUES, ids
from lib.phantoms.trunk import Trunk

VARIANTS = [
    Variant(),
    Variant(lumbar=4),
    Variant(lumbar=6),
    Variant(transition="sacralisation"),
    Variant(transition="lumbarisation"),
]
STEP = 0.7


def frame_of(seed: int = 1, *, variant: Variant | None = None, age: float = 40.0, **conditions: float) -> Frame:
    return make_frame(Person(variant=variant or Variant(), age_years=age, conditions=conditions), seed)


def tissue_at(spine: Spine, place: np.ndarray) -> str:
    """The tissue at one point x, y, z."""
    canvas = Canvas(Grid(float(place[0]) - 1, 1.0, 3, float(place[1]) - 1, 1.0, 3), float(place[2]))
    spine.paint(canvas)
    return BY_ID[canvas.tissue[1, 1]].name


def slice_at(frame: Frame, z: float, spine: Spine | None = None) -> Canvas:
    canvas = Canvas(Grid(-80.0, STEP, 230, -120.0, STEP, 230), z)
    (spine or Spine(frame)).paint(canvas)
    return canvas


def bone(canvas: Canvas, *levels: str) -> np.ndarray:
    names = tuple(f"{level}_{part}" for level in levels for part in ("cortex", "shell", "marrow"))
    return ids(names)[canvas.tissue]


def width_mm(flags: np.ndarray, axis: int) -> float:
    places = np.flatnonzero(flags.any(axis=1 - axis))
    return float(places[-1] - places[0] + 1) * STEP


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_bodies_end_at_their_endplates(variant: Variant) -> None:
    # some spines straight, some curved
    frame = frame_of(3, variant=variant, scoliosis=float(variant.lumbar != 5))
    spine = Spine(frame)
    for level, vertebra in frame.vertebrae.items():
        if level == "C1":  # has no body
            continue
        along = vertebra.axes[2] / vertebra.axes[2, 2]
        middle = vertebra.at(0, 0, 0)
        for end in (vertebra.superior_z, vertebra.inferior_z):
            outwards = np.sign(end - vertebra.z)
            if level == "C2" and outwards > 0:  # goes on as the dens
                continue
            inside = tissue_at(spine, middle + along * (end - vertebra.z - 0.5 * outwards))
            outside = tissue_at(spine, middle + along * (end - vertebra.z + 0.5 * outwards))
            assert inside == f"{level}_shell"
            assert outside == "disc"


@pytest.mark.parametrize("variant", VARIANTS[1:4], ids=str)
def test_levels_follow_each_other_with_a_disc_between(variant: Variant) -> None:
    frame = frame_of(4, variant=variant)
    spine = Spine(frame)
    low, high = frame.vertebrae["S1"].z, frame.vertebrae["C3"].z
    found: list[str] = []
    for z in np.arange(high, low, -2.0):
        name = tissue_at(spine, np.array([*frame.column(z), z])).split("_")[0]
        if not found or found[-1] != name:
            found.append(name)
    expected = [name for level in variant.levels[2:] for name in (level, "disc")][:-1]
    assert found == expected


def test_l3_ends_at_height_zero() -> None:
    for seed in range(5):
        assert frame_of(seed, scoliosis=seed / 4).vertebrae["L3"].inferior_z == pytest.approx(0.0, abs=1e-9)


def test_the_endplate_is_a_thin_hollow_shell() -> None:
    for seed in range(3):
        frame = frame_of(seed)
        spine, l3 = Spine(frame), frame.vertebrae["L3"]
        for z in (-1.5, -0.5, 0.5):
            tissue = slice_at(frame, z, spine).tissue
            body = ids(("L3_shell", "L3_marrow", "disc"))[tissue]
            shell = ids("L3_shell")[tissue].sum() / body.sum()
            assert 0.05 < shell < 0.6, (seed, z)  # a slice sees a part of it, and disc or marrow
        # disc where the plate is hollow, bone around it
        low = slice_at(frame, -1.2, spine).tissue
        middle = low[round((l3.x + 80) / STEP), round((l3.y + 120) / STEP)]
        assert BY_ID[middle].name == "disc"
        assert bone(slice_at(frame, -1.2, spine), "L3").sum() * STEP**2 > 100
        assert not ids("L3_shell")[slice_at(frame, -4.5, spine).tissue].any()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sizes_of_the_third_lumbar_vertebra_are_those_of_adults(seed: int) -> None:
    frame = frame_of(seed)
    spine, l3 = Spine(frame), frame.vertebrae["L3"]
    slices = [bone(slice_at(frame, z, spine), "L3") for z in np.arange(l3.superior_z - 14, l3.superior_z, 1.5)]
    assert 80 < max(width_mm(flags, 0) for flags in slices) < 112  # from tip to tip of the transverse processes
    assert 80 < max(width_mm(flags, 1) for flags in slices) < 105  # from the front to the spinous process
    canal = ids("spinal_canal")[slice_at(frame, l3.z + 6, spine).tissue]
    canal = ndimage.label(canal)[0] == ndimage.label(canal)[0].max()
    assert 20 < width_mm(canal, 0) < 30
    assert 13 < width_mm(canal, 1) < 22


def test_pedicles_stand_in_the_upper_half_and_foramina_open_in_the_lower() -> None:
    frame = frame_of(2)
    spine = Spine(frame)
    for level in ("L2", "L3", "L4"):
        vertebra = frame.vertebrae[level]
        for up, joined in ((0.1, True), (-0.36, False)):
            canvas = slice_at(frame, vertebra.z + up * vertebra.height, spine)
            parts, _ = ndimage.label(bone(canvas, level))
            rear = vertebra.y - vertebra.b - 22
            i = round((vertebra.x + 80) / STEP)
            in_body = parts[i, round((vertebra.y + 120) / STEP)]
            behind = parts[i - 12 : i + 13, round((rear + 112) / STEP) : round((rear + 124) / STEP)]
            assert in_body > 0
            assert bool((behind == in_body).any()) is joined


def test_facet_joints_lie_at_the_discs_on_both_sides_behind_the_canal() -> None:
    frame = frame_of(5)
    spine = Spine(frame)
    for upper, lower in pairwise(frame.vertebrae[level] for level in ("L2", "L3", "L4")):
        canvas = slice_at(frame, lower.superior_z + 3.0, spine)
        x, y = np.meshgrid(-80 + STEP * np.arange(230), -120 + STEP * np.arange(230), indexing="ij")
        rear = y < lower.y - lower.b - 4
        for side in (x < lower.x, x > lower.x):
            medial = np.abs(x[bone(canvas, upper.level) & rear & side] - lower.x)
            lateral = np.abs(x[bone(canvas, lower.level) & rear & side] - lower.x)
            assert len(medial)
            assert len(lateral)
            assert medial.mean() + 2 < lateral.mean()


def test_canal_is_open_from_the_skull_to_the_second_sacral_vertebra() -> None:
    frame = frame_of(6)
    spine = Spine(frame)
    for z in np.arange(frame.vertebrae["S1"].inferior_z - 18, 518, 4.0):
        canvas = slice_at(frame, float(z), spine)
        cells, count = ndimage.label(ids("spinal_canal")[canvas.tissue])
        largest = max(int((cells == k).sum()) for k in range(1, count + 1))
        assert 90 < largest * STEP**2 < 700


def test_thoracic_spinous_processes_overlap_and_lumbar_ones_do_not() -> None:
    frame = frame_of(1)
    spine = Spine(frame)

    def tip_below_body(level: str) -> float:
        """How far below the middle of its body the spinous process of a vertebra still is, mm."""
        vertebra = frame.vertebrae[level]
        heights = np.arange(vertebra.z - 45, vertebra.z, 1.0)
        seen = [
            z for z in heights
            if (places := np.argwhere(bone(slice_at(frame, float(z), spine), level))).size
            and places[:, 1].min() * STEP - 120 < vertebra.y - vertebra.b - 30
        ]  # fmt: skip
        return vertebra.z - min(seen)

    assert tip_below_body("T6") > frame.vertebrae["T6"].height + 8
    assert tip_below_body("L3") < frame.vertebrae["L3"].height


def test_bones_stay_under_the_fascia() -> None:
    for seed in range(2):
        frame = frame_of(seed, age=80, scoliosis=1.0 * seed)
        spine, trunk = Spine(frame), Trunk(frame)
        for z in np.arange(-90, 380, 19.0):
            canvas = slice_at(frame, float(z), spine)
            bones = np.isin(canvas.tissue, [t.id for t in BY_ID if t.name.endswith(("_cortex", "_shell", "_marrow"))])
            within = np.zeros_like(bones)
            mask = canvas.polygon(trunk.outer(float(z)))
            within[mask.window] = mask.inside
            assert not (bones & ~within).any()


def test_transitional_vertebrae_look_like_their_kind() -> None:
    plain, joined, freed = (
        frame_of(7, variant=Variant(transition=kind))  # type: ignore[arg-type]
        for kind in ("none", "sacralisation", "lumbarisation")
    )

    def process_mm2(frame: Frame) -> float:
        """Area of the transverse processes of L5 beside its body, in a slice through its lower part."""
        l5 = frame.vertebrae["L5"]
        flags = bone(slice_at(frame, l5.z - 0.2 * l5.height), "L5")
        x = np.abs(-80 + STEP * np.arange(230) - l5.x)
        return float(flags[x > l5.a + 4].sum() * STEP**2)

    assert joined.vertebrae["L5"].disc < 5 < plain.vertebrae["L5"].disc
    assert freed.vertebrae["S1"].disc > 6 > plain.vertebrae["S1"].disc
    assert process_mm2(joined) > process_mm2(plain) + 300


def test_vertebrae_turn_with_a_scoliosis() -> None:
    frame = frame_of(2, scoliosis=1.0)
    l2 = frame.vertebrae["L2"]
    canvas = slice_at(frame, l2.z - 5)
    places = np.argwhere(bone(canvas, "L2")) * STEP - (80, 120)
    rear = places[places[:, 1] < l2.y - 50].mean(axis=0)  # spinous process
    body = places[places[:, 1] > l2.y].mean(axis=0)
    assert abs(l2.x) > 12
    assert body[0] == pytest.approx(l2.x, abs=4)
    # the spinous process turns towards the concave side, the midline
    assert abs(rear[0]) < abs(body[0]) - 5


def test_same_seed_same_voxels() -> None:
    first, second = (slice_at(frame_of(9, age=70), 33.0).tissue for _ in range(2))
    assert TISSUES["L2_marrow"].id in first
    assert np.array_equal(first, second)
    assert not np.array_equal(first, slice_at(frame_of(10, age=70), 33.0).tissue)
