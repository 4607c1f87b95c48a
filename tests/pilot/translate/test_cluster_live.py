"""Clusters in a real Envoy: which endpoints get what, by which transport, under which limits."""

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
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
    MeshTls,
    MeshTlsUse,
    NamePrefix,
    ServiceName,
    UpstreamProtocol,
)
from argosy.model.workload import Endpoint, Health
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
    proto.load_assignment.CopyFrom(cluster_load_assignment(proto.name, endpoints))
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


def status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"host": "reviews"})
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
def slow_application(delay: float) -> Iterator[int]:
    """Answers each request of a connection after ``delay`` seconds."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                time.sleep(delay)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

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
    with slow_application(1.0) as application:
        proto = with_endpoints(value, an_endpoint(application))
        with client(tmp_path, ScratchAuthority(), proto) as (envoy, port):
            assert at_once(port, 10) == {200: 2, 503: 8}
            overflow = f"cluster.{proto.alt_stat_name}.upstream_rq_pending_overflow"
            assert envoy.counter(overflow) == 8


def test_without_limits_nothing_is_refused(tmp_path: Path) -> None:
    value = Cluster(KEY, SERVICE, UpstreamProtocol.HTTP1)
    with slow_application(0.2) as application:
        proto = with_endpoints(value, an_endpoint(application))
        with client(tmp_path, ScratchAuthority(), proto) as (_, port):
            assert at_once(port, 40) == {200: 40}


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
