"""HTTP with what listens inside another network namespace: httpcore over sockets made there."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import httpcore


class AnswerError(Exception):
    """There was no answer, or not one that is wanted; the message says what."""


async def read_from(
    open_socket: Callable[[], socket.socket],
    url: str,
    headers: Mapping[str, str],
    *,
    limit: int,
) -> AsyncIterator[bytes]:
    """The body of what GET ``url`` answers, in pieces. Raises AnswerError, also above ``limit`` bytes.

    The caller bounds the time.
    """
    backend = NamespaceBackend(open_socket)
    wanted = {"Accept-Encoding": "identity", "Connection": "close", **headers}
    try:
        async with (
            httpcore.AsyncConnectionPool(network_backend=backend) as pool,
            pool.stream("GET", url, headers=tuple(wanted.items())) as response,
        ):
            if response.status != 200:
                raise AnswerError(f"{url} answered {response.status}")
            size = 0
            async for piece in response.aiter_stream():
                size += len(piece)
                if size > limit:
                    raise AnswerError(f"{url} answered more than {limit} bytes")
                yield piece
    except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
        raise AnswerError(f"{url}: {error or type(error).__name__}") from error
    except httpcore.ProtocolError as error:
        raise AnswerError(f"{url}: {error}") from error


class NamespaceBackend(httpcore.AsyncNetworkBackend):
    """Connects with sockets that were made in another network namespace."""

    def __init__(self, open_socket: Callable[[], socket.socket]) -> None:
        self._open_socket = open_socket

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the signature is httpcore's)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await _connect(self._open_socket, host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(reader, writer)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AssertionError("only TCP is asked for here")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _connect(
    open_socket: Callable[[], socket.socket], host: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = await asyncio.to_thread(open_socket)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        async with _network_errors(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        async with _network_errors(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def _network_errors(
    seconds: float | None, timed_out: type[Exception], failed: type[Exception]
) -> AsyncIterator[None]:
    """Says asyncio's errors in httpcore's words."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
