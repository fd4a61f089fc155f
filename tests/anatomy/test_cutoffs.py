"""Published cut-offs: the figures, which side the threshold falls on, and what happens when facts are missing."""

from __future__ import annotations

import re

import pytest

from lib.anatomy.cutoffs import CUTOFFS, Comparison, Level, Quantity, classify

SMI, SMA, HU = Quantity.SMI_L3, Quantity.SMA_L3, Quantity.MUSCLE_ATTENUATION_L3
L3, WAIST, UMBILICUS = Level.L3, Level.WAIST, Level.UMBILICUS

# name, quantity, level, sex, BMI, threshold
PUBLISHED_LOW = [
    ("prado_2008_smi", SMI, L3, "M", None, 52.4),
    ("prado_2008_smi", SMI, L3, "F", None, 38.5),
    ("martin_2013_smi", SMI, L3, "M", 24.9, 43),
    ("martin_2013_smi", SMI, L3, "M", 25.0, 53),
    ("martin_2013_smi", SMI, L3, "F", 24.9, 41),
    ("martin_2013_smi", SMI, L3, "F", 31.0, 41),
    ("martin_2013_attenuation", HU, L3, "M", 24.9, 41),
    ("martin_2013_attenuation", HU, L3, "F", 25.0, 33),
    ("nishikawa_2016_smi", SMI, L3, "M", None, 42),
    ("nishikawa_2016_smi", SMI, L3, "F", None, 38),
    ("van_der_werf_2018_smi", SMI, L3, "M", None, 41.6),
    ("van_der_werf_2018_smi", SMI, L3, "F", None, 32.0),
    ("van_der_werf_2018_sma", SMA, L3, "M", None, 134.0),
    ("van_der_werf_2018_sma", SMA, L3, "F", None, 89.2),
    ("van_der_werf_2018_attenuation", HU, L3, "M", None, 29.3),
    ("van_der_werf_2018_attenuation", HU, L3, "F", None, 22.0),
    ("derstine_2018_smi", SMI, L3, "M", None, 45.4),
    ("derstine_2018_smi", SMI, L3, "F", None, 34.4),
    ("derstine_2018_sma", SMA, L3, "M", None, 144.3),
    ("derstine_2018_sma", SMA, L3, "F", None, 92.2),
    ("derstine_2018_attenuation", HU, L3, "M", None, 38.5),
    ("derstine_2018_attenuation", HU, L3, "F", None, 34.3),
    ("lee_2021_smi", Quantity.SMI_WAIST, WAIST, "M", None, 40),
    ("lee_2021_smi", Quantity.SMI_WAIST, WAIST, "F", None, 35),
]


def _call(name, *args, **kwargs):
    return next(call for call in classify(*args, **kwargs).calls if call.cutoff == name)


def _reasons(*args, **kwargs):
    return {no_call.cutoff: no_call.reason for no_call in classify(*args, **kwargs).no_calls}


class TestThresholds:
    @pytest.mark.parametrize("published", PUBLISHED_LOW, ids=lambda row: f"{row[0]}-{row[3]}-{row[4]}")
    def test_below_is_low_and_the_threshold_itself_is_not(self, published):
        name, quantity, level, sex, bmi, threshold = published

        def at(value):
            return _call(name, quantity, value, sex=sex, bmi=bmi, level=level)

        assert at(threshold - 0.01).is_abnormal
        assert not at(threshold).is_abnormal
        assert not at(threshold + 0.01).is_abnormal
        assert (at(threshold).threshold, at(threshold).comparison) == (threshold, "<")

    @pytest.mark.parametrize(
        ("name", "quantity", "level", "sex", "threshold"),
        [
            ("lee_2021_bfi", Quantity.BFI_WAIST, WAIST, "M", 4.7),
            ("lee_2021_bfi", Quantity.BFI_WAIST, WAIST, "F", 5.8),
            ("doyle_2013_visceral_fat", Quantity.VISCERAL_FAT_AREA, L3, "M", 163.8),
            ("doyle_2013_visceral_fat", Quantity.VISCERAL_FAT_AREA, L3, "F", 80.1),
        ],
    )
    def test_fat_is_high_only_above_the_threshold(self, name, quantity, level, sex, threshold):
        def abnormal(value):
            return _call(name, quantity, value, sex=sex, level=level).is_abnormal

        assert [abnormal(threshold + d) for d in (-0.01, 0.0, 0.01)] == [False, False, True]

    @pytest.mark.parametrize("sex", ["M", "F", None])
    def test_visceral_fat_is_high_from_100_on_whatever_the_sex(self, sex):
        def abnormal(value):
            call = _call("jasso_2002_visceral_fat", Quantity.VISCERAL_FAT_AREA, value, sex=sex, level=UMBILICUS)
            return call.is_abnormal

        assert [abnormal(value) for value in (99.9, 100.0, 100.1)] == [False, True, True]

    def test_every_published_threshold_is_tested(self):
        tested = {row[0] for row in PUBLISHED_LOW} | {
            "lee_2021_bfi", "doyle_2013_visceral_fat", "jasso_2002_visceral_fat"
        }  # fmt: skip
        assert tested == {cutoff.name for cutoff in CUTOFFS}

    def test_cutoffs_disagree_and_all_are_told(self):
        calls = classify(SMI, 44.0, sex="M", bmi=24.0, level=L3).calls
        assert {call.cutoff: call.is_abnormal for call in calls} == {
            "prado_2008_smi": True,
            "martin_2013_smi": False,
            "nishikawa_2016_smi": False,
            "van_der_werf_2018_smi": False,
            "derstine_2018_smi": True,
        }


