"""The strategies under the name that the app knows them by until it makes them from its options."""

from __future__ import annotations

from typing import Literal

from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase


class NextUnlabelled(NextCase):
    """A strategy with the default rules."""

    def __init__(self, order: Literal["first", "random"]) -> None:
        super().__init__(order, QueueRules())
