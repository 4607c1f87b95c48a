"""Distributed tracing: Bookinfo's requests as traces, sampling, tags, and who sends spans.

https://istio.io/latest/docs/tasks/observability/distributed-tracing/ with Mixer in the place of
Jaeger, Zipkin and the OpenTelemetry collector: it takes what Envoys send to each of them.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mesh import SAMPLES, Mesh, eventually

pytestmark = pytest.mark.e2e

FLUSH_SECONDS = 0.2
"""Proxies send their spans so often, by PROVIDERS."""

SERVICES = {"productpage.default", "details.default", "reviews.default", "ratings.default"}
PROVIDERS = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: istio
  namespace: istio-system
data:
  mesh: |
    defaultConfig:
      drainDuration: 1s  # connections of before soon go on with what was changed
      proxyMetadata:
        TENANT: ours
      runtimeValues:
        tracing.opentelemetry.flush_interval_ms: "200"
        tracing.zipkin.flush_interval_ms: "200"
    extensionProviders:
      - name: zipkin
        zipkin:
          service: istio-system/mixer.istio-system.svc.cluster.local
          port: 9411
          maxTagLength: 24
          timeout: 3s
          headers:
            - name: x-tenant
              value: "100% ours"
      - name: otlp-grpc
        opentelemetry:
          service: mixer.istio-system.svc.cluster.local
          port: 4317
          grpc:
            timeout: 3s
            initialMetadata:
              - name: x-tenant
                envName: TENANT
          resourceDetectors:
            environment: {}
      - name: otlp-http
        opentelemetry:
          service: mixer.istio-system.svc.cluster.local
          port: 4318
          http:
            path: /v1/traces
            timeout: 3s
            headers:
              - name: x-tenant
                value: ours
"""

Trace = dict[str, Any]


def client(name: str, sampling: str) -> str:
    """A workload that traces so many per cent of what it asks, where no Telemetry says more."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations:
        proxy.istio.io/config: |
          tracing:
            sampling: {sampling}
            maxPathTagLength: 16
            customTags: {{who: {{literal: {{value: {name}}}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: curl, image: curlimages/curl, command: ["sleep", "infinity"]}}]
---
"""


