"""A table of statistics, as Markdown for people and as CSV for programs; what has no value says why."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib.evaluation.estimates import Estimate, Spread, Test

Number = float | int | str | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell.

    Attributes:
        text: for people; "-" where there is no value.
        values: for programs: what is added to the column's name ("" for the value itself) to number or text.
        why_not: why there is no value, or no interval.
    """

    text: str
    values: Mapping[str, Number]
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: of its file.
        title: what it is, with the paper whose table it is like.
        columns: with units.
        rows: as many cells each.
        notes: sentences for below it.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())

    def to_markdown(self) -> str:
        """The table; below it a note for each reason why a cell has no value."""
        reasons: dict[str, int] = {}
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        for row in self.rows:
            cells = []
            for cell in row:
                mark = f" ({reasons.setdefault(cell.why_not, len(reasons) + 1)})" if cell.why_not else ""
                cells.append(cell.text + mark)
            lines.append(_line(cells))
        notes = [*self.notes, *(f"({number}) {reason}" for reason, number in reasons.items())]
        return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"

    def to_csv(self) -> str:
        """One column for each number, and one with the reasons why numbers are missing."""
        names = [f"{column} {key}".strip() for i, column in enumerate(self.columns) for key in self._keys(i)]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, "missing"])
        for row in self.rows:
            cells = [row[i].values.get(key) for i in range(len(row)) for key in self._keys(i)]
            missing = [f"{column}: {c.why_not}" for column, c in zip(self.columns, row, strict=True) if c.why_not]
            writer.writerow([*("" if cell is None else cell for cell in cells), "; ".join(missing)])
        return file.getvalue()

    def _keys(self, column: int) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row[column].values))


def text(value: str) -> Cell:
    """Words."""
    return Cell(text=value.replace("|", "/") or "-", values={"": value})


def number(value: float | None, digits: int = 0, *, why_not: str = "") -> Cell:
    """A plain number."""
    return Cell(text=_text(value, digits), values={"": value}, why_not="" if value is not None else why_not)


def estimate(value: Estimate, digits: int, *, percent: bool = False) -> Cell:
    """A number with its interval, or in percent of 1."""
    factor = 100 if percent else 1
    middle, low, high = (None if each is None else each * factor for each in (value.value, value.low, value.high))
    shown = _text(middle, digits)
    if low is not None:
        shown += f" ({_text(low, digits)} to {_text(high, digits)})"
    return Cell(text=shown, values={"": middle, "low": low, "high": high}, why_not=value.why_not)


def spread(value: Spread, digits: int) -> Cell:
    """Mean ± standard deviation."""
    mean = value.mean
    shown = _text(mean.value, digits)
    if value.sd is not None:
        shown += f" ± {_text(value.sd, digits)}"
    values = {"mean": mean.value, "sd": value.sd, "low": mean.low, "high": mean.high, "cases": value.cases}
    return Cell(text=shown, values=values, why_not=mean.why_not)


def test(value: Test) -> Cell:
    """P of a test."""
    return Cell(text=p_text(value.p), values={"": value.p}, why_not="" if value.p is not None else value.why_not)


def p_text(p: float | None) -> str:
    """As papers write it."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
