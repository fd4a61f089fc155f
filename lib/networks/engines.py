"""The engines that run a network's folds: PyTorch on a GPU or a CPU, OpenVINO on a CPU.

A checkpoint is the only truth. What an engine compiles from it is a cache that may be deleted at any time.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from openvino import opset13 as opset
from torch import nn

from lib.refusals import Refusal

ENGINES = ("auto", "cuda", "openvino", "openvino-bf16", "torch")
"""What a user may ask for. ``auto``: CUDA where there is a GPU, else OpenVINO in float32."""

logger = logging.getLogger(__name__)

Weights = dict[str, torch.Tensor]

_LARGE_KERNEL = 200_000
"""Elements from which a convolution's kernel is not worth having in memory twice."""


@dataclass(frozen=True)
class Source:
    """Where an engine finds a network.

    Attributes:
        build: makes the network; its weights do not matter.
        weights: fold to a function that reads its weights from the checkpoint.
        digests: fold to the SHA-256 of its checkpoint, which names what is compiled from it.
        channels: of the network's input.
        stride: rows and columns of an input must be multiples of these; slices, rows and columns for a network in
            three dimensions.
        size: of an input, for a network that takes no other.
    """

    build: Callable[[], nn.Module]
    weights: Mapping[int, Callable[[], Weights]]
    digests: Mapping[int, str]
    channels: int
    stride: tuple[int, ...]
    size: tuple[int, ...] | None = None

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


