"""The folds of a network on volumes at work, on a CT of any length in bounded memory."""

from __future__ import annotations

import itertools
import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lib.disk import sha256_of
from lib.measures.disagreement import Disagreement
from lib.networks.engines import Engine, GpuMemoryError, Source, TorchEngine, Weights, make_engine
from lib.networks.features import cells, describe
from lib.refusals import Refusal
from lib.volumes.grid import Grid, outline, windowed
from lib.volumes.parts import drop_small_parts
from lib.volumes.tally import Tally
from lib.volumes.workspace import WEIGHTS, read_description

_SMALLER = (
    "The GPU has too little free memory for whole stacks of slices: smaller ones were taken, which differ a little."
)
_ON_CPU = "The GPU has too little free memory for this network: the CPU answered, which takes longer."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """What the folds make of a CT.

    Attributes:
        label: (x, y, z), values of the classes, 0 outside of the body.
        disagreement: of the folds; its map is in percent.
        features: ``(64,)`` float32, see :mod:`lib.networks.features`.
        warnings: plain sentences.
    """

    label: npt.NDArray[np.uint8]
    disagreement: Disagreement
    features: npt.NDArray[np.float32] | None
    warnings: tuple[str, ...]


class VolumeEnsemble:
    """Networks of several folds; several threads may ask at once.

    Stacks of slices overlap, and are answered one after another. What the folds say of a slice is added up where stacks
    overlap, turned into a label and counted as soon as no further stack shows the slice, and forgotten. So beside
    the CT and its label only as many slices are held as a stack has, on the network's grid.

    Args:
        folder: of a version, with its description and ``fold_K/weights.pt``.
        folds: which ones; all that are there without it.
        engine: one of :data:`lib.networks.engines.ENGINES`.
        cache: folder for what the engine compiles.

    Attributes:
        recipe: how the networks were trained.
        classes: name to value.
        folds: those that are there, ascending.
        warnings: plain sentences that every answer carries.

    Raises:
        Refusal: the description or weights are missing, damaged, or do not fit each other.
    """

    def __init__(
        self, folder: Path, *, folds: Sequence[int] | None = None, engine: str = "auto", cache: Path | None = None
    ) -> None:
        self.recipe, self.classes = read_description(folder)
        paths = {int(path.parent.name[5:]): path for path in folder.glob(f"fold_[0-9]/{WEIGHTS}")}
        self.folds = tuple(sorted(paths if folds is None else set(paths).intersection(folds)))
        if not self.folds:
            raise Refusal(f"The model in {folder.name} holds no weights.")
        self._source = Source(
            build=partial(self.recipe.build, 1 + len(self.classes)),
            weights={fold: partial(_read_weights, paths[fold]) for fold in self.folds},
            digests={fold: sha256_of(paths[fold]) for fold in self.folds} if cache else {},
            channels=1,
            stride=self.recipe.stride,
            size=self.recipe.size,
        )
        self._cache = cache
        self.warnings: tuple[str, ...] = ()
        try:
            self.engine: Engine = make_engine(engine, self._source, cache)
        except GpuMemoryError as error:
            logger.warning("The CPU answers in place of the GPU: %s", error)
            self.engine, self.warnings = self.cpu_engine(), (_ON_CPU,)

    def cpu_engine(self) -> Engine:
        """What answers where the GPU cannot."""
        return make_engine("openvino", self._source, self._cache)

    def segment(
        self, hu: npt.NDArray, spacing: npt.NDArray[np.float64], folds: Sequence[int] | None = None
    ) -> Segmented:
        """Label a CT.

        Args:
            hu: (x, y, z) in canonical order.
            spacing: mm.
            folds: which ones; all without it.

        Raises:
            Refusal: there is no body in it, or a fold is not there.
        """
        chosen = self.folds if folds is None else tuple(folds)
        if missing := [fold for fold in chosen if fold not in self.folds]:
            there = ", ".join(map(str, self.folds))
            raise Refusal(f"The model has no fold {missing[0]}; it has {there}, or take the ensemble.")
        work = _Work(self, np.asarray(hu), np.asarray(spacing, float), chosen)
        try:
            return work.segment()
        except (torch.OutOfMemoryError, GpuMemoryError) as error:
            logger.warning("The CPU answers in place of the GPU: %s", error)
        work.leave_gpu()
        return work.segment()


