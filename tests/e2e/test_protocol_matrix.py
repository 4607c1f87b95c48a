"""Every protocol that Istio names, declared and not, through two sidecars, PERMISSIVE and STRICT.

https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
"""

import base64
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from inside import Inside, InsideError, inside, outside
from manifests import deployment, mesh_config, service
from mesh import ISTIO_SAMPLES, SAMPLES, Mesh, eventually
from rules import Rules

from argosy.testing.certificates import ScratchAuthority

pytestmark = pytest.mark.e2e

CLIENT = SAMPLES / "grpc-echo" / "client.py"
SERVERS = Path(__file__).with_name("protocol_servers.py")
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
"""


def app(kind: str, ports: str, *files: str) -> str:
    argv = (sys.executable, str(SERVERS), kind, ports, *files)
    first = 0 if kind == "udp" else int(ports.split(",")[0])
    return deployment(kind, *argv, port=first)


def port(name: str, number: int, **more: object) -> dict[str, object]:
    return {"name": name, "port": number, **more}


def manifest(directory: Path) -> str:
    credential = ScratchAuthority().credential("tls.example.com")
    (directory / "tls.crt").write_text(credential.certificate)
    (directory / "tls.key").write_text(credential.key)
    (directory / "ca.crt").write_text(credential.roots)
    files = (str(directory / "tls.crt"), str(directory / "tls.key"))
    return (
        deployment("curl", image="curlimages/curl")
        + app("mysql", "3306,7306")
        + service("mysql", "mysql", {"port": 3306}, )
        + service("mysql-named", "mysql", port("mysql", 4406, targetPort=3306))
        + service("mysql-tcp", "mysql", port("tcp-db", 5506, targetPort=3306))
        + service("mysql-undeclared", "mysql", {"port": 7306})
        + app("postgres", "5432")
        + service("postgres", "postgres", {"port": 5432})
        + service("postgres-tcp", "postgres", port("tcp-sql", 5433, targetPort=5432))
        + service(
            "postgres-app", "postgres", port("sql", 5434, targetPort=5432, appProtocol="tcp")
        )
        + app("tls", "8443", *files)
        + service("tls", "tls", port("https-web", 443, targetPort=8443))
        + service("tls-app", "tls", port("web", 444, targetPort=8443, appProtocol="tls"))
        + service("tls-undeclared", "tls", {"port": 8443})
        + app("udp", "5353")
        + service("udp", "udp", port("udp-echo", 5353, protocol="UDP"), headless=True)
        + app("websocket", "8080")
        + service(
            "ws", "websocket", port("web", 80, targetPort=8080, appProtocol="kubernetes.io/ws")
        )
        + deployment("any", sys.executable, str(SERVERS.with_name("servers.py")), "any", "7000,7004", port=7000)
        + service("h2c", "any", port("web", 80, targetPort=7000, appProtocol="kubernetes.io/h2c"))
        + service("http2-app", "any", port("x", 80, targetPort=7000, appProtocol="http2"))
        + deployment(
            "http10",
            *(sys.executable, str(SERVERS.with_name("servers.py")), "any", "7000"),
            port=7000,
            annotations={"proxy.istio.io/config": "proxyMetadata: {ISTIO_META_HTTP10: '1'}"},
        )
        + service("http10", "http10", port("http", 80, targetPort=7000))
        + service("redis", "any", port("redis", 6379, targetPort=7004))
        + service("mongo", "any", port("mongo", 27018, targetPort=7004))
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml")


@pytest.fixture(scope="module")
def matrix(mesh: Mesh, files: Path) -> Mesh:
    (files / "workloads.yaml").write_text(manifest(files))
    (files / "images.yaml").write_text(
        "images:\n"
        '- match: ".*tornado-websocket-example(:.*)?"\n'
        f'  command: ["{sys.executable}", "{SERVERS}", "websocket", "8888"]\n'
    )
    workloads = [files / "workloads.yaml", SAMPLES / "grpc-echo" / "grpc-echo.yaml"]
    if ISTIO_SAMPLES.is_dir():
        workloads.append(ISTIO_SAMPLES / "websockets" / "app.yaml")
    mesh.up(*workloads, options=("--images", str(files / "images.yaml")))
    return mesh


@pytest.fixture(scope="module")
def curl(matrix: Mesh) -> Iterator[Inside]:
    with inside(matrix, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(matrix: Mesh) -> Iterator[Rules]:
    with Rules(matrix) as rules:
        yield rules


@pytest.fixture(params=["PERMISSIVE", "STRICT"])
def mode(request: pytest.FixtureRequest, rules: Rules) -> str:
    if request.param == "STRICT":
        rules.apply("strict", STRICT)
    return str(request.param)


# Server first.


def test_mysql_where_the_port_says_so(curl: Inside, mode: str) -> None:
    """By name, by ``tcp``, and by number alone: 3306 is known to speak first."""
    for host, number in (("mysql-named", 4406), ("mysql-tcp", 5506), ("mysql", 3306)):
        found = curl.call("mysql", host=host, port=number)
        assert found == {"greeting": "8.4.0", "login": True, "ping": True}, (mode, host)


def test_postgres_declared_and_not(curl: Inside, mode: str) -> None:
    """Its client begins, and not with HTTP, so detection knows it at once."""
    for host, number in (("postgres-tcp", 5433), ("postgres-app", 5434), ("postgres", 5432)):
        found = curl.call("postgres", host=host, port=number)
        assert found == {"tls": "N", "login": "RZ", "query": "C"}, (mode, host)


@pytest.mark.covers("MeshConfig.protocolDetectionTimeout")
def test_an_undeclared_server_first_port_needs_a_detection_timeout(
    curl: Inside, rules: Rules
) -> None:
    """As in Istio: without a timeout, both sides wait for each other."""
    assert curl.call("mysql", host="mysql-undeclared", port=7306, timeout=1) == {"greeting": ""}
    rules.apply("mesh", mesh_config("protocolDetectionTimeout: 0.2s"))
    eventually(
        lambda: curl.call("mysql", host="mysql-undeclared", port=7306)["greeting"] == "8.4.0",
        "the detection ends",
    )


# TLS of the application's own.


def test_the_applications_own_tls_passes_with_its_sni(curl: Inside, files: Path, mode: str) -> None:
    for host, number in (("tls", 443), ("tls-app", 444), ("tls-undeclared", 8443)):
        answer = curl.get(
            f"https://{host}:{number}/", ca=str(files / "ca.crt"), server_name="tls.example.com"
        )
        assert answer.json == {"tls": "TLSv1.3", "sni": "tls.example.com"}, (mode, host)


# HTTP.


def test_app_protocol_says_what_the_application_speaks(curl: Inside, mode: str) -> None:
    for host in ("h2c", "http2-app"):
        for http2 in (True, False):
            answer = curl.get(f"http://{host}/", http2=http2)
            assert (answer.status, answer.json["protocol"]) == (200, "HTTP/2"), (host, mode)
    found = curl.call("websocket", host="ws", port=80, authority="ws", messages=["a"], path="/ws")
    assert (found["accepted"], found["echoes"]) == (True, ["a"])


@pytest.mark.covers("MeshConfig.defaultConfig.proxyMetadata")
def test_http10_where_it_is_allowed(matrix: Mesh, curl: Inside, mode: str) -> None:
    """As in Istio it is HTTP only where ISTIO_META_HTTP10 says so, and else unknown bytes."""
    request = "GET /x HTTP/1.0\r\nHost: http10\r\n\r\n"
    with inside(matrix, "deploy/http10") as old:
        answer = old.call("raw_http", host="http10", port=80, text=request)
    assert answer.startswith("HTTP/1.0 200"), (mode, answer)
    assert '"path": "/x"' in answer
    with pytest.raises(InsideError):
        curl.call("raw_http", host="http10", port=80, text=request)


def test_redis_and_mongo_ports_carry_bytes(curl: Inside, mode: str) -> None:
    """Istio's Redis filter is off by default; its Mongo filter only counts."""
    for host, number in (("redis", 6379), ("mongo", 27018)):
        found = curl.call("exchange", host=host, port=number, text="hello", end_first=True)
        assert found == "raw:hello", (mode, host)


