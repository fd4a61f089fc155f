"""One course of the study, on drawn blobs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scripts.active_learning import rounds
from scripts.active_learning.learner import Schedule
from scripts.active_learning.rounds import STRATEGIES, Course, read_rounds, run
from scripts.active_learning.slices import Slices

CLASSES = {"disc": 1}


@pytest.fixture(scope="module")
def slices():
    x, y = np.mgrid[:48, :32]
    rng = np.random.default_rng(0)
    middles, radii = rng.uniform((16, 10), (32, 22), (16, 2)), rng.uniform(4, 9, 16)
    labels = np.stack([np.hypot(x - a, y - b) < r for (a, b), r in zip(middles, radii, strict=True)])
    hu = np.where(labels, 60, -100).astype(np.float32) + rng.normal(0, 10, labels.shape).astype(np.float32)
    return Slices(tuple(f"case{i}" for i in range(16)), hu, labels.astype(np.uint8), np.ones_like(labels))


@pytest.fixture
def course():
    schedule = Schedule(iterations=2, more=2, batch_size=2)
    return Course(strategy="disagreement", repetition=0, classes=CLASSES, first=5, step=2, last=9, schedule=schedule)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_round_adds_slices_that_were_not_labelled(strategy, course, slices, tmp_path):
    course = dataclasses.replace(course, strategy=strategy)
    run(course, slices, slices.take(range(4)), tmp_path)
    done = read_rounds(course.file(tmp_path))
    assert [each["labels"] for each in done] == [5, 7, 9]
    assert len(set(done[-1]["labelled"])) == 9
    assert done[-1]["chosen"] == []
    assert all(0 <= each["worst_dice"] <= each["mean_dice"] <= 1 for each in done)


def test_every_strategy_begins_with_the_same_slices(course, slices, tmp_path):
    for strategy in ("random", "bald"):
        each = dataclasses.replace(course, strategy=strategy, last=5)
        run(each, slices, slices.take(range(4)), tmp_path)
    first = [read_rounds(tmp_path / f"{strategy}_0.jsonl")[0] for strategy in ("random", "bald")]
    assert first[0]["labelled"] == first[1]["labelled"]
    assert first[0]["mean_dice"] == first[1]["mean_dice"]


def test_an_interruption_changes_nothing(course, slices, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    run(course, slices, slices.take(range(4)), whole)

    judge, judged = rounds._judge, []

    def interrupted(*given):
        judged.append(given)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(*given)

    monkeypatch.setattr(rounds, "_judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(course, slices, slices.take(range(4)), broken)
    assert len(read_rounds(course.file(broken))) == 1
    run(course, slices, slices.take(range(4)), broken)
    assert read_rounds(course.file(broken)) == read_rounds(course.file(whole))
