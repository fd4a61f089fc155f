"""What the study makes of its results."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.active_learning.report import Curve, curves, draw, tables, verdict

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
        "random": [course(0.7, 0.9 + 0.001 * i) for i in range(5)],
        "disagreement": [course(worst_by_disagreement, mean_by_disagreement + 0.0012 * i) for i in range(5)],
    }


def test_labels_to_reach_a_value_lie_between_rounds():
    curve = Curve(np.array([10, 15, 20]), np.array([[0.5, 0.6, 0.8], [0.5, 0.6, 0.8]]))
    assert curve.labels_to_reach(0.7) == pytest.approx(17.5)
    assert curve.labels_to_reach(0.4) == 10
    assert curve.labels_to_reach(0.9) is None


def test_the_interval_is_that_of_students_t():
    curve = Curve(np.array([10]), np.array([[0.1], [0.2], [0.3]]))
    assert curve.half_width[0] == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    assert np.isnan(Curve(np.array([10]), np.array([[0.1]])).half_width[0])


@pytest.mark.parametrize(("worst", "said"), [(0.9, "with 35 (bar: 36): reached"), (0.75, "50 (bar: 36): not reached")])
def test_the_verdict_on_the_worst_case(worst, said):
    assert said in verdict(results(worst, 0.9))[0]


def test_a_worst_case_that_is_never_reached_is_said():
    assert "never reaches it (bar: 36): not reached" in verdict(results(0.6, 0.9))[0]


@pytest.mark.parametrize(("mean", "said"), [(0.92, "not below it"), (0.9, "not below it"), (0.88, ": below it")])
def test_the_verdict_on_the_mean(mean, said):
    assert said in verdict(results(0.9, mean))[1]


def test_courses_that_are_not_finished_are_compared_as_far_as_all_are(tmp_path):
    unfinished = results(0.9, 0.9)
    unfinished["random"][2] = unfinished["random"][2][:4]
    assert len(curves(unfinished, "mean_dice")["random"].labels) == 4
    assert "| `disagreement` |" in tables(unfinished)
    draw(unfinished, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
