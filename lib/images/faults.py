"""What keeps an image from being read and is no fault of its file: the next try may go well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lib.refusals import Refusal


@contextmanager
def refusing_passing_faults(name: str) -> Iterator[None]:
    """Tell what the machine lacks from what is wrong with a file.

    Args:
        name: what is read.

    Raises:
        Refusal: 503, where memory ran out or the system did not let the file be read.
    """
    try:
        yield
    except MemoryError as error:
        raise Refusal(f"There is not enough memory for {name}: end other work and try again.", status=503) from error
    except OSError as error:
        if error.errno is None:  # libraries say in this way that a file is damaged
            raise
        raise Refusal(f"{name} cannot be read now ({error.strerror}).", status=503) from error
