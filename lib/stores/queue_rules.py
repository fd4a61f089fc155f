"""How the queue is run: what a studies folder's owner can set, and the names that several people share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lib.refusals import Refusal
from lib.stores.plain import plain

RANDOM_SHARE = 0.3
"""Of the choices by score; worked out by the study in docs/active_learning.md."""

# Slicer's default client_id, the user of MONAI Label without passwords, and a client that names nobody.
ANONYMOUS = ("", "user-xyz", "admin")


def person(name: object) -> str:
    """Who somebody is, as it is kept: what a client sent, as text."""
    return str(plain(name if isinstance(name, str) else str(name or ""))).replace("\0", "")


def is_named(person: str) -> bool:
    """Whether a name tells one person from the others."""
    return person not in ANONYMOUS


@dataclass(frozen=True, kw_only=True)
class QueueRules:
    """The rules of the queue.

    Attributes:
        lease_hours: how long a case that was handed to somebody is not handed to others.
        random_share: the share from 0 to 1 of plain random cases among those chosen by score.
        unlike_last: a case chosen by score is unlike so many that were handed out or labelled last.
        double_read: the share from 0 to 1 of the labelled cases that a second person labels, blind to the first label.
        reread: how many labelled cases their own author labels again, blind to the earlier label.
        washout_days: after how many days.
    """

    lease_hours: float = 4.0
    random_share: float = RANDOM_SHARE
    unlike_last: int = 10
    double_read: float = 0.0
    reread: int = 0
    washout_days: float = 14.0

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> QueueRules:
        """The rules in the app's ``--conf``; keys of other parts are passed over, and an empty value is the default.

        Raises:
            Refusal: a value that is no number, or not one that makes sense; the sentence says which would.
        """
        given: dict[str, Any] = {
            field.name: conf[field.name] for field in fields(cls) if str(conf.get(field.name, "")).strip()
        }
        return cls(**{name: _number(name, text) for name, text in given.items()})


_LIMITS: dict[str, tuple[float, float, str]] = {
    "lease_hours": (0.01, 24 * 365, "a number of hours from 0.01 to 8760"),
    "random_share": (0, 1, "a share from 0 to 1"),
    "unlike_last": (0, 1000, "a whole number from 0 to 1000"),
    "double_read": (0, 1, "a share from 0 to 1"),
    "reread": (0, 1_000_000, "a whole number from 0 to 1000000"),
    "washout_days": (0, 3650, "a number of days from 0 to 3650"),
}


def _number(name: str, text: object) -> Any:
    low, high, wanted = _LIMITS[name]
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not low <= value <= high or ("whole" in wanted and value != int(value)):
        raise Refusal(f"The option {name} is {text!r}; it has to be {wanted}.")
    return int(value) if "whole" in wanted else value
