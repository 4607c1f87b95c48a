"""What Envoy counts for each cluster, as Istio's metrics."""

import json
from typing import Any

import pytest

from argosy.proxy.message_counts import (
    ClusterFacts,
    MalformedDumpError,
    MessageCount,
    clusters,
    lines,
)

OWN = "web-v1;shop;web;v1;Kubernetes;web;"
ECHO = "echo.default.svc.cluster.local;echo;default"
REQUESTS, RESPONSES = "istio_request_messages_total", "istio_response_messages_total"


def cluster(name: str, service: str = "", alt: str = "") -> dict[str, Any]:
    own: dict[str, Any] = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}
    own["name"] = name
    if alt:
        own["alt_stat_name"] = alt
    if service:
        own["metadata"] = {"filter_metadata": {"istio": {}, "argosy": {"service": service}}}
    return {"@type": "type.googleapis.com/any", "cluster": own}


def dump(*configs: dict[str, Any]) -> bytes:
    return json.dumps({"configs": configs}).encode()


def test_clusters_are_known_by_what_statistics_call_them() -> None:
    found = clusters(
        dump(
            cluster("outbound|70||echo.default.svc.cluster.local", ECHO),
            cluster("inbound|80||", "web.shop;web;shop"),
            cluster("InboundPassthroughCluster", ";InboundPassthroughCluster;"),
            cluster("odd:1"),
            cluster("outbound|1||a", "a;a;x", alt="a"),
            cluster("outbound|2||b", "b;b;x", alt="same"),
            cluster("outbound|3||c", "c;c;x", alt="same"),
            cluster("outbound|4||d", "d;d;x", alt="d"),
            cluster("outbound|4|v1|d", "d;d;x", alt="d"),
        )
    )
    assert found == {
        "outbound|70||echo.default.svc.cluster.local": ClusterFacts(False, ECHO),
        "inbound|80||": ClusterFacts(True, "web.shop;web;shop"),
        "InboundPassthroughCluster": ClusterFacts(True, ";InboundPassthroughCluster;"),
        "odd_1": ClusterFacts(False, ""),
        "a": ClusterFacts(False, "a;a;x"),
        "d": ClusterFacts(False, "d;d;x"),
    }


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"configs": [{"cluster": 1}]}', b"\xff"])
def test_what_is_no_dump(text: bytes) -> None:
    with pytest.raises(MalformedDumpError):
        clusters(text)


def test_labels_are_what_is_known_and_equal_series_are_added() -> None:
    known = {
        "out": ClusterFacts(False, ECHO),
        "out-v1": ClusterFacts(False, ECHO),
        "in": ClusterFacts(True, "web.shop;web;shop"),
        "odd": ClusterFacts(False, ""),
    }
    counts = [
        MessageCount(REQUESTS, "out", 3),
        MessageCount(REQUESTS, "out-v1", 4),
        MessageCount(REQUESTS, "gone", 100),
        MessageCount(RESPONSES, "in", 5),
        MessageCount(RESPONSES, "odd", 6),
    ]
    unknown = {
        side: (
            f'{side}_workload="unknown",{side}_workload_namespace="unknown",'
            f'{side}_canonical_service="unknown",{side}_canonical_revision="unknown",'
            f'{side}_cluster="unknown",{side}_app="unknown",{side}_version="unknown"'
        )
        for side in ("source", "destination")
    }
    web = {
        side: (
            f'{side}_workload="web-v1",{side}_workload_namespace="shop",'
            f'{side}_canonical_service="web",{side}_canonical_revision="v1",'
            f'{side}_cluster="Kubernetes",{side}_app="web",{side}_version="unknown"'
        )
        for side in ("source", "destination")
    }
    rest = (
        'source_principal="unknown",destination_principal="unknown",'
        'connection_security_policy="unknown",request_protocol="grpc"'
    )

    def service(host: str, name: str, namespace: str) -> str:
        return (
            f'destination_service="{host}",destination_service_name="{name}",'
            f'destination_service_namespace="{namespace}"'
        )

    echo, own = service(*ECHO.split(";")), service("web.shop", "web", "shop")
    nobody = service("unknown", "unknown", "unknown")
    client = f'reporter="source",{web["source"]},{unknown["destination"]}'
    server = f'reporter="destination",{unknown["source"]},{web["destination"]}'
    assert "".join(lines(counts, known, OWN)) == (
        f"# TYPE {REQUESTS} counter\n"
        f"{REQUESTS}{{{client},{echo},{rest}}} 7\n"
        f"# TYPE {RESPONSES} counter\n"
        f"{RESPONSES}{{{server},{own},{rest}}} 5\n"
        f"{RESPONSES}{{{client},{nobody},{rest}}} 6\n"
    )


def test_values_are_escaped() -> None:
    (_, line) = lines([MessageCount(REQUESTS, "c", 1)], {"c": ClusterFacts(False, 'a"\\;b;c')}, OWN)
    assert 'destination_service="a\\"\\\\"' in line
