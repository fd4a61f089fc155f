"""What a user's CSV files say of cases: facts, groups, outcomes, other measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.images.files import image_suffix
from scripts.analysis.facts import NAMING, read_rows
from scripts.command import Stop

Row = Mapping[str, str]


def read_case_table(path: Path) -> dict[str, Row]:
    """The rows of a CSV by the case that they name in a column ``case`` or ``file``.

    Raises:
        Stop: it cannot be read, names no cases, or one of them twice.
    """
    header, rows = read_rows(path)
    column = next((name for name in NAMING if name in header), None)
    if column is None:
        raise Stop(f"{path.name} has no column {' or '.join(NAMING)}: its first line has to name one.")
    found: dict[str, Row] = {}
    for line, row in rows:
        key = row[column].strip()
        key = key[: len(key) - len(image_suffix(key))]
        if not key or key in found:
            raise Stop(f"Line {line} of {path.name} names {'the case ' + key + ' again' if key else 'no case'}.")
        found[key] = {name: value.strip() for name, value in row.items()}
    return found


def merged(tables: Iterable[Mapping[str, Row]]) -> dict[str, Row]:
    """Several tables as one; where two know the same of a case, the later one counts."""
    found: dict[str, Row] = {}
    for table in tables:
        for case, row in table.items():
            found[case] = {**found.get(case, {}), **row}
    return found


def number_in(value: str | None) -> float | None:
    """A cell as a number, also with a decimal comma; ``None`` for anything else, NaN and infinity included."""
    try:
        found = float((value or "").replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def truth_in(value: str | None) -> bool | None:
    """A cell as an outcome: 1, yes, true, or 0, no, false; ``None`` for anything else."""
    said = (value or "").strip().lower()
    if said in ("yes", "true"):
        return True
    if said in ("no", "false"):
        return False
    number = number_in(said)
    return None if number not in (0.0, 1.0) else bool(number)
