"""Envoy's bootstrap: where its control plane is, who it is, and nothing that can be learned there.

In: facts of one proxy. Out: the bootstrap as a JSON value
(https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto). Pure.
Paths are relative to Envoy's working directory, so that proxies of one kind differ only in `node`.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from argosy.model.mixer import MIXER_CLUSTER, MIXER_NAME
from argosy.model.proxy import ISTIO_VERSION, ProxyType
from argosy.model.rate_limit import LIMIT_STATS
from argosy.model.records import RUNTIME_LAYER
from argosy.model.standard_metrics import CLUSTER_TAG, MESSAGE_STATISTICS, SCOPE
from argosy.model.workload import NO_LOCALITY, Locality
from argosy.proxy.capture import ENVOY_MARK, PROXY_DNS_PORT
from argosy.proxy.secret_files import CONTROL_PLANE_FILE, CONTROL_PLANE_SECRET

ADMIN_PORT = 15000
STATUS_PORT = 15021
PROMETHEUS_PORT = 15090
AGENT_PORT = 15020
STATS_FLUSH_SECONDS = 2.0
"""How often statistics go to sinks, and histograms to the admin interface. A proxy that is killed takes
with it what it counted since; one that ends waits so long for the last of it."""

LOCAL_CLUSTER = "local_cluster"
"""Istio's name; the control plane knows it too."""
CONTROL_PLANE_NAME = "istiod.istio-system.svc"
_SOL_SOCKET, _SO_MARK = 1, 36
_MAX_CONNECTIONS = 1_000_000
"""More than a workload's file descriptors allow: a bound for Envoy's own accounting."""
_DEFAULT_STATS = (
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "istio_",
    f"{SCOPE}.",
    f"{LIMIT_STATS}.",
)
_DEFAULT_STAT_SUFFIXES = (
    "rbac.allowed",
    "rbac.denied",
    "shadow_allowed",
    "shadow_denied",
    *(f".{counted}" for counted in MESSAGE_STATISTICS),
)
"""What Istio keeps by default, and what its metrics of gRPC messages are made of.

Each cluster's statistics cost memory in every sidecar; the last are there for those that gRPC goes to.
"""

_STAT_TAGS = {
    "authz_enforce_result": r"rbac(\.(allowed|denied))$",
    "authz_dry_run_action": r"(\.istio_dry_run_(allow|deny)_)",
    "authz_dry_run_result": r"(\.shadow_(allowed|denied))$",
    "limit": rf"^{LIMIT_STATS}\.((.+?)\.)http_local_rate_limit\.",
    CLUSTER_TAG: r"^cluster\.((.+)\.)grpc\.(?:request|response)_message_count$",
}
"""Parts of names that are labels in Prometheus: the first group is taken out, the second is kept.

As in https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/
"""

_SPAN_FLUSH = {
    "tracing.opentelemetry.flush_interval_ms": 1000,
    "tracing.zipkin.flush_interval_ms": 1000,
}
"""Spans are sent when they are a second old, not five as by default: people wait for them."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StatsInclusion:
    """Which statistics are kept besides the default, as ``proxyStatsMatcher`` says it."""

    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    regexps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """One proxy. ``ads`` is the control plane's host and port, ``mixer`` Mixer's, if there is one.

    ``cluster`` empty: the workload's name and namespace. ``metadata`` is added to the node's,
    ``runtime`` to Envoy's runtime. ``statsd`` is where statistics are sent, host and port.
    ``connection_limit`` bounds the connections of all listeners together.
    """

    type: ProxyType
    name: str
    namespace: str
    address: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    workload: str
    mesh: str
    ads: tuple[str, int]
    domain: str = "cluster.local"
    annotations: tuple[tuple[str, str], ...] = ()
    locality: Locality = NO_LOCALITY
    stats: StatsInclusion = field(default_factory=StatsInclusion)
    cluster: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    runtime: tuple[tuple[str, str], ...] = ()
    statsd: tuple[str, int] | None = None
    connection_limit: int | None = None
    mixer: tuple[str, int] | None = None

    @property
    def self_discovery(self) -> bool:
        """Whether it learns of its own kind, which zone aware routing needs.

        Set by ``ISTIO_META_ENABLE_SELF_DISCOVERY`` in ``proxyMetadata``.
        """
        return dict(self.metadata).get("ENABLE_SELF_DISCOVERY", "").lower() == "true"

    @property
    def node_id(self) -> str:
        """Istio's node id: ``type~ip~name.namespace~namespace.svc.domain``."""
        suffix = f"{self.namespace}.svc.{self.domain}"
        return f"{self.type.value}~{self.address}~{self.name}.{self.namespace}~{suffix}"


