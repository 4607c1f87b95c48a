"""Two real Envoys, client's and server's: what the outbound listeners send over the hop."""

import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2

from argosy.base.names import Hostname
from argosy.model.authn import MtlsMode
from argosy.model.gateway import GatewayHttp, GatewayListener
from argosy.model.listener import (
    WILDCARD,
    DetectingListener,
    GatewayRoutes,
    HostRoutes,
    InboundListener,
    InboundPort,
    ListenerSettings,
    OpaqueListener,
    PortRoutes,
    TcpForward,
    TcpTarget,
    UnknownPort,
)
from argosy.model.proxy import ClusterKey
from argosy.model.service import Protocol
from argosy.model.traffic import (
    ConnectionPool,
    ExactName,
    UpstreamProtocol,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.cluster_policy import HTTP_PROTOCOL_OPTIONS, http_options
from argosy.pilot.translate.gateway_listener import gateway_listener
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.pilot.translate.listener import outbound_listener
from argosy.pilot.translate.tls import mesh_upstream_context, tls_transport_socket
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
KEY = ClusterKey(9080, "", HOST)
SERVER = "spiffe://cluster.local/ns/default/sa/reviews"
CLIENT = "spiffe://cluster.local/ns/default/sa/curl"
SETTINGS = ListenerSettings()


@dataclass(frozen=True)
class Hop:
    """A client's and a server's Envoy; ``port`` is where the client's listener stands."""

    client: RunningEnvoy
    server: RunningEnvoy
    server_port: int

    def port(self, listener: str) -> int:
        return self.client.port(listener)

    def served_http2(self) -> int:
        prefix = f"http.inbound_0.0.0.0_{self.server_port};"
        return self.server.counter(f"{prefix}.downstream_cx_http2_total")

    def served_opaque(self) -> int:
        return self.server.counter(
            f"tcp.{names.inbound_cluster(self.server_port)}.downstream_cx_total"
        )


def table(name: str, cluster: str) -> route_pb2.RouteConfiguration:
    proto = route_pb2.RouteConfiguration(name=name)
    route = proto.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.route.cluster = cluster
    return proto


def mesh_cluster(protocol: UpstreamProtocol, port: int) -> cluster_pb2.Cluster:
    proto = static_cluster(names.cluster_name(KEY), port)
    context = mesh_upstream_context((ExactName(SERVER),), "outbound_.9080_._.reviews", protocol)
    proto.transport_socket.CopyFrom(tls_transport_socket(context))
    options = http_options(protocol, ConnectionPool())
    if options is not None:
        proto.typed_extension_protocol_options[HTTP_PROTOCOL_OPTIONS].Pack(options)
    return proto


@contextmanager
def hop(
    directory: Path,
    listener: DetectingListener | OpaqueListener | GatewayListener,
    upstream: UpstreamProtocol,
    server_protocol: Protocol,
) -> Iterator[Hop]:
    authority = ScratchAuthority()
    with ExitStack() as stack:
        application = stack.enter_context(echo_application())
        server_port = free_port()
        inbound = InboundListener(
            (InboundPort(server_port, 9080, HOST, server_protocol, MtlsMode.STRICT),),
            (UnknownPort(None, MtlsMode.STRICT),),
        )
        server = stack.enter_context(
            running(
                directory / "server",
                authority.credential(SERVER),
                listeners=[on_loopback(virtual_inbound(inbound, SETTINGS), server_port)],
                clusters=[
                    static_cluster(names.inbound_cluster(server_port), application),
                    static_cluster(names.INBOUND_PASSTHROUGH_CLUSTER, application),
                    static_cluster(names.BLACK_HOLE_CLUSTER, 1),
                ],
            )
        )
        match listener:
            case GatewayListener():
                proto = gateway_listener(listener, SETTINGS)
            case _:
                proto = outbound_listener(listener, SETTINGS)
        tables = [
            table(name, names.cluster_name(KEY)) for name in ("9080", f"{HOST}:9080", "http.8080")
        ]
        client = stack.enter_context(
            running(
                directory / "client",
                authority.credential(CLIENT),
                listeners=[on_loopback(with_routes(proto, tables))],
                clusters=[
                    mesh_cluster(upstream, server_port),
                    static_cluster(names.PASSTHROUGH_CLUSTER, application),
                ],
            )
        )
        yield Hop(client, server, server_port)


def call(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        answer: bytes = connection.recv(65536)
        return answer


def get(port: int, *headers: str) -> dict[str, str]:
    """The headers that the application saw of a GET."""
    lines = ["GET / HTTP/1.1", "host: reviews", "connection: close", *headers, "", ""]
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall("\r\n".join(lines).encode())
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    seen: dict[str, str] = json.loads(body)["headers"]
    return seen


def websocket(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"GET /chat HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 101"), head
        connection.sendall(b"ping")
        answer: bytes = connection.recv(65536)
        return answer


DECLARED_HTTP = DetectingListener(WILDCARD, 9080, PortRoutes(9080), None)
DETECTED = DetectingListener(
    "10.96.0.7",
    9080,
    HostRoutes(HOST, 9080),
    TcpForward((TcpTarget(KEY),), opaque_to_detecting=True),
)


def test_declared_http_crosses_the_hop_as_http2(tmp_path: Path) -> None:
    with hop(tmp_path, DECLARED_HTTP, UpstreamProtocol.HTTP2, Protocol.HTTP) as envoys:
        seen = get(envoys.port("0.0.0.0_9080"))
        assert f"URI={CLIENT}" in seen["x-forwarded-client-cert"]
        assert envoys.served_http2() == 1


def test_websockets_cross_an_http2_hop(tmp_path: Path) -> None:
    with hop(tmp_path, DECLARED_HTTP, UpstreamProtocol.HTTP2, Protocol.HTTP) as envoys:
        assert websocket(envoys.port("0.0.0.0_9080")) == b"frame:ping"
        assert envoys.served_http2() == 1


def test_tls_to_a_host_outside_passes_by_the_http_services_of_its_port(tmp_path: Path) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(
        incoming, outgoing, server_hostname="example.com"
    )
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    with hop(tmp_path, DECLARED_HTTP, UpstreamProtocol.HTTP2, Protocol.HTTP) as envoys:
        answer = call(envoys.port("0.0.0.0_9080"), outgoing.read() + b"\n")
        assert answer.startswith(b"opaque:\x16\x03")
        assert envoys.client.counter("tcp.PassthroughCluster.downstream_cx_total") == 1


def test_a_detected_port_serves_http_and_opaque_bytes_as_such(tmp_path: Path) -> None:
    with hop(tmp_path, DETECTED, UpstreamProtocol.DOWNSTREAM, Protocol.AUTO) as envoys:
        port = envoys.port("10.96.0.7_9080")
        assert f"URI={CLIENT}" in get(port)["x-forwarded-client-cert"]
        assert envoys.served_opaque() == 0
        assert call(port, b"hello\n") == b"opaque:hello\n"
        assert envoys.served_opaque() == 1
        for short in (b"\n", b"hi\n", b"G\n", b"GET\n", b"PRI\n", b"\x16\n"):
            assert call(port, short) == b"opaque:" + short
        assert websocket(port) == b"frame:ping"


def test_opaque_bytes_marked_as_http_would_not_arrive(tmp_path: Path) -> None:
    """Why ``opaque_to_detecting`` exists: without it the server takes the bytes for HTTP."""
    unmarked = DetectingListener(
        "10.96.0.7", 9080, HostRoutes(HOST, 9080), TcpForward((TcpTarget(KEY),))
    )
    with hop(tmp_path, unmarked, UpstreamProtocol.DOWNSTREAM, Protocol.AUTO) as envoys:
        assert not call(envoys.port("10.96.0.7_9080"), b"hello\n").startswith(b"opaque:")


def test_opaque_bytes_are_spread_by_weight(tmp_path: Path) -> None:
    """Connections, not bytes: each goes to one destination, 80 to 20 within sampling error."""
    one, two = ClusterKey(9000, "v1", HOST), ClusterKey(9000, "v2", HOST)
    forward = TcpForward((TcpTarget(one, 80), TcpTarget(two, 20)))
    proto = outbound_listener(OpaqueListener("10.96.0.7", 9000, forward), SETTINGS)
    with echo_application() as first, echo_application() as second:
        clusters = [
            static_cluster(names.cluster_name(one), first),
            static_cluster(names.cluster_name(two), second),
        ]
        credential = ScratchAuthority().credential(CLIENT)
        with running(
            tmp_path, credential, listeners=[on_loopback(proto)], clusters=clusters
        ) as envoy:
            port = envoy.port("10.96.0.7_9000")
            for _ in range(300):
                assert call(port, b"hello\n") == b"opaque:hello\n"
            counts = Counter(
                {
                    key: envoy.counter(f"cluster.{names.cluster_name(key)}.upstream_cx_total")
                    for key in (one, two)
                }
            )
    assert counts.total() == 300
    assert 30 <= counts[two] <= 95, "binomial(300, 0.2) is outside once in 10^5 runs"


def test_a_gateway_believes_no_client_and_names_itself(tmp_path: Path) -> None:
    listener = GatewayListener(WILDCARD, 8080, GatewayHttp(GatewayRoutes(8080), ()))
    with hop(tmp_path, listener, UpstreamProtocol.HTTP2, Protocol.HTTP) as envoys:
        port = envoys.port("0.0.0.0_8080")
        forged = "By=spiffe://x;URI=spiffe://cluster.local/ns/default/sa/admin"
        seen = get(
            port,
            f"x-forwarded-client-cert: {forged}",
            "x-forwarded-for: 8.8.8.8",
            "x-envoy-max-retries: 9",
        )
        assert "sa/admin" not in seen["x-forwarded-client-cert"]
        # The connection's address stands behind what the client claims, and is what counts.
        assert len(seen["x-forwarded-for"].split(",")) == 2
        assert seen["x-envoy-external-address"] != "8.8.8.8"
        assert "x-envoy-max-retries" not in seen
        answer = call(port, b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
        assert b"server: istio-envoy\r\n" in answer
        assert websocket(port) == b"frame:ping"


def test_source_ip_hash_and_limits_are_accepted(tmp_path: Path) -> None:
    forward = TcpForward(
        (TcpTarget(KEY),),
        source_ip_hash=True,
        idle_timeout=timedelta(seconds=5),
        max_duration=timedelta(minutes=1),
    )
    listener = OpaqueListener("10.96.0.7", 9080, forward)
    with hop(tmp_path, listener, UpstreamProtocol.TCP, Protocol.TCP) as envoys:
        assert call(envoys.port("10.96.0.7_9080"), b"hello\n") == b"opaque:hello\n"
        assert envoys.served_opaque() == 1


def test_opaque_bytes_of_any_length_arrive_with_their_end(tmp_path: Path) -> None:
    """More than may wait for the server's connection to the application; then a half-close."""
    lines = [b"%06d" % number + b"x" * 90 + b"\n" for number in range(10_000)]
    listener = OpaqueListener("10.96.0.7", 9080, TcpForward((TcpTarget(KEY),)))
    with hop(tmp_path, listener, UpstreamProtocol.TCP, Protocol.TCP) as envoys:
        address = ("127.0.0.1", envoys.port("10.96.0.7_9080"))
        with socket.create_connection(address, timeout=10) as connection:

            def send() -> None:
                connection.sendall(b"".join(lines))
                connection.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            answer = b""
            while data := connection.recv(65536):
                answer += data
            sender.join()
        assert answer == b"".join(b"opaque:" + line for line in lines)
        assert envoys.served_opaque() == 1
