"""``argosy proxy-config``: a live Envoy's configuration in istioctl's tables."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Argosy = Callable[..., Any]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1}
spec: {containers: [{name: web, image: any}]}
"""
_TYPE = "type.googleapis.com/envoy.admin.v3."
OUT = "outbound|9080|v1|reviews.default.svc.cluster.local"
ADDRESS = {"socket_address": {"address": "0.0.0.0", "port_value": 9080}}


def certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def web(mesh: Any) -> Any:
    mesh.put(POD)
    chain = {"filters": [{"typed_config": {"rds": {"route_config_name": "9080"}}}]}
    tcp = {
        "filter_chain_match": {"transport_protocol": "tls", "application_protocols": ["istio"]},
        "filters": [{"typed_config": {"cluster": OUT}}],
    }
    listener = {
        "name": "a",
        "address": ADDRESS,
        "filter_chains": [tcp],
        "default_filter_chain": chain,
    }
    weights = [{"name": OUT, "weight": 80}, {"name": "other", "weight": 20}]
    routes = [
        {"match": {"prefix": "/", "headers": [{"name": "x"}]}, "route": {"cluster": OUT}},
        {"match": {"path": "/a"}, "route": {"weighted_clusters": {"clusters": weights}}},
        {"match": {"safe_regex": {"regex": "/b.*"}}, "direct_response": {"status": 418}},
    ]
    host = {"name": "reviews:9080", "domains": ["a", "b", "c", "d"], "routes": routes}
    tls = {"certificate_chain": {"inline_string": certificate()}, "private_key": {}}
    mesh.admin = {
        "config_dump": {
            "configs": [
                {"@type": f"{_TYPE}BootstrapConfigDump", "bootstrap": {"node": {"id": "me"}}},
                {
                    "@type": f"{_TYPE}ClustersConfigDump",
                    "static_clusters": [{"cluster": {"name": "xds", "type": "STATIC"}}],
                    "dynamic_active_clusters": [{"cluster": {"name": OUT, "type": "EDS"}}],
                },
                {
                    "@type": f"{_TYPE}ListenersConfigDump",
                    "dynamic_listeners": [{"active_state": {"listener": listener}}],
                },
                {
                    "@type": f"{_TYPE}RoutesConfigDump",
                    "dynamic_route_configs": [
                        {"route_config": {"name": "9080", "virtual_hosts": [host]}}
                    ],
                },
                {
                    "@type": f"{_TYPE}SecretsConfigDump",
                    "dynamic_active_secrets": [
                        {"name": "default", "secret": {"name": "default", "tls_certificate": tls}}
                    ],
                },
            ]
        },
        "clusters": {
            "cluster_statuses": [
                {
                    "name": OUT,
                    "host_statuses": [
                        {
                            "address": ADDRESS,
                            "health_status": {
                                "eds_health_status": "HEALTHY",
                                "failed_outlier_check": True,
                            },
                        }
                    ],
                }
            ]
        },
    }
    return mesh


def table(argosy: Argosy, *args: str) -> list[list[str]]:
    answer = argosy("proxy-config", *args, "web-1")
    assert (answer.code, answer.err) == (0, "")
    rows: list[list[str]] = []
    for line in answer.out.splitlines():
        assert line == line.rstrip()
        rows.append([cell.strip() for cell in line.split("   ") if cell.strip()])
    return rows


def test_clusters(web: Any, argosy: Argosy) -> None:
    assert table(argosy, "clusters") == [
        ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE"],
        ["reviews.default.svc.cluster.local", "9080", "v1", "outbound", "EDS"],
        ["xds", "-", "-", "-", "STATIC"],
    ]
    assert len(table(argosy, "clusters", "--port", "9080")) == 2
    nothing = argosy("pc", "clusters", "web-1", "--fqdn", "none")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "Nothing found.\n")


def test_listeners(web: Any, argosy: Argosy) -> None:
    assert table(argosy, "listeners")[1:] == [
        ["a", "0.0.0.0", "9080", "Trans: tls; App: istio", f"Cluster: {OUT}"],
        ["a", "0.0.0.0", "9080", "ALL", "Route: 9080"],
    ]


def test_routes(web: Any, argosy: Argosy) -> None:
    assert table(argosy, "routes", "--name", "9080")[1:] == [
        ["9080", "reviews:9080", "a, b, c + 1 more", "/* [x]", OUT],
        ["9080", "reviews:9080", "a, b, c + 1 more", "/a", f"{OUT}:80, other:20"],
        ["9080", "reviews:9080", "a, b, c + 1 more", "regex /b.*", "respond 418"],
    ]


def test_endpoints(web: Any, argosy: Argosy) -> None:
    assert table(argosy, "endpoints")[1:] == [["0.0.0.0:9080", "HEALTHY", "FAILED", OUT]]


def test_secrets_without_keys(web: Any, argosy: Argosy) -> None:
    assert table(argosy, "secrets")[1:] == [
        *[
            [
                "default",
                "Cert Chain",
                "ACTIVE",
                "abc",
                "2026-01-02T00:00:00Z",
                "2026-01-01T00:00:00Z",
            ]
        ]
    ]


def test_bootstrap_and_json(web: Any, argosy: Argosy) -> None:
    shown = json.loads(argosy("proxy-config", "bootstrap", "web-1").out)
    assert shown == {"node": {"id": "me"}}
    (cluster, _) = json.loads(argosy("pc", "clusters", "web-1", "-o", "json").out)
    assert cluster == {"name": OUT, "type": "EDS"}


def test_a_pod_without_proxy(mesh: Any, argosy: Argosy) -> None:
    mesh.put(POD)
    answer = argosy("proxy-config", "routes", "web-1")
    assert (answer.code, answer.err) == (3, "Error: pod default/web-1 has no running proxy\n")
