"""What a client may ask for along with an inference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.images import PatientFacts
from lib.images.files import image_suffix
from lib.refusals import Refusal

# A limit outside of which a number is a slip of the unit rather than a patient, and the unit that was meant.
_PLAUSIBLE = {"height_m": (0.5, 2.6, "metres"), "weight_kg": (2, 400, "kilograms"), "age_years": (0, 120, "years")}
_DTYPES = ("uint8", "uint16", "int16", "int32")


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """The parsed request.

    Attributes:
        slice_index: the slice chosen by hand along the image's own foot-to-head axis, or ``None``.
        facts: what the client knows of the patient.
        warnings: what was wrong with it.
        suffix: file format of the answer.
        dtype: voxel type of the answer.
    """

    slice_index: int | None = None
    facts: PatientFacts = field(default_factory=PatientFacts)
    warnings: tuple[str, ...] = ()
    suffix: str = ".nii.gz"
    dtype: str = "uint8"

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> InferOptions:
        """Read what MONAI Label's clients send; anything else in the request is not ours.

        Raises:
            Refusal: ``slice_index`` is no whole number, or the format of the answer is unknown.
        """
        facts, warnings = parse_facts(request)
        suffix = image_suffix(f"x{request.get('result_extension') or '.nii.gz'}")
        if not suffix:
            raise Refusal(f"result_extension {request['result_extension']!r} is not one of .nii.gz, .nii, .nrrd.")
        dtype = str(request.get("result_dtype") or "uint8")
        if dtype not in _DTYPES:
            raise Refusal(f"result_dtype {dtype!r} is not one of {', '.join(_DTYPES)}.")
        return cls(
            slice_index=_slice_index(request.get("slice_index")),
            facts=facts,
            warnings=warnings,
            suffix=suffix,
            dtype=dtype,
        )


def parse_facts(source: Mapping[str, Any]) -> tuple[PatientFacts, tuple[str, ...]]:
    """Facts of the patient from untyped keys; what is absurd is left out, with a sentence that says so."""
    known: dict[str, Any] = {}
    warnings = []
    for name, (low, high, unit) in _PLAUSIBLE.items():
        given = source.get(name)
        if given in (None, ""):
            continue
        try:
            number = float(given)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            warnings.append(f"{name} {given!r} is no number and was left out.")
            continue
        if low <= number <= high:
            known[name] = number
        else:
            warnings.append(f"{name} {number:g} is not between {low} and {high} {unit} and was left out.")
    given_sex = source.get("sex")
    sex = "" if isinstance(given_sex, list) else str(given_sex or "").strip().upper()[:1]  # a list: a choice not made
    if sex in ("M", "F"):
        known["sex"] = sex
    elif sex:
        warnings.append(f"sex {source['sex']!r} is neither M nor F; cut-offs are published for these two.")
    if isinstance(source.get("contrast"), bool):
        known["contrast"] = source["contrast"]
    return PatientFacts(**known), tuple(warnings)


def _slice_index(given: object) -> int | None:
    text = str("" if given is None else given).strip()
    if not text:
        return None
    if not re.fullmatch(r"-?\d+", text, re.ASCII):
        raise Refusal(f"slice_index {given!r} is no whole number; leave it empty to search for L3.")
    return int(text)
