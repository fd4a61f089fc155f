"""Weight-free segmentation of an axial slice: on drawn slices with exact labels, and on a real CT."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lib.cold_start.l3 import L3Segmentation, segment_l3
from lib.images import CTImage, read_ct
from lib.refusals import Refusal
from tests.cold_start import trunk_slice as drawn
from tests.cold_start.trunk_slice import trunk_slice


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def dices(found: npt.NDArray, expected: npt.NDArray) -> dict[int, float]:
    return {i: dice(found == i, expected == i) for i in (1, 2, 3)}


def one_slice(hu: npt.NDArray, mm: float) -> CTImage:
    return CTImage(hu=hu[..., None].astype(np.float32), affine=np.diag([mm, mm, 3.0, 1.0]))


class TestDrawnSlice:
    @pytest.mark.parametrize("disc", [False, True], ids=["vertebral body", "disc"])
    @pytest.mark.parametrize("mm", [0.7, 1.0, 3.0])
    def test_areas_are_within_ten_percent_and_outlines_agree(self, mm: float, disc: bool) -> None:
        truth = trunk_slice(mm=mm, disc=disc)
        found = segment_l3(truth.image, 0)
        for label, expected in ((found.muscle, truth.muscle), (found.tissue, truth.tissue)):
            for i in (1, 2, 3):
                assert (label == i).sum() == pytest.approx((expected == i).sum(), rel=0.1)
            assert min(dices(label, expected).values()) > 0.92

    def test_skeletal_muscle_is_the_three_groups_together(self) -> None:
        found = segment_l3(trunk_slice().image, 0)
        np.testing.assert_array_equal(found.tissue == drawn.MUSCLE, found.muscle > 0)

    def test_nothing_lies_outside_the_skin_and_the_fats_are_on_their_side_of_the_wall(self) -> None:
        truth = trunk_slice()
        found = segment_l3(truth.image, 0)
        assert not found.tissue[~truth.body].any()
        assert (found.tissue == drawn.SUBCUTANEOUS)[truth.tissue == drawn.VISCERAL].mean() < 0.01
        assert (found.tissue == drawn.VISCERAL)[truth.tissue == drawn.SUBCUTANEOUS].mean() < 0.03

    def test_the_skin_is_not_subcutaneous_fat(self) -> None:
        truth = trunk_slice()
        skin = truth.body & ~ndimage.binary_erosion(truth.body, iterations=1)
        assert not (segment_l3(truth.image, 0).tissue[skin]).any()

    @pytest.mark.parametrize(
        "case", [{"fat_mm": 2.0, "size": 340}, {"fat_mm": 55.0, "size": 480}], ids=["lean", "obese"]
    )
    def test_lean_and_obese(self, case: dict) -> None:
        truth = trunk_slice(**case)
        assert min(dices(segment_l3(truth.image, 0).muscle, truth.muscle).values()) > 0.93

    @pytest.mark.parametrize("share", [0.45, 1.7], ids=["wasted", "strong"])
    def test_thin_and_thick_walls(self, share: float) -> None:
        truth = trunk_slice(wall_share=share)
        found = segment_l3(truth.image, 0)
        assert min(dices(found.muscle, truth.muscle).values()) > 0.9
        assert (found.muscle > 0).sum() == pytest.approx((truth.muscle > 0).sum(), rel=0.1)

    def test_fatty_muscle(self) -> None:
        truth = trunk_slice(muscle_hu=5.0, noise=15.0)
        assert min(dices(segment_l3(truth.image, 0).muscle, truth.muscle).values()) > 0.9

    def test_organs_filled_with_contrast_are_not_muscle(self) -> None:
        truth = trunk_slice(kidney_hu=190.0, vessel_hu=290.0)
        assert min(dices(segment_l3(truth.image, 0).muscle, truth.muscle).values()) > 0.93

    def test_vertebra_is_not_muscle_although_marrow_and_disc_have_muscle_like_values(self) -> None:
        for disc in (False, True):
            truth = trunk_slice(disc=disc)
            middle = tuple(n // 2 for n in truth.muscle.shape)
            vertebra = (slice(middle[0] - 18, middle[0] + 19), slice(middle[1] - 42, middle[1] - 18))
            assert not segment_l3(truth.image, 0).muscle[vertebra].any()

    def test_ascites_does_not_become_wall(self) -> None:
        truth = trunk_slice(cavity_hu=10.0)
        found = segment_l3(truth.image, 0)
        assert dice(found.muscle > 0, truth.muscle > 0) > 0.88

    def test_noise(self) -> None:
        truth = trunk_slice(noise=25.0)
        assert min(dices(segment_l3(truth.image, 0).muscle, truth.muscle).values()) > 0.93

    @pytest.mark.parametrize("tilt", [-12.0, 8.0, 20.0])
    def test_a_turned_patient_away_from_the_centre(self, tilt: float) -> None:
        truth = trunk_slice(tilt_deg=tilt, shift_mm=(12.0, -8.0), size=480, mm=2.0)
        assert min(dices(segment_l3(truth.image, 0).muscle, truth.muscle).values()) > 0.92

    def test_arms_and_table_change_nothing(self) -> None:
        plain = segment_l3(trunk_slice(mm=2.0, size=560).image, 0)
        among = segment_l3(trunk_slice(mm=2.0, size=560, arms=True, table=True).image, 0)
        assert (plain.tissue != among.tissue).mean() < 0.001

    def test_the_mirror_image_gives_the_mirrored_result(self) -> None:
        truth = trunk_slice(mm=2.0, noise=10.0)
        hu = truth.image.hu[..., 0]
        found, mirrored = (segment_l3(one_slice(part, 2.0), 0) for part in (hu, hu[::-1]))
        assert min(dices(mirrored.muscle[::-1], found.muscle).values()) > 0.98

    def test_anisotropic_pixels(self) -> None:
        truth = trunk_slice(mm=1.0)
        image = CTImage(hu=truth.image.hu[::3], affine=truth.image.affine @ np.diag([3.0, 1.0, 1.0, 1.0]))
        assert min(dices(segment_l3(image, 0).muscle, truth.muscle[::3]).values()) > 0.9

    def test_only_the_slice_itself_counts(self) -> None:
        truth = trunk_slice(mm=2.0)
        other = np.full_like(truth.image.hu, -1000)
        volume = CTImage(hu=np.concatenate([other, truth.image.hu, other], axis=2), affine=truth.image.affine)
        alone, among = segment_l3(truth.image, 0), segment_l3(volume, 1)
        np.testing.assert_array_equal(alone.muscle, among.muscle)


class TestDoubt:
    def test_a_cut_off_body_is_said_and_doubted(self) -> None:
        truth = trunk_slice()
        cut = one_slice(truth.image.hu[100:, :, 0], 1.0)
        whole, part = segment_l3(truth.image, 0), segment_l3(cut, 0)
        assert whole.warnings == ()
        assert any("cut off" in warning for warning in part.warnings)
        assert 0 <= whole.doubt < part.doubt <= 1
        half = truth.muscle[100:]
        assert dice(part.muscle > 0, half > 0) > 0.9

    def test_a_body_cut_off_by_the_scanner_s_circle_is_said(self) -> None:
        wide = trunk_slice().image.hu[:, :, 0]
        for hu, narrow in ((wide, False), (wide[70:-70, 70:-70], True)):
            at = np.linspace(-1, 1, len(hu))
            in_circle = np.where(np.hypot(at[:, None], at) <= 1, hu, -1024).astype(np.int16)
            found = segment_l3(one_slice(in_circle, 1.0), 0)
            assert any("cut off" in warning for warning in found.warnings) is narrow

    def test_a_hidden_inner_surface_raises_doubt(self) -> None:
        clear, hidden = (segment_l3(trunk_slice(mm=2.0, cavity_hu=hu).image, 0) for hu in (-100.0, 50.0))
        assert hidden.doubt > clear.doubt + 0.1

    def test_a_missing_psoas_is_said(self) -> None:
        truth = trunk_slice(mm=2.0)
        hu = truth.image.hu[..., 0].copy()
        right = np.zeros(hu.shape, dtype=bool)
        right[hu.shape[0] // 2 :] = True
        hu[(truth.muscle == drawn.PSOAS) & right] = -100
        found = segment_l3(one_slice(hu, 2.0), 0)
        assert any("psoas" in warning for warning in found.warnings)


class TestRefusals:
    @staticmethod
    def refused(hu: npt.NDArray) -> str:
        with pytest.raises(Refusal) as refusal:
            segment_l3(one_slice(hu, 1.0), 0)
        assert refusal.value.status_code == 422
        return str(refusal.value)

    def test_air(self) -> None:
        assert "no trunk" in self.refused(np.full((300, 300), -1000.0))

    def test_a_trunk_without_bone(self) -> None:
        x, y = np.mgrid[:400, :300] - np.array([200, 150])[:, None, None]
        hu = np.where((x / 170) ** 2 + (y / 120) ** 2 <= 1, 40.0, -1000.0)
        assert "no vertebra" in self.refused(hu)

    def test_a_head(self) -> None:
        x, y = np.mgrid[:300, :300] - 150
        radius = np.hypot(x / 75, y / 95)
        hu = np.full((300, 300), -1000.0)
        hu[radius <= 1] = 20
        hu[(radius <= 0.95)] = 900
        hu[(radius <= 0.87)] = 35
        self.refused(hu)

    @pytest.mark.parametrize("legs", [1, 2])
    def test_legs(self, legs: int) -> None:
        x, y = np.mgrid[:440, :300] - np.array([220, 150])[:, None, None]
        hu = np.full((440, 300), -1000.0)
        for centre in (-90, 90)[:legs]:
            radius = np.hypot(x - centre, y)
            hu[radius <= 80] = -100
            hu[radius <= 65] = 55
            hu[radius <= 14] = 1000
            hu[radius <= 7] = -20
        self.refused(hu)

    def test_a_slice_that_does_not_exist(self) -> None:
        with pytest.raises(Refusal, match="no slice 5"):
            segment_l3(trunk_slice(mm=3.0).image, 5)


@pytest.fixture(scope="module")
def real(real_ct_path: Path) -> CTImage:
    return read_ct(real_ct_path).canonical()


@pytest.fixture(scope="module")
def found(real: CTImage) -> dict[int, L3Segmentation]:
    return {k: segment_l3(real, k) for k in range(64, 81, 4)}


class TestRealCT:
    """Slices 64 to 80 of the real CT run from L4 to L2."""

    def test_groups_are_about_the_same_on_both_sides(self, found: dict[int, L3Segmentation]) -> None:
        for k, result in found.items():
            middle = result.muscle.shape[0] // 2 - 2
            for group in (1, 2, 3):
                mask = result.muscle == group
                left, right = mask[:middle].sum(), mask[middle:].sum()
                assert 0.6 < left / right < 1.6, (k, group)

    def test_areas_are_those_of_an_adult(self, real: CTImage, found: dict[int, L3Segmentation]) -> None:
        for result in found.values():
            muscle, visceral, subcutaneous = ((result.tissue == i).sum() * real.slice_area_cm2() for i in (1, 2, 3))
            assert 120 < muscle < 160
            assert 110 < visceral < 200
            assert 160 < subcutaneous < 280

    def test_neighbouring_slices_agree(self, real: CTImage) -> None:
        at = [segment_l3(real, k).muscle for k in (70, 71, 72)]
        for above, below in pairwise(at):
            assert dice(above > 0, below > 0) > 0.9

    def test_hounsfield_units_are_those_of_the_tissue(self, real: CTImage, found: dict[int, L3Segmentation]) -> None:
        for k, result in found.items():
            hu = real.hu[:, :, k]
            assert 15 < np.median(hu[result.tissue == 1]) < 60
            assert -120 < np.median(hu[result.tissue == 2]) < -75
            assert -120 < np.median(hu[result.tissue == 3]) < -85
            assert (hu[result.muscle > 0] > 250).mean() < 0.01

    @pytest.mark.parametrize("change", ["turned", "noisy", "fine", "mirrored"])
    def test_the_same_patient_seen_otherwise_gives_the_same_muscle(self, real: CTImage, change: str) -> None:
        hu = np.pad(real.hu[:, :, 72].astype(np.float32), 20, constant_values=-1000)
        base, mm = segment_l3(one_slice(hu, 3.0), 0), 3.0
        expected = base.muscle
        if change == "turned":
            hu = ndimage.rotate(hu, 10, reshape=False, order=1, cval=-1000)
            expected = ndimage.rotate(expected, 10, reshape=False, order=0)
        elif change == "noisy":
            hu = hu + np.random.default_rng(1).normal(0, 25, hu.shape)
        elif change == "fine":
            hu = ndimage.zoom(hu, 3, order=1, grid_mode=True, mode="nearest")
            expected, mm = np.kron(expected, np.ones((3, 3), dtype=np.uint8)), 1.0
        else:
            hu, expected = hu[::-1], expected[::-1]
        found = segment_l3(one_slice(hu, mm), 0)
        assert dice(found.muscle > 0, expected > 0) > 0.93
        assert min(dices(found.muscle, expected).values()) > 0.88
