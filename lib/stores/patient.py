"""Facts of a patient in the info of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lib.images import PatientFacts, parse_facts
from lib.refusals import Refusal


def with_checked_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """The info with its patient facts checked; ``None`` and "" stand for unknown.

    Raises:
        Refusal: a fact has a value that no patient has.
    """
    facts, wrong = parse_facts(info)
    if wrong:
        raise Refusal(" ".join(wrong.values()))
    return {**info, **{name: value for name, value in asdict(facts).items() if name in info}}


def facts_of(info: Mapping[str, Any]) -> PatientFacts:
    """The facts in an image's info; values that are not possible (from a store that was taken over) are unknown."""
    return parse_facts(info)[0]
