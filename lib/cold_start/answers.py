"""What each task answers before any model is trained, as a label over the image with what can be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_MUSCLE, L3_TISSUE, SARCOPENIA
from lib.cold_start.body import segment_body
from lib.cold_start.l3 import L3Segmentation, segment_l3
from lib.cold_start.levels import SpineLevels, find_levels
from lib.cold_start.thigh import segment_thigh
from lib.cold_start.vertebrae import label_vertebrae, mark_slice
from lib.images import CTImage
from lib.refusals import Refusal

# What the slice shows, as far as it is known; the published cut-offs mean L3.
L3_INFERIOR_ENDPLATE = "L3 inferior endplate"
CHOSEN_BY_HAND = "chosen by hand"
NOT_CHECKED = "single slice, not checked"

# Above cortical bone and contrast agent; a pedicle screw has about 1.5 cm³.
_BY_HAND = "The slice was chosen by hand; that it is at L3, as the cut-offs want, was not checked."
_METAL_HU, _METAL_REACH_MM, _MUCH_METAL_CM3 = 2500, 35.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer in the voxel order of ``image.canonical()``.

    Attributes:
        label: ids of the task's schema and its guides, shape of the image.
        method: how it was made; ``landmarks`` or ``thresholds`` here, ``single_fold`` or ``ensemble`` from a model.
        slice_index: the slice that was taken, ``None`` where the whole volume is labelled.
        level: what that slice shows, as far as it is known.
        doubt: 0 (sure) to 1, of the answer as a whole.
        model_version: the version of the model that answered, ``None`` for a cold start.
        disagreement: of the model's folds, for ``params``.
        doubt_percent: how doubtful each voxel is, 0 to 100, where a model answered.
        entropies: further numbers that a queue can sort by, by the name of the strategy.
        features: ``(n,)`` float32, where a model answered: alike for slices that look alike to the network.
        warnings: plain sentences for the annotator.
        details: further facts for ``params``.
    """

    label: npt.NDArray[np.uint8]
    method: str
    slice_index: int | None = None
    level: str | None = None
    doubt: float
    model_version: str | None = None
    disagreement: Mapping[str, Any] = field(default_factory=dict)
    doubt_percent: npt.NDArray[np.uint8] | None = None
    entropies: Mapping[str, float] = field(default_factory=dict)
    features: npt.NDArray[np.float32] | None = None
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float]:
        """What a queue can sort by, the larger the sooner, by the name of the strategy.

        Where a model drew something, its folds alone tell how much could be learnt from a label; a doubt about the
        slice is for the queue of ``l3_slice``.
        """
        return {"disagreement": self.disagreement.get("score", self.doubt), **self.entropies}


@dataclass(frozen=True, kw_only=True)
class ChosenSlice:
    """The slice that the L3 tasks work on, and who chose it."""

    index: int
    level: str
    doubt: float
    warnings: tuple[str, ...] = ()
    found: SpineLevels | None = None

    @property
    def details(self) -> dict[str, Any]:
        """The levels for ``params``."""
        return {} if self.found is None else _levels_json(self.found)


class LevelNotFoundError(Refusal):
    """L3 was not found, and what it may be.

    Args:
        reasons: what speaks against an answer.
        candidates: readings and their slices, in the order that ``slice_index`` counts in.
    """

    def __init__(self, reasons: str, candidates: Sequence[tuple[str, int]]) -> None:
        self.reasons, self.candidates = reasons, tuple(candidates)
        may_be = ", or ".join(f"slice {index} ({reading})" for reading, index in self.candidates)
        said = f" It may be {may_be}." if may_be else ""
        super().__init__(f"L3 was not found: {reasons}.{said} Choose the slice by hand with slice_index.")

    def counted_by(self, counted: Callable[[int], int]) -> LevelNotFoundError:
        """The same with other slice numbers."""
        return LevelNotFoundError(self.reasons, [(reading, counted(index)) for reading, index in self.candidates])


FindLevels = Callable[[CTImage], SpineLevels]
"""Says which vertebrae an image in canonical order shows, by whatever means."""


def choose_slice(image: CTImage, requested: int | None, find: FindLevels = find_levels) -> ChosenSlice:
    """The slice of L3's inferior endplate (Ha 2021), or the one that was asked for by hand.

    Args:
        image: in canonical order.
        requested: a slice number of the canonical order, or ``None`` to search.
        find: searches.

    Raises:
        Refusal: the requested slice is outside the image.
        LevelNotFoundError: L3 is not found; the sentence says what speaks against it, and what it may be.
    """
    slices = image.shape[2]
    if requested is not None:
        if not 0 <= requested < slices:
            raise Refusal(f"slice_index is outside the image, which has the slices 0 to {slices - 1}.")
        by_hand = () if slices == 1 else (_BY_HAND,)
        return ChosenSlice(
            index=requested, level=CHOSEN_BY_HAND, doubt=0.0, warnings=(*by_hand, *_metal(image, requested))
        )
    levels = find(image)
    if levels.l3_slice is None:
        reasons = "; ".join(warning.rstrip(".") for warning in levels.warnings)
        raise LevelNotFoundError(reasons, levels.candidates)
    return ChosenSlice(
        index=levels.l3_slice,
        level=L3_INFERIOR_ENDPLATE if slices > 1 else NOT_CHECKED,
        doubt=1 - levels.confidence if slices > 1 else 0.0,
        warnings=(*levels.warnings, *_metal(image, levels.l3_slice)),
        found=levels,
    )


