"""Text on a page of A4 that matplotlib draws: wrapped, from the top downwards."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

A4_INCHES = (8.27, 11.69)
MARGIN = 0.55
NORMAL = 7.6
_LINE_EM = 1.32
_CHARACTER_EM = 0.555
"""Mean width of a character of the font that matplotlib brings along."""


class Column:
    """Text from the top of a page downwards, in inches; knows how much room is left."""

    def __init__(self, figure: Figure, *, top: float, bottom: float) -> None:
        self._figure, self.top, self._bottom = figure, top, bottom

    def fits(self, lines: int, size: float) -> bool:
        """Whether there is room for so many lines."""
        return self.top - lines * size * _LINE_EM / 72 >= self._bottom

    def write(self, text: str, *, size: float = NORMAL, left: float = 0.0, width: float = 0.0, **look: Any) -> int:
        """Write wrapped text and go on below it; returns the number of lines."""
        lines = wrapped(text, width or A4_INCHES[0] - 2 * MARGIN - left, size)
        for number, line in enumerate(lines):
            self.put(line, left=left, down=number, size=size, **look)
        self.skip(len(lines), size)
        return len(lines)

    def put(self, line: str, *, left: float, down: int = 0, size: float = NORMAL, **look: Any) -> None:
        """One line, without going on below it."""
        x, y = (MARGIN + left) / A4_INCHES[0], (self.top - down * size * _LINE_EM / 72) / A4_INCHES[1]
        # An id or a name may hold dollars, which would make mathematics of it.
        self._figure.text(x, y, line, fontsize=size, va="top", parse_math=False, **look)

    def row(self, cells: list[tuple[str, float, float]], *, size: float, **look: Any) -> None:
        """Cells of text, left end and width, side by side."""
        texts = [(wrapped(text, width, size), left) for text, left, width in cells]
        for lines, left in texts:
            for number, line in enumerate(lines):
                self.put(line, left=left, down=number, size=size, **look)
        self.skip(max(len(lines) for lines, _ in texts), size)

    def skip(self, lines: float, size: float = NORMAL) -> None:
        """Leave room of so many lines."""
        self.top -= lines * size * _LINE_EM / 72

    def skip_inches(self, inches: float) -> None:
        """Leave room."""
        self.top -= inches

    def write_as_many_as_fit(self, sentences: Sequence[str], *, size: float, **look: Any) -> None:
        """Write sentences; those that have no room are counted in a last line."""
        for number, sentence in enumerate(sentences):
            lines = len(wrapped(sentence, A4_INCHES[0] - 2 * MARGIN, size))
            is_last = number == len(sentences) - 1
            if not self.fits(lines + (not is_last), size):
                left = len(sentences) - number
                self.write(f"{left} more have no room here: see the same report as HTML.", size=size)
                return
            self.write(sentence, size=size, **look)


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Text in lines of a width in inches."""
    characters = max(8, int(width * 72 / (size * _CHARACTER_EM)))
    return textwrap.wrap(text, characters, break_on_hyphens=False) or [""]
