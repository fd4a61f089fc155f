"""A thread that does something every few seconds, for as long as the server runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)


class Repeating:
    """Calls some functions again and again in a thread of its own.

    What one of them raises is logged, and does not keep it from being called the next time.

    Args:
        name: of the thread.
        steps: called one after the other.
        every_s: seconds between the end of one round and the beginning of the next.
        first: called once before the first round, in place of ``steps``.
    """

    def __init__(
        self,
        name: str,
        steps: Sequence[Callable[[], object]],
        *,
        every_s: float,
        first: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._name, self._steps, self._first, self._every_s = name, tuple(steps), tuple(first), every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def begin(self) -> None:
        """Begin; to be called once."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the round that is being done, and end."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        steps = self._first or self._steps
        while True:
            for step in steps:
                try:
                    step()
                except Exception:
                    logger.exception("%s: one round failed; the next one tries again", self._name)
            if self._ended.wait(self._every_s):
                return
            steps = self._steps
