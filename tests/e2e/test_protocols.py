"""What applications speak goes through two sidecars: gRPC, h2c, WebSocket, TCP, detected ports.

https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from inside import Inside, inside, outside
from manifests import deployment, server, service
from mesh import SAMPLES, Mesh
from rules import Rules

pytestmark = pytest.mark.e2e

CLIENT = SAMPLES / "grpc-echo" / "client.py"
THREE_MEGABYTES = 3_000_000

WORKLOADS = (
    deployment("curl", image="curlimages/curl")
    + deployment("httpbin", image="mccutchen/go-httpbin", port=8080)
    + service("httpbin", "httpbin", {"name": "http", "port": 8000, "targetPort": 8080})
    + deployment("any", *server("any", "7000,7001,7004"), port=7000)
    + service("any", "any", {"port": 7000})
    + service("any-h2", "any", {"name": "http2", "port": 7002, "targetPort": 7001})
    + service("any-tcp", "any", {"name": "tcp", "port": 7003, "targetPort": 7004})
    + deployment("greeting", *server("greeting", 3306), port=3306)
    + service("greeting", "greeting", {"port": 3306})
    + service("greeting-named", "greeting", {"name": "mysql", "port": 4406, "targetPort": 3306})
    + service(
        "grpc-app-protocol", "grpc-echo", {"name": "rpc", "appProtocol": "grpc", "port": 7070}
    )
)


@pytest.fixture(scope="module")
def protocols(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file, SAMPLES / "grpc-echo" / "grpc-echo.yaml")
    return mesh


@pytest.fixture(scope="module")
def curl(protocols: Mesh) -> Iterator[Inside]:
    with inside(protocols, "deploy/curl") as clients:
        yield clients


@pytest.fixture(scope="module")
def behind_any(protocols: Mesh) -> Iterator[Inside]:
    """The pod of the server ``any``, whose Envoy can be asked."""
    with inside(protocols, "deploy/any") as clients:
        yield clients


@pytest.fixture
def rules(protocols: Mesh) -> Iterator[Rules]:
    with Rules(protocols) as rules:
        yield rules


def handshakes(inside: Inside) -> int:
    """How many TLS connections from other workloads the Envoy there has taken."""
    text = inside.get("http://127.0.0.1:15000/stats?filter=15006.ssl.handshake").body
    (line,) = text.splitlines()
    return int(line.rpartition(": ")[2])


# gRPC.


def grpc(mesh: Mesh, *options: str, check: bool = True) -> list[str]:
    """The lines that the sample client prints in the workload curl."""
    done = mesh.exec("deploy/curl", sys.executable, str(CLIENT), *options, check=check)
    return done.stdout.splitlines()


@pytest.mark.parametrize("target", ["grpc-echo:7070", "grpc-app-protocol:7070"])
def test_grpc_calls_of_one_connection_are_spread(protocols: Mesh, target: str) -> None:
    """Both versions answer, though the client has one connection: the sidecar balances calls."""
    answers = grpc(protocols, "--target", target, "--count", "40")
    versions = Counter(line.split()[0] for line in answers)
    assert set(versions) == {"v1", "v2"}
    assert [line.split()[1] for line in answers] == [str(i) for i in range(40)]


def test_grpc_streams(protocols: Mesh) -> None:
    counted = grpc(protocols, "--call", "count", "--count", "500")
    assert [line.split()[1] for line in counted] == [str(i) for i in range(500)]
    assert len({line.split()[0] for line in counted}) == 1
    chat = grpc(protocols, "--call", "chat", "--count", "20")
    assert [line.split()[1] for line in chat] == [f"message-{i}" for i in range(20)]


def test_grpc_unavailable_is_retried_twice(protocols: Mesh, rules: Rules) -> None:
    """Istio's default retries: two more tries when the status is UNAVAILABLE.

    Each version counts tries for itself, so all must go to one.
    """
    rules.apply("grpc", grpc_rule(v1=100))
    two = grpc(protocols, "--metadata", "x-fail: 2", "--metadata", "x-case: two")
    assert [line.rpartition(" ")[0] for line in two] == ["v1 0 tries=3"]
    options = ("--metadata", "x-fail: 3", "--metadata", "x-case: three")
    assert grpc(protocols, *options, check=False) == ["UNAVAILABLE try 3 fails as it was asked to"]


def grpc_rule(v1: int) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: grpc-echo}}
spec:
  hosts: [grpc-echo]
  http:
  - route:
    - {{destination: {{host: grpc-echo, subset: v1}}, weight: {v1}}}
    - {{destination: {{host: grpc-echo, subset: v2}}, weight: {100 - v1}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: grpc-echo}}
spec:
  host: grpc-echo
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
"""


