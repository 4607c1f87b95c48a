"""Istio's standard metrics as a scraper sees them: real Envoys count, the agent shows.

https://istio.io/latest/docs/reference/config/metrics/
https://istio.io/latest/docs/tasks/observability/metrics/tcp-metrics/
"""

import re
import sys
from pathlib import Path

import pytest
from manifests import account, deployment, service, virtual_service
from mesh import SAMPLES, Mesh, eventually

pytestmark = pytest.mark.e2e

APPLICATION = Path(__file__).with_name("metrics_application.py")
ECHO = SAMPLES / "tcp-echo" / "tcp_echo.py"
GRPC = SAMPLES / "grpc-echo"
_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

REFUSE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  selector: {matchLabels: {app: shop}}
  action: DENY
  rules: [{to: [{operation: {paths: [/admin]}}]}]
"""
RULES = """
- match: [{uri: {prefix: /fault}}]
  fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
  route: [{destination: {host: shop}}]
- match: [{uri: {prefix: /busy}}]
  directResponse: {status: 429}
- route: [{destination: {host: shop}}]
"""

Sample = tuple[dict[str, str], float]


@pytest.fixture(scope="module")
def running(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """``shop`` answers HTTP, ``echo`` opaque bytes, ``calls`` gRPC."""
    world = tmp_path_factory.mktemp("metrics") / "world.yaml"
    world.write_text(
        account("shop")
        + deployment(
            "shop",
            sys.executable,
            str(APPLICATION),
            "8080",
            port=8080,
            labels={"version": "v1"},
            annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            account="shop",
        )
        + service("shop", "shop", {"name": "http", "port": 80, "targetPort": 8080})
        + deployment("echo", sys.executable, str(ECHO), "9000", "hi", port=9000)
        + service("echo", "echo", {"name": "tcp", "port": 9000})
        + deployment(
            "calls", sys.executable, str(GRPC / "server.py"), "7070", port=7070, account="shop"
        )
        + service("calls", "calls", {"name": "grpc", "port": 7000, "targetPort": 7070})
        + REFUSE
        + "---\n"
        + virtual_service("shop", RULES, "[shop]")
    )
    mesh.up(world, SAMPLES / "curl")
    return mesh


def scrape(mesh: Mesh, target: str, path: str = ":15020/stats/prometheus") -> str:
    code = (
        "import urllib.request;"
        f"print(urllib.request.urlopen('http://127.0.0.1{path}').read().decode(), end='')"
    )
    return mesh.exec(target, sys.executable, "-c", code).stdout


def samples(text: str, metric: str, **labels: str) -> list[Sample]:
    found = []
    for line in text.splitlines():
        if match := _SAMPLE.fullmatch(line):
            own = dict(_LABEL.findall(match[2]))
            if match[1] == metric and labels.items() <= own.items():
                found.append((own, float(match[3])))
    return found


def total(text: str, metric: str, **labels: str) -> float:
    return sum(value for _, value in samples(text, metric, **labels))


CURL = {
    "source_workload": "curl",
    "source_workload_namespace": "default",
    "source_canonical_service": "curl",
    "source_canonical_revision": "latest",
    "source_cluster": "Kubernetes",
    "source_app": "curl",
    "source_version": "unknown",
    "source_principal": "spiffe://cluster.local/ns/default/sa/curl",
}
SHOP = {
    "destination_workload": "shop",
    "destination_workload_namespace": "default",
    "destination_canonical_service": "shop",
    "destination_canonical_revision": "v1",
    "destination_cluster": "Kubernetes",
    "destination_app": "shop",
    "destination_version": "v1",
    "destination_principal": "spiffe://cluster.local/ns/default/sa/shop",
    "destination_service": "shop.default.svc.cluster.local",
    "destination_service_name": "shop",
    "destination_service_namespace": "default",
}


def test_both_sides_of_a_request_have_all_labels(running: Mesh) -> None:
    """The client and the server count the same request, each with all that Istio says of it."""
    assert [c.status for c in running.call("deploy/curl", "http://shop/x", "--count", "5")] == [
        200
    ] * 5
    assert running.status("deploy/curl", "http://shop/status/503") == 503
    request = {"response_code": "200", "request_protocol": "http", "response_flags": "-"}
    client, server = scrape(running, "deploy/curl"), scrape(running, "deploy/shop")
    assert samples(client, "istio_requests_total", response_code="200") == [
        (
            {
                **CURL,
                **SHOP,
                **request,
                "reporter": "source",
                "connection_security_policy": "unknown",
            },
            5.0,
        )
    ]
    assert samples(server, "istio_requests_total", response_code="200") == [
        (
            {
                **CURL,
                **SHOP,
                **request,
                "reporter": "destination",
                "connection_security_policy": "mutual_tls",
            },
            5.0,
        )
    ]
    assert total(client, "istio_requests_total", response_code="503", **SHOP) == 1
    assert total(server, "istio_requests_total", response_code="503", **SHOP, **CURL) == 1
    assert "packed" not in client + server
    # Sizes are not among the usual ones.
    assert "istio_request_bytes" not in client


def test_durations_are_told_in_istios_buckets(running: Mesh) -> None:
    assert running.status("deploy/curl", "http://shop/slow") == 200

    def counted() -> bool:
        """The application takes 100 ms here; others may take some as well."""
        text = scrape(running, "deploy/shop")
        every, quick = (
            total(text, "istio_request_duration_milliseconds_bucket", **SHOP, le=le)
            for le in ("+Inf", "50")
        )
        spent = total(text, "istio_request_duration_milliseconds_sum", **SHOP)
        return quick < every and spent >= 100

    eventually(counted, "histograms are merged every few seconds")
    text = scrape(running, "deploy/shop")
    buckets = samples(text, "istio_request_duration_milliseconds_bucket", response_code="200")
    assert {"0.5", "1", "5", "1000", "3600000", "+Inf"} <= {own["le"] for own, _ in buckets}
    every = total(text, "istio_request_duration_milliseconds_bucket", **SHOP, le="+Inf")
    assert every == total(text, "istio_request_duration_milliseconds_count", **SHOP)


def test_what_the_proxies_answer_themselves_is_counted(running: Mesh) -> None:
    assert running.status("deploy/curl", "http://shop/admin") == 403
    assert running.status("deploy/curl", "http://shop/fault") == 418
    assert running.status("deploy/curl", "http://shop/busy") == 429
    client, server = scrape(running, "deploy/curl"), scrape(running, "deploy/shop")
    (refused,) = samples(server, "istio_requests_total", response_code="403")
    assert refused[0].items() >= {**CURL, **SHOP, "reporter": "destination"}.items()
    (aborted,) = samples(client, "istio_requests_total", response_code="418")
    assert aborted[0]["response_flags"] == "FI"
    assert aborted[0]["destination_service"] == "shop.default.svc.cluster.local"
    assert aborted[0]["destination_workload"] == "unknown"
    assert total(client, "istio_requests_total", response_code="429") == 1


def test_plaintext_is_counted_without_a_source(running: Mesh) -> None:
    """Nobody proves who calls, so nobody is named, whatever the headers say."""
    pod = next(p for p in running.get("pods") if p["metadata"]["name"].startswith("shop-"))
    code = (
        "import urllib.request as u;"
        f"u.urlopen(u.Request('http://{pod['status']['podIP']}:8080/plain', "
        "headers={'x-envoy-peer-metadata-id': 'curl', 'x-envoy-peer-metadata': 'curl'}))"
    )
    mesh_free = deployment(
        "stranger", "sleep", "1000", annotations={"sidecar.istio.io/inject": "false"}
    )
    running.apply(mesh_free)
    running.argosy("wait", "deployment/stranger", "--for=condition=Available", check=False)
    eventually(
        lambda: (
            running.exec("deploy/stranger", sys.executable, "-c", code, check=False).returncode == 0
        ),
        "the stranger calls",
    )
    text = scrape(running, "deploy/shop")
    found = samples(text, "istio_requests_total", connection_security_policy="none")
    assert found
    for own, _ in found:
        assert own["source_workload"] == own["source_principal"] == own["source_app"] == "unknown"
        assert own["destination_workload"] == "shop"


def test_connections_of_opaque_bytes(running: Mesh) -> None:
    """Both sides count them when they are open, and their bytes when they end."""
    code = (
        "import socket;s=socket.create_connection(('echo',9000));s.sendall(b'abc\\n');"
        "print(s.recv(100))"
    )
    target = {
        "destination_workload": "echo",
        "destination_service": "echo.default.svc.cluster.local",
        "request_protocol": "tcp",
    }
    running.exec("deploy/curl", sys.executable, "-c", code)
    for proxy, reporter in (("deploy/curl", "source"), ("deploy/echo", "destination")):
        whose = {**target, "reporter": reporter, "source_workload": "curl"}

        def closed(proxy: str = proxy, whose: dict[str, str] = whose) -> bool:
            text = scrape(running, proxy)
            return total(text, "istio_tcp_connections_closed_total", **whose) == 1

        eventually(closed, f"closed at {proxy}")
        text = scrape(running, proxy)
        assert total(text, "istio_tcp_connections_opened_total", **whose) == 1
        assert total(text, "istio_tcp_received_bytes_total", **whose) == 4
        assert total(text, "istio_tcp_sent_bytes_total", **whose) > 0
        (opened,) = samples(text, "istio_tcp_connections_opened_total", **whose)
        assert opened[0]["source_principal"] == "spiffe://cluster.local/ns/default/sa/curl"


def unknown(labels: dict[str, str], *known: str) -> dict[str, str]:
    return {name: "unknown" for name in labels if name not in known}


STREAM = """
import queue, sys, grpc, urllib.request
from google.protobuf.wrappers_pb2 import StringValue
asked = queue.Queue()
with grpc.insecure_channel("calls:7000") as channel:
    chat = channel.stream_stream(
        "/argosy.samples.Echo/Chat", StringValue.SerializeToString, StringValue.FromString
    )(iter(asked.get, None), timeout=20)
    for word in ("one", "two"):
        asked.put(StringValue(value=word))
        next(chat)
    sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:15020/stats/prometheus").read().decode())
    asked.put(None)
