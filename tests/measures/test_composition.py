"""Areas, volumes and HU against numbers computed by hand, on an oblique, anisotropic, flipped image."""

import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE, L3_TISSUE, SARCOPENIA
from lib.images import CTImage
from lib.measures.composition import measure

# The first array axis runs head to foot (4 mm), the others are 0.5 and 0.8 mm; the volume is tilted by 10 degrees.
TILT = np.deg2rad(10)
AFFINE = np.array(
    [
        [0, 0.5, 0, 10],
        [4 * np.sin(TILT), 0, 0.8 * np.cos(TILT), 20],
        [-4 * np.cos(TILT), 0, 0.8 * np.sin(TILT), 30],
        [0, 0, 0, 1.0],
    ]
)
FACE_CM2 = 0.5 * 0.8 / 100
VOXEL_CM3 = 0.5 * 0.8 * 4 / 1000


def image(hu) -> CTImage:
    array = np.full((3, 4, 5), -1000, np.int16)
    array[1].flat[: len(hu)] = hu
    return CTImage(hu=array, affine=AFFINE)


def label(values) -> np.ndarray:
    array = np.zeros((3, 4, 5), np.uint8)
    array[1].flat[: len(values)] = values
    return array


class TestOnASlice:
    def test_area_is_the_number_of_voxels_times_their_face_across_the_body(self):
        regions = measure(image([50] * 6), label([1, 1, 1, 2, 2, 3]), L3_MUSCLE, slice_index=1).regions
        assert regions["psoas"].area_cm2 == pytest.approx(3 * FACE_CM2)
        assert regions["abdominal_wall"].area_cm2 == pytest.approx(FACE_CM2)
        assert regions["total"].area_cm2 == regions["skeletal_muscle"].area_cm2 == pytest.approx(6 * FACE_CM2)
        assert regions["psoas"].volume_cm3 is None

    def test_another_slice_holds_nothing(self):
        regions = measure(image([50] * 6), label([1] * 6), L3_MUSCLE, slice_index=0).regions
        assert regions["psoas"].area_cm2 == 0
        assert regions["psoas"].attenuation.mean_hu is None

    def test_hu_as_drawn_and_within_the_range_of_muscle_and_the_fat_between(self):
        hu = [60, 40, -29, 150, -30, -100, 151, -191]
        psoas = measure(image(hu), label([1] * 8), L3_MUSCLE, slice_index=1).regions["psoas"]
        assert psoas.attenuation.mean_hu == pytest.approx(np.mean(hu))
        assert psoas.attenuation.sd_hu == pytest.approx(np.std(hu))
        assert psoas.muscle.in_range == pytest.approx(4 * FACE_CM2)
        assert psoas.muscle.in_range_attenuation.mean_hu == pytest.approx(np.mean([60, 40, -29, 150]))
        assert psoas.muscle.intramuscular_fat == pytest.approx(2 * FACE_CM2)

    def test_fat_has_no_muscle_range(self):
        regions = measure(image([-100] * 2), label([2, 3]), L3_TISSUE, slice_index=1).regions
        assert regions["visceral_fat"].muscle is None
        assert regions["total"].muscle is None

    def test_the_whole_pipeline_reports_the_three_groups_together(self):
        regions = measure(image([50, 50, 50, -100]), label([1, 2, 3, 4]), SARCOPENIA, slice_index=1).regions
        assert regions["skeletal_muscle"].area_cm2 == pytest.approx(3 * FACE_CM2)
        assert regions["total"].area_cm2 == pytest.approx(4 * FACE_CM2)


class TestInAVolume:
    def test_volume_is_the_number_of_voxels_times_their_size(self):
        regions = measure(image([50] * 6), label([3] * 6), BODY_COMPOSITION).regions
        assert regions["muscle"].volume_cm3 == pytest.approx(6 * VOXEL_CM3)
        assert regions["muscle"].muscle.in_range == pytest.approx(6 * VOXEL_CM3)
        assert regions["muscle"].area_cm2 is None


def test_json_names_its_units_and_holds_no_nan():
    slice_json = measure(image([50]), label([1]), L3_MUSCLE, slice_index=1).to_json()
    assert set(slice_json["psoas"]) == {
        "area_cm2",
        "mean_hu",
        "sd_hu",
        "muscle_range_area_cm2",
        "muscle_range_mean_hu",
        "muscle_range_sd_hu",
        "intramuscular_fat_area_cm2",
    }
    assert slice_json["paraspinal"]["mean_hu"] is None
    volume_json = measure(image([50]), label([1]), BODY_COMPOSITION).to_json()
    assert set(volume_json["skin"]) == {"volume_cm3", "mean_hu", "sd_hu"}


def test_a_label_of_another_shape_is_an_error():
    with pytest.raises(ValueError, match="shape"):
        measure(image([50]), np.zeros((3, 4, 6), np.uint8), L3_MUSCLE)


def test_a_class_that_a_volume_does_not_show_has_no_volume_rather_than_one_of_0():
    body = measure(image([50]), label([3]), BODY_COMPOSITION).to_json()
    assert body["abdominal_visceral_fat"]["volume_cm3"] is None
    assert body["muscle"]["volume_cm3"] is not None
