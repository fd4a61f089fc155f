"""QIDO-RS: what a search asks for, and which objects match it (DICOM PS3.18 8.3.4 and 10.6, PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import groupby, islice
from typing import Any

from pydicom.datadict import tag_for_keyword

from lib.refusals import Refusal

STUDY, SERIES, MODALITY, MODALITIES = "0020000D", "0020000E", "00080060", "00080061"
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_OF_STUDY = (
    "00080005", "00080020", "00080030", "00080050", "00080090", "00081030", "00100010", "00100020", "00100021",
    "00100030", "00100040", "00100200", "00101010", STUDY, "00200010",
)  # fmt: skip
_OF_INSTANCE = (
    "00080005", "00080016", "00080018", MODALITY, STUDY, SERIES, "00200013", "00280008", "00280010", "00280011",
    "00280100", "0008103E",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for.

    Attributes:
        filters: tag to value; all have to match.
        limit: at most so many answers, or ``None``.
        offset: so many are left out before them.
        fuzzy: whether the beginnings of words are enough in names of people.
        include: tags that the answer should have too; "all" stands for every one.
    """

    filters: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    include: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, query: Sequence[tuple[str, str]]) -> Search:
        """Read the parameters of a request.

        Raises:
            Refusal: 400, for a number that is none or an attribute that does not exist.
        """
        filters, include = {}, set()
        limit, offset, fuzzy = None, 0, False
        for name, value in query:
            match name.lower():
                case "limit":
                    limit = _number(name, value)
                case "offset":
                    offset = _number(name, value)
                case "fuzzymatching":
                    fuzzy = value.lower() == "true"
                case "includefield":
                    include |= {each if each == "all" else _tag(each) for each in value.split(",") if each}
                case "accept":
                    pass
                case _:
                    filters[_tag(name)] = value
        return cls(filters=filters, limit=limit, offset=offset, fuzzy=fuzzy, include=frozenset(include))

    def page(self, found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that match, from ``offset`` on, ``limit`` at most."""
        matching = (each for each in found if self.matches(each))
        end = None if self.limit is None else self.offset + self.limit
        return list(islice(matching, self.offset, end))

    def matches(self, attributes: Mapping[str, Any]) -> bool:
        """Whether an object, as DICOM JSON, is one of those that are searched for."""
        return all(
            value in ("", "*") or self._is_in(tag, value, attributes.get(tag, {}))
            for tag, value in self.filters.items()
        )

    def _is_in(self, tag: str, wanted: str, element: Mapping[str, Any]) -> bool:
        vr = element.get("vr", "")
        values = [value for value in element.get("Value", []) if value is not None]
        if vr == "PN":
            names = [name for value in values for name in value.values()]
            return any(_is_name(name, wanted, fuzzy=self.fuzzy) for name in names)
        if vr in {"DA", "TM", "DT"} and "-" in wanted:
            first, _, last = wanted.partition("-")
            return any((not first or value >= first) and (not last or value[: len(last)] <= last) for value in values)
        choices = re.split(r"[\\,]", wanted) if vr == "UI" or tag == MODALITIES else [wanted]
        return any(_is_like(str(value), choice) for value in values for choice in choices)


def studies(series: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The studies of some series, those of one study standing in a row."""
    for _, group in groupby(series, key=lambda each: each[STUDY]["Value"][0]):
        members = list(group)
        told = {tag: members[0][tag] for tag in _OF_STUDY if tag in members[0]}
        modalities = sorted({value for each in members for value in each.get(MODALITY, {}).get("Value", [])})
        count = sum(each["00201209"]["Value"][0] for each in members)
        yield {
            **told,
            "00080056": {"vr": "CS", "Value": ["ONLINE"]},
            MODALITIES: {"vr": "CS", "Value": modalities},
            "00201206": {"vr": "IS", "Value": [len(members)]},
            "00201208": {"vr": "IS", "Value": [count]},
        }


def instance_attributes(header: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """What a search says of an instance: a few attributes, those that were asked for, and those that were compared."""
    if "all" in search.include:
        return dict(header)
    return {tag: header[tag] for tag in sorted({*_OF_INSTANCE, *search.include, *search.filters}) if tag in header}


def _tag(name: str) -> str:
    """A tag from its keyword or its eight digits; of a path into sequences the last one."""
    name = name.rpartition(".")[2]
    if _TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    if tag is None:
        raise Refusal(f"There is no DICOM attribute {name[:80]!r}.", status=400)
    return f"{tag:08X}"


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise Refusal(f"{name} is a whole number, not {value[:80]!r}.", status=400)
    return int(value)


def _is_like(value: str, wanted: str) -> bool:
    """Whether a text is another one, in which * and ? may stand for anything; capitals do not count."""
    literal = wanted.replace("[", "[[]")
    return re.fullmatch(translate(literal), value.strip(), re.IGNORECASE) is not None


def _is_name(name: str, wanted: str, *, fuzzy: bool) -> bool:
    if _is_like(name, wanted):
        return True
    if not fuzzy:
        return False
    words = re.split(r"[\s^=,]+", name.lower())
    parts = [part for part in re.split(r"[\s^=,*]+", wanted.lower()) if part]
    return bool(parts) and all(any(word.startswith(part) for word in words) for part in parts)
