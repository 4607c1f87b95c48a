"""The library over real gRPC with mutual TLS."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2

from argosy.base.log import Secret
from argosy.testing.xds.clients import DeltaClient, SotwClient
from argosy.testing.xds.connections import over_grpc
from argosy.testing.xds.source import MemorySource
from argosy.xds import (
    Admission,
    Credentials,
    GrpcService,
    Limits,
    Peer,
    Refusal,
    RefusalKind,
    Server,
    StreamLimits,
    SyncState,
    server_credentials,
)
from argosy.xds.type_urls import CLUSTER, LISTENER, SECRET

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
MALLORY = "spiffe://cluster.local/ns/default/sa/mallory"


class Authority:
    """Signs server and client certificates for an hour."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test root")])
        self.root = self._sign(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None)
        )

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def certificate(self, common_name: str, *names: x509.GeneralName) -> tuple[Secret, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        chain = self._sign(subject, key.public_key(), x509.SubjectAlternativeName(names))
        return Secret(pem), chain

    def server(self, common_name: str = "control-plane") -> Credentials:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        key, chain = self.certificate(common_name, address)
        return Credentials(key, chain, self.root)

    def client(self, *identities: str, dns: str = "") -> grpc.ChannelCredentials:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(one) for one in identities]
        if dns:
            names.append(x509.DNSName(dns))
        key, chain = self.certificate("client", *names)
        return grpc.ssl_channel_credentials(self.root, bytes(key), chain)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def admit(peer: Peer, raw_node: bytes) -> Admission | Refusal:
    node = base_pb2.Node.FromString(raw_node)
    if not peer.identities:
        return Refusal("who are you?", RefusalKind.UNAUTHENTICATED)
    if peer.identities != (REVIEWS,):
        return Refusal(f"{node.id} is not {peer.identities[0]}")
    return Admission("everyone", node.id)


@asynccontextmanager
async def serving(server: Server, credentials: grpc.ServerCredentials | None) -> AsyncIterator[str]:
    service = GrpcService(server)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run())
        port = await service.start("127.0.0.1:0", credentials)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await service.stop()


def cluster(name: str, stat: str = "") -> bytes:
    return bytes(cluster_pb2.Cluster(name=name, alt_stat_name=stat).SerializeToString())


def a_source() -> MemorySource:
    source = MemorySource()
    source.scope("everyone", "mesh")
    source.put("mesh", CLUSTER, "a", cluster("a"))
    source.put("mesh", CLUSTER, "b", cluster("b"))
    source.changes()
    return source


