"""Muscles by side on labels with known sizes: flipped, turned, one leg, wrong sides and swapped names."""

from __future__ import annotations

import numpy as np
import pytest

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.images import CTImage
from lib.measures.sides import Side, find_sides
from lib.measures.thigh import measure_thigh, misdrawn, to_json

ID = THIGH_MUSCLES.shown.ids
SPACING = (2.0, 2.0, 5.0)
MUSCLE_HU, FAT_HU = 55, -100
# Where each lies in the right leg: mm to the side of the femur and before it, and half its width.
PLACES = {
    "femur": (0, 0, 12), "vastus_lateralis": (36, 8, 14), "vastus_medialis": (-30, 12, 10),
    "rectus_femoris": (0, 44, 10), "gracilis": (-52, -12, 6), "adductor_magnus": (-28, -22, 12),
    "biceps_femoris": (14, -46, 10), "semimembranosus": (-12, -50, 8),
}  # fmt: skip


class Legs:
    """Two round thighs with square muscles; x grows to the patient's right."""

    def __init__(self, slices: int = 12, turn_deg: float = 0.0) -> None:
        self.shape = (220, 120, slices)
        x, y = ((np.arange(n) + 0.5 - n / 2) * mm for n, mm in zip(self.shape[:2], SPACING, strict=False))
        turn = np.deg2rad(turn_deg)
        self.x = (x[:, None] * np.cos(turn) + y[None, :] * np.sin(turn))[..., None]
        self.y = (-x[:, None] * np.sin(turn) + y[None, :] * np.cos(turn))[..., None]
        self.hu = np.full(self.shape, -1000.0)
        self.label = np.zeros(self.shape, np.uint8)

    def leg(self, side: Side, *, without: tuple[str, ...] = (), swapped: tuple[str, str] | None = None) -> Legs:
        outwards = 1 if side is Side.RIGHT else -1
        limb = np.broadcast_to((self.x - 95 * outwards) ** 2 + self.y**2 < 80**2, self.shape)
        self.hu[limb] = FAT_HU
        for name, (aside, ahead, half) in PLACES.items():
            if name in without:
                continue
            if swapped and name in swapped:
                name = swapped[1 - swapped.index(name)]  # noqa: PLW2901 - drawn under the other name
            square = (abs(self.x - outwards * (95 + aside)) < half) & (abs(self.y - ahead) < half)
            where = np.broadcast_to(square, self.shape)
            self.hu[where] = 800 if name == "femur" else MUSCLE_HU
            self.label[where] = ID[name]
        return self

    @property
    def image(self) -> CTImage:
        return CTImage(hu=self.hu.astype(np.int16), affine=np.diag([*SPACING, 1.0]))


def both(**left: object) -> Legs:
    return Legs().leg(Side.RIGHT).leg(Side.LEFT, **left)  # type: ignore[arg-type]


def cm3(name: str, slices: int = 12) -> float:
    """Of one leg."""
    return float((Legs(slices).leg(Side.RIGHT).label == ID[name]).sum()) * 0.02


class TestSizes:
    def test_each_muscle_and_group_on_each_side(self):
        legs = both()
        found = measure_thigh(legs.image, legs.label)
        for name in ("gracilis", "vastus_lateralis"):
            for side in Side:
                assert found.sizes[name][side].volume_cm3 == pytest.approx(cm3(name))
                assert found.sizes[name][side].mean_hu == MUSCLE_HU
            assert found.sizes[name]["both"].volume_cm3 == pytest.approx(2 * cm3(name))
        medial = cm3("gracilis") + cm3("adductor_magnus")
        assert found.sizes["medial"]["left"].volume_cm3 == pytest.approx(medial)
        assert found.sizes["gluteal"]["both"] is None
        assert found.warnings == ()
        assert found.sides == (Side.LEFT, Side.RIGHT)

    def test_fat_within_a_muscle_is_told_apart(self):
        legs = both()
        legs.hu[(legs.label == ID["gracilis"]) & (legs.x > 0) & (np.arange(12) < 3)] = FAT_HU
        right = measure_thigh(legs.image, legs.label).sizes["gracilis"][Side.RIGHT]
        assert right.fat_cm3 == pytest.approx(cm3("gracilis", 3))
        assert right.muscle_range_cm3 == pytest.approx(cm3("gracilis", 9))
        assert right.mean_hu == pytest.approx((3 * FAT_HU + 9 * MUSCLE_HU) / 12)

    def test_json_has_mm3_by_height_squared_and_none_without_a_height(self):
        legs = both()
        found = measure_thigh(legs.image, legs.label)
        right = to_json(found, 1.6)["thigh"]["muscles"]["gracilis"]["right"]
        assert right["volume_mm3"] == pytest.approx(1000 * cm3("gracilis"))
        assert right["volume_mm3_per_m2"] == pytest.approx(1000 * cm3("gracilis") / 1.6**2, abs=1)
        without = to_json(found, None)["thigh"]["muscles"]
        assert without["gracilis"]["right"]["volume_mm3_per_m2"] is None
        assert without["sartorius"] == {"left": None, "right": None, "both": None}
        assert len(without) == 27

    def test_what_reaches_an_end_of_the_image_is_named(self):
        legs = both()
        legs.label[:, :, [0, -1]] = np.where(legs.label[:, :, [0, -1]] == ID["gracilis"], ID["gracilis"], 0)
        assert measure_thigh(legs.image, legs.label).cut_off == ("gracilis",)

    def test_the_outline_of_the_cold_start_is_measured_and_is_no_muscle(self):
        legs = Legs().leg(Side.RIGHT, without=tuple(PLACES)[1:]).leg(Side.LEFT, without=tuple(PLACES)[1:])
        legs.label[(legs.hu == FAT_HU) & (legs.label == 0)] = ID["muscle_compartment"]
        found = measure_thigh(legs.image, legs.label)
        assert found.sizes["muscle_compartment"]["left"].fat_cm3 > 500
        assert found.sizes["all_muscles"]["both"] is None
        assert "muscles" in found.not_measured


