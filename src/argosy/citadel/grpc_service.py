"""``istio.v1.auth.IstioCertificateService`` on grpc.aio: certificates for agents of any kind.

A caller proves itself by a workload token (``authorization: Bearer ...``) or by its present certificate.
Before either is looked at, a request's size and each address's rate are bounded.
https://github.com/istio/api/blob/master/security/v1alpha1/ca.proto
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import grpc
import structlog
from cryptography import x509
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.message import DecodeError, Message

from argosy.base.clock import Clock
from argosy.citadel.limit import RateLimit
from argosy.citadel.refusal import RefusedError
from argosy.citadel.service import CertificateService
from argosy.xds.grpc_service import peer

SERVICE = "istio.v1.auth.IstioCertificateService"
METHOD = "CreateCertificate"
MAXIMUM_SIZE = 65_536
"""Bytes of a request: a signing request and its metadata take a few thousand."""

CALLS_AT_ONCE = 64
CALLS_PER_ADDRESS = 50
"""What one address may ask at once, proved or not ..."""

CALL_INTERVAL = 0.2
"""... and then one each so many seconds."""

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAXIMUM_SIZE),
    ("grpc.max_metadata_size", 16_384),
    ("grpc.max_concurrent_streams", CALLS_AT_ONCE),
    ("grpc.so_reuseport", 0),
)

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_IMPERSONATED = "ImpersonatedIdentity"
_SIGNER = "CertSigner"
_log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


def _messages() -> tuple[type[Message], type[Message]]:
    """The classes of request and response, in a pool of their own."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="security/v1alpha1/ca.proto",
        package="istio.v1.auth",
        syntax="proto3",
        dependency=["google/protobuf/struct.proto"],
    )
    field = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="IstioCertificateRequest").field
    request.add(name="csr", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    request.add(
        name="validity_duration", number=3, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL
    )
    request.add(
        name="metadata",
        number=4,
        type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
        label=field.LABEL_OPTIONAL,
    )
    response = file.message_type.add(name="IstioCertificateResponse").field
    response.add(name="cert_chain", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool.AddSerializedFile(file.SerializeToString())
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return (
        found["istio.v1.auth.IstioCertificateRequest"],
        found["istio.v1.auth.IstioCertificateResponse"],
    )


CertificateRequest, CertificateResponse = _messages()


class CertificateApi:
    """The method, for any gRPC server: ``handler`` carries it."""

    def __init__(self, issuing: CertificateService, clock: Clock) -> None:
        self._issuing = issuing
        self._clock = clock
        self._limit = RateLimit(CALLS_PER_ADDRESS, CALL_INTERVAL)

    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """No serializers: the size is looked at before anything is parsed."""
        method = grpc.unary_unary_rpc_method_handler(self._create, None, None)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})

    async def answer(
        self,
        body: bytes,
        address: str,
        token: str,
        certificates: Sequence[x509.Certificate],
    ) -> bytes:
        """A serialized response to a serialized request. Raises ``RefusedError`` and nothing else."""
        wait = self._limit.admit(address, self._clock.monotonic())
        if wait:
            raise RefusedError(429, f"too many requests from {address}: wait {wait:.1f} s")
        if len(body) > MAXIMUM_SIZE:
            raise RefusedError(400, f"the request is larger than {MAXIMUM_SIZE} bytes")
        request: Any = CertificateRequest()
        try:
            request.ParseFromString(body)
        except DecodeError:
            raise RefusedError(400, "the request is no IstioCertificateRequest") from None
        chain = await self._issuing.issue(
            request.csr,
            token or certificates,
            lifetime=_lifetime(request.validity_duration),
            impersonated=_text(request.metadata, _IMPERSONATED),
            signer=_text(request.metadata, _SIGNER),
        )
        response: bytes = CertificateResponse(cert_chain=chain).SerializeToString()
        return response

    async def _create(self, body: bytes, context: Context) -> bytes:
        address = context.peer().rpartition(":")[0]
        try:
            return await self.answer(body, address, _bearer(context), _certificates(context))
        except RefusedError as error:
            _log.info("certificate.refused", address=address, reason=error.message)
            await context.abort(_CODES[error.code], error.message)
            raise AssertionError("abort raises") from error


class CertificateServer:
    """A server of its own, for callers that have no certificate yet: TLS, and tokens inside."""

    def __init__(self, api: CertificateApi) -> None:
        self._api = api
        self._grpc: grpc.aio.Server | None = None

    async def start(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Listen on ``host:port``; returns the port, chosen free when it was 0."""
        self._grpc = grpc.aio.server(options=list(OPTIONS), maximum_concurrent_rpcs=CALLS_AT_ONCE)
        self._grpc.add_generic_rpc_handlers((self._api.handler(),))
        port = self._grpc.add_secure_port(address, credentials)
        await self._grpc.start()
        _log.info("certificate-service.listening", address=address, port=port)
        return port

    async def stop(self, grace_seconds: float = 1.0) -> None:
        if self._grpc is not None:
            await self._grpc.stop(grace_seconds)


def _certificates(context: Context) -> tuple[x509.Certificate, ...]:
    """What the peer showed in the handshake, its own first; nothing when it showed none."""
    shown = peer(context).certificate_pem
    try:
        return tuple(x509.load_pem_x509_certificates(shown)) if shown else ()
    except ValueError as error:
        raise RefusedError(401, "the client's certificate cannot be read") from error


def _bearer(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                return token.strip()
    return ""


def _lifetime(seconds: int) -> timedelta | None:
    """Of any 64-bit number: what no ``timedelta`` holds is as good as its largest."""
    if seconds <= 0:
        return None
    return timedelta(seconds=min(seconds, 10**10))


def _text(metadata: struct_pb2.Struct, name: str) -> str:
    if name not in metadata.fields:
        return ""
    value = metadata.fields[name]
    if value.WhichOneof("kind") != "string_value":
        raise RefusedError(400, f"metadata {name} is not a text")
    return str(value.string_value)