def telemetry(spec: str, name: str = "tracing", namespace: str = "istio-system") -> str:
    return (
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


@pytest.fixture(scope="module")
def bookinfo(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    providers = tmp_path_factory.mktemp("mesh") / "providers.yaml"
    providers.write_text(PROVIDERS)
    clients = providers.with_name("clients.yaml")
    clients.write_text(client("eager", "100") + client("lazy", "0.01"))
    mesh.up(
        providers,
        SAMPLES / "bookinfo/bookinfo.yaml",
        SAMPLES / "bookinfo/networking.yaml",
        SAMPLES / "httpbin/httpbin.yaml",
        SAMPLES / "curl/curl.yaml",
        SAMPLES / "tracing/mixer.yaml",
        clients,
    )
    mesh.apply(SAMPLES / "bookinfo/reviews-v3.yaml")
    return mesh


@pytest.fixture(scope="module")
def page(bookinfo: Mesh) -> Callable[[], str]:
    """Asks for a page; returns the id of the request."""
    client = httpx.Client(base_url=bookinfo.url, timeout=30)
    numbers = iter(range(1_000_000))

    def ask() -> str:
        # The gateway gives a request another id, but keeps what the client calls its trace.
        answer = client.get("/productpage", headers={"end-user": f"user-{next(numbers)}"})
        assert answer.status_code == 200
        return answer.text

    return ask


def traces(mesh: Mesh, *options: str) -> list[Trace]:
    found: list[Trace] = json.loads(mesh.argosy("trace", "-o", "json", *options).stdout)["traces"]
    return found


def trace(mesh: Mesh, name: str) -> Trace:
    found: Trace = json.loads(mesh.argosy("trace", name, "-o", "json").stdout)
    return found


def received(mesh: Mesh) -> int:
    """Spans of requests since Mixer began."""
    found: dict[str, int] = json.loads(mesh.argosy("trace", "-o", "json").stdout)["kept"]
    return found["received"] - found["ofControlPlane"]


@pytest.mark.covers(
    "Telemetry.tracing[].providers[].name",
    "Telemetry.tracing[].randomSamplingPercentage",
    "MeshConfig.extensionProviders[].zipkin.service",
    "MeshConfig.extensionProviders[].zipkin.port",
    "MeshConfig.extensionProviders[].opentelemetry.service",
    "MeshConfig.extensionProviders[].opentelemetry.port",
    "MeshConfig.extensionProviders[].opentelemetry.http.path",
    "MeshConfig.extensionProviders[].opentelemetry.http.timeout",
    "MeshConfig.extensionProviders[].opentelemetry.grpc.timeout",
    "MeshConfig.extensionProviders[].zipkin.maxTagLength",
    "MeshConfig.extensionProviders[].zipkin.timeout",
)
@pytest.mark.parametrize("provider", ["", "zipkin", "otlp-grpc", "otlp-http"], ids=str)
def test_a_page_is_one_trace_of_the_four_services(
    bookinfo: Mesh, page: Callable[[], str], provider: str
) -> None:
    """A span of each end of each call, and the gateway's two; whoever takes them."""
    named = f"providers: [{{name: {provider}}}], " if provider else ""
    bookinfo.apply(telemetry(f"{{tracing: [{{{named}randomSamplingPercentage: 100}}]}}"))
    before = {one["traceId"] for one in traces(bookinfo, "--last", "100")}

    def whole() -> list[Trace]:
        page()
        found = traces(bookinfo, "--last", "100")
        return [one for one in found if one["spans"] == 9 and one["traceId"] not in before]

    eventually(lambda: bool(whole()), "nine spans arrive", 30)
    found = whole()[0]
    assert {*found["services"]} == {*SERVICES, "istio-ingressgateway.istio-system"}
    assert found["service"] == "istio-ingressgateway.istio-system"
    shown = trace(bookinfo, found["traceId"])
    tree = [(one["depth"], one["service"].partition(".")[0], one["kind"]) for one in shown["tree"]]
    assert tree == [
        (0, "istio-ingressgateway", "server"),
        (1, "istio-ingressgateway", "client"),
        (2, "productpage", "server"),
        (3, "productpage", "client"),
        (4, "details", "server"),
        (3, "productpage", "client"),
        (4, "reviews", "server"),
        (5, "reviews", "client"),
        (6, "ratings", "server"),
    ]
    assert not any(one["orphan"] or one["claimed"] or one["error"] for one in shown["tree"])
    reporters = {one["service"]: one["reporter"] for one in shown["tree"]}
    assert reporters["ratings.default"] == "default/bookinfo-ratings"
    request_id = shown["tree"][-1]["attributes"]["guid:x-request-id"]
    assert trace(bookinfo, request_id)["traceId"] == found["traceId"]
    if provider == "zipkin":
        assert len(shown["tree"][0]["attributes"]["http.url"]) < 64


def asked(
    mesh: Mesh, source: str, count: int, path: str = "/headers", **headers: str
) -> list[dict[str, Any]]:
    """So many requests to httpbin; what it was told. ``x_y`` is the header ``x-y``."""
    url = f"http://httpbin:8000{path}"
    more = [
        part
        for name, value in headers.items()
        for part in ("--header", f"{name.replace('_', '-')}: {value}")
    ]
    answers = mesh.call(source, url, "--count", str(count), "--concurrency", "4", *more)
    assert {one.status for one in answers} == {200}, answers
    return [json.loads(one.body) for one in answers]


def arrived(mesh: Mesh, at_least: int) -> None:
    """So many spans since Mixer began; more may come."""
    eventually(lambda: received(mesh) >= at_least, f"{at_least} spans", 15)


@pytest.mark.covers("Telemetry.tracing[].customTags", "Telemetry.tracing[].enableIstioTags")
def test_sampling_and_tags(bookinfo: Mesh) -> None:
    """Of 400 requests half; the chance that fewer than 145 or more than 255 are is below 1e-7."""
    tags = (
        "customTags: {mesh-wide: {literal: {value: everywhere}}, tenant: {environment: {name: TENANT}}, "
        "nowhere: {environment: {name: NOWHERE, defaultValue: fallback}}, "
        "accept: {header: {name: accept-encoding, defaultValue: none}}, "
        "port: {formatter: {value: 'port %DOWNSTREAM_LOCAL_PORT%'}}}"
    )
    bookinfo.apply(telemetry(f"{{tracing: [{{randomSamplingPercentage: 50, {tags}}}]}}"))
    before = received(bookinfo)
    told = [one["headers"] for one in asked(bookinfo, "deploy/curl", 400)]
    sampled = [one for one in told if one["Traceparent"][0].endswith("-01")]
    assert 145 <= len(sampled) <= 255
    arrived(bookinfo, before + 2 * len(sampled))
    assert received(bookinfo) == before + 2 * len(sampled), "client and server agree"
    found = trace(bookinfo, sampled[0]["Traceparent"][0].split("-")[1])
    client, server = found["tree"]
    for span in (client, server):
        own = span["attributes"]
        assert own["mesh-wide"] == "everywhere"
        assert (own["tenant"], own["nowhere"], own["accept"]) == ("ours", "fallback", "identity")
        assert own["istio.mesh_id"] == bookinfo.name
        assert (own["istio.namespace"], own["istio.cluster_id"]) == ("default", "Kubernetes")
    assert client["attributes"]["istio.canonical_service"] == "curl"
    assert client["attributes"]["port"] == "port 8000"
    assert server["attributes"]["istio.canonical_service"] == "httpbin"
    assert server["attributes"]["istio.canonical_revision"] in {"v1", "v2"}


@pytest.mark.covers(
    "Telemetry.tracing[].match.mode",
    "Telemetry.tracing[].disableSpanReporting",
    "Telemetry.tracing[].disableContextPropagation",
)
def test_each_side_can_be_silent(bookinfo: Mesh) -> None:
    """Then it makes no spans, and what the other side says of the trace passes."""
    everything = "{randomSamplingPercentage: 100}"
    silent = "{match: {mode: SERVER}, disableSpanReporting: true}"
    bookinfo.apply(telemetry(f"{{tracing: [{everything}, {silent}]}}"))

    def by_the_client_alone() -> list[dict[str, Any]]:
        (told,) = asked(bookinfo, "deploy/curl", 1)
        name = told["headers"]["Traceparent"][0].split("-")[1]
        eventually(lambda: name in ids(bookinfo), "the client's span")
        spans: list[dict[str, Any]] = trace(bookinfo, name)["tree"]
        alone = [(one["service"], one["kind"]) for one in spans] == [("curl.default", "client")]
        return spans if alone else []

    # A connection from before may bring one more request to the server as it was.
    eventually(lambda: bool(by_the_client_alone()), "the server is silent")
    (span,) = by_the_client_alone()
    assert "istio.mesh_id" in span["attributes"]

    hidden = "{disableContextPropagation: true, enableIstioTags: false}"
    bookinfo.apply(telemetry(f"{{tracing: [{everything}, {hidden}]}}"))
    before = ids(bookinfo)

    def alone() -> bool:
        (answer,) = asked(bookinfo, "deploy/curl", 1)
        return "Traceparent" not in answer["headers"]

    eventually(alone, "nothing of the trace is passed on")

    def ends() -> dict[str, dict[str, Any]]:
        """A span of each kind, of traces of one span."""
        found = (trace(bookinfo, name)["tree"] for name in ids(bookinfo) - before)
        return {tree[0]["kind"]: tree[0] for tree in found if len(tree) == 1}

    def each_end() -> bool:
        asked(bookinfo, "deploy/curl", 1)
        return ends().keys() == {"client", "server"}

    eventually(each_end, "a trace for each end", 20)
    span = ends()["client"]
    assert not [name for name in span["attributes"] if name.startswith("istio.")]

    bookinfo.apply(telemetry("{tracing: [{disableSpanReporting: true}]}"))

    def nothing() -> bool:
        # Where listeners drain for a second, one request may meet a connection that ends.
        (call,) = bookinfo.call("deploy/curl", "http://httpbin:8000/headers")
        return call.status == 200 and "Traceparent" not in json.loads(call.body)["headers"]

    eventually(nothing, "no side traces")


def ids(mesh: Mesh) -> set[str]:
    return {one["traceId"] for one in traces(mesh, "--last", "1000")}


def test_what_a_caller_has_decided(bookinfo: Mesh) -> None:
    """With ``traceparent`` he may say no; with ``x-b3-sampled``, where it is Zipkin's, yes as well."""

    def told(**headers: str) -> dict[str, str]:
        (answer,) = asked(bookinfo, "deploy/curl", 1, **headers)
        return {name: values[0] for name, values in answer["headers"].items()}

    def passed_on(flag: str) -> tuple[str, str]:
        """What of the trace's id and flag the application gets."""
        parent = told(traceparent=f"00-{caller}-eee19b7ec3c1b174-{flag}")["Traceparent"]
        _, name, _, sampled = parent.split("-")
        return name, sampled

    def b3(flag: str) -> str:
        parent = {"x_b3_traceid": caller, "x_b3_spanid": "eee19b7ec3c1b174"}
        return told(**parent, x_b3_sampled=flag).get("X-B3-Sampled", "")

    for percentage, wanted in (("0", "00"), ("100", "01")):
        caller = f"{0xB000 + int(percentage):032x}"
        rule = f"randomSamplingPercentage: {percentage}"
        bookinfo.apply(telemetry(f"{{tracing: [{{{rule}}}]}}"))
        # A connection from before may bring one more request to a proxy as it was.
        eventually(lambda: passed_on("01") == (caller, wanted), f"sampled, at {percentage} %")  # noqa: B023  (called at once)
        assert passed_on("00") == (caller, "00")
    eventually(lambda: f"{0xB000 + 100:032x}" in ids(bookinfo), "the caller's trace goes on")
    assert f"{0xB000:032x}" not in ids(bookinfo)

    for percentage in ("0", "100"):
        caller = f"{0xB300 + int(percentage):032x}"
        rule = f"providers: [{{name: zipkin}}], randomSamplingPercentage: {percentage}"
        bookinfo.apply(telemetry(f"{{tracing: [{{{rule}}}]}}"))
        by_percentage = "1" if percentage == "100" else "0"
        eventually(
            lambda: told().get("X-B3-Sampled") == by_percentage,  # noqa: B023  (called at once)
            f"Zipkin's at {percentage} %",
        )
        assert (b3("1"), b3("0")) == ("1", "0")


@pytest.mark.covers(
    "MeshConfig.defaultConfig.tracing.sampling",
    "MeshConfig.defaultConfig.tracing.customTags",
    "MeshConfig.defaultConfig.tracing.maxPathTagLength",
)
def test_a_workload_has_its_own_sampling(bookinfo: Mesh) -> None:
    """By its annotation: of 40 requests all, or, but for a chance below 1e-8, less than four."""
    bookinfo.apply(telemetry("{tracing: [{providers: [{name: mixer}]}]}"))

    def sampled(source: str) -> list[str]:
        told = asked(bookinfo, source, 40, "/headers?with=a-long-query-string")
        parents = [one["headers"]["Traceparent"][0] for one in told]
        return [parent.split("-")[1] for parent in parents if parent.endswith("-01")]

    eventually(lambda: len(sampled("deploy/eager")) == 40, "all of them")
    assert len(sampled("deploy/lazy")) < 4
    name = sampled("deploy/eager")[0]
    eventually(lambda: name in ids(bookinfo), "its trace")
    eventually(lambda: trace(bookinfo, name)["spans"] == 2, "both ends")
    client, server = trace(bookinfo, name)["tree"]
    assert client["attributes"]["who"] == "eager"
    assert client["attributes"]["http.url"].endswith("/headers?with=a-")
    assert "who" not in server["attributes"]


def test_a_request_from_outside_cannot_have_itself_traced(
    bookinfo: Mesh, page: Callable[[], str]
) -> None:
    bookinfo.apply(telemetry("{tracing: [{randomSamplingPercentage: 0}]}"))
    before = received(bookinfo)
    for _ in range(5):
        answer = httpx.get(f"{bookinfo.url}/productpage", headers={"x-envoy-force-trace": "true"})
        assert answer.status_code == 200
    asked(bookinfo, "deploy/curl", 1)
    time.sleep(5 * FLUSH_SECONDS)
    assert received(bookinfo) == before


def test_applications_send_spans_of_their_own(bookinfo: Mesh) -> None:
    """Through their sidecars; a name that is another's is marked, with who used it."""
    zipkin = [
        {
            "traceId": f"{number:032x}",
            "id": "1",
            "kind": "SERVER",
            "name": "own work",
            "timestamp": 1764514800000000,
            "duration": 1000,
            "localEndpoint": {"serviceName": service},
        }
        for number, service in ((0xA1, "curl.default"), (0xA2, "reviews"), (0xA3, "vault.bank"))
    ]
    url = "http://mixer.istio-system:9411/api/v2/spans"
    argv = ("-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "content-type: application/json")
    post = ("curl", *argv, "--data", json.dumps(zipkin), url)
    assert bookinfo.exec("deploy/curl", *post).stdout == "202"
    (own,) = trace(bookinfo, f"{0xA1:032x}")["tree"]
    assert (own["claimed"], own["reporter"]) == (False, "default/curl")
    for name in (f"{0xA2:032x}", f"{0xA3:032x}"):
        (forged,) = trace(bookinfo, name)["tree"]
        assert (forged["claimed"], forged["reporter"]) == (True, "default/curl")
    assert "! reported by default/curl" in bookinfo.argosy("trace", f"{0xA2:032x}").stdout

    # Without a certificate of the mesh there is no connection: not even for whoever is on its network.
    code = (
        "import socket, ssl\n"
        "context = ssl.create_default_context(); context.check_hostname = False\n"
        "context.verify_mode = ssl.CERT_NONE\n"
        "try:\n"
        "    tls = context.wrap_socket(socket.create_connection(('10.244.0.1', 4318), 5))\n"
        "    tls.sendall(b'POST /api/v2/spans HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 2\\r\\n\\r\\n[]')\n"
        "    print(tls.recv(100) or b'closed')\n"
        "except OSError as error: print(type(error).__name__)\n"
    )
    answer = bookinfo.exec("deploy/curl", sys.executable, "-c", code).stdout
    assert "HTTP" not in answer, answer
