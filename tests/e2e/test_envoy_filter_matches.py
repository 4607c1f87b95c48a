"""What patches of EnvoyFilters are for: each condition, seen by requests through real Envoys.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from collections.abc import Iterator
from typing import Any

import pytest
from credentials import tls
from inside import Inside, inside
from manifests import deployment, namespace, server, service
from mesh import Mesh, eventually
from patches import (
    ROUTER,
    answering,
    envoy_filter,
    of_manager,
    own,
    patch,
    static_cluster,
    tagging,
    tagging_table,
    told,
)
from rules import Rules, document
from tls_client import Client

from argosy.testing.certificates import ScratchAuthority

pytestmark = pytest.mark.e2e

PAGE = "productpage.default.svc.cluster.local"
LABELS = {"app": "shop", "gateway.networking.k8s.io/gateway-name": "shop"}
"""As those of a proxy of the Gateway ``shop`` of the Kubernetes Gateway API."""

SHOP = {
    "selector": {"matchLabels": LABELS},
    "template": {
        "metadata": {"labels": LABELS, "annotations": {"inject.istio.io/templates": "gateway"}},
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]},
    },
}
_NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
DIRECT = f"{_NETWORK}.direct_response.v3.Config"
LIMIT = f"{_NETWORK}.local_ratelimit.v3.LocalRateLimit"


def page(version: str) -> str:
    labels = {"app": "productpage", "version": version}
    return deployment(f"page-{version}", *server("any", "8000,9080,7001"), port=9080, labels=labels)


WORKLOADS = (
    namespace("legacy", {"istio-injection": "disabled"})
    + page("v1")
    + page("v2")
    + service(
        "productpage",
        "productpage",
        {"name": "http", "port": 8000},
        {"name": "http-page", "port": 9080},
        {"name": "undeclared", "port": 7001},
    )
    + deployment("flaky", *server("flaky", 7000), port=7000)
    + service("flaky", "flaky", {"name": "http", "port": 7000})
    + deployment("client", image="curlimages/curl")
    + deployment("client", image="curlimages/curl", namespace="legacy")
    + document("apps/v1", "Deployment", "shop", SHOP)
    + "\n---\n"
    + service("shop", "shop", {"name": "http", "port": 80, "targetPort": 8080})
)


@pytest.fixture(scope="module")
def running(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("manifests") / "all.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def client(running: Mesh) -> Iterator[Inside]:
    with inside(running, "deploy/client") as found:
        yield found


@pytest.fixture
def rules(running: Mesh) -> Iterator[Rules]:
    with Rules(running) as rules:
        yield rules


# Listeners.


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.listener.filterChain.name",
    "EnvoyFilter.configPatches[].match.listener.filterChain.transportProtocol",
    "EnvoyFilter.configPatches[].match.listener.filterChain.applicationProtocols",
    "EnvoyFilter.configPatches[].match.listener.filterChain.destinationPort",
)
def test_filter_chains_by_each_of_their_conditions(
    running: Mesh, client: Inside, rules: Rules
) -> None:
    """One port has chains for mutual TLS of the mesh and for plaintext."""
    inbound = "SIDECAR_INBOUND"
    tags = ("tls", "plain", "mesh", "none", "port", "name")
    rules.apply(
        "chains",
        envoy_filter(
            "chains",
            tagging("tls", inbound, chain={"transportProtocol": "tls"}),
            tagging("plain", inbound, chain={"transportProtocol": "raw_buffer"}),
            tagging("mesh", inbound, chain={"applicationProtocols": "istio-http/1.1,istio-h2"}),
            tagging("none", inbound, chain={"applicationProtocols": "istio-http/1.1,absent"}),
            tagging("port", inbound, chain={"destinationPort": 9080}),
            tagging("name", inbound, chain={"name": "0.0.0.0_8000"}),
        ),
    )
    with inside(running, "deploy/client", "legacy") as outside:
        for clients, port, wanted in (
            (client, 9080, {"tls", "mesh", "port"}),
            (client, 8000, {"tls", "mesh", "name"}),
            (outside, 9080, {"plain", "port"}),
            (outside, 8000, {"plain", "name"}),
        ):
            url = f"http://{PAGE}:{port}/"
            eventually(lambda c=clients, u=url, w=wanted: own(c.get(u), *tags) == w, f"{wanted}")  # type: ignore[misc]


@pytest.mark.covers("EnvoyFilter.configPatches[].match.listener.portName")
def test_the_name_of_a_listeners_port_is_not_looked_at(client: Inside, rules: Rules) -> None:
    patches = (tagging("named", "SIDECAR_OUTBOUND", portNumber=9080, portName="whatever"),)
    found = told(rules.apply("named", envoy_filter("named", *patches)))
    where = "spec.configPatches[0].match.listener.portName"
    assert ("Warning", "NoEffect", where) in found
    url = f"http://{PAGE}:9080/"
    eventually(lambda: own(client.get(url), "named") == {"named"}, "it is applied all the same")
    assert own(client.get(f"http://{PAGE}:8000/"), "named") == set()


@pytest.mark.covers("EnvoyFilter.configPatches[].match.listener.listenerFilter")
def test_a_listener_filter_by_its_name(client: Inside, rules: Rules) -> None:
    """Without the filter that finds HTTP out, a port without a protocol carries bytes."""

    def carried() -> str:
        answer = client.get(f"http://{PAGE}:7001/")
        if answer.status != 200:
            return answer.error
        return "HTTP" if "x-request-id" in answer.json["headers"] else "bytes"

    def removed(name: str) -> str:
        listener = {"portNumber": 7001, "listenerFilter": name}
        match = {"context": "SIDECAR_OUTBOUND", "listener": listener}
        return envoy_filter("inspector", patch("LISTENER_FILTER", match, "REMOVE"))

    assert carried() == "HTTP"
    rules.apply("inspector", removed("envoy.filters.listener.http_inspector"))
    eventually(lambda: carried() == "bytes", "HTTP is not found out any more")
    rules.apply("inspector", removed("envoy.filters.listener.another"))
    eventually(lambda: carried() == "HTTP", "that of another name stays")


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.listener.filterChain.sni",
    "EnvoyFilter.configPatches[].match.routeConfiguration.portName",
    "EnvoyFilter.configPatches[].match.routeConfiguration.gateway",
)
def test_servers_of_gateways(running: Mesh, rules: Rules) -> None:
    rules.apply("secret", tls("edge", ScratchAuthority().credential("*.example.com")))
    for name in ("red", "blue"):
        host = f"{name}.example.com"
        port = {"number": 443, "name": f"https-{name}", "protocol": "HTTPS"}
        settings = {"mode": "SIMPLE", "credentialName": "edge"}
        servers = [{"port": port, "tls": settings, "hosts": [host]}]
        spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
        rules.apply(f"gw-{name}", document("networking.istio.io/v1", "Gateway", name, spec))
        to = [{"destination": {"host": PAGE, "port": {"number": 9080}}}]
        routes = {"hosts": [host], "gateways": [name], "http": [{"route": to}]}
        rules.apply(
            f"to-{name}", document("networking.istio.io/v1", "VirtualService", name, routes)
        )
    rules.apply(
        "servers",
        envoy_filter(
            "servers",
            tagging("sni", "GATEWAY", chain={"sni": "red.example.com"}),
            tagging_table("port-name", "GATEWAY", portName="https-red"),
            tagging_table("gateway", "GATEWAY", gateway="default/blue"),
            tagging_table("both", "GATEWAY", portName="https-red", gateway="default/blue"),
            namespace="istio-system",
        ),
    )
    browser = Client(running.secure_address)
    tags = ("sni", "port-name", "gateway", "both")
    for name, wanted in (("red", {"sni", "port-name"}), ("blue", {"gateway"})):
        host = f"{name}.example.com"
        eventually(lambda h=host: browser.get(h).status == 200, f"{host} is served")  # type: ignore[misc]
        eventually(lambda h=host, w=wanted: own(browser.get(h), *tags) == w, f"{host}: {wanted}")  # type: ignore[misc]


@pytest.mark.covers("EnvoyFilter.configPatches[].match.listener.name")
def test_a_listener_of_its_own_and_a_network_filter(
    running: Mesh, client: Inside, rules: Rules
) -> None:
    hello = {
        "name": "envoy.filters.network.direct_response",
        "typed_config": {"@type": DIRECT, "response": {"inline_string": "hello"}},
    }
    own = {
        "name": "own",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 9876}},
        "filter_chains": [{"filters": [hello]}],
    }
    limited = {
        "name": "limit",
        "typed_config": {
            "@type": LIMIT,
            "stat_prefix": "patched_limit",
            "token_bucket": {"max_tokens": 1000, "tokens_per_fill": 1000, "fill_interval": "1s"},
        },
    }
    rules.apply(
        "filter",
        envoy_filter(
            "listeners",
            patch("LISTENER", {"context": "SIDECAR_OUTBOUND"}, "ADD", own),
            patch(
                "NETWORK_FILTER",
                of_manager("SIDECAR_OUTBOUND", portNumber=9080),
                "INSERT_BEFORE",
                limited,
            ),
            workloadSelector={"labels": {"app": "client"}},
        ),
    )
    connection = client.call("connect", host="127.0.0.1", port=9876)
    assert client.call("receive", connection=connection, count=5) == "hello"
    assert client.get("http://productpage:9080/").status == 200
    limited = running.envoy("deploy/client", "/config_dump?resource=dynamic_listeners")
    assert "patched_limit" in limited


# Routes and clusters.


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.routeConfiguration.portNumber",
    "EnvoyFilter.configPatches[].match.routeConfiguration.name",
    "EnvoyFilter.configPatches[].match.routeConfiguration.vhost.route.name",
)
def test_routes_and_virtual_hosts(running: Mesh, client: Inside, rules: Rules) -> None:
    vhost = "productpage.default.svc.cluster.local:9080"
    table: dict[str, Any] = {"portNumber": 9080, "vhost": {"name": vhost}}
    outbound = {"context": "SIDECAR_OUTBOUND", "routeConfiguration": table}
    named = table | {"vhost": {"name": vhost, "route": {"name": "default"}}}
    cors = {
        "envoy.filters.http.cors": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": [{"exact": "https://shop.example.com"}],
        }
    }
    flaky = {"name": "7000", "vhost": {"name": "flaky.default.svc.cluster.local:7000"}}

    def direct(path: str, status: int) -> dict[str, Any]:
        return {"match": {"path": path}, "direct_response": {"status": status}}

    rules.apply(
        "filter",
        envoy_filter(
            "routes",
            patch("VIRTUAL_HOST", outbound, "MERGE", {"typed_per_filter_config": cors}),
            patch(
                "VIRTUAL_HOST",
                {"context": "SIDECAR_OUTBOUND", "routeConfiguration": flaky},
                "MERGE",
                {"retry_policy": {"retry_on": "5xx", "num_retries": 6}},
            ),
            patch(
                "HTTP_ROUTE",
                {"context": "SIDECAR_OUTBOUND", "routeConfiguration": flaky},
                "MERGE",
                {"route": {"retry_policy": {"retry_on": "5xx", "num_retries": 6}}},
            ),
            patch("HTTP_ROUTE", outbound, "INSERT_FIRST", direct("/first", 418)),
            patch(
                "HTTP_ROUTE",
                {"context": "SIDECAR_OUTBOUND", "routeConfiguration": named},
                "INSERT_BEFORE",
                direct("/before", 419),
            ),
            patch("HTTP_ROUTE", outbound, "ADD", direct("/last", 420)),
            patch(
                "ROUTE_CONFIGURATION",
                {"context": "SIDECAR_OUTBOUND", "routeConfiguration": {"portNumber": 9080}},
                "MERGE",
                {"response_headers_to_add": [{"header": {"key": "x-table", "value": "9080"}}]},
            ),
            patch(
                "VIRTUAL_HOST",
                {"context": "SIDECAR_OUTBOUND", "routeConfiguration": {"portNumber": 9080}},
                "ADD",
                {
                    "name": "hello",
                    "domains": ["hello.example.com"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}],
                },
            ),
        ),
    )
    page = "http://productpage:9080"
    origin = "https://shop.example.com"
    answer = client.get(f"{page}/", headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["x-table"] == "9080"
    found = [client.get(page + path).status for path in ("/first", "/before", "/last")]
    assert found == [418, 419, 200], "the last is after the route that takes everything"
    assert client.get(f"{page}/", headers={"host": "hello.example.com"}).status == 421
    failing = {"x-case": "patched", "x-fail": "5", "x-with": "500"}
    assert client.get("http://flaky:7000/", headers=failing).json["tries"] == 6


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.cluster.service",
    "EnvoyFilter.configPatches[].match.cluster.portNumber",
    "EnvoyFilter.configPatches[].match.cluster.name",
)
def test_clusters(running: Mesh, client: Inside, rules: Rules) -> None:
    to_added = {"cluster": "added", "prefix_rewrite": "/"}
    table = {"name": "9080", "vhost": {"name": f"{PAGE}:9080"}}
    outbound = "SIDECAR_OUTBOUND"
    text = envoy_filter(
        "clusters",
        patch(
            "CLUSTER",
            {"context": outbound, "cluster": {"service": PAGE, "portNumber": 9080}},
            "MERGE_AND_REPLACE_LIST",
            {"circuit_breakers": {"thresholds": [{"max_connections": 77}]}},
        ),
        patch("CLUSTER", {"context": outbound}, "ADD", static_cluster("added", "127.0.0.1", 15000)),
        patch(
            "HTTP_ROUTE",
            {"context": outbound, "routeConfiguration": table},
            "INSERT_FIRST",
            {"match": {"prefix": "/admin/"}, "route": to_added},
        ),
        patch(
            "CLUSTER",
            {"context": outbound, "cluster": {"name": f"outbound|8000||{PAGE}"}},
            "REMOVE",
        ),
        workloadSelector={"labels": {"app": "client"}},
    )
    rules.apply("filter", text)
    clusters = running.envoy("deploy/client", "/clusters")
    assert f"outbound|9080||{PAGE}::default_priority::max_connections::77" in clusters
    assert f"outbound|8000||{PAGE}::" not in clusters
    assert client.get("http://productpage:9080/admin/ready").body.strip() == "LIVE"
    assert client.get("http://productpage:8000/").status == 503
    assert "added::" not in running.envoy("deploy/page-v1", "/clusters")
    rules.delete("filter")
    assert client.get("http://productpage:8000/").status == 200
    assert "max_connections::77" not in running.envoy("deploy/client", "/clusters")


@pytest.mark.covers("EnvoyFilter.configPatches[].match.routeConfiguration.vhost.domainName")
def test_virtual_hosts_by_a_domain(client: Inside, rules: Rules) -> None:
    teapot = {"match": {"path": "/teapot"}, "direct_response": {"status": 418}}
    table = {"vhost": {"domainName": "flaky.default"}}
    match = {"context": "SIDECAR_OUTBOUND", "routeConfiguration": table}
    rules.apply(
        "domain", envoy_filter("domain", patch("HTTP_ROUTE", match, "INSERT_FIRST", teapot))
    )
    for host in ("flaky", "flaky.default.svc.cluster.local"):  # domains of one virtual host
        url = f"http://{host}:7000/teapot"
        eventually(lambda u=url: client.get(u).status == 418, f"{url} has the route")  # type: ignore[misc]
    assert client.get(f"http://{PAGE}:9080/teapot").status == 200


@pytest.mark.covers("EnvoyFilter.configPatches[].match.cluster.subset")
def test_clusters_by_a_subset(client: Inside, rules: Rules) -> None:
    versions = ("v1", "v2")
    rules.destination(PAGE, None, *({"name": v, "labels": {"version": v}} for v in versions))
    http = [
        {
            "match": [{"headers": {"x-wanted": {"exact": version}}}],
            "route": [{"destination": {"host": PAGE, "subset": version}}],
        }
        for version in versions
    ]
    spec = {"hosts": [PAGE], "http": http}
    rules.apply("route", document("networking.istio.io/v1", "VirtualService", "page", spec))

    def status(version: str) -> int:
        return client.get(f"http://{PAGE}:9080/", headers={"x-wanted": version}).status

    for version in versions:
        eventually(lambda v=version: status(v) == 200, f"{version} answers")  # type: ignore[misc]
    match = {"context": "SIDECAR_OUTBOUND", "cluster": {"subset": "v2"}}
    rules.apply("subset", envoy_filter("subset", patch("CLUSTER", match, "REMOVE")))
    eventually(lambda: status("v2") == 503, "the subset's clusters are gone")
    assert status("v1") == 200
    rules.delete("subset")
    eventually(lambda: status("v2") == 200, "they are back")


# Proxies.


@pytest.mark.covers(
    "EnvoyFilter.targetRefs[].group",
    "EnvoyFilter.targetRefs[].kind",
    "EnvoyFilter.targetRefs[].name",
    "EnvoyFilter.targetRefs[].namespace",
)
def test_targets(client: Inside, rules: Rules) -> None:
    """A Gateway's own proxies, by their label; the other targets are for waypoints alone."""
    servers = [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    gateway = {"selector": {"app": "shop"}, "servers": servers}
    rules.apply("gateway", document("networking.istio.io/v1", "Gateway", "shop", gateway))
    to = [{"destination": {"host": PAGE, "port": {"number": 9080}}}]
    routes = {"hosts": ["*"], "gateways": ["shop"], "http": [{"route": to}]}
    rules.apply("route", document("networking.istio.io/v1", "VirtualService", "shop", routes))
    eventually(lambda: client.get("http://shop/").status == 200, "the gateway answers")

    def targeting(**target: str) -> str:
        patches = (tagging("target", "GATEWAY"), tagging("target", "SIDECAR_OUTBOUND"))
        return envoy_filter("targets", *patches, targetRefs=[target])

    api = "gateway.networking.k8s.io"
    rules.apply("targets", targeting(group=api, kind="Gateway", name="shop"))
    eventually(
        lambda: own(client.get("http://shop/"), "target") == {"target"}, "its proxy has the patch"
    )
    assert own(client.get(f"http://{PAGE}:9080/"), "target") == set(), "sidecars are no targets"
    others = (
        (api, "GatewayClass", "istio-waypoint"),
        ("", "Service", "productpage"),
        ("networking.istio.io", "ServiceEntry", "productpage"),
        (api, "Gateway", "another"),
    )
    for group, kind, name in others:
        found = told(rules.apply("targets", targeting(group=group, kind=kind, name=name)))
        if kind != "Gateway":
            assert ("Warning", "NoEffect", "spec.targetRefs[0].kind") in found
        assert ("Warning", "SelectsNothing", "spec.targetRefs") in found
        eventually(
            lambda: own(client.get("http://shop/"), "target") == set(), "there it is for nobody"
        )
    wrong = targeting(group=api, kind="Gateway", name="shop", namespace="default")
    found = told(rules.apply("targets", wrong, quietly=False))
    assert ("Error", "NotAllowed", "spec.targetRefs[0].namespace") in found
    assert own(client.get("http://shop/"), "target") == set(), "the version before it stays"


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.waypoint.portNumber",
    "EnvoyFilter.configPatches[].match.waypoint.filter",
    "EnvoyFilter.configPatches[].match.waypoint.route",
)
def test_patches_for_waypoints_are_told_and_do_no_harm(client: Inside, rules: Rules) -> None:
    waypoint = {"portNumber": 9080, "filter": {"name": ROUTER}, "route": {"name": "default"}}
    for_waypoints = {"context": "WAYPOINT", "waypoint": waypoint}
    patches = (
        patch("HTTP_FILTER", for_waypoints, "INSERT_BEFORE", answering("x-own-waypoint", "yes")),
        tagging("sidecar", "SIDECAR_OUTBOUND", portNumber=9080),
    )
    found = told(rules.apply("waypoints", envoy_filter("waypoints", *patches)))
    assert found == [("Warning", "NotSupported", "spec.configPatches[0].match.waypoint")]
    url = f"http://{PAGE}:9080/"
    eventually(
        lambda: own(client.get(url), "sidecar", "waypoint") == {"sidecar"},
        "the other patch is applied",
    )


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.proxy.proxyVersion",
    "EnvoyFilter.configPatches[].match.proxy.metadata[]",
)
def test_only_proxies_of_a_version_and_with_metadata(client: Inside, rules: Rules) -> None:
    def of(header: str, proxy: dict[str, Any]) -> dict[str, Any]:
        match = of_manager("SIDECAR_OUTBOUND", "envoy.filters.http.router") | {"proxy": proxy}
        return patch("HTTP_FILTER", match, "INSERT_BEFORE", answering(header, "yes"))

    rules.apply(
        "filter",
        envoy_filter(
            "versions",
            of("x-this", {"proxyVersion": r"^1\.31.*", "metadata": {"NAMESPACE": "default"}}),
            of("x-other", {"proxyVersion": r"^1\.4.*"}),
            of("x-elsewhere", {"metadata": {"NAMESPACE": "elsewhere"}}),
        ),
    )
    headers = client.get("http://productpage:9080/").headers
    assert {name for name in headers if name.startswith("x-")} >= {"x-this"}
    assert "x-other" not in headers
    assert "x-elsewhere" not in headers
