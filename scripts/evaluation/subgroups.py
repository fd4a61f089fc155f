"""By what patients are put into groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lib.images import PatientFacts
from scripts.command import Stop
from scripts.evaluation.tables import Row, number_in

BMI, VARIANT = "bmi_kg_m2", "variant"
DEFAULT = ("sex", "age_years>70", f"{BMI}>23", "scan_range")
"""Those of Lee 2021, section 2.6."""
_ABOVE = re.compile(r"(?P<column>\w+)>(?P<limit>-?\d+(\.\d+)?)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups by the values of a column, or by whether they are above a limit.

    Attributes:
        column: its name.
        limit: ``None`` for a group for each value.
    """

    column: str
    limit: float | None = None

    @classmethod
    def parse(cls, text: str) -> Grouping:
        """Read ``COLUMN`` or ``COLUMN>NUMBER``.

        Raises:
            Stop: it is neither.
        """
        if found := _ABOVE.fullmatch(text):
            return cls(column=found["column"], limit=float(found["limit"]))
        if not re.fullmatch(r"\w+", text):
            raise Stop(f"{text!r} makes no groups: give a column, or a column and a limit such as age_years>70.")
        return cls(column=text)

    @property
    def text(self) -> str:
        """As it stands in tables."""
        return self.column if self.limit is None else f"{self.column}, limit {self.limit:g}"

    def group_of(self, row: Row) -> str | None:
        """The group of a case, ``None`` where it is not known."""
        value = row.get(self.column) or None
        if self.limit is None or value is None:
            return value
        number = number_in(value)
        if number is None:
            return None
        return f"> {self.limit:g}" if number > self.limit else f"≤ {self.limit:g}"


def row_of(facts: PatientFacts, row: Mapping[str, str]) -> Row:
    """What is known of a patient from image and store, overridden by a table, with the body mass index."""
    known = {name: str(value) for name, value in asdict(facts).items() if value is not None}
    known |= {name: value for name, value in row.items() if value}
    height, weight = number_in(known.get("height_m")), number_in(known.get("weight_kg"))
    if height and weight:
        known.setdefault(BMI, str(weight / height**2))
    return known


def variant_of(row: Row) -> str | None:
    """The variant of the spine that a table names, ``None`` where it names none; Ha 2021 has ``normal`` and others."""
    return row.get(VARIANT) or None
