"""Statistics against published examples and numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.datasets import spector

from lib.evaluation.agreement_summary import agree
from lib.evaluation.cut_offs import regression_cut_off
from lib.evaluation.diagnosis import diagnose
from lib.evaluation.estimates import finite_pairs, mean, pearson, proportion, spread
from lib.evaluation.groups import compare_groups
from lib.evaluation.level_errors import LevelError, summarise_levels, summarise_sizes
from lib.evaluation.logistic import fit_logistic
from lib.evaluation.paired import compare_pairs
from lib.evaluation.roc import compare_rocs

# Bland and Altman 1986, Table 1: peak expiratory flow rate (l/min) of 17 subjects, first readings of the two meters.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# DeLong 1988: albumin, total protein, K-G score and whether surgery helped, of 43 patients with ovarian cancer, as the
# documentation of SAS prints them; K-G is reversed there, so that higher is better.
SURGERY = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


class TestAgreement:
    def test_the_example_of_bland_and_altman(self):
        found = agree([float(v) for v in MINI], [float(v) for v in WRIGHT], relative=True)
        of = found.bland_altman
        assert of.bias.value == pytest.approx(-2.1, abs=0.05)
        assert of.sd == pytest.approx(38.8, abs=0.05)
        assert (of.bias.low, of.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
        assert (of.lower.value, of.upper.value) == pytest.approx((-2.12 - 1.96 * 38.77, -2.12 + 1.96 * 38.77), abs=0.05)
        # Published for 2 SD in place of 1.96: -79.7 (-114.3 to -45.1); the width of the interval is the same.
        assert of.lower.high - of.lower.low == pytest.approx(114.3 - 45.1, abs=0.5)
        assert found.r.value == pytest.approx(0.94, abs=0.005)
        assert found.cases == 17

    def test_numbers_by_hand(self):
        found = agree([100.0, 200.0, 50.0], [110.0, 190.0, 60.0], relative=True)
        assert found.mae.value == pytest.approx(10)
        assert found.bland_altman.bias.value == pytest.approx(10 / 3)
        assert found.error_percent.mean.value == pytest.approx((10 + 5 + 20) / 3)
        assert (found.reference.mean.value, found.found.mean.value) == pytest.approx((350 / 3, 120))

    def test_the_interval_of_the_mean_error_is_always_the_same_and_holds_it(self):
        values = [[float(v) for v in each] for each in (MINI, WRIGHT)]
        first, again = (agree(*values, relative=True).mae for _ in range(2))
        assert first == again
        assert first.low < first.value < first.high

    @pytest.mark.parametrize("values", [[], [1.0], [3.0, 3.0, 3.0], [None, math.nan]])
    def test_what_cannot_be_computed_says_why(self, values):
        found = agree(values, values, relative=True)
        for each in (found.r, found.icc):
            assert each.value is None
            assert each.why_not
        assert found.difference_test.p is None
        assert found.difference_test.why_not

    def test_three_cases_that_disagree_have_an_icc_and_the_reason_why_it_has_no_interval(self):
        found = agree([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], relative=True)
        assert found.icc.value == pytest.approx(-3)
        assert (found.icc.low, found.icc.high) == (None, None)
        assert "too few cases" in found.icc.why_not

    def test_a_reference_of_zero_has_no_error_in_percent(self):
        found = agree([0.0, 10.0, 20.0], [5.0, 11.0, 20.0], relative=True)
        assert found.error_percent.cases == 2
        assert found.error_percent.mean.value == pytest.approx(5)

    def test_nan_is_no_value_and_pairs_stay_pairs(self):
        x, y = finite_pairs([1.0, math.nan, 3.0, 4.0], [10.0, 20.0, None, 40.0])
        assert (list(x), list(y)) == ([1, 4], [10, 40])


class TestEstimates:
    def test_wilson_of_no_failure_in_ten(self):
        found = proportion(10, 10)
        assert found.value == 1
        assert found.low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)  # n / (n + z²)
        assert found.high == pytest.approx(1)

    def test_anscombe(self):
        x = [10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
        y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
        r, test = pearson(x, y)
        assert r.value == pytest.approx(0.816, abs=0.0005)
        assert test.p == pytest.approx(0.00217, abs=1e-5)
        found = regression_cut_off(x, y, 8.0)
        assert (found.slope, found.intercept) == pytest.approx((0.5, 3.0), abs=0.001)
        assert found.value.value == pytest.approx(7.0, abs=0.002)
        assert found.value.low < 7 < found.value.high
        assert not found.outside
        assert regression_cut_off(x, y, 20.0).outside

    def test_one_case_has_a_mean_and_nothing_more(self):
        assert mean([3.0]).value == 3
        assert mean([3.0]).low is None
        assert spread([3.0]).sd is None
        assert spread([None]).mean.why_not


class TestPairs:
    def test_the_example_of_benjamini_and_hochberg(self):
        """1995, section 3.2: of 15 p-values the procedure rejects 4 at 0.05, Bonferroni's and Holm's 3."""
        p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
             0.7590, 1.0]  # fmt: skip
        first, second = {}, {}
        for number, wanted in enumerate(p):
            first[str(number)], second[str(number)] = _values_with(wanted)
        found = compare_pairs(first, second)
        assert [each.t.p for each in found.values()] == pytest.approx(p, abs=1e-6)
        assert sum(each.benjamini_hochberg <= 0.05 for each in found.values()) == 4
        assert sum(each.holm <= 0.05 for each in found.values()) == 3

    def test_darwins_maize(self):
        """Heights of 15 pairs of plants, an inch in eighths (Wilcoxon 1945 on Darwin 1876): 24 of 120, p = 0.0413."""
        differences = [6.0, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]
        found = compare_pairs({"a": [0.0] * 15}, {"a": differences})["a"]
        assert found.wilcoxon.p == pytest.approx(0.041259765625)
        assert found.t.p == pytest.approx(0.0497, abs=0.00005)  # Fisher 1935, section 17: t = 2.148

    def test_sources_that_never_differ_have_no_test(self):
        found = compare_pairs({"psoas": [0.9, 0.8, 0.7]}, {"psoas": [0.9, 0.8, 0.7]})["psoas"]
        assert found.difference.value == 0
        assert found.t.p is None
        assert found.t.why_not
        assert found.holm is None

    def test_only_cases_that_both_have_count(self):
        found = compare_pairs({"psoas": [0.9, None, 0.7]}, {"psoas": [0.8, 0.1, 0.65]})["psoas"]
        assert found.cases == 2
        assert found.difference.value == pytest.approx(-0.075)
        assert found.worst == (0.7, 0.65)


def _values_with(p: float) -> tuple[list[float], list[float]]:
    """Two columns whose paired t-test has a given p: differences -1, 0, 1 moved by what that t needs."""
    from scipy import stats

    moved = stats.t.isf(p / 2, 2) * 1 / math.sqrt(3)
    return [0.0, 0.0, 0.0], [moved - 1, moved, moved + 1]


class TestGroups:
    def test_students_own_sleep_data(self):
        """Student 1908, sleep gained with two drugs, as R prints for them: p = 0.07919 with equal variances."""
        one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
        other = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
        found = compare_groups([*one, *other, 1.0], [*["a"] * 10, *["b"] * 10, None])
        assert found.test.p == pytest.approx(0.07919, abs=5e-6)
        assert found.groups["a"].mean.value == pytest.approx(0.75)
        assert found.unknown == 1

    def test_one_group_or_one_case_have_no_test(self):
        assert compare_groups([1.0, 2.0], ["a", "a"]).test.why_not
        assert compare_groups([1.0, 2.0, 3.0], ["a", "a", "b"]).test.why_not


class TestLevels:
    def test_the_shares_of_ha(self):
        """2021, internal validation: 96.6 % of 438 normal and 67.2 % of 58 variant spines within 10 mm, p < 0.001."""
        errors = [
            LevelError(case=str(i), source="a", distance_mm=2.0 if i < right else 25.0, variant=variant)
            for variant, count, right in (("normal", 438, 423), ("numeric", 58, 39))
            for i in range(count)
        ]
        everyone, normal, variants, numeric = summarise_levels(errors)
        assert normal.success.value == pytest.approx(0.966, abs=0.0005)
        assert variants.success.value == numeric.success.value == pytest.approx(0.672, abs=0.0005)
        assert everyone.cases == 496
        assert variants.success_test.p < 0.001
        assert variants.distance_test.p < 0.001

    def test_what_was_not_found_is_a_failure_without_a_distance(self):
        errors = [LevelError(case=str(i), source="a", distance_mm=mm) for i, mm in enumerate((None, 0.0, 9.9, 10.0))]
        (found,) = summarise_levels(errors)
        assert found.success.value == 0.5
        assert (found.not_found, found.largest) == (1, 10)
        assert found.distance.mean.value == pytest.approx(19.9 / 3)

    def test_where_all_are_found_there_is_nothing_to_test(self):
        errors = [
            LevelError(case=str(i), source="a", distance_mm=1.0 + i % 2, variant=("normal", "sacralisation")[i // 3])
            for i in range(6)
        ]
        assert summarise_levels(errors)[2].success_test.why_not

    def test_areas_by_where_the_slice_lies_by_hand(self):
        """Four cases: two normal ones found, a variant found, a variant missed by 20 mm."""
        variants, distances = ("normal", "normal", "sacralisation", "sacralisation"), (0.0, 5.0, 0.0, 20.0)
        errors = [
            LevelError(case=str(i), source="a", distance_mm=mm, variant=variant)
            for i, (mm, variant) in enumerate(zip(distances, variants, strict=True))
        ]
        groups = {each.group: each for each in summarise_sizes(errors, [100.0] * 4, [101.0, 99.0, 104.0, 80.0])}
        assert list(groups) == [
            "all", "normal anatomy", "anatomic variants", "sacralisation", "within 10 mm", "farther off"
        ]  # fmt: skip
        assert groups["all"].agreement.error_percent.mean.value == pytest.approx((1 + 1 + 4 + 20) / 4)
        far = groups["farther off"]
        assert (far.agreement.found.mean.value, far.agreement.cases) == (80, 1)
        assert far.difference_percent.bias.value == pytest.approx(100 * -20 / 90)
        assert far.error_test.why_not == "a group has only one case"
        variants = groups["anatomic variants"]
        # errors of 4 and 20 % against 1 and 1 %: t = 11 / sqrt((128 + 0) / 2 * (1 / 2 + 1 / 2)) = 11 / 8 with 2 df
        assert variants.error_test.p == pytest.approx(1 - (11 / 8) / math.sqrt(2 + (11 / 8) ** 2), abs=1e-9)


class TestOutcomes:
    def test_the_odds_of_spector_and_mazzeo(self):
        """Greene, Econometric Analysis, Table 21.1: logit coefficients 2.826, 0.095 and 2.379."""
        data = spector.load_pandas().data
        variables = {name: list(data[name]) for name in ("GPA", "TUCE", "PSI")}
        found = fit_logistic([bool(v) for v in data["GRADE"]], variables)
        logs = [math.log(each.ratio.value) for each in found.variables.values()]
        assert logs == pytest.approx([2.826, 0.095, 2.379], abs=0.001)
        errors = [math.log(each.ratio.high / each.ratio.low) / 2 / 1.959964 for each in found.variables.values()]
        assert errors == pytest.approx([1.263, 0.142, 1.065], abs=0.001)
        assert (found.cases, found.with_outcome) == (32, 11)

    @pytest.mark.parametrize(
        ("outcome", "values"),
        [
            ([True] * 10, list(range(10))),
            ([False] * 5 + [True] * 5, list(range(10))),  # told apart without error
            ([False, True] * 5, [7.0] * 10),
            ([False, True], [1.0, 2.0]),
            ([None] * 4, [1.0, 2.0, 3.0, 4.0]),
        ],
    )
    def test_no_fit_says_why(self, outcome, values):
        found = fit_logistic(outcome, {"area": values})
        assert found.why_not
        assert found.variables["area"].ratio.value is None
        assert found.variables["area"].ratio.why_not == found.why_not

    def test_the_example_of_delong(self):
        rows = np.array(SURGERY.split(), float).reshape(-1, 4)
        scores = {"K-G": list(10 - rows[:, 2]), "albumin": list(rows[:, 0]), "protein": list(rows[:, 1])}
        found = compare_rocs([bool(v) for v in rows[:, 3]], scores)
        areas = [curve.area.value for curve in found.curves.values()]
        assert areas == pytest.approx([0.7258, 0.7366, 0.6478], abs=0.00005)
        errors = [(curve.area.high - curve.area.value) / 1.959964 for curve in found.curves.values()]
        assert errors == pytest.approx([0.1028, 0.0927, 0.1000], abs=0.00005)
        assert found.difference["albumin"].value == pytest.approx(0.0108, abs=0.00005)
        assert [test.p for test in found.tests.values()] == pytest.approx([0.9102, 0.4561], abs=0.00005)

    def test_an_area_by_hand(self):
        """Of 2 x 3 pairs, 4 are in order and one is a tie: 4.5 / 6."""
        found = compare_rocs([True, True, False, False, False], {"area": [3.0, 2.0, 1.0, 2.0, 2.5]})
        assert found.curves["area"].area.value == pytest.approx(4.5 / 6)

    def test_the_same_order_is_no_difference(self):
        values = [3.0, 2.0, 1.0, 2.0, 2.5]
        found = compare_rocs([True, True, False, False, False], {"a": values, "b": [2 * v for v in values]})
        assert found.difference["b"].value == 0
        assert found.tests["b"].p is None
        assert found.tests["b"].why_not

    def test_one_outcome_has_no_curve(self):
        found = compare_rocs([True, True, True], {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
        assert found.curves["a"].area.why_not
        assert found.tests["b"].why_not

    def test_the_liver_scan_of_altman_and_bland(self):
        """1994: of 258 abnormal livers 231 were called, of 86 normal ones 54 were not."""
        called = [*[True] * 231, *[False] * 27, *[True] * 32, *[False] * 54, None]
        found = diagnose(called, [*[True] * 258, *[False] * 86, True])
        shares = (found.sensitivity, found.specificity, found.ppv, found.npv)
        assert [each.value for each in shares] == pytest.approx([0.895, 0.628, 0.878, 0.667], abs=0.0005)
        assert found.accuracy.value == pytest.approx(285 / 344)

    def test_nobody_called_has_no_ppv(self):
        found = diagnose([False, False], [True, False])
        assert found.ppv.value is None
        assert found.ppv.why_not
        assert found.sensitivity.value == 0
