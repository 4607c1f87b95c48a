"""The running library: streams, pushes, timers, who has what. Any transport, no decisions.

``serve`` carries one stream over two functions that read and write bytes; ``run`` keeps the
writers and the timers going. What to send and when is decided by ``AdsStream``.
"""

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import assert_never

import structlog

from argosy.base.clock import Clock, SystemClock
from argosy.xds.catalog import Catalog
from argosy.xds.distribution import Distribution, Publication, Publications
from argosy.xds.limits import Limits, PeerBuckets, TokenBucket
from argosy.xds.rejection import Rejection
from argosy.xds.source import (
    Admission,
    Admit,
    Change,
    Group,
    Peer,
    Refusal,
    RefusalKind,
    Source,
)
from argosy.xds.statistics import Statistics
from argosy.xds.status import ClientStatus, client_status
from argosy.xds.stream import (
    Acknowledged,
    AdsStream,
    Close,
    Command,
    Event,
    Published,
    Received,
    Refused,
    Rescoped,
    Send,
    StreamLimits,
    TimePassed,
    Timing,
    Wake,
)
from argosy.xds.type_urls import short_name
from argosy.xds.wire import Encoder, MalformedRequestError, Protocol, Request, decode

log = structlog.get_logger()

Read = Callable[[], Awaitable[bytes | None]]
"""The next message of the peer; None when it has none any more."""

Write = Callable[[bytes], Awaitable[None]]

_TRIM_EVERY = 256
_EXHAUSTED = RefusalKind.RESOURCE_EXHAUSTED


