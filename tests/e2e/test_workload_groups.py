"""Machines that register themselves with a WorkloadGroup, and what its probe says of them.

https://istio.io/latest/docs/reference/config/networking/workload-group/
"""

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import health_server
import pytest
from inside import Inside, inside
from manifests import account, deployment, server, service
from mesh import Json, Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

REGISTERS = {"proxy.istio.io/config": "proxyMetadata: {ISTIO_META_AUTO_REGISTER_GROUP: legacy}"}
ANY = server("any", "8000")
SHOP = "shop" + 40 * ".long"
HEALTH = (sys.executable, str(Path(health_server.__file__)), "8001", "8002", SHOP)
MACHINE = ("/bin/sh", "-c", f"{shlex.join(HEALTH)} & exec {shlex.join(ANY)}")
"""Answers on port 8000, and to probes by HTTP and gRPC on two others."""

FAST = {"periodSeconds": 1, "failureThreshold": 1, "successThreshold": 1, "timeoutSeconds": 5}
HTTP_PROBE = {
    "initialDelaySeconds": 1,
    "httpGet": {
        "port": 8000,
        "path": "/healthz",
        "scheme": "HTTP",
        "httpHeaders": [{"name": "x-probe", "value": "yes"}],
    },
}


def group(probe: Json | None = None, **template: Any) -> str:
    spec: Json = {
        "metadata": {
            "labels": {"app": "legacy", "tier": "old"},
            "annotations": {"example.com/owner": "shop"},
        },
        "template": {
            "serviceAccount": "legacy",
            "labels": {"version": "v1", "app": "overridden"},
            "ports": {"http": 8000},
            "weight": 5,
            "locality": "eu/eu-1",
            **template,
        },
    }
    if probe is not None:
        spec["probe"] = {**FAST, **probe}
    return document("networking.istio.io/v1", "WorkloadGroup", "legacy", spec)


