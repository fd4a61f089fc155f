"""Real trainings, small enough to wait for."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.networks.labels import UNJUDGED
from lib.networks.nnunet.dataset import LoadedSlice, Slice
from lib.networks.nnunet.judging import held_out_dice
from lib.networks.nnunet.training import discard, train, unfinished
from lib.networks.nnunet.workspace import Workspace
from lib.networks.progress import Progress
from lib.networks.results import CancelledError, TrainingResult
from lib.refusals import Refusal
from tests.networks.nnunet.drawn_slices import CLASSES, TINY, draw, slices

CHECKPOINT = "checkpoint_final.pth"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sums in the same order, so that two trainings can be compared bit by bit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult, list[Progress]]:
    """A workspace in which two folds were trained, what came out, and what was reported meanwhile."""
    workspace, told = tmp_path_factory.mktemp("trained"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        result = train(workspace, slices(4), CLASSES, TINY, folds=2, on_progress=told.append)
    return workspace, result, told


def weights(results: Path, fold: int) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(results / f"fold_{fold}" / CHECKPOINT, map_location="cpu", weights_only=False)
    return checkpoint["network_weights"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class TestAFinishedTraining:
    def test_nnunets_predictor_reads_it_and_gives_the_dice_that_is_reported(self, trained: tuple) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        _, result, _ = trained
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        with contextlib.redirect_stdout(io.StringIO()):
            predictor.initialize_from_trained_model_folder(str(result.results), (1,))
        assert predictor.trainer_name == "nnUNetTrainer"
        hu, spacing, label = draw(1)
        data = hu.T[None, None].astype(np.float32)
        predicted = predictor.predict_single_npy_array(data, {"spacing": [5.0, spacing[1], spacing[0]]})[0].T
        reported = next(c for c in result.metrics["cases"] if c["key"] == "case1@1")
        for name, value in CLASSES.items():
            both = ((predicted == value) & (label == value)).sum()
            dice = 2 * both / ((predicted == value).sum() + (label == value).sum())
            assert reported["dice"][name] == pytest.approx(dice, abs=1e-6)

    def test_it_holds_the_networks_and_nothing_of_this_machine(self, trained: tuple) -> None:
        workspace, result, _ = trained
        names = {str(p.relative_to(result.results)) for p in result.results.rglob("*") if p.is_file()}
        assert names == {
            "plans.json", "dataset.json", "dataset_fingerprint.json", f"fold_0/{CHECKPOINT}", f"fold_1/{CHECKPOINT}",
        }  # fmt: skip
        for path in result.results.rglob("*.json"):
            assert str(workspace) not in path.read_text()
        checkpoint = torch.load(result.results / "fold_0" / CHECKPOINT, weights_only=False)
        assert "optimizer_state" not in checkpoint
        assert str(workspace) not in str(checkpoint["init_args"])

    def test_the_network_and_the_grid_are_the_recipes(self, trained: tuple) -> None:
        plan = json.loads((trained[1].results / "plans.json").read_text())["configurations"]["2d"]
        assert plan["patch_size"] == [48, 64]
        assert plan["spacing"] == [3.0, 3.0]
        assert plan["batch_size"] == 2
        assert plan["normalization_schemes"] == ["CTNormalization"]
        assert plan["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16, 32]

    def test_every_epoch_was_told_with_numbers_that_a_client_can_show(self, trained: tuple) -> None:
        told = trained[2]
        for fold in (0, 1):
            assert [p.epoch for p in told if p.fold == fold] == [1, 2, 3, 4]
        assert {(p.folds, p.epochs) for p in told} == {(2, 4)}
        assert all(np.isfinite([p.loss, p.dice, *p.class_dice.values()]).all() for p in told)
        assert told[0].class_dice.keys() == CLASSES.keys()

    def test_tensorboard_has_the_scalars_of_each_fold(self, trained: tuple) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        for fold in (0, 1):
            events = EventAccumulator(str(Workspace(trained[0]).tensorboard / f"fold_{fold}"))
            events.Reload()
            assert [e.step for e in events.Scalars("loss/train")] == [0, 1, 2, 3]
            assert "dice/psoas" in events.Tags()["scalars"]

    def test_its_folds_judged_by_our_own_engine_have_the_dice_that_nnunet_found(self, trained: tuple) -> None:
        workspace, result, _ = trained
        judged = held_out_dice(result.results, CLASSES, workspace, slices(4), CLASSES, engine="openvino")
        reported = {case["key"]: case["dice"] for case in result.metrics["cases"]}
        assert judged.keys() == reported.keys()
        for key, dice in reported.items():
            assert judged[key] == pytest.approx(dice, abs=0.01)

    @pytest.mark.slow
    def test_an_imported_model_with_its_own_numbers_is_judged_by_names(self, trained: tuple) -> None:
        workspace, result, _ = trained
        turned = {"psoas": 3, "paraspinal": 2, "abdominal_wall": 1}
        judged = held_out_dice(result.results, turned, workspace, slices(4), CLASSES, engine="openvino")
        reported = {case["key"]: case["dice"] for case in result.metrics["cases"]}
        for key, dice in reported.items():
            assert judged[key]["paraspinal"] == pytest.approx(dice["paraspinal"], abs=0.01)
        assert max(dice["abdominal_wall"] for dice in judged.values()) < max(
            dice["abdominal_wall"] for dice in reported.values()
        )

    def test_a_fold_that_is_not_there_judges_nobody(self, trained: tuple, tmp_path: Path) -> None:
        workspace, result, _ = trained
        shutil.copytree(result.results, tmp_path / "v0001")
        shutil.rmtree(tmp_path / "v0001" / "fold_0")
        judged = held_out_dice(tmp_path / "v0001", CLASSES, workspace, slices(4), CLASSES, engine="openvino")
        assert judged.keys() == {item.key for item in slices(4) if item.fold == 1}

    @pytest.mark.slow
    def test_the_same_call_again_trains_nothing(self, trained: tuple) -> None:
        workspace, result, _ = trained
        told: list[Progress] = []
        again = train(workspace, slices(4), CLASSES, TINY, folds=2, on_progress=told.append)
        assert again.metrics == result.metrics
        assert [(p.fold, p.epoch) for p in told] == [(0, 4), (1, 4)]


class _StopAfter:
    """Raises when a fold reports an epoch, which kills its process in the middle of the next one."""

    def __init__(self, fold: int, epoch: int) -> None:
        self.told: list[tuple[int, int]] = []
        self._last = fold, epoch

    def __call__(self, progress: Progress) -> None:
        self.told.append((progress.fold, progress.epoch))
        if self.told[-1] == self._last:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A workspace whose second fold was killed after two of four epochs."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, slices(4), CLASSES, TINY, folds=2, on_progress=_StopAfter(1, 2))
    return tmp_path


@pytest.mark.slow
class TestContinuing:
    def test_a_killed_training_goes_on_and_ends_where_it_would_have_ended(
        self, trained: tuple, interrupted: Path
    ) -> None:
        run = unfinished(interrupted)
        assert run is not None
        assert set(run.samples) == {s.key for s in slices(4)}
        told: list[tuple[int, int]] = []
        result = train(
            interrupted, slices(4), CLASSES, TINY, folds=2, on_progress=lambda p: told.append((p.fold, p.epoch))
        )
        assert (1, 1) not in told, "the first epoch of the killed fold was trained once more"
        assert result.metrics == trained[1].metrics
        assert all(same(weights(result.results, fold), weights(trained[1].results, fold)) for fold in (0, 1))
        discard(interrupted)
        assert unfinished(interrupted) is None
        assert not list(interrupted.rglob("*.pth"))
        assert len(list(interrupted.rglob("*.pkl"))) == 4, "preprocessed slices stay"

    @pytest.mark.parametrize("left", [1000, 20_000])  # PyTorch complains of each in another way
    def test_a_checkpoint_that_was_cut_short_does_not_stop_it(
        self, trained: tuple, interrupted: Path, left: int
    ) -> None:
        latest = Workspace(interrupted).fold(1) / "checkpoint_latest.pth"
        latest.write_bytes(latest.read_bytes()[:left])
        result = train(interrupted, slices(4), CLASSES, TINY, folds=2)
        assert same(weights(result.results, 1), weights(trained[1].results, 1))

    def test_no_process_outlives_the_one_that_trains(self, tmp_path: Path) -> None:
        script = (
            "from pathlib import Path; from lib.networks.nnunet.training import train;"
            "from tests.networks.nnunet.drawn_slices import *;"
            f"train(Path({str(tmp_path)!r}), slices(4), CLASSES, replace(TINY, epochs=10_000), folds=2,"
            " on_progress=lambda p: print(p.epoch, flush=True))"
        )
        root = Path(__file__).resolve().parents[3]
        parent = subprocess.Popen(
            [sys.executable, "-c", "from dataclasses import replace;" + script],
            stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == b"1"
        assert list(_processes_with(str(tmp_path)))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _ in range(100):
            if not any(pid != parent.pid for pid in _processes_with(str(tmp_path))):
                break
            time.sleep(0.1)
        assert not list(_processes_with(str(tmp_path)))

    def test_called_off_it_ends_and_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(CancelledError):
            train(tmp_path, slices(4), CLASSES, TINY, folds=2, cancelled=lambda: True)


def _processes_with(argument: str) -> Iterator[int]:
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if argument in (process.info["cmdline"] or []):
            yield process.pid


@pytest.mark.slow
def test_what_nobody_judged_counts_neither_for_nor_against(tmp_path: Path) -> None:
    def partial(seed: int) -> LoadedSlice:
        hu, spacing, label = draw(seed)
        return hu, spacing, np.where(label == 3, label, UNJUDGED).astype(np.uint8) if seed == 0 else label

    result = train(tmp_path, slices(4, load=partial), CLASSES, TINY, folds=2)
    dice = {c["key"]: c["dice"] for c in result.metrics["cases"]}
    assert dice["case0@1"]["psoas"] is None
    assert dice["case2@1"]["psoas"] is not None
    assert json.loads((result.results / "dataset.json").read_text())["labels"]["ignore"] == 4


@pytest.mark.slow
class TestFineTuning:
    def test_each_fold_goes_on_from_its_own_weights_on_the_same_plans(self, trained: tuple, tmp_path: Path) -> None:
        parent = trained[1].results
        still = replace(TINY, fine_tune_lr=0.0)
        told: list[Progress] = []
        result = train(tmp_path, slices(6), CLASSES, still, folds=2, parent=parent, on_progress=told.append)
        assert {p.epochs for p in told} == {TINY.fine_tune_epochs}
        for fold in (0, 1):
            assert same(weights(result.results, fold), weights(parent, fold))
        for name in ("plans.json", "dataset_fingerprint.json"):
            assert json.loads((result.results / name).read_text()) == json.loads((parent / name).read_text())

    def test_only_new_labels_are_preprocessed(self, trained: tuple, tmp_path: Path) -> None:
        first = train(tmp_path, slices(4), CLASSES, replace(TINY, epochs=1), folds=2)
        folder = Workspace(tmp_path).preprocessed / "nnUNetPlans_2d"
        before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
        parent = first.results.rename(tmp_path / "v0001")
        items = [*slices(4)[:3], replace(slices(4)[3], key="case3@2")]
        train(tmp_path, items, CLASSES, replace(TINY, fine_tune_epochs=1), folds=2, parent=parent)
        after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
        assert {name.split(".")[0].removesuffix("_seg") for name in after} == {s.case for s in items}
        unchanged = {name for name in before if slices(4)[3].case not in name}
        assert all(after[name] == before[name] for name in unchanged)


class TestRefusals:
    @pytest.fixture
    def parent(self, trained: tuple, tmp_path: Path) -> Path:
        return Path(shutil.copytree(trained[1].results, tmp_path / "parent"))

    def attempt(self, tmp_path: Path, parent: Path, items: list[Slice] | None = None, **options: object) -> str:
        with pytest.raises(Refusal) as refusal:
            train(tmp_path / "w", items or slices(4), CLASSES, TINY, folds=2, parent=parent, **options)  # type: ignore[arg-type]
        assert not (tmp_path / "w" / "model").exists()
        return str(refusal.value)

    def test_a_damaged_checkpoint_of_the_parent_is_named(self, tmp_path: Path, parent: Path) -> None:
        path = parent / "fold_1" / CHECKPOINT
        path.write_bytes(path.read_bytes()[:5000])
        assert "fold_1/checkpoint_final.pth cannot be read" in self.attempt(tmp_path, parent)

    def test_a_parent_with_other_classes_is_refused(self, tmp_path: Path, parent: Path) -> None:
        dataset = json.loads((parent / "dataset.json").read_text())
        dataset["labels"] = {"background": 0, "skeletal_muscle": 1}
        (parent / "dataset.json").write_text(json.dumps(dataset))
        assert "knows skeletal_muscle" in self.attempt(tmp_path, parent)

    def test_a_second_training_in_the_same_workspace_is_refused(self, tmp_path: Path) -> None:
        def meanwhile() -> bool:
            with pytest.raises(Refusal, match="running already"):
                train(tmp_path, slices(4), CLASSES, TINY, folds=2)
            return True

        with pytest.raises(CancelledError):
            train(tmp_path, slices(4), CLASSES, TINY, folds=2, cancelled=meanwhile)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Refusal, match="no GPU"):
            train(tmp_path, slices(4), CLASSES, TINY, folds=2, device="cuda")