class TestMissingFacts:
    def test_unknown_sex_is_never_guessed(self):
        result = classify(SMI, 30.0, sex=None, bmi=22.0, level=L3)
        assert result.calls == ()
        assert {no_call.reason for no_call in result.no_calls} == {"sex unknown"}

    def test_unknown_bmi_stops_only_what_depends_on_it(self):
        assert _reasons(SMI, 45.0, sex="M", level=L3) == {"martin_2013_smi": "BMI unknown"}
        assert _reasons(SMI, 45.0, sex="F", level=L3) == {}

    def test_attenuation_of_martin_needs_the_bmi_and_not_the_sex(self):
        assert _call("martin_2013_attenuation", HU, 40.0, sex=None, bmi=22.0, level=L3).is_abnormal
        assert _reasons(HU, 40.0, sex=None, level=L3)["martin_2013_attenuation"] == "BMI unknown"

    def test_a_cutoff_of_another_level_is_not_applied(self):
        result = classify(Quantity.VISCERAL_FAT_AREA, 150.0, sex="M", level=L3)
        assert [c.cutoff for c in result.calls] == ["doyle_2013_visceral_fat"]
        assert [n.reason for n in result.no_calls] == ["published for the level umbilicus, measured at L3"]

    @pytest.mark.parametrize("sex", ["M", "F", None])
    @pytest.mark.parametrize("bmi", [None, 22.0])
    @pytest.mark.parametrize("level", list(Level))
    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_every_cutoff_is_either_called_or_explained(self, quantity, level, bmi, sex):
        result = classify(quantity, 40.0, sex=sex, bmi=bmi, level=level)
        named = [call.cutoff for call in result.calls] + [no_call.cutoff for no_call in result.no_calls]
        assert sorted(named) == sorted(c.name for c in CUTOFFS if c.quantity is quantity)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_value_that_is_no_number_is_refused(self, value):
        with pytest.raises(ValueError, match="finite"):
            classify(SMI, value, sex="M", level=L3)

    @pytest.mark.parametrize("bmi", [0.0, -3.0, float("nan")])
    def test_impossible_bmi_is_refused(self, bmi):
        with pytest.raises(ValueError, match="BMI"):
            classify(SMI, 40.0, sex="M", bmi=bmi, level=L3)


class TestWords:
    @pytest.mark.parametrize(
        ("quantity", "level", "value", "statement"),
        [
            (SMI, L3, 10.0, "low muscle mass"),
            (SMI, L3, 90.0, "muscle mass not low"),
            (HU, L3, 10.0, "low muscle attenuation"),
            (Quantity.VISCERAL_FAT_AREA, UMBILICUS, 150.0, "high visceral fat area"),
            (Quantity.BFI_WAIST, WAIST, 2.0, "body fat not high"),
        ],
    )
    def test_statement_names_the_measurement(self, quantity, level, value, statement):
        calls = classify(quantity, value, sex="F", bmi=22.0, level=level).calls
        assert {call.statement for call in calls} == {statement}

    def test_no_call_says_sarcopenia(self):
        for cutoff in CUTOFFS:
            for value in (1.0, 500.0):
                for call in classify(cutoff.quantity, value, sex="F", bmi=22.0, level=cutoff.level).calls:
                    assert "sarcopeni" not in (call.statement + call.population).lower()


class TestProvenance:
    def test_names_are_unique(self):
        assert len({cutoff.name for cutoff in CUTOFFS}) == len(CUTOFFS)

    @pytest.mark.parametrize("cutoff", CUTOFFS, ids=lambda cutoff: cutoff.name)
    def test_every_cutoff_says_from_whom_and_where_it_was_published(self, cutoff):
        year = next(part for part in cutoff.name.split("_") if part.isdecimal())
        assert year in cutoff.source
        assert re.search(r"doi:10\.\d{4,}/\S+$", cutoff.source)
        assert cutoff.population

    @pytest.mark.parametrize("cutoff", CUTOFFS, ids=lambda cutoff: cutoff.name)
    def test_muscle_is_low_and_fat_is_high(self, cutoff):
        is_fat = "fat" in cutoff.quantity.finding
        assert (cutoff.comparison is Comparison.BELOW) is not is_fat
        assert (cutoff.muscle_hu is None) is is_fat