WORKLOADS = (
    account("legacy")
    + group(HTTP_PROBE)
    + "\n---\n"
    + deployment("curl", image="curlimages/curl")
    + deployment("machine", *MACHINE, annotations=REGISTERS, account="legacy")
    + service("legacy", "legacy", {"name": "http", "port": 80})
    + document(
        "networking.istio.io/v1",
        "ServiceEntry",
        "legacy",
        {
            "hosts": ["legacy.internal"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "workloadSelector": {"labels": {"app": "legacy"}},
        },
    )
)


@pytest.fixture(scope="module")
def groups(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(groups: Mesh) -> Iterator[Inside]:
    with inside(groups, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(groups: Mesh) -> Iterator[Rules]:
    with Rules(groups) as rules:
        yield rules


def grpc(**check: Any) -> Json:
    return {"grpc": check}


def with_header(name: str, value: str) -> Json:
    return {"httpGet": {"port": 8001, "httpHeaders": [{"name": name, "value": value}]}}


def entries(mesh: Mesh) -> list[Json]:
    return mesh.get("workloadentries")


def health(entry: Json) -> str:
    conditions = entry.get("status", {}).get("conditions", ())
    return next((str(c["status"]) for c in conditions if c["type"] == "Healthy"), "")


def is_healthy(mesh: Mesh, value: str = "True") -> bool:
    return [health(entry) for entry in entries(mesh)] == [value]


@pytest.mark.covers(
    "WorkloadGroup.metadata.labels",
    "WorkloadGroup.metadata.annotations",
    "WorkloadGroup.template",
    "WorkloadGroup.template.labels",
    "WorkloadGroup.template.ports",
    "WorkloadGroup.template.serviceAccount",
    "WorkloadGroup.template.weight",
    "WorkloadGroup.template.locality",
    "WorkloadGroup.probe.httpGet.port",
    "WorkloadGroup.probe.httpGet.path",
)
def test_a_machine_registers_and_is_called(groups: Mesh, curl: Inside) -> None:
    eventually(lambda: is_healthy(groups), "the machine is registered and healthy", 30)
    (entry,) = entries(groups)
    (pod,) = groups.get("pods", "-l", "app=machine")
    address = pod["status"]["podIP"]
    assert entry["metadata"]["name"] == f"legacy-{address}"
    notes = entry["metadata"]["annotations"]
    assert notes["istio.io/autoRegistrationGroup"] == "legacy"
    assert notes["istio.io/connectedAt"]
    assert notes["example.com/owner"] == "shop"
    spec = entry["spec"]
    assert (spec["address"], spec["serviceAccount"]) == (address, "legacy")
    assert (spec["weight"], spec["locality"]) == (5, "eu/eu-1")
    assert spec["labels"].items() >= {"app": "legacy", "tier": "old", "version": "v1"}.items()
    for url in ("http://legacy/", "http://legacy.internal/"):
        eventually(lambda url=url: curl.get(url).status == 200, f"{url} answers")  # type: ignore[misc]
        seen = curl.get(url).json["headers"]["x-forwarded-client-cert"]
        assert "URI=spiffe://cluster.local/ns/default/sa/default" in seen
        assert "By=spiffe://cluster.local/ns/default/sa/legacy" in seen


@pytest.mark.covers(
    "WorkloadGroup.probe.tcpSocket.port",
    "WorkloadGroup.probe.tcpSocket.host",
    "WorkloadGroup.probe.httpGet.host",
    "WorkloadGroup.probe.httpGet.scheme",
    "WorkloadGroup.probe.httpGet.httpHeaders[].name",
    "WorkloadGroup.probe.httpGet.httpHeaders[].value",
    "WorkloadGroup.probe.timeoutSeconds",
    "WorkloadGroup.probe.successThreshold",
    "WorkloadGroup.probe.exec.command",
    "WorkloadGroup.probe.grpc.port",
    "WorkloadGroup.probe.grpc.service",
    "WorkloadGroup.probe.httpGet.port",
    "WorkloadGroup.probe.periodSeconds",
    "WorkloadGroup.probe.failureThreshold",
)
def test_only_a_healthy_machine_is_sent_requests(groups: Mesh, curl: Inside, rules: Rules) -> None:
    changes: tuple[tuple[Json, str], ...] = (
        ({"httpGet": {"port": 9}}, "False"),
        ({"tcpSocket": {"port": 8000}}, "True"),
        (grpc(port=8000), "False"),
        (grpc(port=8002, service=SHOP), "True"),
        (grpc(port=8002, service="bank"), "False"),
        (with_header("x-probe", "yes"), "True"),
        (with_header("x-probe", "no"), "False"),
        (with_header("X-Probe", "yes"), "True"),
        (with_header("x-other", "yes"), "False"),
        ({"exec": {"command": ["/bin/sh", "-c", "exit 0"]}}, "True"),
        ({"exec": {"command": ["/bin/sh", "-c", "exit 1"]}}, "False"),
        ({"httpGet": {"port": 8000, "host": "127.0.0.1"}, "successThreshold": 2}, "True"),
        ({"exec": {"command": ["/bin/sleep", "600"]}, "timeoutSeconds": 1}, "False"),
        ({"tcpSocket": {"port": 8000, "host": "127.0.0.1"}}, "True"),
        ({"httpGet": {"port": 8000, "scheme": "HTTPS"}}, "False"),
        (HTTP_PROBE, "True"),
    )
    for probe, wanted in changes:
        rules.apply("group", group(probe))
        eventually(lambda w=wanted: is_healthy(groups, w), f"{probe} says {wanted}", 20)  # type: ignore[misc]
        status = 200 if wanted == "True" else 503
        eventually(
            lambda s=status: curl.get("http://legacy.internal/").status == s,  # type: ignore[misc]
            f"{status} while {probe} says {wanted}",
        )
    rules.forget("group")


@pytest.mark.covers("WorkloadGroup.probe.initialDelaySeconds")
def test_the_probe_begins_after_a_delay(groups: Mesh, rules: Rules) -> None:
    rules.apply("group", group({"exec": {"command": ["/bin/sh", "-c", "exit 1"]}}))
    eventually(lambda: is_healthy(groups, "False"), "the machine is ill", 20)
    begin = time.monotonic()
    rules.apply("group", group({"tcpSocket": {"port": 8000}, "initialDelaySeconds": 4}))
    eventually(lambda: is_healthy(groups), "the probe says that it is well", 30)
    assert time.monotonic() - begin >= 4
    rules.apply("group", group(HTTP_PROBE))
    rules.forget("group")


@pytest.mark.covers("WorkloadGroup.template.serviceAccount")
def test_another_identity_may_not_register(groups: Mesh, rules: Rules) -> None:
    eventually(lambda: is_healthy(groups), "the machine is registered", 30)
    before = [entry["metadata"]["name"] for entry in entries(groups)]
    rules.apply("impostor", deployment("impostor", *ANY, annotations=REGISTERS))
    refused = "may not register with WorkloadGroup default/legacy"
    log = groups.logs
    eventually(lambda: refused in log(), "the proxy is refused", 30)
    (pod,) = groups.get("pods", "-l", "app=impostor")
    conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
    assert conditions["Ready"] == "False"
    assert [entry["metadata"]["name"] for entry in entries(groups)] == before
    rules.delete("impostor")


def test_the_entry_goes_after_the_machine(groups: Mesh, curl: Inside, rules: Rules) -> None:
    """Its last test: the machine does not come back."""
    eventually(lambda: is_healthy(groups), "the machine is registered", 30)
    rules.apply("machine", deployment("machine", *ANY, annotations=REGISTERS, account="legacy"))
    rules.delete("machine")
    eventually(lambda: curl.get("http://legacy.internal/").status == 503, "it has left", 20)
    eventually(
        lambda: "istio.io/disconnectedAt" in str(entries(groups)) or not entries(groups),
        "its absence is noted",
        20,
    )
    eventually(lambda: not entries(groups), "the grace period is over", 40)
