"""Which structure of the schemas a segment of another program means: by its name, else by its code."""

from __future__ import annotations

import re

from pydicom.sr.coding import Code

from lib.anatomy.schemas import STORED_SCHEMAS, Structure
from lib.dicom_objects.reading import CodedSegment
from lib.refusals import Refusal

# Names that other programs give, as they read without case and punctuation, where they can mean one structure only.
_SYNONYMS = {
    "bones": "bone",
    "cns": "central_nervous_system",
    "ilium": "iliac_bone",
    "tensor_fascia_lata": "tensor_fasciae_latae",
}
_MUSCLE = re.compile(r"_muscles?$")


def structure_of(segment: CodedSegment) -> Structure:
    """The structure that a segment means.

    Raises:
        Refusal: none is called or coded like it, or several are.
    """
    name = re.sub(r"[\W_]+", "_", segment.label.casefold()).strip("_")
    for each in (name, _SYNONYMS.get(name, ""), _MUSCLE.sub("", name)):
        if each in _BY_NAME:
            return _BY_NAME[each]
    if all(segment.code):
        found = [s for s in _BY_NAME.values() if _is_same(s, segment.code)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Refusal(
                f"The segment {segment.label or segment.number} can be {' or '.join(s.name for s in found)}: call it "
                "by one of these names."
            )
    known = "; ".join(f"{task}: {', '.join(schema.names)}" for task, schema in STORED_SCHEMAS.items())
    raise Refusal(
        f"The segment {segment.label or segment.number} is none of the structures that are labelled here, by name or "
        f"code. Rename or empty it. Possible are {known}."
    )


def _is_same(structure: Structure, code: tuple[str, str]) -> bool:
    """Whether a structure has a code; one of SNOMED-RT equals its successor in SNOMED CT."""
    try:
        return bool(Code(structure.code.value, structure.code.scheme, "") == Code(*code, ""))
    except KeyError:  # a code of SNOMED-RT that pydicom does not know
        return False


_BY_NAME = {structure.name.casefold(): structure for schema in STORED_SCHEMAS.values() for structure in schema}
