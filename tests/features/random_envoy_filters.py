"""Random EnvoyFilters that the API admits, for a mesh that they meet here and there."""

from typing import Any

from hypothesis import strategies as st

from argosy.api.decode import decode_json
from argosy.api.meta import Object
from argosy.api.validate import validate
from argosy.api.validate_envoy_filter import LISTENERS, OPERATIONS, ROUTES
from argosy.base.problems import Severity

HCM = "envoy.filters.network.http_connection_manager"
_TYPE = "type.googleapis.com/envoy.extensions"
HOST = "reviews.default.svc.cluster.local"
NAMESPACES = ("default", "data", "istio-system")


def typed(kind: str, **config: object) -> dict[str, object]:
    return {"@type": f"{_TYPE}.{kind}", **config}


LUA = "filters.http.lua.v3.Lua"
BUCKET = {"max_tokens": 10, "tokens_per_fill": 10, "fill_interval": "1s"}
ANSWER = {
    "name": "answer",
    "typed_config": typed(
        "filters.network.direct_response.v3.Config", response={"inline_string": "hello"}
    ),
}
TCP = {
    "name": "envoy.filters.network.tcp_proxy",
    "typed_config": typed(
        "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="x", cluster="BlackHoleCluster"
    ),
}
LIMIT = {
    "name": "limit",
    "typed_config": typed(
        "filters.network.local_ratelimit.v3.LocalRateLimit", stat_prefix="x", token_bucket=BUCKET
    ),
}

VALUES: dict[str, tuple[dict[str, Any], ...]] = {
    "LISTENER": (
        {"per_connection_buffer_limit_bytes": 1000},
        {"listener_filters_timeout": "3s", "continue_on_listener_filters_timeout": True},
        {
            "name": "own",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 9999}},
            "filter_chains": [{"filters": [ANSWER]}],
        },
        {"filter_chains": [{"name": "more", "filters": [TCP]}]},
        {"name": "nothing"},
    ),
    "LISTENER_FILTER": (
        {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": typed(
                "filters.listener.tls_inspector.v3.TlsInspector", enable_ja3_fingerprinting=True
            ),
        },
        {
            "name": "limit",
            "typed_config": typed(
                "filters.listener.local_ratelimit.v3.LocalRateLimit",
                stat_prefix="x",
                token_bucket=BUCKET,
            ),
        },
    ),
    "FILTER_CHAIN": (
        {"transport_socket_connect_timeout": "5s"},
        {"name": "added", "filter_chain_match": {"destination_port": 4242}, "filters": [ANSWER]},
        {"name": "same", "filters": [TCP]},
        {"filter_chain_match": {"transport_protocol": "raw_buffer"}},
    ),
    "NETWORK_FILTER": (
        LIMIT,
        ANSWER,
        TCP,
        {
            "name": HCM,
            "typed_config": typed(
                "filters.network.http_connection_manager.v3.HttpConnectionManager",
                server_name="patched",
                generate_request_id=False,
                access_log=[
                    {"name": "x", "typed_config": typed("access_loggers.stream.v3.StdoutAccessLog")}
                ],
            ),
        },
    ),
    "HTTP_FILTER": (
        {"name": "lua", "typed_config": typed(LUA, default_source_code={"inline_string": "--"})},
        {"name": "envoy.filters.http.cors", "typed_config": typed("filters.http.cors.v3.Cors")},
        {
            "name": "envoy.filters.http.router",
            "typed_config": typed("filters.http.router.v3.Router", start_child_span=True),
        },
        {
            "name": "buffer",
            "typed_config": typed("filters.http.buffer.v3.Buffer", max_request_bytes=100),
        },
    ),
    "ROUTE_CONFIGURATION": (
        {"response_headers_to_add": [{"header": {"key": "x-a", "value": "b"}}]},
        {"virtual_hosts": [{"name": "more", "domains": ["*"]}]},
        {"request_headers_to_remove": ["x-c"]},
    ),
    "VIRTUAL_HOST": (
        {"name": "added", "domains": ["added.example.com"]},
        {"retry_policy": {"retry_on": "5xx"}, "name": "renamed", "domains": ["a.example.com"]},
        {"name": "all", "domains": ["*"]},
    ),
    "HTTP_ROUTE": (
        {"match": {"prefix": "/x"}, "direct_response": {"status": 200}},
        {"match": {"path": "/y"}, "route": {"cluster": "BlackHoleCluster", "timeout": "1s"}},
        {"match": {"prefix": "/"}, "redirect": {"path_redirect": "/z"}, "name": "redirect"},
    ),
    "CLUSTER": (
        {"connect_timeout": "1s"},
        {"connect_timeout": "-1s"},
        {"name": "added", "type": "STATIC", "connect_timeout": "1s"},
        {"circuit_breakers": {"thresholds": [{"max_connections": 7}]}},
        {"lb_policy": "RANDOM"},
        {
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": typed("transport_sockets.tls.v3.UpstreamTlsContext", sni="a.b"),
            }
        },
    ),
    "EXTENSION_CONFIG": ({"name": "x", "typed_config": typed(LUA)},),
}
LISTENER_NAMES = ("virtualInbound", "virtualOutbound", "0.0.0.0_9080", "0.0.0.0_8080", "nowhere")
CHAINS = ("virtualInbound", "0.0.0.0_9080", "virtualInbound-catchall-http", "none")
FILTERS = (HCM, "envoy.filters.network.tcp_proxy", "none")
SUB_FILTERS = ("envoy.filters.http.router", "envoy.filters.http.cors", "lua", "none")


