"""The skeletal muscle index and the calls, against numbers computed by hand."""

import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE, L3_TISSUE
from lib.images import CTImage, PatientFacts
from lib.measures.composition import measure
from lib.measures.indices import judge, judge_whole_body
from lib.measures.whole_body import Range, Torso, Waist, WholeBody


def composition(schema=L3_MUSCLE, *, values=(1, 2, 3), voxels=400, hu=50, slice_index=0):
    """A slice with voxels of 1 cm² in total area ``voxels`` x 0.25 cm² per class."""
    label = np.zeros((len(values) * voxels, 1, 1), np.uint8)
    for i, value in enumerate(values):
        label[i * voxels : (i + 1) * voxels] = value
    image = CTImage(hu=np.full(label.shape, hu, np.int16), affine=np.diag([5.0, 5.0, 3.0, 1.0]))
    return measure(image, label, schema, slice_index=slice_index)


class TestIndex:
    def test_it_is_the_area_in_the_muscle_range_over_the_height_squared(self):
        # 3 classes x 200 voxels x 0.25 cm² = 150 cm²; 150 / 1.75² = 48.98
        assert judge(composition(voxels=200), PatientFacts(height_m=1.75)).smi_cm2_m2 == pytest.approx(150 / 1.75**2)

    def test_without_the_height_there_is_none_and_a_warning_says_so(self):
        judgement = judge(composition(), PatientFacts(sex="M"))
        assert judgement.smi_cm2_m2 is None
        assert any("height" in warning for warning in judgement.warnings)
        assert {call.cutoff for call in judgement.calls} >= {"derstine_2018_sma"}

    def test_muscle_outside_its_hu_range_does_not_count(self):
        assert judge(composition(hu=200), PatientFacts(height_m=1.75, sex="M")).smi_cm2_m2 is None

    def test_a_volume_has_no_index(self):
        body = composition(BODY_COMPOSITION, slice_index=None)
        assert judge(body, PatientFacts(height_m=1.75, sex="M")).to_json()["calls"] == []


class TestCalls:
    @pytest.mark.parametrize(("voxels", "low"), [(214, False), (213, True)])
    def test_a_man_just_above_and_below_prado(self, voxels, low):
        # 52.4 cm²/m² x 1.75² = 160.475 cm²; 3 x 214 x 0.25 = 160.5 and 3 x 213 x 0.25 = 159.75
        judgement = judge(composition(voxels=voxels), PatientFacts(height_m=1.75, sex="M"))
        call = next(call for call in judgement.calls if call.cutoff == "prado_2008_smi")
        assert call.is_abnormal is low
        assert call.statement == ("low muscle mass" if low else "muscle mass not low")

    def test_an_unknown_sex_leaves_the_cut_offs_that_differ_and_says_so(self):
        judgement = judge(composition(), PatientFacts(height_m=1.75))
        assert "prado_2008_smi" not in {call.cutoff for call in judgement.calls}
        assert {"prado_2008_smi"} <= {no_call.cutoff for no_call in judgement.no_calls}
        assert any("sex" in warning for warning in judgement.warnings)

    def test_martin_needs_the_weight_for_the_bmi(self):
        without = judge(composition(), PatientFacts(height_m=1.75, sex="M"))
        assert ("martin_2013_smi", "BMI unknown") in {(n.cutoff, n.reason) for n in without.no_calls}
        heavy = judge(composition(), PatientFacts(height_m=1.75, sex="M", weight_kg=90))
        assert next(c.threshold for c in heavy.calls if c.cutoff == "martin_2013_smi") == 53

    def test_nobody_is_called_sarcopenic(self):
        judgement = judge(composition(voxels=50), PatientFacts(height_m=1.75, sex="M", weight_kg=90))
        assert any(call.is_abnormal for call in judgement.calls)
        assert not any("sarcop" in call.statement for call in judgement.calls)

    def test_visceral_fat_is_measured_at_l3_where_jasso_measured_at_the_umbilicus(self):
        judgement = judge(composition(L3_TISSUE, hu=-100), PatientFacts(sex="F"))
        assert "umbilicus" in next(n.reason for n in judgement.no_calls if n.cutoff == "jasso_2002_visceral_fat")

    @pytest.mark.parametrize(("voxels", "said"), [(321, "high visceral fat area"), (320, "visceral fat area not high")])
    def test_visceral_fat_of_a_woman_just_above_and_below_doyle(self, voxels, said):
        # 80.1 cm²; 321 x 0.25 = 80.25 and 320 x 0.25 = 80.0
        judgement = judge(composition(L3_TISSUE, hu=-100, voxels=voxels), PatientFacts(sex="F"))
        assert next(c.statement for c in judgement.calls if c.cutoff == "doyle_2013_visceral_fat") == said


