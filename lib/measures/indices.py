"""Indices from areas and the patient's facts, and what published cut-offs say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.anatomy.cutoffs import Call, Classification, Level, NoCall, Quantity, classify
from lib.images import PatientFacts
from lib.measures.composition import Composition
from lib.measures.whole_body import WholeBody

_NO_HEIGHT = "The height is not known, so there is no skeletal muscle index (params.height_m)."
_NO_WEIGHT = "The weight is not known, so there is no body fat index (params.weight_kg)."
_NO_SEX = "The sex is not known, so cut-offs that differ between men and women are not applied (params.sex)."


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What measurements mean.

    Attributes:
        indices: name, with the unit, to value; ``None`` where it is not known.
        calls: one for every published cut-off that the facts allow.
        no_calls: the others, with the reason.
        warnings: which facts are missing, in plain sentences.
    """

    indices: Mapping[str, float | None] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    no_calls: tuple[NoCall, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def smi_cm2_m2(self) -> float | None:
        """The skeletal muscle index at L3."""
        return self.indices.get("smi_cm2_m2")

    def to_json(self) -> dict[str, Any]:
        """Numbers and calls for a client."""
        return {
            "indices": {name: None if value is None else round(value, 2) for name, value in self.indices.items()},
            "calls": [vars(call) for call in self.calls],
            "not_judged": [vars(no_call) for no_call in self.no_calls],
        }


def judge(composition: Composition, facts: PatientFacts) -> Judgement:
    """Derive the indices of an L3 slice and hold them against the published cut-offs.

    Half-known facts give what can be given and a warning, never a guess.

    Args:
        composition: the measurements; those of a volume, or without muscle, have no index.
        facts: what is known of the patient.
    """
    if composition.slice_index is None:
        return Judgement(indices={"smi_cm2_m2": None, "bmi_kg_m2": None})
    bmi = _bmi(facts)
    smi: float | None = None
    warnings: list[str] = []
    found: list[Classification] = []

    def hold(quantity: Quantity, value: float) -> None:
        found.append(classify(quantity, value, sex=facts.sex, bmi=bmi, level=Level.L3))

    muscle = composition.regions.get("skeletal_muscle")
    if muscle and muscle.muscle and muscle.muscle.in_range > 0:
        if facts.height_m:
            smi = muscle.muscle.in_range / facts.height_m**2
            hold(Quantity.SMI_L3, smi)
        else:
            warnings.append(_NO_HEIGHT)
        hold(Quantity.SMA_L3, muscle.muscle.in_range)
        assert muscle.muscle.in_range_attenuation.mean_hu is not None
        hold(Quantity.MUSCLE_ATTENUATION_L3, muscle.muscle.in_range_attenuation.mean_hu)
        if facts.contrast:
            warnings.append(
                "Contrast raises the attenuation of muscle; most cut-offs for it come from CT without contrast."
            )
        elif facts.contrast is None:
            warnings.append(
                "Whether contrast was given is not known; it would raise the attenuation of muscle, and most cut-offs "
                "for it come from CT without contrast (params.contrast)."
            )
    visceral = composition.regions.get("visceral_fat")
    if visceral and visceral.area_cm2 is not None:
        hold(Quantity.VISCERAL_FAT_AREA, visceral.area_cm2)
    if found and facts.sex is None:
        warnings.append(_NO_SEX)
    return Judgement(
        indices={"smi_cm2_m2": smi, "bmi_kg_m2": bmi},
        calls=tuple(call for one in found for call in one.calls),
        no_calls=tuple(no_call for one in found for no_call in one.no_calls),
        warnings=tuple(warnings),
    )


def judge_whole_body(whole: WholeBody, facts: PatientFacts) -> Judgement:
    """The indices of waist and torso (Lee 2021, section 2.6), and what the cut-offs for averages over the waist say.

    Args:
        whole: the measurements; a torso that is not in view as a whole has no index.
        facts: what is known of the patient.
    """
    waist = whole.waist
    torso = whole.torso if whole.torso and not whole.torso.missing else None
    muscle = (waist.area_cm2["muscle"] if waist else None, torso.volume_cm3["muscle"] if torso else None)
    fat = (waist.body_fat_cm2 if waist else None, torso.body_fat_cm3 if torso else None)
    square = facts.height_m**2 if facts.height_m else None
    waist_smi, torso_smi = (_ratio(size, square) for size in muscle)
    waist_bfi, torso_bfi = (_ratio(size, facts.weight_kg) for size in fat)
    bmi = _bmi(facts)
    found = [
        classify(quantity, value, sex=facts.sex, bmi=bmi, level=Level.WAIST)
        for quantity, value in ((Quantity.SMI_WAIST, waist_smi), (Quantity.BFI_WAIST, waist_bfi))
        if value is not None
    ]
    warnings = []
    if square is None and any(size is not None for size in muscle):
        warnings.append(_NO_HEIGHT)
    if facts.weight_kg is None and any(size is not None for size in fat):
        warnings.append(_NO_WEIGHT)
    if found and facts.sex is None:
        warnings.append(_NO_SEX)
    if found and facts.contrast is not False:
        given = "contrast was given here" if facts.contrast else "whether it was given here is not known"
        warnings.append(f"The cut-offs for the waist come from elderly Koreans on CT without contrast; {given}.")
    return Judgement(
        indices={
            "waist_smi_cm2_m2": waist_smi,
            "waist_bfi_cm2_kg": waist_bfi,
            "torso_smi_cm3_m2": torso_smi,
            "torso_bfi_cm3_kg": torso_bfi,
            "bmi_kg_m2": bmi,
        },
        calls=tuple(call for one in found for call in one.calls),
        no_calls=tuple(no_call for one in found for no_call in one.no_calls),
        warnings=tuple(warnings),
    )


def _bmi(facts: PatientFacts) -> float | None:
    return facts.weight_kg / facts.height_m**2 if facts.weight_kg and facts.height_m else None


def _ratio(size: float | None, by: float | None) -> float | None:
    return None if size is None or by is None else size / by
