"""What is done already, so that an analysis goes on where it was stopped, by whatever."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lib.disk import write_file
from scripts.analysis.sources import JOURNAL, Case, source_id
from scripts.command import Stop


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What came of one case.

    Attributes:
        path: the file or folder.
        series: in a folder of DICOM; "" where the folder could not be read, and for a file.
        of: number of series in the folder.
        stamp: everything that would change the result: the file, the models, the facts.
        final: whether another try with the same stamp would end in the same way.
        row: of the table.
    """

    path: str
    series: str
    of: int
    stamp: dict[str, Any]
    final: bool
    row: dict[str, Any]


_FIELDS = {field.name for field in fields(Entry)}


class Journal:
    """A file with a line for each case. A line is there as a whole, or it is passed over when the file is read.

    Args:
        folder: of the results.
        task: whose results these are.

    Raises:
        Stop: the folder holds results of another task.
    """

    def __init__(self, folder: Path, task: str) -> None:
        self._path = folder / JOURNAL
        self._task = task
        self._by_path: dict[str, dict[str, Entry]] = {}
        for record in _records(self._path):
            if "task" in record and record["task"] != task:
                raise Stop(f"{folder} holds an analysis of {record['task']}; choose another --out for {task}.")
            if record.keys() == _FIELDS:
                self._hold(Entry(**record))
        self.compact()

    @property
    def entries(self) -> list[Entry]:
        """All, in the order of their ids."""
        every = (entry for entries in self._by_path.values() for entry in entries.values())
        return sorted(every, key=lambda entry: (entry.row["case"].casefold(), entry.path, entry.series))

    @property
    def ids(self) -> dict[str, Path]:
        """The id of every source that is known."""
        return {source_id(entry.row["case"]): Path(entry.path) for entry in self.entries}

    def of(self, case: Case) -> Entry | None:
        """What came of a case, whenever that was."""
        return self._by_path.get(str(case.path), {}).get(case.series)

    def of_source(self, path: Path) -> list[Entry]:
        """What came of the cases in a file or folder."""
        return list(self._by_path.get(str(path), {}).values())

    def add(self, entry: Entry) -> None:
        """Note what came of a case; when this returns, it is on the disk.

        Raises:
            OSError: it could not be written.
        """
        with self._path.open("ab") as file:
            file.write(_line(asdict(entry)))
            file.flush()
            os.fsync(file.fileno())
        self._hold(entry)

    def forget(self, entry: Entry) -> None:
        """Leave out a case that is not there any more; on the disk from the next :meth:`compact` on."""
        del self._by_path[entry.path][entry.series]

    def compact(self) -> None:
        """Write the file anew, without what is out of date or was cut short.

        Raises:
            OSError: it could not be written; the old file is still there.
        """
        lines = [_line({"task": self._task}), *(_line(asdict(entry)) for entry in self.entries)]
        write_file(self._path, b"".join(lines))

    def _hold(self, entry: Entry) -> None:
        self._by_path.setdefault(entry.path, {})[entry.series] = entry


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # the last one, cut short when the process was killed
    return [record for record in records if isinstance(record, dict)]


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"
