"""The trained folds of the detector at work: probabilities for every row along a spine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from lib.levels.decoding import Numbering, endplates_of_each, number_rows
from lib.levels.learning import ROWS
from lib.levels.network import HEADS, LevelNet
from lib.levels.views import SpineViews
from lib.levels.workspace import WEIGHTS
from lib.refusals import Refusal

_CLASSES = ("rib", "identity")
_EMPTY_ROWS = 32


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is said of the n rows along a spine; means over folds.

    Attributes:
        identity: (21, n) probabilities of :data:`lib.levels.targets.IDENTITIES`.
        endplate: (n,) probability of an inferior endplate.
        superior: (n,) probability of a superior endplate.
        rib: (3, n) probabilities of :data:`lib.levels.targets.RIB`.
        crest: (n,) probability of the top of the iliac crests.
        transitional: (n,) probability of a lumbosacral transitional vertebra.
        numbering: from identities and endplates.
        l3_by_fold: (folds, n) by each fold alone, the probability that the inferior endplate of L3 is in the row.
    """

    identity: npt.NDArray[np.float64]
    endplate: npt.NDArray[np.float64]
    superior: npt.NDArray[np.float64]
    rib: npt.NDArray[np.float64]
    crest: npt.NDArray[np.float64]
    transitional: npt.NDArray[np.float64]
    numbering: Numbering
    l3_by_fold: npt.NDArray[np.float64]


class LevelEnsemble:
    """Networks of several folds.

    Args:
        networks: fold to its network; they stay on the device on which they are.
    """

    def __init__(self, networks: Mapping[int, LevelNet]) -> None:
        self._networks = {fold: network.eval() for fold, network in networks.items()}
        self._device = next(iter(self._networks.values())).first.weight.device

    @classmethod
    def open(cls, folder: Path, device: str = "cpu") -> LevelEnsemble:
        """The folds of a version, from ``fold_K/weights.pt``.

        Raises:
            Refusal: there are no weights, or they are those of another network.
        """
        paths = sorted(folder.glob(f"fold_*/{WEIGHTS}"))
        if not paths:
            raise Refusal("The model of l3_slice holds no weights.")
        return cls({int(path.parent.name[5:]): cls.load(path.parent).to(device) for path in paths})

    @staticmethod
    def load(folder: Path) -> LevelNet:
        """The network of a fold.

        Raises:
            Refusal: its weights cannot be read, or are those of another network.
        """
        network = LevelNet()
        try:
            network.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, OSError) as error:
            raise Refusal(f"The weights in {folder.name} of the model of l3_slice cannot be read.") from error
        return network.eval()

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that there are."""
        return tuple(self._networks)

    def read(self, views: SpineViews, folds: Sequence[int] | None = None) -> Rows:
        """Say what every row is.

        Args:
            views: of a CT.
            folds: which ones; all without it.
        """
        return self.read_arrays(views.frontal, views.sagittal, folds)

    def read_arrays(self, frontal: npt.NDArray, sagittal: npt.NDArray, folds: Sequence[int] | None = None) -> Rows:
        """The same from (2, n, 96) and (2, n, 56) arrays.

        Raises:
            Refusal: a fold is not there.
        """
        if missing := set(folds or ()) - set(self.folds):
            there = ", ".join(map(str, self.folds))
            raise Refusal(f"The model has no fold {min(missing)}; it has {there}, or take the ensemble.")
        n = frontal.shape[1]
        # Empty rows around the image, as the networks know them from their training.
        before = _EMPTY_ROWS + max(0, ROWS - n - 2 * _EMPTY_ROWS) // 2
        after = max(ROWS, n + 2 * _EMPTY_ROWS) - n - before
        given = [
            functional.pad(torch.from_numpy(each.astype(np.float32)), (0, 0, before, after))[None].to(self._device)
            for each in (frontal, sagittal)
        ]
        with torch.inference_mode():
            found = [self._networks[fold](*given) for fold in folds or self.folds]
        said = [_probabilities({name: each[name][..., before : before + n] for name in HEADS}) for each in found]
        mean = {name: np.mean([each[name] for each in said], axis=0) for name in HEADS}
        alone = endplates_of_each(
            np.stack([each["identity"] for each in said]), np.stack([each["endplate"][0] for each in said])
        )
        return Rows(
            identity=mean["identity"],
            endplate=mean["endplate"][0],
            superior=mean["superior"][0],
            rib=mean["rib"],
            crest=mean["crest"][0],
            transitional=mean["transitional"][0],
            numbering=number_rows(mean["identity"], mean["endplate"][0]),
            l3_by_fold=alone["L3"],
        )


def _probabilities(found: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.float64]]:
    return {
        name: (found[name].softmax(1) if name in _CLASSES else found[name].sigmoid())[0].double().cpu().numpy()
        for name in HEADS
    }
