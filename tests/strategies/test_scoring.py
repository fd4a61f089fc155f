"""Scores of unlabelled cases: by the champion's folds, or by the cold start before there is one."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from lib.infers.champions import Champions
from lib.infers.segmentation import SegmentationTask
from lib.models import Registry
from lib.models.importing import import_results
from lib.phantoms.cohort import Cohort, CohortPlan, save_labels
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import strategies
from lib.strategies.scoring import METHOD, FoldScoring
from lib.tasks import TASKS
from scripts.benchmarks.l3_ensemble import write_untrained

TASK = "l3_muscle"
NONE = {"scored": 0, "refused": 0, "unreadable": 0, "failed": 0, "gone": 0}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    Cohort(folder, CohortPlan(region="l3", count=4, seed=7, matrix=160)).write()
    return folder


@pytest.fixture
def store(phantoms, tmp_path):
    studies = tmp_path / "studies"
    shutil.copytree(phantoms, studies)
    opened = CaseStore(studies)
    yield opened
    opened.close()


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


@pytest.fixture
def scoring(registry):
    champions = Champions(registry)
    task = SegmentationTask(TASKS[TASK], champions)
    return FoldScoring({TASK: task.assess}, champions.name_of)


@pytest.fixture
def add_champion(registry, tmp_path):
    def add():
        model = write_untrained(tmp_path / "untrained", patch=(64, 64), spacing_mm=4.0, features=(8, 16), folds=2)
        version = import_results(registry, TASK, model).version
        return registry.set_champion(TASK, version.name)

    return add


def test_before_there_is_a_model_the_cold_start_says_how_much_it_doubts(store, scoring):
    assert scoring({"task": TASK}, store) == {"task": TASK, **NONE, "scored": 4}
    scores = store.scores(TASK, METHOD)
    assert set(scores) == set(store.list_images())
    assert all(0 <= score <= 1 for score in scores.values())
    assert scoring({}, store)["scored"] == 0
    chosen = strategies(QueueRules(random_share=0))[METHOD]({"task": TASK}, store)
    assert scores[chosen["id"]] == max(scores.values())
    assert "cold start" in chosen["reason"]


def test_a_champion_scores_anew_what_is_unlabelled(store, phantoms, scoring, add_champion):
    scoring({"task": TASK}, store)
    by_cold_start = store.scores(TASK, METHOD)
    labelled, *others = store.list_images()
    store.save_label(labelled, str(phantoms / "truth" / TASK / f"{labelled}.nii.gz"), "final", {"task": TASK})
    version = add_champion()
    assert scoring({"task": TASK, "max_samples": 1}, store)["scored"] == 1
    half_way = store.scores(TASK, METHOD)
    assert sum(half_way[case] != by_cold_start[case] for case in others) == 1
    assert scoring({"task": TASK}, store)["scored"] == 2
    scores = store.scores(TASK, METHOD)
    assert scores[labelled] == by_cold_start[labelled]
    for method in (METHOD, "predictive_entropy", "bald"):
        assert set(store.scores(TASK, method)) >= set(others)
    chosen = strategies(QueueRules(random_share=0))[METHOD]({"task": TASK}, store)
    assert scores[chosen["id"]] == max(scores[case] for case in others)
    assert version.name in chosen["reason"]
    run = store.last_run("score", TASK)
    assert (run.outcome, run.facts["scored"]) == ("done", 2)


def test_a_bad_case_does_not_stop_the_others(store, scoring):
    (store.own_folder.parent / "broken.nii.gz").write_bytes(b"no image")
    x, y, z = np.mgrid[-30:30, -30:30, -30:30] * 4.0
    radius = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 90) ** 2)
    head = np.select([radius < 0.9, radius < 1.0, radius < 1.08], [35, 900, 20], -1000).astype(np.int16)
    nib.save(nib.Nifti1Image(head, np.diag([4.0, 4.0, 4.0, 1.0])), store.own_folder.parent / "head.nii.gz")
    counts = scoring({"task": TASK}, store)
    assert counts == {"task": TASK, **NONE, "scored": 4, "refused": 1, "unreadable": 1}
    assert store.scores(TASK, METHOD)["head"] == 0
    assert "broken" not in store.scores(TASK, METHOD)
    assert "broken" not in store.get_unlabeled_images()


def test_a_case_on_which_the_program_fails_or_that_goes_away_does_not_stop_the_others(store, registry, caplog):
    strange, leaving, *others = store.list_images()
    task = SegmentationTask(TASKS[TASK], Champions(registry))

    def assess(path):
        if path.name.startswith(strange):
            raise ZeroDivisionError("nobody thought of that")
        if path.name.startswith(leaving):
            store.remove_image(leaving)
        return task.assess(path)

    counts = FoldScoring({TASK: assess}, lambda _: None)({"task": TASK}, store)
    assert counts == {"task": TASK, **NONE, "scored": 2, "failed": 1, "gone": 1}
    assert store.scores(TASK, METHOD).keys() == {strange, *others}
    assert "nobody thought of that" in caplog.text


def test_an_answer_that_names_no_version_does_not_keep_it_going(store, registry):
    """A version was gone back to between two looks: the scores say so, and the next scoring finds them."""
    task = SegmentationTask(TASKS[TASK], Champions(registry))
    scored = FoldScoring({TASK: task.assess}, lambda asked: "v0009" if asked == TASK else None)({"task": TASK}, store)
    assert scored["scored"] == 4


def test_a_champion_that_cannot_be_used_leaves_the_scores_as_they_are(store, scoring, add_champion):
    scoring({"task": TASK}, store)
    before = store.scores(TASK, METHOD)
    version = add_champion()
    checkpoint = version.folder / "fold_1" / "checkpoint_final.pth"
    checkpoint.write_bytes(b"\0" * checkpoint.stat().st_size)
    with pytest.raises(Refusal, match="fold_1"):
        scoring({"task": TASK}, store)
    assert store.scores(TASK, METHOD) == before
    run = store.last_run("score", TASK)
    assert run.outcome == "failed"
    assert "fold_1" in run.facts["reason"]


def test_a_second_scoring_at_once_is_refused(store, scoring):
    run = store.begin_run("score", TASK)
    with pytest.raises(Refusal, match="is running since"):
        scoring({"task": TASK}, store)
    store.end_run(run, "done")
    with pytest.raises(Refusal, match="femur"):
        scoring({"task": "femur"}, store)


def test_an_unlabelled_cohort_is_labelled_and_nothing_is_due(store, phantoms, scoring):
    save_labels(store, phantoms, tasks=(TASK,))
    assert scoring({"task": TASK}, store)["scored"] == 0
