"""Clients on running streams: in this process, and over gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from argosy.testing.xds.clients import Client
from argosy.xds import Peer, Server, StreamRefusedError
from argosy.xds import Protocol as XdsProtocol
from argosy.xds.grpc_service import SERVICE


class Connection:
    """A client on a running stream."""

    def __init__(self, client: Client, write: Callable[[bytes], Any]) -> None:
        self.client = client
        self._write = write
        self._lock = asyncio.Lock()
        self._moved = asyncio.Event()

    async def say(self, requests: Iterable[bytes]) -> None:
        """Send requests of the client."""
        async with self._lock:
            for request in requests:
                await self._write(request)

    async def take(self, raw: bytes) -> None:
        """A response came."""
        await self.say(self.client.handle(raw))
        self._moved.set()
        self._moved = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
        """Wait until the condition holds, looking after every response. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                await self._moved.wait()


LOCAL = Peer("memory:1")


@asynccontextmanager
async def in_memory(
    server: Server, client: Client, peer: Peer = LOCAL
) -> AsyncIterator[Connection]:
    """Connect a client to a server in this process, without gRPC."""
    to_server: asyncio.Queue[bytes | None] = asyncio.Queue(10_000)
    to_client: asyncio.Queue[bytes] = asyncio.Queue(10_000)
    connection = Connection(client, to_server.put)

    async def responses() -> None:
        while True:
            await connection.take(await to_client.get())

    async def serve() -> None:
        try:
            await server.serve(peer, client.protocol, to_server.get, to_client.put)
        except StreamRefusedError:
            reading.cancel()

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(responses())
        tasks.create_task(serve())
        await connection.say(client.connect())
        yield connection
        await to_server.put(None)
        reading.cancel()


_METHOD = {
    XdsProtocol.DELTA: f"/{SERVICE}/DeltaAggregatedResources",
    XdsProtocol.SOTW: f"/{SERVICE}/StreamAggregatedResources",
}


@asynccontextmanager
async def over_grpc(
    address: str,
    client: Client,
    credentials: grpc.ChannelCredentials | None = None,
    options: Iterable[tuple[str, Any]] = (),
) -> AsyncIterator[Connection]:
    """Connect a client to a listening server; a connection of its own, as a proxy has.

    Raises ``grpc.aio.AioRpcError`` (in an exception group) when the server ends the stream.
    """
    channel_options = [("grpc.use_local_subchannel_pool", 1), *options]
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=channel_options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=channel_options)
    async with channel:
        open_stream: Any = channel.stream_stream(_METHOD[client.protocol], None, None)
        call = open_stream()

        async def write(request: bytes) -> None:
            try:
                await call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.code()  # the stream has ended; the reading task says how

        connection = Connection(client, write)

        async def responses() -> None:
            async for raw in call:
                await connection.take(raw)

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(responses())
            await connection.say(client.connect())
            yield connection
            reading.cancel()
            call.cancel()
