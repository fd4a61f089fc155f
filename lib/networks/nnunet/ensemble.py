"""Prediction with an nnU-Net results folder: the folds stay loaded, and share one pre-processing of a slice."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lib.disk import sha256_of
from lib.networks.engines import Source, Weights, make_engine
from lib.networks.features import cells, describe
from lib.networks.nnunet.preprocessing import Preprocessing
from lib.refusals import Refusal

CHECKPOINT = "checkpoint_final.pth"
Padding = Literal["patch", "stride"]

_MIRRORING = "inference_allowed_mirroring_axes"
_KEYS = ("network_weights", "init_args", "trainer_name")
# nnU-Net's logger leaves numbers of NumPy in a checkpoint.
_NUMPY_SCALARS: list[Any] = [
    *(
        (np.core.multiarray.scalar, name)  # type: ignore[attr-defined]
        for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    ),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


@dataclass(frozen=True)
class Prediction:
    """What the folds make of a slice.

    Attributes:
        probabilities: ``(folds, 1 + classes, x, y)`` float32; index 0 is the background.
        features: ``(64,)`` float32, a description of the slice by the bottleneck of the first fold in use: slices that
            look alike to the network are near each other. Comparable within one version and the same first fold;
            ``None`` for networks without an encoder.
    """

    probabilities: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None


class Ensemble:
    """The networks of a results folder, as ``nnUNetv2_predict`` reads it.

    Several threads may predict at once.

    Args:
        folder: with ``plans.json``, ``dataset.json`` and ``fold_0`` to ``fold_4``, as many as there are.
        engine: one of :data:`lib.networks.engines.ENGINES`.
        cache: folder for what the engine compiles; it may be deleted at any time.
        padding: how far a slice smaller than the patch is padded. ``patch``: to the patch, as nnU-Net does it.
            ``stride``: only to what the network's strides want, which is faster; the means over the picture in
            InstanceNorm then lack the padding.

    Attributes:
        classes: name to value of the labels, without the background.
        folds: the folds that are there, ascending.
        patch: rows and columns of the networks' window.
        engine: what runs the networks.

    Raises:
        Refusal: a file is missing or damaged, or these are not networks for a single slice of CT.
    """

    def __init__(
        self, folder: Path, *, engine: str = "auto", cache: Path | None = None, padding: Padding = "patch"
    ) -> None:
        self._padding = padding
        plans, dataset = (_read_json(folder / name) for name in ("plans.json", "dataset.json"))
        checkpoints = {int(path.parent.name[5:]): path for path in folder.glob(f"fold_[0-9]/{CHECKPOINT}")}
        if not checkpoints:
            raise Refusal(f"The model in {folder.name} has no fold that was trained to its end ({CHECKPOINT}).")
        self.folds = tuple(sorted(checkpoints))
        first = _read_checkpoint(checkpoints[self.folds[0]])
        try:
            manager = PlansManager(plans)
            configuration = manager.get_configuration(first["init_args"]["configuration"])
            labels = manager.get_label_manager(dataset)
            self.classes: dict[str, int] = {
                name: value for name, value in dataset["labels"].items() if name not in ("background", "ignore")
            }
            if labels.has_regions or sorted(self.classes.values()) != list(range(1, labels.num_segmentation_heads)):
                raise Refusal(f"The labels of the model in {folder.name} overlap or are not numbered from 1 on.")
            self._preprocessing = Preprocessing(manager, configuration)
            self.patch = tuple(configuration.patch_size)
            strides = np.prod(configuration.pool_op_kernel_sizes, axis=0)
            build = partial(
                get_network_from_plans,
                configuration.network_arch_class_name,
                configuration.network_arch_init_kwargs,
                configuration.network_arch_init_kwargs_req_import,
                1,
                labels.num_segmentation_heads,
                allow_init=False,
                deep_supervision=False,
            )
            with torch.device("meta"):
                build()
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError, ImportError, RuntimeError) as error:
            raise Refusal(
                f"The plans of the model in {folder.name} cannot be used ({error}): import it again."
            ) from error
        self._stride = (int(strides[0]), int(strides[1]))
        self._mirroring_axes = tuple(first[_MIRRORING] or ())
        self.engine = make_engine(
            engine,
            Source(
                build=build,
                weights={fold: partial(_read_weights, checkpoints[fold]) for fold in self.folds},
                digests={fold: sha256_of(checkpoints[fold]) for fold in self.folds} if cache else {},
                channels=1,
                stride=self._stride,
            ),
            cache,
        )

    def predict(
        self,
        hu: npt.NDArray,
        spacing: Sequence[float],
        *,
        folds: Sequence[int] | None = None,
        mirroring: bool = False,
    ) -> npt.NDArray[np.float32]:
        """The probabilities of :meth:`describe` alone."""
        return self.describe(hu, spacing, folds=folds, mirroring=mirroring).probabilities

    def describe(
        self,
        hu: npt.NDArray,
        spacing: Sequence[float],
        *,
        folds: Sequence[int] | None = None,
        mirroring: bool = False,
    ) -> Prediction:
        """Probabilities of every fold for one slice, and its features from the same passes.

        Args:
            hu: ``(x, y)`` Hounsfield units.
            spacing: mm along x and y.
            folds: which ones; all without it.
            mirroring: average over mirror images too, along the axes that the checkpoint allows.

        Raises:
            Refusal: a fold is not there, the slice is empty, or the GPU has no memory left.
        """
        chosen = self.folds if folds is None else tuple(folds)
        if missing := [fold for fold in chosen if fold not in self.folds]:
            raise Refusal(
                f"The model has no fold {missing[0]}; it has {', '.join(map(str, self.folds))}, or take the ensemble."
            )
        prepared = self._preprocessing.apply(hu, spacing)
        axes = self._mirroring_axes if mirroring else ()
        logits, bottlenecks = self._logits(prepared.data, chosen, axes)
        return Prediction(
            self._preprocessing.restore(logits, prepared), describe([cells(each) for each in bottlenecks])
        )

    def _logits(
        self, data: npt.NDArray[np.float32], folds: tuple[int, ...], mirroring_axes: tuple[int, ...]
    ) -> tuple[torch.Tensor, list[npt.NDArray[np.float32]]]:
        """``(folds, 1 + classes, rows, columns)`` over the whole of the data, in windows where it exceeds the patch.

        With it the bottleneck of every window, ``(channels, rows, columns)``.
        """
        window = tuple(
            patch if size > patch or self._padding == "patch" else -(-size // stride) * stride
            for size, patch, stride in zip(data.shape, self.patch, self._stride, strict=True)
        )
        if window == self._stride:  # InstanceNorm wants more than one pixel in the deepest stage
            window = (2 * window[0], window[1])
        padded, inside = pad_nd_image(data, window, return_slicer=True)
        bottlenecks = []
        if padded.shape == window:
            total, bottleneck = self._mirrored(padded, folds, mirroring_axes)
            bottlenecks.append(bottleneck)
        else:
            total = torch.zeros((len(folds), 1 + len(self.classes), *padded.shape))
            weight = torch.zeros(padded.shape)
            importance = _importance(window)
            for rows, columns in self._windows(padded.shape, window):
                logits, bottleneck = self._mirrored(padded[rows, columns], folds, mirroring_axes)
                total[:, :, rows, columns] += importance * logits
                weight[rows, columns] += importance
                bottlenecks.append(bottleneck)
            total /= weight
        return total[:, :, inside[0], inside[1]], [each for each in bottlenecks if each is not None]

    @staticmethod
    def _windows(shape: tuple[int, ...], window: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
        rows, columns = compute_steps_for_sliding_window(shape, window, 0.5)
        for row, column in itertools.product(rows, columns):
            yield slice(row, row + window[0]), slice(column, column + window[1])

    def _mirrored(
        self, data: npt.NDArray[np.float32], folds: tuple[int, ...], axes: tuple[int, ...]
    ) -> tuple[torch.Tensor, npt.NDArray[np.float32] | None]:
        """The mean logits of all mirror images, and the bottleneck of the picture as it is."""
        flips = [flip for count in range(len(axes) + 1) for flip in itertools.combinations(axes, count)]
        passes = [self.engine.run(np.ascontiguousarray(np.flip(data, flip))[None, None], folds) for flip in flips]
        total = torch.zeros(())
        for flip, each in zip(flips, passes, strict=True):
            total = total + each.logits.cpu().flip([axis + 2 for axis in flip])
        return total / len(flips), passes[0].bottleneck


def _importance(window: tuple[int, ...]) -> torch.Tensor:
    return compute_gaussian(window, 1 / 8, 10, dtype=torch.float32, device=torch.device("cpu"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    except FileNotFoundError as error:
        raise Refusal(f"The model in {path.parent.name} lacks {path.name}: import it again, whole.") from error
    except ValueError as error:
        raise Refusal(f"{path.name} of the model in {path.parent.name} is damaged: import it again.") from error


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, its tensors still on disk; only plain values are read, so that no file can run code."""
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {key: checkpoint[key] for key in _KEYS} | {_MIRRORING: checkpoint.get(_MIRRORING)}
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError, TypeError) as error:
        raise Refusal(
            f"{path.parent.name}/{path.name} of the model in {path.parent.parent.name} is damaged or not a checkpoint "
            "of nnU-Net: import or train the model again."
        ) from error


def _read_weights(path: Path) -> Weights:
    return _read_checkpoint(path)["network_weights"]  # type: ignore[no-any-return]


_LEAST = np.finfo(np.float32).tiny
"""Probability of what a network rules out."""


def label_of(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The label on which folds agree: the most probable class after their log probabilities are averaged.

    That is what averaged logits give, as ``nnUNetv2_predict`` averages them; Yu 2026, who used it, speaks of averaged
    probability maps. Where folds contradict each other, one that rules a class out has more weight.

    Args:
        probabilities: ``(folds, 1 + classes, x, y)``.

    Returns:
        ``(x, y)``.
    """
    return np.log(np.maximum(probabilities, _LEAST)).mean(axis=0).argmax(axis=0).astype(np.uint8)  # type: ignore[no-any-return]