def _metal(image: CTImage, index: int) -> tuple[str, ...]:
    """Whether something as dense as metal lies within a vertebra's height of a slice."""
    reach = round(_METAL_REACH_MM / float(image.spacing[2]))
    near = image.hu[:, :, max(0, index - reach) : index + reach + 1]
    cm3 = np.count_nonzero(near > _METAL_HU) * image.voxel_cm3
    if cm3 < _MUCH_METAL_CM3:
        return ()
    return (
        f"Metal, or something as dense, lies near this level ({cm3:.0f} cm³): check the level, and the HU beside it.",
    )


def answer_l3_slice(image: CTImage, chosen: ChosenSlice) -> Answer:
    """The L3 slice, marked on the vertebra, and the vertebrae above and below by name."""
    version = chosen.found.model_version if chosen.found else None
    if chosen.found is None:
        label = _empty(image)
        label[:, :, chosen.index] = mark_slice(image, chosen.index)
    else:
        label = label_vertebrae(image, chosen.found)
    return Answer(
        label=label,
        method="landmarks" if version is None else "ensemble",
        model_version=version,
        slice_index=chosen.index,
        level=chosen.level,
        doubt=chosen.doubt,
        warnings=chosen.warnings,
        details=chosen.details,
    )


def answer_l3_muscle(image: CTImage, chosen: ChosenSlice) -> Answer:
    """Psoas, paraspinal and abdominal wall muscles on the L3 slice."""
    return _answer_on_slice(image, chosen, lambda found: found.muscle)


def answer_l3_tissue(image: CTImage, chosen: ChosenSlice) -> Answer:
    """Skeletal muscle, visceral and subcutaneous fat on the L3 slice."""
    return _answer_on_slice(image, chosen, lambda found: found.tissue)


def answer_sarcopenia(image: CTImage, chosen: ChosenSlice) -> Answer:
    """Muscle groups and fat on the L3 slice in one label."""
    return _answer_on_slice(image, chosen, _muscle_and_fat)


def answer_body_composition(image: CTImage) -> Answer:
    """The seven classes of Lee 2021 in every voxel."""
    found = segment_body(image)
    return Answer(label=found.label, method="thresholds", doubt=found.doubt, warnings=found.warnings)


def answer_thigh_muscles(image: CTImage) -> Answer:
    """Femur and iliac bone, and as a guide the outline of all muscles; no muscle by its name."""
    found = segment_thigh(image)
    return Answer(label=found.label, method="thresholds", doubt=found.doubt, warnings=found.warnings)


def _answer_on_slice(image: CTImage, chosen: ChosenSlice, pick: Any) -> Answer:
    found = segment_l3(image, chosen.index)
    label = _empty(image)
    label[:, :, chosen.index] = pick(found)
    return Answer(
        label=label,
        method="thresholds",
        slice_index=chosen.index,
        level=chosen.level,
        doubt=max(found.doubt, chosen.doubt),
        warnings=(*chosen.warnings, *found.warnings),
        details=chosen.details,
    )


def _muscle_and_fat(found: L3Segmentation) -> npt.NDArray[np.uint8]:
    label = np.zeros_like(found.muscle)
    for schema, values in ((L3_TISSUE, found.tissue), (L3_MUSCLE, found.muscle)):
        for structure in schema:
            if structure.name in SARCOPENIA:
                label[values == structure.id] = SARCOPENIA.ids[structure.name]
    return label


def _levels_json(levels: SpineLevels) -> dict[str, Any]:
    return {
        "levels": {
            level.name: {
                "superior_mm": _rounded(level.superior_mm),
                "inferior_mm": _rounded(level.inferior_mm),
                "superior_slice": _rounded(level.superior),
                "inferior_slice": _rounded(level.inferior),
            }
            for level in levels.levels
        },
        "level_confidence": round(levels.confidence, 3),
        "level_candidates": [{"reading": reading, "slice_index": index} for reading, index in levels.candidates],
        "level_method": "landmarks" if levels.model_version is None else "ensemble",
        "level_model_version": levels.model_version,
        "level_variants": list(levels.variants),
        "level_convention": levels.convention,
        "level_mm_by_fold": [_rounded(mm) for mm in levels.l3_by_fold],
    }


def _empty(image: CTImage) -> npt.NDArray[np.uint8]:
    """Nothing labelled, in the order in which NIfTI stores voxels: it is written many times as fast."""
    return np.zeros(image.shape, np.uint8, order="F")


def _rounded(mm: float | None) -> float | None:
    return None if mm is None else round(mm, 1)
