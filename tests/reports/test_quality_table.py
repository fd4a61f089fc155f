"""The tables of quality against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib.measures.agreement import intraclass_correlation
from lib.measures.quality import Quality
from lib.reports.quality_table import quality_summary, quality_table, volume_correlation

ABSENT = Quality(
    dice=None, sensitivity=None, ppv=None, assd_mm=None, hausdorff_mm=None, hausdorff95_mm=None, ravd_percent=None,
    found_mm3=0.0, reference_mm3=0.0,
)  # fmt: skip
MISSED = replace(ABSENT, dice=0.0, sensitivity=0.0, ravd_percent=100.0, reference_mm3=400.0)


def good(dice: float, found: float, reference: float) -> Quality:
    ravd = 100 * abs(found - reference) / reference
    return replace(
        ABSENT, dice=dice, assd_mm=1.0, hausdorff_mm=8.0, ravd_percent=ravd, found_mm3=found, reference_mm3=reference
    )


CASES = [
    {"sartorius": good(0.8, 90, 100), "gracilis": good(0.9, 50, 50)},
    {"sartorius": good(0.9, 210, 200), "gracilis": MISSED},
    {"sartorius": good(0.7, 330, 300), "gracilis": ABSENT},
]


def row(table: str, name: str) -> dict[str, str]:
    head, line = (
        next(each for each in table.splitlines() if each.startswith(f"| {start} |"))
        for start in (table.splitlines()[0].split(" | ")[0][2:], name)
    )
    keys, values = ([cell.strip() for cell in each.strip("|").split("|")] for each in (head, line))
    return dict(zip(keys, values, strict=True))


def test_every_structure_has_the_means_over_its_cases():
    cells = row(quality_table(["sartorius", "gracilis"], CASES), "sartorius")
    assert (cells["cases"], cells["missed"], cells["extra"]) == ("3", "0", "0")
    assert (cells["Dice"], cells["ASSD (mm)"], cells["HD (mm)"]) == ("0.800 ± 0.100", "1.00 ± 0.00", "8.00 ± 0.00")
    assert cells["RAVD (%)"] == "8.3 ± 2.9"  # of 10, 5 and 10
    icc = intraclass_correlation([90, 210, 330], [100, 200, 300])
    assert cells["ICC (95 % CI)"] == f"{icc.value:.3f} ({icc.low:.3f} to {icc.high:.3f}), excellent"


def test_a_missed_muscle_is_counted_and_lowers_dice_though_it_has_no_distance():
    cells = row(quality_table(["sartorius", "gracilis"], CASES), "gracilis")
    assert (cells["cases"], cells["missed"]) == ("2", "1")
    assert cells["Dice"].startswith("0.450")
    assert cells["ASSD (mm)"] == "1.00 ± -"
    assert cells["volume correlation"] == "-"


def test_the_mean_of_structures_is_taken_case_by_case_and_correlations_are_averaged():
    table = quality_table(["sartorius", "gracilis"], CASES, together={"anterior": ["sartorius"]})
    cells = row(table, "mean of 2")
    assert cells["Dice"].startswith("0.667")  # of 0.85, 0.45 and 0.70
    assert cells["volume correlation"] == row(table, "sartorius")["volume correlation"]
    assert row(table, "anterior")["Dice"] == row(table, "sartorius")["Dice"]


def test_volumes_that_are_right_but_for_a_factor_correlate_fully():
    cases = [{"femur": good(0.9, 2 * size, size)} for size in (100, 130, 220)]
    assert volume_correlation(["femur"], cases) == pytest.approx(1)
    assert volume_correlation(["femur"], cases[:2]) is None


def test_three_cases_too_unlike_for_an_interval_say_so_in_a_sentence():
    cases = [{"gracilis": good(0.5, found, reference)} for found, reference in ((300, 100), (200, 200), (100, 300))]
    table = quality_table(["gracilis"], cases)
    assert row(table, "gracilis")["ICC (95 % CI)"] == "-3.000 (-), poor"
    assert "too few" in table.splitlines()[-1]


def test_two_cases_say_what_is_missing_for_an_icc():
    table = quality_table(["sartorius"], CASES[:2])
    assert row(table, "sartorius")["ICC (95 % CI)"] == "-"
    assert "three cases" in table.splitlines()[-1]


def test_methods_stand_below_each_other():
    table = quality_summary(["sartorius", "gracilis"], {"UNETR": CASES, "3-D U-Net": CASES[:1]})
    assert row(table, "UNETR")["Dice"].startswith("0.667")
    assert row(table, "UNETR")["missed"] == "1"
    assert row(table, "3-D U-Net")["volume correlation"] == "-"
