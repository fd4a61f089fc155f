"""The trained folds of the detector at work: probabilities for every row along a spine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lib.levels.decoding import Numbering, number_rows
from lib.levels.network import HEADS, LevelNet
from lib.levels.views import SpineViews
from lib.refusals import Refusal

WEIGHTS = "weights.pt"
"""Of a fold, in ``fold_K``."""
_CLASSES = ("rib", "identity")


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
        by_fold: the numbering of each fold alone.
    """

    identity: npt.NDArray[np.float64]
    endplate: npt.NDArray[np.float64]
    superior: npt.NDArray[np.float64]
    rib: npt.NDArray[np.float64]
    crest: npt.NDArray[np.float64]
    transitional: npt.NDArray[np.float64]
    numbering: Numbering
    by_fold: tuple[Numbering, ...]


class LevelEnsemble:
    """Networks of several folds, loaded.

    Args:
        folder: of a version, with ``fold_K/weights.pt``.
        device: "cpu" or "cuda".

    Raises:
        Refusal: there are no weights, or they are those of another network.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._networks = {
            int(path.parent.name[5:]): self._load(path) for path in sorted(folder.glob(f"fold_*/{WEIGHTS}"))
        }
        if not self._networks:
            raise Refusal("The model of l3_slice holds no weights.")

    def _load(self, path: Path) -> LevelNet:
        network = LevelNet()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, OSError) as error:
            raise Refusal(f"The weights of {path.parent.name} of l3_slice cannot be read.") from error
        return network.to(self._device).eval()

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
        frontal, sagittal = (
            torch.from_numpy(each.astype(np.float32))[None].to(self._device) for each in (views.frontal, views.sagittal)
        )
        with torch.inference_mode():
            said = [_probabilities(self._networks[fold](frontal, sagittal)) for fold in folds or self.folds]
        mean = {name: np.mean([each[name] for each in said], axis=0) for name in HEADS}
        alone = tuple(number_rows(each["identity"], each["endplate"][0]) for each in said)
        return Rows(
            identity=mean["identity"],
            endplate=mean["endplate"][0],
            superior=mean["superior"][0],
            rib=mean["rib"],
            crest=mean["crest"][0],
            transitional=mean["transitional"][0],
            numbering=number_rows(mean["identity"], mean["endplate"][0]),
            by_fold=alone,
        )


def _probabilities(found: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.float64]]:
    return {
        name: (found[name].softmax(1) if name in _CLASSES else found[name].sigmoid())[0].double().cpu().numpy()
        for name in HEADS
    }
