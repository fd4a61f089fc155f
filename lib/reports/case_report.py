"""What the one page about a case says; :mod:`case_report_pages` makes a PDF and HTML of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from lib.anatomy.cutoffs import CUTOFFS, CUTOFFS_BY_NAME, Cutoff, Level, Quantity
from lib.anatomy.schemas import LabelSchema
from lib.images import CTImage, PatientFacts
from lib.measures.composition import Composition
from lib.measures.indices import Judgement
from lib.refusals import Refusal
from lib.reports.case_sheet import bones_panel, vertebrae_in_view
from lib.reports.overlay import Panel, axial_panel, cropped

L3_CUTOFFS: tuple[str, ...] = tuple(cutoff.name for cutoff in CUTOFFS if cutoff.level is Level.L3)
"""What a report may be judged by."""
PHANTOM = "Digital phantom, not a patient."
_NONE = "-"
_PARAMETER = re.compile(r" \(params\.\w+\)")
"""Which parameter of a request would help; whoever reads a page makes no request."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose label a report is of.

    Attributes:
        label: the label in one sentence: who saved it, when, as which revision; or that the program answered.
        model: which model or method it was made by, or began with.
        agreement: how far the folds of the model agree, or why that is not known.
        reviewed: whether a person saved it.
    """

    label: str
    model: str
    agreement: str
    reviewed: bool


@dataclass(frozen=True, kw_only=True)
class Number:
    """One line of the table of numbers, as it is read.

    Attributes:
        name: what was measured.
        value: with its unit, or a dash.
        reference: the published limits for healthy people of this sex, each with the first author, or a dash.
    """

    name: str
    value: str
    reference: str = _NONE


@dataclass(frozen=True, kw_only=True)
class JudgedBy:
    """What one cut-off says, as it is read.

    Attributes:
        statement: the finding.
        comparison: the value beside the threshold.
        is_abnormal: whether it is on the abnormal side.
        cutoff: the cut-off's name.
        population: from whom it was derived.
        source: where it was published.
    """

    statement: str
    comparison: str
    is_abnormal: bool
    cutoff: str
    population: str
    source: str


@dataclass(frozen=True, kw_only=True)
class CaseReport:
    """All that stands on the page. Nothing in it names a patient but the case's own id.

    Attributes:
        case: its id.
        slice_text: which slice was measured, and what it shows.
        origin: whose label it is.
        panels: the slice without and with its label, and the bones from the front where there is more than a slice.
        facts: name and value of what is known of the patient.
        numbers: what was measured.
        calls: what the chosen cut-offs say.
        not_judged: chosen cut-offs that do not apply, with the reason.
        warnings: sentences.
        phantom: whether nobody was scanned.
    """

    case: str
    slice_text: str
    origin: Origin
    panels: tuple[Panel, ...]
    facts: tuple[tuple[str, str], ...]
    numbers: tuple[Number, ...]
    calls: tuple[JudgedBy, ...]
    not_judged: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    phantom: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A label of the L3 slice with its measurements.

    Attributes:
        image: in canonical order.
        label: the same, ids of ``schema``.
        schema: what they mean.
        index: the slice, in canonical order.
        slice_number: its number in the order of the file.
        composition: measured there.
        judgement: of the composition.
        facts: what is known of the patient.
        level: what the slice shows, or "".
        levels: vertebrae and their ends in mm, where they were searched.
    """

    image: CTImage
    label: npt.NDArray
    schema: LabelSchema
    index: int
    slice_number: int
    composition: Composition
    judgement: Judgement
    facts: PatientFacts
    level: str = ""
    levels: Mapping[str, Any] | None = None


def check_cutoffs(names: Sequence[str]) -> tuple[str, ...]:
    """The cut-offs that were chosen; all that were published for L3 where none was.

    Raises:
        Refusal: one of them is not known.
    """
    unknown = [name for name in names if name not in L3_CUTOFFS]
    if unknown:
        raise Refusal(f"There is no cut-off {unknown[0]!r} for L3; there are {', '.join(L3_CUTOFFS)}.")
    return tuple(names) or L3_CUTOFFS


def case_report(
    case: str, measured: Measured, origin: Origin, *, warnings: Sequence[str], cutoffs: Collection[str] = L3_CUTOFFS
) -> CaseReport:
    """Put the page of a case together.

    Args:
        case: its id.
        measured: the label and its numbers.
        origin: whose label it is.
        warnings: what whoever reads it has to know.
        cutoffs: names of those to judge by.
    """
    values = _values(measured.composition, measured.judgement)
    judgement = measured.judgement
    return CaseReport(
        case=case,
        slice_text=(
            f"{measured.level or 'Level as drawn, not checked'}: slice {measured.slice_number} "
            f"(0 to {measured.image.shape[2] - 1})"
        ),
        origin=origin,
        panels=_panels(measured),
        facts=_facts(measured.facts, judgement),
        numbers=_numbers(measured.composition, values, measured.facts),
        calls=tuple(
            JudgedBy(
                statement=call.statement,
                comparison=_comparison(CUTOFFS_BY_NAME[call.cutoff], values, call.threshold),
                is_abnormal=call.is_abnormal,
                cutoff=call.cutoff,
                population=call.population,
                source=call.source,
            )
            for call in judgement.calls
            if call.cutoff in cutoffs
        ),
        not_judged=tuple(_not_judged(judgement, cutoffs)),
        warnings=tuple(dict.fromkeys(_PARAMETER.sub("", sentence) for sentence in warnings)),
        phantom=bool(measured.facts.phantom),
    )


