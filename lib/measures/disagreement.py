"""How far the folds of an ensemble disagree on a slice or a volume, from the probabilities that made its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One measurement, taken on each fold's own label.

    Attributes:
        mean: over the folds that have one.
        sd: sample standard deviation; ``None`` for fewer than two folds.
        smallest: the lowest.
        largest: the highest.
    """

    mean: float
    sd: float | None
    smallest: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class ClassDisagreement:
    """What the folds make of one class.

    Attributes:
        dice: mean of the Dice between every two folds: 0 where one of the two lacks the class, 1 where both do;
            ``None`` for a single fold, and where no fold has it.
        size: area in cm² on a slice, volume in cm³ in a volume; 0 in a fold that lacks the class.
        attenuation_hu: mean HU of the class; folds that lack it have none, and it is ``None`` where none has it.
    """

    dice: float | None
    size: Spread
    attenuation_hu: Spread | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What is counted in the folds' probabilities, however it is done.

    Attributes:
        both: class to ``(folds, folds)``, the voxels that both folds label with it; on the diagonal those of one fold.
        hu_sums: class to ``(folds,)``, the sum of HU over each fold's voxels.
        information: sum over the body of the mutual information.
        entropy: sum over the body of the predictive entropy.
        body: voxels of the body.
        labelled: voxels that any fold labels.
    """

    both: Mapping[str, npt.NDArray]
    hu_sums: Mapping[str, npt.NDArray]
    information: float
    entropy: float
    body: int
    labelled: int


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far the folds disagree.

    Attributes:
        score: 0 to 1, the larger the more doubtful; what a queue sorts by. With several folds: 1 minus the mean
            ``dice`` of the classes that any fold has. With one: the predictive entropies of the body's pixels, added up
            and divided by the number of labelled pixels (1 at most), so that it too is the doubtful share of
            what was labelled. A slice on which nothing is labelled has 1.
        folds: how many there are.
        classes: name to disagreement.
        mutual_information: mean over the body of what the folds' probabilities know of which fold they come from,
            0 to 1 (in units of the logarithm of the number of classes and background); 0 for one fold.
        predictive_entropy: mean over the body of the entropy of the mean probabilities, 0 to 1, same unit.
        map: of the shape of the image, 0 to 1, 0 outside the body: mutual information of each voxel, or with one
            fold its predictive entropy.
        unit: of the sizes, as it ends their keys: ``area_cm2`` or ``volume_cm3``.
    """

    score: float
    folds: int
    classes: Mapping[str, ClassDisagreement]
    mutual_information: float
    predictive_entropy: float
    map: npt.NDArray
    unit: Literal["area_cm2", "volume_cm3"] = "area_cm2"

    def to_json(self) -> dict[str, Any]:
        """Numbers for a client: rounded, units in the keys, without the map."""
        return {
            "score": round(self.score, 4),
            "folds": self.folds,
            "mutual_information": round(self.mutual_information, 5),
            "predictive_entropy": round(self.predictive_entropy, 5),
            "classes": {name: _class_json(found, self.unit) for name, found in self.classes.items()},
        }


