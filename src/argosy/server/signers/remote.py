"""An authority elsewhere that speaks ``istio.v1.auth.IstioCertificateService`` over TLS.

The control plane is a registration authority then: it has authenticated the workload, and passes its
request on. https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-CA
"""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from argosy.citadel.forwarding import LARGEST_ANSWER
from argosy.citadel.grpc_service import (
    METHOD,
    SERVICE,
    CertificateRequest,
    CertificateResponse,
)
from argosy.citadel.refusal import RefusedError
from argosy.model.signing import ExternalAuthority, ServerTrust
from argosy.platforms.local import relay

Dial = Callable[[str, int], Awaitable[socket.socket]]
"""A connected socket to a host and port. Raises OSError."""

_LARGEST_FILE = 1 << 20
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 502,
    grpc.StatusCode.PERMISSION_DENIED: 502,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


async def ask(
    authority: ExternalAuthority, csr: str, lifetime: timedelta, dial: Dial
) -> Sequence[str]:
    """What it answers, PEM. Raises ``RefusedError``."""
    where = f"the certificate authority {authority.host}:{authority.port}"
    try:
        credentials = await asyncio.to_thread(_credentials, authority.tls)
    except OSError as error:
        raise RefusedError(502, f"{where} is not asked: {error}") from error
    request: Any = CertificateRequest(csr=csr, validity_duration=int(lifetime.total_seconds()))
    answer = await _through_tunnel(authority, credentials, request.SerializeToString(), dial)
    if isinstance(answer, _Failure):
        raise RefusedError(answer.code, f"{where} did not sign: {answer.why[:300]}")
    try:
        response: Any = CertificateResponse.FromString(answer)
    except DecodeError as error:
        raise RefusedError(502, f"{where} answers nonsense") from error
    return tuple(response.cert_chain)


@dataclass(frozen=True, slots=True)
class _Failure:
    code: int
    why: str


async def _through_tunnel(
    authority: ExternalAuthority, credentials: grpc.ChannelCredentials, body: bytes, dial: Dial
) -> bytes | _Failure:
    """gRPC dials by itself, and from inside the mesh's own network: so it dials a socket of ours.

    Bytes pass unread; TLS is between gRPC and the authority.
    """
    unreachable: list[str] = []

    async def onwards(_accepted: socket.socket) -> socket.socket:
        try:
            return await dial(authority.host, authority.port)
        except OSError as error:
            unreachable[:] = [str(error)]
            raise

    async with _private_listener() as (listener, path), asyncio.TaskGroup() as tasks:
        relaying = tasks.create_task(relay.serve(listener, onwards))
        answer = await _call(authority, credentials, body, f"unix:{path}")
        relaying.cancel()
    if isinstance(answer, _Failure) and unreachable:
        return _Failure(answer.code, unreachable[0])
    return answer


@asynccontextmanager
async def _private_listener() -> AsyncIterator[tuple[socket.socket, Path]]:
    """A listening UNIX socket that nobody else can reach, with its path; gone afterwards."""
    directory = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="argosy-ca-")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            path = Path(directory.name) / "s"
            await asyncio.to_thread(listener.bind, str(path))
            listener.listen(2)
            yield listener, path
    finally:
        await asyncio.to_thread(directory.cleanup)


async def _call(
    authority: ExternalAuthority, credentials: grpc.ChannelCredentials, body: bytes, target: str
) -> bytes | _Failure:
    options = (
        ("grpc.ssl_target_name_override", authority.tls.name),
        ("grpc.default_authority", authority.tls.name),
        ("grpc.max_receive_message_length", LARGEST_ANSWER),
        ("grpc.enable_retries", 0),
    )
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}", None, None)
        try:
            answer: bytes = await call(body, timeout=authority.timeout.total_seconds())
        except grpc.aio.AioRpcError as error:
            code = _REFUSALS.get(error.code(), 502)
            return _Failure(code, error.details() or error.code().name)
    return answer


def _credentials(tls: ServerTrust) -> grpc.ChannelCredentials:
    """Files are read each time: they may have been renewed. Raises OSError."""
    return grpc.ssl_channel_credentials(
        _read(tls.roots) if tls.roots else None,
        _read(tls.key) if tls.key else None,
        _read(tls.certificate) if tls.certificate else None,
    )


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_LARGEST_FILE)
