"""Clusters in a real Envoy: which endpoints get what, by which transport, under which limits."""

import http.client
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2

from argosy.base.names import Hostname, Namespace
from argosy.model.authn import MtlsMode
from argosy.model.listener import (
    WILDCARD,
    DetectingListener,
    InboundListener,
    InboundPort,
    ListenerSettings,
    PortRoutes,
    UnknownPort,
)
from argosy.model.proxy import ClusterKey
from argosy.model.service import Protocol
from argosy.model.traffic import (
    Cluster,
    ConnectionPool,
    ExactName,
    FileCertificate,
    MeshTls,
    MeshTlsUse,
    NamePrefix,
    OriginatedTls,
    OutlierDetection,
    RoundRobin,
    ServiceName,
    UpstreamProtocol,
)
from argosy.model.workload import Endpoint, Health
from argosy.pilot.compile.localities import groups
from argosy.pilot.translate import names
from argosy.pilot.translate.cluster import cluster
from argosy.pilot.translate.endpoint import cluster_load_assignment
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.pilot.translate.listener import outbound_listener
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.echo_application import echo_application
from argosy.testing.running_envoy import (
    RunningEnvoy,
    free_port,
    on_loopback,
    running,
    static_cluster,
    with_routes,
)

pytestmark = pytest.mark.envoy

HOST = Hostname("reviews.default.svc.cluster.local")
SERVICE = ServiceName(HOST, "reviews", Namespace("default"))
KEY = ClusterKey(9080, "", HOST)
SERVER = "spiffe://cluster.local/ns/default/sa/reviews"
CLIENT = "spiffe://cluster.local/ns/default/sa/curl"
SETTINGS = ListenerSettings()


def an_endpoint(port: int, *, mtls: bool = False, health: Health = Health.HEALTHY) -> Endpoint:
    return Endpoint("127.0.0.1", port, (), SERVER, mtls, health)


def with_endpoints(value: Cluster, *endpoints: Endpoint) -> cluster_pb2.Cluster:
    """The cluster with what EDS would bring."""
    proto = cluster(value)
    proto.ClearField("eds_cluster_config")
    proto.type = cluster_pb2.Cluster.STATIC
    proto.load_assignment.CopyFrom(cluster_load_assignment(proto.name, groups(endpoints)))
    return proto


@contextmanager
def client(
    directory: Path, authority: ScratchAuthority, proto: cluster_pb2.Cluster
) -> Iterator[tuple[RunningEnvoy, int]]:
    """An Envoy whose listener sends everything to the cluster, and that listener's port."""
    table = route_pb2.RouteConfiguration(name="9080")
    route = table.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.route.cluster = proto.name
    listener = outbound_listener(
        DetectingListener(WILDCARD, 9080, PortRoutes(9080), None), SETTINGS
    )
    with running(
        directory,
        authority.credential(CLIENT),
        listeners=[on_loopback(with_routes(listener, [table]))],
        clusters=[proto, static_cluster(names.PASSTHROUGH_CLUSTER, 1)],
    ) as envoy:
        yield envoy, envoy.port("0.0.0.0_9080")


@contextmanager
def meshed_server(directory: Path, authority: ScratchAuthority) -> Iterator[int]:
    """The port of a sidecar that takes nothing but mesh mTLS."""
    port = free_port()
    inbound = InboundListener(
        (InboundPort(port, 9080, HOST, Protocol.HTTP, MtlsMode.STRICT),),
        (UnknownPort(None, MtlsMode.STRICT),),
    )
    with (
        echo_application() as application,
        running(
            directory,
            authority.credential(SERVER),
            listeners=[on_loopback(virtual_inbound(inbound, SETTINGS), port)],
            clusters=[
                static_cluster(names.inbound_cluster(port), application),
                static_cluster(names.INBOUND_PASSTHROUGH_CLUSTER, application),
                static_cluster(names.BLACK_HOLE_CLUSTER, 1),
            ],
        ),
    ):
        yield port


