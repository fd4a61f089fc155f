"""Who a phantom is: body size and composition, variants of the spine, and what makes a case hard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

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

HARD_CONDITIONS: dict[str, float] = {
    "ascites": 1.2, "oedema": 1.2, "kidney_on_psoas": 1.0, "thin_rectus": 1.0, "tumour": 1.2, "metal": 1.2,
    "scoliosis": 1.4, "arms_beside": 1.4, "truncated": 1.0,
}  # fmt: skip
"""What makes a case hard and is rare, and how often each comes up compared with the others."""

Rib = Literal["normal", "hypoplastic", "absent"]
Transition = Literal["none", "lumbarisation", "sacralisation"]

# Outside of these no adult can be drawn; whether a body within them can be, its calibration tells.
_POSSIBLE: dict[str, tuple[float, float, str]] = {
    "age_years": (18, 110, "years"),
    "height_m": (1.2, 2.2, "m"),
    "weight_kg": (25, 250, "kg"),
    "psoas_cm2": (2, 200, "cm²"),
    "paraspinal_cm2": (10, 300, "cm²"),
    "wall_cm2": (8, 300, "cm²"),
    "visceral_fat_cm2": (4, 800, "cm²"),
    "subcutaneous_fat_cm2": (4, 1500, "cm²"),
    "thigh_muscle_cm2": (40, 800, "cm²"),
    "thigh_fat_cm2": (4, 1200, "cm²"),
    "muscle_hu": (10, 80, "HU"),
}
_BMI = (10.0, 80.0)


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

    def __post_init__(self) -> None:
        if self.lumbar not in (4, 5, 6):
            raise ValueError(f"A spine has 4, 5 or 6 lumbar vertebrae, got {self.lumbar}.")
        for name, choices in (("rib_12", get_args(Rib)), ("transition", get_args(Transition))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {', '.join(choices)}, got {getattr(self, name)!r}.")
        if self.rib_l1 and self.rib_12 == "absent":
            raise ValueError("A rib of L1 goes with ribs of T12; rib_12 is absent.")

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
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sex not in ("M", "F"):
            raise ValueError(f"sex is M or F, got {self.sex!r}.")
        for name, (low, high, unit) in _POSSIBLE.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {low:g} to {high:g} {unit}, got {value:g}.")
        if not _BMI[0] <= self.bmi <= _BMI[1]:
            raise ValueError(
                f"Nobody of {self.height_m:g} m weighs {self.weight_kg:g} kg: a body mass index of {self.bmi:.0f}."
            )
        for name, strength in self.conditions.items():
            if name not in CONDITIONS:
                raise ValueError(f"There is no condition {name!r}; there are {', '.join(CONDITIONS)}.")
            if not 0 <= strength <= 1:
                raise ValueError(f"The strength of {name} is 0 to 1, got {strength:g}.")
        object.__setattr__(self, "conditions", dict(self.conditions))

    @property
    def bmi(self) -> float:
        """Body mass index, kg/m²."""
        return float(self.weight_kg / self.height_m**2)

    @property
    def muscle_cm2(self) -> float:
        """All muscle of the slice at L3."""
        return self.psoas_cm2 + self.paraspinal_cm2 + self.wall_cm2

    def strength(self, condition: str) -> float:
        """How strong a condition is, 0 to 1.

        Raises:
            KeyError: there is no such condition.
        """
        if condition not in CONDITIONS:
            raise KeyError(condition)
        return float(self.conditions.get(condition, 0.0))


@dataclass(frozen=True)
class _Build:
    """What differs between the sexes, for somebody of 50 years and a body mass index of 26.

    Attributes:
        height_m: mean and standard deviation.
        smi: skeletal muscle index at L3, cm²/m²: mean, standard deviation that age and weight do not explain.
        smi_per_bmi: heavier people have more muscle.
        smi_per_year: what is lost every year from 40 on.
        smi_range: the least and the most.
        visceral: median of the visceral fat, cm², and standard deviation of its logarithm.
        visceral_range: the least and the most.
        subcutaneous: median and standard deviation of the logarithm.
        thigh_muscle: of both thighs, per cm² of muscle at L3.
        thigh_fat: median and standard deviation of the logarithm, cm².
    """

    height_m: tuple[float, float]
    smi: tuple[float, float]
    smi_per_bmi: float
    smi_per_year: float
    smi_range: tuple[float, float]
    visceral: tuple[float, float]
    visceral_range: tuple[float, float]
    subcutaneous: tuple[float, float]
    thigh_muscle: float
    thigh_fat: tuple[float, float]


# Means of the muscle index: 52 +- 9 in men and 41 +- 7 in women at the mean age of 54.
_BUILDS: dict[Sex, _Build] = {
    "M": _Build(
        (1.755, 0.070), (53.6, 7.2), 0.9, 0.17, (30, 82), (130, 0.38), (20, 350), (145, 0.30), 1.85, (105, 0.25)
    ),
    "F": _Build(
        (1.625, 0.065), (41.9, 6.0), 0.6, 0.09, (25, 64), (72, 0.45), (10, 250), (215, 0.27), 1.95, (205, 0.22)
    ),
}
_SUBCUTANEOUS_RANGE = (30.0, 500.0)
# Of the muscle at L3: mean share and standard deviation; the abdominal wall has the rest, about 43 %.
_PSOAS_SHARE, _PARASPINAL_SHARE = (0.16, 0.016), (0.41, 0.025)

HARD_SHARE = 0.2
VARIANT_SHARE = 0.125
"""People with an anatomic variant of the spine (Ha 2021, Table 1, development dataset)."""
# Shares among them there: thoracolumbar 48, lumbosacral 43, numeric 12, combined 12 of 115
_VARIANT_KINDS = {"thoracolumbar": 48 / 115, "lumbosacral": 43 / 115, "numeric": 12 / 115, "combined": 12 / 115}
_THORACOLUMBAR: dict[str, tuple[float, dict[str, Any]]] = {
    "hypoplastic": (0.5, {"rib_12": "hypoplastic"}),
    "absent": (0.2, {"rib_12": "absent"}),
    "rib_l1": (0.3, {"rib_l1": True}),
}
_LUMBOSACRAL = {"sacralisation": 0.6, "lumbarisation": 0.4}


def draw_person(
    rng: np.random.Generator, *, hard_share: float = HARD_SHARE, variant_share: float = VARIANT_SHARE
) -> Person:
    """A member of the population by chance.

    The body does not depend on the shares: the same random numbers give the same body with other conditions.

    Args:
        rng: random numbers.
        hard_share: share of people with at least one of HARD_CONDITIONS.
        variant_share: share of people with an anatomic variant of the spine.

    Raises:
        ValueError: a share is not within 0 to 1.
    """
    for name, share in (("hard_share", hard_share), ("variant_share", variant_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is 0 to 1, got {share:g}.")
    body, spine, illness = rng.spawn(3)
    sex: Sex = "M" if body.random() < 0.5 else "F"
    age = float(np.round(np.clip(body.normal(58, 16), 20, 90)))
    return Person(
        **_draw_body(body, sex, age),
        variant=_draw_variant(spine, share=variant_share),
        conditions=_draw_conditions(illness, age=age, hard_share=hard_share),
    )


def _draw_body(rng: np.random.Generator, sex: Sex, age: float) -> dict[str, Any]:
    """Size and composition; muscle, fat and weight hang together as they do in patients."""
    build = _BUILDS[sex]
    height = float(np.clip(rng.normal(*build.height_m) - 0.001 * max(age - 50, 0), 1.42, 2.05))
    bmi = float(np.clip(26 * np.exp(rng.normal(0, 0.17) + 0.3 * max(rng.normal(0, 0.45), 0)), 16, 45))
    stout = bmi - 26
    smi = rng.normal(*build.smi) + build.smi_per_bmi * stout - build.smi_per_year * max(age - 40, 0)
    muscle = float(np.clip(smi, *build.smi_range)) * height**2
    psoas, paraspinal = muscle * rng.normal(*_PSOAS_SHARE), muscle * rng.normal(*_PARASPINAL_SHARE)
    visceral = _log_normal(rng, build.visceral, 0.09 * stout + 0.013 * (age - 50), build.visceral_range)
    subcutaneous = _log_normal(rng, build.subcutaneous, 0.085 * stout, _SUBCUTANEOUS_RANGE)
    # Mourtzakis 2008: lean and fat mass of the whole body from the areas at L3
    from_areas = 0.30 * muscle + 6.06 + 0.042 * (visceral + subcutaneous) + 11.2
    weight = np.clip(0.5 * (from_areas + bmi * height**2), 16 * height**2, 45 * height**2)
    hu = rng.normal(56, 3.5) - 0.13 * max(age - 40, 0) - 0.35 * stout
    return {
        "sex": sex,
        "age_years": age,
        "height_m": round(height, 2),
        "weight_kg": round(float(weight), 1),
        "psoas_cm2": round(float(psoas), 1),
        "paraspinal_cm2": round(float(paraspinal), 1),
        "wall_cm2": round(float(muscle - psoas - paraspinal), 1),
        "visceral_fat_cm2": round(visceral, 1),
        "subcutaneous_fat_cm2": round(subcutaneous, 1),
        "thigh_muscle_cm2": round(float(muscle * build.thigh_muscle * rng.normal(1, 0.07)), 1),
        "thigh_fat_cm2": round(_log_normal(rng, build.thigh_fat, 0.06 * stout, (30, 500)), 1),
        "muscle_hu": round(float(np.clip(hu, 34, 65)), 1),
    }


def _log_normal(
    rng: np.random.Generator, distribution: tuple[float, float], shift: float, limits: tuple[float, float]
) -> float:
    median, spread = distribution
    for _ in range(8):  # again where it is out of the limits: nobody heaps up at them
        value = median * np.exp(shift + rng.normal(0, spread))
        if limits[0] <= value <= limits[1]:
            break
    return float(np.clip(value, *limits))


def _draw_variant(rng: np.random.Generator, *, share: float) -> Variant:
    if rng.random() >= share:
        return Variant()
    kind = _choose(rng, _VARIANT_KINDS)
    numeric = {"lumbar": int(rng.choice([4, 6]))}
    thoracolumbar = _THORACOLUMBAR[_choose(rng, {name: part for name, (part, _) in _THORACOLUMBAR.items()})][1]
    lumbosacral = {"transition": _choose(rng, _LUMBOSACRAL)}
    # a numeric variant has no transitional vertebra (Ha 2021, Figure 2)
    chosen: dict[str, dict[str, Any]] = {
        "thoracolumbar": thoracolumbar,
        "lumbosacral": lumbosacral,
        "numeric": numeric,
        "combined": thoracolumbar | (lumbosacral if rng.random() < 0.7 else numeric),
    }
    return Variant(**chosen[kind])


def _draw_conditions(rng: np.random.Generator, *, age: float, hard_share: float) -> dict[str, float]:
    """Contrast in half of all, the table in most, fatty muscle more often with age, and the rare ones."""
    found: dict[str, float] = {}
    draw, strength = rng.random(3), rng.random(3)
    if draw[0] < 0.5:
        found["contrast"] = 0.6 + 0.4 * strength[0]
    if draw[1] < 0.8:
        found["table"] = 1.0
    if draw[2] < 0.6 / (1 + math.exp((68 - age) / 9)):
        found["myosteatosis"] = 0.15 + 0.75 * strength[2] ** 2
    if rng.random() < hard_share:
        count = 1 + int(rng.random() < 0.3) + int(rng.random() < 0.1)
        shares = np.array(list(HARD_CONDITIONS.values()))
        chosen = rng.choice(list(HARD_CONDITIONS), count, replace=False, p=shares / shares.sum())
        found |= {str(name): 0.2 + 0.8 * rng.random() for name in chosen}
    return {name: round(float(value), 2) for name, value in found.items()}


def _choose(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """One of the names, each with its share; the shares add up to 1."""
    edges = np.cumsum(list(shares.values()))
    return list(shares)[min(int(np.searchsorted(edges, rng.random(), side="right")), len(shares) - 1)]
