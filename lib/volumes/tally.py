"""Counts, slice by slice, how far folds disagree on a volume."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from lib.measures.disagreement import Counts, Disagreement, summarise


class Tally:
    """The sums of :class:`lib.measures.disagreement.Counts` over the slices of a volume.

    Args:
        classes: name to index in the probabilities.
        folds: how many there are.
    """

    def __init__(self, classes: Mapping[str, int], folds: int) -> None:
        self._classes, self._folds = dict(classes), folds
        outputs = 1 + max(classes.values())
        self._both = np.zeros((outputs, folds, folds))
        self._hu_sums = np.zeros((outputs, folds))
        self._information = self._entropy = 0.0
        self._body = self._labelled = 0

    def add(
        self, votes: npt.NDArray[np.uint8], entropies: npt.NDArray[np.float32], hu: npt.NDArray
    ) -> npt.NDArray[np.uint8]:
        """Count some voxels of the body.

        Args:
            votes: ``(folds, n)``, the class that each fold takes for the likeliest.
            entropies: ``(2, n)``, see :func:`entropies_of`.
            hu: ``(n,)``.

        Returns:
            ``(n,)``, how doubtful each voxel is, in percent: see :class:`lib.measures.disagreement.Disagreement`.
        """
        outputs = len(self._both)
        for a, b in itertools.combinations_with_replacement(range(self._folds), 2):
            alike = np.bincount(votes[a] if a == b else votes[a][votes[a] == votes[b]], minlength=outputs)
            self._both[:, a, b] += alike
            if a != b:
                self._both[:, b, a] += alike
        for fold, of_fold in enumerate(votes):
            self._hu_sums[:, fold] += np.bincount(of_fold, hu, minlength=outputs)
        information, entropy = entropies
        self._information += float(information.sum(dtype=np.float64))
        self._entropy += float(entropy.sum(dtype=np.float64))
        self._body += len(hu)
        self._labelled += int(votes.any(axis=0).sum())
        return np.rint(100 * (information if self._folds > 1 else entropy)).astype(np.uint8)

    def disagreement(self, doubt_percent: npt.NDArray[np.uint8], voxel_cm3: float) -> Disagreement:
        """Of all that was counted.

        Args:
            doubt_percent: the map.
            voxel_cm3: volume of a voxel.
        """
        counts = Counts(
            both={name: self._both[index] for name, index in self._classes.items()},
            hu_sums={name: self._hu_sums[index] for name, index in self._classes.items()},
            information=self._information,
            entropy=self._entropy,
            body=self._body,
            labelled=self._labelled,
        )
        return summarise(counts, self._folds, voxel_cm3, doubt_percent, "volume_cm3")


def entropies_of(logits: torch.Tensor, largest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How doubtful folds are, in 0 to 1: in units of the logarithm of the number of outputs.

    Args:
        logits: ``(folds, outputs, ...)``.
        largest: of the outputs, ``(folds, ...)``.

    Returns:
        ``(...)`` each: what the folds' probabilities know of which fold they come from (mutual information), and the
        entropy of the mean probabilities.
    """
    below = logits - largest.unsqueeze(1)
    shares = below.exp()
    total = shares.sum(dim=1)
    scale = float(np.log(logits.shape[1]))
    of_folds = (total.log() - below.mul_(shares).sum(dim=1) / total).mean(dim=0) / scale
    if len(logits) == 1:
        return torch.zeros_like(of_folds), of_folds.clamp(0, 1)
    mean = shares.div_(total.unsqueeze(1)).mean(dim=0)
    entropy = (torch.special.entr(mean).sum(dim=0) / scale).clamp(0, 1)
    return (entropy - of_folds).clamp(0, 1), entropy
