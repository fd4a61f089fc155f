"""Torso, waist and skin of phantoms, which know where their ribs and crests are, and of drawn shapes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from nibabel import orientations
from scipy.spatial import ConvexHull

from lib.anatomy.schemas import BODY_COMPOSITION, L3_SLICE
from lib.images import CTImage, PatientFacts
from lib.measures.indices import judge_whole_body
from lib.measures.skin import circumference_cm, surface_m2
from lib.measures.whole_body import measure_whole_body, to_json
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner
from lib.phantoms.trunk import Trunk

ID = BODY_COMPOSITION.ids
RAS = Scanner(orientation="RAS")


@pytest.fixture(scope="module")
def phantom():
    return Phantom(3, "torso", conditions={"table": 1.0}, scanner=RAS, shape=(128, 128, 160))


@pytest.fixture(scope="module")
def with_arms():
    return Phantom(11, "torso", conditions={"arms_beside": 1.0}, scanner=RAS, shape=(128, 128, 130))


@pytest.fixture(scope="module")
def label(phantom):
    return phantom.label("body_composition")


def part(image, label, slices=slice(None), across=slice(None)):
    """An image and a label of some of the slices, or of some of the columns."""
    affine = image.affine.copy()
    affine[:3, 2] *= slices.step or 1
    return replace(image, hu=image.hu[across, :, slices], affine=affine, file_shape=()), label[across, :, slices]


def margins(phantom):
    """The slices of the lower margin of the last ribs and of the upper margin of the crests."""
    landmarks = phantom.label("l3_slice")
    rib, crest = ((landmarks == L3_SLICE.ids[name]).any(axis=(0, 1)) for name in ("last_rib", "iliac_crest"))
    return int(np.flatnonzero(rib)[0]), int(np.flatnonzero(crest)[-1])


class TestWaist:
    def test_it_reaches_from_the_last_rib_to_the_crest(self, phantom, label):
        rib, crest = margins(phantom)
        waist = measure_whole_body(phantom.image, label).waist
        assert waist.slices.first == pytest.approx(crest + 1, abs=1)
        assert waist.slices.last == pytest.approx(rib - 1, abs=1)
        assert waist.length_cm == pytest.approx(waist.slices.count * phantom.spacing[2] / 10)

    @pytest.mark.slow
    @pytest.mark.parametrize(("seed", "slice_mm"), [(0, 1.0), (1, 3.0), (2, 5.0), (5, 7.0), (7, 1.5)])
    def test_so_it_does_in_other_people_with_other_slices(self, seed, slice_mm):
        scanner = Scanner(matrix=256, slice_mm=slice_mm, orientation="LPS", oblique_deg=(4.0, 3.0, 0.0))
        other = Phantom(seed, "abdomen", conditions={}, scanner=scanner)
        image = other.image
        label, landmarks = (
            replace(image, hu=other.label(task)).canonical().hu for task in ("body_composition", "l3_slice")
        )
        seen = [(landmarks == L3_SLICE.ids[name]).any(axis=(0, 1)) for name in ("last_rib", "iliac_crest")]
        waist = measure_whole_body(image.canonical(), label).waist
        off_mm = max(slice_mm + 0.1, 4.0)
        assert waist.slices.last * slice_mm == pytest.approx((np.flatnonzero(seen[0])[0] - 1) * slice_mm, abs=off_mm)
        assert waist.slices.first * slice_mm == pytest.approx((np.flatnonzero(seen[1])[-1] + 1) * slice_mm, abs=off_mm)

    def test_average_area_is_volume_over_length(self, phantom, label):
        waist = measure_whole_body(phantom.image, label).waist
        inside = label[:, :, waist.slices.first : waist.slices.last + 1]
        for name in ("muscle", "abdominal_visceral_fat", "subcutaneous_fat"):
            cm3 = (inside == ID[name]).sum() * phantom.image.voxel_cm3
            assert waist.area_cm2[name] == pytest.approx(cm3 / waist.length_cm)
        assert waist.body_fat_cm2 == pytest.approx(
            waist.area_cm2["abdominal_visceral_fat"] + waist.area_cm2["subcutaneous_fat"]
        )

    def test_slices_are_told_in_the_order_of_the_file(self, phantom, label):
        image = phantom.image
        told = to_json(measure_whole_body(image, label), image)
        turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt("ILP"))
        affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
        turned = CTImage(hu=orientations.apply_orientation(image.hu, turn), affine=affine)
        canonical = replace(turned, hu=orientations.apply_orientation(label, turn)).canonical().hu
        told_turned = to_json(measure_whole_body(turned.canonical(), canonical), turned)
        for name in ("waist", "torso"):
            low, high = told[name]["slices"]
            assert told_turned[name]["slices"] == [label.shape[2] - 1 - high, label.shape[2] - 1 - low]
        assert told_turned["waist"]["area_cm2"] == told["waist"]["area_cm2"]

    def test_arms_beside_it_do_not_count(self, with_arms):
        label = with_arms.label("body_composition")
        waist = measure_whole_body(with_arms.image, label).waist
        inside = slice(waist.slices.first, waist.slices.last + 1)
        forearm = with_arms.structure("forearm_muscle", "upper_arm_flexors", "upper_arm_extensors")[:, :, inside]
        muscle = (label[:, :, inside] == ID["muscle"]) & ~forearm
        assert forearm.sum() > 0.05 * muscle.sum()
        cm2 = muscle.sum() * with_arms.image.voxel_cm3 / waist.length_cm
        assert waist.area_cm2["muscle"] == pytest.approx(cm2, rel=0.01)

    @pytest.mark.parametrize("who", ["phantom", "with_arms"])
    def test_circumference_is_that_of_the_skin_that_was_drawn(self, who, request):
        phantom = request.getfixturevalue(who)
        waist = measure_whole_body(phantom.image, phantom.label("body_composition")).waist
        middle = (waist.slices.first + waist.slices.last) // 2
        z = float((phantom.image.affine @ [0, 0, middle, 1])[2]) / phantom.frame.height_scale
        drawn = ConvexHull(Trunk(phantom.frame).skin(z) * phantom.frame.width_scale).area / 10
        assert waist.circumference_cm == pytest.approx(drawn, rel=0.03)

    def test_what_the_field_of_view_cuts_off_has_no_area(self, phantom, label):
        whole = measure_whole_body(*part(phantom.image, label, across=slice(34, None)))
        assert whole.waist.area_cm2["subcutaneous_fat"] is None
        assert whole.waist.body_fat_cm2 is None
        assert whole.waist.circumference_cm is None
        assert any("beyond the sides" in sentence for sentence in whole.warnings)


class TestTorso:
    def test_it_is_what_lies_between_neck_and_mid_thigh_without_arms(self, with_arms):
        label = with_arms.label("body_composition")
        torso = measure_whole_body(with_arms.image, label).torso
        assert torso.missing == ()
        assert torso.slices.first <= 3
        arms = with_arms.structure("forearm_muscle", "upper_arm_flexors", "upper_arm_extensors")
        hanging = with_arms.structure("forearm_muscle")
        muscle = (label == ID["muscle"])[:, :, torso.slices.first : torso.slices.last + 1]
        voxel = with_arms.image.voxel_cm3
        least = muscle.sum() * voxel - arms.sum() * voxel
        most = muscle.sum() * voxel - hanging.sum() * voxel
        assert 0.98 * least < torso.volume_cm3["muscle"] < most

    def test_an_end_that_is_not_in_view_is_named_and_the_part_in_view_is_measured(self, phantom, label):
        n = label.shape[2]
        rib, crest = margins(phantom)
        for slices, missing in (
            (slice(0, rib + 40), ("neck",)),
            (slice(crest - 40, n), ("mid-thigh",)),
            (slice(crest - 40, rib + 40), ("neck", "mid-thigh")),
        ):
            image, cut = part(phantom.image, label, slices=slices)
            whole = measure_whole_body(image, cut)
            assert whole.torso.missing == missing
            assert whole.torso.volume_cm3["muscle"] > 1000
            assert all(end in whole.not_measured["torso_indices"] for end in missing)


class TestOtherViews:
    def test_legs_only_have_no_waist_no_torso_and_no_visceral_fat(self, phantom, label):
        whole = measure_whole_body(*part(phantom.image, label, slices=slice(0, 22)))
        assert (whole.torso, whole.waist) == (None, None)
        assert {"torso", "waist", "abdominal_visceral_fat"} <= set(whole.not_measured)
        assert whole.surface_m2 > 0.05

    def test_a_chest_has_no_waist_and_no_mid_thigh(self, phantom, label):
        whole = measure_whole_body(*part(phantom.image, label, slices=slice(margins(phantom)[0] + 30, None)))
        assert whole.waist is None
        assert "iliac crest" in whole.not_measured["waist"]
        assert "mid-thigh" in whole.torso.missing

    def test_a_single_slice_has_neither(self, phantom, label):
        whole = measure_whole_body(*part(phantom.image, label, slices=slice(80, 81)))
        assert whole.waist is None
        assert whole.torso is None or whole.torso.missing == ("neck", "mid-thigh")

    def test_one_hip_only_is_said(self, phantom, label):
        one = label.copy()
        one[64:, :, : margins(phantom)[1] + 5][one[64:, :, : margins(phantom)[1] + 5] == ID["bone"]] = ID["muscle"]
        whole = measure_whole_body(phantom.image, one)
        assert any("one hip bone" in sentence for sentence in whole.warnings)
        assert whole.waist is not None

    def test_a_label_with_some_classes_only_says_which_are_missing(self, phantom, label):
        fat_and_muscle = np.where(np.isin(label, [ID["muscle"], ID["subcutaneous_fat"]]), label, 0)
        whole = measure_whole_body(phantom.image, fat_and_muscle)
        assert (whole.torso, whole.waist, whole.surface_m2) == (None, None, None)
        assert "bone" in whole.not_measured["waist"]
        assert "skin" in whole.not_measured["body_surface"]

    def test_what_follows_for_a_known_patient_can_be_sent_as_json(self, phantom, label):
        whole = measure_whole_body(phantom.image, label)
        judgement = judge_whole_body(whole, PatientFacts(sex="M", height_m=1.7, weight_kg=70.0, age_years=60))
        assert judgement.calls
        json.dumps({**judgement.to_json(), **to_json(whole, phantom.image)})

    def test_an_empty_label_measures_nothing(self, phantom, label):
        whole = measure_whole_body(phantom.image, np.zeros_like(label))
        assert set(BODY_COMPOSITION.names) < set(whole.not_measured)


class TestSkin:
    def test_surface_of_a_cylinder_is_its_side_where_the_image_cuts_it(self):
        spacing = np.array([1.5, 1.0, 4.0])
        x, y = np.ogrid[-100:100:1.5, -100:100:1.0]
        label = np.zeros((*np.broadcast_shapes(x.shape, y.shape), 50), np.uint8)
        label[np.hypot(x, y) < 80] = ID["subcutaneous_fat"]
        label[(np.hypot(x, y) < 80) & (np.hypot(x, y) > 76)] = ID["skin"]
        height = (50 - 1) * 4.0
        assert surface_m2(label, spacing, ID["skin"]) == pytest.approx(2 * np.pi * 80 * height / 1e6, rel=0.04)

    def test_a_tape_bridges_hollows(self):
        x, y = np.ogrid[-150:150, -150:150]
        disc = np.hypot(x, y) < 100
        assert circumference_cm(disc, (1.0, 1.0)) == pytest.approx(2 * np.pi * 10, rel=0.01)
        hollow = disc & ~((abs(x) < 10) & (y > 50))
        assert circumference_cm(hollow, (1.0, 1.0)) == pytest.approx(2 * np.pi * 10, rel=0.01)
        assert circumference_cm(np.zeros((9, 9), bool), (1.0, 1.0)) is None
