"""Time, agreement and memory of the five-fold L3 ensemble against ``nnUNetv2_predict``, on one slice."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from lib.anatomy.schemas import L3_MUSCLE, LabelSchema
from lib.measures.overlap import dice
from scripts.benchmarks._nnunet import SLICE_MM, nnunet_predict

PATCH, SPACING_MM = (640, 640), 0.782
FEATURES = (32, 64, 128, 256, 512, 512, 512, 512)
FOLDS = 5


@dataclass(frozen=True)
class _Job:
    """What a process of its own measures."""

    model: Path
    cache: Path
    hu: npt.NDArray
    spacing: tuple[float, float]
    engine: str
    padding: Any
    repeat: int

    def ensemble(self) -> Any:
        from lib.networks.nnunet.ensemble import Ensemble  # noqa: PLC0415

        return Ensemble(self.model, engine=self.engine, cache=self.cache, padding=self.padding)


def main(argv: list[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py l3-ensemble", description=__doc__)
    parser.add_argument(
        "--model", type=Path, help="an nnU-Net results folder (default: untrained, of the paper's size)"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--engine", default="auto", help="of lib.networks.engines (default: %(default)s)")
    parser.add_argument("--padding", choices=("patch", "stride"), default="patch")
    parser.add_argument("--seed", type=int, default=1, help="of the phantom (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = options.model or write_untrained(place / "model")
        hu, spacing = _slice(options.seed)
        rows = _on_gpu(model) if options.device == "cuda" else _on_cpu(place, model, hu, spacing, options)
    print("| what | measured | bar |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0


def write_untrained(
    folder: Path,
    *,
    patch: tuple[int, int] = PATCH,
    spacing_mm: float = SPACING_MM,
    features: Sequence[int] = FEATURES,
    folds: int = FOLDS,
    schema: LabelSchema = L3_MUSCLE,
) -> Path:
    """A results folder of networks with seeded random weights, as nnU-Net plans and names everything.

    Args:
        folder: where; made if it is not there.
        patch: rows and columns.
        spacing_mm: of the grid on which the networks work.
        features: channels of each stage.
        folds: how many.
        schema: of the classes.

    Returns:
        The folder.
    """
    import torch  # noqa: PLC0415 - the other benchmarks need neither
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415

    plans = _plans(patch, spacing_mm, features)
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **schema.ids},
        "numTraining": folds,
        "file_ending": ".nii.gz",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    architecture = plans["configurations"]["2d"]["architecture"]
    for fold in range(folds):
        torch.manual_seed(fold)
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            1,
            1 + len(schema),
            deep_supervision=True,
        )
        checkpoint = {
            "network_weights": network.state_dict(),
            "init_args": {"configuration": "2d", "fold": fold, "plans": plans, "dataset_json": dataset},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1),
        }
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def _plans(patch: tuple[int, int], spacing_mm: float, features: Sequence[int]) -> dict[str, Any]:
    stages = len(features)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    network = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * stages,
        "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 6,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [512, 512],
        "spacing": [spacing_mm, spacing_mm],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": True,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    intensities = {"mean": 45.0, "median": 48.0, "std": 35.0, "min": -200.0, "max": 300.0}
    return {
        "dataset_name": "Dataset001_L3",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [SLICE_MM, spacing_mm, spacing_mm],
        "original_median_shape_after_transp": [1, 512, 512],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {**intensities, "percentile_00_5": -90.0, "percentile_99_5": 150.0}
        },
    }


def _slice(seed: int) -> tuple[npt.NDArray, tuple[float, float]]:
    """The L3 slice of a phantom, 512 x 512, in the order in which everything is labelled."""
    from lib.phantoms.phantom import Phantom  # noqa: PLC0415
    from lib.phantoms.scanner import Scanner  # noqa: PLC0415

    phantom = Phantom(seed, "abdomen", shape=(512, 512, 60), scanner=Scanner())
    image = phantom.image.canonical()
    label = np.asarray(phantom.label("l3_muscle"))
    own = int((label > 0).any(axis=tuple({0, 1, 2} - {phantom.image.foot_to_head_axis})).argmax())
    index = phantom.image.slice_from_canonical(own)
    x, y = (float(mm) for mm in image.spacing[:2])
    return np.rint(image.hu[:, :, index]).astype(np.int16), (x, y)


def _on_cpu(
    place: Path, model: Path, hu: npt.NDArray, spacing: tuple[float, float], options: argparse.Namespace
) -> list[tuple[str, str, str]]:
    labels, seconds = nnunet_predict(model, {"slice": (hu, spacing)})
    theirs = labels["slice"]
    job = _Job(model, place / "cache", hu, spacing, options.engine, options.padding, options.repeat)
    ours = _in_its_own_process(_time_warm, job)
    memory = _in_its_own_process(_peak_memory, job)
    agreement = dice(theirs, ours["label"], _ids(model))
    worst = min((value for value in agreement.values() if value is not None), default=1.0)
    median = statistics.median(ours["seconds"])
    return [
        (f"`nnUNetv2_predict`, {ours['folds']} folds, no mirroring", f"{seconds:.1f} s", ""),
        (f"warm ensemble ({options.engine}, padded to the {options.padding}), with numbers", f"{median:.2f} s", ""),
        ("times faster", f"{seconds / median:.1f}", "10"),
        ("first start, networks converted", f"{ours['load_s']:.1f} s", ""),
        ("Dice between the two, lowest class", f"{worst:.4f}", "0.995"),
        ("peak memory with two ensembles loaded", f"{memory / 1e9:.2f} GB", "3 GB"),
    ]  # fmt: skip


def _ids(model: Path) -> dict[str, int]:
    labels = json.loads((model / "dataset.json").read_text())["labels"]
    return {name: value for name, value in labels.items() if name != "background"}


def _in_its_own_process(task: Any, *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def _time_warm(job: _Job) -> dict[str, Any]:
    """Seconds and labels of the loaded ensemble."""
    from lib.networks.nnunet.ensemble import label_of  # noqa: PLC0415

    start = time.perf_counter()
    ensemble = job.ensemble()
    load_s = time.perf_counter() - start
    _answer(ensemble, job.hu, job.spacing)
    seconds = []
    for _ in range(job.repeat):
        start = time.perf_counter()
        probabilities = _answer(ensemble, job.hu, job.spacing)
        seconds.append(time.perf_counter() - start)
    return {
        "load_s": load_s,
        "seconds": seconds,
        "folds": len(probabilities),
        "label": label_of(probabilities),
    }


def _answer(ensemble: Any, hu: npt.NDArray, spacing: tuple[float, float]) -> npt.NDArray[np.float32]:
    """All that a request needs: probabilities, label, measurements, disagreement."""
    from lib.images.ct import CTImage  # noqa: PLC0415
    from lib.measures.composition import measure  # noqa: PLC0415
    from lib.measures.disagreement import disagreement  # noqa: PLC0415
    from lib.networks.nnunet.ensemble import label_of  # noqa: PLC0415

    probabilities = ensemble.predict(hu, spacing)
    image = CTImage(hu=hu[:, :, None], affine=np.diag([*spacing, SLICE_MM, 1.0]))
    measure(image, label_of(probabilities)[:, :, None], L3_MUSCLE, slice_index=0)
    disagreement(probabilities, hu, spacing, ensemble.classes, hu > -500)
    return probabilities  # type: ignore[no-any-return]


def _peak_memory(job: _Job) -> int:
    """Bytes of a process in which two ensembles are loaded and answer in turn."""
    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ensembles = [job.ensemble() for _ in range(2)]
        for ensemble in ensembles * 2:
            ensemble.predict(job.hu, job.spacing)
    finally:
        done.set()
        watcher.join()
    return peak[0]


def _on_gpu(model: Path) -> list[tuple[str, str, str]]:
    """Network time of the folds, one after another and in one batched pass."""
    import torch  # noqa: PLC0415

    from lib.networks.nnunet.ensemble import Ensemble  # noqa: PLC0415

    ensemble = Ensemble(model, engine="cuda")
    engine: Any = ensemble.engine
    image = np.random.default_rng(0).standard_normal((1, 1, *ensemble.patch), dtype=np.float32)
    rows = []
    for together in (False, True):
        engine.together = together
        seconds = []
        for _ in range(13):
            torch.cuda.synchronize()
            start = time.perf_counter()
            engine.run(image, ensemble.folds)
            seconds.append(time.perf_counter() - start)
        name = "in one batched pass" if together else "one after another"
        median = statistics.median(seconds[3:]) * 1000
        rows.append(
            (f"{len(ensemble.folds)} folds {name}, {torch.cuda.get_device_name()}", f"{median:.1f} ms", "50 ms")
        )
    return rows