# gRPC.


def grpc(mesh: Mesh, *options: str) -> list[str]:
    argv = (sys.executable, str(CLIENT), *options)
    return mesh.exec("deploy/curl", *argv, check=False).stdout.splitlines()


def test_grpc_of_every_kind(matrix: Mesh, mode: str) -> None:
    (gathered,) = grpc(matrix, "--call", "gather", "--count", "30")
    assert gathered.split()[1] == "30"
    assert len(grpc(matrix, "--call", "count", "--count", "30")) == 30
    assert len(grpc(matrix, "--call", "chat", "--count", "5")) == 5
    (unary,) = grpc(matrix)
    peer = "peer=spiffe://cluster.local/ns/default/sa/default"
    assert unary.endswith(peer), mode


@pytest.mark.parametrize("status", ["NOT_FOUND", "PERMISSION_DENIED", "INTERNAL"])
def test_grpc_status_and_trailers(matrix: Mesh, status: str) -> None:
    (answer,) = grpc(matrix, "--metadata", f"x-status: {status}")
    assert answer.startswith(f"{status} as it was asked to tries="), answer


def test_grpc_deadlines(matrix: Mesh) -> None:
    (late,) = grpc(matrix, "--timeout", "0.3", "--metadata", "x-delay: 5")
    assert late.startswith("DEADLINE_EXCEEDED")