class TestSides:
    @pytest.mark.parametrize("turn_deg", [-12.0, 9.0])
    def test_a_patient_who_is_turned(self, turn_deg):
        legs = Legs(turn_deg=turn_deg).leg(Side.RIGHT).leg(Side.LEFT)
        found = measure_thigh(legs.image, legs.label)
        for name in ("gracilis", "adductor_magnus", "biceps_femoris"):
            left, right = (found.sizes[name][side].volume_cm3 for side in Side)
            assert left == pytest.approx(right, rel=0.06)
        assert found.warnings == ()

    def test_any_order_of_the_files_axes_gives_the_same(self):
        legs = both(without=("gracilis",))
        affine = np.diag([*SPACING, 1.0])
        flipped = CTImage(hu=legs.image.hu[::-1, ::-1].copy(), affine=affine @ np.diag([-1, -1, 1, 1]))
        label = CTImage(hu=legs.label[::-1, ::-1].astype(np.int16), affine=flipped.affine).canonical().hu
        found = measure_thigh(flipped.canonical(), label)
        assert found.sizes == measure_thigh(legs.image, legs.label).sizes
        assert found.sizes["gracilis"]["left"] is None
        assert found.sizes["gracilis"]["right"] is not None

    def test_without_bones_the_two_legs_themselves_tell(self):
        legs = both()
        legs.label[legs.label == ID["femur"]] = 0
        assert measure_thigh(legs.image, legs.label).sizes["gracilis"]["left"].volume_cm3 == pytest.approx(
            cm3("gracilis")
        )

    @pytest.mark.parametrize("side", Side)
    def test_one_leg_is_told_by_its_medial_muscles(self, side):
        legs = Legs().leg(side)
        found = measure_thigh(legs.image, legs.label)
        other = Side.LEFT if side is Side.RIGHT else Side.RIGHT
        assert found.sides == (side,)
        assert found.sizes["gracilis"][side].volume_cm3 == pytest.approx(cm3("gracilis"))
        assert found.sizes["gracilis"][other] is None
        assert "Only one leg" in found.not_measured[other]

    def test_one_leg_without_such_muscles_has_no_side_and_keeps_its_sum(self):
        legs = Legs().leg(Side.LEFT, without=("vastus_lateralis", "biceps_femoris"))
        found = measure_thigh(legs.image, legs.label)
        assert found.sides == ()
        assert found.sizes["gracilis"]["both"].volume_cm3 == pytest.approx(cm3("gracilis"))
        assert found.sizes["gracilis"]["left"] is None
        assert {"left", "right"} <= found.not_measured.keys()

    def test_slices_without_a_pair_take_the_middle_from_their_neighbours(self):
        legs = both()
        legs.label[:, :, 4:8] = np.where(legs.label[:, :, 4:8] == ID["femur"], 0, legs.label[:, :, 4:8])
        sides = find_sides(legs.image, legs.label)
        assert np.ptp(sides.middles[:, 0]) < 2
        assert sides.middles[0, 0] == pytest.approx(220, abs=2)


