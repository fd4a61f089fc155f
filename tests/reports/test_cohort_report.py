"""The page about many cases names those that somebody should look at, and says what it cannot say."""

from __future__ import annotations

import numpy as np
import pytest

from lib.reports.cohort_report import cohort_html, cohort_pdf, cohort_report


def row(number: int, **values) -> dict:
    return {"case": f"case_{number}", "status": "analysed", "sex": "M", "phantom": "no", "doubt": 0.1, **values}


@pytest.fixture
def rows() -> list[dict]:
    smi = np.linspace(45, 55, 20)
    return [
        *(row(n, smi_cm2_m2=float(value)) for n, value in enumerate(smi)),
        row(90, smi_cm2_m2=9.0),
        row(91, smi_cm2_m2=9.0, sex="F"),
        row(92, smi_cm2_m2=50.0, doubt=0.9),
        {"case": "broken <i>", "status": "failed", "reason": "It is no CT."},
    ]


def suspects(rows) -> dict[str, tuple[str, ...]]:
    return {each.case: each.reasons for each in cohort_report(rows).suspects}


def test_outliers_of_their_sex_doubtful_and_failed_cases_are_named(rows):
    found = suspects(rows)
    # the two in the middle of the 22 men have 49.74 and 50.0
    assert set(found) == {"case_90", "case_92", "broken <i>"}
    assert found["case_90"] == ("skeletal muscle index (cm²/m²) is 9.0; the median of 22 men is 49.9",)
    assert "doubt 0.90" in found["case_92"][0]
    assert found["broken <i>"] == ("It failed: It is no CT.",)


def test_a_group_that_is_too_small_or_constant_has_no_outliers_but_a_note(rows):
    assert any("10 women (1) are too few" in note for note in cohort_report(rows).notes)
    constant = [row(n, smi_cm2_m2=50.0) for n in range(12)] + [row(20, smi_cm2_m2=90.0)]
    report = cohort_report(constant)
    assert any("the same value" in note for note in report.notes)
    assert not any("skeletal" in reason for each in report.suspects for reason in each.reasons)


def test_pages_hold_every_case_and_are_escaped(rows):
    page = cohort_html(cohort_report(rows))
    assert "broken &lt;i&gt;" in page
    assert 'href="reports/case_90.html"' in page
    assert cohort_pdf(cohort_report(rows)).startswith(b"%PDF")


@pytest.mark.parametrize("rows", [[], [row(1)], [row(1, smi_cm2_m2=float("nan"))], [row(1, smi_cm2_m2="")]])
def test_nothing_one_case_and_missing_numbers_make_a_page_too(rows):
    report = cohort_report(rows)
    assert "smi_cm2_m2" not in report.values
    assert cohort_pdf(report).startswith(b"%PDF")
    assert f"{len(rows)} case" in cohort_html(report)


def test_phantoms_are_marked(rows):
    assert "1 of the cases: digital phantom" in cohort_html(cohort_report([*rows, row(99, phantom="yes")]))
