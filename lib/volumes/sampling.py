"""Patches to learn from, drawn so that every class occurs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from lib.networks.labels import UNJUDGED
from lib.volumes.dataset import KeptVolume
from lib.volumes.grid import windowed
from lib.volumes.recipes import Recipe


class Patches:
    """Batches without end; the same seed gives the same ones.

    A class is drawn first, each as often as any other, then a CT and a slice that show it, then a patch that
    holds one of its voxels. So rare classes are learnt as well as those that are everywhere.

    Args:
        volumes: to draw from.
        recipe: says how large patches are and how they are changed.

    Raises:
        ValueError: no volume shows any class.
    """

    def __init__(self, volumes: Sequence[KeptVolume], recipe: Recipe) -> None:
        self._volumes, self._recipe = volumes, recipe
        self._rng = np.random.default_rng(0)
        shown = np.stack([volume.counts.sum(axis=0) > 0 for volume in volumes])
        self._holders = {int(c): np.flatnonzero(shown[:, c]) for c in range(1, shown.shape[1]) if shown[:, c].any()}
        if not self._holders:
            raise ValueError("no labelled volume shows a class")

    def seed(self, *seeds: int) -> None:
        """Begin a sequence of batches."""
        self._rng = np.random.default_rng(np.random.SeedSequence(seeds))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """``image`` (b, 1, ...) float32 and ``label`` (b, ...) uint8: (z, x, y), or (x, y) for a flat network."""
        while True:
            pairs = list(self._pairs())
            image, label = (torch.stack(each) for each in zip(*pairs, strict=True))
            if self._recipe.flat:
                image, label = image[:, 0], label[:, 0]
            yield {"image": image[:, None], "label": label}

    def _pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Image and label (z, x, y) of the patches of a batch; others than the first of a CT show classes it has."""
        for n in range(self._recipe.batch_size):
            if n % self._recipe.patches_per_volume == 0:
                value = int(self._rng.choice(list(self._holders)))
                number = int(self._rng.choice(self._holders[value]))
            else:
                value = int(self._rng.choice([c for c, holders in self._holders.items() if number in holders]))
            yield self._patch(self._volumes[number], value)

    def _patch(self, volume: KeptVolume, value: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and label (z, x, y) around a voxel of a class."""
        rng, (depth, *plane) = self._rng, self._recipe.patch
        shows = np.flatnonzero(volume.counts[:, value])
        z = int(rng.choice(shows))
        rows, columns = np.nonzero(volume.label[z] == value)
        n = int(rng.integers(len(rows)))
        scale = 1 + self._recipe.scaling * rng.uniform(-1, 1)
        size = [max(1, round(each * scale)) for each in plane]
        image, label = self._cut(volume, (z, int(rows[n]), int(columns[n])), (depth, size[0], size[1]))
        seen = torch.from_numpy(windowed(image, self._recipe))
        said = torch.from_numpy(label)
        if size != list(plane):
            seen = functional.interpolate(seen[:, None], plane, mode="bilinear")[:, 0]
            said = functional.interpolate(said[:, None], plane, mode="nearest-exact")[:, 0]
        if self._recipe.mirroring and rng.random() < 0.5:
            seen, said = seen.flip(1), said.flip(1)
        return seen, said

    def _cut(
        self, volume: KeptVolume, voxel: tuple[int, int, int], size: tuple[int, int, int]
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
        """A patch that holds a voxel; beyond the body there is air, and nobody judged what is beyond the slices."""
        at, pad = [], []
        for place, wanted, there in zip(voxel, size, volume.image.shape, strict=True):
            start = min(max(0, place - int(self._rng.integers(wanted))), max(0, there - wanted))
            at.append(slice(start, min(there, start + wanted)))
            pad.append((0, max(0, wanted - there)))
        image, label = volume.image[tuple(at)], volume.label[tuple(at)]
        slices, in_plane = [pad[0], (0, 0), (0, 0)], [(0, 0), *pad[1:]]
        image = np.pad(np.pad(image, slices, mode="edge"), in_plane, constant_values=int(self._recipe.window_hu[0]))
        label = np.pad(np.pad(label, in_plane), slices, constant_values=UNJUDGED)
        return image, label