def agreement_text(uncertainty: Mapping[str, Any], method: str) -> str:
    """How far the folds of an answer agree, from the ``uncertainty`` of its params."""
    told = []
    for name, part in (uncertainty.get("parts") or {"": uncertainty}).items():
        classes = {each: found.get("dice") for each, found in (part.get("classes") or {}).items()}
        known = {each.replace("_", " "): dice for each, dice in classes.items() if dice is not None}
        if part.get("folds", 0) > 1 and known:
            said = ", ".join(f"{each} {dice:.3f}" for each, dice in known.items())
            told.append(f"{f'{name}: ' if name else ''}mean Dice between every two of {part['folds']} folds: {said}")
    if told:
        return "; ".join(told)
    who = "One network" if method == "single_fold" else "No ensemble"
    doubt = uncertainty.get("score")
    own = "" if doubt is None else f"; the method doubts its own answer by {doubt:.2f} (0: sure, 1: not at all)"
    return f"{who} answered, so there are no folds to compare{own}"


def _values(composition: Composition, judgement: Judgement) -> dict[Quantity, float | None]:
    muscle = composition.regions.get("skeletal_muscle")
    inside = muscle.muscle if muscle and muscle.muscle and muscle.muscle.in_range > 0 else None
    visceral = composition.regions.get("visceral_fat")
    return {
        Quantity.SMI_L3: judgement.smi_cm2_m2,
        Quantity.SMA_L3: inside.in_range if inside else None,
        Quantity.MUSCLE_ATTENUATION_L3: inside.in_range_attenuation.mean_hu if inside else None,
        Quantity.VISCERAL_FAT_AREA: visceral.area_cm2 if visceral else None,
    }


def _comparison(cutoff: Cutoff, values: Mapping[Quantity, float | None], threshold: float) -> str:
    value = values.get(cutoff.quantity)
    return f"{_text(value)} (cut-off {cutoff.comparison.value} {threshold:g} {cutoff.quantity.unit})"


def _numbers(
    composition: Composition, values: Mapping[Quantity, float | None], facts: PatientFacts
) -> tuple[Number, ...]:
    named = {
        Quantity.SMI_L3: "Skeletal muscle index (−29 to 150 HU)",
        Quantity.SMA_L3: "Skeletal muscle area (−29 to 150 HU)",
        Quantity.MUSCLE_ATTENUATION_L3: "Mean attenuation of that muscle",
        Quantity.VISCERAL_FAT_AREA: "Visceral fat area",
    }
    found = [
        Number(name=name, value=_text(values[quantity], quantity.unit), reference=_reference(quantity, facts))
        for quantity, name in named.items()
    ]
    for name, region in composition.regions.items():
        if name in ("visceral_fat", "total"):
            continue
        said = _text(region.area_cm2, "cm²")
        if region.area_cm2 and region.attenuation.mean_hu is not None:
            said += f", mean {_text(region.attenuation.mean_hu, 'HU')}"
        if region.muscle and region.area_cm2:
            said += f", intramuscular fat {_text(region.muscle.intramuscular_fat, 'cm²')}"
        words = name.removeprefix("l3_").replace("_", " ")
        found.append(Number(name=f"{words[:1].upper()}{words[1:]} as drawn", value=said))
    return tuple(found)


def _reference(quantity: Quantity, facts: PatientFacts) -> str:
    """The limits that were published for healthy people of this sex; nothing is made up where there are none."""
    limits = [cutoff for cutoff in CUTOFFS if cutoff.quantity is quantity and cutoff.of_healthy]
    if not limits:
        return "none published for healthy people"
    if facts.sex is None:
        return "differs by sex, which is not known"
    said = []
    for cutoff in limits:
        limit = cutoff.women if facts.sex == "F" else cutoff.men
        how = cutoff.population.rpartition("; ")[2]
        author = cutoff.source.partition(",")[0].rpartition(" ")[0]
        said.append(f"≥ {limit:g} ({how}; {author} {cutoff.name.split('_')[-2]})")
    return "; ".join(said)


def _facts(facts: PatientFacts, judgement: Judgement) -> tuple[tuple[str, str], ...]:
    contrast = {True: "given", False: "not given", None: "not known"}[facts.contrast]
    bmi = judgement.indices.get("bmi_kg_m2")
    return (
        ("Sex", {"M": "male", "F": "female", None: "not known"}[facts.sex]),
        ("Age", "not known" if facts.age_years is None else f"{facts.age_years:g} years"),
        ("Height", "not known" if facts.height_m is None else f"{facts.height_m:.2f} m"),
        ("Weight", "not known" if facts.weight_kg is None else f"{facts.weight_kg:.1f} kg"),
        ("BMI", "not known" if bmi is None else f"{bmi:.1f} kg/m²"),
        ("Contrast agent", contrast),
    )


def _not_judged(judgement: Judgement, cutoffs: Collection[str]) -> list[tuple[str, str]]:
    """Every chosen cut-off without a call, also where what it judges was not measured."""
    said = {each.cutoff: each.reason for each in judgement.no_calls}
    called = {call.cutoff for call in judgement.calls}
    return [
        (name, said.get(name, f"no {CUTOFFS_BY_NAME[name].quantity.label} was measured"))
        for name in L3_CUTOFFS
        if name in cutoffs and name not in called
    ]


def _panels(measured: Measured) -> tuple[Panel, ...]:
    image, index = measured.image, measured.index
    marked = cropped(axial_panel(image, index, title="with the label", label=measured.label, schema=measured.schema))
    plain = replace(marked, label=None, schema=None, title="the slice")
    if image.shape[2] == 1:
        return plain, marked
    names = vertebrae_in_view(measured.levels or {}, float(image.spacing[2]))
    return plain, marked, bones_panel(image, index, names=names)


def _text(value: float | None, unit: str = "") -> str:
    """A number with a proper minus sign, or a dash."""
    return _NONE if value is None else f"{value:.1f} {unit}".strip().replace("-", "−")
