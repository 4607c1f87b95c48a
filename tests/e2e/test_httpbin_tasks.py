"""Istio's tasks on httpbin and tcp-echo: circuit breaking, mirroring, ingress, TCP shifting.

https://istio.io/latest/docs/tasks/traffic-management/
"""

import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.e2e

CURL = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl}
spec:
  selector: {matchLabels: {app: curl}}
  template:
    metadata:
      labels: {app: curl}
      annotations:
        proxy.istio.io/config: |-
          proxyStatsMatcher:
            inclusionPrefixes: ["cluster.outbound"]
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: curl, image: curlimages/curl, command: [/bin/sleep, infinity]}
"""

HTTPBIN_VERSIONS = """
apiVersion: v1
kind: Service
metadata: {name: httpbin, labels: {app: httpbin}}
spec:
  ports: [{name: http, port: 8000, targetPort: 8080}]
  selector: {app: httpbin}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin-v1}
spec:
  selector: {matchLabels: {app: httpbin, version: v1}}
  template:
    metadata: {labels: {app: httpbin, version: v1}}
    spec:
      containers: [{name: httpbin, image: mccutchen/go-httpbin, ports: [{containerPort: 8080}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin-v2}
spec:
  selector: {matchLabels: {app: httpbin, version: v2}}
  template:
    metadata: {labels: {app: httpbin, version: v2}}
    spec:
      containers: [{name: httpbin, image: mccutchen/go-httpbin, ports: [{containerPort: 8080}]}]
"""


@pytest.fixture(scope="module")
def httpbin(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "httpbin.yaml"
    file.write_text(CURL + "---" + HTTPBIN_VERSIONS)
    mesh.up(file)
    return mesh


def test_mirroring(httpbin: Mesh) -> None:
    """v1 answers; v2 gets a copy of every request, its Host ending in -shadow."""
    httpbin.apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: httpbin
spec:
  hosts:
    - httpbin
  http:
  - route:
    - destination:
        host: httpbin
        subset: v1
      weight: 100
    mirror:
      host: httpbin
      subset: v2
    mirrorPercentage:
      value: 100.0
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: httpbin
spec:
  host: httpbin
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
""")
    answers = httpbin.call("deploy/curl", "http://httpbin:8000/get?mirrored", "--count", "5")
    assert [answer.status for answer in answers] == [200] * 5

    def lines(version: str) -> list[str]:
        text = httpbin.argosy("logs", f"deploy/httpbin-{version}").stdout
        return [line for line in text.splitlines() if "/get?mirrored" in line]

    eventually(lambda: len(lines("v2")) == 5, "v2 has the copies")
    assert len(lines("v1")) == 5
    assert all('"httpbin-shadow:8000"' in line for line in lines("v2")), lines("v2")
    assert not any("shadow" in line for line in lines("v1"))
    httpbin.argosy("delete", "--wait", "vs", "httpbin")
    httpbin.argosy("delete", "--wait", "dr", "httpbin")


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.connectionPool.tcp.maxConnections",
    "DestinationRule.trafficPolicy.connectionPool.http.http1MaxPendingRequests",
    "DestinationRule.trafficPolicy.connectionPool.http.maxRequestsPerConnection",
)
def test_circuit_breaking(httpbin: Mesh) -> None:
    """One connection and one pending request: more at a time are refused at once, and counted."""
    httpbin.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: httpbin
spec:
  host: httpbin
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 1
      http:
        http1MaxPendingRequests: 1
        maxRequestsPerConnection: 1
    outlierDetection:
      consecutive5xxErrors: 1
      interval: 1s
      baseEjectionTime: 3m
      maxEjectionPercent: 100
""")
    assert httpbin.status("deploy/curl", "http://httpbin:8000/get") == 200

    def load(concurrency: int) -> Counter[int]:
        options = ("--count", "60", "--concurrency", str(concurrency), "--fresh")
        answers = httpbin.call("deploy/curl", "http://httpbin:8000/delay/0.02", *options)
        return Counter(answer.status for answer in answers)

    def overflow() -> int:
        text = httpbin.envoy("deploy/curl", "/stats")
        found = [line for line in text.splitlines() if "upstream_rq_pending_overflow" in line]
        (line,) = [line for line in found if "outbound|8000||httpbin" in line]
        return int(line.rpartition(": ")[2])

    before = overflow()
    few = load(1)
    assert few == {200: 60}
    some, many = load(3), load(8)
    assert set(some) <= {200, 503}
    assert set(many) == {200, 503}
    assert many[503] > some[503], (some, many)
    assert overflow() - before == some[503] + many[503]
    httpbin.argosy("delete", "--wait", "dr", "httpbin")


@pytest.mark.covers(
    "Gateway.selector",
    "Gateway.servers[].port.number",
    "Gateway.servers[].port.protocol",
    "Gateway.servers[].hosts",
)
def test_ingress(httpbin: Mesh) -> None:
    httpbin.apply("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: httpbin-gateway
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "httpbin.example.com"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: httpbin-ingress
spec:
  hosts:
  - "httpbin.example.com"
  gateways:
  - httpbin-gateway
  http:
  - match:
    - uri:
        prefix: /status
    - uri:
        prefix: /delay
    route:
    - destination:
        port:
          number: 8000
        host: httpbin
""")
    with httpx.Client(base_url=httpbin.url, headers={"Host": "httpbin.example.com"}) as client:
        answer = client.get("/status/200")
        assert answer.status_code == 200
        assert answer.headers["server"] == "istio-envoy"
        assert client.get("/headers").status_code == 404
        assert client.get("/status/200", headers={"Host": "other.example.com"}).status_code == 404


@pytest.mark.covers("VirtualService.tcp[].match[].port", "VirtualService.tcp[].route")
def test_tcp_traffic_shifting(httpbin: Mesh, istio_samples: Path) -> None:
    """All connections to v1, then a fifth of them to v2."""
    samples = istio_samples / "tcp-echo"
    httpbin.apply(samples / "tcp-echo-services.yaml")
    for version in ("v1", "v2"):
        httpbin.argosy("wait", f"deploy/tcp-echo-{version}", "--for", "available")
    httpbin.apply(samples / "tcp-echo-all-v1.yaml")
    client = (
        "import socket,collections;words=collections.Counter()\n"
        "for _ in range(200):\n"
        "  with socket.create_connection(('istio-ingressgateway.istio-system',31400),10) as s:\n"
        "    s.sendall(b'world\\n');words[s.makefile().readline().split()[0]]+=1\n"
        "print(words['one'],words['two'])"
    )

    def connect() -> tuple[int, int]:
        done = httpbin.exec("deploy/curl", sys.executable, "-c", client)
        one, two = done.stdout.split()
        return int(one), int(two)

    assert connect() == (200, 0)
    httpbin.apply(samples / "tcp-echo-20-v2.yaml")
    one, two = connect()
    assert one + two == 200
    assert 20 <= two <= 60, (one, two)
