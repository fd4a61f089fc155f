"""Body composition without weights: exact shapes for what must hold anywhere, the real CT for what an eye would see."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.cold_start.body import BodySegmentation, segment_body
from lib.images import CTImage, read_ct
from lib.refusals import Refusal

ID = BODY_COMPOSITION.ids
SPACING = np.array([2.0, 2.0, 5.0])
NOISE_HU = 8.0


class Canvas:
    """An empty CT in which shapes are drawn in mm; the middle of the slices is the origin."""

    def __init__(self, size_mm: tuple[float, float], slices: int) -> None:
        n, m = (round(s / d) for s, d in zip(size_mm, SPACING[:2], strict=True))
        self.hu = np.full((n, m, slices), -1000.0)
        # Bone is a lattice, never as even as soft tissue.
        self.bone = np.zeros((n, m, slices), bool)
        self.x = (np.arange(n) - n / 2 + 0.5)[:, None, None] * SPACING[0]
        self.y = (np.arange(m) - m / 2 + 0.5)[None, :, None] * SPACING[1]

    def ellipse(self, x: float, y: float, a: float, b: float) -> NDArray[np.bool_]:
        inside = ((self.x - x) / a) ** 2 + ((self.y - y) / b) ** 2 <= 1
        return np.broadcast_to(inside, self.hu.shape)

    def fill(self, where: NDArray[np.bool_], hu: float, *, bone: bool = False) -> None:
        self.hu[where] = hu
        self.bone[where] = bone

    def image(self) -> CTImage:
        noise = np.random.default_rng(0).normal(0, 1, self.hu.shape) * np.where(self.bone, 6 * NOISE_HU, NOISE_HU)
        return CTImage(hu=np.round(self.hu + noise).astype(np.int16), affine=np.diag([*SPACING, 1.0]))


class Abdomen(Canvas):
    """A waist: skin, fat, a ring of muscle, the spine with its muscles, and a cavity of fat with a liver and gas."""

    def __init__(self, slices: int = 12) -> None:
        super().__init__((440, 340), slices)
        self.body = self.ellipse(0, 0, 180, 125)
        self.skin = self.body & ~self.ellipse(0, 0, 178, 123)
        self.wall = self.ellipse(0, 0, 155, 100) & ~self.ellipse(0, 8, 140, 85)
        self.cavity = self.ellipse(0, 8, 140, 85)
        self.fill(self.body, -105)
        self.fill(self.skin, 10)
        self.fill(self.wall, 55)
        self.back = (self.ellipse(-34, -78, 30, 20) | self.ellipse(34, -78, 30, 20)) & ~self.skin
        self.fill(self.back, 55)
        self.liver = self.ellipse(-100, 25, 50, 50) & self.cavity
        self.fill(self.liver, 60)
        self.gas = self.ellipse(50, 45, 22, 16)
        self.fill(self.ellipse(50, 45, 25, 19), 40)
        self.fill(self.gas, -995)
        self.psoas = self.ellipse(-42, -36, 15, 19) | self.ellipse(42, -36, 15, 19)
        self.fill(self.psoas, 55)
        self.vertebra = self.ellipse(0, -35, 23, 18)
        self.fill(self.vertebra, 500, bone=True)
        self.marrow = self.ellipse(0, -35, 20, 15)
        self.fill(self.marrow, 140, bone=True)
        self.arch = self.ellipse(0, -64, 17, 16)
        self.canal = self.ellipse(0, -62, 10, 9)
        self.fill(self.arch, 500, bone=True)
        self.fill(self.canal, 25)


def share(result: BodySegmentation, where: NDArray[np.bool_], name: str) -> float:
    """How much of a region carries a class."""
    return float(np.mean(result.label[where] == ID[name]))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float(np.sum(a & b)) / float(np.sum(a) + np.sum(b))


def subcutaneous(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (label == ID["skin"]) | (label == ID["subcutaneous_fat"])


@pytest.fixture(scope="module")
def abdomen() -> Abdomen:
    return Abdomen()


@pytest.fixture(scope="module")
def waist(abdomen: Abdomen) -> BodySegmentation:
    return segment_body(abdomen.image())


class TestAbdomen:
    def test_every_voxel_has_one_class_of_the_schema(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        assert waist.label.shape == abdomen.hu.shape
        assert waist.label.dtype == np.uint8
        assert set(np.unique(waist.label)) == {0, *BODY_COMPOSITION.ids.values()}
        assert 0 <= waist.doubt <= 1

    def test_air_around_the_body_is_nothing(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        outside = ~abdomen.ellipse(0, 0, 183, 128)
        assert not waist.label[outside].any()

    def test_the_body_is_filled(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        assert np.mean(waist.label[abdomen.body] > 0) > 0.995

    def test_skin_is_the_rim_and_nothing_deeper(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        skin = waist.label == ID["skin"]
        assert skin.any(axis=(0, 1)).all()
        assert not skin[abdomen.ellipse(0, 0, 174, 119)].any()
        assert share(waist, abdomen.skin, "skin") > 0.8

    def test_fat_outside_the_wall_is_subcutaneous_and_inside_visceral(
        self, waist: BodySegmentation, abdomen: Abdomen
    ) -> None:
        fat = abdomen.hu == -105
        assert share(waist, fat & ~abdomen.ellipse(0, 0, 160, 105), "subcutaneous_fat") > 0.97
        assert share(waist, fat & abdomen.ellipse(0, 28, 120, 42), "abdominal_visceral_fat") > 0.95

    def test_wall_back_and_psoas_are_muscle(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        assert share(waist, abdomen.wall & (abdomen.hu == 55), "muscle") > 0.9
        assert share(waist, abdomen.back & (abdomen.hu == 55), "muscle") > 0.95
        assert share(waist, abdomen.psoas & (abdomen.hu == 55), "muscle") > 0.9

    def test_liver_is_an_organ_though_it_touches_the_wall_and_has_the_hu_of_muscle(
        self, waist: BodySegmentation, abdomen: Abdomen
    ) -> None:
        assert share(waist, abdomen.liver, "internal_organs_and_vessels") > 0.9

    def test_gas_in_the_bowel_belongs_to_the_organs(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        assert share(waist, abdomen.gas, "internal_organs_and_vessels") > 0.95

    def test_marrow_is_bone(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        assert share(waist, abdomen.marrow, "bone") > 0.95

    def test_canal_enclosed_by_bone_is_nervous_system(self, waist: BodySegmentation, abdomen: Abdomen) -> None:
        nerve = waist.label == ID["central_nervous_system"]
        assert dice(nerve, abdomen.canal) > 0.8

    def test_a_single_slice_gets_the_same_answer(self, waist: BodySegmentation) -> None:
        single = segment_body(Abdomen(slices=1).image())
        middle = waist.label[:, :, 6]
        assert dice(single.label[:, :, 0] == ID["muscle"], middle == ID["muscle"]) > 0.9
        assert dice(subcutaneous(single.label[:, :, 0]), subcutaneous(middle)) > 0.95

    def test_table_belongs_to_nothing(self) -> None:
        lying = Abdomen()
        table = np.broadcast_to(np.abs(lying.y + 140) < 3, lying.hu.shape)
        lying.fill(table, 150)
        assert not segment_body(lying.image()).label[table].any()

    def test_a_cleft_where_skin_touches_skin_is_skin(self) -> None:
        folded = Abdomen()
        cleft = folded.body & ~folded.skin & (folded.x > -2) & (folded.x < 4) & (folded.y < -101)
        folded.fill(cleft, 10)
        result = segment_body(folded.image())
        assert share(result, cleft, "skin") > 0.85
        assert share(result, folded.back & (folded.hu == 55), "muscle") > 0.95

    def test_metal_on_the_skin_is_not_skin(self) -> None:
        wired = Abdomen()
        electrode = wired.ellipse(0, 124, 5, 3)
        wired.fill(electrode, 2500)
        result = segment_body(wired.image())
        assert not (result.label[electrode] == ID["skin"]).any()

    def test_enhanced_aorta_is_a_vessel_and_not_bone(self) -> None:
        arterial = Abdomen()
        aorta = arterial.ellipse(4, -3, 12, 12)
        arterial.fill(aorta, 320)
        result = segment_body(arterial.image())
        assert share(result, aorta, "internal_organs_and_vessels") > 0.9
        assert share(result, arterial.marrow, "bone") > 0.9


class TestOtherParts:
    def test_everything_soft_in_legs_is_muscle(self) -> None:
        legs = Canvas((400, 240), 10)
        for x in (-90, 90):
            legs.fill(legs.ellipse(x, 0, 80, 85), -105)
            legs.fill(legs.ellipse(x, 0, 62, 66), 55)
            legs.fill(legs.ellipse(x, 5, 14, 14), 900)
            legs.fill(legs.ellipse(x, 5, 7, 7), -60)
        result = segment_body(legs.image())
        assert share(result, legs.hu == 55, "muscle") > 0.97
        assert share(result, legs.hu == 900, "bone") > 0.95
        assert share(result, legs.ellipse(90, 5, 6, 6) | legs.ellipse(-90, 5, 6, 6), "bone") > 0.95
        for absent in ("internal_organs_and_vessels", "abdominal_visceral_fat", "central_nervous_system"):
            assert not (result.label == ID[absent]).any()
        assert any("trunk" in warning for warning in result.warnings)

    def test_brain_is_nervous_system_and_skull_is_bone(self) -> None:
        head = Canvas((260, 280), 12)
        head.fill(head.ellipse(0, 0, 80, 100), 40)
        head.fill(head.ellipse(0, 0, 72, 92), 1000)
        brain = head.ellipse(0, 0, 66, 86)
        head.fill(brain, 35)
        result = segment_body(head.image())
        assert share(result, brain, "central_nervous_system") > 0.95
        assert share(result, head.hu == 1000, "bone") > 0.95
        assert not (result.label == ID["internal_organs_and_vessels"]).any()

    def test_no_body_is_refused_in_a_sentence(self) -> None:
        with pytest.raises(Refusal, match="no body"):
            segment_body(Canvas((200, 200), 4).image())


@pytest.fixture(scope="module")
def real_ct(real_ct_path) -> CTImage:  # type: ignore[no-untyped-def]
    return read_ct(real_ct_path)


@pytest.fixture(scope="module")
def real(real_ct: CTImage) -> BodySegmentation:
    return segment_body(real_ct)


class TestRealCT:
    def test_muscle_has_the_hu_of_muscle(self, real_ct: CTImage, real: BodySegmentation) -> None:
        values = real_ct.hu[real.label == ID["muscle"]]
        assert 10 < np.median(values) < 65
        assert np.mean((values >= -29) & (values <= 150)) > 0.95

    def test_volumes_are_those_of_an_adult(self, real_ct: CTImage, real: BodySegmentation) -> None:
        litres = np.bincount(real.label.ravel(), minlength=8) * real_ct.voxel_cm3 / 1000
        assert 4.5 < litres[ID["muscle"]] < 7
        assert 1.0 < litres[ID["bone"]] < 2.5
        assert 4 < litres[ID["internal_organs_and_vessels"]] < 7

    @pytest.mark.parametrize("part", [slice(0, 50), slice(0, 12), slice(66, 67), slice(58, 74)])
    def test_a_part_of_the_volume_gets_the_same_label(
        self, real_ct: CTImage, real: BodySegmentation, part: slice
    ) -> None:
        alone = segment_body(CTImage(hu=real_ct.hu[:, :, part].copy(), affine=real_ct.affine)).label
        whole = real.label[:, :, part]
        assert dice(alone == ID["muscle"], whole == ID["muscle"]) > 0.9
        assert dice(subcutaneous(alone), subcutaneous(whole)) > 0.95

    def test_a_mirrored_patient_gets_a_mirrored_label(self, real_ct: CTImage, real: BodySegmentation) -> None:
        hips = slice(0, 50)
        mirrored = segment_body(CTImage(hu=real_ct.hu[::-1, :, hips].copy(), affine=real_ct.affine)).label[::-1]
        whole = real.label[:, :, hips]
        assert dice(mirrored == ID["muscle"], whole == ID["muscle"]) > 0.93
        assert dice(subcutaneous(mirrored), subcutaneous(whole)) > 0.97

    def test_liver_and_bladder_are_organs(self, real: BodySegmentation) -> None:
        liver, bladder = real.label[85:95, 45:55, 100], real.label[58:64, 60:70, 16]
        assert np.mean(liver == ID["internal_organs_and_vessels"]) > 0.95
        assert np.mean(bladder == ID["internal_organs_and_vessels"]) > 0.95

    def test_marrow_with_the_hu_of_muscle_is_bone_in_the_sacrum_and_in_the_last_slice(
        self, real: BodySegmentation
    ) -> None:
        bone = real.label == ID["bone"]
        assert bone[46:50, 29:33, 43].mean() > 0.9
        assert bone[67:73, 28:33, 43].mean() > 0.9
        assert bone[53:58, 31:36, 111].mean() > 0.9

    def test_gluteal_paraspinal_and_psoas_are_muscle(self, real: BodySegmentation) -> None:
        muscle = real.label == ID["muscle"]
        gluteal, paraspinal, psoas = muscle[20:26, 30:36, 25], muscle[66:72, 20:26, 80], muscle[70:74, 38:42, 60]
        assert gluteal.mean() > 0.9
        assert paraspinal.mean() > 0.9
        assert psoas.mean() > 0.9
