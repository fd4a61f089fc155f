"""The bony pelvis: landmarks lie where the frame says, joints have room, sexes and variants differ as they should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.frame import Frame, make_frame
from lib.phantoms.legs import HIP_JOINT
from lib.phantoms.parts.femur import Femur
from lib.phantoms.parts.pelvis import Pelvis
from lib.phantoms.person import Person, Variant
from lib.phantoms.tissues import ids

MM = 1.0
HIP_BONE = ("hip_bone_cortex", "hip_bone_marrow")
SACRUM = ("sacrum_cortex", "sacrum_marrow")


def frame_of(seed: int = 1, *, sex: str = "M", variant: Variant | None = None) -> Frame:
    return make_frame(Person(sex=sex, variant=variant or Variant()), seed)


def cut(frame: Frame, z: float, *, femur: bool = False) -> Canvas:
    canvas = Canvas(Grid(-180.0, MM, 361, -120.0, MM, 241), z)
    for part in (Pelvis(frame), *([Femur(frame)] if femur else [])):
        part.paint(canvas)
    return canvas


def region(canvas: Canvas, *names: str) -> np.ndarray:
    return ids(names)[canvas.tissue]


def x_of(flags: np.ndarray) -> np.ndarray:
    """The x of all voxels of a region, mm."""
    return -180.0 + MM * np.nonzero(flags)[0]


def pieces(flags: np.ndarray) -> int:
    return int(ndimage.label(flags, np.ones((3, 3)))[1])


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_the_hip_bone_reaches_from_the_crest_to_the_ischium(lumbar: int) -> None:
    frame = frame_of(4, variant=Variant(lumbar=lumbar))
    crest, ischium = frame.heights["iliac_crest"], frame.heights["ischium"]
    assert not region(cut(frame, crest + 1), *HIP_BONE).any()
    assert not region(cut(frame, ischium - 1), *HIP_BONE).any()
    for z in (crest - 2, ischium + 2):
        bone = region(cut(frame, z), *HIP_BONE)
        assert pieces(bone) == 2
        assert (x_of(bone) > 0).any()
        assert (x_of(bone) < 0).any()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_crests_are_as_far_apart_as_in_adults(seed: int) -> None:
    frame = frame_of(seed)
    below_the_crest = frame.heights["iliac_crest"] - np.arange(15, 60, 12.0)
    across = max(np.ptp(x_of(region(cut(frame, z), *HIP_BONE))) for z in below_the_crest)
    assert 250 <= across <= 310


def test_the_wing_is_thin_in_its_middle_and_thick_at_its_ends() -> None:
    frame = frame_of()
    bone = region(cut(frame, frame.heights["asis"] - 2), *HIP_BONE)[180:]  # the right side
    thickness = ndimage.distance_transform_edt(bone)
    along = np.array([thickness[x].max() for x in (55, 100, 121)])
    assert along[1] < 0.6 * along[0]
    assert along[1] < 0.8 * along[2]


@pytest.mark.parametrize("sex", ["M", "F"])
def test_the_femoral_head_lies_in_its_socket_with_cartilage_between(sex: str) -> None:
    frame = frame_of(sex=sex)
    canvas = cut(frame, frame.heights["hip"], femur=True)
    right = x_of(np.ones_like(canvas.tissue)).reshape(canvas.tissue.shape) > 0
    head = region(canvas, "femur_cortex", "femur_marrow") & right
    socket = region(canvas, *HIP_BONE) & right
    assert head[180 + round(HIP_JOINT[0]), 120 + round(HIP_JOINT[1])]
    gap = ndimage.distance_transform_edt(~head)[socket].min() * MM
    assert 1.0 < gap < 4.0
    # medially of the head there is the socket's floor, and laterally no bone of the pelvis
    y = 120 + round(HIP_JOINT[1])
    assert socket[180 + 50 : 180 + 68, y].any()
    assert not socket[180 + 112 :, y].any()


def test_cartilage_parts_the_pubic_bones_and_the_sacroiliac_joints() -> None:
    frame = frame_of()
    symphysis = cut(frame, (frame.heights["symphysis_top"] + frame.heights["symphysis_bottom"]) / 2)
    assert region(symphysis, "cartilage")[180, :].any()
    assert not region(symphysis, *HIP_BONE)[180, :].any()
    sacroiliac = cut(frame, frame.vertebrae["S1"].z - 15)
    wing, sacrum = region(sacroiliac, *HIP_BONE), region(sacroiliac, *SACRUM)
    assert not (ndimage.binary_dilation(wing) & sacrum).any()
    assert region(sacroiliac, "cartilage").any()


def test_the_obturator_foramen_is_closed_above_and_below() -> None:
    frame = frame_of()

    def parts_of_the_right_side(below_hip: float) -> int:
        return pieces(region(cut(frame, frame.heights["hip"] - below_hip), *HIP_BONE)[181:])

    assert parts_of_the_right_side(10) == 1
    assert parts_of_the_right_side(45) == 2
    assert parts_of_the_right_side(78) == 1


def test_a_womans_ischia_lie_further_apart() -> None:
    def apart(sex: str) -> float:
        frame = frame_of(sex=sex)
        return float(np.abs(x_of(region(cut(frame, frame.heights["ischium"] + 10), *HIP_BONE))).mean())

    assert apart("F") > apart("M") + 4


def test_the_sacrum_curves_backwards_and_narrows_downwards() -> None:
    frame = frame_of()
    top = frame.vertebrae["S1"].z
    sections = [region(cut(frame, top + dz), *SACRUM) for dz in (-5, -30, -50, -70, -88, -110)]
    widths = [np.ptp(x_of(section)) for section in sections]
    assert widths == sorted(widths, reverse=True)
    assert 95 <= widths[0] <= 130
    middles = [float(np.nonzero(section)[1].mean()) for section in sections[:4]]
    assert middles == sorted(middles, reverse=True)


def test_a_lumbarised_s1_has_narrow_wings_and_a_sacralised_vertebra_is_joined_to_them() -> None:
    def section(transition: str, level: str, dz: float) -> np.ndarray:
        frame = frame_of(variant=Variant(transition=transition))  # type: ignore[arg-type]
        return region(cut(frame, frame.vertebrae[level].z + dz), *SACRUM)

    assert np.ptp(x_of(section("lumbarisation", "S1", 2))) < 0.85 * np.ptp(x_of(section("none", "S1", 2)))
    assert section("sacralisation", "L5", -2).any()
    assert not section("none", "L5", -2).any()


def test_the_left_side_differs_a_little_from_the_right_one() -> None:
    frame = frame_of()
    bone = region(cut(frame, frame.heights["asis"]), *HIP_BONE)
    different = (bone ^ bone[::-1]).sum() / bone.sum()
    assert 0 < different < 0.5
