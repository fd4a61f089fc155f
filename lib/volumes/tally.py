"""Counts, slice by slice, how far folds disagree on a volume; on the device on which their probabilities are."""

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

    def add(self, log_probabilities: torch.Tensor, hu: npt.NDArray) -> npt.NDArray[np.uint8]:
        """Count some voxels of the body.

        Args:
            log_probabilities: ``(folds, 1 + classes, n)``, natural logarithms.
            hu: ``(n,)``.

        Returns:
            ``(n,)``, how doubtful each voxel is, in percent: see :class:`lib.measures.disagreement.Disagreement`.
        """
        votes = log_probabilities.max(dim=1).indices  # of many classes, quicker than argmax
        values = torch.from_numpy(hu.astype(np.float64)).to(votes.device)
        outputs = len(self._both)
        for a, b in itertools.combinations_with_replacement(range(self._folds), 2):
            alike = torch.bincount(votes[a][votes[a] == votes[b]], minlength=outputs).cpu().numpy()
            self._both[:, a, b] += alike
            if a != b:
                self._both[:, b, a] += alike
        for fold, of_fold in enumerate(votes):
            self._hu_sums[:, fold] += torch.bincount(of_fold, values, minlength=outputs).cpu().numpy()
        probabilities = log_probabilities.exp()
        scale = float(np.log(probabilities.shape[1]))
        of_folds = -(probabilities * log_probabilities).sum(dim=1).mean(dim=0) / scale
        if self._folds > 1:
            entropy = (torch.special.entr(probabilities.mean(dim=0)).sum(dim=0) / scale).clamp(0, 1)
            information = (entropy - of_folds).clamp(0, 1)
        else:
            entropy, information = of_folds.clamp(0, 1), torch.zeros_like(of_folds)
        self._information += float(information.sum())
        self._entropy += float(entropy.sum())
        self._body += len(hu)
        self._labelled += int((votes > 0).any(dim=0).sum())
        doubt = information if self._folds > 1 else entropy
        return (100 * doubt).round().to(torch.uint8).cpu().numpy()  # type: ignore[no-any-return]

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