class TestWhatIsWrong:
    def test_a_muscle_on_one_side_only_is_named(self):
        legs = both(without=("gracilis",))
        warnings = measure_thigh(legs.image, legs.label).warnings
        assert any("gracilis" in each and "right side only" in each for each in warnings)

    def test_swapped_names_are_named(self):
        legs = both(swapped=("vastus_lateralis", "vastus_medialis"))
        warnings = measure_thigh(legs.image, legs.label).warnings
        assert any("left" in each and "vastus_lateralis" in each and "vastus_medialis" in each for each in warnings)
        assert not any("On the right" in each for each in warnings)

    def test_a_brush_across_the_midline_makes_no_second_muscle(self):
        legs = both(without=("gracilis",))
        legs.label[108:111, 54:56, 5] = ID["gracilis"]
        found = measure_thigh(legs.image, legs.label)
        assert found.sizes["gracilis"]["left"] is None
        assert found.sizes["gracilis"]["right"].volume_cm3 == pytest.approx(cm3("gracilis"), rel=0.05)
        assert any("beyond the midline" in each for each in found.warnings)

    def test_a_short_stump_is_no_border_of_the_other_leg(self):
        legs = Legs(80).leg(Side.RIGHT).leg(Side.LEFT)
        left = legs.shape[0] // 2
        legs.hu[:left, :, :77], legs.label[:left, :, :77] = -1000, 0
        found = measure_thigh(legs.image, legs.label)
        assert found.sizes["gracilis"]["left"].volume_cm3 == pytest.approx(cm3("gracilis", 3))
        assert found.sizes["gracilis"]["right"].volume_cm3 == pytest.approx(cm3("gracilis", 80))

    def test_iliopsoas_beside_its_parts_breaks_the_rule(self):
        legs = both()
        legs.label[130:134, 60:64, 3] = ID["iliopsoas"]
        legs.label[140:144, 60:64, 3] = ID["psoas_major"]
        warnings = measure_thigh(legs.image, legs.label).warnings
        assert any("On the right iliopsoas" in each for each in warnings)


class TestView:
    """What the image does not show, or shows badly, whoever made the label."""

    @pytest.mark.parametrize("side", Side)
    def test_a_thigh_that_ends_within_the_image_is_a_stump(self, side):
        legs = Legs(30).leg(Side.RIGHT).leg(Side.LEFT)
        own = slice(110, None) if side is Side.RIGHT else slice(110)
        legs.hu[own, :, :15], legs.label[own, :, :15] = -1000, 0
        said = [each for each in measure_thigh(legs.image, legs.label).of_view if "amputation" in each]
        assert len(said) == 1
        assert f"The {side} thigh ends above the knee" in said[0]

    def test_a_leg_that_goes_on_below_what_is_drawn_is_none(self):
        legs = Legs(30).leg(Side.RIGHT).leg(Side.LEFT)
        legs.label[:, :, :15] = 0
        assert not any("amputation" in each for each in measure_thigh(legs.image, legs.label).of_view)

    def test_metal_is_said_though_it_is_not_drawn(self):
        legs = both()
        legs.hu[155:160, 55:60, 2:10] = 8000
        legs.label[155:160, 55:60, 2:10] = 0
        assert any("metal in hip or thigh (4 cm³)" in each for each in measure_thigh(legs.image, legs.label).of_view)

    def test_muscles_that_reach_an_end_of_the_image_are_named(self):
        legs = both()
        legs.label[:, :, [0, -1]] = 0
        assert measure_thigh(legs.image, legs.label).of_view == ()
        legs.label[115:117, 50:52, -1] = ID["gracilis"]
        assert [each.split(";")[0] for each in measure_thigh(legs.image, legs.label).of_view] == [
            "Cut off at an end of the image: gracilis"
        ]


class TestWithoutTheCT:
    @pytest.mark.parametrize("order", ["as drawn", "flipped"])
    def test_a_saved_label_is_doubted_as_the_answer_over_the_ct_doubts_it(self, order):
        legs = both(swapped=("vastus_lateralis", "vastus_medialis"), without=("gracilis",))
        label, affine = legs.label, legs.image.affine
        if order == "flipped":
            label, affine = label[::-1, :, ::-1], affine @ np.diag([-1.0, 1, -1, 1])
        doubts = misdrawn(label, affine)
        assert sorted(doubts) == sorted(measure_thigh(legs.image, legs.label).warnings)
        assert any("names may be swapped" in each for each in doubts)
        assert any("gracilis is drawn on the right side only" in each for each in doubts)

    def test_a_sound_label_is_not_doubted(self):
        assert misdrawn(both().label, both().image.affine) == ()

    def test_sides_that_only_the_ct_tells_are_not_guessed(self):
        legs = both(swapped=("vastus_lateralis", "vastus_medialis"))
        legs.label[legs.label == ID["femur"]] = 0
        assert misdrawn(legs.label, legs.image.affine) == ()
        assert misdrawn(np.zeros_like(legs.label), legs.image.affine) == ()
