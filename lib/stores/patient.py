"""What an annotator may say of a patient beside the image, and which values are possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib.images import PatientFacts
from lib.refusals import Refusal


def _number(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if isinstance(value, bool) or not low <= number <= high:
            raise Refusal(f"{value!r} is not possible; {low:g} to {high:g} {unit} is.")
        return number

    return check


def _sex(value: object) -> str:
    if str(value).upper() not in ("M", "F"):
        raise Refusal(f"{value!r} is not possible; M or F is.")
    return str(value).upper()


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refusal(f"{value!r} is not possible; true or false is.")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "sex": _sex,
    "age_years": _number(0.0, 130.0, "years"),
    "height_m": _number(0.5, 2.6, "metres"),
    "weight_kg": _number(2.0, 400.0, "kilograms"),
    "contrast": _truth,
}


def with_checked_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """The info with its patient facts checked; ``None`` and "" stand for unknown.

    Raises:
        Refusal: a fact has a value that no patient has.
    """
    checked = dict(info)
    for key, check in _CHECKS.items():
        if checked.get(key) in (None, ""):
            if key in checked:
                checked[key] = None
            continue
        try:
            checked[key] = check(checked[key])
        except Refusal as refusal:
            raise Refusal(f"{key}: {refusal}") from refusal
    return checked


def facts_of(info: Mapping[str, Any]) -> PatientFacts:
    """The facts in an image's info; values that are not possible count as unknown."""
    known = {}
    for key, check in _CHECKS.items():
        if info.get(key) not in (None, ""):
            try:
                known[key] = check(info[key])
            except Refusal:
                continue  # written before it was checked, by a taken-over store
    return PatientFacts(**known)