class _Work:
    """One CT that is being labelled."""

    def __init__(
        self, ensemble: VolumeEnsemble, hu: npt.NDArray, spacing: npt.NDArray[np.float64], folds: tuple[int, ...]
    ) -> None:
        self._ensemble, self._folds = ensemble, folds
        self._recipe, self._outputs = ensemble.recipe, 1 + len(ensemble.classes)
        self._hu, self._spacing = hu, spacing
        self._engine = ensemble.engine
        on_gpu = isinstance(self._engine, TorchEngine) and torch.cuda.is_available()
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._most = max(self._recipe.patch[0], 1)
        self._windows: list[npt.NDArray[np.float32]] = []
        self._warnings = dict.fromkeys(ensemble.warnings)
        self._body = outline(hu, spacing)
        if not self._body.any():
            raise Refusal("There is no body in this image: nothing in it is as large and as dense as a limb.")
        self._grid = Grid.of(self._body, spacing, self._recipe)

    def leave_gpu(self) -> None:
        """Go on without it."""
        self._engine, self._device = self._ensemble.cpu_engine(), torch.device("cpu")
        self._most = max(self._recipe.patch[0], 1)
        self._warnings = {_ON_CPU: None}

    def segment(self) -> Segmented:
        """See :meth:`VolumeEnsemble.segment`."""
        self._windows.clear()
        tally = Tally(self._ensemble.classes, len(self._folds))
        label, doubt = (np.zeros(self._hu.shape, np.uint8, order="F") for _ in range(2))
        for k, logits in self._fine_planes():
            at = (*self._grid.inside, k)
            inside = self._body[at]
            if not inside.any():
                continue
            chosen = torch.from_numpy(np.flatnonzero(inside)).to(logits.device)
            said = self._grid.plane(logits).flatten(2).index_select(2, chosen).log_softmax(dim=1)
            mean = said.mean(dim=0) if len(said) > 1 else said[0]
            label[at][inside] = mean.max(dim=0).indices.to(torch.uint8).cpu().numpy()
            doubt[at][inside] = tally.add(said, self._hu[at][inside])
        if self._recipe.least_part:
            drop_small_parts(label[self._grid.inside], self._recipe.least_part)
        return Segmented(
            label=label,
            disagreement=tally.disagreement(doubt, float(np.prod(self._spacing)) / 1000.0),
            features=describe(self._windows),
            warnings=tuple(self._warnings),
        )

    def _fine_planes(self) -> Iterator[tuple[int, torch.Tensor]]:
        """The slices of the CT, with the folds' logits for them on the grid's plane (folds, outputs, x, y)."""
        ready = enumerate(self._planes(self._grid.image(self._hu)))
        held: dict[int, torch.Tensor] = {}
        for k in range(self._hu.shape[2]):
            height = self._grid.height(k)
            low, share = int(height), height - int(height)
            high = low + (share > 1e-6)
            while high not in held:
                number, plane = next(ready)
                held[number] = plane
            for number in [each for each in held if each < low]:
                del held[number]
            yield k, held[low] if high == low else torch.lerp(held[low], held[high], share)

    def _planes(self, image: npt.NDArray[np.int16]) -> Iterator[torch.Tensor]:
        """The folds' logits for the slices of the grid, one after another (folds, outputs, x, y).

        Args:
            image: (z, x, y).
        """
        z, x, y = image.shape
        stride = (1, *self._recipe.stride) if self._recipe.flat else self._recipe.stride
        window = self._recipe.size or tuple(
            min(most, -(-n // step) * step) for n, most, step in zip((z, x, y), self._recipe.patch, stride, strict=True)
        )
        padded = tuple(max(n, size) for n, size in zip(image.shape, window, strict=True))
        heights, *others = (_starts(n, size, self._recipe.step) for n, size in zip(padded, window, strict=True))
        weight = _weight(window).to(self._device)
        shape = (window[0], *padded[1:])
        total = torch.zeros((len(self._folds), self._outputs, *shape), device=self._device)
        weights = torch.zeros(shape, device=self._device)
        for start, after in zip(heights, [*heights[1:], padded[0]], strict=True):
            seen = self._seen(image[start : start + window[0]], shape)
            for i, j in itertools.product(*others):
                at = (slice(None), slice(i, i + window[1]), slice(j, j + window[2]))
                logits = self._run(seen[at])
                total[(..., *at)] += weight * logits
                weights[at] += weight
            done = after - start
            for k in range(min(done, z - start)):
                yield (total[:, :, k] / weights[k])[..., :x, :y]
            _move_on(total, done, axis=2)
            _move_on(weights, done, axis=0)

    def _seen(self, stack: npt.NDArray[np.int16], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """A stack (z, x, y) as the network sees it: repeated beyond the last slice, air beyond the plane."""
        slices, *plane = ((0, size - n) for n, size in zip(stack.shape, shape, strict=True))
        repeated = np.pad(stack, [slices, (0, 0), (0, 0)], mode="edge")
        return np.pad(windowed(repeated, self._recipe), [(0, 0), *plane])

    def _run(self, stack: npt.NDArray[np.float32]) -> torch.Tensor:
        """Logits (folds, outputs, z, x, y) of a stack (z, x, y), in smaller ones where the GPU has no room for it."""
        if self._recipe.flat:
            return torch.stack([self._pass(plane[None, None]) for plane in stack], dim=2)
        smallest = (self._recipe.size or self._recipe.stride)[0]
        while self._most > smallest:
            try:
                return self._in_pieces(stack)
            except GpuMemoryError:
                self._most = max(smallest, self._most // 2 // smallest * smallest)
                self._warnings[_SMALLER] = None
        return self._in_pieces(stack)

    def _in_pieces(self, stack: npt.NDArray[np.float32]) -> torch.Tensor:
        pieces = (stack[start : start + self._most] for start in range(0, len(stack), self._most))
        found = [self._pass(piece[None, None]) for piece in pieces]
        return found[0] if len(found) == 1 else torch.cat(found, dim=2)

    def _pass(self, x: npt.NDArray[np.float32]) -> torch.Tensor:
        found = self._engine.run(np.ascontiguousarray(x), self._folds)
        if found.bottleneck is not None:
            self._windows.append(cells(found.bottleneck))
        return found.logits.to(self._device)


def _starts(length: int, size: int, step: float) -> list[int]:
    """Where windows begin, evenly spread, the last one at the end."""
    if length <= size:
        return [0]
    count = int(np.ceil((length - size) / max(1, int(size * step)))) + 1
    return [round(each) for each in np.linspace(0, length - size, count)]


def _weight(window: Sequence[int]) -> torch.Tensor:
    """How much a window counts at each of its voxels: most in its middle, where it sees farthest to all sides."""
    z, x, y = (torch.minimum(torch.arange(1, n + 1), torch.arange(n, 0, -1)).float() / n for n in window)
    return z[:, None, None] * x[:, None] * y


def _move_on(sums: torch.Tensor, count: int, axis: int) -> None:
    """Take those that are done from the sums, and put as many empty ones at the end; in place, for they are large."""
    rest = sums.shape[axis] - count
    sums.narrow(axis, 0, rest).copy_(sums.narrow(axis, count, rest).clone())
    sums.narrow(axis, rest, count).zero_()


def _read_weights(path: Path) -> Weights:
    try:
        weights: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return dict(weights)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError, TypeError) as error:
        raise Refusal(
            f"{path.parent.name}/{path.name} of the model in {path.parent.parent.name} is damaged: train it again, or "
            "choose another version."
        ) from error
