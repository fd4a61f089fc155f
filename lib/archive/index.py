"""The table of DICOM files and volumes, in an SQLite file that can be made anew from the files at any time."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lib.archive.headers import Instance
from lib.archive.volumes import Outline, Volume

_VERSION = 1
# Some file systems keep times to two seconds: a file that young may change again without looking changed.
_RACY_NS = 2_000_000_000
_TABLES = """
CREATE TABLE files (  -- every file that was looked at, so that it is looked at again only when it changes
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    reason TEXT,  -- why it is not served, NULL also for what is no image
    twin TEXT     -- the SOPInstanceUID that another file has too
) WITHOUT ROWID;
CREATE TABLE instances (
    path TEXT PRIMARY KEY, folder TEXT NOT NULL, sop TEXT NOT NULL UNIQUE, series TEXT NOT NULL, study TEXT NOT NULL,
    sop_class TEXT NOT NULL, syntax TEXT NOT NULL, modality TEXT NOT NULL, number INTEGER NOT NULL,
    frames INTEGER NOT NULL, pixels_at INTEGER, pixel_bytes INTEGER, is_body INTEGER NOT NULL, header BLOB NOT NULL
);
CREATE INDEX instances_of_series ON instances (series, number, sop);
CREATE INDEX instances_of_study ON instances (study);
CREATE INDEX instances_in_folder ON instances (folder, is_body, series);
CREATE INDEX instances_of_body ON instances (is_body, series, folder);
CREATE TABLE state (changes INTEGER NOT NULL, complete INTEGER NOT NULL);
CREATE TABLE series (uid TEXT PRIMARY KEY, study TEXT NOT NULL, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX series_of_study ON series (study);
CREATE TABLE volumes (
    path TEXT PRIMARY KEY, case_id TEXT NOT NULL, series TEXT NOT NULL UNIQUE, study TEXT NOT NULL,
    frames INTEGER NOT NULL, phantom INTEGER NOT NULL, columns INTEGER NOT NULL, rows INTEGER NOT NULL,
    affine TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX volumes_of_case ON volumes (case_id, path);
CREATE INDEX volumes_of_study ON volumes (study);
"""
# Attributes of patient, study and series: what a search is answered with (DICOM PS3.18 10.6.1.2).
SERIES_TAGS = (
    "00080005", "00080020", "00080021", "00080030", "00080031", "00080050", "00080060", "00080070", "00080080",
    "00080090", "0008103E", "00081030", "00081090", "00100010", "00100020", "00100021", "00100030", "00100040",
    "00100200", "00101010", "00180015", "0020000D", "0020000E", "00200010", "00200011", "00200052", "00400244",
    "00400245",
)  # fmt: skip


_OF_INSTANCE = [field.name for field in fields(Instance) if field.name != "header"]
_OF_OUTLINE = [field.name for field in fields(Outline)]
_OF_VOLUME = [field.name for field in fields(Volume)]
_IN_ORDER = "series, number, sop"


class ArchiveIndex:
    """What is known of the files, kept between starts; several threads and processes may use it at once.

    Args:
        path: the SQLite file; one that is damaged or of another version is begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: tuple[Any, tuple[int, bool]] | None = None
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._prepare()

    def _prepare(self) -> None:
        with self.writing() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == _VERSION:
                return
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                connection.execute(f"DROP TABLE {name}")
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO state VALUES (0, 0)")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # after a power cut it is made anew
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, for one thread."""
        with closing(self._connect()) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction; all of it happens, or nothing."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    # Files

    def known_files(self) -> dict[str, tuple[int, int]]:
        """Size and modification time of all files that were looked at."""
        with self.reading() as connection:
            return {
                path: (size, mtime)
                for path, size, mtime in connection.execute("SELECT path, size, mtime_ns FROM files")
            }

    def note(
        self,
        connection: sqlite3.Connection,
        path: str,
        signature: tuple[int, int],
        found: Instance | Volume | str | None,
    ) -> None:
        """Note what a file is, in place of what it was before.

        Args:
            connection: of a write transaction.
            path: relative to the studies folder, with "/".
            signature: size and modification time.
            found: an instance, a volume, why it is neither, or ``None`` for a file that is no image.
        """
        self.forget(connection, [path])
        reason = found if isinstance(found, str) else None
        twin = None
        if isinstance(found, Volume):
            _insert(connection, "volumes", {**asdict(found), "affine": json.dumps(found.affine)})
        elif isinstance(found, Instance):
            other = connection.execute("SELECT path FROM instances WHERE sop = ?", (found.sop,)).fetchone()
            if other:
                reason, twin = f"{path} has the same SOPInstanceUID as {other[0]}.", found.sop
            else:
                self._add(connection, found)
        connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (path, *signature, reason, twin))

    def _add(self, connection: sqlite3.Connection, new: Instance) -> None:
        header = zlib.compress(json.dumps(new.header, separators=(",", ":")).encode(), 1)
        connection.execute("UPDATE state SET changes = changes + 1")
        values = {name: getattr(new, name) for name in _OF_INSTANCE}
        _insert(connection, "instances", {**values, "folder": new.path.rpartition("/")[0], "header": header})
        attributes = {tag: new.header[tag] for tag in SERIES_TAGS if tag in new.header}
        row = (new.series, new.study, json.dumps(attributes))
        connection.execute("INSERT OR IGNORE INTO series VALUES (?, ?, ?)", row)

    def forget(self, connection: sqlite3.Connection, paths: Iterable[str]) -> None:
        """Take files out, with the series that have none left; twins of them are looked at again."""
        for path in paths:
            row = connection.execute("SELECT sop, series FROM instances WHERE path = ?", (path,)).fetchone()
            connection.execute("DELETE FROM volumes WHERE path = ?", (path,))
            connection.execute("DELETE FROM files WHERE path = ?", (path,))
            if row is None:
                continue
            sop, series = row
            connection.execute("UPDATE state SET changes = changes + 1")
            connection.execute("DELETE FROM instances WHERE path = ?", (path,))
            connection.execute("DELETE FROM files WHERE twin = ?", (sop,))
            if not connection.execute("SELECT 1 FROM instances WHERE series = ? LIMIT 1", (series,)).fetchone():
                connection.execute("DELETE FROM series WHERE uid = ?", (series,))

    def refused(self) -> list[tuple[str, str]]:
        """Files that are not served, and why."""
        with self.reading() as connection:
            return connection.execute(
                "SELECT path, reason FROM files WHERE reason IS NOT NULL ORDER BY path"
            ).fetchall()

    def reason(self, path: str) -> str:
        """Why a file, or the first file in a folder that is not, is not served; or ""."""
        query = (
            "SELECT reason FROM files WHERE (path = ? OR path >= ? AND path < ?) AND reason IS NOT NULL ORDER BY path"
        )
        with self.reading() as connection:
            row = connection.execute(query, (path, f"{path}/", f"{path}0")).fetchone()  # "0" comes after "/"
        return str(row[0]) if row else ""

    # Searching

    def series(self, *, study: str | None = None) -> list[dict[str, Any]]:
        """Attributes of patient, study and series of DICOM files, as DICOM JSON, with the number of instances."""
        columns = ["attributes", "(SELECT count(*) FROM instances WHERE instances.series = series.uid)"]
        with self.reading() as connection:
            return [
                {**json.loads(attributes), "00201209": {"vr": "IS", "Value": [count]}}
                for attributes, count in _select(connection, columns, "series", {"study": study}, "study, uid")
            ]

    def outlines(self, *, study: str | None = None) -> Iterator[Outline]:
        """What a search has to know of each image file, in the order of the cases' ids."""
        with self.reading() as connection:
            for row in _select(connection, _OF_OUTLINE, "volumes", {"study": study}, "case_id"):
                yield Outline(**dict(zip(_OF_OUTLINE, row, strict=True)))

    def volumes(self, **wanted: str | None) -> list[Volume]:
        """Image files, by ``study``, ``series``, ``case_id`` or ``path``."""
        with self.reading() as connection:
            found = _select(connection, _OF_VOLUME, "volumes", wanted, "case_id")
            rows = [dict(zip(_OF_VOLUME, row, strict=True)) for row in found]
        return [Volume(**row | {"affine": tuple(map(tuple, json.loads(row["affine"])))}) for row in rows]

    def headers(self, *, study: str, series: str | None = None, sop: str | None = None) -> list[bytes]:
        """The headers of instances, each a DICOM JSON object; those of a series in the order of their numbers."""
        wanted = {"study": study, "series": series, "sop": sop}
        with self.reading() as connection:
            return [zlib.decompress(row[0]) for row in _select(connection, ["header"], "instances", wanted, _IN_ORDER)]

    def instances(self, **wanted: str | None) -> list[Instance]:
        """DICOM files, by ``study``, ``series``, ``sop``, ``folder``, ``modality`` or ``path``."""
        with self.reading() as connection:
            rows = _select(connection, [*_OF_INSTANCE, "header"], "instances", wanted, _IN_ORDER).fetchall()
        return [
            Instance(**dict(zip(_OF_INSTANCE, row[:-1], strict=True)), header=json.loads(zlib.decompress(row[-1])))
            for row in rows
        ]

    def places(self, series: str) -> list[tuple[str, str]]:
        """The folders in which the files of a series lie, each with a modality."""
        query = "SELECT DISTINCT folder, modality FROM instances WHERE series = ?"
        with self.reading() as connection:
            return connection.execute(query, (series,)).fetchall()

    def study_of(self, series: str) -> str | None:
        """The StudyInstanceUID of a series of DICOM files."""
        with self.reading() as connection:
            row = connection.execute("SELECT study FROM series WHERE uid = ?", (series,)).fetchone()
        return row[0] if row else None

    def bodies(self, series: str | None = None) -> dict[str, list[str]]:
        """The series that are a CT of the body, each with the folders that its files lie in."""
        found: dict[str, list[str]] = {}
        with self.reading() as connection:
            columns, wanted = ["DISTINCT series", "folder"], {"is_body": "1", "series": series}
            for uid, folder in _select(connection, columns, "instances", wanted, "series, folder"):
                found.setdefault(uid, []).append(folder)
        return found

    def bodies_in(self, folder: str) -> list[tuple[str, str]]:
        """Identifiers of the CT series of the body with files directly in a folder, each with that of its study."""
        wanted = {"is_body": "1", "folder": folder}
        with self.reading() as connection:
            return _select(connection, ["DISTINCT series", "study"], "instances", wanted, "series").fetchall()

    def state(self) -> tuple[int, bool]:
        """A number that grows with every change of DICOM files, and whether all files have been looked at once."""
        seen = self._signature()
        if self._state is None or self._state[0] != seen:
            with self.reading() as connection:
                changes, complete = connection.execute("SELECT changes, complete FROM state").fetchone()
            state = changes, bool(complete)
            racy = any(abs(time.time_ns() - mtime_ns) < _RACY_NS for _, mtime_ns in seen)
            self._state = None if racy else (seen, state)
            return state
        return self._state[1]

    def _signature(self) -> list[tuple[int, int]]:
        """What changes with every commit; asking the database itself takes a hundred times as long."""
        signature = []
        for path in (self._path, self._path.with_name(f"{self._path.name}-wal")):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # the log is gone when nobody has the database open
            signature.append((stat.st_size, stat.st_mtime_ns))
        return signature

    def note_complete(self) -> None:
        """Note that all files have been looked at once."""
        with self.writing() as connection:
            connection.execute("UPDATE state SET complete = 1, changes = changes + 1 WHERE complete = 0")

    def counts(self) -> dict[str, int]:
        """How many files were looked at, and how many of what are served."""
        with self.reading() as connection:
            return {
                "files": connection.execute("SELECT count(*) FROM files").fetchone()[0],
                "instances": connection.execute("SELECT count(*) FROM instances").fetchone()[0],
                "series": connection.execute("SELECT count(*) FROM series").fetchone()[0],
                "volumes": connection.execute("SELECT count(*) FROM volumes").fetchone()[0],
                "refused": connection.execute("SELECT count(*) FROM files WHERE reason IS NOT NULL").fetchone()[0],
            }


def _select(
    connection: sqlite3.Connection, columns: Sequence[str], table: str, wanted: Mapping[str, str | None], order: str
) -> sqlite3.Cursor:
    """Rows of a table; values of ``None`` do not count."""
    named = {name: value for name, value in wanted.items() if value is not None}
    where = " AND ".join(f"{name} = ?" for name in named) or "1"
    query = f"SELECT {', '.join(columns)} FROM {table} WHERE {where} ORDER BY {order}"  # noqa: S608 (our own names)
    return connection.execute(query, list(named.values()))


def _insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    marks = ", ".join("?" * len(values))
    query = f"INSERT OR REPLACE INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608 (our own names)
    connection.execute(query, list(values.values()))
