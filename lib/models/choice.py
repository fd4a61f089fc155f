"""Which version of a task answers, since when and why, and which ones did before it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

VERSION = re.compile(r"v(\d{4,})")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A version became the champion.

    Attributes:
        version: its name.
        since: when, ISO 8601 in UTC.
        reason: why, as one sentence, or "".
        back: it was the champion before, and was gone back to.
    """

    version: str
    since: str = ""
    reason: str = ""
    back: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.version, str) and VERSION.fullmatch(self.version)):
            raise ValueError(f"{self.version!r} is no version")


def to_text(history: Sequence[Choice]) -> str:
    """The text of ``champion.json``: the newest choice, and under ``before`` the ones before it, oldest first."""
    *before, newest = (asdict(choice) for choice in history)
    return json.dumps({**newest, "before": before}, ensure_ascii=False) + "\n"


def from_text(text: str) -> tuple[Choice, ...]:
    """The choices in the text of a ``champion.json``, oldest first.

    Raises:
        ValueError: it is damaged.
    """
    try:
        newest = json.loads(text)
        before = newest.pop("before", [])
        return tuple(Choice(**choice) for choice in [*before, newest])
    except (TypeError, AttributeError) as error:
        raise ValueError("not the text of a choice") from error


def champion_before(history: Sequence[Choice]) -> str | None:
    """The version that going back leads to; going back once more leads to the one before that.

    Args:
        history: oldest first.
    """
    stack: list[str] = []
    for choice in history:
        if choice.back:
            while stack and stack[-1] != choice.version:
                stack.pop()
        if not stack or stack[-1] != choice.version:
            stack.append(choice.version)
    return stack[-2] if len(stack) > 1 else None
