"""From saved labels to a version that answers."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lib.images.files import read_volume
from lib.infers.champions import Champions
from lib.infers.segmentation import SegmentationTask
from lib.models import Registry
from lib.models.verdict import Verdict
from lib.networks.nnunet.recipes import RECIPES
from lib.networks.nnunet.workspace import NETWORK
from lib.refusals import Refusal
from lib.tasks import TASKS
from lib.trainers.learners import LEARNERS
from lib.trainers.samples import labelled_slices, training_set
from lib.trainers.stats import read_stats
from lib.trainers.train_task import Training
from lib.trainers.training import TrainOptions, continued, stats_file, train_task
from tests.networks.nnunet.drawn_slices import TINY
from tests.trainers.conftest import LABELLED


class TestTheVersion:
    def test_it_is_the_champion_and_says_what_it_was_made_of(self, trained):
        store, registry, _ = trained
        manifest = registry.champion("l3_muscle").manifest
        assert {label.case for label in manifest.labels} == set(store.list_images())
        assert set(manifest.patients.values()) == set(range(5))
        assert manifest.phantoms == "some"
        assert manifest.preset == "quick"
        assert manifest.parent is None
        assert manifest.packages["torch"]
        assert 0 < manifest.metrics["pooled"]["mean_dice"]["mean"] <= 1

    def test_every_epoch_was_reported_and_clients_can_read_it(self, trained):
        _, registry, told = trained
        assert len(told) == 5 * TINY.epochs
        stats = Training(TASKS["l3_muscle"], registry).stats()
        assert (stats["epoch"], stats["total_epochs"]) == (5 * TINY.epochs, 5 * TINY.epochs)
        assert stats["total_time"]
        assert stats["version"] == "v0001"
        assert json.dumps(stats, allow_nan=False)

    def test_the_store_remembers_the_training(self, trained):
        store, _, _ = trained
        run = store.last_run("train", "l3_muscle")
        assert (run.outcome, run.facts["version"]) == ("promoted", "v0001")
        assert run.facts["reason"] == "Promoted: there was no champion before it."
        assert store.running("train") is None


def test_a_training_whose_process_is_gone_is_not_running(trained, tmp_path):
    _, registry, _ = trained
    stats = json.loads(stats_file(registry, "l3_muscle").read_text())
    del stats["total_time"]
    for pid, running in ((stats["process"][0], True), (2**22 + 1, False)):
        (tmp_path / "stats.json").write_text(json.dumps({**stats, "process": [pid, stats["process"][1]]}))
        assert ("total_time" in read_stats(tmp_path / "stats.json")) is not running


@pytest.mark.slow
def test_more_labels_fine_tune_the_champion(trained, tmp_path, save_label, monkeypatch):
    """On a copy, so that the other tests keep their version."""
    from lib.stores import CaseStore
    from tests.trainers.conftest import add_case

    store, registry, _ = trained
    studies = tmp_path / "studies"
    shutil.copytree(store.own_folder.parent, studies)
    shutil.copytree(registry.root, tmp_path / "models")
    copy, models = CaseStore(studies), Registry(tmp_path / "models")
    case = add_case(studies, 9)
    save_label(copy, case, tmp_path)
    monkeypatch.setitem(RECIPES, "quick", TINY)
    before = registry.champion("l3_muscle").manifest
    version = train_task("l3_muscle", copy, models, TrainOptions(preset="quick", device="cpu"))
    copy.close()
    assert version.manifest.parent == "v0001"
    verdict = Verdict.of(version.manifest.metrics)
    assert verdict.numbers["cases"] == 7, "the champion was judged on the new case too"
    assert (models.champion_name("l3_muscle") == version.name) is verdict.promote
    assert models.history("l3_muscle")[-1].reason.startswith("Promoted: ")
    assert {p: f for p, f in version.manifest.patients.items() if p != case} == before.patients
    assert case in version.manifest.patients


class TestAnswers:
    @pytest.fixture(scope="class")
    def champions(self, trained):
        return Champions(trained[1], trained[1].compiled)

    @pytest.fixture
    def ask(self, trained, champions):
        store, _, _ = trained
        infer = SegmentationTask(TASKS["l3_muscle"], champions)

        def _ask(**options):
            path, params = infer({"image": store.get_image_uri("case3"), "slice_index": LABELLED, **options})
            return read_volume(Path(path))[0], params

        return _ask

    def test_the_champions_folds_answer_together(self, ask):
        label, params = ask()
        assert (params["method"], params["model_version"]) == ("ensemble", "v0001")
        assert set(np.unique(label.nonzero()[2])) <= {LABELLED}
        assert params["uncertainty"]["folds"] == 5
        assert set(params["uncertainty"]["classes"]) == {"psoas", "paraspinal", "abdominal_wall"}
        assert 0 <= params["uncertainty"]["score"] <= 1
        assert any("phantoms" in warning for warning in params["warnings"])

    def test_a_single_fold_and_the_best_one(self, ask, trained):
        _, registry, _ = trained
        best = registry.champion("l3_muscle").manifest.metrics["best_fold"]
        labels = {}
        for fold in ("best", str(best), str((best + 1) % 5)):
            labels[fold], params = ask(fold=fold)
            assert params["method"] == "single_fold"
        assert np.array_equal(labels["best"], labels[str(best)])

    def test_the_disagreement_can_be_laid_over_the_image(self, ask):
        doubt, params = ask(show="disagreement")
        assert params["shows"] == "disagreement"
        assert 0 < doubt[:, :, LABELLED].max() <= 100
        assert not np.delete(doubt, LABELLED, axis=2).any()

    @pytest.mark.parametrize("wrong", [{"fold": "5"}, {"fold": "all"}, {"mirroring": "maybe"}, {"show": "heat"}])
    def test_what_there_is_not_is_refused(self, ask, wrong):
        with pytest.raises(Refusal, match=next(iter(wrong))):
            ask(**wrong)

    def test_a_new_champion_answers_at_once(self, trained, tmp_path):
        _, registry, _ = trained
        shutil.copytree(registry.root, tmp_path / "models")
        models = Registry(tmp_path / "models")
        champions = Champions(models, registry.compiled)
        first = champions.of("l3_muscle")
        assert champions.of("l3_muscle") is first
        models.set_champion("l3_muscle", "v0001")
        assert champions.of("l3_muscle") is not first

    @pytest.mark.slow
    def test_no_request_fails_while_the_champion_changes(self, trained, tmp_path):
        store, registry, _ = trained
        shutil.copytree(registry.root, tmp_path / "models")
        models = Registry(tmp_path / "models")
        first = models.champion("l3_muscle")
        with models.staging("l3_muscle") as folder:
            shutil.copytree(first.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
            models.publish(folder, first.manifest)
        infer = SegmentationTask(TASKS["l3_muscle"], Champions(models, models.compiled))
        done = threading.Event()

        def answer():
            path, params = infer({"image": store.get_image_uri("case3"), "slice_index": LABELLED})
            Path(path).unlink()
            return params["model_version"]

        def ask():
            answered = set()
            while not done.is_set():
                answered.add(answer())
            return answered

        with ThreadPoolExecutor(3) as threads:
            asking = [threads.submit(ask) for _ in range(3)]
            try:
                for name in ("v0002", "v0001", "v0002"):
                    models.set_champion("l3_muscle", name)
                    assert answer() == name
                models.rollback("l3_muscle")
                assert answer() == "v0001"
            finally:
                done.set()
        assert set().union(*(each.result() for each in asking)) == {"v0001", "v0002"}

    def test_a_damaged_checkpoint_is_said_and_nothing_answers_in_its_place(self, trained, tmp_path):
        store, registry, _ = trained
        shutil.copytree(registry.root, tmp_path / "models")
        checkpoint = tmp_path / "models" / "l3_muscle" / "v0001" / "fold_2" / "checkpoint_final.pth"
        size = checkpoint.stat().st_size
        checkpoint.write_bytes(b"\0" * size)
        infer = SegmentationTask(TASKS["l3_muscle"], Champions(Registry(tmp_path / "models")))
        with pytest.raises(Refusal, match="fold_2"):
            infer({"image": store.get_image_uri("case3"), "slice_index": LABELLED})


def test_a_training_that_was_ended_goes_on_though_labels_came_since(store, tmp_path, save_label, monkeypatch):
    """Ended after the first epoch; the label that was saved meanwhile waits for the next training."""
    for case in [f"case{n}" for n in range(5)]:
        save_label(store, case, tmp_path)
    monkeypatch.setitem(RECIPES, "quick", TINY)
    registry, options = Registry(tmp_path / "models"), TrainOptions(preset="quick", device="cpu")
    chosen = training_set(store, TASKS["l3_muscle"].schema, labelled_slices, folds=5, known={})

    class EndedError(Exception):
        pass

    def end(_):
        raise EndedError

    with pytest.raises(EndedError):
        train_task("l3_muscle", store, registry, options, end)
    save_label(store, "case5", tmp_path)
    now = training_set(store, TASKS["l3_muscle"].schema, labelled_slices, folds=5, known={})
    going_on = continued(LEARNERS[NETWORK], registry.workspace("l3_muscle"), now, recipe=TINY, parent=None, seed=0)
    assert [s.key for s in going_on.samples] == [s.key for s in chosen.samples]
    assert len(now.samples) == 6
    save_label(store, "case2", tmp_path, shift=1)
    corrected = training_set(store, TASKS["l3_muscle"].schema, labelled_slices, folds=5, known={})
    assert (
        continued(LEARNERS[NETWORK], registry.workspace("l3_muscle"), corrected, recipe=TINY, parent=None, seed=0)
        is corrected
    )
