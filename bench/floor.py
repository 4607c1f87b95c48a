"""The floor: the leanest pair of Envoys written by hand, and the application behind every pair.

Static configuration as Envoy reads it. The pair does what any sidecar pair must: HTTP/1.1 in,
mutual TLS with P-256 certificates and the peer's SPIFFE id checked, HTTP/2 between the two,
HTTP/1.1 out. It has no capture, no statistics, no access log, no retries, one route, and no
filter besides the router.
"""

from typing import Any

from argosy.testing.certificates import Credential

Json = dict[str, Any]

CLIENT_PORT = 9000
"""Where the client's Envoy takes plain HTTP, on loopback."""
TLS_PORT = 8443
APPLICATION_PORT = 8080

_TYPES = "type.googleapis.com/envoy.extensions"
_BODY = "x" * 1024


def application() -> Json:
    """An Envoy that answers every request itself with 1 KiB."""
    answer = {"status": 200, "body": {"inline_string": _BODY}}
    return _static([_listener("0.0.0.0", APPLICATION_PORT, {"direct_response": answer})], [])


def client(credential: Credential, server_host: str, server_identity: str) -> Json:
    """Loopback in, HTTP/2 over mutual TLS out."""
    return _static(
        [_listener("127.0.0.1", CLIENT_PORT, {"route": {"cluster": "server"}})],
        [
            {
                **_cluster("server", "STRICT_DNS", server_host, TLS_PORT),
                "transport_socket": _tls("Upstream", credential, server_identity),
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}},
                    }
                },
            }
        ],
    )


def server(credential: Credential, client_identity: str) -> Json:
    """HTTP/2 over mutual TLS in, loopback out."""
    return _static(
        [
            _listener(
                "0.0.0.0",
                TLS_PORT,
                {"route": {"cluster": "application"}},
                _tls("Downstream", credential, client_identity),
            )
        ],
        [_cluster("application", "STATIC", "127.0.0.1", APPLICATION_PORT)],
    )


def _static(listeners: list[Json], clusters: list[Json]) -> Json:
    return {
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "stats_config": {"stats_matcher": {"reject_all": True}},
    }


def _listener(host: str, port: int, action: Json, transport_socket: Json | None = None) -> Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.router.v3.Router",
            "dynamic_stats": False,
            "suppress_envoy_headers": True,
        },
    }
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "floor",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, **action}],
                }
            ]
        },
        "http_filters": [router],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    chain: Json = {"filters": [network]}
    if transport_socket is not None:
        chain["transport_socket"] = transport_socket
    return {"name": f"port-{port}", "address": _address(host, port), "filter_chains": [chain]}


def _cluster(name: str, kind: str, host: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {
        "name": name,
        "type": kind,
        "dns_lookup_family": "V4_ONLY",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _tls(side: str, credential: Credential, peer: str) -> Json:
    context: Json = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.{side}TlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": credential.certificate},
                    "private_key": {"inline_string": credential.key},
                }
            ],
            "validation_context": {
                "trusted_ca": {"inline_string": credential.roots},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
            },
        },
    }
    if side == "Downstream":
        context["require_client_certificate"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
