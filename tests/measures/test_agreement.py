"""Agreement statistics against published examples."""

from __future__ import annotations

import numpy as np
import pytest

from lib.measures.agreement import Reliability, correlation, intraclass_correlation

# Shrout and Fleiss 1979, Table 2: four judges rate six targets. Table 4 gives ICC(2,1) = .29; the interval is the one
# that the R package psych prints for these data.
JUDGES = ((9, 6, 8, 7, 10, 6), (2, 1, 4, 1, 5, 2), (5, 3, 6, 2, 6, 4), (8, 2, 8, 6, 9, 7))


class TestIntraclassCorrelation:
    def test_the_example_of_shrout_and_fleiss(self):
        icc = intraclass_correlation(*JUDGES)
        assert icc.value == pytest.approx(0.29, abs=0.005)
        assert icc.low == pytest.approx(0.019, abs=0.0005)
        assert icc.high == pytest.approx(0.761, abs=0.0005)
        assert (icc.cases, icc.reliability) == (6, Reliability.POOR)

    def test_a_rater_who_is_off_by_a_constant_correlates_and_does_not_agree(self):
        manual = [100.0, 140.0, 180.0, 260.0]
        shifted = [value + 200 for value in manual]
        assert correlation(manual, shifted) == pytest.approx(1)
        assert intraclass_correlation(manual, shifted).value < 0.3

    def test_the_same_values_agree_fully(self):
        icc = intraclass_correlation([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
        assert (icc.value, icc.low, icc.high) == (1, 1, 1)
        assert icc.reliability is Reliability.EXCELLENT

    def test_the_units_do_not_matter(self):
        rng = np.random.default_rng(3)
        manual = rng.normal(300, 80, 20)
        predicted = manual + rng.normal(0, 30, 20)
        once, thousandfold = (intraclass_correlation(list(f * manual), list(f * predicted)) for f in (1, 1000))
        assert once.value == pytest.approx(thousandfold.value)
        assert once.low < once.value < once.high

    def test_cases_that_one_rater_lacks_are_left_out(self):
        assert intraclass_correlation([1, 2, None, 4], [1, 3, 9, 4]) == intraclass_correlation([1, 2, 4], [1, 3, 4])

    def test_two_cases_or_no_variation_have_none(self):
        assert intraclass_correlation([1, 2], [1, 2]) is None
        assert intraclass_correlation([5, 5, 5], [5, 5, 5]) is None
        assert intraclass_correlation([None, None, 1], [1, 2, 3]) is None

    @pytest.mark.parametrize(
        ("one", "other"), [([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]), ([300.0, 200.0, 100.0], [100.0, 200.0, 300.0])]
    )
    def test_three_cases_that_disagree_have_a_value_and_no_interval(self, one, other):
        icc = intraclass_correlation(one, other)
        assert icc.value < 0
        assert (icc.low, icc.high) == (None, None)
        assert icc.reliability is Reliability.POOR

    def test_an_interval_holds_its_value_or_is_not_given(self):
        rng = np.random.default_rng(0)
        for _ in range(500):
            one = rng.normal(100, 5, rng.integers(3, 7))
            other = one + rng.normal(rng.choice([0, 1, 100]), rng.choice([0.001, 1, 10]), len(one))
            icc = intraclass_correlation(list(one), list(other))
            assert icc.low is None or icc.low <= icc.value <= icc.high

    def test_one_rater_agrees_with_nobody(self):
        with pytest.raises(ValueError, match="two raters"):
            intraclass_correlation([1, 2, 3])


@pytest.mark.parametrize(
    ("icc", "band"),
    [(-0.1, "poor"), (0.49, "poor"), (0.5, "moderate"), (0.74, "moderate"), (0.75, "good"), (0.9, "good"),
     (0.91, "excellent"), (1.0, "excellent")],
)  # fmt: skip
def test_the_bands_of_koo_and_li(icc, band):
    assert Reliability.of(icc) == band


class TestCorrelation:
    def test_gaps_are_left_out(self):
        assert correlation([1, 2, None, 3], [2, 4, 100, 6]) == pytest.approx(1)

    def test_two_cases_or_one_side_that_never_varies_have_none(self):
        assert correlation([1, 2], [2, 1]) is None
        assert correlation([1, 2, 3], [7, 7, 7]) is None

    def test_different_numbers_of_cases_cannot_be_paired(self):
        with pytest.raises(ValueError, match="different numbers of cases"):
            correlation([1, 2, 3], [1, 2])
