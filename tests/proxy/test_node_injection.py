"""Rules of https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/."""

from typing import Any

import msgspec
import pytest

from argosy.api.core_pod import Pod
from argosy.pilot.compile.injection import Injection
from argosy.proxy.node_injection import added_labels, injection, workload_name


def pod(**metadata: Any) -> Pod:
    return msgspec.convert({"metadata": {"name": "p", "namespace": "ns", **metadata}}, Pod)


OFF = {"istio-injection": "disabled"}
LABEL = "sidecar.istio.io/inject"


@pytest.mark.parametrize(
    ("metadata", "namespace", "expected"),
    [
        ({}, {}, Injection.SIDECAR),
        ({}, OFF, Injection.NONE),
        ({"labels": {LABEL: "false"}}, {}, Injection.NONE),
        ({"annotations": {LABEL: "false"}}, {}, Injection.NONE),
        ({"labels": {LABEL: "true"}}, OFF, Injection.SIDECAR),
        ({"labels": {LABEL: "true"}, "annotations": {LABEL: "false"}}, {}, Injection.SIDECAR),
        ({"annotations": {"inject.istio.io/templates": "gateway"}}, OFF, Injection.GATEWAY),
        ({"annotations": {"inject.istio.io/templates": "grpc-agent"}}, {}, Injection.GRPC),
        ({"annotations": {"inject.istio.io/templates": "grpc-agent"}}, OFF, Injection.NONE),
    ],
)
def test_who_gets_a_proxy(
    metadata: dict[str, Any], namespace: dict[str, str], expected: Injection
) -> None:
    assert injection(pod(**metadata), namespace) is expected


def test_labels_of_a_meshed_pod() -> None:
    owner = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u"}]
    plain = pod(ownerReferences=owner)
    assert workload_name(plain) == "web"
    assert added_labels(plain, Injection.SIDECAR) == {
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "latest",
        "security.istio.io/tlsMode": "istio",
    }
    named = pod(labels={"app": "reviews", "version": "v2", "security.istio.io/tlsMode": "disabled"})
    assert added_labels(named, Injection.SIDECAR) == {
        "service.istio.io/canonical-name": "reviews",
        "service.istio.io/canonical-revision": "v2",
    }
    assert added_labels(named, Injection.NONE) == {}
    assert "security.istio.io/tlsMode" not in added_labels(plain, Injection.GATEWAY)
