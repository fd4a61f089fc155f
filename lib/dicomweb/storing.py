"""STOW-RS: what is answered to who stores objects (DICOM PS3.18 10.5.3, PS3.3 C.14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_CANNOT_UNDERSTAND, _DUPLICATE, _OUT_OF_RESOURCES, _NOT_MATCHED = 0xC000, 0x0111, 0xA700, 0xB007
_LONGEST_COMMENT = 64


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one object.

    Attributes:
        sop_class, sop: its identifiers, "" where it could not be read.
        url: from where it can be retrieved; "" when it was not stored.
        sentence: what is wrong with it, or "".
        status: of the refusal.
    """

    sop_class: str = ""
    sop: str = ""
    url: str = ""
    sentence: str = ""
    status: int = 200


def answer(outcomes: list[Outcome], study_url: str) -> tuple[int, dict[str, Any]]:
    """The status and the DICOM JSON of an answer.

    Args:
        outcomes: of all objects that were sent.
        study_url: from where their study can be retrieved.
    """
    stored = [outcome for outcome in outcomes if outcome.url]
    failed = [outcome for outcome in outcomes if not outcome.url]
    told: dict[str, Any] = {}
    if stored:
        told["00081190"] = _value("UR", study_url)
        told["00081199"] = _value("SQ", *map(_item, stored))
    if failed:
        told["00081198"] = _value("SQ", *map(_item, failed))
    if not stored:
        return (failed[0].status if failed else 400), told
    return (202 if any(outcome.sentence for outcome in outcomes) else 200), told


def _item(outcome: Outcome) -> dict[str, Any]:
    item = {"00081150": _value("UI", outcome.sop_class), "00081155": _value("UI", outcome.sop)}
    item = {tag: value for tag, value in item.items() if value["Value"][0]}
    if outcome.url:
        item["00081190"] = _value("UR", outcome.url)
    if outcome.sentence:
        reasons = {409: _DUPLICATE, 507: _OUT_OF_RESOURCES}
        tag, reason = (
            ("00081196", _NOT_MATCHED)
            if outcome.url
            else (
                "00081197",
                reasons.get(outcome.status, _CANNOT_UNDERSTAND),
            )
        )
        item[tag] = _value("US", reason)
        item["00000902"] = _value("LO", outcome.sentence[:_LONGEST_COMMENT])
    return item


def _value(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}