def status(port: int, host: str = "reviews") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"host": host})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def mesh_tls(*peers: ExactName | NamePrefix) -> MeshTls:
    return MeshTls(MeshTlsUse.PER_ENDPOINT, peers)


def test_each_endpoint_is_called_as_it_can_be(tmp_path: Path) -> None:
    """One sidecar that insists on mTLS, one application without sidecar, behind one service."""
    authority = ScratchAuthority()
    value = Cluster(KEY, SERVICE, UpstreamProtocol.HTTP1, tls=mesh_tls(ExactName(SERVER)))
    with (
        meshed_server(tmp_path / "server", authority) as meshed,
        echo_application() as legacy,
    ):
        proto = with_endpoints(value, an_endpoint(meshed, mtls=True), an_endpoint(legacy))
        with client(tmp_path / "client", authority, proto) as (envoy, port):
            assert Counter(status(port) for _ in range(40)) == {200: 40}
            handshakes = envoy.counter(f"cluster.{proto.alt_stat_name}.ssl.handshake")
            connections = envoy.counter(f"cluster.{proto.alt_stat_name}.upstream_cx_total")
    assert 0 < handshakes < connections


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (ExactName(SERVER), 200),
        (NamePrefix("spiffe://cluster.local/ns/default/"), 200),
        (ExactName("spiffe://cluster.local/ns/default/sa/ratings"), 503),
        (NamePrefix("spiffe://cluster.local/ns/other/"), 503),
    ],
)
def test_only_the_named_peer_is_talked_to(
    tmp_path: Path, peer: ExactName | NamePrefix, expected: int
) -> None:
    authority = ScratchAuthority()
    value = Cluster(KEY, SERVICE, UpstreamProtocol.HTTP2, tls=mesh_tls(peer))
    with meshed_server(tmp_path / "server", authority) as meshed:
        proto = with_endpoints(value, an_endpoint(meshed, mtls=True))
        with client(tmp_path / "client", authority, proto) as (_, port):
            assert status(port) == expected


def test_draining_endpoints_get_no_new_request_even_when_most_drain(tmp_path: Path) -> None:
    value = Cluster(KEY, SERVICE)
    with ExitStack() as stack:
        serving = stack.enter_context(echo_application())
        draining = [stack.enter_context(echo_application()) for _ in range(2)]
        proto = with_endpoints(
            value,
            an_endpoint(serving),
            *(an_endpoint(port, health=Health.DRAINING) for port in draining),
        )
        envoy, port = stack.enter_context(client(tmp_path, ScratchAuthority(), proto))
        assert Counter(status(port) for _ in range(30)) == {200: 30}
        hosts = envoy.admin("/clusters")
    for drained in draining:
        assert f"127.0.0.1:{drained}::rq_total::0" in hosts
    assert f"127.0.0.1:{serving}::rq_total::30" in hosts


