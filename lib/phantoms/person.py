"""Who a phantom is: body size and composition, variants of the spine, and what makes a case hard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from lib.images.facts import Sex

CONDITIONS: dict[str, str] = {
    "ascites": "free fluid in the abdomen",
    "oedema": "fluid in the subcutaneous fat",
    "contrast": "contrast agent in the portal venous phase",
    "kidney_on_psoas": "a kidney that touches the psoas and has its HU",
    "thin_rectus": "a rectus abdominis as thin as paper",
    "tumour": "a mass in the abdomen or in the muscle",
    "myosteatosis": "fat within the muscles, which lowers their HU",
    "metal": "screws or a hip prosthesis, with streaks",
    "scoliosis": "a spine curved to the side",
    "arms_beside": "arms beside the body, with their streaks",
    "table": "the table of the scanner in the image",
    "truncated": "a field of view that cuts the body off",
}
"""Name and meaning; each has a strength from 0 (absent) to 1."""

Rib = Literal["normal", "hypoplastic", "absent"]
Transition = Literal["none", "lumbarisation", "sacralisation"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The numbering of a spine (Ha 2021, section on anatomic variants).

    Attributes:
        lumbar: number of lumbar vertebrae: 4 (no L5), 5, or 6 (there is an L6).
        rib_12: the twelfth rib: "normal" from 38 mm on, "hypoplastic" below, or "absent".
        rib_l1: whether L1 carries a rudimentary rib.
        transition: "lumbarisation": S1 is freed from the sacrum in part; "sacralisation": the last lumbar vertebra
            is joined to it (Castellvi).
    """

    lumbar: int = 5
    rib_12: Rib = "normal"
    rib_l1: bool = False
    transition: Transition = "none"

    @property
    def levels(self) -> tuple[str, ...]:
        """The vertebrae from the head down: C1 to S1."""
        names = [f"{part}{i}" for part, count in (("C", 7), ("T", 12), ("L", self.lumbar)) for i in range(1, count + 1)]
        return (*names, "S1")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One member of the population. Areas are those of the slice at the inferior endplate of L3.

    Attributes:
        sex: "M" or "F".
        age_years: adult.
        height_m: body height, metres.
        weight_kg: body weight, kilograms.
        psoas_cm2: both psoas muscles, with the fat inside them.
        paraspinal_cm2: erector spinae, multifidus and quadratus lumborum of both sides.
        wall_cm2: transversus, obliques and rectus of both sides.
        visceral_fat_cm2: fat within the abdominal wall.
        subcutaneous_fat_cm2: fat outside of it, without the skin.
        thigh_muscle_cm2: the muscles of both thighs half way between hip and knee.
        thigh_fat_cm2: their subcutaneous fat there.
        muscle_hu: mean HU of healthy muscle; age and fat within the muscle lower it.
        variant: numbering of the spine.
        conditions: name to strength in 0 to 1, see CONDITIONS; what is not named is absent.
    """

    sex: Sex = "M"
    age_years: float = 50.0
    height_m: float = 1.75
    weight_kg: float = 76.0
    psoas_cm2: float = 24.0
    paraspinal_cm2: float = 62.0
    wall_cm2: float = 66.0
    visceral_fat_cm2: float = 110.0
    subcutaneous_fat_cm2: float = 140.0
    thigh_muscle_cm2: float = 290.0
    thigh_fat_cm2: float = 110.0
    muscle_hu: float = 55.0
    variant: Variant = field(default_factory=Variant)
    conditions: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def strength(self, condition: str) -> float:
        """How strong a condition is, 0 to 1.

        Raises:
            KeyError: there is no such condition.
        """
        if condition not in CONDITIONS:
            raise KeyError(condition)
        return float(self.conditions.get(condition, 0.0))


def draw_person(rng: np.random.Generator) -> Person:
    """A member of the population by chance."""
    return replace(Person(), sex="M" if rng.random() < 0.5 else "F")