def bootstrap(facts: ProxyFacts) -> Json:
    """The bootstrap of a sidecar or gateway that speaks delta ADS over mTLS."""
    return {
        "node": node(facts),
        "admin": {"address": _address("127.0.0.1", ADMIN_PORT)},
        "dynamic_resources": {
            "lds_config": _ads_source(),
            "cds_config": _ads_source(),
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {
            "clusters": [
                _mesh_server("xds-grpc", CONTROL_PLANE_NAME, facts.ads),
                *(
                    [_mesh_server(MIXER_CLUSTER, MIXER_NAME, facts.mixer)]
                    if facts.mixer is not None
                    else []
                ),
                _loopback("prometheus_stats", ADMIN_PORT),
                _loopback("agent", AGENT_PORT),
                *([_local_cluster()] if facts.self_discovery else []),
            ],
            "listeners": [
                _exposed(
                    "prometheus", PROMETHEUS_PORT, "/stats/prometheus", "agent", "/stats/envoy"
                ),
                _exposed("health", STATUS_PORT, "/healthz/ready", "prometheus_stats", "/ready"),
            ],
        },
        "typed_dns_resolver_config": _resolver(),
        "stats_flush_interval": f"{STATS_FLUSH_SECONDS:g}s",
        "stats_sinks": [
            *([] if facts.statsd is None else [_statsd(*facts.statsd)]),
            *([] if facts.mixer is None else [_mixer_sink()]),
        ],
        "cluster_manager": {
            **({"local_cluster_name": LOCAL_CLUSTER} if facts.self_discovery else {}),
            "upstream_bind_config": {
                "source_address": {"address": "0.0.0.0", "port_value": 0},
                "socket_options": [_mark()],
            },
        },
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": n, "regex": r} for n, r in _STAT_TAGS.items()],
            "stats_matcher": {"inclusion_list": {"patterns": _patterns(facts.stats)}},
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
                        "downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": facts.connection_limit
                        or _MAX_CONNECTIONS,
                    },
                }
            ]
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    "static_layer": {
                        "re2.max_program_size.error_level": 32768,
                        # Balsa judges a method when its line ends: on ports whose protocol is
                        # detected, text of other protocols would be held until a newline comes.
                        "envoy.reloadable_features.http_inspector_use_balsa_parser": False,
                        **_SPAN_FLUSH,
                        **{key: _runtime_value(value) for key, value in facts.runtime},
                    },
                },
                *([] if facts.mixer is None else [_control_planes_layer()]),
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }


def _control_planes_layer() -> Json:
    """Values that change while the proxy runs, such as whether somebody watches its requests."""
    return {
        "name": RUNTIME_LAYER,
        "rtds_layer": {"name": RUNTIME_LAYER, "rtds_config": _ads_source("5s")},
    }


def node(facts: ProxyFacts) -> Json:
    """Who it is, with the metadata that Istio's control plane would read."""
    return {
        "id": facts.node_id,
        "cluster": facts.cluster or f"{facts.workload}.{facts.namespace}",
        "locality": _locality(facts.locality),
        "metadata": {
            "NAME": facts.name,
            "NAMESPACE": facts.namespace,
            "SERVICE_ACCOUNT": facts.service_account,
            "LABELS": dict(facts.labels),
            "ANNOTATIONS": dict(facts.annotations),
            "INSTANCE_IPS": facts.address,
            "WORKLOAD_NAME": facts.workload,
            "MESH_ID": facts.mesh,
            "CLUSTER_ID": "Kubernetes",
            **dict(facts.metadata),
            "ISTIO_VERSION": ISTIO_VERSION,
        },
    }


def _locality(locality: Locality) -> Json:
    return {"region": locality.region, "zone": locality.zone, "sub_zone": locality.subzone}


def _mesh_server(name: str, dns_name: str, address: tuple[str, int]) -> Json:
    """A gRPC server of the mesh itself, by mutual TLS and with this name in its certificate."""
    host, port = address
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": dns_name,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [_secret("default", "default.json")],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [
                        {"san_type": "DNS", "matcher": {"exact": dns_name}}
                    ]
                },
                "validation_context_sds_secret_config": _secret(
                    CONTROL_PLANE_SECRET, CONTROL_PLANE_FILE
                ),
            },
        },
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _one_endpoint(name, host, port),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "10s"}
                    }
                },
            }
        },
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "circuit_breakers": {"thresholds": [{"max_requests": 100000, "max_connections": 100000}]},
    }