def disagreement(
    probabilities: npt.NDArray[np.float32],
    hu: npt.NDArray,
    spacing: Sequence[float],
    classes: Mapping[str, int],
    body: npt.NDArray[np.bool_],
) -> Disagreement:
    """Compare the folds of an ensemble on one slice.

    Args:
        probabilities: ``(folds, 1 + classes, x, y)``; index 0 is the background.
        hu: ``(x, y)`` Hounsfield units.
        spacing: mm along x and y.
        classes: name to index in the probabilities.
        body: ``(x, y)``, where there is body; the means of entropies are taken over it, 0 where it is empty.

    Returns:
        Per class and over all; ``score`` is what to sort by.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if probabilities.shape[2:] != hu.shape or body.shape != hu.shape:
        raise ValueError(f"probabilities {probabilities.shape}, HU {hu.shape} and body {body.shape} do not fit")
    labels = probabilities.argmax(axis=1)
    labelled = labels.any(axis=0)
    votes, values = labels[:, labelled], hu[labelled].astype(np.float64)
    masks = {name: (votes == index).astype(np.float64) for name, index in classes.items()}
    information, entropy = _entropies(probabilities[:, :, body])
    folds = len(probabilities)
    pixels = np.zeros(hu.shape, dtype=np.float32)
    pixels[body] = information if folds > 1 else entropy
    counts = Counts(
        both={name: inside @ inside.T for name, inside in masks.items()},
        hu_sums={name: inside @ values for name, inside in masks.items()},
        information=float(information.sum()),
        entropy=float(entropy.sum()),
        body=int(body.sum()),
        labelled=int(labelled.sum()),
    )
    return summarise(counts, folds, float(np.prod(spacing)) / 100.0, pixels)


def summarise(
    counts: Counts,
    folds: int,
    voxel_size: float,
    pixels: npt.NDArray,
    unit: Literal["area_cm2", "volume_cm3"] = "area_cm2",
) -> Disagreement:
    """The disagreement from what was counted.

    Args:
        counts: over a slice or a volume.
        folds: how many there are.
        voxel_size: in the unit.
        pixels: the map.
        unit: of sizes.
    """
    found = {name: _compare(counts.both[name], counts.hu_sums[name], voxel_size) for name in counts.both}
    agreement = [each.dice for each in found.values() if each.dice is not None]
    if not counts.labelled:
        score = 1.0
    elif folds > 1:
        score = 1.0 - float(np.mean(agreement))
    else:
        score = min(1.0, counts.entropy / counts.labelled)
    return Disagreement(
        score=score,
        folds=folds,
        classes=found,
        mutual_information=counts.information / counts.body if counts.body else 0.0,
        predictive_entropy=counts.entropy / counts.body if counts.body else 0.0,
        map=pixels,
        unit=unit,
    )


def _compare(both: npt.NDArray, hu_sums: npt.NDArray, voxel_size: float) -> ClassDisagreement:
    """One class."""
    sizes = both.diagonal()
    first, second = np.triu_indices(len(sizes), k=1)
    totals = sizes[first] + sizes[second]
    # Two folds that both lack a class which a third one has agree fully.
    pairs = np.divide(2 * both[first, second], totals, out=np.ones(len(totals)), where=totals > 0)
    means = hu_sums[sizes > 0] / sizes[sizes > 0]
    return ClassDisagreement(
        dice=float(pairs.mean()) if pairs.size and sizes.any() else None,
        size=_spread(sizes * voxel_size),
        attenuation_hu=_spread(means) if means.size else None,
    )


def _entropies(probabilities: npt.NDArray[np.float32]) -> tuple[npt.NDArray, npt.NDArray]:
    """Mutual information and predictive entropy of every pixel, in 0 to 1, from ``(folds, outputs, pixels)``."""
    of_mean = _entropy(probabilities.mean(axis=0, keepdims=True))[0]
    of_folds = _entropy(probabilities).mean(axis=0)
    return np.clip(of_mean - of_folds, 0, 1), np.clip(of_mean, 0, 1)


def _entropy(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    logarithms = np.log(np.maximum(probabilities, np.float32(1e-12)))
    return -np.einsum("foi,foi->fi", probabilities, logarithms) / np.log(np.float32(probabilities.shape[1]))  # type: ignore[no-any-return]


def _spread(values: npt.NDArray[np.float64]) -> Spread:
    return Spread(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if values.size > 1 else None,
        smallest=float(values.min()),
        largest=float(values.max()),
    )


def _class_json(found: ClassDisagreement, unit: str) -> dict[str, Any]:
    return {
        "dice": None if found.dice is None else round(found.dice, 4),
        unit: _spread_json(found.size),
        "mean_hu": None if found.attenuation_hu is None else _spread_json(found.attenuation_hu),
    }


def _spread_json(spread: Spread) -> dict[str, Any]:
    return {
        "mean": round(spread.mean, 2),
        "sd": None if spread.sd is None else round(spread.sd, 2),
        "range": [round(spread.smallest, 2), round(spread.largest, 2)],
    }
