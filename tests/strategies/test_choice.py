"""Which case is picked from scores and features."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from lib.strategies.choice import pick

NEVER = {"random_share": 0.0}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def grid(n):
    """Features in a row, one unit apart."""
    return np.stack([np.arange(n, dtype=np.float32), np.zeros(n, np.float32)], axis=1)


def test_the_highest_score_is_picked_where_nothing_is_known_of_likeness(rng):
    scores = np.array([0.2, 0.9, np.nan, 0.4])
    for features, recent in ((None, None), (grid(4), None), (grid(4), np.empty((0, 2))), (None, grid(2))):
        picked = pick(scores, features, recent, rng=rng, **NEVER)
        assert (picked.index, picked.why) == (1, "most of 3 candidates")


def test_without_any_score_the_caller_draws(rng):
    for scores in (np.array([]), np.array([np.nan, np.nan])):
        picked = pick(scores, None, None, rng=rng, **NEVER)
        assert picked.index is None
        assert "No case has a score yet" in picked.why


def test_what_is_nearly_alike_to_a_recent_case_is_passed_over(rng):
    features = grid(40)
    scores = np.linspace(1, 0, 40)
    recent = features[:1] + 0.1
    picked = pick(scores, features, recent, rng=rng, **NEVER)
    passed = picked.index
    assert passed > 0
    assert f"but for {passed} nearly alike" in picked.why
    distance = np.linalg.norm(features[passed] - recent[0])
    assert all(np.linalg.norm(features[n] - recent[0]) < distance for n in range(passed))
    assert pick(scores, features, recent, rng=rng, alike_quantile=0.0, **NEVER).index < passed


def test_a_case_without_features_is_alike_to_none(rng):
    features = grid(10)
    features[0] = np.nan
    assert pick(np.linspace(1, 0, 10), features, grid(10), rng=rng, **NEVER).index == 0


def test_when_all_are_alike_the_farthest_is_picked(rng):
    features = np.concatenate([grid(5), grid(5) + 100])
    scores = np.linspace(1, 0, 10)
    recent = np.concatenate([features[:9] + 0.01, features[9:] + 0.2])
    picked = pick(scores, features, recent, rng=rng, **NEVER)
    assert picked.index == 9
    assert "least alike to the last 10 cases" in picked.why


def test_copies_of_one_case_are_alike_however_many_there_are(rng):
    features = np.repeat(grid(3) * 10, 20, axis=0)
    assert pick(np.linspace(1, 0, 60), features, features[:1], rng=rng, among=60, **NEVER).index == 20


def test_only_the_highest_scores_are_candidates(rng):
    features = grid(100)
    scores = np.linspace(1, 0, 100)
    picked = pick(scores, features, features[:10], rng=rng, among=10, **NEVER)
    assert picked.index < 10


def test_spread_out_cases_come_from_every_cluster(rng):
    """Twenty near copies of the most disputed case do not fill the queue."""
    clusters = np.repeat(np.arange(5), 20)
    features = np.stack([clusters * 10.0, rng.normal(0, 0.1, 100)], axis=1)
    scores = 1.0 - clusters * 0.1 + rng.normal(0, 0.01, 100)
    picked: list[int] = []
    while len(picked) < 10:
        left = np.where(np.isin(np.arange(100), picked), np.nan, scores)
        recent = features[picked[-4:]] if picked else None
        picked.append(pick(left, features, recent, rng=rng, among=100, alike_quantile=0.2, **NEVER).index)
    assert set(clusters[picked]) == {0, 1, 2, 3, 4}
    assert all(clusters[one] != clusters[other] for one, other in pairwise(picked))


def test_a_share_is_left_to_chance(rng):
    drawn = Counter(pick(np.array([0.5, 0.1]), None, None, rng=rng, random_share=0.3).index for _ in range(2000))
    assert drawn.keys() == {0, None}
    assert 0.25 < drawn[None] / 2000 < 0.35
