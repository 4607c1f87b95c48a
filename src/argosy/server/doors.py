"""The control plane's HTTP doors: for the mesh's owner, for holders of tokens, for workloads.

A UNIX socket and TLS lead to the API (ADR 023), mutual TLS to the metrics. All speak HTTP/1.1 by h11, which bounds the head of a request. Here is what is refused before
anybody has said who he is.
"""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from cryptography import x509
from uvicorn.protocols.http.h11_impl import H11Protocol

from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import Credential
from argosy.platforms.local.state import private_socket

HEAD_SECONDS = 10.0
"""How long a client may take until the head of its request is there."""

MAX_HEAD_BYTES = 32 * 1024
MAX_CONNECTIONS = 256
"""Of the TLS door. Watches keep theirs."""

_UCRED = struct.Struct("3i")
log = structlog.get_logger()


class OwnerProtocol(H11Protocol):
    """Serves processes of the user who runs the mesh, and of root; the socket's mode says the same.

    The kernel says who has connected (SO_PEERCRED, unix(7)), also where the socket's mode was
    changed or its descriptor was handed on. A token is needed all the same.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, user, _ = _UCRED.unpack(credentials)
        if not is_owner(user, os.geteuid()):
            log.warning("api.refused", pid=pid, user=user)
            transport.abort()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            super().connection_lost(exc)


def is_owner(user: int, owner: int) -> bool:
    return user in (0, owner)


class GuardedProtocol(H11Protocol):
    """For clients of whom nothing is known: few at once, and none that keeps a connection unused."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if len(self.connections) >= MAX_CONNECTIONS:
            log.warning("api.full", connections=len(self.connections))
            transport.abort()
            return
        super().connection_made(transport)
        self._wait_for_a_head()

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            return
        super().data_received(data)
        if self._is_asked():
            self._stop_waiting()
        elif self._late is None:
            self._wait_for_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self.transport is not None:
            super().connection_lost(exc)

    def _is_asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_a_head(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self._is_asked():
            self.transport.abort()


Authenticate = Callable[[Sequence[x509.Certificate]], object]


class MemberProtocol(GuardedProtocol):
    """For workloads of the mesh: ``authenticate`` gets the certificates that TLS has verified, the
    client's own first, and raises RefusedError."""

    def __init__(self, authenticate: Authenticate, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._authenticate = authenticate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        try:
            self._authenticate(_shown(transport.get_extra_info("ssl_object")))
        except (RefusedError, ValueError) as error:
            log.warning("metrics.refused", reason=str(error))
            transport.abort()
            return
        super().connection_made(transport)


def _shown(connection: Any) -> list[x509.Certificate]:
    """All that the client sent; from Python 3.13 on ``ssl.SSLObject`` has it by a public name."""
    chain = connection._sslobj.get_unverified_chain()
    return [x509.load_pem_x509_certificate(one.public_bytes().encode()) for one in chain]


class Door(uvicorn.Server):
    """Leaves signals to the process."""

    def __init__(
        self,
        app: object,
        protocol: Callable[..., H11Protocol],
        context: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]  # an ASGI application
            http=protocol,  # type: ignore[arg-type]  # uvicorn calls it, no more
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = context
        super().__init__(config)

    def install_signal_handlers(self) -> None:
        """The process has its own."""


class OwnerDoor(Door):
    """On a UNIX socket that only its owner can open."""

    def __init__(self, app: object, path: Path) -> None:
        super().__init__(app, OwnerProtocol)
        self._path = path

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen only now: whoever finds the socket finds a control plane that answers."""
        listener = private_socket(self._path)
        try:
            await super().serve(sockets=[listener])
        finally:
            self._path.unlink(missing_ok=True)


class TlsDoor(Door):
    """On a TCP socket of the machine that is listening already."""

    def __init__(self, app: object, listener: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(app, GuardedProtocol, context)
        self._listener = listener

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets=[self._listener])


class MemberDoor(Door):
    """On a TCP address inside the mesh, for clients with a certificate of the mesh."""

    def __init__(
        self,
        app: object,
        address: str,
        context: ssl.SSLContext,
        authenticate: Authenticate,
    ) -> None:
        super().__init__(app, partial(MemberProtocol, authenticate), context)
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self.port = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        with socket.create_server(self._address) as listener:
            self.port = listener.getsockname()[1]
            await super().serve(sockets=[listener])


def tls_context(
    current: Callable[[], Credential], roots: Callable[[], str] | None = None
) -> ssl.SSLContext:
    """A server's, with the certificate that ``current`` gives at each handshake.

    With ``roots`` (PEM) a client needs a certificate that they certify; these too may change.
    """
    held = (current(), roots() if roots else "")
    context = _context(*held)
    latest = (held, context)

    def choose(connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        nonlocal latest
        found = (current(), roots() if roots else "")
        if found != latest[0]:
            latest = (found, _context(*found))
        connection.context = latest[1]

    context.sni_callback = choose
    return context


def _context(credential: Credential, roots: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if roots:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=roots)
        # A resumed session would be one of a certificate that nobody looks at again.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # The key goes through memory: load_cert_chain reads files only.
    pem = bytes(credential.key) + "".join(_without_root(credential.issued.chain)).encode()
    descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context


def _without_root(chain: Sequence[str]) -> Sequence[str]:
    return chain[:-1]
