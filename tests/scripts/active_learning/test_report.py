"""What the study makes of its results."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.active_learning.report import Curve, curves, draw, put_into, tables, verdict

LABELS = range(10, 65, 5)


def course(worst, mean=0.9):
    """Rounds in which the worst case goes from 0.5 to a value on a line."""
    values = np.linspace(0.5, worst, len(LABELS))
    return [
        {"labels": n, "worst_dice": float(v), "mean_dice": mean, "area_error": 0.1}
        for n, v in zip(LABELS, values, strict=True)
    ]


def results(worst_by_disagreement, mean_by_disagreement):
    """Five repetitions that differ a little."""
    return {
        "random": [course(0.7 + 0.001 * i, 0.9 + 0.001 * i) for i in range(-2, 3)],
        "disagreement": [
            course(worst_by_disagreement + 0.0012 * i, mean_by_disagreement + 0.0012 * i) for i in range(-2, 3)
        ],
    }


@pytest.mark.parametrize(("value", "labels"), [(0.7, 22.5), (0.55, 12.5), (0.4, 10), (0.9, None)])
def test_a_value_is_reached_where_the_curve_stays_above_it(value, labels):
    curve = Curve(np.array([10, 15, 20, 25]), np.array([[0.5, 0.7, 0.6, 0.8], [0.5, 0.7, 0.6, 0.8]]))
    if value == 0.55:  # 0.7 and 0.6 are above it, too
        curve = Curve(curve.labels[:3], curve.values[:, [0, 2, 1]])
    assert curve.labels_to_stay_above(value) == (None if labels is None else pytest.approx(labels))


def test_the_interval_is_that_of_students_t():
    curve = Curve(np.array([10]), np.array([[0.1], [0.2], [0.3]]))
    assert curve.half_width[0] == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    assert np.isnan(Curve(np.array([10]), np.array([[0.1]])).half_width[0])


@pytest.mark.parametrize(
    ("worst", "said"), [(0.9, "with 35.0 (bar: 36): reached"), (0.75, "with 50.0 (bar: 36): not reached")]
)
def test_the_verdict_on_the_worst_case(worst, said):
    assert said in verdict(results(worst, 0.9))[0]


def test_a_worst_case_that_is_never_reached_is_said():
    assert "with more than there are (bar: 36): not reached" in verdict(results(0.6, 0.9))[0]


def test_without_a_strategy_to_compare_with_there_is_no_verdict():
    assert verdict({"bald": results(0.9, 0.9)["random"]}) == []


def test_what_people_wrote_around_the_results_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- what the study wrote: begin -->\nold\n<!-- what the study wrote: end -->\nAfter.\n")
    put_into(page, "new")
    text = page.read_text()
    assert "new" in text
    assert "old" not in text
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    page.write_text("No marks.")
    with pytest.raises(ValueError, match="has no line"):
        put_into(page, "new")


@pytest.mark.parametrize(("mean", "said"), [(0.92, ", above it"), (0.8999, "no difference"), (0.88, ", below it")])
def test_the_verdict_on_the_mean(mean, said):
    assert said in verdict(results(0.9, mean))[2]


def test_courses_that_are_not_finished_are_compared_as_far_as_all_are(tmp_path):
    unfinished = results(0.9, 0.9)
    unfinished["random"][2] = unfinished["random"][2][:4]
    assert len(curves(unfinished, "mean_dice")["random"].labels) == 4
    assert "| `disagreement` |" in tables(unfinished)
    draw(unfinished, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
