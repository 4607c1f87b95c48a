"""Pods: when they are workloads, and how healthy."""

from typing import Any

import msgspec
import pytest

from argosy.api.core_pod import Pod
from argosy.model.workload import Health, Locality, Workload
from argosy.pilot.compile.workloads import workload

READY = [{"type": "Ready", "status": "True"}]
RUNNING = {"phase": "Running", "podIP": "10.244.0.5", "conditions": READY}


def a_pod(
    status: dict[str, Any] = RUNNING,
    spec: dict[str, Any] | None = None,
    **metadata: Any,
) -> Workload | None:
    whole = {
        "metadata": {"name": "p", "namespace": "default", **metadata},
        "spec": spec or {},
        "status": status,
    }
    return workload(msgspec.convert(whole, Pod))


@pytest.mark.parametrize(
    "status",
    [{}, {"phase": "Running"}, {**RUNNING, "phase": "Succeeded"}, {**RUNNING, "phase": "Failed"}],
)
def test_pods_that_nobody_can_call(status: dict[str, Any]) -> None:
    assert a_pod(status) is None


def test_health() -> None:
    ready, starting = a_pod(), a_pod({**RUNNING, "conditions": []})
    leaving = a_pod(deletionTimestamp="2026-01-01T00:00:00Z")
    assert ready is not None
    assert starting is not None
    assert leaving is not None
    assert ready.health is Health.HEALTHY
    assert starting.health is Health.UNHEALTHY
    assert leaving.health is Health.DRAINING


@pytest.mark.parametrize(("mode", "meshed"), [("istio", True), ("disabled", False), (None, False)])
def test_meshed(mode: str | None, meshed: bool) -> None:
    found = a_pod(labels={} if mode is None else {"security.istio.io/tlsMode": mode})
    assert found is not None
    assert found.meshed is meshed


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, Locality()),
        ({"istio-locality": "eu.eu-1.rack"}, Locality("eu", "eu-1", "rack")),
        ({"istio-locality": "eu/eu-1"}, Locality("eu", "eu-1")),
        ({"istio-locality": "eu"}, Locality("eu")),
        (
            {"topology.kubernetes.io/region": "us", "topology.kubernetes.io/zone": "us-1"},
            Locality("us", "us-1"),
        ),
    ],
)
def test_locality(labels: dict[str, str], expected: Locality) -> None:
    found = a_pod(labels=labels)
    assert found is not None
    assert found.locality == expected


def test_ports_and_account() -> None:
    containers = [
        {"name": "a", "ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 9}]},
        {"name": "b", "ports": [{"name": "web", "containerPort": 1}]},
        {"name": "c", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
    ]
    found = a_pod(spec={"containers": containers, "serviceAccountName": "sa"})
    assert found is not None
    assert found.container_ports == (("web", 8080),)
    assert found.service_account == "sa"