"""
NO_MESSAGES = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: no-messages}
spec:
  metrics:
  - overrides:
    - {match: {metric: GRPC_REQUEST_MESSAGES, mode: CLIENT}, disabled: true}
    - {match: {metric: GRPC_RESPONSE_MESSAGES, mode: CLIENT}, disabled: true}
"""


def messages(text: str) -> tuple[float, float]:
    """Of requests and of responses."""
    return total(text, "istio_request_messages_total"), total(text, "istio_response_messages_total")


def test_messages_of_grpc_are_counted_as_they_pass(running: Mesh) -> None:
    """On both sides, of every kind of call, with the labels that hold for all of them."""

    def call(kind: str, count: int) -> None:
        target = ("--target", "calls:7000", "--call", kind, "--count", str(count))
        running.exec("deploy/curl", sys.executable, str(GRPC / "client.py"), *target)

    assert messages(scrape(running, "deploy/curl")) == (0, 0)
    for kind, count in (("say", 3), ("count", 5), ("gather", 4), ("chat", 6)):
        call(kind, count)
    client, server = scrape(running, "deploy/curl"), scrape(running, "deploy/calls")
    assert messages(client) == messages(server) == (3 + 1 + 4 + 6, 3 + 5 + 1 + 6)
    of_all = {"request_protocol": "grpc", "connection_security_policy": "unknown"}
    to_calls = {
        "destination_service": "calls.default.svc.cluster.local",
        "destination_service_name": "calls",
        "destination_service_namespace": "default",
    }
    ((labels, _),) = samples(client, "istio_request_messages_total")
    known = {**CURL, "reporter": "source", "source_principal": "unknown"}
    assert labels == {**unknown(SHOP, *to_calls), **of_all, **to_calls, **known}
    ((labels, _),) = samples(server, "istio_response_messages_total")
    known = {
        "reporter": "destination",
        "destination_workload": "calls",
        "destination_workload_namespace": "default",
        "destination_canonical_service": "calls",
        "destination_canonical_revision": "latest",
        "destination_cluster": "Kubernetes",
        "destination_app": "calls",
    }
    assert labels == {**unknown({**CURL, **SHOP}), **of_all, **to_calls, **known}
    # A stream that is still open.
    during = running.exec("deploy/curl", sys.executable, "-c", STREAM).stdout
    assert messages(during) == (14 + 2, 15 + 2)
    # Both are off on one side.
    running.apply(NO_MESSAGES)
    try:

        def is_off() -> bool:
            before = messages(scrape(running, "deploy/curl"))
            call("say", 1)
            return messages(scrape(running, "deploy/curl")) == before

        eventually(is_off, "the client's proxy counts no messages", 20)
        assert messages(scrape(running, "deploy/calls")) > (16, 17)
    finally:
        running.delete(NO_MESSAGES)


