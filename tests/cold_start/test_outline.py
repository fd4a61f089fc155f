"""The body outline: the skin's inside, without table, blankets, wires and, if asked, arms."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from lib.cold_start.outline import body_mask
from lib.images import CTImage, read_ct

AIR, FAT, SOFT, BONE = -1000, -100, 40, 800


def ellipse(
    shape: tuple[int, int], mm: tuple[float, float], centre: tuple[float, float], half: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """An ellipse (x, y); centre and half axes in mm from the middle of the slice."""
    x = (np.arange(shape[0]) - (shape[0] - 1) / 2)[:, None] * mm[0] - centre[0]
    y = (np.arange(shape[1]) - (shape[1] - 1) / 2)[None, :] * mm[1] - centre[1]
    return (x / half[0]) ** 2 + (y / half[1]) ** 2 <= 1


def trunk(mm: tuple[float, float] = (2.0, 2.0), slices: int = 3) -> tuple[npt.NDArray, npt.NDArray[np.bool_]]:
    """HU and truth of an elliptic trunk, 600 x 400 mm field of view, with gas and a lung inside."""
    shape = (round(600 / mm[0]), round(400 / mm[1]))
    body = ellipse(shape, mm, (0, 0), (170, 110))
    hu = np.full(shape, AIR, dtype=np.int16)
    hu[body] = FAT
    hu[ellipse(shape, mm, (0, 0), (150, 90))] = SOFT
    hu[ellipse(shape, mm, (60, 20), (50, 40))] = -850
    hu[ellipse(shape, mm, (-60, 50), (25, 20))] = AIR
    return np.repeat(hu[..., None], slices, axis=2), np.repeat(body[..., None], slices, axis=2)


def ct(hu: npt.NDArray, mm: tuple[float, float] = (2.0, 2.0)) -> CTImage:
    return CTImage(hu=hu, affine=np.diag([*mm, 5.0, 1.0]))


def dice(a: npt.NDArray, b: npt.NDArray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


class TestBody:
    @pytest.mark.parametrize("mm", [(0.8, 0.8), (2.0, 2.0), (4.0, 4.0), (1.0, 3.0)])
    @pytest.mark.parametrize("slices", [1, 3])
    def test_it_is_the_inside_of_the_skin_with_lung_and_gas(self, mm: tuple[float, float], slices: int) -> None:
        hu, truth = trunk(mm, slices)
        assert dice(body_mask(ct(hu, mm)), truth) > 0.99

    def test_table_blanket_and_wires_are_off_even_where_they_touch(self) -> None:
        hu, truth = trunk((1.0, 1.0))
        bottom = int(np.argmax(truth[..., 0].any(axis=0)))
        hu[60:-60, bottom - 4 : bottom] = 200
        hu[100:-100, bottom - 40 : bottom - 36] = 300
        x = np.arange(hu.shape[0])
        hu[x, np.clip((x * 0.2).astype(int) + 300, 0, hu.shape[1] - 1)] = 1500
        mask = body_mask(ct(hu, (1.0, 1.0)))
        assert dice(mask, truth) > 0.985
        assert not mask[:, : bottom - 5].any()
        assert not mask[:100].any()

    def test_arms_stay_or_go_as_asked(self) -> None:
        hu, truth = trunk()
        arms = np.zeros(truth.shape[:2], dtype=bool)
        for side, gap in ((-1, 0), (1, 12)):
            arm = ellipse(arms.shape, (2.0, 2.0), (side * (206 + gap), -10), (38, 45))
            arms |= arm
            hu[arm] = SOFT
            hu[ellipse(arms.shape, (2.0, 2.0), (side * (206 + gap), -10), (10, 10))] = BONE
        with_arms, without = body_mask(ct(hu)), body_mask(ct(hu), arms=False)
        assert dice(with_arms, truth | arms[..., None]) > 0.99
        assert dice(without, truth) > 0.985
        assert without[arms].mean() < 0.05

    def test_an_arm_that_touches_in_two_places_around_a_slit_of_air_goes(self) -> None:
        hu, truth = trunk((1.0, 1.0), 1)
        arm = ellipse(hu.shape[:2], (1.0, 1.0), (211, 0), (40, 60))
        hu[arm] = SOFT
        shoulder = np.abs(np.abs(np.arange(hu.shape[1]) - (hu.shape[1] - 1) / 2) - 25) < 5
        hu[465:480, shoulder] = SOFT
        assert dice(body_mask(ct(hu, (1.0, 1.0)), arms=False), truth) > 0.98

    def test_two_legs_are_no_arms(self) -> None:
        shape = (300, 200)
        legs = ellipse(shape, (2.0, 2.0), (-95, 0), (80, 85)) | ellipse(shape, (2.0, 2.0), (95, 0), (75, 80))
        hu = np.where(legs, SOFT, AIR).astype(np.int16)[..., None]
        assert dice(body_mask(ct(hu), arms=False)[..., 0], legs) > 0.98

    def test_a_cut_off_body_reaches_the_border(self) -> None:
        hu, truth = trunk()
        assert dice(body_mask(ct(hu[90:])), truth[90:]) > 0.99

    def test_there_is_no_body_in_air(self) -> None:
        assert not body_mask(ct(np.full((100, 80, 2), AIR, dtype=np.int16))).any()

    def test_noise(self) -> None:
        hu, truth = trunk()
        noisy = hu + np.random.default_rng(3).normal(0, 60, hu.shape)
        assert dice(body_mask(ct(noisy.astype(np.float32))), truth) > 0.985


class TestGeometry:
    @pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "ASL"])
    def test_the_mask_is_in_the_voxel_order_of_the_image(self, axes: str) -> None:
        hu, _ = trunk(slices=4)
        hu[:, :, 0] = AIR
        upright = ct(hu)
        there = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
        )
        turned = CTImage(
            hu=nib.orientations.apply_orientation(hu, there),
            affine=upright.affine @ nib.orientations.inv_ornt_aff(there, hu.shape),
        )
        expected = nib.orientations.apply_orientation(body_mask(upright), there)
        mask = body_mask(turned)
        assert mask.shape == turned.hu.shape
        np.testing.assert_array_equal(mask, expected)

    def test_an_oblique_affine(self) -> None:
        hu, truth = trunk()
        turn = np.eye(4)
        turn[:3, :3] = np.array([[0.95, -0.2, 0.24], [0.22, 0.97, -0.07], [-0.22, 0.12, 0.97]])
        image = CTImage(hu=hu, affine=turn @ np.diag([2.0, 2.0, 5.0, 1.0]))
        assert dice(body_mask(image), truth) > 0.99


@pytest.mark.parametrize("number", [0, 10, 19])
def test_the_arms_of_a_real_ct_with_arms_are_off(shared_data: Path, number: int) -> None:
    file = shared_data / "ct_series_without_uids" / f"slice_{number:02d}.dcm"
    hu = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).transpose()[:, ::-1].astype(np.int16)
    image = CTImage(hu=hu, affine=np.diag([0.977, 0.977, 2.0, 1.0]))
    mask, bare = body_mask(image), body_mask(image, arms=False)
    # The trunk ends at columns 70 and 440; the arms lie beyond on both sides.
    assert mask[:60].any()
    assert mask[455:].any()
    assert not bare[:60].any()
    assert not bare[455:].any()
    assert bare[100:400].sum() == mask[100:400].sum()


def test_the_table_of_the_real_ct_is_off(real_ct_path: Path) -> None:
    image = read_ct(real_ct_path).canonical()
    mask = body_mask(image)
    # Above the pelvis the patient lies higher than the edges of the table, which are in the lowest rows.
    assert (image.hu[:, :4, 50:] > -300).any()
    assert not mask[:, :4, 50:].any()
    areas = mask.sum(axis=(0, 1)) * image.slice_area_cm2()
    assert areas.min() > 500
    assert areas.max() < 1200
