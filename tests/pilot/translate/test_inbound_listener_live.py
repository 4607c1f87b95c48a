"""What a real Envoy does with ``virtualInbound``: who gets in, as what, and what the app sees."""

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy.base.names import Hostname
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundListener, InboundPort, ListenerSettings, UnknownPort
from argosy.model.service import Protocol
from argosy.pilot.translate import names
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.testing.certificates import Credential, ScratchAuthority
from argosy.testing.echo_application import echo_application
from argosy.testing.running_envoy import free_port, on_loopback, running, static_cluster

pytestmark = pytest.mark.envoy

HOST = Hostname("reviews.default.svc.cluster.local")
SERVER = "spiffe://cluster.local/ns/default/sa/reviews"
CLIENT = "spiffe://cluster.local/ns/default/sa/curl"

HTTP2 = ["istio-h2", "istio", "h2"]
HTTP1 = ["istio-http/1.1", "istio", "http/1.1"]
DETECTED_HTTP = ["istio-http/1.1", "istio-h2", "istio"]
OPAQUE = ["istio"]


@dataclass(frozen=True)
class Mesh:
    authority: ScratchAuthority
    directory: Path
    application: int

    @contextmanager
    def serve(self, listener: InboundListener, port: int) -> Iterator[None]:
        """Runs ``virtualInbound`` so that its connections are for ``port``."""
        proto = on_loopback(virtual_inbound(listener, ListenerSettings()), port)
        clusters = [
            static_cluster(name, self.application)
            for name in (names.inbound_cluster(port), names.INBOUND_PASSTHROUGH_CLUSTER)
        ]
        clusters.append(static_cluster(names.BLACK_HOLE_CLUSTER, 1))
        credential = self.authority.credential(SERVER)
        with running(self.directory, credential, listeners=[proto], clusters=clusters):
            yield

    def client(self, alpn: list[str], identity: str | None = CLIENT) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(alpn)
        if identity is not None:
            load(context, self.authority.credential(identity), self.directory)
        return context


def load(context: ssl.SSLContext, credential: Credential, directory: Path) -> None:
    path = directory / "client.pem"
    path.write_text(credential.certificate + credential.key)
    context.load_cert_chain(path)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with echo_application() as application:
        yield Mesh(ScratchAuthority(), tmp_path, application)


def declared(port: int, protocol: Protocol, mode: MtlsMode) -> InboundListener:
    return InboundListener(
        ports=(InboundPort(port, 9080, HOST, protocol, mode),),
        unknown=(UnknownPort(None, MtlsMode.STRICT),),
    )


def undeclared(mode: MtlsMode) -> InboundListener:
    return InboundListener(ports=(), unknown=(UnknownPort(None, mode),))


def request(port: int, tls: ssl.SSLContext | None = None) -> dict[str, object]:
    """What the application saw of a GET by HTTP/1.1; raises OSError when there is no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        connection = raw if tls is None else tls.wrap_socket(raw)
        connection.sendall(b"GET /a/../b HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n")
        answer = b""
        while data := connection.recv(65536):
            answer += data
        if not answer:
            raise ConnectionResetError("closed without an answer")
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status != 200:
        return {"status": status}
    seen: dict[str, object] = json.loads(body)
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    return {"status": status, "server": headers.get("server"), **seen}


def exchange(port: int, data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        connection = raw if tls is None else tls.wrap_socket(raw)
        connection.sendall(data)
        answer: bytes = connection.recv(65536)
        return answer


def negotiated(port: int, tls: ssl.SSLContext) -> str | None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        return tls.wrap_socket(raw).selected_alpn_protocol()


def test_permissive_http_serves_plaintext_and_mesh_tls_and_nothing_else(mesh: Mesh) -> None:
    port = free_port()
    with mesh.serve(declared(port, Protocol.HTTP, MtlsMode.PERMISSIVE), port):
        plain = request(port)
        assert plain["status"] == 200
        assert plain["server"] == "istio-envoy"
        assert plain["path"] == "/b", "paths are normalized before anything looks at them"
        headers = plain["headers"]
        assert isinstance(headers, dict)
        assert "x-forwarded-client-cert" not in headers
        assert headers["x-request-id"]

        assert request(port, mesh.client(HTTP1))["status"] == 200
        assert negotiated(port, mesh.client(HTTP2)) == "h2"
        assert negotiated(port, mesh.client(HTTP1)) == "http/1.1"
        assert not answers(port, mesh.client(["h2", "http/1.1"]))


def test_the_application_learns_who_called(mesh: Mesh) -> None:
    port = free_port()
    with mesh.serve(declared(port, Protocol.HTTP, MtlsMode.STRICT), port):
        headers = request(port, mesh.client(HTTP1))["headers"]
        assert isinstance(headers, dict)
        certificate = dict(
            part.split("=", 1) for part in headers["x-forwarded-client-cert"].split(";")
        )
        assert certificate["By"] == SERVER
        assert certificate["URI"] == CLIENT
        assert certificate["Hash"]


def test_strict_closes_plaintext_and_strangers(mesh: Mesh) -> None:
    port = free_port()
    with mesh.serve(declared(port, Protocol.HTTP, MtlsMode.STRICT), port):
        assert request(port, mesh.client(HTTP1))["status"] == 200
        assert not answers(port)
        assert not answers(port, mesh.client(HTTP1, identity=None))
        foreign = "spiffe://elsewhere.org/ns/default/sa/curl"
        assert not answers(port, mesh.client(HTTP1, identity=foreign))


def test_disable_serves_plaintext_and_leaves_tls_to_the_application(mesh: Mesh) -> None:
    port = free_port()
    with mesh.serve(declared(port, Protocol.TCP, MtlsMode.DISABLE), port):
        assert exchange(port, b"hello\n") == b"opaque:hello\n"
        hello = b"\x16\x03\x01\x00\x04\x01\x00\x00\n"
        assert exchange(port, hello).startswith(b"opaque:\x16\x03\x01")


def test_a_detected_port_tells_http_from_opaque_bytes(mesh: Mesh) -> None:
    port = free_port()
    with mesh.serve(declared(port, Protocol.AUTO, MtlsMode.PERMISSIVE), port):
        assert request(port)["server"] == "istio-envoy"
        assert request(port, mesh.client(DETECTED_HTTP))["server"] == "istio-envoy"
        assert negotiated(port, mesh.client(DETECTED_HTTP)) is None
        assert exchange(port, b"hello\n") == b"opaque:hello\n"
        assert exchange(port, b"hello\n", mesh.client(OPAQUE)) == b"opaque:hello\n"
        # TLS of the application's own is passed on unopened.
        assert request_bytes_reach_application(port)


def request_bytes_reach_application(port: int) -> bool:
    """A TLS hello without mesh ALPN: the application, which expects no TLS, echoes its bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    session = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return exchange(port, outgoing.read() + b"\n").startswith(b"opaque:\x16\x03")