def test_one_page_has_the_applications_metrics_too(running: Mesh) -> None:
    merged = scrape(running, "deploy/shop")
    own = scrape(running, "deploy/shop", ":15090/stats/prometheus")
    assert "shop_orders_total 7\n" in merged
    assert "# EOF" not in merged
    assert "shop_orders" not in own
    assert total(own, "istio_requests_total") == total(merged, "istio_requests_total") > 0
    assert "envoy_server_uptime" in own
    assert scrape(running, "deploy/shop", ":15020/healthz/ready") == ""


CUSTOM = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: custom}
spec:
  metrics:
  - providers: [{name: prometheus}]
    overrides:
    - match: {metric: REQUEST_COUNT, mode: CLIENT}
      tagOverrides:
        request_host: {value: request.host}
        destination_port: {value: destination.port}
        request_operation:
          value: "request.url_path.startsWith('/status') ? 'GetStatus' : 'Other'"
        response_code: {value: "response.code >= 400 ? '4xx' : '2xx'"}
        source_principal: {operation: REMOVE}
    - match: {metric: REQUEST_DURATION, mode: SERVER}
      disabled: true
    - match: {metric: RESPONSE_SIZE}
      disabled: false
"""


@pytest.mark.covers("Telemetry.metrics[].providers[]")
@pytest.mark.covers("Telemetry.metrics[].overrides[].match.metric")
@pytest.mark.covers("Telemetry.metrics[].overrides[].match.mode")
@pytest.mark.covers("Telemetry.metrics[].overrides[].disabled")
@pytest.mark.covers("Telemetry.metrics[].overrides[].tagOverrides[].operation")
@pytest.mark.covers("Telemetry.metrics[].overrides[].tagOverrides[].value")
def test_telemetry_changes_labels_and_switches_metrics(running: Mesh) -> None:
    """Istio's tasks customize-metrics, telemetry-api and, by CEL in the place of Wasm, classify."""
    running.apply(CUSTOM)
    try:

        def counts_sizes() -> bool:
            assert running.status("deploy/curl", "http://shop/status/200") == 200
            return total(scrape(running, "deploy/shop"), "istio_response_bytes_count") > 0

        eventually(counts_sizes, "connections from before have ended", 20)
        assert running.status("deploy/curl", "http://shop/status/404") == 404
        client, server = scrape(running, "deploy/curl"), scrape(running, "deploy/shop")
        status = {"request_operation": "GetStatus", "response_code": "4xx"}
        (counted,) = samples(client, "istio_requests_total", **status)
        assert counted[1] == 1
        assert counted[0]["request_host"] == "shop"
        assert counted[0]["destination_port"] == "80"
        assert "source_principal" not in counted[0]
        assert counted[0]["destination_workload"] == "shop"
        assert total(server, "istio_requests_total", response_code="404", **CURL) == 1

        def sizes() -> bool:
            text = scrape(running, "deploy/shop")
            return total(text, "istio_response_bytes_count", response_code="404") == 1

        eventually(sizes, "sizes are counted")
        server = scrape(running, "deploy/shop")
        duration = "istio_request_duration_milliseconds_count"
        assert total(server, duration, response_code="404") == 0
        assert total(scrape(running, "deploy/curl"), duration, response_code="404") == 1
    finally:
        running.delete(CUSTOM)
