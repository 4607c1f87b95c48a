"""Mistakes of ServiceEntries, WorkloadEntries and WorkloadGroups, one at a time."""

import json
from typing import Any

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.validate import validate
from argosy.base.problems import Severity

HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}
GOOD: dict[str, Any] = {"hosts": ["api.example.com"], "ports": [HTTP], "resolution": "DNS"}


def found(kind: str, spec: dict[str, Any], severity: Severity = Severity.ERROR) -> set[str]:
    written = {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "one", "namespace": "default"},
        "spec": spec,
    }
    (one,) = decode_yaml(json.dumps(written), "test.yaml").objects
    return {f"{p.code} {p.field}" for p in validate(one) if p.severity is severity}


def test_what_is_right_is_not_complained_of() -> None:
    for severity in Severity:
        assert found("ServiceEntry", GOOD, severity) == set()
        assert found("WorkloadEntry", {"address": "192.0.2.1"}, severity) == set()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hosts": []}, "MissingField spec.hosts"),
        ({"hosts": ["*"]}, "InvalidHost spec.hosts[0]"),
        ({"hosts": ["*.example.com"]}, "InvalidHost spec.hosts[0]"),
        ({"hosts": ["a.example.com", "A.example.com"]}, "DuplicateHost spec.hosts[1]"),
        ({"addresses": ["there"]}, "InvalidAddress spec.addresses[0]"),
        ({"addresses": ["0.0.0.0"]}, "InvalidAddress spec.addresses[0]"),
        ({"ports": [HTTP, {**HTTP, "name": "b"}]}, "DuplicatePort spec.ports[1].number"),
        ({"ports": [{**HTTP, "protocol": "HTPT"}]}, "InvalidValue spec.ports[0].protocol"),
        ({"ports": [{"number": 80}]}, "MissingField spec.ports[0].name"),
        (
            {"resolution": "DYNAMIC_DNS", "ports": [{**HTTP, "protocol": "TCP"}]},
            "ConflictingFields spec.ports[0].protocol",
        ),
        (
            {"resolution": "NONE", "endpoints": [{"address": "192.0.2.1"}]},
            "ConflictingFields spec.endpoints",
        ),
        (
            {"resolution": "STATIC", "endpoints": [{"address": "a.example.com"}]},
            "InvalidAddress spec.endpoints[0].address",
        ),
        (
            {"endpoints": [{"address": "a.example.com", "ports": {"tls": 1}}]},
            "PortNotFound spec.endpoints[0].ports",
        ),
        (
            {"endpoints": [{"address": "unix:///a.sock"}]},
            "InvalidAddress spec.endpoints[0].address",
        ),
        (
            {"endpoints": [{"address": "192.0.2.1"}], "workloadSelector": {"labels": {"a": "b"}}},
            "ConflictingFields spec.workloadSelector",
        ),
        ({"exportTo": ["*", "a"]}, "ConflictingFields spec.exportTo[0]"),
    ],
)
def test_mistakes_of_an_entry(change: dict[str, Any], problem: str) -> None:
    assert found("ServiceEntry", {**GOOD, **change}) == {problem}


def test_what_has_no_effect_is_said() -> None:
    keeping = {**GOOD, "resolution": "NONE", "ports": [{**HTTP, "targetPort": 81}]}
    assert found("ServiceEntry", keeping, Severity.WARNING) == {"NoEffect spec.ports[0].targetPort"}
    elsewhere = {"address": "192.0.2.1", "network": "vms"}
    assert found("WorkloadEntry", elsewhere, Severity.WARNING) == {"NoEffect spec.network"}
    group = {"template": {"labels": {"app": "vm"}}}
    assert found("WorkloadGroup", group, Severity.WARNING) == set()


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "MissingField spec.address"),
        ({"address": "no host"}, "InvalidAddress spec.address"),
        ({"address": "unix://relative"}, "InvalidAddress spec.address"),
        ({"address": "192.0.2.1", "locality": "a/b/c/d"}, "InvalidValue spec.locality"),
        ({"address": "unix:///a", "ports": {"http": 1}}, "ConflictingFields spec.ports"),
    ],
)
def test_mistakes_of_a_workload_entry(spec: dict[str, Any], problem: str) -> None:
    assert found("WorkloadEntry", spec) == {problem}


def test_mistakes_of_a_workload_group() -> None:
    assert found("WorkloadGroup", {}) == {"MissingField spec.template"}
    spec = {"template": {"address": "192.0.2.1"}, "probe": {"failureThreshold": -1}}
    assert found("WorkloadGroup", spec) == {
        "NotAllowed spec.template.address",
        "OutOfRange spec.probe.failureThreshold",
        "MissingField spec.probe",
    }
