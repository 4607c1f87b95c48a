"""Spans by HTTP/1.1 over mutual TLS: OTLP at ``/v1/traces``, Zipkin at ``/api/v2/spans``.

For proxies whose provider speaks HTTP, and for applications, whose sidecars add the TLS. h11 knows
the protocol; this file moves bytes, and bounds connections, their time, and bodies. Whatever comes, it
costs its sender's connection at the most.
"""

import asyncio
import os
import socket
import ssl
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11
import structlog

from argosy import xds

MAX_BODY_BYTES = 4 << 20
"""Of a request, and of what it is when it is unpacked."""

MAX_READ_BYTES = 64 << 20
"""Of all bodies that are being read; whoever needs more is told to come again."""

MAX_READ_BYTES_OF_ADDRESS = 16 << 20
"""The same, of one sender."""

MAX_CONNECTIONS = 2_000
MAX_CONNECTIONS_OF_ADDRESS = 64
"""An Envoy has one for each worker and provider."""

_HANDSHAKE_SECONDS = 5.0
_IDLE_SECONDS = 300.0
_READ_BYTES = 64 << 10
_PAUSE_SECONDS = 0.1
"""After a connection that could not be accepted: there are no descriptors left, perhaps."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Posted:
    """``certificate`` is the sender's, in PEM. ``content_type`` is without parameters."""

    certificate: bytes
    path: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "text/plain"


_TOO_LARGE = Answer(413, f"the limit is {MAX_BODY_BYTES} bytes, unpacked".encode())
_BUSY = Answer(503, b"too much is being read: come again")
_OUR_BUG = Answer(500, b"internal error")


@dataclass(slots=True)
class _Body:
    """What has been read of a request's, from ``address``."""

    content: bytearray
    address: str


