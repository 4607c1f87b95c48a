"""What MeshConfig and ProxyConfig change, seen from requests and from Envoy itself.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

import json
from collections.abc import Iterator

import pytest
from inside import Inside, inside
from manifests import deployment, mesh_config, namespace, server, service
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

HTTP = {"name": "http", "port": 8000}
THREADS = json.dumps(
    {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ProxyConfig",
        "metadata": {"name": "threads", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "tuned"}},
            "concurrency": 3,
            "environmentVariables": {"ISTIO_META_PLACE": "here", "COLOUR": "blue"},
        },
    }
)
ANNOTATION = """
concurrency: 2
serviceCluster: mine
runtimeValues: {overload.global_downstream_max_connections: "5000"}
proxyStatsMatcher: {inclusionPrefixes: [http]}
"""
WORKLOADS = (
    THREADS
    + "\n---\n"
    + namespace("other", {"team": "b"})
    + deployment("curl", image="curlimages/curl")
    + deployment("tuned", *server("flaky", 8000), port=8000)
    + service("tuned", "tuned", HTTP)
    + deployment(
        "annotated",
        *server("any", "8000"),
        port=8000,
        labels={"app": "annotated"},
        annotations={"proxy.istio.io/config": ANNOTATION},
    )
    + service("annotated", "annotated", HTTP)
    + deployment("far", *server("any", "8000"), port=8000, namespace="other")
    + service("far", "far", HTTP, namespace="other")
)


@pytest.fixture(scope="module")
def configured(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(configured: Mesh) -> Iterator[Inside]:
    with inside(configured, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(configured: Mesh) -> Iterator[Rules]:
    with Rules(configured) as rules:
        yield rules


def server_info(mesh: Mesh, target: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(mesh.envoy(target, "/server_info"))
    return found


@pytest.mark.covers(
    "ProxyConfig.concurrency",
    "ProxyConfig.selector",
    "ProxyConfig.selector.matchLabels[]",
    "ProxyConfig.environmentVariables[]",
)
def test_the_threads_and_metadata_of_proxies(configured: Mesh) -> None:
    info = server_info(configured, "deploy/tuned")
    assert info["command_line_options"]["concurrency"] == 3  # type: ignore[index]  # JSON
    assert info["node"]["metadata"]["PLACE"] == "here"  # type: ignore[index]  # JSON
    usual = server_info(configured, "deploy/curl")
    assert usual["command_line_options"]["concurrency"] == 1  # type: ignore[index]  # JSON
    annotated = server_info(configured, "deploy/annotated")
    assert annotated["command_line_options"]["concurrency"] == 2  # type: ignore[index]  # JSON
    assert annotated["node"]["cluster"] == "mine"  # type: ignore[index]  # JSON
    runtime = json.loads(configured.envoy("deploy/annotated", "/runtime"))
    assert "overload.global_downstream_max_connections" in runtime["entries"]


@pytest.mark.covers("MeshConfig.defaultHttpRetryPolicy")
def test_default_retries_are_the_meshs(rules: Rules, curl: Inside) -> None:
    """By default a 503 of the application is not asked for again; three times is enough here."""
    failing = {"x-fail": "2", "x-with": "503"}
    assert curl.get("http://tuned:8000/", headers={**failing, "x-case": "a"}).status == 503
    rules.apply("mesh", mesh_config("defaultHttpRetryPolicy: {attempts: 3, retryOn: 5xx}"))
    answer = curl.get("http://tuned:8000/", headers={**failing, "x-case": "b"})
    assert (answer.status, answer.json["tries"]) == (200, 3)
    rules.delete("mesh")
    assert curl.get("http://tuned:8000/", headers={**failing, "x-case": "c"}).status == 503


@pytest.mark.covers("MeshConfig.discoverySelectors")
def test_namespaces_that_the_mesh_does_not_look_at(rules: Rules, curl: Inside) -> None:
    text = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
    rules.apply("mesh", mesh_config(text))
    assert curl.get("http://far.other:8000/").status == 200
    selector = "discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: default}}]"
    rules.apply("mesh", mesh_config(text + selector))
    assert curl.get("http://far.other:8000/").status == 502, "an unknown host"
    assert curl.get("http://annotated:8000/").status == 200
    either = selector.replace("]", ", {matchLabels: {team: b}}]")
    rules.apply("mesh", mesh_config(text + either))
    assert curl.get("http://far.other:8000/").status == 200


@pytest.mark.covers("MeshConfig.defaultConfig", "MeshConfig.proxyHttpPort")
def test_headers_and_an_http_proxy_for_the_mesh(rules: Rules, curl: Inside) -> None:
    text = (
        "proxyHttpPort: 3128\n"
        "defaultConfig:\n"
        "  proxyHeaders: {server: {value: shop}, requestId: {disabled: true},\n"
        "    attemptCount: {disabled: true}, envoyDebugHeaders: {disabled: true}}"
    )
    before = curl.get("http://annotated:8000/")
    assert {"x-request-id", "x-envoy-attempt-count"} <= before.json["headers"].keys()
    rules.apply("mesh", mesh_config(text))

    def is_silent() -> bool:
        found = curl.get("http://annotated:8000/").json["headers"].keys()
        return not {"x-request-id", "x-envoy-attempt-count"} & found

    # Connections between the proxies that were open before go on with the listener they know.
    eventually(is_silent, "neither proxy adds headers to requests", seconds=90)
    answer = curl.get("http://annotated:8000/")
    assert answer.headers["server"] == "shop"
    assert "x-envoy-upstream-service-time" not in answer.headers
    proxied = curl.get("http://far.other:8000/x", proxy="http://127.0.0.1:3128")
    assert (proxied.status, proxied.json["path"]) == (200, "/x")


@pytest.mark.covers("MeshConfig.meshMTLS.minProtocolVersion", "MeshConfig.outboundClusterStatName")
def test_tls_of_the_mesh_and_names_in_statistics(
    configured: Mesh, rules: Rules, curl: Inside
) -> None:
    text = (
        "meshMTLS: {minProtocolVersion: TLSV1_3}\n"
        'outboundClusterStatName: "%SERVICE%_%SERVICE_PORT%"'
    )
    rules.apply("mesh", mesh_config(text))
    assert curl.get("http://annotated:8000/").status == 200
    name = "cluster.annotated.default_8000;.upstream_rq_total"
    assert configured.stat("deploy/curl", name) >= 1
