"""EnvoyFilters with real Envoys: every ``applyTo``, in the sidecars of both sides and at a gateway.

Where a request does not show it, Envoy's admin interface does. The first are Istio's own: the
sample and the documented filters of its task about local rate limits,
https://istio.io/latest/docs/tasks/policy-enforcement/rate-limit/
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import Inside, inside, outside
from manifests import deployment, server, service
from mesh import ARGOSY, Mesh, eventually
from patches import HCM, LUA, answering, envoy_filter, lua, of_manager, patch

pytestmark = pytest.mark.e2e

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{route: [{destination: {host: productpage, port: {number: 9080}}}]}]
"""


@pytest.fixture(scope="module")
def running(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("manifests") / "all.yaml"
    file.write_text(
        deployment("productpage", *server("any", "8000,9080"), port=9080)
        + service(
            "productpage",
            "productpage",
            {"name": "http", "port": 8000},
            {"name": "http-page", "port": 9080},
        )
        + deployment("flaky", *server("flaky", 7000), port=7000)
        + service("flaky", "flaky", {"name": "http", "port": 7000})
        + deployment("client", sys.executable, "-c", "import time; time.sleep(1e6)")
        + GATEWAY
    )
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def client(running: Mesh) -> Iterator[Inside]:
    with inside(running, "deploy/client") as found:
        yield found


@pytest.fixture
def applied(running: Mesh) -> Iterator[Any]:
    """Applies a filter; whatever was applied is deleted at the end."""
    texts: list[str | Path] = []

    def apply(what: str | Path) -> str:
        texts.append(what)
        return running.apply(what)

    yield apply
    for what in reversed(texts):
        running.delete(what)


def dump(mesh: Mesh, target: str, what: str) -> str:
    """A part of Envoy's configuration as JSON."""
    return mesh.envoy(target, f"/config_dump?resource={what}")


def statuses(client: Inside, url: str, count: int) -> list[int]:
    return [answer.status for answer in client.requests(url, count=count)]


def assert_limited(found: list[int], tokens: int) -> None:
    """So many are let through. A first one may have gone by a connection from before."""
    rest = found[1:]
    allowed = rest.count(200)
    assert rest == [200] * allowed + [429] * (len(rest) - allowed)
    assert allowed in (tokens - 1, tokens)


# Istio's own.


@pytest.mark.covers(
    "EnvoyFilter.workloadSelector.labels",
    "EnvoyFilter.configPatches[].applyTo",
    "EnvoyFilter.configPatches[].match.context",
    "EnvoyFilter.configPatches[].match.listener.filterChain.filter.name",
    "EnvoyFilter.configPatches[].match.routeConfiguration.vhost.name",
    "EnvoyFilter.configPatches[].match.routeConfiguration.vhost.route.action",
    "EnvoyFilter.configPatches[].patch.operation",
    "EnvoyFilter.configPatches[].patch.value",
)
def test_istios_sample_of_a_local_rate_limit(
    running: Mesh, client: Inside, applied: Any, istio_samples: Path
) -> None:
    url = "http://productpage:8000/productpage"
    applied(istio_samples / "ratelimit" / "local-rate-limit-service.yaml")
    answers = client.requests(url, count=15)
    assert_limited([answer.status for answer in answers], 10)
    assert answers[-1].headers["x-local-rate-limit"] == "true"
    assert answers[-1].headers["x-ratelimit-limit"].startswith("10")
    assert statuses(client, "http://productpage:8000/other", 12) == [200] * 12  # up to a hundred
    assert statuses(client, "http://productpage:9080/productpage", 12) == [200] * 12


LIMIT = {
    "stat_prefix": "http_local_rate_limiter",
    "token_bucket": {"max_tokens": 4, "tokens_per_fill": 4, "fill_interval": "60s"},
    "filter_enabled": {
        "runtime_key": "local_rate_limit_enabled",
        "default_value": {"numerator": 100, "denominator": "HUNDRED"},
    },
    "filter_enforced": {
        "runtime_key": "local_rate_limit_enforced",
        "default_value": {"numerator": 100, "denominator": "HUNDRED"},
    },
    "response_headers_to_add": [
        {"append": False, "header": {"key": "x-local-rate-limit", "value": "true"}}
    ],
}


def typed_struct(value: dict[str, Any]) -> dict[str, Any]:
    """As Istio's documentation writes a filter's configuration."""
    return {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/"
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "value": value,
    }


def local_rate_limit(value: dict[str, Any], *more: dict[str, Any]) -> str:
    config = {"name": "envoy.filters.http.local_ratelimit", "typed_config": typed_struct(value)}
    return envoy_filter(
        "filter-local-ratelimit-svc",
        patch("HTTP_FILTER", of_manager("SIDECAR_INBOUND"), "INSERT_BEFORE", config),
        *more,
        namespace="istio-system",
        workloadSelector={"labels": {"app": "productpage"}},
    )


def test_the_documented_limit_of_a_workload(client: Inside, applied: Any) -> None:
    applied(local_rate_limit(LIMIT))
    url = "http://productpage:9080/productpage"
    answers = client.requests(url, count=12)
    assert_limited([answer.status for answer in answers], 4)
    assert answers[-1].headers["x-local-rate-limit"] == "true"


def test_the_documented_limit_of_a_port(client: Inside, applied: Any) -> None:
    of_route = patch(
        "HTTP_ROUTE",
        {
            "context": "SIDECAR_INBOUND",
            "routeConfiguration": {
                "vhost": {"name": "inbound|http|9080", "route": {"action": "ANY"}}
            },
        },
        "MERGE",
        {
            "typed_per_filter_config": {
                "envoy.filters.http.local_ratelimit": typed_struct(LIMIT),
            }
        },
    )
    applied(local_rate_limit({"stat_prefix": "http_local_rate_limiter"}, of_route))
    assert_limited(statuses(client, "http://productpage:9080/", 12), 4)
    assert statuses(client, "http://productpage:8000/", 12) == [200] * 12


# Filters, on each side.


@pytest.mark.covers(
    "EnvoyFilter.configPatches[].match.listener.portNumber",
    "EnvoyFilter.configPatches[].match.listener.filterChain.filter.subFilter.name",
)
def test_lua_adds_headers_inbound_outbound_and_at_the_gateway(
    running: Mesh, client: Inside, applied: Any
) -> None:
    router = "envoy.filters.http.router"

    def for_side(context: str, header: str, **listener: object) -> dict[str, Any]:
        match = of_manager(context, router, **listener)
        return patch("HTTP_FILTER", match, "INSERT_BEFORE", answering(header, "yes"))

    applied(
        envoy_filter(
            "lua",
            for_side("SIDECAR_INBOUND", "x-inbound", portNumber=9080),
            for_side("SIDECAR_OUTBOUND", "x-outbound"),
            for_side("GATEWAY", "x-gateway", portNumber=80),
            namespace="istio-system",
        )
    )

    def seen(headers: dict[str, str]) -> set[str]:
        return {name for name in ("x-inbound", "x-outbound", "x-gateway") if name in headers}

    page = "http://productpage:9080/"
    both = {"x-inbound", "x-outbound"}
    eventually(lambda: seen(client.get(page).headers) == both, "both sides add theirs")
    assert seen(client.get("http://productpage:8000/").headers) == {"x-outbound"}
    with outside() as browser:
        url, gateway = running.url, {"x-inbound", "x-gateway"}
        eventually(lambda: seen(browser.get(url).headers) == gateway, "the gateway adds its own")


@pytest.mark.covers("EnvoyFilter.priority", "EnvoyFilter.configPatches[].patch.filterClass")
def test_filters_are_put_where_they_are_wanted(running: Mesh, client: Inside, applied: Any) -> None:
    def tagging(name: str) -> dict[str, Any]:
        code = (
            "function envoy_on_request(h) "
            'local before = h:headers():get("x-order") or "" '
            f'h:headers():replace("x-order", before .. "{name};") end'
        )
        return lua(name, code)

    def at(operation: str, name: str, sub_filter: str = "", **more: object) -> dict[str, Any]:
        match = of_manager("SIDECAR_OUTBOUND", sub_filter)
        found = patch("HTTP_FILTER", match, operation, tagging(name))
        found["patch"] |= more
        return found

    cors = "envoy.filters.http.cors"
    applied(envoy_filter("late", at("INSERT_BEFORE", "late", cors), priority=5))
    applied(
        envoy_filter(
            "places",
            at("INSERT_BEFORE", "before", cors),
            at("INSERT_AFTER", "after", cors),
            at("ADD", "stats", filterClass="STATS"),
            at("INSERT_FIRST", "first"),
            patch(
                "HTTP_FILTER", of_manager("SIDECAR_OUTBOUND", "envoy.filters.http.fault"), "REMOVE"
            ),
        )
    )
    headers = client.get("http://productpage:9080/").json["headers"]
    assert headers["x-order"] == "first;before;late;after;stats;"
    assert "envoy.filters.http.fault" not in dump(running, "deploy/client", "dynamic_listeners")


def test_replaced_and_merged_filters(client: Inside, applied: Any, running: Mesh) -> None:
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    applied(
        envoy_filter(
            "replaced",
            patch(
                "HTTP_FILTER",
                of_manager("SIDECAR_OUTBOUND", "envoy.filters.http.cors"),
                "REPLACE",
                answering("x-instead", "of-cors"),
            ),
            patch(
                "HTTP_FILTER",
                of_manager("SIDECAR_OUTBOUND", "envoy.filters.http.router"),
                "MERGE",
                {"typed_config": {"@type": router, "suppress_envoy_headers": True}},
            ),
        )
    )
    headers = client.get("http://productpage:9080/").headers
    assert headers["x-instead"] == "of-cors"
    found = dump(running, "deploy/client", "dynamic_listeners")
    assert '"suppress_envoy_headers": true' in found


def test_settings_of_connection_managers_and_listeners(
    running: Mesh, client: Inside, applied: Any
) -> None:
    manager = f"type.googleapis.com/envoy.extensions.filters.network.{HCM.rpartition('.')[2]}.v3"
    applied(
        envoy_filter(
            "managers",
            patch(
                "NETWORK_FILTER",
                of_manager("SIDECAR_INBOUND", portNumber=9080),
                "MERGE",
                {
                    "typed_config": {
                        "@type": f"{manager}.HttpConnectionManager",
                        "server_name": "patched",
                        "xff_num_trusted_hops": 3,
                    }
                },
            ),
            patch(
                "LISTENER",
                {"context": "SIDECAR_INBOUND", "listener": {"name": "virtualInbound"}},
                "MERGE",
                {"per_connection_buffer_limit_bytes": 40000},
            ),
            patch(
                "FILTER_CHAIN",
                {
                    "context": "SIDECAR_INBOUND",
                    "listener": {"filterChain": {"name": "0.0.0.0_9080"}},
                },
                "MERGE",
                {"transport_socket_connect_timeout": "7s"},
            ),
            workloadSelector={"labels": {"app": "productpage"}},
        )
    )
    found = dump(running, "deploy/productpage", "dynamic_listeners")
    assert '"xff_num_trusted_hops": 3' in found
    assert found.count('"server_name": "patched"') == 2  # plaintext and mutual TLS
    assert '"per_connection_buffer_limit_bytes": 40000' in found
    assert '"transport_socket_connect_timeout": "7s"' in found


def test_an_extension_comes_by_discovery(running: Mesh, client: Inside, applied: Any) -> None:
    """EXTENSION_CONFIG, over the same stream as everything else."""
    discovered = {
        "name": "by-discovery",
        "config_discovery": {
            "config_source": {
                "ads": {},
                "resource_api_version": "V3",
                "initial_fetch_timeout": "0s",
            },
            "type_urls": [LUA],
        },
    }

    def text(value: str) -> str:
        extension = answering("x-discovered", value) | {"name": "by-discovery"}
        match = of_manager("SIDECAR_OUTBOUND", "envoy.filters.http.router")
        return envoy_filter(
            "extensions",
            patch("EXTENSION_CONFIG", {"context": "SIDECAR_OUTBOUND"}, "ADD", extension),
            patch("HTTP_FILTER", match, "INSERT_BEFORE", discovered),
        )

    applied(text("first"))

    def header() -> str:
        return client.get("http://productpage:9080/").headers.get("x-discovered", "")

    eventually(lambda: header() == "first", "the extension is there")
    running.apply(text("second"))
    eventually(lambda: header() == "second", "the extension is the changed one")


def test_the_bootstrap_of_a_pod_that_starts(running: Mesh, applied: Any) -> None:
    cluster = {"name": "of-bootstrap", "type": "STATIC", "connect_timeout": "1s"}
    tag = {"tag_name": "patched_tag", "regex": "(a)"}
    selector = {"labels": {"app": "late"}}
    applied(
        envoy_filter(
            "bootstrap",
            patch("BOOTSTRAP", {}, "MERGE", {"static_resources": {"clusters": [cluster]}}),
            patch("BOOTSTRAP", {}, "MERGE", {"stats_config": {"stats_tags": [tag]}}),
            # What Envoy refuses, it alone is left out: the name is taken.
            patch("BOOTSTRAP", {}, "MERGE", {"static_resources": {"clusters": [cluster]}}),
            workloadSelector=selector,
        )
    )
    late = deployment("late", sys.executable, "-c", "import time; time.sleep(1e6)")
    applied(late)
    running.argosy("wait", "deploy/late", "--for=condition=Available", "--timeout", "60")
    found = dump(running, "deploy/late", "static_clusters")
    assert "of-bootstrap" in found
    assert "patched_tag" in running.envoy("deploy/late", "/config_dump?mask=bootstrap")
    assert "of-bootstrap" not in dump(running, "deploy/client", "static_clusters")


LOAD = Path(__file__).with_name("load.py")


def test_nothing_fails_while_filters_come_change_and_go(running: Mesh) -> None:
    url = "http://productpage:9080/"
    load = (sys.executable, str(LOAD), url, "--seconds", "12", "--rate", "80")
    argv = (str(ARGOSY), "exec", "deploy/client", "--", *load)
    cluster = {"service": "productpage.default.svc.cluster.local", "portNumber": 9080}
    router = "envoy.filters.http.router"

    def text(round_: int) -> str:
        return envoy_filter(
            "changing",
            *(
                patch(
                    "HTTP_FILTER",
                    of_manager(context, router),
                    "INSERT_BEFORE",
                    answering("x-round", str(round_)),
                )
                for context in ("SIDECAR_INBOUND", "SIDECAR_OUTBOUND")
            ),
            patch(
                "CLUSTER",
                {"context": "SIDECAR_OUTBOUND", "cluster": cluster},
                "MERGE",
                {"connect_timeout": f"{round_ + 1}s"},
            ),
            patch(
                "VIRTUAL_HOST",
                {"context": "SIDECAR_OUTBOUND", "routeConfiguration": {"portNumber": 9080}},
                "MERGE",
                {"request_headers_to_add": [{"header": {"key": "x-round", "value": str(round_)}}]},
            ),
        )

    with subprocess.Popen(
        argv, env=running.environment, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as process:
        for round_ in range(4):
            running.apply(text(round_))
            running.apply(text(round_ + 10))
            running.delete(text(round_))
        answer, _ = process.communicate(timeout=120)
    found = json.loads(answer.splitlines()[-1])
    assert set(found["statuses"]) == {"200"}, found