class HttpIntake:
    """``credentials`` gives those of the moment, ``take`` answers what was posted.

    ``failed`` counts what ``take`` had no answer for, ``turned_away`` connections of addresses that
    have too many.
    """

    def __init__(
        self,
        credentials: Callable[[], xds.Credentials],
        take: Callable[[Posted], Awaitable[Answer]],
    ) -> None:
        self._credentials = credentials
        self._take = take
        self._held: tuple[xds.Credentials, ssl.SSLContext] | None = None
        self._being_read: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()
        self.failed = 0
        self.turned_away = 0

    @property
    def connections(self) -> int:
        return self._connections.total()

    @property
    def bytes_being_read(self) -> int:
        return self._being_read.total()

    async def serve(self, listener: socket.socket) -> None:
        """Until cancelled. ``listener`` is closed in the end."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        free = asyncio.Semaphore(MAX_CONNECTIONS)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await free.acquire()
                    try:
                        connection, (address, *_) = await loop.sock_accept(listener)
                    except OSError as error:
                        free.release()
                        log.warning("spans.not_accepted", error=str(error))
                        await asyncio.sleep(_PAUSE_SECONDS)
                        continue
                    task = tasks.create_task(self._guarded(connection, address))
                    task.add_done_callback(lambda _: free.release())
        finally:
            listener.close()

    async def _guarded(self, connection: socket.socket, address: str) -> None:
        """Within the address' share; what goes wrong ends this connection alone."""
        self._connections[address] += 1
        try:
            if self._connections[address] > MAX_CONNECTIONS_OF_ADDRESS:
                connection.close()
                self._refused(address)
            else:
                await self._connection(connection, address)
        except Exception as error:
            log.error("spans.failed", address=address, exc_info=error)
        finally:
            self._connections[address] -= 1
            if not self._connections[address]:
                del self._connections[address]

    def _refused(self, address: str) -> None:
        self.turned_away += 1
        if self.turned_away.bit_count() == 1:  # with each doubling
            log.warning("spans.too_many_connections", address=address, refused=self.turned_away)

    def _context(self) -> ssl.SSLContext:
        found = self._credentials()
        if self._held is None or self._held[0] != found:
            self._held = found, _server_context(found)
        return self._held[1]

    async def _connection(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            )
        except (OSError, ssl.SSLError) as error:
            log.info("spans.handshake_failed", error=str(error))
            connection.close()
            return
        except Exception:
            connection.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._exchange(reader, writer, address)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            log.info("spans.connection_failed", error=str(error) or type(error).__name__)
        finally:
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        """Requests, one after the other, until the client has enough."""
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        certificate = ssl.DER_cert_to_PEM_cert(found).encode()
        machine = h11.Connection(h11.SERVER)
        while True:
            body = _Body(bytearray(), address)
            try:
                request, refused = await self._read(machine, body, reader, writer)
                if request is None:
                    return
                answer = refused or await self._answer(request, bytes(body.content), certificate)
            finally:
                self._being_read[address] -= len(body.content)
                self._being_read += Counter()  # without those of which nothing is left
            await _send(machine, writer, answer)
            if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE:
                return
            machine.start_next_cycle()

    async def _read(
        self,
        machine: h11.Connection,
        body: _Body,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[h11.Request | None, Answer | None]:
        """A request, its body into ``body``; None at the end. And why it is not wanted."""
        request: h11.Request | None = None
        async with asyncio.timeout(_IDLE_SECONDS):
            while True:
                event = machine.next_event()
                if event is h11.NEED_DATA:
                    if machine.they_are_waiting_for_100_continue:
                        go_on = h11.InformationalResponse(status_code=100, headers=[])
                        writer.write(machine.send(go_on) or b"")
                    machine.receive_data(await reader.read(_READ_BYTES))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body.content += event.data
                    self._being_read[body.address] += len(event.data)
                    if len(body.content) > MAX_BODY_BYTES:
                        return request, _TOO_LARGE
                    if (
                        self._being_read[body.address] > MAX_READ_BYTES_OF_ADDRESS
                        or self.bytes_being_read > MAX_READ_BYTES
                    ):
                        return request, _BUSY
                elif isinstance(event, h11.EndOfMessage):
                    return request, None
                else:  # the connection is closed, or what follows is not HTTP
                    return None, None

    async def _answer(self, request: h11.Request, body: bytes, certificate: bytes) -> Answer:
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        if request.method != b"POST":
            return Answer(405, b"spans are posted")
        plain = _unpacked(body, headers.get("content-encoding", ""))
        if plain is None:
            return _TOO_LARGE
        path = request.target.decode("latin-1").partition("?")[0]
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            return await self._take(Posted(certificate, path, content_type, plain))
        except Exception as error:
            self.failed += 1
            log.error("spans.not_taken", path=path, exc_info=error)
            return _OUR_BUG


async def _send(machine: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
    ]
    if machine.their_state is not h11.DONE:
        headers.append(("connection", "close"))  # what is left of the request is not read
    head = machine.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    body = machine.send(h11.Data(data=answer.body)) or b""
    end = machine.send(h11.EndOfMessage()) or b""
    writer.write(head + body + end)
    async with asyncio.timeout(_HANDSHAKE_SECONDS):
        await writer.drain()


def _unpacked(body: bytes, encoding: str) -> bytes | None:
    """None when it is too large. What is not packed as it says is left to the decoder to refuse."""
    if encoding.strip().lower() not in ("gzip", "deflate"):
        return body
    unpacking = zlib.decompressobj(wbits=47)  # gzip or zlib, as its head says
    try:
        plain = unpacking.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        return body
    return plain if len(plain) <= MAX_BODY_BYTES else None


def _server_context(credentials: xds.Credentials) -> ssl.SSLContext:
    """Clients must show a certificate that the mesh's roots stand for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.roots.decode())
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads a key from files only: this one is in memory, and has no name.
    descriptor = os.memfd_create("chain", os.MFD_CLOEXEC)
    with open(descriptor, "w+b") as file:
        file.write(credentials.key + credentials.chain)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context
