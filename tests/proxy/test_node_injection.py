"""Rules of https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/."""

from typing import Any

import msgspec
import pytest

from argosy.api.core_pod import Pod
from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts
from argosy.pilot.compile.capture_ports import ports_of
from argosy.pilot.compile.injection import Injection
from argosy.proxy.node_injection import added_labels, injected, injection, workload_name


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


def test_a_pod_keeps_the_ports_that_held_when_it_was_made() -> None:
    moved = CapturePorts(15101, 15106)
    made = injected(pod(), Injection.SIDECAR, moved)
    assert ports_of(made.metadata.annotations) == moved
    assert injected(made, Injection.SIDECAR, USUAL_CAPTURE) == made
    usual = injected(pod(), Injection.SIDECAR, USUAL_CAPTURE)
    assert ports_of(injected(usual, Injection.SIDECAR, moved).metadata.annotations) == USUAL_CAPTURE
    gateway = injected(pod(), Injection.GATEWAY, moved)
    assert ports_of(gateway.metadata.annotations) == USUAL_CAPTURE


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
