"""The aggregated discovery service on grpc.aio. Moves raw bytes, decides nothing.

Transport security: mutual TLS with credentials that are read anew for every handshake,
so that a renewed server certificate or an added root is in force for the next connection
without a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import structlog
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from argosy.base.log import Secret
from argosy.xds.server import Server, StreamRefusedError
from argosy.xds.source import Peer, RefusalKind
from argosy.xds.wire import Protocol

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = {
    "DeltaAggregatedResources": Protocol.DELTA,
    "StreamAggregatedResources": Protocol.SOTW,
}

MAX_RECEIVE_BYTES = 64 << 20
"""A reconnecting client sends a version per name: 1.1 MB for 10,000 names; gRPC's default is 4 MB."""

OPTIONS: Sequence[tuple[str, int]] = (
    # With gRPC's defaults (1000, 3000) a burst of connecting proxies is cancelled at random.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 64 << 10),
    # A dead peer is noticed within 40 s; clients may ping every 10 s or more.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
    # A TLS record needs a buffer of its size on each connection, and gRPC's default is 16 KB:
    # with 500 connections this alone saves 10 MB, for 0.5 % more bytes on the wire.
    ("grpc.tsi.max_frame_size", 4096),
)

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_EOF: object = vars(grpc.aio)["EOF"]  # missing in the stubs

_CODES = {
    RefusalKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    RefusalKind.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    RefusalKind.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalKind.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RefusalKind.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    RefusalKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the server shows and whom it believes, all PEM.

    ``roots`` are the authorities of client certificates; a client without one of theirs is
    refused in the handshake.
    """

    key: Secret = field(repr=False)
    chain: bytes
    roots: bytes


def server_credentials(
    current: Callable[[], Credentials], *, require_client: bool = True
) -> grpc.ServerCredentials:
    """Mutual TLS with what ``current`` returns at each handshake; without ``require_client``, TLS.

    ``current`` is called on a thread of gRPC: it must be quick and thread-safe, such as the
    read of an attribute. When it returns what it returned before, nothing is loaded. When it
    fails, the last credentials stay in force.
    """
    latest = current()

    def configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(bytes(credentials.key), credentials.chain)], credentials.roots
        )

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal latest
        credentials = current()
        if credentials == latest:
            return None
        latest = credentials
        return configuration(credentials)

    return grpc.dynamic_ssl_server_credentials(
        configuration(latest),
        fetch,  # type: ignore[arg-type]  # None means "as before"; the stubs do not know
        require_client_authentication=require_client,
    )


class GrpcService:
    """A listening gRPC server that carries streams to a ``Server``."""

    def __init__(
        self, server: Server, beside: Sequence[grpc.GenericRpcHandler[bytes, bytes]] = ()
    ) -> None:
        """``beside`` are other services on the same port."""
        self._server = server
        self._beside = tuple(beside)
        self._grpc: grpc.aio.Server | None = None

    async def start(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Listen on ``host:port``; returns the port, chosen free when it was 0.

        Without credentials the transport is plain text and peers have no identity: for
        tests and loopback alone.
        """
        self._grpc = grpc.aio.server(options=list(OPTIONS))
        self._grpc.add_generic_rpc_handlers((self._handlers(), *self._beside))
        if credentials is None:
            port = self._grpc.add_insecure_port(address)
        else:
            port = self._grpc.add_secure_port(address, credentials)
        await self._grpc.start()
        log.info("xds.listening", address=address, port=port, tls=credentials is not None)
        return port

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """End the streams, then the listening."""
        await self._server.stop()
        if self._grpc is not None:
            await self._grpc.stop(grace_seconds)

    def _handlers(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                # No serializers: raw bytes both ways.
                name: grpc.stream_stream_rpc_method_handler(self._handler(protocol), None, None)
                for name, protocol in METHODS.items()
            },
        )

    def _handler(self, protocol: Protocol) -> Callable[..., Awaitable[None]]:
        async def stream(_requests: object, context: Context) -> None:
            async def read() -> bytes | None:
                message = await context.read()
                return None if message is _EOF else message

            async def write(body: bytes) -> None:
                try:
                    await context.write(body)
                except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
                    raise ConnectionError(str(error)) from error

            try:
                await self._server.serve(peer(context), protocol, read, write)
            except StreamRefusedError as error:
                refusal = error.refusal
                await context.abort(_CODES[refusal.kind], refusal.message)

        return stream


def peer(context: Context) -> Peer:
    """Who is calling, by the TLS handshake alone."""
    found = context.auth_context()
    for pem in found.get("x509_pem_cert", ()):
        # At a server, what gRPC calls the chain lacks the peer's own certificate.
        return Peer(
            context.peer(), uri_names(pem), b"".join((pem, *found.get("x509_pem_cert_chain", ())))
        )
    return Peer(context.peer())


def uri_names(certificate_pem: bytes) -> tuple[str, ...]:
    """The URI subject alternative names of a certificate; none when they cannot be read.

    Read from the certificate itself: gRPC's own list mixes URIs with DNS names, which
    could then pass for one another.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        names = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    assert isinstance(names, x509.SubjectAlternativeName)
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