def _local_cluster() -> Json:
    """The proxy's own kind, which zone aware routing compares destinations with."""
    return {
        "name": LOCAL_CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": _ads_source(), "service_name": LOCAL_CLUSTER},
    }


def _secret(name: str, file: str) -> Json:
    """A secret in a file that the agent replaces by renaming (``certificates.py`` writes it)."""
    return {
        "name": name,
        "sds_config": {
            "path_config_source": {
                "path": f"./certs/{file}",
                "watched_directory": {"path": "./certs"},
            },
            "resource_api_version": "V3",
        },
    }


def _exposed(name: str, port: int, path: str, cluster: str, inner_path: str) -> Json:
    """A listener that shows one path of ``cluster``, and nothing else, to the network."""
    route = {
        "match": {"path": path},
        "route": {"cluster": cluster, "prefix_rewrite": inner_path},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": name,
        "address": _address("0.0.0.0", port),
        "filter_chains": [{"filters": [network]}],
        "ignore_global_conn_limit": True,
    }


def _loopback(name: str, port: int) -> Json:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _one_endpoint(name, "127.0.0.1", port),
    }


def _one_endpoint(name: str, host: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _ads_source(timeout: str = "0s") -> Json:
    """Wait for the first answer however long it takes: a proxy without policy serves nothing."""
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": timeout}


def _resolver() -> Json:
    """The agent's DNS for proxies: that for applications would lead back to the proxy itself."""
    address = _address("127.0.0.1", PROXY_DNS_PORT)
    address["socket_address"]["protocol"] = "UDP"
    return {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3."
            "CaresDnsResolverConfig",
            "resolvers": [address],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    }


def _mark() -> Json:
    return {
        "description": "known to the capture rules as Envoy's own traffic",
        "level": _SOL_SOCKET,
        "name": _SO_MARK,
        "int_value": ENVOY_MARK,
        "state": "STATE_PREBIND",
    }


def _statsd(host: str, port: int) -> Json:
    kind = "type.googleapis.com/envoy.config.metrics.v3.StatsdSink"
    config = {"@type": kind, "address": _address(host, port)}
    return {"name": "envoy.stat_sinks.statsd", "typed_config": config}


_MIXER_RETRIES = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 4,
    "retry_back_off": {"base_interval": "0.5s", "max_interval": "2s"},
}
"""Differences are sent once: what meets no connection would be lost, as when a handshake takes
longer than ``connect_timeout``. Only what Mixer cannot have read is sent again, or it would be
counted twice."""


def _mixer_sink() -> Json:
    """Istio's metrics and what limits have let through and refused, as what changed since they were
    sent last, and nothing else.

    https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/stat_sinks/open_telemetry/v3/open_telemetry.proto
    """
    sink = "type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig"
    name = {
        "name": "stat_name",
        "typed_config": {
            "@type": "type.googleapis.com/"
            "envoy.extensions.matching.common_inputs.stats.v3.StatFullNameMatchInput"
        },
    }
    taken = (
        {"prefix": f"{SCOPE}."},
        {"safe_regex": {"google_re2": {}, "regex": rf"{LIMIT_STATS}\..+\.(ok|rate_limited)"}},
    )
    each = [{"single_predicate": {"input": name, "value_match": one}} for one in taken]
    ours = {"or_matcher": {"predicate": each}}
    drop = {"name": "drop", "typed_config": {"@type": f"{sink}.DropAction"}}
    other = {"predicate": {"not_matcher": ours}, "on_match": {"action": drop}}
    config = {
        "@type": sink,
        "grpc_service": {
            "envoy_grpc": {"cluster_name": MIXER_CLUSTER},
            "timeout": "5s",
            "retry_policy": _MIXER_RETRIES,
        },
        "report_counters_as_deltas": True,
        "report_histograms_as_deltas": True,
        "custom_metric_conversions": {"matcher_list": {"matchers": [other]}},
    }
    return {"name": "envoy.stat_sinks.open_telemetry", "typed_config": config}


def _runtime_value(text: str) -> object:
    """Runtime values are numbers and booleans where they look like it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _patterns(stats: StatsInclusion) -> list[Json]:
    prefixes = [{"prefix": p} for p in (*_DEFAULT_STATS, *stats.prefixes)]
    suffixes = [{"suffix": s} for s in (*_DEFAULT_STAT_SUFFIXES, *stats.suffixes)]
    return prefixes + suffixes + [{"safe_regex": {"regex": r}} for r in stats.regexps]