WEB = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: grpc-web, protocol: GRPC-WEB}
    hosts: ["grpc.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["grpc.example.com"]
  gateways: [web]
  http:
  - route: [{destination: {host: grpc-echo}}]
"""


@pytest.mark.covers("Gateway.servers[].port.protocol")
def test_grpc_web_at_the_gateway(matrix: Mesh, rules: Rules) -> None:
    """A browser's call: HTTP/1.1, and the trailers as the last frame of the body."""
    rules.apply("web", WEB)
    url = urlsplit(matrix.url)
    message = b"\x0a\x02hi"
    frame = b"\0" + struct.pack("!I", len(message)) + message
    body = base64.b64encode(frame).decode()
    head = (
        "POST /argosy.samples.Echo/Say HTTP/1.1\r\nHost: grpc.example.com\r\n"
        "Content-Type: application/grpc-web-text\r\nAccept: application/grpc-web-text\r\n"
        f"X-Grpc-Web: 1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with outside() as browser:
        answer = browser.call("raw_http", host=url.hostname, port=url.port, text=head + body)
    headers, _, encoded = answer.partition("\r\n\r\n")
    assert headers.startswith("HTTP/1.1 200"), answer
    assert "application/grpc-web-text" in headers
    text = "".join(line for line in encoded.split("\r\n")[1::2])  # chunks, without their lengths
    decoded = b"".join(base64.b64decode(part) for part in _padded(text))
    assert decoded[0] == 0
    assert b"hi" in decoded
    assert b"grpc-status:0" in decoded


def _padded(text: str) -> list[str]:
    """Base64 that was encoded in parts: each part ends with its padding."""
    parts, part = [], ""
    for i in range(0, len(text), 4):
        part += text[i : i + 4]
        if part.endswith("="):
            parts.append(part)
            part = ""
    return [*parts, part]


# Istio's own sample.


def test_istios_websocket_sample(matrix: Mesh, rules: Rules, istio_samples: Path) -> None:
    rules.apply("tornado", (istio_samples / "websockets" / "route.yaml").read_text())
    url = urlsplit(matrix.url)
    with outside() as browser:
        found = browser.call(
            "websocket", host=url.hostname, port=url.port, authority="any", messages=["a", "b"],
            path="/ws",
        )  # fmt: skip
        assert (found["accepted"], found["echoes"]) == (True, ["a", "b"])
        assert browser.get(matrix.url).body == "hello"


# UDP.


def test_udp_between_pods_is_left_alone(matrix: Mesh, curl: Inside, mode: str) -> None:
    (pod,) = (p for p in matrix.get("pods") if p["metadata"]["labels"]["app"] == "udp")
    for host in (pod["status"]["podIP"], "udp"):
        assert curl.call("udp", host=host, port=5353, text="hi") == "udp:hi", mode
