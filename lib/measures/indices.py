"""Indices from areas and the patient's facts, and what published cut-offs say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib.anatomy.cutoffs import Call, Classification, Level, NoCall, Quantity, classify
from lib.images import PatientFacts
from lib.measures.composition import Composition


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the measurements of an L3 slice mean.

    Attributes:
        smi_cm2_m2: skeletal muscle index, the area within -29 to 150 HU over the height squared.
        bmi_kg_m2: body mass index.
        calls: one for every published cut-off that the facts allow.
        no_calls: the others, with the reason.
        warnings: which facts are missing, in plain sentences.
    """

    smi_cm2_m2: float | None = None
    bmi_kg_m2: float | None = None
    calls: tuple[Call, ...] = ()
    no_calls: tuple[NoCall, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Numbers and calls for a client."""
        indices = {"smi_cm2_m2": self.smi_cm2_m2, "bmi_kg_m2": self.bmi_kg_m2}
        return {
            "indices": {name: None if value is None else round(value, 2) for name, value in indices.items()},
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
        return Judgement()
    bmi = facts.weight_kg / facts.height_m**2 if facts.weight_kg and facts.height_m else None
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
            warnings.append("The height is not known, so there is no skeletal muscle index (params.height_m).")
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
        warnings.append(
            "The sex is not known, so cut-offs that differ between men and women are not applied (params.sex)."
        )
    return Judgement(
        smi_cm2_m2=smi,
        bmi_kg_m2=bmi,
        calls=tuple(call for one in found for call in one.calls),
        no_calls=tuple(no_call for one in found for no_call in one.no_calls),
        warnings=tuple(warnings),
    )
