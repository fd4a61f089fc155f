"""The heat map against correlations computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from lib.measures.agreement import association
from lib.reports.muscle_heatmap import MUSCLES, MuscleCase, associations, draw_heatmap, heatmap_table, significant

SARCOPENIA = (True, True, True, True, False, False, False, False)
SARTORIUS = (70.0, 75.0, 72.0, 79.0, 90.0, 92.0, 95.0, 97.0)


def men() -> list[MuscleCase]:
    return [
        MuscleCase(sex="M", sarcopenia=has, volumes={"sartorius": volume, "gracilis": 50.0 if n % 2 else 60.0})
        for n, (has, volume) in enumerate(zip(SARCOPENIA, SARTORIUS, strict=True))
    ]


def test_the_correlation_is_pearsons_with_0_and_1():
    found = association(SARTORIUS, SARCOPENIA)
    expected = stats.pearsonr(SARTORIUS, [1, 1, 1, 1, 0, 0, 0, 0])
    assert (found.r, found.p, found.cases) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue), 8)
    assert found.r < -0.9


def test_gaps_are_left_out_and_one_group_alone_has_no_correlation():
    assert association([*SARTORIUS, None], [*SARCOPENIA, True]) == association(SARTORIUS, SARCOPENIA)
    assert association(SARTORIUS, [True] * 8) is None
    assert association([1.0, 2.0], [True, False]) is None


def test_sexes_are_kept_apart_and_what_is_not_known_stays_empty():
    found = associations(men(), ["sartorius", "multifidus"])
    assert found["M"]["sartorius"].cases == 8
    assert found["M"]["multifidus"] is None
    assert found["F"]["sartorius"] is None
    lines = heatmap_table(men()).splitlines()
    assert "sartorius,F,,," in lines
    assert any(line.startswith("sartorius,M,8,-0.9") for line in lines)
    assert len(lines) == 1 + 2 * (len(MUSCLES) + 5)


def test_stars_are_corrected_for_the_number_of_muscles():
    rng = np.random.default_rng(0)
    chance = {str(n): association(list(rng.normal(size=20)), [True, False] * 10) for n in range(40)}
    assert any(one.p < 0.05 for one in chance.values())
    assert significant(chance) == set()
    assert significant({"sartorius": association(SARTORIUS, SARCOPENIA)}) == {"sartorius"}
    assert significant({"sartorius": None}) == set()


def test_it_is_drawn_for_print_also_with_nothing_in_it(tmp_path):
    for name, cases in (("full", men()), ("empty", [])):
        path = tmp_path / f"{name}.png"
        path.write_bytes(draw_heatmap(cases))
        with Image.open(path) as picture:
            assert picture.width >= 2000
            assert round(picture.info["dpi"][0]) == 300
    assert draw_heatmap(men(), "pdf").startswith(b"%PDF")
