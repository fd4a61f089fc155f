"""Which structure here a name in a dataset stands for, and what such a label may be used for, as an editable CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from lib.anatomy.levels import HEAD_TO_FOOT
from lib.anatomy.schemas import STORED_SCHEMAS, task_of
from lib.datasets.totalsegmentator import LAYOUT as TOTALSEGMENTATOR
from lib.refusals import Refusal
from lib.stores.records import FINAL


class Use(StrEnum):
    """What becomes of a structure of a dataset.

    ``FINAL``: it is what the schema defines, so it becomes the label of the case, which trainings learn from.
    ``ORIGINAL``: it is nearly that, so an annotator may begin with it, as with the answer of a model; it never counts
    as labelled, and nothing learns from it. ``NOTHING``: it is left out.
    """

    FINAL = FINAL
    ORIGINAL = "original"
    NOTHING = ""


class Slices(StrEnum):
    """Which slices are taken: all, or the one through the inferior endplate of L3."""

    ALL = "all"
    L3 = "L3"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of a mapping.

    Attributes:
        source: the name in the dataset.
        structure: the name here; "" where there is none.
        use: what becomes of it.
        slices: which slices are taken.
        why: for whoever reads the mapping.
    """

    source: str
    structure: str = ""
    use: Use = Use.NOTHING
    slices: Slices = Slices.ALL
    why: str = ""


_COLUMNS = tuple(each.name for each in fields(Rule))


def own_mapping() -> tuple[Rule, ...]:
    """Names of this project's schemas stand for themselves."""
    return tuple(
        Rule(source=s.name, structure=s.name, use=Use.FINAL, why=f"the same name in {task}")
        for task, schema in STORED_SCHEMAS.items()
        for s in schema
    )


_EXACT = "the same definition: the vertebra with body and processes"
_ERECTOR = (
    "erector spinae and multifidus without quadratus lumborum, which belongs to paraspinal (Yu 2026): complete it"
)
_ILIOPSOAS = (
    "psoas and iliacus are one mask, and the slice of L3 is found from a mask of L3; above the iliac crest it shows "
    "the psoas alone: check it"
)
_TISSUE = {
    "skeletal_muscle": (
        "skeletal_muscle",
        "all muscle of the slice, latissimus dorsi too, and fat within it left out: correct it",
    ),
    "torso_fat": ("visceral_fat", "all fat inside the torso, also between muscles and in the spinal canal: correct it"),
    "subcutaneous_fat": ("l3_subcutaneous_fat", "may reach into the skin, which is left out here: check it"),
}
_WHOLE = "the same structure; the muscles are not drawn, so it begins a label and is none yet"
_SIDES = ("left", "right")


def totalsegmentator_mapping() -> tuple[Rule, ...]:
    """For the masks of the TotalSegmentator dataset and of its tissue types; other masks are left out."""
    levels = [
        Rule(source=f"vertebrae_{level}", structure=f"vertebra_{level}", use=Use.FINAL, why=_EXACT)
        for level in HEAD_TO_FOOT
    ]
    drafts = [
        Rule(source=f"{source}_{side}", structure=structure, use=Use.ORIGINAL, slices=Slices.L3, why=why)
        for source, structure, why in (("autochthon", "paraspinal", _ERECTOR), ("iliopsoas", "psoas", _ILIOPSOAS))
        for side in _SIDES
    ]
    tissue = [
        Rule(source=source, structure=structure, use=Use.ORIGINAL, slices=Slices.L3, why=why)
        for source, (structure, why) in _TISSUE.items()
    ]
    whole = [
        Rule(source=f"{source}_{side}", structure=structure, use=Use.ORIGINAL, why=_WHOLE)
        for source, structure in (
            ("femur", "femur"),
            ("hip", "iliac_bone"),
            ("gluteus_maximus", "gluteus_maximus"),
            ("gluteus_medius", "gluteus_medius"),
            ("gluteus_minimus", "gluteus_minimus"),
        )
        for side in _SIDES
    ]
    no = [
        Rule(source="sacrum", why="the whole sacrum; vertebra_S1 is its first segment only"),
        Rule(source="intermuscular_fat", why="a class of its own there; here it stays in the muscle, told apart by HU"),
    ]
    return (*levels, *drafts, *tissue, *whole, *no)


_AMOS_ORGANS = (
    *("spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "arota", "aorta"),
    *("postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus"),
)


def amos_mapping() -> tuple[Rule, ...]:
    """For the organs of AMOS22 (Ji 2022), which are some of what ``body_composition`` calls organs and vessels."""
    why = "some of the organs and vessels only; bowel, lesser vessels and all other classes are not drawn: complete it"
    return tuple(
        Rule(source=name, structure="internal_organs_and_vessels", use=Use.ORIGINAL, why=why) for name in _AMOS_ORGANS
    )


def mapping_of(layout: str) -> tuple[Rule, ...]:
    """The mapping that holds for a layout unless another one is given; our own names stand for themselves.

    In TotalSegmentator's layout they do not: its ``skeletal_muscle`` or ``gluteus_medius`` is its own.
    """
    return totalsegmentator_mapping() if layout == TOTALSEGMENTATOR else (*own_mapping(), *amos_mapping())


def mapping_csv(rules: Iterable[Rule]) -> str:
    """The mapping as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for rule in rules:
        writer.writerow([str(getattr(rule, name)) for name in _COLUMNS])
    return text.getvalue()


def read_mapping(path: Path) -> tuple[Rule, ...]:
    """The mapping in a CSV that somebody edited.

    Raises:
        Refusal: it cannot be read, or a line makes no sense; the sentence names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [
                (reader.line_num, {key: (value or "").strip() for key, value in row.items() if key}) for row in reader
            ]
    except OSError as error:
        raise Refusal(f"The mapping {path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise Refusal(f"The mapping {path.name} cannot be read as CSV ({error}).") from error
    if missing := {"source", "structure", "use"} - set(reader.fieldnames or ()):
        raise Refusal(f"The mapping {path.name} has no column {', '.join(sorted(missing))}.")
    rules = tuple(_rule(row, where=f"{path.name}, line {number}") for number, row in rows)
    by_source(rules)
    return rules


def by_source(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    """The rules of each name in the dataset; one for each task at most.

    Raises:
        Refusal: a name stands for two structures of one task.
    """
    found: dict[str, tuple[Rule, ...]] = {}
    for rule in rules:
        others = found.get(rule.source, ())
        same = [other for other in others if task_of(other.structure) == task_of(rule.structure)]
        if same:
            raise Refusal(f"The mapping gives {rule.source} two meanings: {same[0].structure} and {rule.structure}.")
        found[rule.source] = (*others, rule)
    return found


def _rule(row: Mapping[str, str], *, where: str) -> Rule:
    source, structure = row.get("source", ""), row.get("structure", "")
    if not source:
        raise Refusal(f"{where}: the column source is empty.")
    try:
        use, slices = Use(row.get("use", "").lower()), Slices(row.get("slices") or Slices.ALL)
    except ValueError as error:
        raise Refusal(f"{where}: use is final, original or empty, and slices is all or L3.") from error
    if use is not Use.NOTHING and task_of(structure) is None:
        raise Refusal(f"{where}: there is no structure {structure!r} here.")
    return Rule(source=source, structure=structure, use=use, slices=slices, why=row.get("why", ""))
