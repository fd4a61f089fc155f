"""Two labels of one image compared: numbers by hand, on oblique, flipped and anisotropic images."""

from __future__ import annotations

import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE
from lib.evaluation.comparison import MEAN, TOTAL, CaseComparison, Labelled, compare
from lib.evaluation.overlap_summary import summarise_overlap
from lib.images import CTImage

COS, SIN = np.sqrt(0.75), 0.5
AFFINES = {
    "flipped": np.diag([-0.5, -2.0, 4.0, 1.0]),
    # index 0 runs along the body, and the others are turned by 30 degrees around it
    "turned": np.array([[0, 0.5 * COS, -2 * SIN, 9], [0, 0.5 * SIN, 2 * COS, -7], [-4.0, 0, 0, 1], [0, 0, 0, 1]]),
}


def labels(axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, reference and found: on slice 2, psoas of 4 x 10 pixels, of which 4 x 5 are found."""
    reference, found = np.zeros((2, 5, 20, 20), np.uint8)
    reference[2, 3:7, 2:12] = 1
    found[2, 3:7, 2:7] = 1
    reference[2, 10:14, 10:14] = found[2, 10:14, 10:14] = 2
    reference[2, 16:18, 16:18] = 3
    hu = np.where(reference == 1, 50, -100).astype(np.int16)
    hu[2, 3:7, 2:7] = 40
    return tuple(np.moveaxis(each, 0, axis) for each in (hu, reference, found))


@pytest.mark.parametrize("name", AFFINES)
def test_a_slice(name):
    axis = 0 if name == "turned" else 2
    hu, reference, found = labels(axis)
    image = CTImage(hu=hu, affine=AFFINES[name])
    assert image.foot_to_head_axis == axis
    result = compare(
        image,
        Labelled(label=reference, slice_index=2),
        Labelled(label=found, slice_index=2),
        L3_MUSCLE,
        judged=L3_MUSCLE.names,
        attenuation=True,
    )
    psoas = result["psoas"]
    pixel_cm2 = 0.5 * 2.0 / 100
    assert (psoas.reference_size, psoas.found_size) == pytest.approx((40 * pixel_cm2, 20 * pixel_cm2))
    assert psoas.error_percent == pytest.approx(50)
    assert (psoas.reference_hu, psoas.found_hu) == pytest.approx((45, 40))
    assert psoas.quality.dice == pytest.approx(2 / 3)
    assert (psoas.quality.sensitivity, psoas.quality.ppv) == (0.5, 1)
    # The found half ends five pixels of 2 mm before the reference does.
    assert psoas.quality.hausdorff_mm == pytest.approx(10)
    assert result["paraspinal"].quality.dice == 1
    assert result["paraspinal"].quality.assd_mm == 0
    assert result["abdominal_wall"].quality.missed
    assert result["abdominal_wall"].found_hu is None
    assert result[TOTAL].quality.dice == pytest.approx(2 * 36 / (36 + 60))


def test_an_outline_has_no_voxels_inside():
    """A ring about a disc: were every voxel of the slice a surface, its inner part would make the distances smaller."""
    x, y = np.indices((60, 60)) - 30
    reference = (np.hypot(x, y) < 20).astype(np.uint8)[..., None]
    found = (np.hypot(x, y) < 15).astype(np.uint8)[..., None]
    image = CTImage(hu=np.zeros((60, 60, 1), np.int16), affine=np.eye(4))
    both = [Labelled(label=each, slice_index=0) for each in (reference, found)]
    result = compare(image, *both, L3_MUSCLE, judged=["psoas"], attenuation=False)
    assert result["psoas"].quality.assd_mm == pytest.approx(5, abs=0.3)
    assert result["psoas"].quality.hausdorff95_mm == pytest.approx(5, abs=0.5)
    assert result["psoas"].reference_hu is None


def test_another_slice_has_sizes_and_no_overlap():
    hu, reference, found = labels(2)
    image = CTImage(hu=hu, affine=AFFINES["flipped"])
    moved = np.roll(found, 1, axis=2)
    result = compare(
        image, Labelled(label=reference, slice_index=2), Labelled(label=moved, slice_index=3), L3_MUSCLE,
        judged=L3_MUSCLE.names, attenuation=True,
    )  # fmt: skip
    assert result["psoas"].quality is None
    assert result["psoas"].found_size == pytest.approx(0.2)
    case = CaseComparison(case="a", source="b", structures=result, off_mm=4.0)
    assert case.value("psoas", "dice") is None
    assert case.value("psoas", "error_percent") == pytest.approx(50)


def test_what_a_partial_label_leaves_open_is_not_judged():
    hu, reference, found = labels(2)
    image = CTImage(hu=hu, affine=AFFINES["flipped"])
    both = [Labelled(label=each, slice_index=2) for each in (reference, found)]
    assert set(compare(image, *both, L3_MUSCLE, judged=["psoas"], attenuation=True)) == {"psoas"}


def test_a_volume_that_holds_nothing_has_a_size_of_zero_and_a_reason_elsewhere():
    label = np.zeros((6, 6, 6), np.uint8)
    label[1:4, 1:4, 1:4] = 3
    image = CTImage(hu=np.zeros(label.shape, np.int16), affine=np.diag([10.0, 10, 10, 1]))
    result = compare(
        image, Labelled(label=label), Labelled(label=np.zeros_like(label)), BODY_COMPOSITION,
        judged=BODY_COMPOSITION.names, attenuation=True,
    )  # fmt: skip
    assert (result["muscle"].reference_size, result["muscle"].found_size) == (pytest.approx(27), 0)
    assert result["muscle"].quality.ppv is None
    assert result["skin"].quality.dice is None


def case(name: str, dices: dict[str, tuple[int, int]]) -> CaseComparison:
    """A case whose classes have reference and found rows of pixels, side by side."""
    reference, found = np.zeros((2, 20, 4, 1), np.uint8)
    for number, (true, seen) in enumerate(dices.values(), start=1):
        reference[:true, number - 1], found[:seen, number - 1] = number, number
    image = CTImage(hu=np.zeros(reference.shape, np.int16), affine=np.diag([10.0, 10, 10, 1]))
    both = [Labelled(label=each, slice_index=0) for each in (reference, found)]
    names = dict(zip(L3_MUSCLE.names, dices, strict=True))
    structures = compare(image, *both, L3_MUSCLE, judged=names, attenuation=False)
    return CaseComparison(case=name, source="s", structures=structures)


def test_a_summary_by_hand():
    cases = [
        case("a", {"psoas": (10, 10), "paraspinal": (10, 9), "abdominal_wall": (8, 8)}),
        case("b", {"psoas": (10, 5), "paraspinal": (10, 10), "abdominal_wall": (8, 0)}),
        case("c", {"psoas": (12, 12), "paraspinal": (10, 10), "abdominal_wall": (0, 4)}),
    ]
    psoas, wall, together = summarise_overlap(
        cases, {"psoas": ("psoas",), "abdominal_wall": ("abdominal_wall",), MEAN: L3_MUSCLE.names}
    )
    assert psoas.metrics["dice"].mean.value == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert psoas.good.value == pytest.approx(2 / 3)
    assert psoas.rest.value == pytest.approx(2 / 3)
    assert (psoas.worst, psoas.worst_case) == (pytest.approx(2 / 3), "b")
    assert (wall.missed, wall.extra) == (1, 1)
    assert wall.metrics["ravd_percent"].mean.value == pytest.approx(50)  # 0 and 100; none where the reference has none
    assert together.worst_case == "b"
    assert together.worst == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_one_case_has_a_value_and_no_deviation():
    (psoas,) = summarise_overlap(
        [case("a", {"psoas": (10, 10), "paraspinal": (1, 1), "abdominal_wall": (1, 1)})], {"psoas": ("psoas",)}
    )
    assert psoas.metrics["dice"].sd is None
    assert psoas.metrics["dice"].mean.why_not
    assert psoas.size_correlation.value is None
    assert psoas.size_correlation.why_not


def test_no_case_has_no_value():
    (psoas,) = summarise_overlap([], {"psoas": ("psoas",)})
    assert psoas.worst is None
    assert psoas.good.value is None
    assert psoas.metrics["dice"].mean.why_not
