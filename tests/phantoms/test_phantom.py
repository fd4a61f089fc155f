"""One phantom: what it holds, its geometry, that it comes out the same everywhere, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from lib.anatomy.schemas import L3_SLICE, SCHEMAS, THIGH_MUSCLES
from lib.phantoms.person import Person, Variant
from lib.phantoms.phantom import REGIONS, Phantom
from lib.phantoms.scanner import Scanner

SMALL = (64, 64, 30)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


class TestRegions:
    @pytest.mark.parametrize("region", REGIONS)
    def test_a_region_holds_the_labels_of_its_tasks(self, region):
        phantom = Phantom(5, region, shape=(80, 80, 1 if region == "l3" else 60))
        assert phantom.tasks
        for task in phantom.tasks:
            label = phantom.label(task)
            assert label.shape == phantom.image.shape
            assert label.any()
            assert label.max() <= len(SCHEMAS[task])

    def test_the_slice_of_l3_is_that_of_the_whole_abdomen(self):
        alone, abdomen = Phantom(3, "l3"), Phantom(3, shape=(96, 96, 120))
        assert alone.shape[2] == 1
        assert alone.l3_slice == 0
        areas = []
        for phantom in (alone, abdomen):
            k, pixel = phantom.l3_slice, phantom.spacing[0] * phantom.spacing[1]
            areas.append((phantom.label("l3_muscle")[:, :, k] > 0).sum() * pixel)
        assert areas[0] == pytest.approx(areas[1], rel=0.04)

    def test_a_thigh_holds_all_muscles_and_both_bones(self):
        label = Phantom(3, "thigh", shape=(160, 160, 90)).label("thigh_muscles")
        seen = {THIGH_MUSCLES.names[value - 1] for value in np.unique(label) if value}
        assert seen == set(THIGH_MUSCLES.names)

    def test_a_whole_body_holds_all_seven_classes(self):
        label = Phantom(3, "whole_body", shape=(120, 90, 150)).label("body_composition")
        assert set(np.unique(label)) == set(range(8))


class TestTheSameEverywhere:
    def test_the_same_seed_gives_the_same_voxels(self):
        first, second = (Phantom(11, shape=SMALL) for _ in range(2))
        assert np.array_equal(first.image.hu, second.image.hu)
        assert np.array_equal(first.label("body_composition"), second.label("body_composition"))

    def test_another_seed_gives_another_body(self):
        assert not np.array_equal(Phantom(11, shape=SMALL).image.hu, Phantom(12, shape=SMALL).image.hu)

    def test_labels_do_not_depend_on_what_was_asked_for_first(self):
        image_first, label_first = Phantom(11, shape=SMALL), Phantom(11, shape=SMALL)
        assert image_first.image.hu.any()
        assert np.array_equal(label_first.label("l3_tissue"), image_first.label("l3_tissue"))


class TestGeometry:
    @pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "IPL"])
    def test_an_orientation_turns_image_and_labels_alike(self, orientation):
        plain = Phantom(2, shape=SMALL, scanner=Scanner(orientation="RAS"))
        turned = Phantom(2, shape=SMALL, scanner=Scanner(orientation=orientation))
        assert "".join(turned.image.axis_codes) == orientation
        back = turned.image.canonical()
        assert np.array_equal(back.hu, plain.image.hu)
        assert np.allclose(back.affine, plain.image.affine)
        assert np.array_equal(turned.label("l3_muscle"), turned.image.from_canonical(plain.label("l3_muscle")))

    def test_an_oblique_pose_turns_the_affine_and_the_levels_with_it(self):
        straight = Phantom(2, shape=SMALL)
        oblique = Phantom(2, shape=SMALL, scanner=replace(straight.scanner, oblique_deg=(8.0, -5.0, 12.0)))
        assert np.allclose(oblique.image.spacing, straight.image.spacing)
        assert not np.allclose(oblique.image.affine, straight.image.affine)
        for phantom in (straight, oblique):
            inverse = np.linalg.inv(phantom.image.affine)
            voxel = inverse @ [*phantom.l3_endplate_mm, 1]
            axis = phantom.image.foot_to_head_axis
            assert voxel[axis] == pytest.approx(phantom.l3_slice, abs=0.5)

    def test_the_slice_of_l3_shows_l3_or_the_disc_below(self):
        phantom = Phantom(2, shape=(128, 128, 100))
        k = phantom.l3_slice
        label = phantom.label("l3_slice")
        assert label[:, :, k].any()

    @pytest.mark.parametrize(
        ("variant", "last_rib_beside", "transitional"),
        [
            (Variant(), "T12", None),
            (Variant(rib_12="absent", transition="sacralisation"), "T11", "L5"),
            (Variant(rib_l1=True, transition="lumbarisation"), "L1", "S1"),
        ],
    )
    def test_landmarks_are_marked_where_the_variant_has_them(self, variant, last_rib_beside, transitional):
        phantom = Phantom(2, person=Person(variant=variant), nearest=True, shape=(128, 128, 100), scanner=Scanner())
        label = phantom.label("l3_slice")

        def heights(name):
            voxels = np.argwhere(label == L3_SLICE.ids[name])
            return (phantom.image.affine[:3, :3] @ voxels.T + phantom.image.affine[:3, 3:])[2]

        level = phantom.levels[last_rib_beside]
        assert level.inferior_mm[2] < heights("last_rib").max() < level.superior_mm[2] + 15
        assert (
            phantom.levels["L5"].inferior_mm[2] - 10
            < heights("iliac_crest").mean()
            < phantom.levels["L3"].superior_mm[2]
        )
        marked = heights("transitional_vertebra")
        assert bool(len(marked)) == (transitional is not None)
        if transitional:
            level = phantom.levels[transitional]
            assert level.inferior_mm[2] < marked.mean() < level.superior_mm[2]


class TestAPerson:
    def test_taller_people_have_longer_spines(self):
        low, tall = (Phantom(4, person=Person(height_m=h)).levels for h in (1.55, 1.95))
        length = [found["T10"].superior_mm[2] - found["S1"].inferior_mm[2] for found in (low, tall)]
        assert length[1] / length[0] == pytest.approx(1.95 / 1.55)

    def test_more_psoas_at_l3_is_more_psoas_along_the_spine(self):
        volumes = []
        for psoas in (18.0, 27.0):
            phantom = Phantom(4, person=Person(psoas_cm2=psoas), shape=(200, 200, 60), scanner=Scanner())
            volumes.append((phantom.label("l3_muscle") == 1).sum() * phantom.image.voxel_cm3)
        assert volumes[1] / volumes[0] == pytest.approx(27 / 18, rel=0.1)


class TestRefusals:
    def test_a_label_that_the_region_does_not_hold(self):
        with pytest.raises(ValueError, match="thigh holds body_composition, thigh_muscles"):
            Phantom(1, "thigh").label("l3_muscle")
        with pytest.raises(ValueError, match="does not hold L3"):
            _ = Phantom(1, "thigh").l3_slice

    def test_an_unknown_region(self):
        with pytest.raises(ValueError, match=r"no region 'elbow'; there are abdomen"):
            Phantom(1, "elbow")

    @pytest.mark.parametrize("shape", [(0, 64, 10), (64, 64), (64, 64, 99999)])
    def test_an_impossible_shape(self, shape):
        with pytest.raises(ValueError, match="A shape is three numbers"):
            Phantom(1, shape=shape)

    def test_a_negative_seed(self):
        with pytest.raises(ValueError, match="0 or more, got -1"):
            Phantom(-1)

    def test_an_unknown_condition_and_a_strength_beyond_one(self):
        with pytest.raises(ValueError, match="no condition 'flu'"):
            Phantom(1, conditions={"flu": 1.0})
        with pytest.raises(ValueError, match=r"ascites is 0 to 1, got 1.5"):
            Phantom(1, conditions={"ascites": 1.5})

    def test_a_body_that_cannot_be_drawn(self):
        with pytest.raises(ValueError, match=r"cannot be drawn: psoas_cm2 150 \(nearest"):
            _ = Phantom(1, person=Person(psoas_cm2=150.0)).person

    def test_unless_the_nearest_that_can_be_drawn_will_do(self):
        assert Phantom(1, person=Person(psoas_cm2=150.0), nearest=True).person.psoas_cm2 < 100

    def test_orientations_and_angles_that_are_none(self):
        with pytest.raises(ValueError, match="orientation"):
            Scanner(orientation="LLS")
        with pytest.raises(ValueError, match="oblique"):
            Scanner(oblique_deg=(80.0, 0.0, 0.0))
