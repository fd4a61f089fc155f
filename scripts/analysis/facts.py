"""What a table of the user's says of the patients, checked before anything is analysed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.images import parse_facts
from lib.images.files import image_suffix
from scripts.analysis.sources import source_id
from scripts.command import Stop

NAMING = ("case", "file")
FACTS = ("sex", "age_years", "height_m", "weight_kg", "contrast")
SLICE = "slice_index"
_SHOWN = 5


@dataclass(frozen=True)
class _Row:
    line: int
    values: dict[str, Any]


class FactsTable:
    """A CSV whose rows name a case by its id, its file's name or its path.

    Args:
        path: of the CSV; with a header, separated by commas, semicolons or tabs.

    Raises:
        Stop: it cannot be read, or rows of it are wrong; the sentence names their lines.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._rows: dict[str, _Row] = {}
        wrong: list[str] = []
        header, rows = read_rows(path)
        name_column = next((name for name in NAMING if name in header), None)
        if name_column is None or not {*FACTS, SLICE} & set(header):
            raise Stop(
                f"{path.name} has no column {' or '.join(NAMING)}, or none of {', '.join((*FACTS, SLICE))}: its first "
                "line has to name them."
            )
        for line, row in rows:
            key = (row.get(name_column) or "").strip()
            values = {name: row[name].strip() for name in (*FACTS, SLICE) if (row.get(name) or "").strip()}
            faults = list(parse_facts({name: values[name] for name in FACTS if name in values})[1].values())
            if not re.fullmatch(r"\d*", values.get(SLICE, ""), re.ASCII):
                faults.append(f"{SLICE} {values[SLICE]!r} is no whole number from 0 on.")
            if not key:
                faults.append(f"the column {name_column} is empty.")
            if key in self._rows:
                faults.append(f"{key} is in line {self._rows[key].line} already.")
            wrong += [f"line {line}: {fault}" for fault in faults]
            self._rows[key] = _Row(line, values)
        if wrong:
            more = f" And {len(wrong) - _SHOWN} more." if len(wrong) > _SHOWN else ""
            raise Stop(f"Nothing was analysed; put right in {path.name}: {' '.join(wrong[:_SHOWN])}{more}")

    def check(self, sources: Mapping[Path, str], ids: Mapping[Path, str]) -> str:
        """See that every row says which source it means.

        Args:
            sources: path to what it is called below the folder that was given.
            ids: path to the id of its case.

        Returns:
            A sentence on rows that mean none, or "".

        Raises:
            Stop: a row's name is that of several sources.
        """
        meant: dict[str, set[str]] = {}
        for path, below in sources.items():
            for name in _names(ids[path], path, below):
                meant.setdefault(name, set()).add(ids[path])
        several = [row.line for key, row in self._rows.items() if len(meant.get(key, ())) > 1]
        if several:
            raise Stop(
                f"Nothing was analysed; {self._name} names several cases in line {_listed(several)}: give their paths."
            )
        # A series of a folder is known by its id only after its folder was read.
        none = [row.line for key, row in self._rows.items() if source_id(key) not in meant]
        return f"{self._name} names no case in line {_listed(none)}; {len(none)} rows were not used." if none else ""

    def of(self, case_id: str, path: Path, below: str) -> dict[str, Any]:
        """What is known of a case, as in the params of a request; arguments as in :meth:`check`.

        Where a folder holds several series, a row of a series overrides that of its folder, whose slice is nobody's.
        """
        known: dict[str, Any] = {}
        for name in reversed((case_id, *_names(source_id(case_id), path, below))):
            values = dict(self._rows[name].values) if name in self._rows else {}
            if name != case_id != source_id(case_id):
                values.pop(SLICE, None)
            known |= values
        return known


def _names(case_id: str, path: Path, below: str) -> list[str]:
    stem = path.name[: len(path.name) - len(image_suffix(path.name))]
    return list(dict.fromkeys([case_id, str(path), below, path.name, stem]))


def _listed(lines: list[int]) -> str:
    return ", ".join(map(str, lines[:_SHOWN])) + (" and others" if len(lines) > _SHOWN else "")


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header of a CSV, and each row that is not empty with the number of its line.

    Raises:
        Stop: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Stop(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Stop(f"{path.name} is no text in UTF-8: save it as CSV UTF-8.") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, restval="")
    header = [(name or "").strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    rows = []
    for row in reader:
        # Where semicolons separate the cells, a comma is the decimal point.
        cells = {k: v.replace(",", ".") if separator == ";" and k in FACTS else v for k, v in row.items() if k}
        if any(value.strip() for value in cells.values()):
            rows.append((reader.line_num, cells))
    return header, rows
