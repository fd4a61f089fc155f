"""What clients send is understood, or refused in one sentence."""

import pytest

from lib.images import PatientFacts
from lib.infers.options import InferOptions
from lib.refusals import Refusal


class TestSliceIndex:
    @pytest.mark.parametrize("empty", ["", None, "  "])
    def test_an_emptied_field_means_search(self, empty):
        assert InferOptions.parse({"slice_index": empty}).slice_index is None

    @pytest.mark.parametrize(("given", "index"), [("0", 0), (0, 0), ("68", 68), (68, 68), (" 7 ", 7)])
    def test_numbers_and_their_text_are_the_same(self, given, index):
        assert InferOptions.parse({"slice_index": given}).slice_index == index

    @pytest.mark.parametrize("given", ["middle", "3.5", True, [3], "--3"])
    def test_anything_else_is_refused(self, given):
        with pytest.raises(Refusal, match="slice_index"):
            InferOptions.parse({"slice_index": given})


class TestFormat:
    def test_what_slicer_and_ohif_ask_for(self):
        assert InferOptions.parse({}).suffix == ".nii.gz"
        ohif = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
        assert InferOptions.parse(ohif).suffix == ".nrrd"

    @pytest.mark.parametrize("wish", [{"result_extension": ".exe"}, {"result_dtype": "object"}])
    def test_an_unknown_format_is_refused(self, wish):
        with pytest.raises(Refusal, match=next(iter(wish))):
            InferOptions.parse(wish)


class TestFacts:
    def test_facts_from_a_form(self):
        options = InferOptions.parse({"height_m": "1.75", "weight_kg": 80, "sex": "female", "age_years": "70"})
        assert options.facts == PatientFacts(height_m=1.75, weight_kg=80, sex="F", age_years=70)
        assert options.warnings == ()

    @pytest.mark.parametrize("height", ["175", 0.02, "tall", "nan"])
    def test_an_impossible_height_is_left_out_with_a_warning_not_converted(self, height):
        options = InferOptions.parse({"height_m": height, "sex": "M"})
        assert options.facts == PatientFacts(sex="M")
        assert "height_m" in options.warnings[0]

    def test_a_form_sent_unchosen_knows_nothing(self):
        assert InferOptions.parse({"height_m": "", "sex": ["", "M", "F"]}).facts == PatientFacts()
