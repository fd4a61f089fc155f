"""Hip and thigh without weights: a phantom cut as real scans are, and the real CT as an eye sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.cold_start.thigh import ThighSegmentation, segment_thigh
from lib.images import CTImage, read_ct
from lib.measures.thigh import measure_thigh
from lib.phantoms.phantom import Phantom
from lib.refusals import Refusal

ID = THIGH_MUSCLES.shown.ids
FEMUR, ILIAC, COMPARTMENT = ID["femur"], ID["iliac_bone"], ID["muscle_compartment"]

Case = tuple[CTImage, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def whole() -> Case:
    """Both legs from above the iliac crest to below the knee, in canonical order, and the truth."""
    phantom = Phantom(1, "thigh", conditions={"table": 1.0}, shape=(256, 256, 100))
    image = phantom.image
    truth = CTImage(hu=phantom.label("thigh_muscles").astype(np.int16), affine=image.affine).canonical().hu
    return image.canonical(), truth.astype(np.uint8)


@pytest.fixture(scope="module")
def answer(whole: Case) -> ThighSegmentation:
    return segment_thigh(whole[0])


def part(case: Case, x: slice = slice(None), z: slice = slice(None)) -> Case:
    image, truth = case
    affine = image.affine.copy()
    affine[:3, 3] = (affine @ np.array([x.start or 0, 0, z.start or 0, 1.0]))[:3]
    return CTImage(hu=image.hu[x, :, z], affine=affine), truth[x, :, z]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def says(found: ThighSegmentation, words: str) -> bool:
    return any(words in warning for warning in found.warnings)


def measured_says(image: CTImage, found: ThighSegmentation, words: str) -> bool:
    """Whether the measurements of the answer, which come with it, say so."""
    return any(words in sentence for sentence in measure_thigh(image, found.label).of_view)


def heights(truth: NDArray[np.uint8], value: int) -> NDArray[np.intp]:
    return np.flatnonzero((truth == value).any(axis=(0, 1)))


class TestWholeThighs:
    def test_femur_and_hip_bone_are_where_they_are(self, whole: Case, answer: ThighSegmentation) -> None:
        assert dice(answer.label == FEMUR, whole[1] == FEMUR) > 0.85
        assert dice(answer.label == ILIAC, whole[1] == ILIAC) > 0.8

    def test_neither_takes_much_of_the_other(self, whole: Case, answer: ThighSegmentation) -> None:
        for own, other in ((FEMUR, ILIAC), (ILIAC, FEMUR)):
            assert np.mean(answer.label[whole[1] == own] == other) < 0.1

    def test_the_outline_holds_the_muscles_and_little_else(self, whole: Case, answer: ThighSegmentation) -> None:
        muscle = (whole[1] > 0) & (whole[1] < FEMUR)
        outline = answer.label == COMPARTMENT
        assert outline[muscle].mean() > 0.9
        assert muscle[outline].mean() > 0.75

    def test_no_muscle_is_named(self, answer: ThighSegmentation) -> None:
        assert set(np.unique(answer.label)) == {0, FEMUR, ILIAC, COMPARTMENT}

    def test_nothing_below_the_knee_is_femur(self, whole: Case, answer: ThighSegmentation) -> None:
        assert heights(answer.label, FEMUR)[0] >= heights(whole[1], FEMUR)[0] - 1

    def test_a_whole_thigh_has_nothing_to_warn_of(self, answer: ThighSegmentation) -> None:
        assert answer.warnings == ()
        assert answer.doubt < 0.5


class TestParts:
    def test_one_leg_without_hips_or_knee(self, whole: Case) -> None:
        middle = whole[0].shape[0] // 2
        image, truth = part(whole, slice(middle, None), slice(20, 50))
        found = segment_thigh(image)
        assert dice(found.label == FEMUR, truth == FEMUR) > 0.85
        assert not (found.label == ILIAC).any()
        for words in ("Only one thigh bone", "hips are not in view", "No knee is in view"):
            assert says(found, words), words
        assert found.doubt > 0.5

    @pytest.mark.slow
    def test_an_image_that_ends_above_the_knee(self, whole: Case) -> None:
        image, truth = part(whole, z=slice(35, None))
        found = segment_thigh(image)
        assert dice(found.label == FEMUR, truth == FEMUR) > 0.8
        assert dice(found.label == ILIAC, truth == ILIAC) > 0.8
        assert says(found, "No knee is in view")
        assert not measured_says(image, found, "amputation")

    def test_an_amputation(self, whole: Case) -> None:
        image, truth = part(whole, z=slice(0, 55))
        hu, left = image.hu.copy(), truth.copy()
        middle = image.shape[0] // 2
        hu[:middle, :, :35] = -1000
        left[:middle, :, :35] = 0
        image = CTImage(hu=hu, affine=image.affine)
        found = segment_thigh(image)
        assert dice(found.label == FEMUR, left == FEMUR) > 0.85
        assert measured_says(image, found, "The left thigh ends above the knee, as after an amputation")

    def test_a_prosthesis_is_bone_and_said(self, whole: Case) -> None:
        image, truth = part(whole, z=slice(25, 55))
        hu = image.hu.copy()
        i, j, k = (int(np.median(axis)) for axis in np.nonzero(truth[: image.shape[0] // 2] == FEMUR))
        hu[i - 3 : i + 4, j - 3 : j + 4, k - 8 : k + 8] = 8000
        image = CTImage(hu=hu, affine=image.affine)
        found = segment_thigh(image)
        assert measured_says(image, found, "metal")
        assert (found.label[i, j, k - 6 : k + 6] == FEMUR).all()

    def test_no_leg_is_refused_in_a_sentence(self) -> None:
        x, y = np.ogrid[-1:1:90j, -1:1:70j]
        trunk = np.where((x**2 + y**2 < 0.7)[..., None], 40, -1000) * np.ones((1, 1, 30))
        image = CTImage(hu=trunk.astype(np.int16), affine=np.diag([4.0, 4.0, 5.0, 1.0]))
        with pytest.raises(Refusal, match="Neither a thigh nor a hip"):
            segment_thigh(image)

    def test_a_single_slice_is_refused_in_a_sentence(self, whole: Case) -> None:
        with pytest.raises(Refusal, match="30 mm or more"):
            segment_thigh(part(whole, z=slice(40, 41))[0])


@pytest.fixture(scope="module")
def real(real_ct_path: Path) -> ThighSegmentation:
    return segment_thigh(read_ct(real_ct_path).canonical())


class TestRealCT:
    """From T11 to the hips, with a nail in the right hip; its slices were looked at one by one."""

    @pytest.mark.parametrize(
        ("place", "value"),
        [((87, 45, 13), FEMUR), ((31, 43, 15), FEMUR), ((100, 40, 1), FEMUR), ((61, 54, 3), ILIAC),
         ((85, 38, 29), ILIAC), ((41, 22, 40), ILIAC), ((17, 33, 25), COMPARTMENT), ((101, 32, 25), COMPARTMENT),
         ((76, 47, 46), COMPARTMENT)],
    )  # fmt: skip
    def test_what_an_eye_sees(self, real: ThighSegmentation, place: tuple[int, int, int], value: int) -> None:
        i, j, k = place
        near = real.label[i - 1 : i + 2, j - 1 : j + 2, k]
        assert np.mean(near == value) > 0.5

    def test_spine_ribs_and_sacrum_are_no_hip_bone(self, real: ThighSegmentation) -> None:
        assert not (real.label[:, :, 70:] == ILIAC).any()
        assert not (real.label[55:65, 30:45, 50:] == ILIAC).any()

    def test_metal_and_missing_thighs_are_said(self, real: ThighSegmentation, real_ct_path: Path) -> None:
        assert measured_says(read_ct(real_ct_path).canonical(), real, "metal")
        assert says(real, "No shaft")


CROPS: dict[str, Callable[[Case], Case]] = {
    "mid-thigh": lambda case: part(case, z=slice(30, 38)),
    "knees and shins": lambda case: part(case, z=slice(0, 12)),
    "half a leg": lambda case: part(case, slice(0, 60), slice(20, 35)),
}


@pytest.mark.parametrize("crop", CROPS)
def test_any_part_has_an_answer_or_a_refusal(whole: Case, crop: str) -> None:
    image, _ = CROPS[crop](whole)
    try:
        found = segment_thigh(image)
    except Refusal:
        return
    assert found.label.shape == image.shape
    assert set(np.unique(found.label)) <= {0, FEMUR, ILIAC, COMPARTMENT}
    assert 0 <= found.doubt <= 1


def turned(case: Case, axes: tuple[int, int, int], flipped: tuple[int, ...]) -> Case:
    """The same case as another scanner writes it: axes in another order, some of them backwards, the patient tilted."""
    image, truth = case
    shape = image.hu.shape
    affine = image.affine.copy()
    hu, label = np.flip(image.hu, flipped), np.flip(truth, flipped)
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
    affine[:, :3] = affine[:, list(axes)]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    return CTImage(hu=hu.transpose(axes), affine=tilt @ affine), label.transpose(axes)


class TestFiles:
    @pytest.mark.parametrize(
        ("axes", "flipped"),
        [((0, 1, 2), (2,)), ((0, 1, 2), (0, 1)), ((1, 2, 0), (0, 2))],
        ids=["feet first", "as DICOM counts", "sagittal slices"],
    )
    def test_the_order_of_the_file_does_not_matter(
        self, whole: Case, axes: tuple[int, int, int], flipped: tuple[int, ...]
    ) -> None:
        image, truth = turned(part(whole, z=slice(25, 50)), axes, flipped)
        found = segment_thigh(image.canonical())
        label = image.from_canonical(found.label)
        assert dice(label == FEMUR, truth == FEMUR) > 0.85
        assert not (label == ILIAC).any()
        assert not says(found, "Only one thigh bone")

    def test_two_legs_in_two_files_are_each_found(self, whole: Case) -> None:
        middle = whole[0].shape[0] // 2
        for side in (slice(0, middle), slice(middle, None)):
            image, truth = part(whole, side, slice(25, 50))
            found = segment_thigh(image)
            assert dice(found.label == FEMUR, truth == FEMUR) > 0.85
            assert says(found, "Only one thigh bone")