def test_grpc_weights_hold_for_each_call(protocols: Mesh, rules: Rules) -> None:
    rules.apply("grpc", grpc_rule(v1=80))
    answers = grpc(protocols, "--count", "400")
    versions = Counter(line.split()[0] for line in answers)
    assert versions["v1"] + versions["v2"] == 400
    # Four standard deviations of 400 draws with 0.2 are 32.
    assert 48 <= versions["v2"] <= 112, versions


# HTTP.


def test_h2c_by_prior_knowledge(curl: Inside) -> None:
    """To a port named http2: HTTP/2 from the application to the application."""
    answers = curl.requests("http://any-h2:7002/x?y=1", http2=True, count=5, method="POST", size=9)
    assert [answer.status for answer in answers] == [200] * 5
    for answer in answers:
        assert answer.version == "HTTP/2"
        assert answer.json["protocol"] == "HTTP/2"
        assert answer.json["path"] == "/x?y=1"
        assert answer.json["headers"]["x-received"] == "9"
    http1 = curl.get("http://any-h2:7002/")
    assert (http1.status, http1.version) == (200, "HTTP/1.1")
    assert http1.json["protocol"] == "HTTP/2", "a port named http2 gets HTTP/2 from its sidecar"


def test_http_between_sidecars_is_http2_in_mutual_tls(protocols: Mesh, curl: Inside) -> None:
    """Though the application speaks HTTP/1.1."""
    http2 = "http.inbound_0.0.0.0_8080;.downstream_rq_http2_total"
    before = protocols.stat("deploy/httpbin", http2)
    answer = curl.get("http://httpbin:8000/headers")
    assert answer.version == "HTTP/1.1"
    assert "URI=spiffe://cluster.local/ns/default/sa/default" in answer.body
    assert protocols.stat("deploy/httpbin", http2) == before + 1
    assert protocols.stat("deploy/httpbin", "http.inbound_0.0.0.0_8080;.downstream_rq_http1") == 0


def test_websocket_between_sidecars(curl: Inside) -> None:
    """The hop between the sidecars is HTTP/2, where a WebSocket is an extended CONNECT."""
    messages = [f"message {i}" for i in range(20)]
    found = curl.call(
        "websocket", host="httpbin", port=8000, authority="httpbin:8000", messages=messages
    )
    assert found["accepted"], found
    assert found["echoes"] == messages


def test_the_ingress_gateway_passes_websockets_grpc_and_large_bodies(
    protocols: Mesh, rules: Rules, curl: Inside
) -> None:
    rules.apply(
        "web",
        """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [web]
  http:
  - match: [{uri: {prefix: /argosy.samples.Echo/}}]
    route:
    - destination: {host: grpc-echo, port: {number: 7070}}
  - route:
    - destination: {host: httpbin, port: {number: 8000}}
""",
    )
    url = urlsplit(protocols.url)
    with outside() as browser:
        found = browser.call(
            "websocket", host=url.hostname, port=url.port, authority="any.host", messages=["a", "b"]
        )
        assert found["echoes"] == ["a", "b"], found
        body = browser.get(f"{protocols.url}/post", method="POST", size=THREE_MEGABYTES)
        assert body.status == 200
    target = ("--target", f"{url.hostname}:{url.port}", "--call", "chat", "--count", "3")
    chat = subprocess.run(
        [sys.executable, str(CLIENT), *target], capture_output=True, text=True, check=False
    )
    assert [line.split()[1] for line in chat.stdout.splitlines()] == [
        f"message-{i}" for i in range(3)
    ], chat
    assert curl.get("http://istio-ingressgateway.istio-system/get").status == 200


def test_large_bodies_both_ways(curl: Inside) -> None:
    sent = curl.get("http://httpbin:8000/post", method="POST", size=THREE_MEGABYTES)
    assert sent.status == 200
    assert sent.length > THREE_MEGABYTES, "the body comes back in the answer"
    received = curl.get(f"http://httpbin:8000/bytes/{THREE_MEGABYTES}")
    assert (received.status, received.length) == (200, THREE_MEGABYTES)
    chunked = curl.get("http://any-h2:7002/", method="POST", size=100_000, chunked=True)
    assert chunked.json["headers"]["x-received"] == "100000"


def test_streamed_answers_head_and_many_at_once(curl: Inside) -> None:
    streamed = curl.get("http://httpbin:8000/stream/50")
    assert [json.loads(line)["id"] for line in streamed.body.splitlines()] == list(range(50))
    head = curl.get("http://httpbin:8000/bytes/1000", method="HEAD")
    assert (head.status, head.length, head.headers["content-length"]) == (200, 0, "1000")
    parallel = curl.requests("http://httpbin:8000/get", count=100, parallel=100)
    assert Counter(answer.status for answer in parallel) == {200: 100}