@contextmanager
def application(
    *, delay: float = 0.0, answer: str = "200 OK", tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Answers each request of a connection after ``delay`` seconds."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(accepted: socket.socket) -> None:
        try:
            connection = tls.wrap_socket(accepted, server_side=True) if tls else accepted
            with connection:
                while connection.recv(65536):
                    time.sleep(delay)
                    connection.sendall(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n".encode())
        except OSError:
            accepted.close()  # the client refused us, or hung up

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def at_once(port: int, requests: int) -> Counter[int]:
    with ThreadPoolExecutor(requests) as pool:
        return Counter(pool.map(status, [port] * requests))


def test_circuit_breakers_open_as_documented(tmp_path: Path) -> None:
    """One connection and one waiting request: of ten at once two are served.

    https://istio.io/latest/docs/tasks/traffic-management/circuit-breaking/
    """
    pool = ConnectionPool(max_connections=1, max_pending_requests=1, max_requests_per_connection=1)
    value = Cluster(KEY, SERVICE, UpstreamProtocol.HTTP1, connection_pool=pool)
    with application(delay=1.0) as slow:
        proto = with_endpoints(value, an_endpoint(slow))
        with client(tmp_path, ScratchAuthority(), proto) as (envoy, port):
            assert at_once(port, 10) == {200: 2, 503: 8}
            overflow = f"cluster.{proto.alt_stat_name}.upstream_rq_pending_overflow"
            assert envoy.counter(overflow) == 8


def test_without_limits_nothing_is_refused(tmp_path: Path) -> None:
    value = Cluster(KEY, SERVICE, UpstreamProtocol.HTTP1)
    with application(delay=0.2) as slow:
        proto = with_endpoints(value, an_endpoint(slow))
        with client(tmp_path, ScratchAuthority(), proto) as (_, port):
            assert at_once(port, 40) == {200: 40}


@pytest.mark.covers("DestinationRule.trafficPolicy.connectionPool.tcp.connectTimeout")
def test_connect_timeout(tmp_path: Path) -> None:
    """A port that nobody accepts on answers neither yes nor no: the backlog is full."""
    pool = replace(ConnectionPool(), connect_timeout=ConnectionPool().connect_timeout / 50)
    value = Cluster(KEY, SERVICE, connection_pool=pool)
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = deaf.getsockname()
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        proto = with_endpoints(value, an_endpoint(address[1]))
        envoy, port = stack.enter_context(client(tmp_path, ScratchAuthority(), proto))
        started = time.monotonic()
        assert status(port) == 503
        assert time.monotonic() - started < 5
        timeouts = f"cluster.{proto.alt_stat_name}.upstream_cx_connect_timeout"
        assert envoy.counter(timeouts) == 1


def test_an_endpoint_that_fails_is_ejected(tmp_path: Path) -> None:
    """One error and it is out for three minutes, though it is half of all."""
    outlier = OutlierDetection(
        consecutive_5xx=1, base_ejection=timedelta(minutes=3), max_ejection_percent=100
    )
    value = Cluster(KEY, SERVICE, load_balancer=RoundRobin(), outlier_detection=outlier)
    with echo_application() as good, application(answer="500 Broken") as bad:
        proto = with_endpoints(value, an_endpoint(good), an_endpoint(bad))
        with client(tmp_path, ScratchAuthority(), proto) as (envoy, port):
            while status(port) != 500:
                pass
            await_ejection(envoy, proto)
            seen = Counter(status(port) for _ in range(30))
    assert seen == {200: 30}


def await_ejection(envoy: RunningEnvoy, proto: cluster_pb2.Cluster) -> None:
    """Envoy's workers see an ejection a moment after the response that caused it."""
    ejected = f"cluster.{proto.alt_stat_name}.outlier_detection.ejections_active"
    deadline = time.monotonic() + 10
    while envoy.counter(ejected) != 1:
        assert time.monotonic() < deadline, "nobody was ejected"
    time.sleep(0.1)


def test_when_all_are_ejected_nobody_is_asked(tmp_path: Path) -> None:
    """Istio's panic threshold is zero: Envoy's own would go on asking."""
    outlier = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
    value = Cluster(KEY, SERVICE, outlier_detection=outlier)
    with application(answer="500 Broken") as bad:
        proto = with_endpoints(value, an_endpoint(bad))
        with client(tmp_path, ScratchAuthority(), proto) as (envoy, port):
            assert status(port) == 500
            await_ejection(envoy, proto)
            assert [status(port) for _ in range(3)] == [503, 503, 503]


@pytest.mark.parametrize(
    ("tls", "host", "expected"),
    [
        (OriginatedTls(), "a.example", 200),
        (OriginatedTls(), "b.example", 503),
        (OriginatedTls(peers=(ExactName("a.example"),)), "b.example", 200),
        (OriginatedTls(peers=(ExactName("b.example"),)), "a.example", 503),
        (OriginatedTls(sni="a.example"), "b.example", 200),
        (OriginatedTls(ca="./other.pem"), "a.example", 503),
        (OriginatedTls(ca="./other.pem", skip_verify=True), "b.example", 200),
    ],
)
@pytest.mark.covers(
    "DestinationRule.trafficPolicy.tls.caCertificates",
    "DestinationRule.trafficPolicy.tls.subjectAltNames",
    "DestinationRule.trafficPolicy.tls.sni",
    "DestinationRule.trafficPolicy.tls.insecureSkipVerify",
)
def test_originated_tls_trusts_whom_it_is_told_to(
    tmp_path: Path, tls: OriginatedTls, host: str, expected: int
) -> None:
    """The server is ``a.example``; without ``sni`` the request's Host is what it must be."""
    authority = ScratchAuthority()
    server = server_context(tmp_path, authority)
    (tmp_path / "other.pem").write_text(ScratchAuthority().credential("x").roots)
    value = Cluster(KEY, SERVICE, tls=replace(tls, ca=tls.ca or "./ca.pem"))
    with application(tls=server) as secure:
        proto = with_endpoints(value, an_endpoint(secure))
        with client(tmp_path, authority, proto) as (_, port):
            assert status(port, host) == expected


@pytest.mark.parametrize(
    ("certified", "expected"),
    [("a.example", 200), ("*.example", 200), ("*.b.example", 503), ("*", 503)],
)
def test_a_wildcard_in_a_certificate_is_one_label(
    tmp_path: Path, certified: str, expected: int
) -> None:
    """The wildcard ``*`` stands for exactly one label, on the left (RFC 9525, 6.3)."""
    authority = ScratchAuthority()
    server = server_context(tmp_path, authority, certified)
    tls = OriginatedTls(ca="./ca.pem")
    with application(tls=server) as secure:
        proto = with_endpoints(Cluster(KEY, SERVICE, tls=tls), an_endpoint(secure))
        with client(tmp_path, authority, proto) as (_, port):
            assert status(port, "a.example") == expected
            assert status(port, "a.a.example") == 503


@pytest.mark.covers("DestinationRule.trafficPolicy.tls.caCrl")
@pytest.mark.parametrize(("is_revoked", "expected"), [(False, 200), (True, 503)])
def test_revoked_certificates_are_refused(tmp_path: Path, is_revoked: bool, expected: int) -> None:
    authority = ScratchAuthority()
    server = server_context(tmp_path, authority)
    revoked = [(tmp_path / "server.pem").read_text()] if is_revoked else []
    (tmp_path / "ca.crl").write_text(authority.revocations(*revoked))
    value = Cluster(KEY, SERVICE, tls=OriginatedTls(ca="./ca.pem", crl="./ca.crl"))
    with application(tls=server) as secure:
        proto = with_endpoints(value, an_endpoint(secure))
        with client(tmp_path, authority, proto) as (_, port):
            assert status(port, "a.example") == expected


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.tls.clientCertificate",
    "DestinationRule.trafficPolicy.tls.privateKey",
)
def test_mutual_tls_shows_the_users_own_certificate(tmp_path: Path) -> None:
    authority = ScratchAuthority()
    server = server_context(tmp_path, authority)
    server.load_verify_locations(tmp_path / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    own = authority.credential("client.example")
    (tmp_path / "own.pem").write_text(own.certificate)
    (tmp_path / "own.key").write_text(own.key)
    mutual = OriginatedTls(FileCertificate("./own.pem", "./own.key"), ca="./ca.pem")
    with application(tls=server) as secure:
        for number, (tls, expected) in enumerate(
            [(mutual, 200), (replace(mutual, certificate=None), 503)]
        ):
            proto = with_endpoints(Cluster(KEY, SERVICE, tls=tls), an_endpoint(secure))
            directory = tmp_path / str(number)
            directory.mkdir()
            for file in ("ca.pem", "own.pem", "own.key"):
                (directory / file).write_text((tmp_path / file).read_text())
            with client(directory, authority, proto) as (_, port):
                assert status(port, "a.example") == expected


def server_context(
    directory: Path, authority: ScratchAuthority, name: str = "a.example"
) -> ssl.SSLContext:
    """A server ``name``; leaves its authority's ``ca.pem`` in ``directory``."""
    credential = authority.credential(name)
    (directory / "ca.pem").write_text(credential.roots)
    (directory / "server.pem").write_text(credential.certificate + credential.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    return context
