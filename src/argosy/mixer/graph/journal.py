"""A day of minutes in SQLite: one row for each minute, one for each edge.

A minute is one compressed value: 5,000 edges take about 150 KB. All methods block and are for one
thread at a time. What is older than a day goes, and the oldest minutes when there are too many bytes.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import msgspec

from argosy.mixer.graph.edges import EdgeFacts, EdgeKey
from argosy.mixer.graph.graph import DAY_MINUTES, KnownEdge, Moment

MAX_BYTES = 512 << 20
"""Of all minutes together."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS minutes (minute INTEGER PRIMARY KEY, flows BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS edges (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL, facts BLOB NOT NULL, seen INTEGER NOT NULL
) STRICT;
"""
_flows = msgspec.msgpack.Decoder(Moment)
_key = msgspec.msgpack.Decoder(EdgeKey)
_facts = msgspec.msgpack.Decoder(EdgeFacts)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written, encoded by ``draft`` so that the graph may go on meanwhile."""

    minutes: tuple[tuple[int, bytes], ...]
    edges: tuple[tuple[int, bytes, bytes, int], ...]


def draft(minutes: Mapping[int, Moment], edges: Iterable[tuple[int, KnownEdge]]) -> Draft:
    encode = msgspec.msgpack.encode
    return Draft(
        tuple((minute, encode(flows)) for minute, flows in minutes.items()),
        tuple((number, encode(edge.key), encode(edge.facts), edge.seen) for number, edge in edges),
    )


class GraphJournal:
    """``path`` is made if it is not there; one that is damaged is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._database = self._open()

    def edges(self) -> list[tuple[int, KnownEdge]]:
        with self._lock:
            rows = self._database.execute("SELECT number, key, facts, seen FROM edges").fetchall()
        return [
            (number, KnownEdge(_key.decode(key), _facts.decode(facts), seen))
            for number, key, facts, seen in rows
        ]

    def minutes(self, first: int, last: int) -> Iterator[tuple[int, Moment]]:
        """Those from ``first`` to ``last`` that there are, in order. One at a time is decoded: a
        large mesh's day is many times what a process may have."""
        while (row := self._first(first, last)) is not None:
            minute, flows = row
            yield minute, _flows.decode(zlib.decompress(flows))
            first = minute + 1

    def write(self, new: Draft, now_minute: int) -> None:
        """In one transaction, with the removal of what is too old."""
        packed = [(minute, zlib.compress(flows, 1)) for minute, flows in new.minutes]
        with self._lock, self._database as database:
            database.executemany("INSERT OR REPLACE INTO minutes VALUES (?, ?)", packed)
            database.executemany("INSERT OR REPLACE INTO edges VALUES (?, ?, ?, ?)", new.edges)
            oldest = now_minute - DAY_MINUTES
            database.execute("DELETE FROM minutes WHERE minute < ?", (oldest,))
            database.execute("DELETE FROM edges WHERE seen < ?", (oldest,))
            (size,) = database.execute("SELECT total(length(flows)) FROM minutes").fetchone()
            if size > MAX_BYTES:
                database.execute(
                    "DELETE FROM minutes WHERE minute IN "
                    "(SELECT minute FROM minutes ORDER BY minute LIMIT 60)"
                )

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _first(self, first: int, last: int) -> tuple[int, bytes] | None:
        with self._lock:
            found: tuple[int, bytes] | None = self._database.execute(
                "SELECT minute, flows FROM minutes WHERE minute BETWEEN ? AND ? "
                "ORDER BY minute LIMIT 1",
                (first, last),
            ).fetchone()
        return found

    def _open(self) -> sqlite3.Connection:
        try:
            return _opened(self._path)
        except sqlite3.DatabaseError:
            for path in self._path.parent.glob(f"{self._path.name}*"):
                path.unlink()
            return _opened(self._path)


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    path.chmod(0o600)
    return database