class _WithBottleneck(nn.Module):
    """A network that also gives what its encoder ends in; one without an encoder gives its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        encoder, decoder = (getattr(self.network, name, None) for name in ("encoder", "decoder"))
        if not (isinstance(encoder, nn.Module) and isinstance(decoder, nn.Module)):
            return (self.network(x),)
        skips = encoder(x)
        return decoder(skips), skips[-1]


@dataclass(frozen=True)
class Pass:
    """What one pass of some folds gave.

    Attributes:
        logits: ``(folds, outputs, rows, columns)`` float32, with slices before the rows in three dimensions; on the
            device that computed them.
        bottleneck: ``(channels, rows, columns)`` float32, the deepest features of the first of the folds, slices
            before the rows in three dimensions; ``None`` for a network without an encoder.
    """

    logits: torch.Tensor
    bottleneck: npt.NDArray[np.float32] | None


class Engine(Protocol):
    """Runs the folds of one network."""

    def run(self, image: npt.NDArray[np.float32], folds: Sequence[int]) -> Pass:
        """Run folds on one image; several threads may ask at once.

        Args:
            image: ``(1, channels, rows, columns)``, or ``(1, channels, slices, rows, columns)``.
            folds: which ones, in the order of the answer.

        Raises:
            GpuMemoryError: the GPU has no memory left.
        """


class GpuMemoryError(Refusal):
    """The GPU has no memory left for what was asked of it."""


def make_engine(name: str, source: Source, cache: Path | None = None) -> Engine:
    """The engine of a name.

    Args:
        name: one of :data:`ENGINES`.
        source: the network.
        cache: folder for converted networks; nothing is kept without one, or where it cannot be written.

    Raises:
        Refusal: there is no such engine, or not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "openvino"
    if name == "cuda" and not torch.cuda.is_available():
        raise Refusal("There is no CUDA GPU that PyTorch can use: choose the engine openvino or auto.")
    match name:
        case "cuda":
            # Stacks of slices fill a GPU one fold at a time, and its memory when folds run together.
            return TorchEngine(source, "cuda", together=None if len(source.stride) == 2 else False)
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
        self.together = False if together is None and self._device.type == "cpu" else together
        self._lock = threading.Lock()
        self._format = torch.channels_last if len(source.stride) == 2 else torch.channels_last_3d
        with _gpu_memory():
            self._networks: dict[int, nn.Module] = {
                fold: _WithBottleneck(source.network(fold)).to(device=self._device, memory_format=self._format)  # type: ignore[call-overload]
                for fold in source.weights
            }
        self._stacks: dict[tuple[int, ...], tuple[nn.Module, Weights, Weights]] = {}

    def run(self, image: npt.NDArray[np.float32], folds: Sequence[int]) -> Pass:
        """See :class:`Engine`."""
        key = tuple(folds)
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda")
        with self._lock, _gpu_memory(), torch.inference_mode(), autocast:
            x = torch.from_numpy(image).to(self._device, memory_format=self._format)
            if self.together is None:
                self.together = self._is_faster_together(x, key)
            run = self._all_at_once if self.together else self._one_by_one
            logits, *bottleneck = run(x, key)
            return Pass(logits.float(), bottleneck[0].float().cpu().numpy() if bottleneck else None)

    def _one_by_one(self, x: torch.Tensor, folds: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        first, *others = (self._networks[fold](x) for fold in folds)
        return torch.cat([first[0], *(each[0] for each in others)]), *(each[0] for each in first[1:])

    def _all_at_once(self, x: torch.Tensor, folds: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        if folds not in self._stacks:
            networks = [self._networks[fold] for fold in folds]
            self._stacks = {folds: (networks[0], *torch.func.stack_module_state(networks))}
        network, parameters, buffers = self._stacks[folds]

        def run(parameters: Weights, buffers: Weights) -> tuple[torch.Tensor, ...]:
            return torch.func.functional_call(network, (parameters, buffers), (x,))  # type: ignore[no-any-return]

        logits, *bottleneck = torch.vmap(run)(parameters, buffers)
        return logits[:, 0], *(each[0, 0] for each in bottleneck)

    def _is_faster_together(self, x: torch.Tensor, folds: tuple[int, ...]) -> bool:
        seconds = {run: _seconds(lambda run=run: run(x, folds)) for run in (self._one_by_one, self._all_at_once)}
        if seconds[self._all_at_once] < seconds[self._one_by_one]:
            return True
        self._stacks.clear()
        return False


class OpenVINOEngine:
    """OpenVINO on a CPU. All folds that are asked for are one graph, so that they share one working memory.

    The kernels of large convolutions are inputs of the graph, kept in half precision and widened to float32 for
    each pass. As constants they would be in memory twice, as read and as OpenVINO packs them, in float32: 1.8 GB for
    five folds of the paper's network in place of 0.5 GB. Packing them anew for every slice takes some 4 % of a pass.

    Args:
        source: the network.
        cache: folder for converted networks, named by the checkpoints' hashes; it may be deleted.
        precision: "f32", or "bf16" for processors that have it.

    Raises:
        Refusal: the processor has no bfloat16.
    """

    # One pass at a time in the process: it has all cores already, and only one needs working memory.
    _lock = threading.Lock()
    _last: ov.CompiledModel | None = None

    def __init__(self, source: Source, cache: Path | None = None, *, precision: str = "f32") -> None:
        self._source, self._cache = source, cache
        self._core = ov.Core()
        if precision == "bf16" and not has_bfloat16():
            raise Refusal("This processor has no bfloat16: choose the engine openvino or auto.")
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # OpenVINO does not look at OMP_NUM_THREADS itself
        }
        self._kernels: dict[int, set[str]] = {}
        self._compiled: dict[tuple[int, ...], ov.CompiledModel] = {}
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}
        with self._lock:
            self._prepare(tuple(source.weights))

    def run(self, image: npt.NDArray[np.float32], folds: Sequence[int]) -> Pass:
        """See :class:`Engine`."""
        key = tuple(folds)
        with self._lock:
            self._prepare(key)
            self._take_working_memory(self._compiled[key])
            request = self._requests[key]
            request.set_tensor("image", ov.Tensor(image))
            request.infer()
            logits, *others = (
                request.get_output_tensor(i).data.copy() for i in range(len(self._compiled[key].outputs))
            )
            bottleneck = others.pop()[0] if len(others) == len(key) else None
            found = [torch.from_numpy(each) for each in (logits, *others)]
            return Pass(found[0] if len(found) == 1 else torch.cat(found), bottleneck)

    @classmethod
    def _take_working_memory(cls, compiled: ov.CompiledModel) -> None:
        if OpenVINOEngine._last is not None and OpenVINOEngine._last is not compiled:
            OpenVINOEngine._last.release_memory()
        OpenVINOEngine._last = compiled

    def _prepare(self, folds: tuple[int, ...]) -> None:
        if folds in self._compiled:
            return
        # Besides the whole ensemble only the last other choice stays: each holds weights of its own.
        for other in self._compiled.keys() - {tuple(self._source.weights)}:
            del self._requests[other], self._compiled[other]
        model = self._joined({fold: self._converted(fold) for fold in folds})
        compiled = self._core.compile_model(model, "CPU", self._settings)
        request = compiled.create_infer_request()
        for fold in folds:
            weights = self._source.weights[fold]()
            for name in self._kernels[fold]:
                request.get_tensor(f"{fold}.{name}").data[:] = weights[name].numpy()
        self._compiled[folds], self._requests[folds] = compiled, request

    def _joined(self, models: Mapping[int, ov.Model]) -> ov.Model:
        """One graph that gives one image to every network; a kernel's name starts with its fold.

        It gives the logits of every fold, and then the bottleneck of the first.
        """
        taken = self._source.size or tuple(-1 for _ in self._source.stride)
        image = opset.parameter([1, self._source.channels, *taken], np.float32)
        image.output(0).set_names({"image"})
        parameters = [image]
        for fold, model in models.items():
            for parameter in model.get_parameters():
                name = parameter.friendly_name
                if name != "image":
                    parameter.output(0).set_names({f"{fold}.{name}"})
                    parameters.append(parameter)
                    continue
                for reader in parameter.output(0).get_target_inputs():
                    reader.replace_source_output(image.output(0))
        results = [model.get_results() for model in models.values()]
        return ov.Model([each[0] for each in results] + results[0][1:], parameters, "folds")

    def _converted(self, fold: int) -> ov.Model:
        """The graph of a fold, from the cache where it is there."""
        name = f"{self._source.digests.get(fold, fold)}-bottleneck-openvino-{ov.__version__.split('-')[0]}.xml"
        model = self._read(self._cache / name) if self._cache else None
        if model is None:
            model = self._written_and_read(self._convert(fold), name)
        self._kernels[fold] = {parameter.friendly_name for parameter in model.get_parameters()} - {"image"}
        return model

    def _written_and_read(self, fresh: ov.Model, name: str) -> ov.Model:
        """The same graph from the disk, since the constants of a fresh one keep the whole checkpoint in memory."""
        if self._cache is not None:
            try:
                _keep(fresh, self._cache / name)
                return self._core.read_model(self._cache / name)
            except (OSError, RuntimeError) as error:  # OpenVINO raises the latter for a full disk
                logger.warning("%s cannot be kept in %s, so it is made anew each time: %s", name, self._cache, error)
        with tempfile.TemporaryDirectory() as folder:
            _keep(fresh, Path(folder) / name)
            return self._core.read_model(Path(folder) / name)

    def _read(self, path: Path) -> ov.Model | None:
        try:
            return self._core.read_model(path)
        except RuntimeError:  # not there, or damaged: it is a cache
            return None

    def _convert(self, fold: int) -> ov.Model:
        # Any size will do that leaves InstanceNorm more than one pixel in the deepest stage.
        *others, columns = self._source.stride
        size = self._source.size or (*(2 * each for each in others), columns)
        example = torch.zeros(1, self._source.channels, *size)
        network = self._source.network(fold)
        with torch.no_grad(), warnings.catch_warnings():
            # It warns of checks on sizes that hold for every size, and that tracing is old.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(_WithBottleneck(network).eval(), example, check_trace=False)
            taken = self._source.size or tuple(-1 for _ in size)
            model = ov.convert_model(traced, example_input=example, input=[1, self._source.channels, *taken])
        model.get_parameters()[0].friendly_name = "image"
        # OpenVINO's constants are the very memory of the network's parameters.
        large = {p.data_ptr(): name for name, p in network.named_parameters() if p.numel() >= _LARGE_KERNEL}
        inputs = []
        for constant in model.get_ops():
            if constant.get_type_name() != "Constant" or constant.data.ctypes.data not in large:
                continue
            kernel = opset.parameter(list(constant.shape), np.float16)
            kernel.friendly_name = large[constant.data.ctypes.data]
            widened = opset.convert(kernel, np.float32)
            for reader in constant.output(0).get_target_inputs():
                reader.replace_source_output(widened.output(0))
            inputs.append(kernel)
        model.add_parameters(inputs)
        return model


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
        raise GpuMemoryError(
            "The GPU has not enough memory left for these networks: wait until other work on it is done, or choose the "
            "engine openvino.",
            status=503,
        ) from error
