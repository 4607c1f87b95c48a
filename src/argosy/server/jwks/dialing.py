"""Connections to where keys are: names are resolved here, judged, and what was judged is dialled."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpcore

from argosy.server.jwks.addresses import Address, AddressRules, get_address
from argosy.server.jwks.reach import Reach

MAX_ADDRESSES = 4
"""How many addresses of a name are tried."""

Endpoint = tuple[str, int]
"""An address and a port."""


class RefusedError(OSError):
    """The address may not be dialled; the text says why."""


T = TypeVar("T")

MeshLookup = Callable[[str, int], tuple[Endpoint, ...] | None]
"""Who answers for a host and port of the mesh: pods. None: it is no host of the mesh."""


@dataclass(frozen=True, slots=True)
class GuardedBackend(httpcore.AsyncNetworkBackend):
    """For httpcore, which asks it for every connection, those after redirects too."""

    rules: AddressRules
    reach: Reach
    in_mesh: MeshLookup

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's interface)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises httpcore.ConnectError; its cause says why."""
        try:
            async with asyncio.timeout(timeout):
                return await _stream(await self._connected(host, port))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host}:{port} in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def _connected(self, host: str, port: int) -> socket.socket:
        last: OSError = OSError(f"{host} has no address")
        for address, at in await self._judged(host, port):
            try:
                return await self.reach.dial(address, at)
            except OSError as error:
                last = OSError(f"{address}:{at} does not answer: {error.strerror or error}")
        raise last

    async def _judged(self, host: str, port: int) -> list[Endpoint]:
        """Where to dial. One address that is refused is enough: the name is not to be trusted."""
        found = self.in_mesh(host, port)
        if found is None:
            literal = get_address(host)
            names = (host,) if literal is not None else await self.reach.resolve(host)
            found = tuple((name, port) for name in names)
        elif not found:
            raise OSError(f"no pod of {host} is ready on port {port}")
        judged: list[Endpoint] = []
        for text, at in found:
            address: Address | None = get_address(text.partition("%")[0])
            if address is None:
                raise RefusedError(f"{text} is not an address")
            reason = self.rules.refusal(host, address)
            if reason:
                raise RefusedError(reason)
            judged.append((str(address), at))
        return judged[:MAX_ADDRESSES]


async def _stream(sock: socket.socket) -> "_Stream":
    try:
        reader, writer = await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    return _Stream(reader, writer)


class _Stream(httpcore.AsyncNetworkStream):
    """asyncio's streams as httpcore wants them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's interface)
    ) -> bytes:
        return await _bounded(
            self._reader.read(max_bytes), timeout, httpcore.ReadTimeout, httpcore.ReadError
        )

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's interface)
    ) -> None:
        self._writer.write(buffer)
        await _bounded(self._writer.drain(), timeout, httpcore.WriteTimeout, httpcore.WriteError)

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's interface)
    ) -> httpcore.AsyncNetworkStream:
        handshake = self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        await _bounded(handshake, timeout, httpcore.ConnectTimeout, httpcore.ConnectError)
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._reader.at_eof()
        return self._writer.get_extra_info(info)


async def _bounded(
    work: Awaitable[T],
    seconds: float | None,
    late: type[Exception],
    broken: type[Exception],
) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error