@pytest.mark.parametrize(
    ("mode", "plaintext", "mesh_tls"),
    [
        (MtlsMode.PERMISSIVE, True, True),
        (MtlsMode.STRICT, False, True),
        (MtlsMode.DISABLE, True, False),
    ],
)
def test_ports_that_no_service_names_obey_the_mode(
    mesh: Mesh, mode: MtlsMode, plaintext: bool, mesh_tls: bool
) -> None:
    port = free_port()
    with mesh.serve(undeclared(mode), port):
        assert answers(port, None) == plaintext
        assert answers(port, mesh.client(HTTP1)) == mesh_tls


def answers(port: int, tls: ssl.SSLContext | None = None) -> bool:
    try:
        return request(port, tls)["status"] == 200
    except OSError:
        return False


def test_http10_is_refused_unless_allowed(mesh: Mesh) -> None:
    """https://istio.io/latest/docs/ops/common-problems/network-issues/ (426 Upgrade Required)."""
    port = free_port()
    with mesh.serve(declared(port, Protocol.HTTP, MtlsMode.PERMISSIVE), port):
        answer = exchange(port, b"GET / HTTP/1.0\r\nhost: reviews\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 426")


class ServerFirst(socketserver.BaseRequestHandler):
    """Greets before it is spoken to."""

    accepted = 0

    def handle(self) -> None:
        type(self).accepted += 1
        self.request.sendall(b"220 ready\n")
        while self.request.recv(65536):
            pass


@pytest.fixture
def server_first(tmp_path: Path) -> Iterator[Mesh]:
    ServerFirst.accepted = 0
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), ServerFirst) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Mesh(ScratchAuthority(), tmp_path, int(server.server_address[1]))
        server.shutdown()


def test_a_server_may_speak_first_within_mesh_tls(server_first: Mesh) -> None:
    port = free_port()
    with (
        server_first.serve(declared(port, Protocol.TCP, MtlsMode.STRICT), port),
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
    ):
        connection = server_first.client(OPAQUE).wrap_socket(raw)
        assert connection.recv(100) == b"220 ready\n"


def test_strangers_open_no_connection_to_the_application(server_first: Mesh) -> None:
    port = free_port()
    with server_first.serve(declared(port, Protocol.TCP, MtlsMode.STRICT), port):
        foreign = "spiffe://elsewhere.org/ns/default/sa/curl"
        assert not greets(port, None)
        assert not greets(port, server_first.client(OPAQUE, identity=None))
        assert not greets(port, server_first.client(OPAQUE, foreign))
        assert ServerFirst.accepted == 0
        assert exchange(port, b"hello\n", server_first.client(OPAQUE)) == b"220 ready\n"
        assert ServerFirst.accepted == 1


def greets(port: int, tls: ssl.SSLContext | None) -> bool:
    try:
        return exchange(port, b"hello\n", tls) != b""
    except OSError:
        return False
