"""The table of overlaps against numbers computed by hand."""

from __future__ import annotations

import pytest
from scipy import stats

from lib.measures.overlap import Overlap
from lib.reports.overlap_table import overlap_table

NONE = Overlap(dice=None, sensitivity=None, ppv=None)


def score(dice: float) -> Overlap:
    return Overlap(dice=dice, sensitivity=dice - 0.1, ppv=dice + 0.1)


def cells(table: str, row: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


FLAT = [{"skin": score(0.80), "bone": score(0.70)}, {"skin": score(0.84), "bone": NONE}, {"skin": score(0.79)}]
DEEP = [{"skin": score(0.85), "bone": score(0.75)}, {"skin": score(0.85), "bone": NONE}, {"skin": score(0.86)}]


def test_mean_sd_and_paired_t_test_of_every_class():
    table = overlap_table(["skin", "bone"], {"2-D": FLAT, "3-D": DEEP})
    p = stats.ttest_rel([0.85, 0.85, 0.86], [0.80, 0.84, 0.79]).pvalue
    assert cells(table, "skin") == [
        "3", "81.0 ± 2.6", "71.0 ± 2.6", "91.0 ± 2.6", "85.3 ± 0.6", "75.3 ± 0.6", "95.3 ± 0.6", f"{p:.3f}",
    ]  # fmt: skip
    assert cells(table, "bone") == ["1", "70.0 ± -", "60.0 ± -", "80.0 ± -", "75.0 ± -", "65.0 ± -", "85.0 ± -", "-"]


def test_the_mean_of_all_classes_is_taken_case_by_case_over_the_classes_that_the_case_has():
    row = cells(overlap_table(["skin", "bone"], {"2-D": FLAT}), "mean of 2")
    assert row[:2] == ["3", "79.3 ± 4.5"]  # of 0.75, 0.84 and 0.79
    assert len(row) == 4


def test_further_means_are_rows_of_their_own():
    table = overlap_table(["skin", "bone"], {"2-D": FLAT}, together={"skin alone": ["skin"]})
    assert cells(table, "skin alone") == cells(table, "skin")


def test_a_class_that_no_case_has_and_methods_that_never_differ_have_no_value():
    table = overlap_table(["skin", "eye"], {"2-D": FLAT, "3-D": FLAT})
    assert cells(table, "eye") == ["0", *["-"] * 7]
    assert cells(table, "skin")[-1] == "-"


def test_other_numbers_of_cases_cannot_be_paired():
    with pytest.raises(ValueError, match="different numbers of cases"):
        overlap_table(["skin"], {"2-D": FLAT, "3-D": DEEP[:2]})
