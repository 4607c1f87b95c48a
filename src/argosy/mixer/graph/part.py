"""The graph as a part of Mixer: takes proxies' metrics, keeps a day of them, answers ``/edges``.

What proxies count by their limits comes with the metrics, and is handed on.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any

import grpc
import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from argosy.mixer.asker import AskedRoute, asker_of, failure
from argosy.mixer.caller import caller
from argosy.mixer.collect.otlp import Addition, Collector, LimitCount, MalformedError
from argosy.mixer.collect.sender import sender_of
from argosy.mixer.graph.edges import Flow
from argosy.mixer.graph.graph import (
    DAY_MINUTES,
    MINUTE,
    Frozen,
    Graph,
    Moment,
    edges_of,
    frozen,
    merged,
)
from argosy.mixer.graph.journal import GraphJournal, draft
from argosy.mixer.graph.shared import Shared
from argosy.mixer.graph.view import Rows, rows
from argosy.mixer.parts import Ground, Handler
from argosy.mixer.refusals import Refusals

SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
SAVE_SECONDS = 2.0
"""What a Mixer that is killed forgets at the most."""

UNSAVED_MINUTES = 10
"""Kept in memory at the most while the disk takes nothing."""

POINTS_AT_ONCE = 200
"""Of one message; that takes about 4 ms, and then others run."""

MAX_SECONDS = float(DAY_MINUTES * MINUTE)
_RECENT_SECONDS = 60.0
log = structlog.get_logger()


class GraphPart:
    """``parts.Part``."""

    def __init__(
        self, ground: Ground, count_limits: Callable[[Sequence[LimitCount]], None] = lambda _: None
    ) -> None:
        """``count_limits`` may ask who ``caller()`` is."""
        self._count_limits = count_limits
        self._clock = ground.clock
        self._path = ground.directory / "graph.db"
        self._collector = Collector()
        self._journal: GraphJournal | None = None
        self._refusals = Refusals("metrics.rejected")
        self._loaded = asyncio.Event()
        self._generation = 0
        self._forgotten = -1
        self._resumed: set[int] = set()
        self._shared = Shared(self._rows, ground.clock.monotonic)
        self.graph = Graph(self._now())

    def handlers(self) -> Sequence[Handler]:
        export = grpc.unary_unary_rpc_method_handler(self._export)
        return (grpc.method_handlers_generic_handler(SERVICE, {"Export": export}),)

    def routes(self) -> Sequence[AskedRoute]:
        return (AskedRoute("/edges", self._edges, namespaced=True),)

    async def run(self) -> None:
        journal = self._journal = await asyncio.to_thread(GraphJournal, self._path)
        loaded = await asyncio.to_thread(journal.load)
        self.graph.table.load(loaded.edges, loaded.last_number)
        self._forgotten = loaded.last_minute
        self._generation = journal.generation
        self._loaded.set()
        try:
            while True:
                await asyncio.sleep(SAVE_SECONDS)
                await self._save(journal)
        finally:
            await self._save(journal)
            journal.close()

    async def moment(self, seconds: float) -> tuple[float, Moment]:
        """What happened in the last ``seconds``, and how many they really are."""
        now = self._now()
        if seconds <= _RECENT_SECONDS:
            length, recent = self.graph.recent(seconds, now)
            return length, await asyncio.to_thread(recent.merged)
        first, last = int((now - seconds) // MINUTE), self._minute()
        # Before the journal is read: a minute that is written meanwhile is forgotten here.
        here = {m: flows for m, flows in self.graph.minutes.items() if first <= m <= last}
        whole = frozenset(minute for minute in here if not self._is_partial(minute))
        moving = frozen((), here.values())
        return now - first * MINUTE, await asyncio.to_thread(
            _sum, self._journal, first, last, whole, moving
        )

    async def _export(self, request: bytes, context: Any) -> bytes:
        await self._loaded.wait()
        calling = caller()
        sender = sender_of(calling)
        teller = sender.name
        try:
            found = self._collector.take(request, sender)
        except MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        limits: list[LimitCount] = []
        rejected, now = 0, self._now()
        for count, one in enumerate(found, 1):
            match one:
                case None:
                    rejected += 1
                case LimitCount():
                    limits.append(one)
                case Addition(series, tally):
                    edge, facts, side = series.edge, series.facts, series.reporter
                    self.graph.add(edge, facts, side, tally, now, teller)
            if count % POINTS_AT_ONCE == 0:
                await asyncio.sleep(0)
                now = self._now()
        self._count_limits(limits)
        if rejected:
            self._refusals.add(calling.identity, rejected)
        return b""

    async def _edges(self, request: Request) -> Response:
        """``since`` is seconds, at the most a day; ``namespace`` leaves others out."""
        asker = asker_of(request)
        try:
            seconds = float(request.query_params.get("since", "60"))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= MAX_SECONDS:
            return failure(400, f"since: between 0 and {MAX_SECONDS:.0f} seconds")
        namespace = request.query_params.get("namespace", "")
        found = await self._shared.get(seconds)
        seen = asker.namespace in ("", namespace) or not namespace
        edges = found.about(asker.namespace or namespace) if seen else b"[]"
        answer = {
            "seconds": round(found.seconds, 1),
            "edges": msgspec.Raw(edges),
            "known": len(self.graph.table.edges),
            "overflowed": self.graph.table.overflowed,
            "rejected": self._refusals.total,
        }
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def _rows(self, seconds: float) -> Rows:
        length, moment = await self.moment(seconds)
        table = self.graph.table
        return await asyncio.to_thread(lambda: rows(edges_of(moment, table), length))

    async def _save(self, journal: GraphJournal) -> None:
        graph, present = self.graph, self._minute()
        await self._resume(journal)
        if journal.generation != self._generation:
            self._generation = journal.generation
            graph.table.changed |= graph.table.edges.keys()
            graph.dirty |= graph.minutes.keys()
        if graph.dirty or graph.table.changed:
            changed = [(number, graph.table[number]) for number in graph.table.changed]
            dirty, edges = self._writable(), set(graph.table.changed)
            new = draft({minute: graph.minutes[minute] for minute in dirty}, changed)
            graph.dirty -= dirty
            graph.table.changed.clear()
            try:
                await asyncio.to_thread(journal.write, new, present)
            except sqlite3.Error as error:
                log.error("graph.not_saved", error=str(error))
                self._keep_dirty(dirty, edges)
                for minute in sorted(graph.minutes)[:-UNSAVED_MINUTES]:
                    self._forget(minute)
                return
            if journal.generation != self._generation:
                self._keep_dirty(dirty, edges)
                return
        for minute in [m for m in graph.minutes if m < present and m not in graph.dirty]:
            self._forget(minute)

    def _writable(self) -> set[int]:
        """The dirty minutes of which memory has all that the journal has."""
        return {minute for minute in self.graph.dirty if not self._is_partial(minute)}

    def _keep_dirty(self, minutes: set[int], edges: set[int]) -> None:
        """They have not been written after all."""
        graph = self.graph
        graph.dirty |= minutes & graph.minutes.keys()
        graph.table.changed |= edges & graph.table.edges.keys()

    def _forget(self, minute: int) -> None:
        del self.graph.minutes[minute]
        self.graph.dirty.discard(minute)
        self._resumed.discard(minute)
        self._forgotten = max(self._forgotten, minute)

    def _is_partial(self, minute: int) -> bool:
        """Whether the journal may have a part of this minute that is not in memory: it does at the
        start, and when the clock was set back."""
        return minute <= self._forgotten and minute not in self._resumed

    async def _resume(self, journal: GraphJournal) -> None:
        """Take what the journal has of minutes that are counted on, before they are written."""
        for minute in [m for m in self.graph.minutes if self._is_partial(m)]:
            try:
                kept = await asyncio.to_thread(_minute_of, journal, minute)
            except sqlite3.Error as error:
                log.error("graph.not_resumed", error=str(error))
                return
            for number, flow in kept.items():
                self.graph.minutes[minute].setdefault(number, Flow()).add(flow)
            self._resumed.add(minute)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _minute(self) -> int:
        return int(self._now() // MINUTE)


def _minute_of(journal: GraphJournal, minute: int) -> Moment:
    return dict(journal.minutes(minute, minute)).get(minute, {})


def _sum(
    journal: GraphJournal | None, first: int, last: int, without: Collection[int], here: Frozen
) -> Moment:
    """Blocks."""
    kept = journal.minutes(first, last) if journal is not None else ()
    return merged(chain((flows for m, flows in kept if m not in without), (here.merged(),)))
