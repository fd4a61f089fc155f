"""The engines that run a network's folds: PyTorch on a GPU or a CPU, OpenVINO on a CPU.

A checkpoint is the only truth. What an engine compiles from it is a cache that may be deleted at any time.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import nn

from lib.refusals import Refusal

ENGINES = ("auto", "cuda", "openvino", "openvino-bf16", "torch")
"""What a user may ask for. ``auto``: CUDA where there is a GPU, else OpenVINO in float32."""

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """Where an engine finds a network.

    Attributes:
        build: makes the network; its weights do not matter.
        weights: fold to a function that reads its weights from the checkpoint.
        digests: fold to the SHA-256 of its checkpoint, which names what is compiled from it.
        channels: of the network's input.
        stride: rows and columns of an input must be multiples of these.
    """

    build: Callable[[], nn.Module]
    weights: Mapping[int, Callable[[], Weights]]
    digests: Mapping[int, str]
    channels: int
    stride: tuple[int, int]

    def network(self, fold: int) -> nn.Module:
        """The network of a fold, its weights read now.

        Raises:
            Refusal: the checkpoint is damaged, or of another network.
        """
        with torch.device("meta"):
            network = self.build()
        try:
            network.load_state_dict(self.weights[fold](), assign=True)
        except RuntimeError as error:
            raise Refusal(f"The weights of fold {fold} do not fit the network in the model's plans.") from error
        return network.eval().requires_grad_(requires_grad=False)


class Engine(Protocol):
    """Runs the folds of one network."""

    def logits(self, image: npt.NDArray[np.float32], folds: Sequence[int]) -> torch.Tensor:
        """Run folds on one image; several threads may ask at once.

        Args:
            image: ``(1, channels, rows, columns)``.
            folds: which ones, in the order of the answer.

        Returns:
            ``(folds, outputs, rows, columns)`` float32, on the CPU.

        Raises:
            Refusal: the GPU has no memory left.
        """


def make_engine(name: str, source: Source, cache: Path | None = None) -> Engine:
    """The engine of a name.

    Args:
        name: one of :data:`ENGINES`.
        source: the network.
        cache: folder for converted networks; nothing is kept without one.

    Raises:
        Refusal: there is no such engine, or not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "openvino"
    if name == "cuda" and not torch.cuda.is_available():
        raise Refusal("There is no CUDA GPU that PyTorch can use: choose the engine openvino or auto.")
    match name:
        case "cuda":
            return TorchEngine(source, "cuda")
        case "torch":
            return TorchEngine(source, "cpu")
        case "openvino":
            return OpenVINOEngine(source, cache)
        case "openvino-bf16":
            return OpenVINOEngine(source, cache, precision="bf16")
    raise Refusal(f"There is no engine {name!r}; there are {', '.join(ENGINES)}.")


class TorchEngine:
    """PyTorch. On a GPU: bfloat16 where it matters not, channels last, folds together where that is faster.

    Args:
        source: the network.
        device: "cpu" or a CUDA device.
        together: all folds in one batched pass, or one after another; by default what is measured to be
            faster on a GPU, and one after another on a CPU, where there is nothing to win.
    """

    def __init__(self, source: Source, device: str, *, together: bool | None = None) -> None:
        self._device = torch.device(device)
        self._together = False if together is None and self._device.type == "cpu" else together
        self._lock = threading.Lock()
        with _gpu_memory():
            self._networks = {
                fold: source.network(fold).to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                for fold in source.weights
            }
        self._stacks: dict[tuple[int, ...], tuple[nn.Module, Weights, Weights]] = {}

    def logits(self, image: npt.NDArray[np.float32], folds: Sequence[int]) -> torch.Tensor:
        """See :class:`Engine`."""
        key = tuple(folds)
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda")
        with self._lock, _gpu_memory(), torch.inference_mode(), autocast:
            x = torch.from_numpy(image).to(self._device, memory_format=torch.channels_last)
            if self._together is None:
                self._together = self._is_faster_together(x, key)
            run = self._all_at_once if self._together else self._one_by_one
            return run(x, key).float().cpu()

    def _one_by_one(self, x: torch.Tensor, folds: tuple[int, ...]) -> torch.Tensor:
        return torch.cat([self._networks[fold](x) for fold in folds])

    def _all_at_once(self, x: torch.Tensor, folds: tuple[int, ...]) -> torch.Tensor:
        if folds not in self._stacks:
            networks = [self._networks[fold] for fold in folds]
            self._stacks = {folds: (networks[0], *torch.func.stack_module_state(networks))}
        network, parameters, buffers = self._stacks[folds]

        def run(parameters: Weights, buffers: Weights) -> torch.Tensor:
            return torch.func.functional_call(network, (parameters, buffers), (x,))  # type: ignore[no-any-return]

        return torch.vmap(run)(parameters, buffers)[:, 0]

    def _is_faster_together(self, x: torch.Tensor, folds: tuple[int, ...]) -> bool:
        seconds = {run: _seconds(lambda run=run: run(x, folds)) for run in (self._one_by_one, self._all_at_once)}
        if seconds[self._all_at_once] < seconds[self._one_by_one]:
            return True
        self._stacks.clear()
        return False


