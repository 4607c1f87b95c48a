"""A real gRPC server with mutual TLS, and callers of every sort."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy import xds
from argosy.base.log import Secret
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, TrustDomains
from argosy.citadel.signer import create_root, sign_workload
from argosy.mixer.caller import NOTHING, Guard, Judge, Rules, Stated, address_of, caller, stated
from argosy.testing.certificates import Credential, ScratchAuthority

NAME = "mixer.istio-system.svc"
OWN = TrustDomains(TrustDomain("cluster.local"), frozenset({TrustDomain("old.local")}))
WEB = "spiffe://cluster.local/ns/default/sa/web"


class World:
    """A server whose methods answer with the identity and the address of who calls."""

    def __init__(self) -> None:
        self.authority = ScratchAuthority()
        self.rules = Rules(OWN)
        guard = Guard(Judge(lambda: self.rules), share=3)
        self._server = grpc.aio.server(interceptors=(guard,))
        self.port = 0

    async def start(self) -> None:
        own = self.authority.credential(NAME)
        credentials = xds.Credentials(
            Secret(own.key.encode()), own.certificate.encode(), own.roots.encode()
        )
        self.port = self._server.add_secure_port(
            "127.0.0.1:0", xds.server_credentials(lambda: credentials)
        )
        methods: dict[str, Any] = {
            "Once": grpc.unary_unary_rpc_method_handler(_once),
            "Many": grpc.unary_stream_rpc_method_handler(_many),
            "Talk": grpc.stream_stream_rpc_method_handler(_talk),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test", methods),)
        )
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def channel(self, shown: Credential | None, *, roots: str = "") -> grpc.aio.Channel:
        roots = roots or self.authority.credential(NAME).roots
        credentials = grpc.ssl_channel_credentials(
            roots.encode(),
            shown.key.encode() if shown else None,
            shown.certificate.encode() if shown else None,
        )
        options = (("grpc.ssl_target_name_override", NAME),)
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options)

    async def once(self, shown: Credential | None) -> str:
        """What the server says, or the code and the words of its refusal."""
        async with self.channel(shown) as channel:
            try:
                answer: bytes = await channel.unary_unary("/test/Once")(b"", timeout=10)
                return answer.decode()
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"


def _who() -> bytes:
    return f"{caller().identity} at {caller().address}".encode()


async def _once(_request: bytes, _context: Any) -> bytes:
    return _who()


async def _many(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    yield _who()
    yield _who()


async def _talk(requests: AsyncIterator[bytes], context: Any) -> None:
    async for _ in requests:
        await context.write(_who())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start()
    yield world
    await world.stop()


async def test_every_kind_of_method_learns_who_calls(world: World) -> None:
    expected = f"{WEB} at 127.0.0.1".encode()
    async with world.channel(world.authority.credential(WEB)) as channel:
        assert await channel.unary_unary("/test/Once")(b"") == expected
        assert [answer async for answer in channel.unary_stream("/test/Many")(b"")] == [
            expected,
            expected,
        ]
        talk = channel.stream_stream("/test/Talk")()
        await talk.write(b"")
        assert await talk.read() == expected
        await talk.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await channel.unary_unary("/test/Nothing")(b"")
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_one_address_has_its_share_of_the_calls(world: World) -> None:
    shown = world.authority.credential(WEB)
    async with world.channel(shown) as channel:
        talks = [channel.stream_stream("/test/Talk")() for _ in range(3)]
        for talk in talks:
            await talk.write(b"")
            await talk.read()
        for refused in (
            channel.unary_unary("/test/Once")(b""),
            channel.unary_stream("/test/Many")(b""),
        ):
            assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await talks[0].done_writing()
        assert await talks[0].read() == grpc.aio.EOF
        talks[1].cancel()  # however a call ends, it makes room
        async with asyncio.timeout(10):
            while (await world.once(shown)).startswith("RES"):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
        for _ in range(10):
            assert [answer async for answer in channel.unary_stream("/test/Many")(b"")]


async def test_an_alias_of_the_trust_domain_is_of_this_mesh(world: World) -> None:
    old = "spiffe://old.local/ns/default/sa/web"
    assert await world.once(world.authority.credential(old)) == f"{old} at 127.0.0.1"


async def test_who_shows_nothing_or_another_authoritys_has_no_connection(world: World) -> None:
    assert (await world.once(None)).startswith("UNAVAILABLE")
    assert (await world.once(ScratchAuthority().credential(WEB))).startswith("UNAVAILABLE")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("spiffe://elsewhere.test/ns/default/sa/web",), "is of another trust domain"),
        (("web.default.svc",), "the client's certificate proves nothing"),
        ((WEB, "spiffe://cluster.local/ns/bank/sa/vault"), "proves nothing"),
    ],
)
async def test_certificates_that_name_no_workload_of_the_mesh(
    world: World, names: tuple[str, ...], why: str
) -> None:
    answer = await world.once(world.authority.credential(*names))
    assert answer.startswith("UNAUTHENTICATED")
    assert why in answer


async def test_a_revoked_certificate_is_refused_from_the_next_call_on(world: World) -> None:
    shown = world.authority.credential(WEB)
    async with world.channel(shown) as channel:
        ask = channel.unary_unary("/test/Once")
        await ask(b"")
        world.rules = Rules(OWN, world.authority.revocations(shown.certificate))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(b"")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "is revoked: serial" in (refused.value.details() or "")
    assert (await world.once(world.authority.credential(WEB))).startswith(WEB)


@pytest.mark.parametrize("version", ["v1", "v" * 200])
def test_the_workload_is_what_the_control_plane_has_signed(version: str) -> None:
    domain = TrustDomain("cluster.local")
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    identity = SpiffeId.of(domain, "shop", "web")
    root = create_root(domain, now)

    def signed(facts: str) -> Stated:
        issued = sign_workload(root, csr, identity, now, facts=facts)
        return stated(x509.load_pem_x509_certificate(issued.chain[0].encode()))

    found = signed(f"web-v1;shop;web;{version};Kubernetes;web;v1;more")
    assert found == Stated("web-v1", "shop", "web", version, "Kubernetes", "web", "v1")
    assert found
    assert signed("") == NOTHING
    assert not NOTHING


def test_addresses() -> None:
    assert address_of("ipv4:10.244.0.5:40312") == "10.244.0.5"
    assert address_of("ipv6:%5Bfd00::5%5D:40312") == "fd00::5"
    assert address_of("ipv6:[fd00::5]:40312") == "fd00::5"
