"""Why a version answers, did, or never did, for people."""

from __future__ import annotations

from collections.abc import Sequence

from lib.models.choice import Choice
from lib.models.registry import Version
from lib.models.verdict import Verdict


def why(version: Version, history: Sequence[Choice]) -> str:
    """Why it answers, did, or never did, in a sentence."""
    verdict = Verdict.of(version.manifest.metrics)
    told = [choice.reason for choice in history if choice.version == version.name and choice.reason]
    if told:
        return told[-1]
    if verdict is not None:
        # The verdict was written with the version; that the switch did not follow cannot be.
        return f"{verdict.reason}{' But another champion was chosen meanwhile.' if verdict.promote else ''}"
    return f"It was {version.manifest.origin}, and never compared with a champion."


def answers(version: Version, history: Sequence[Choice]) -> bool:
    """Whether it is the champion of its variant."""
    return bool(history) and history[-1].version == version.name