class StreamRefusedError(Exception):
    """The stream ends by our decision; ``refusal`` is to be told to the peer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True, eq=False)
class Client:
    """One admitted stream."""

    number: int
    machine: AdsStream
    peer: Peer
    write: Write
    since: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    events: list[Event] = field(default_factory=list)
    queued: bool = False
    queued_at: float = 0.0
    wake_at: float | None = None
    refusal: Refusal | None = None
    reader: "asyncio.Task[object] | None" = None


class Server:
    """Serves a source to streams. All methods run on the event loop's thread."""

    def __init__(
        self,
        source: Source,
        admit: Admit,
        *,
        clock: Clock | None = None,
        timing: Timing | None = None,
        limits: Limits | None = None,
        stream_limits: StreamLimits | None = None,
        writers: int = 100,
        on_rejection: Callable[[Rejection], None] | None = None,
        on_leave: Callable[[str], None] | None = None,
        on_complete: Callable[[Publication], None] | None = None,
    ) -> None:
        self._admit = admit
        self._clock = clock or SystemClock()
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self._stream_limits = stream_limits or StreamLimits()
        self._writers = writers
        self._on_rejection = on_rejection
        self._on_leave = on_leave
        self._on_complete = on_complete
        self._catalog = Catalog(source)
        self._encoder = Encoder()
        self._buckets = PeerBuckets(self._limits)
        self._numbers = count(1)
        self._clients: dict[int, Client] = {}
        self._streams: Counter[str] = Counter()
        self._groups: dict[Group, dict[int, Client]] = {}
        self._ready: deque[Client] = deque()
        self._work = asyncio.Semaphore(0)
        self._timers: list[tuple[float, int]] = []
        self._timers_changed = asyncio.Event()
        self._publications = Publications()
        self._completion = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.statistics = Statistics()

    # Publishing

    def publish(
        self, changes: Iterable[Change], revision: int, rescoped: Iterable[Group] = ()
    ) -> Publication:
        """The source has new content already; tell the streams that it concerns.

        ``rescoped`` are groups whose layers are others now. Never blocks: the writers send.
        ``on_complete`` hears of the publication as soon as it waits for nobody, maybe before this
        returns.
        """
        now = self._clock.monotonic()
        concerned = self._catalog.publish(changes)
        touched: dict[int, Client] = {}
        for group, relevant in concerned.items():
            for client in self._groups.get(group, {}).values():
                if client.machine.concerned(relevant):
                    touched[client.number] = client
                    self._enqueue(client, Published())
        for group in rescoped:
            members = self._groups.get(group)
            if not members:
                continue
            rescopes = self._catalog.rescope(group)
            if not rescopes:
                continue
            for client in members.values():
                touched[client.number] = client
                self._enqueue(client, Rescoped(rescopes))
        publication = self._publications.begin(
            revision,
            self._catalog.generation,
            now,
            ((number, client.machine.admission.client_id) for number, client in touched.items()),
        )
        self.statistics.publications += 1
        if self._catalog.generation % _TRIM_EVERY == 0:
            self._trim()
        log.debug("xds.published", revision=revision, clients=len(touched))
        self._completed([] if publication.waiting else [publication])
        return publication

    def _trim(self) -> None:
        for client in self._clients.values():
            client.machine.collect()
        self._catalog.trim(min((c.machine.seen() for c in self._clients.values()), default=0))

    @property
    def revision(self) -> int:
        """The latest published revision."""
        return self._publications.revision

    async def wait_acknowledged(self, revision: int, timeout_seconds: float) -> Distribution:
        """Wait until every client that the revision concerns has answered, or the time is up."""

        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    publication = self._publications.find(revision)
                    if publication is not None and not publication.waiting:
                        break
                    await self._completion.wait()
        except TimeoutError:
            pass
        return self.distribution(revision)

    def distribution(self, revision: int) -> Distribution:
        """How far the revision has come by now; concerns nobody if it was not published yet."""
        publication = self._publications.find(revision)
        if publication is None:
            return Distribution(0, 0, (), (), 0.0)
        return publication.distribution(self._clock.monotonic())

    def clients(self) -> tuple[ClientStatus, ...]:
        """Who is connected and what each has, ordered by client id."""
        statuses = [
            client_status(client.machine, client.peer, client.since)
            for client in self._clients.values()
        ]
        return tuple(sorted(statuses, key=lambda status: status.client_id))

    def is_connected(self, client_id: str) -> bool:
        """Whether it has a stream now."""
        return any(c.machine.admission.client_id == client_id for c in self._clients.values())

    # Streams

    async def serve(self, peer: Peer, protocol: Protocol, read: Read, write: Write) -> None:
        """Carry one stream until the peer ends it. Raises ``StreamRefusedError`` when we do."""
        client, request = await self._first(peer, protocol, read, write)
        bucket = TokenBucket(
            self._limits.requests, self._limits.requests_burst, self._clock.monotonic()
        )
        try:
            while True:
                await self._deliver(client, request)
                if client.refusal is not None:
                    # It is told before what has come already is read, or the peer's end is.
                    await asyncio.sleep(0)
                raw = await read()
                if raw is None:
                    return
                if not bucket.take(self._clock.monotonic()):
                    self._close(client, Refusal("too many requests", _EXHAUSTED))
                request = Received(_decode(protocol, raw)[0])
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if client.refusal is None or task is None:
                raise
            task.uncancel()
            raise StreamRefusedError(client.refusal) from None
        finally:
            self._leave(client)

    async def _first(
        self, peer: Peer, protocol: Protocol, read: Read, write: Write
    ) -> tuple[Client, Received]:
        limits = self._limits
        now = self._clock.monotonic()
        host = peer.address.rpartition(":")[0]
        name = f"{peer.identities[0]} {host}" if peer.identities else host
        if self._stopping.is_set():
            raise self._refused(peer, Refusal("shutting down", RefusalKind.UNAVAILABLE))
        if not self._buckets.take(name, now):
            text = "too many new streams from this peer"
            raise self._refused(peer, Refusal(text, _EXHAUSTED))
        try:
            async with asyncio.timeout(limits.first_request_seconds):
                raw = await read()
        except TimeoutError:
            text = f"no request within {limits.first_request_seconds:g} s"
            raise self._refused(peer, Refusal(text, RefusalKind.DEADLINE_EXCEEDED)) from None
        if raw is None:
            raise self._refused(peer, Refusal("no request", RefusalKind.INVALID_ARGUMENT))
        if len(raw) > limits.first_request_bytes:
            text = f"the first request has {len(raw)} bytes, {limits.first_request_bytes} may be"
            raise self._refused(peer, Refusal(text, _EXHAUSTED))
        request, node = _decode(protocol, raw)
        if not node or len(node) > limits.node_bytes:
            text = f"the first request needs a node of at most {limits.node_bytes} bytes"
            raise self._refused(peer, Refusal(text, RefusalKind.INVALID_ARGUMENT))
        match self._admit(peer, node):
            case Refusal() as refusal:
                raise self._refused(peer, refusal)
            case Admission() as admission:
                if self._streams[admission.client_id] >= limits.streams:
                    text = f"{admission.client_id} has {limits.streams} streams already"
                    raise self._refused(peer, Refusal(text, _EXHAUSTED))
                client = self._join(admission, peer, protocol, write)
                return client, Received(request)

    def _refused(self, peer: Peer, refusal: Refusal) -> StreamRefusedError:
        self.statistics.refused += 1
        log.warning(
            "xds.refused", peer=peer.address, identities=peer.identities, reason=refusal.message
        )
        return StreamRefusedError(refusal)

    def _join(self, admission: Admission, peer: Peer, protocol: Protocol, write: Write) -> Client:
        machine = AdsStream(
            protocol, admission, self._catalog, self._encoder, self._timing, self._stream_limits
        )
        client = Client(next(self._numbers), machine, peer, write, self._clock.monotonic())
        client.reader = asyncio.current_task()
        self._clients[client.number] = client
        self._streams[admission.client_id] += 1
        self._groups.setdefault(admission.group, {})[client.number] = client
        self.statistics.streams += 1
        self.statistics.connected = len(self._clients)
        log.info("xds.connected", client=admission.client_id, protocol=protocol.value)
        return client

    def _leave(self, client: Client) -> None:
        del self._clients[client.number]
        group = client.machine.admission.group
        members = self._groups[group]
        del members[client.number]
        if not members:
            del self._groups[group]
            self._catalog.forget(group)
        self.statistics.connected = len(self._clients)
        self._completed(self._publications.leave(client.number, self._clock.monotonic()))
        client_id = client.machine.admission.client_id
        self._streams[client_id] -= 1
        if not self._streams[client_id]:
            del self._streams[client_id]
        log.info("xds.disconnected", client=client_id)
        if self._on_leave is not None:
            self._on_leave(client_id)

    # Moving bytes

    async def run(self) -> None:
        """Push and keep time until ``stop`` is called."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._write_pushes()) for _ in range(self._writers)]
            running.append(tasks.create_task(self._keep_time()))
            await self._stopping.wait()
            for task in running:
                task.cancel()

    async def stop(self, drain_seconds: float = 2.0) -> None:
        """Let pushes under way end, then end every stream so that its client goes elsewhere."""
        try:
            async with asyncio.timeout(drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("xds.undelivered", clients=len(self._ready))
        self._stopping.set()
        for client in list(self._clients.values()):
            self._close(client, Refusal("shutting down", RefusalKind.UNAVAILABLE))

    def _enqueue(self, client: Client, event: Event) -> None:
        if event not in client.events:
            client.events.append(event)
        if not client.queued:
            client.queued = True
            client.queued_at = self._clock.monotonic()
            self._idle.clear()
            self._ready.append(client)
            self._work.release()

    async def _write_pushes(self) -> None:
        while True:
            await self._work.acquire()
            client = self._ready.popleft()
            client.queued = False
            self.statistics.queue.observe(self._clock.monotonic() - client.queued_at)
            if not client.lock.locked():
                await self._deliver(client)
            # Otherwise its reader is at it, and takes the events with it when it is done.
            if not self._ready:
                self._idle.set()

    async def _deliver(self, client: Client, event: Event | None = None) -> None:
        async with client.lock:
            events = [*client.events] if event is None else [*client.events, event]
            client.events.clear()
            for one in events:
                if client.refusal is not None or client.number not in self._clients:
                    return
                began = self._clock.monotonic()
                await self._carry_out(client, client.machine.handle(one, began), began)
        if client.events:
            self._enqueue(client, client.events[0])

    async def _carry_out(self, client: Client, commands: list[Command], began: float) -> None:
        for command in commands:
            match command:
                case Send(response):
                    size, now = len(response.body), self._clock.monotonic()
                    self.statistics.pushed(response.type_url, size)
                    self._publications.sent(client.number, response.type_url, size, now)
                    await self._write(client, response.body)
                    now = self._clock.monotonic()
                    self.statistics.written(response.type_url, now - began)
                    began = now
                case Wake(at):
                    self._wake(client, at)
                case Acknowledged(type_url, seconds):
                    self.statistics.acknowledged[type_url] += 1
                    self.statistics.acknowledgement.observe(seconds)
                    self._answered(client, type_url, seconds)
                case Refused(type_url, seconds, rejection):
                    self.statistics.rejected[type_url] += 1
                    self._answered(client, type_url, seconds, refused=True)
                    if rejection is not None:
                        self._rejected(client, rejection)
                case Close(kind, message):
                    self._close(client, Refusal(message, kind))
                case _:
                    assert_never(command)
        now = self._clock.monotonic()
        answered = self._publications.progress(client.number, client.machine.acknowledged(), now)
        for publication in answered:
            self.statistics.client_convergence.observe(now - publication.at)
        self._completed([one for one in answered if not one.waiting])

    def _answered(
        self, client: Client, type_url: str, seconds: float, *, refused: bool = False
    ) -> None:
        now = self._clock.monotonic()
        self._publications.answered(client.number, type_url, now, seconds, refused=refused)

    async def _write(self, client: Client, body: bytes) -> None:
        if client.refusal is not None:
            return
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await client.write(body)
            self.statistics.write.observe(self._clock.monotonic() - began)
        except TimeoutError:
            self.statistics.slow_writes += 1
            text = f"the client did not read for {self._limits.write_seconds:g} s"
            self._close(client, Refusal(text, RefusalKind.DEADLINE_EXCEEDED))
        except ConnectionError as error:
            # Its reader learns the same and ends the stream.
            log.debug(
                "xds.write_failed", client=client.machine.admission.client_id, error=str(error)
            )

    def _rejected(self, client: Client, rejection: Rejection) -> None:
        self._publications.reject(client.number, rejection)
        log.warning(
            "xds.rejected",
            client=rejection.client_id,
            type=short_name(rejection.type_url),
            resources=[one.name for one in rejection.resources],
            error=rejection.error,
        )
        if self._on_rejection is not None:
            self._on_rejection(rejection)

    def _completed(self, publications: list[Publication]) -> None:
        if not publications:
            return
        for publication in publications:
            if publication.last:
                self.statistics.convergence.observe(publication.last - publication.at)
            if self._on_complete is not None:
                self._on_complete(publication)
        self._completion.set()
        self._completion = asyncio.Event()

    def _close(self, client: Client, refusal: Refusal) -> None:
        if client.refusal is not None:
            return
        client.refusal = refusal
        log.info("xds.closed", client=client.machine.admission.client_id, reason=refusal.message)
        if client.reader is not None:
            client.reader.cancel()

    def _wake(self, client: Client, at: float) -> None:
        if client.wake_at is not None and client.wake_at <= at:
            return
        client.wake_at = at
        heapq.heappush(self._timers, (at, client.number))
        self._timers_changed.set()

    async def _keep_time(self) -> None:
        while True:
            now = self._clock.monotonic()
            while self._timers and self._timers[0][0] <= now:
                at, number = heapq.heappop(self._timers)
                client = self._clients.get(number)
                if client is not None and client.wake_at == at:
                    client.wake_at = None
                    self._enqueue(client, TimePassed())
            self._timers_changed.clear()
            delay = self._timers[0][0] - now if self._timers else None
            try:
                async with asyncio.timeout(delay):
                    await self._timers_changed.wait()
            except TimeoutError:
                pass


def _decode(protocol: Protocol, raw: bytes) -> tuple[Request, bytes]:
    try:
        return decode(protocol, raw)
    except MalformedRequestError as error:
        raise StreamRefusedError(Refusal(str(error), RefusalKind.INVALID_ARGUMENT)) from error
