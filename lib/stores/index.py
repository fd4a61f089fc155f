"""The index of a store: its tables, and transactions that several processes may run at once."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from lib.refusals import Refusal

_BUSY_TIMEOUT_S = 60
_WRITER_LOCK = 7_317_041  # any number that no other program on the same PostgreSQL takes

# For a query of which only the first rows are wanted, however many there are; PostgreSQL would send all of them.
ROW_BY_ROW: dict[str, Any] = {"stream_results": True, "max_row_buffer": 100}

metadata = MetaData()

SETTINGS = Table("settings", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

CASES = Table(
    "cases",
    metadata,
    Column("id", String, primary_key=True),
    Column("file", String, nullable=False),  # name in the studies folder: a file, or a folder of DICOM
    Column("suffix", String, nullable=False),  # "" for a folder of DICOM
    Column("state", String, nullable=False),  # present, absent (the file vanished) or removed (on request)
    Column("shuffle", Float, nullable=False),  # a fixed random number, by which random cases are found quickly
    Column("added", Float, nullable=False),
    Column("info", Text, nullable=False),
    Column("facts", Text, nullable=False),  # what DICOM said of patient and series
    Column("converted", String),  # signature of the DICOM folder that was converted
    Column("labels", Text, nullable=False),  # current tags, and "final:TASK" for each labelled task, as a JSON list
    Column("fault", Text),  # why the image cannot be read
    Column("fault_signature", String),  # of the file that could not be read
    # These hold all that choosing a case and counting labels need, so that neither touches the table.
    Index("cases_in_order", "state", "id", "labels", "fault"),
    Index("cases_by_chance", "state", "shuffle", "labels", "fault"),
    Index("cases_by_labels", "state", "labels", "fault"),
    Index("faulty_cases", "id", sqlite_where=text("fault IS NOT NULL"), postgresql_where=text("fault IS NOT NULL")),
)

REVISIONS = Table(
    "revisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", String, nullable=False),
    Column("task", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("tag", String, nullable=False),
    Column("author", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("model_version", String),
    Column("created", Float, nullable=False),
    Column("sha256", String, nullable=False),
    Column("file", String, nullable=False),  # relative to the labels folder, with "/"
    Column("names", Text, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("warnings", Text, nullable=False),
    Column("info", Text, nullable=False),
    Column("withdrawn", Float),
    UniqueConstraint("case_id", "task", "number"),
    Index("revisions_in_time", "task", "tag", "created"),
    Index(
        "withdrawn_revisions",
        "task",
        "withdrawn",
        sqlite_where=text("withdrawn IS NOT NULL"),
        postgresql_where=text("withdrawn IS NOT NULL"),
    ),
)

# The newest revision of each case, task and tag that was not withdrawn.
CURRENT = Table(
    "current_revisions",
    metadata,
    Column("tag", String, primary_key=True),
    Column("task", String, primary_key=True),
    Column("case_id", String, primary_key=True),
    Column("revision_id", Integer, nullable=False),
    Column("lot", Float, nullable=False),  # a number drawn from the case's id, see `lib.stores.records.lot_of`
    Index("current_by_case", "case_id"),
    Index("current_by_lot", "tag", "task", "lot"),
    sqlite_with_rowid=False,
)

SCORES = Table(
    "scores",
    metadata,
    Column("task", String, primary_key=True),
    Column("case_id", String, primary_key=True),
    Column("method", String, primary_key=True),
    Column("value", Float, nullable=False),
    Column("model_version", String),
    Column("created", Float, nullable=False),
    Column("trained", Boolean, nullable=False),  # a model gave it, not the cold start
    Column("labelled", Boolean, nullable=False),  # the case has a final label of the task: it is not asked for again
    # Labelled cases are apart, because it is the highest scores that are labelled first.
    Index("scores_by_value", "task", "method", "labelled", "trained", "value", "model_version"),
    sqlite_with_rowid=False,
)

# What a model saw in a case, by which cases are told to be alike.
FEATURES = Table(
    "features",
    metadata,
    Column("task", String, primary_key=True),
    Column("case_id", String, primary_key=True),
    Column("model_version", String, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float16, little-endian
    sqlite_with_rowid=False,
)

# Every case that was ever handed to somebody; it is leased to them as long as `ended` is empty.
HAND_OUTS = Table(
    "hand_outs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task", String, nullable=False),
    Column("case_id", String, nullable=False),
    Column("holder", String, nullable=False),
    Column("purpose", String, nullable=False),  # label, double_read or reread
    Column("strategy", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("score", Float),
    Column("model_version", String),
    Column("first_labels", Text, nullable=False),  # revision by stored task that a blind reading is a second one of
    Column("handed_out", Float, nullable=False),
    Column("lease_ends", Float, nullable=False),
    Column("ended", Float),
    Column("outcome", String),  # labelled, given_back, left, expired or unreadable
    Column("seconds", Float),  # from hand-out to label
    Index("hand_outs_by_case", "case_id"),
    Index("hand_outs_by_holder", "holder", "id"),
    Index("leases_by_holder", "holder", "lease_ends"),
    Index("hand_outs_by_task", "task", "id"),
    Index("open_hand_outs", "task", sqlite_where=text("ended IS NULL"), postgresql_where=text("ended IS NULL")),
)

# Trainings and scorings, so that one that was killed is known.
RUNS = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("task", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("outcome", String),
    Column("facts", Text, nullable=False),
    Index("runs_in_order", "kind", "task", "id"),
    Index("open_runs", "kind", sqlite_where=text("ended IS NULL"), postgresql_where=text("ended IS NULL")),
)

EVENTS = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("facts", Text, nullable=False),
)

# Final revisions whose DICOM objects have to be in the archive; `delivered` is empty until they are.
OUTBOX = Table(
    "outbox",
    metadata,
    Column("case_id", String, primary_key=True),
    Column("task", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sop_uid", String),  # of the segmentation, noted before it is sent, so that it is known when it is found
    Column("tries", Integer, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("error", Text),
    Column("delivered", Float),
    Index("outbox_by_uid", "sop_uid"),
    Index("waiting", "next_try", sqlite_where=text("delivered IS NULL"), postgresql_where=text("delivered IS NULL")),
    sqlite_with_rowid=False,
)

# Segmentations of other programs, so that each becomes a revision once, or is refused once.
RECEIVED = Table(
    "received",
    metadata,
    Column("sop_uid", String, primary_key=True),
    Column("case_id", String),  # empty where it refers to no case
    Column("creator", String, nullable=False),
    Column("seen", Float, nullable=False),
    Column("taken", Boolean, nullable=False),
    Column("reason", Text, nullable=False),  # why it was not taken
    Column("waits_for", Text, nullable=False),  # the series of which it would be, as a JSON list, where none is a case
    sqlite_with_rowid=False,
)

# The CT series of an archive that images come from.
SERIES = Table(
    "series",
    metadata,
    Column("uid", String, primary_key=True),
    Column("study_uid", String, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("there", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),  # somebody took the case out of this store
    Column("reason", Text, nullable=False),  # why it is no case, or ""
    sqlite_with_rowid=False,
)

# Label files of an older MONAI Label folder that are in this store already.
TAKEN_OVER = Table(
    "taken_over",
    metadata,
    Column("file", String, primary_key=True),  # relative to the studies folder
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
)


def _layout() -> str:
    """What the tables of this version look like; kept with the data, so that another version's are recognised."""
    columns = [f"{c.table.name}.{c.name} {c.type} {c.primary_key}" for t in metadata.sorted_tables for c in t.columns]
    return hashlib.sha256("\n".join(columns).encode()).hexdigest()[:16]