@pytest.mark.parametrize(("contrast", "said"), [(True, "Contrast raises"), (None, "not known"), (False, None)])
def test_contrast_is_a_warning_beside_the_attenuation(contrast, said):
    warnings = judge(composition(), PatientFacts(sex="F", height_m=1.6, contrast=contrast)).warnings
    assert [said in warning for warning in warnings] == [True] if said else not warnings


class TestWholeBody:
    """Averages over the waist and volumes of the torso (Lee 2021)."""

    @staticmethod
    def body(*, missing=(), muscle=120.0, visceral=100.0):
        slices = Range(first=10, last=29)
        sizes = {"muscle": muscle, "abdominal_visceral_fat": visceral, "subcutaneous_fat": 230.0}
        return WholeBody(
            waist=Waist(slices=slices, length_cm=8.0, area_cm2=sizes, circumference_cm=None),
            torso=Torso(
                slices=slices, missing=missing, volume_cm3={name: size and 80 * size for name, size in sizes.items()}
            ),
        )

    def test_indices_are_sizes_over_height_squared_and_over_weight(self):
        facts = PatientFacts(height_m=1.6, weight_kg=64, sex="F", contrast=False)
        judgement = judge_whole_body(self.body(), facts)
        assert judgement.indices == {
            "waist_smi_cm2_m2": pytest.approx(120 / 1.6**2),
            "waist_bfi_cm2_kg": pytest.approx(330 / 64),
            "torso_smi_cm3_m2": pytest.approx(80 * 120 / 1.6**2),
            "torso_bfi_cm3_kg": pytest.approx(80 * 330 / 64),
            "bmi_kg_m2": pytest.approx(25),
        }
        assert judgement.warnings == ()

    @pytest.mark.parametrize(
        ("sex", "muscle", "fat", "low", "high"),
        [("M", 103, 300, False, False), ("M", 102, 301, True, True), ("F", 89, 371, True, False)],
    )
    def test_cut_offs_are_those_of_the_waist(self, sex, muscle, fat, low, high):
        # 40 and 35 cm²/m² x 1.6² = 102.4 and 89.6 cm²; 4.7 and 5.8 cm²/kg x 64 kg = 300.8 and 371.2 cm²
        whole = self.body(muscle=muscle, visceral=fat - 230.0)
        judgement = judge_whole_body(whole, PatientFacts(height_m=1.6, weight_kg=64, sex=sex, contrast=False))
        assert {call.cutoff: call.is_abnormal for call in judgement.calls} == {
            "lee_2021_smi": low,
            "lee_2021_bfi": high,
        }

    def test_what_is_not_known_gives_no_index_and_a_sentence(self):
        judgement = judge_whole_body(self.body(), PatientFacts())
        assert set(judgement.indices.values()) == {None}
        assert judgement.calls == ()
        assert any("height" in warning for warning in judgement.warnings)
        assert any("weight" in warning for warning in judgement.warnings)

    def test_a_torso_that_is_not_in_view_as_a_whole_has_no_index(self):
        facts = PatientFacts(height_m=1.6, weight_kg=64, sex="F", contrast=False)
        indices = judge_whole_body(self.body(missing=("neck",)), facts).indices
        assert indices["torso_smi_cm3_m2"] is None
        assert indices["torso_bfi_cm3_kg"] is None
        assert indices["waist_smi_cm2_m2"] is not None

    @pytest.mark.parametrize("contrast", [True, None])
    def test_cut_offs_without_contrast_on_a_ct_that_may_have_it_are_said_to_be(self, contrast):
        facts = PatientFacts(height_m=1.6, weight_kg=64, sex="F", contrast=contrast)
        assert any("without contrast" in warning for warning in judge_whole_body(self.body(), facts).warnings)

    def test_fat_of_one_kind_only_is_no_body_fat(self):
        facts = PatientFacts(height_m=1.6, weight_kg=64, sex="F", contrast=False)
        assert judge_whole_body(self.body(visceral=None), facts).indices["waist_bfi_cm2_kg"] is None
