"""A day of minutes in SQLite: one row for each minute, one for each edge.

A minute is one compressed value: 5,000 edges take about 150 KB. All methods block and are for one
thread at a time. What is older than a day goes, and the oldest minutes when there are too many bytes.

No file stops Mixer. A row that cannot be read is passed over. A file that is damaged is set aside and
another begun, whenever it is noticed; where there can be no file, memory stands for it.
"""

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import msgspec
import structlog

from argosy.mixer.graph.edges import EdgeFacts, EdgeKey
from argosy.mixer.graph.graph import DAY_MINUTES, KnownEdge, Moment

MAX_BYTES = 512 << 20
"""Of all minutes together."""

MAX_MEMORY_BYTES = 32 << 20
"""The same, where memory stands for the file."""

DAMAGED = ".damaged"
"""What is added to the name of a file that is set aside; an older one of that name goes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS minutes (minute INTEGER PRIMARY KEY, flows BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS edges (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL, facts BLOB NOT NULL, seen INTEGER NOT NULL
) STRICT;
"""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_T = TypeVar("_T")
log = structlog.get_logger()
_flows = msgspec.msgpack.Decoder(Moment)
_key = msgspec.msgpack.Decoder(EdgeKey)
_facts = msgspec.msgpack.Decoder(EdgeFacts)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written, encoded by ``draft`` so that the graph may go on meanwhile."""

    minutes: tuple[tuple[int, bytes], ...]
    edges: tuple[tuple[int, bytes, bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """``last_number`` is of any edge, also of those that cannot be read. ``last_minute`` is the
    last that was written; -1: none."""

    edges: list[tuple[int, KnownEdge]]
    last_number: int
    last_minute: int


def draft(minutes: Mapping[int, Moment], edges: Iterable[tuple[int, KnownEdge]]) -> Draft:
    encode = msgspec.msgpack.encode
    return Draft(
        tuple((minute, encode(flows)) for minute, flows in minutes.items()),
        tuple((number, encode(edge.key), encode(edge.facts), edge.seen) for number, edge in edges),
    )


class GraphJournal:
    """``path`` is made if it is not there.

    ``generation`` is another once what was written has been set aside.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._limit = MAX_BYTES
        self._unreadable: set[int] = set()
        self.generation = 0
        self._database = self._open()

    def load(self) -> Loaded:
        """What to go on with. A file that cannot say that, for whatever reason, is set aside."""
        rows = self._ask("SELECT number, key, facts, seen FROM edges", must=True)
        ((last,),) = self._ask("SELECT max(minute) FROM minutes", must=True) or [(None,)]
        found, unreadable = [], 0
        for number, key, facts, seen in rows:
            try:
                found.append((number, KnownEdge(_key.decode(key), _facts.decode(facts), seen)))
            except msgspec.DecodeError:
                unreadable += 1
        if unreadable:
            log.warning("graph.edges_unreadable", path=str(self._path), edges=unreadable)
        return Loaded(
            found,
            max((number for number, *_ in rows), default=0),
            -1 if last is None else int(last),
        )

    def minutes(self, first: int, last: int) -> Iterator[tuple[int, Moment]]:
        """Those from ``first`` to ``last`` that there are, in order. One at a time is decoded: a
        large mesh's day is many times what a process may have."""
        while rows := self._ask(
            "SELECT minute, flows FROM minutes WHERE minute BETWEEN ? AND ? "
            "ORDER BY minute LIMIT 1",
            (first, last),
        ):
            ((minute, flows),) = rows
            try:
                yield minute, _flows.decode(zlib.decompress(flows))
            except (zlib.error, msgspec.DecodeError) as error:
                if minute not in self._unreadable:
                    self._unreadable.add(minute)
                    why = str(error)
                    log.warning("graph.minute_unreadable", minute=minute, error=why)
            first = minute + 1

    def write(self, new: Draft, now_minute: int) -> None:
        """In one transaction, with the removal of what is too old. Raises ``sqlite3.Error``."""
        packed = [(minute, zlib.compress(flows, 1)) for minute, flows in new.minutes]
        self._whole(lambda: self._write(packed, new, now_minute), None)

    def _write(self, packed: list[tuple[int, bytes]], new: Draft, now_minute: int) -> None:
        with self._database as database:
            database.executemany("INSERT OR REPLACE INTO minutes VALUES (?, ?)", packed)
            database.executemany("INSERT OR REPLACE INTO edges VALUES (?, ?, ?, ?)", new.edges)
            oldest = now_minute - DAY_MINUTES
            database.execute("DELETE FROM minutes WHERE minute < ?", (oldest,))
            database.execute("DELETE FROM edges WHERE seen < ?", (oldest,))
            (size,) = database.execute("SELECT total(length(flows)) FROM minutes").fetchone()
            if size > self._limit:
                database.execute(
                    "DELETE FROM minutes WHERE minute IN "
                    "(SELECT minute FROM minutes ORDER BY minute LIMIT 60)"
                )

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _ask(
        self, query: str, values: tuple[int, ...] = (), *, must: bool = False
    ) -> list[tuple[Any, ...]]:
        def asked() -> list[tuple[Any, ...]]:
            return self._database.execute(query, values).fetchall()

        return self._whole(asked, [], must=must)

    def _whole(self, act: Callable[[], _T], otherwise: _T, *, must: bool = False) -> _T:
        """What ``act`` says, and ``otherwise`` when that showed that the file is damaged; with
        ``must`` after any failure."""
        with self._lock:
            try:
                return act()
            except sqlite3.DatabaseError as error:
                if not must and not _is_damage(error):
                    raise
                self._database.close()
                self._set_aside(error)
                self._database = self._open()
                return otherwise

    def _open(self) -> sqlite3.Connection:
        try:
            try:
                return _opened(self._path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                return _opened(self._path)
        except (sqlite3.Error, OSError) as error:
            log.error("graph.not_kept", path=str(self._path), error=str(error))
            self._limit = MAX_MEMORY_BYTES
            return _schema(sqlite3.connect(":memory:", check_same_thread=False))

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        self.generation += 1
        aside = self._path.with_name(self._path.name + DAMAGED)
        log.warning("graph.damaged", error=str(error), path=str(self._path), kept_as=str(aside))
        for suffix in ("", "-wal", "-shm"):
            old = self._path.with_name(self._path.name + suffix)
            with suppress(FileNotFoundError):
                old.replace(aside.with_name(aside.name + suffix))


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """What a full disk or a missing right is not."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE  # extended codes have more above


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        path.chmod(0o600)
        return _schema(database)
    except BaseException:
        database.close()
        raise


def _schema(database: sqlite3.Connection) -> sqlite3.Connection:
    database.executescript(_SCHEMA)
    return database
