"""How a command of this project ends: with an exit code, or with one sentence that says what to do."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


class Stop(Exception):  # noqa: N818 - no fault of the program: its text is what a person reads
    """The command cannot go on; the text is one sentence that says what to do."""


def run_command(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run ``main(arguments)`` on the command line's arguments and end the process with its exit code.

    A :class:`Stop` is printed without a traceback and ends with code 2. A SIGTERM ends like a Ctrl-C: whatever
    ``main`` started is stopped by its own ``finally``.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = main(sys.argv[1:])
    except Stop as stop:
        sys.stdout.flush()
        print(stop, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        code = 130
    sys.exit(code)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
