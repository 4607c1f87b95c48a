"""Durable objects in SQLite.

One row per object. A commit is written before it is visible, in one SQLite transaction
(write-ahead log, synchronous NORMAL: a crash of this process loses nothing, a power cut may lose
the last moments but never consistency). Writing happens on the event loop, because such a commit
only appends to a file without waiting for the disk (tests/store/test_journal.py measures it).
What does wait for the disk, the checkpoint, runs in :meth:`checkpoint`, for a worker thread.

Revisions stay increasing across restarts although not every revision is journaled: they are
reserved in blocks, and a restarted store goes on behind the last reserved one.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from argosy.base.names import Namespace, ObjectKey

FORMAT = "1"
RESERVE = 10_000
"""Revisions are reserved in blocks of this many."""

_AUTOCHECKPOINT_PAGES = 20_000
"""Only a safety net (80 MB), should nobody call ``checkpoint``."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    checksum BLOB NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class JournalDamagedError(Exception):
    """The journal cannot be trusted; the message says where it is and what to do."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"the journal {path} is damaged: {what}. To start empty, move it away"
            f" (mv {path} {path}.damaged, with its -wal and -shm files) and apply your files again."
        )
        self.path = path


class JournalError(Exception):
    """The journal cannot be opened or written (disk full, no permission)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object as bytes; no body means removed."""

    key: ObjectKey
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the journal held. ``revision`` is where the store goes on.

    ``rows`` are read from the file one by one, so that they never are in memory all at once:
    read them before the next write.
    """

    rows: Iterator[Row]
    revision: int


class Journal:
    """The file at ``path``; made at :meth:`open`. One event loop, except ``checkpoint``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._reserved = 0

    def open(self) -> Loaded:
        """Open or make the file, check it and read it; raises :class:`JournalDamagedError`."""
        try:
            self.path.touch(mode=0o600, exist_ok=True)  # It holds Secrets.
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.OperationalError) as error:
            raise JournalError(f"the journal {self.path} cannot be opened: {error}") from error
        try:
            return self._load(connection)
        except (JournalDamagedError, JournalError):
            connection.close()
            raise
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT):
                raise JournalDamagedError(self.path, str(error)) from error
            raise JournalError(f"the journal {self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            connection.close()
            raise JournalDamagedError(self.path, str(error)) from error

    def write(self, rows: Iterable[Row], revision: int) -> None:
        """Write one transaction that ends at ``revision``: all of it or nothing."""
        connection = self._require()
        puts = [(*row.key, _checksum(row.body), row.body) for row in rows if row.body is not None]
        removals = [row.key for row in rows if row.body is None]
        reserve = revision > self._reserved
        if not (puts or removals or reserve):
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            if puts:
                connection.executemany(
                    "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", puts
                )
            if removals:
                connection.executemany(
                    "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", removals
                )
            if reserve:
                self._set_reserved(connection, revision + RESERVE)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise JournalError(f"the journal {self.path} cannot be written: {error}") from error
        if reserve:
            self._reserved = revision + RESERVE

    def checkpoint(self) -> None:
        """Move the log into the database file. Waits for the disk: call it in a worker thread.

        It uses a connection of its own and never holds up a writer.
        """
        try:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"checkpoint of the journal {self.path}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _load(self, connection: sqlite3.Connection) -> Loaded:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}").fetchall()
        check = [row[0] for row in connection.execute("PRAGMA quick_check")]
        if check != ["ok"]:
            raise JournalDamagedError(self.path, str(check[0]))
        connection.executescript(_SCHEMA)
        facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
        if facts.setdefault("format", FORMAT) != FORMAT:
            raise JournalError(
                f"the journal {self.path} has format {facts['format']}, this Argosy reads {FORMAT}:"
                " it was written by another version"
            )
        for key, checksum, body in _rows(connection):
            if _checksum(body) != checksum:
                raise JournalDamagedError(self.path, f"{key} does not match its checksum")
        revision = int(facts.get("reserved", "0"))
        connection.execute("INSERT OR IGNORE INTO facts VALUES ('format', ?)", (FORMAT,))
        self._set_reserved(connection, revision + RESERVE)
        self._reserved = revision + RESERVE
        self._connection = connection
        return Loaded((Row(key, body) for key, _, body in _rows(connection)), revision)

    def _set_reserved(self, connection: sqlite3.Connection, revision: int) -> None:
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('reserved', ?)", (str(revision),))

    def _require(self) -> sqlite3.Connection:
        assert self._connection is not None, "the journal is not open"
        return self._connection


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[ObjectKey, bytes, bytes]]:
    """Key, checksum and body of every object."""
    for kind, namespace, name, checksum, body in connection.execute(
        "SELECT kind, namespace, name, checksum, body FROM objects ORDER BY kind, namespace, name"
    ):
        yield ObjectKey(kind, Namespace(namespace), name), checksum, body


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=8).digest()
