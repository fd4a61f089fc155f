"""What is known of a patient, from DICOM or from people, and which values are possible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Sex = Literal["M", "F"]

# Outside of these a number is a slip of the unit rather than a patient.
_POSSIBLE: dict[str, tuple[float, float, str]] = {
    "age_years": (0, 130, "years"),
    "height_m": (0.5, 2.6, "metres"),
    "weight_kg": (2, 400, "kilograms"),
}

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class PatientFacts:
    """What is known of the patient; ``None`` is unknown, never a default.

    Attributes:
        sex: "M" or "F".
        age_years: age at the scan.
        height_m: body height in metres.
        weight_kg: body weight in kilograms.
        contrast: whether a contrast agent was given.
        phantom: True where nobody was scanned: the image is a digital phantom.
    """

    sex: Sex | None = None
    age_years: float | None = None
    height_m: float | None = None
    weight_kg: float | None = None
    contrast: bool | None = None
    phantom: bool | None = None

    def updated(self, other: PatientFacts) -> PatientFacts:
        """These facts, overridden by whatever ``other`` knows; a phantom stays one."""
        known = {name: value for name, value in vars(other).items() if value is not None}
        if self.phantom:
            known["phantom"] = True
        return replace(self, **known)


def parse_facts(source: Mapping[str, Any]) -> tuple[PatientFacts, dict[str, str]]:
    """Facts from untyped values, as forms, DICOM and JSON have them; ``None``, "" and a list of choices are unknown.

    Returns:
        The facts that are possible, and for every other one a sentence that says what is wrong with it.
    """
    known: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name in PatientFacts.__dataclass_fields__:
        value = source.get(name)
        if value is None or value == "" or isinstance(value, list):
            continue
        if name in _POSSIBLE:
            low, high, unit = _POSSIBLE[name]
            number = _number(value)
            if low <= number <= high:
                known[name] = number
            else:
                wrong[name] = f"{name} {value!r} is not possible; {low:g} to {high:g} {unit} is."
        elif name == "sex":
            sex = str(value).strip().upper()
            if sex in ("M", "F", "MALE", "FEMALE"):
                known[name] = sex[0]
            else:
                wrong[name] = f"{name} {value!r} is not possible; M or F is."
        elif (said := str(value).strip().lower()) in _TRUTH:
            known[name] = _TRUTH[said]
        else:
            wrong[name] = f"{name} {value!r} is not possible; yes or no is."
    return PatientFacts(**known), wrong


def _number(value: Any) -> float:
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