def maybe(draw: st.DrawFn, **options: tuple[object, ...]) -> dict[str, Any]:
    """Some of the fields, each with one of its values."""
    return {
        name: draw(st.sampled_from(values)) for name, values in options.items() if draw(_SELDOM)
    }


_SELDOM = st.integers(0, 3).map(lambda n: n == 0)


@st.composite
def matches(draw: st.DrawFn, apply_to: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        contexts = ("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY")
        found["context"] = draw(st.sampled_from(contexts))
    if apply_to in LISTENERS and draw(st.booleans()):
        listener = maybe(
            draw,
            name=LISTENER_NAMES,
            portNumber=(9080, 8080, 80, 15006),
            listenerFilter=("envoy.filters.listener.tls_inspector", "none"),
        )
        if draw(st.booleans()):
            chain = maybe(
                draw,
                name=CHAINS,
                transportProtocol=("tls", "raw_buffer"),
                destinationPort=(9080, 15006, 1),
                applicationProtocols=("istio-h2", "h2c,http/1.1"),
            )
            if draw(st.booleans()):
                one: dict[str, Any] = {"name": draw(st.sampled_from(FILTERS))}
                if apply_to == "HTTP_FILTER":
                    one = {"name": HCM, "subFilter": {"name": draw(st.sampled_from(SUB_FILTERS))}}
                chain["filter"] = one
            listener["filterChain"] = chain
        found["listener"] = listener
    if apply_to in ROUTES and draw(st.booleans()):
        table = maybe(
            draw,
            name=("9080", "http.8080", "inbound|9080||"),
            portNumber=(9080, 80),
            gateway=("default/edge",),
        )
        if draw(st.booleans()):
            table["vhost"] = maybe(
                draw,
                name=(f"{HOST}:9080", "allow_any", "inbound|http|9080"),
                domainName=("reviews", "*"),
            ) | (
                {"route": maybe(draw, name=("default",), action=("ROUTE", "REDIRECT"))}
                if draw(_SELDOM)
                else {}
            )
        found["routeConfiguration"] = table
    if apply_to == "CLUSTER" and draw(st.booleans()):
        found["cluster"] = maybe(
            draw,
            name=("PassthroughCluster", "inbound|9080||", f"outbound|9080||{HOST}"),
            service=(HOST, "nothing"),
            portNumber=(9080, 80),
            subset=("v1",),
        )
    return found


@st.composite
def patches(draw: st.DrawFn) -> dict[str, Any]:
    apply_to = draw(st.sampled_from(tuple(VALUES)))
    operation = draw(st.sampled_from(sorted(OPERATIONS[apply_to])))
    patch: dict[str, Any] = {"operation": operation}
    if operation != "REMOVE":
        merged = operation.startswith("MERGE")
        # One address for all listeners is a mistake that only Envoy sees: it keeps what it had.
        values = [value for value in VALUES[apply_to] if not (merged and "address" in value)]
        patch["value"] = draw(st.sampled_from(values))
    if operation == "ADD" and apply_to == "HTTP_FILTER":
        patch["filterClass"] = draw(st.sampled_from(("UNSPECIFIED", "AUTHN", "AUTHZ", "STATS")))
    return {"applyTo": apply_to, "match": draw(matches(apply_to)), "patch": patch}


@st.composite
def envoy_filters(draw: st.DrawFn, most: int = 3) -> tuple[Object, ...]:
    """EnvoyFilters without errors, each with a priority of its own."""
    found: list[Object] = []
    for number in range(draw(st.integers(1, most))):
        spec: dict[str, Any] = {"priority": number - 1}
        if draw(st.booleans()):
            spec["workloadSelector"] = {
                "labels": {"app": draw(st.sampled_from(("reviews", "curl")))}
            }
        listed = draw(st.lists(patches(), min_size=1, max_size=4))
        for kept in (listed, *([one] for one in listed)):
            text = {
                "apiVersion": "networking.istio.io/v1alpha3",
                "kind": "EnvoyFilter",
                "metadata": {
                    "name": f"random-{number}",
                    "namespace": draw(st.sampled_from(NAMESPACES)),
                },
                "spec": spec | {"configPatches": kept},
            }
            decoded = decode_json(text)
            assert not decoded.errors, decoded.errors
            (one,) = decoded.objects
            if not any(p.severity is Severity.ERROR for p in validate(one)):
                found.append(one)
                break
    return tuple(found)