class OpenVINOEngine:
    """OpenVINO on a CPU. All folds that are asked for are one graph, so that they share one working memory.

    Args:
        source: the network.
        cache: folder for converted networks, named by the checkpoints' hashes; it may be deleted.
        precision: "f32", or "bf16" for processors that have it.

    Raises:
        Refusal: the processor has no bfloat16.
    """

    def __init__(self, source: Source, cache: Path | None = None, *, precision: str = "f32") -> None:
        self._source, self._cache = source, cache
        self._core = ov.Core()
        if precision == "bf16" and not has_bfloat16():
            raise Refusal("This processor has no bfloat16: choose the engine openvino or auto.")
        self._settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._lock = threading.Lock()
        self._requests: OrderedDict[tuple[int, ...], ov.InferRequest] = OrderedDict()
        self._request(tuple(source.weights))

    def logits(self, image: npt.NDArray[np.float32], folds: Sequence[int]) -> torch.Tensor:
        """See :class:`Engine`."""
        # One at a time: a pass has all cores already, and a second one would double the memory.
        with self._lock:
            request = self._request(tuple(folds))
            request.infer({0: image}, share_inputs=True)
            return torch.cat([torch.from_numpy(request.get_output_tensor(i).data.copy()) for i in range(len(folds))])

    def _request(self, folds: tuple[int, ...]) -> ov.InferRequest:
        if folds not in self._requests:
            # Besides the whole ensemble, the last other choice is kept: each one holds its own weights.
            for other in [key for key in self._requests if key != tuple(self._source.weights)]:
                del self._requests[other]
            model = self._joined([self._converted(fold) for fold in folds])
            self._requests[folds] = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
        return self._requests[folds]

    @staticmethod
    def _joined(models: list[ov.Model]) -> ov.Model:
        """One graph that gives one image to every network."""
        image = models[0].get_parameters()[0]
        for model in models[1:]:
            for reader in model.get_parameters()[0].output(0).get_target_inputs():
                reader.replace_source_output(image.output(0))
        return ov.Model([model.get_results()[0] for model in models], [image], "folds")

    def _converted(self, fold: int) -> ov.Model:
        if self._cache is None:
            return self._convert(fold)
        path = self._cache / f"{self._source.digests[fold]}-openvino-{ov.__version__.split('-')[0]}.xml"
        try:
            return self._core.read_model(path)
        except RuntimeError:  # not there, or damaged: it is a cache
            self._keep(self._convert(fold), path)
        return self._core.read_model(path)

    def _convert(self, fold: int) -> ov.Model:
        # Any size will do that leaves InstanceNorm more than one pixel in the deepest stage.
        rows, columns = self._source.stride
        example = torch.zeros(1, self._source.channels, 2 * rows, columns)
        with torch.no_grad():
            traced = torch.jit.trace(self._source.network(fold), example, check_trace=False)
            return ov.convert_model(traced, example_input=example, input=[1, self._source.channels, -1, -1])

    @staticmethod
    def _keep(model: ov.Model, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            written = Path(folder) / path.name
            ov.save_model(model, written, compress_to_fp16=False)
            # The graph last: who sees it finds the weights.
            for suffix in (".bin", ".xml"):
                written.with_suffix(suffix).replace(path.with_suffix(suffix))


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor (AVX-512 BF16 or AMX)."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _seconds(run: Callable[[], object]) -> float:
    run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def _gpu_memory() -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise Refusal(
            "The GPU has not enough memory left for these networks: wait until other work on it is done, or choose the "
            "engine openvino."
        ) from error
