"""The certificate service over real TLS on loopback: by token, by certificate, and by neither."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy import xds
from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.grpc_service import (
    CALLS_PER_ADDRESS,
    METHOD,
    SERVICE,
    CertificateApi,
    CertificateRequest,
    CertificateResponse,
    CertificateServer,
)
from argosy.citadel.identity import SpiffeId, identity_of
from argosy.citadel.issuer import self_made
from argosy.citadel.refusal import RefusedError
from argosy.citadel.service import CertificateService
from argosy.citadel.signer import (
    create_intermediate,
    create_root,
    private_pem,
    server_credential,
    sign_workload,
)
from argosy.citadel.tokens import TokenAuthority
from argosy.citadel.trust import Trust

DOMAIN = TrustDomain("cluster.local")
CLOCK = SystemClock()
NAME = "istiod.istio-system.svc"
CURL = SpiffeId.of(DOMAIN, "default", "curl")


class Mesh:
    def __init__(self) -> None:
        root = create_root(DOMAIN, CLOCK.now())
        self.trust = Trust(self_made(create_intermediate(root, DOMAIN, CLOCK.now())), DOMAIN)
        self.tokens = TokenAuthority(ec.generate_private_key(ec.SECP256R1()), "demo")
        issuing = CertificateService(lambda: self.trust, self.tokens, CLOCK)
        self.api = CertificateApi(issuing, CLOCK)
        made = server_credential(self.trust.authority, [NAME], CLOCK.now())
        self.credentials = xds.Credentials(
            made.key, "".join(made.issued.chain).encode(), self.trust.roots_pem.encode()
        )

    def token(self) -> str:
        return self.tokens.issue(CURL, CLOCK.now())[0]


KEY = ec.generate_private_key(ec.SECP256R1())
CSR = (
    x509.CertificateSigningRequestBuilder(x509.Name([]))
    .sign(KEY, hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
    .decode()
)


@pytest.fixture
async def by_token() -> AsyncIterator[tuple[Mesh, int]]:
    mesh = Mesh()
    server = CertificateServer(mesh.api)
    credentials = xds.server_credentials(lambda: mesh.credentials, require_client=False)
    port = await server.start("127.0.0.1:0", credentials)
    yield mesh, port
    await server.stop(0)


@pytest.fixture
async def by_certificate() -> AsyncIterator[tuple[Mesh, int]]:
    mesh = Mesh()
    server = CertificateServer(mesh.api)
    port = await server.start("127.0.0.1:0", xds.server_credentials(lambda: mesh.credentials))
    yield mesh, port
    await server.stop(0)


async def call(port: int, credentials: grpc.ChannelCredentials, token: str = "") -> tuple[str, ...]:
    options = (("grpc.ssl_target_name_override", NAME),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        method = channel.unary_unary(f"/{SERVICE}/{METHOD}", None, None)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        request: Any = CertificateRequest(csr=CSR)
        answer = await method(request.SerializeToString(), metadata=metadata, timeout=20)
    response: Any = CertificateResponse.FromString(answer)
    return tuple(response.cert_chain)


async def test_by_token(by_token: tuple[Mesh, int]) -> None:
    mesh, port = by_token
    trusted = grpc.ssl_channel_credentials(mesh.trust.roots_pem.encode())
    chain = await call(port, trusted, mesh.token())
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert identity_of(leaf) == CURL
    assert leaf.public_key() == KEY.public_key()
    assert len(chain) == 3
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(port, trusted)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_by_certificate(by_certificate: tuple[Mesh, int]) -> None:
    """The chain that is shown reaches the service whole, whatever gRPC calls it."""
    mesh, port = by_certificate
    issued = sign_workload(mesh.trust.authority, CSR, CURL, CLOCK.now(), timedelta(hours=1))
    own = grpc.ssl_channel_credentials(
        mesh.trust.roots_pem.encode(), private_pem(KEY), "".join(issued.chain[:-1]).encode()
    )
    chain = await call(port, own)
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert identity_of(leaf) == CURL
    assert leaf.serial_number != issued.serial


async def test_an_address_that_asks_too_much_is_bounded_before_it_is_heard() -> None:
    """Also for requests that prove nothing: they cost the least that they can."""
    mesh = Mesh()
    for _ in range(CALLS_PER_ADDRESS):
        with pytest.raises(RefusedError) as refused:
            await mesh.api.answer(b"", "ipv4:10.0.0.1", "", ())
        assert refused.value.code == 401
    with pytest.raises(RefusedError, match=r"too many requests from ipv4:10\.0\.0\.1") as refused:
        await mesh.api.answer(b"", "ipv4:10.0.0.1", mesh.token(), ())
    assert refused.value.code == 429
    body = CertificateRequest(csr=CSR).SerializeToString()  # type: ignore[call-arg]
    assert await mesh.api.answer(body, "ipv4:10.0.0.2", mesh.token(), ())