def test_connections_are_kept_and_closed_as_asked(curl: Inside) -> None:
    request = "GET /status/204 HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n"
    connection = curl.call("connect", host="httpbin", port=8000)
    for _ in range(3):
        curl.call("send", connection=connection, text=request)
        head = ""
        while not head.endswith("\r\n\r\n"):
            head += curl.call("receive", connection=connection, count=1) or pytest.fail(head)
        assert head.startswith("HTTP/1.1 204")
        assert "connection: close" not in head.lower()
    curl.call("close", connection=connection)
    last = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    answer = curl.call("raw_http", host="httpbin", port=8000, text=last)
    assert answer.startswith("HTTP/1.1 204")
    assert "connection: close" in answer.lower()


# TCP.


def test_tcp_is_in_mutual_tls_and_half_closes(curl: Inside, behind_any: Inside) -> None:
    before = handshakes(behind_any)
    answer = curl.call("exchange", host="any-tcp", port=7003, text="hello", end_first=True)
    assert answer == "raw:hello", "the answer comes after the client's end of sending"
    assert handshakes(behind_any) == before + 1


def test_the_server_may_speak_first(curl: Inside) -> None:
    """Ports named mysql, and 3306 without a name, are not held back by detection."""
    for host, port in (("greeting-named", 4406), ("greeting", 3306)):
        connection = curl.call("connect", host=host, port=port)
        greeting = curl.call("receive", connection=connection, count=15)
        assert greeting == "5.7.0-greeting\n", host
        curl.call("send", connection=connection, text="select")
        assert curl.call("receive", connection=connection, count=11) == "echo:select"
        curl.call("close", connection=connection)


def test_a_connection_outlives_rules_elsewhere(rules: Rules, curl: Inside) -> None:
    connections = [
        curl.call("connect", host="any-tcp", port=7003),
        curl.call("connect", host="greeting-named", port=4406),
    ]
    curl.call("send", connection=connections[0], text="before")
    assert curl.call("receive", connection=connections[0], count=10) == "raw:before"
    assert curl.call("receive", connection=connections[1], count=15) == "5.7.0-greeting\n"
    rules.apply("grpc", grpc_rule(v1=30))
    rules.apply("late", service("late", "any", {"name": "tcp", "port": 7009, "targetPort": 7004}))
    curl.call("send", connection=connections[0], text="after")
    assert curl.call("receive", connection=connections[0], count=9) == "raw:after"
    curl.call("send", connection=connections[1], text="after")
    assert curl.call("receive", connection=connections[1], count=10) == "echo:after"
    for connection in connections:
        curl.call("close", connection=connection)


# A port whose protocol nobody declared.


def test_an_undeclared_port_is_detected(curl: Inside, behind_any: Inside) -> None:
    http1 = curl.get("http://any:7000/a")
    assert (http1.status, http1.json["protocol"]) == (200, "HTTP/1.1")
    assert "URI=spiffe://" in http1.json["headers"]["x-forwarded-client-cert"]
    http2 = curl.get("http://any:7000/b", http2=True)
    assert (http2.status, http2.version, http2.json["protocol"]) == (200, "HTTP/2", "HTTP/2")
    assert "URI=spiffe://" in http2.json["headers"]["x-forwarded-client-cert"]
    before = handshakes(behind_any)
    assert curl.call("exchange", host="any", port=7000, text="some bytes") == "raw:some bytes"
    assert handshakes(behind_any) == before + 1
    assert curl.call("exchange", host="any", port=7000, text="hi") == "raw:hi"


def test_http_of_an_undeclared_port_is_routed_by_rules(rules: Rules, curl: Inside) -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: any}
spec:
  hosts: [any]
  http:
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418}
  - headers: {request: {set: {x-routed: "yes"}}}
    route: [{destination: {host: any}}]
"""
    rules.apply("any", rule)
    assert curl.get("http://any:7000/teapot").status == 418
    assert curl.get("http://any:7000/teapot", http2=True).status == 418
    assert curl.get("http://any:7000/").json["headers"]["x-routed"] == "yes"
    assert curl.get("http://any:7000/", http2=True).json["headers"]["x-routed"] == "yes"
    assert curl.call("exchange", host="any", port=7000, text="some bytes") == "raw:some bytes"
    rules.delete("any")
    assert "x-routed" not in curl.get("http://any:7000/").json["headers"]