class UnusableIndexError(Exception):
    """The index file is there and is no sound database, or has the tables of another version."""


class StoreIndex:
    """The database of one store.

    Args:
        url: an SQLAlchemy URL, SQLite or PostgreSQL.

    Raises:
        UnusableIndexError: it is no sound SQLite file, or was made by another version.
        Refusal: the database cannot be reached.
    """

    def __init__(self, url: str | URL) -> None:
        try:
            self._engine = _engine(url)
        except (ImportError, ArgumentError) as error:
            raise Refusal(f"The index of the store cannot be opened: {_first_line(error)}", status=503) from error
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        # SQLite lets those who wait try again every tenth of a second, so that some wait for long; a lock wakes one.
        self._turn = threading.Lock()
        try:
            if self.is_sqlite:
                self._check()
            metadata.create_all(self._engine)
            self._check_layout()
        except (DatabaseError, sqlite3.DatabaseError) as error:
            self._engine.dispose()
            if self.is_sqlite and _is_damage(error):
                raise UnusableIndexError(str(error)) from error
            raise Refusal(f"The index of the store cannot be opened: {_first_line(error)}", status=503) from error

    def _check(self) -> None:
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            self._engine.dispose()
            raise UnusableIndexError(str(found))

    def _check_layout(self) -> None:
        with self.writing() as connection:
            found = get_setting(connection, "layout")
            if not found and not get_setting(connection, "filled"):
                found = _layout()
                connection.execute(self.upsert(SETTINGS, {"key": "layout", "value": found}))
        if found != _layout():
            self._engine.dispose()
            raise UnusableIndexError("another version of this program made it")

    def is_filled(self) -> bool:
        """Whether the labels whose files are there are in the index; not so for a new one."""
        with self.reading() as connection:
            return bool(get_setting(connection, "filled"))

    def set_filled(self, connection: Connection) -> None:
        """Note that they are, in the transaction that put them there."""
        connection.execute(self.upsert(SETTINGS, {"key": "filled", "value": "yes"}))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, from one consistent state."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; one at a time over all processes, committed and synced at the end.

        Raises:
            Refusal: the index cannot be written: 507 where its disk is full, 503 where it is gone or taken for too
                long.
        """
        try:
            with self._turn, self._engine.connect().execution_options(writing=True) as connection, connection.begin():
                if not self.is_sqlite:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})"))
                yield connection
        except OperationalError as error:
            known = _status_of(error) if self.is_sqlite else 503
            if known is None:
                raise
            raise Refusal(f"Nothing was saved, the index refused: {_first_line(error)}.", status=known) from error

    def insert_new(self, table: Table) -> Any:
        """An insert that passes over rows whose primary key is there already."""
        dialect = sqlite if self.is_sqlite else postgresql
        return dialect.insert(table).on_conflict_do_nothing()

    def upsert(self, table: Table, values: dict[str, Any]) -> Any:
        """An insert that replaces the row with the same primary key."""
        dialect = sqlite if self.is_sqlite else postgresql
        keys = [column.name for column in table.primary_key]
        others = {name: value for name, value in values.items() if name not in keys}
        return dialect.insert(table).values(**values).on_conflict_do_update(index_elements=keys, set_=others)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _status_of(error: OperationalError) -> int | None:
    """Of an answer to what SQLite could not do because of where it is, not because of what it was asked."""
    said = str(error.orig)
    kinds = {"disk is full": 507, "database is locked": 503, "readonly database": 503, "disk I/O error": 503}
    return next((status for words, status in kinds.items() if words in said), None)


def get_setting(connection: Connection, key: str, default: str = "") -> str:
    """A setting of the store, such as its name."""
    value = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.key == key)).scalar()
    return default if value is None else str(value)


def _engine(url: str | URL) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S}, pool_size=8, max_overflow=56)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would open transactions by itself, and too late: a read that turns into a write can fail.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def sqlite_url(path: Path) -> URL:
    """The SQLAlchemy URL of an SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path))


def _is_damage(error: Exception) -> bool:
    return any(words in str(error) for words in ("file is not a database", "malformed", "disk image"))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