async def refusal(
    address: str, client: DeltaClient, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.AioRpcError:
    async def stay() -> None:
        async with over_grpc(address, client, credentials) as connection:
            await connection.until(lambda: False, 10)

    with pytest.raises(ExceptionGroup) as caught:
        await stay()
    errors = [one for one in caught.value.exceptions if isinstance(one, grpc.aio.AioRpcError)]
    assert errors, f"not refused: {caught.value.exceptions}"
    return errors[0]


async def test_both_protocols_over_mutual_tls(authority: Authority) -> None:
    source = a_source()
    server = Server(source, admit)
    async with serving(server, server_credentials(authority.server)) as address:
        delta, sotw = DeltaClient(node={"id": "d"}), SotwClient(node={"id": "s"})
        delta.subscribe(CLUSTER)
        sotw.subscribe(CLUSTER)
        credentials = authority.client(REVIEWS)
        async with (
            over_grpc(address, delta, credentials) as one,
            over_grpc(address, sotw, credentials) as two,
        ):
            everything = {"a": cluster("a"), "b": cluster("b")}
            await one.until(lambda: delta.have[CLUSTER] == everything)
            await two.until(lambda: sotw.have[CLUSTER] == everything)
            assert [status.client_id for status in server.clients()] == ["d", "s"]
            assert server.clients()[0].peer.identities == (REVIEWS,)

            source.put("mesh", CLUSTER, "a", cluster("a", "other"))
            source.remove("mesh", CLUSTER, "b")
            server.publish(source.changes(), revision=7)
            distribution = await server.wait_acknowledged(7, 10)
            assert (distribution.touched, distribution.acknowledged) == (2, 2)
            assert distribution.complete
            assert distribution.rejected == ()
            assert delta.have[CLUSTER] == sotw.have[CLUSTER] == {"a": cluster("a", "other")}
            assert {t.state for s in server.clients() for t in s.types} == {SyncState.SYNCED}
    assert source.forgotten == ["everyone"]
    assert server.statistics.connected == 0


async def test_a_rejection_reaches_whoever_waits_with_words_name_and_version(
    authority: Authority,
) -> None:
    source = a_source()
    server = Server(source, admit)

    def reject(_url: str, name: str, raw: bytes) -> str | None:
        return "no such thing" if b"bad" in raw else None

    async with serving(server, server_credentials(authority.server)) as address:
        client = DeltaClient(node={"id": "d"}, reject=reject)
        client.subscribe(CLUSTER)
        async with over_grpc(address, client, authority.client(REVIEWS)) as connection:
            await connection.until(lambda: set(client.have[CLUSTER]) == {"a", "b"})
            source.put("mesh", CLUSTER, "a", cluster("a", "good"))
            source.put("mesh", CLUSTER, "b", cluster("b", "bad"))
            server.publish(source.changes(), revision=8)
            distribution = await server.wait_acknowledged(8, 10)
            assert (distribution.touched, distribution.acknowledged) == (1, 0)
            (rejection,) = distribution.rejected
            assert rejection.client_id == "d"
            assert rejection.type_url == CLUSTER
            assert rejection.error == "Error adding/updating cluster(s) b: no such thing"
            bad = source.resource("everyone", CLUSTER, "b")
            assert bad is not None
            assert [(r.name, r.version) for r in rejection.resources] == [("b", bad.version)]
            (status,) = server.clients()
            assert status.types[0].state is SyncState.NACK
            assert status.types[0].rejections == (rejection,)
            # The good one of the batch is in force and on record.
            assert client.have[CLUSTER] == {"a": cluster("a", "good"), "b": cluster("b")}
            good = source.resource("everyone", CLUSTER, "a")
            assert good is not None
            assert client.versions[CLUSTER]["a"] == good.version


async def test_a_client_without_certificate_is_refused_in_the_handshake(
    authority: Authority,
) -> None:
    server = Server(a_source(), admit)
    async with serving(server, server_credentials(authority.server)) as address:
        client = DeltaClient()
        client.subscribe(CLUSTER)
        nobody = grpc.ssl_channel_credentials(authority.root)
        error = await refusal(address, client, nobody)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert server.statistics.streams == 0
        stranger = Authority()
        key, chain = stranger.certificate("x", x509.UniformResourceIdentifier(REVIEWS))
        forged = grpc.ssl_channel_credentials(authority.root, bytes(key), chain)
        error = await refusal(address, client, forged)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert server.statistics.streams == 0


async def test_the_wrong_identity_is_told_so(authority: Authority) -> None:
    server = Server(a_source(), admit)
    async with serving(server, server_credentials(authority.server)) as address:
        client = DeltaClient(node={"id": "sidecar~reviews"})
        client.subscribe(CLUSTER)
        error = await refusal(address, client, authority.client(MALLORY))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert error.details() == f"sidecar~reviews is not {MALLORY}"
        assert client.have[CLUSTER] == {}


async def test_a_dns_name_that_looks_like_an_identity_is_none(authority: Authority) -> None:
    server = Server(a_source(), admit)
    async with serving(server, server_credentials(authority.server)) as address:
        client = DeltaClient()
        client.subscribe(CLUSTER)
        error = await refusal(address, client, authority.client(dns=REVIEWS))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_renewed_server_credentials_are_shown_to_the_next_connection(
    authority: Authority,
) -> None:
    current = authority.server("first")
    server = Server(a_source(), admit)
    async with serving(server, server_credentials(lambda: current)) as address:

        async def shown() -> str:
            host, port = address.split(":")
            client_key, client_chain = authority.certificate(
                "c", x509.UniformResourceIdentifier(REVIEWS)
            )
            return await asyncio.to_thread(
                server_common_name, host, int(port), authority.root, client_key, client_chain
            )

        client = DeltaClient()
        client.subscribe(CLUSTER)
        async with over_grpc(address, client, authority.client(REVIEWS)) as connection:
            await connection.until(lambda: len(client.have[CLUSTER]) == 2)
            assert await shown() == "first"
            current = authority.server("second")
            assert await shown() == "second"
            # The stream that stood before goes on.
            await connection.say(client.subscribe(LISTENER))
            await connection.until(lambda: client.received[-1][0] == LISTENER)
        other = DeltaClient()
        other.subscribe(CLUSTER)
        async with over_grpc(address, other, authority.client(REVIEWS)) as connection:
            await connection.until(lambda: len(other.have[CLUSTER]) == 2)


def server_common_name(host: str, port: int, root: bytes, key: bytes, chain: bytes) -> str:
    context = ssl.create_default_context(cadata=root.decode())
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(key) + chain)
        file.flush()
        context.load_cert_chain(file.name)
    with (
        socket.create_connection((host, port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    certificate = x509.load_der_x509_certificate(der)
    name = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    return str(name)


async def refused_plainly(server: Server, client: DeltaClient) -> grpc.aio.AioRpcError:
    async with serving(server, None) as address:
        return await refusal(address, client)


def anyone(_peer: Peer, _node: bytes) -> Admission:
    return Admission("everyone", "it")


async def test_silence_at_the_start_ends_the_stream() -> None:
    server = Server(a_source(), anyone, limits=Limits(first_request_seconds=0.1))
    error = await refused_plainly(server, DeltaClient())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_an_oversized_first_request_is_refused_before_admission() -> None:
    def never(_peer: Peer, _node: bytes) -> Admission:
        raise AssertionError("asked for admission")

    server = Server(a_source(), never, limits=Limits(first_request_bytes=1000))
    client = DeltaClient(node={"id": "x" * 2000})
    client.subscribe(CLUSTER)
    error = await refused_plainly(server, client)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_request_without_node_is_refused() -> None:
    server = Server(a_source(), anyone)
    client = DeltaClient()
    client.subscribe(CLUSTER)
    client.connect = lambda: client.subscribe(CLUSTER)  # type: ignore[method-assign]
    error = await refused_plainly(server, client)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_too_many_names_end_the_stream() -> None:
    server = Server(a_source(), anyone, stream_limits=StreamLimits(names=10))
    client = DeltaClient()
    client.subscribe(SECRET, *(str(number) for number in range(11)))
    error = await refused_plainly(server, client)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "10" in (error.details() or "")


async def test_a_flood_of_streams_from_one_peer_is_refused() -> None:
    server = Server(a_source(), anyone, limits=Limits(attempts=0.001, attempts_burst=3))
    async with serving(server, None) as address:
        for _ in range(3):
            client = DeltaClient()
            client.subscribe(CLUSTER)
            async with over_grpc(address, client) as connection:
                await connection.until(lambda c=client: len(c.have[CLUSTER]) == 2)  # type: ignore[misc]
        client = DeltaClient()
        client.subscribe(CLUSTER)
        error = await refusal(address, client)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_one_client_has_so_many_streams_and_no_more() -> None:
    """When one ends, another may come: who reconnects is served."""
    server = Server(a_source(), anyone, limits=Limits(streams=2))
    async with serving(server, None) as address:
        for _ in range(3):
            first, second, third = (DeltaClient() for _ in range(3))
            for client in (first, second, third):
                client.subscribe(CLUSTER)
            async with (
                over_grpc(address, first) as one,
                over_grpc(address, second) as two,
            ):
                await one.until(lambda c=first: len(c.have[CLUSTER]) == 2)  # type: ignore[misc]
                await two.until(lambda c=second: len(c.have[CLUSTER]) == 2)  # type: ignore[misc]
                error = await refusal(address, third)
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "2 streams already" in (error.details() or "")
            async with asyncio.timeout(10):
                while server.clients():  # noqa: ASYNC110  # streams end on their own tasks
                    await asyncio.sleep(0.01)


async def test_garbage_ends_its_stream_alone() -> None:
    server = Server(a_source(), anyone)
    async with serving(server, None) as address:
        good = DeltaClient()
        good.subscribe(CLUSTER)
        async with over_grpc(address, good) as connection:
            await connection.until(lambda: len(good.have[CLUSTER]) == 2)
            bad = DeltaClient()
            bad.connect = lambda: [b"\xff\xff\xff"]  # type: ignore[method-assign]
            error = await refusal(address, bad)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            await connection.say(good.subscribe(LISTENER))
            await connection.until(lambda: good.received[-1][0] == LISTENER)


async def test_a_reconnection_of_ten_thousand_names_fits_into_one_message() -> None:
    source = MemorySource()
    source.scope("everyone", "mesh")
    names = [f"outbound|9080||service-{n}.some-namespace.svc.cluster.local" for n in range(10_000)]
    for name in names:
        source.put("mesh", CLUSTER, name, cluster(name))
    source.changes()
    client = DeltaClient()
    client.subscribe(CLUSTER)
    for round_ in range(2):
        server = Server(source, anyone)
        async with serving(server, None) as address, over_grpc(address, client) as connection:
            await connection.until(
                lambda: len(client.have[CLUSTER]) == 10_000 and bool(client.received), 60
            )
            if round_:
                assert client.received == [(CLUSTER, (), ())], "nothing was to be sent again"


async def test_stopping_tells_clients_to_go_elsewhere() -> None:
    server = Server(a_source(), anyone)
    client = DeltaClient()
    client.subscribe(CLUSTER)
    async with serving(server, None) as address, asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(refusal(address, client))
        async with asyncio.timeout(10):
            while len(client.have[CLUSTER]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await server.stop()
        error = await ending
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "shutting down"
