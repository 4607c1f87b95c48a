"""Expected values are Kubernetes': its API reference and its validation."""

from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.validate import validate
from argosy.base.problems import Severity


def problems(kind: str, **fields: Any) -> list[tuple[str, str, Severity]]:
    data = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, **fields}
    decoded = decode_json(data)
    assert decoded.problems == ()
    return [(p.field, p.code, p.severity) for p in validate(decoded.objects[0])]


@pytest.mark.parametrize(
    "spec",
    [
        {"ports": [{"port": 80}]},
        {"ports": [{"port": 80, "name": "http", "targetPort": "web"}, {"port": 443, "name": "https", "targetPort": 8443}]},
        {"ports": [{"port": 53, "name": "dns", "protocol": "UDP"}, {"port": 53, "name": "dns-tcp"}]},
        {"clusterIP": "None"},
        {"clusterIP": "10.96.0.10", "ports": [{"port": 80, "appProtocol": "kubernetes.io/h2c"}]},
        {"type": "ExternalName", "externalName": "a.example.com"},
    ],
)  # fmt: skip
def test_services_that_kubernetes_admits(spec: dict[str, Any]) -> None:
    assert problems("Service", spec=spec) == []


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        ({}, "spec.ports", "MissingField"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port", "InvalidPort"),
        ({"ports": [{"port": 80, "targetPort": 65536}]}, "spec.ports[0].targetPort", "InvalidPort"),
        ({"ports": [{"port": 80, "targetPort": "a_very_long_name"}]}, "spec.ports[0].targetPort", "InvalidName"),
        ({"ports": [{"port": 80, "targetPort": "80"}]}, "spec.ports[0].targetPort", "InvalidName"),
        ({"ports": [{"port": 80, "name": "a"}, {"port": 81}]}, "spec.ports[1].name", "MissingField"),
        ({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}, "spec.ports[1].name", "DuplicateName"),
        ({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}, "spec.ports[1].port", "DuplicateValue"),
        ({"ports": [{"port": 80, "name": "HTTP"}]}, "spec.ports[0].name", "InvalidName"),
        ({"ports": [{"port": 80}], "clusterIP": "ten"}, "spec.clusterIP", "InvalidAddress"),
        ({"ports": [{"port": 80}], "selector": {"a": "b c"}}, "spec.selector.a", "InvalidLabel"),
        ({"type": "ExternalName"}, "spec.externalName", "InvalidHost"),
    ],
)  # fmt: skip
def test_services_that_kubernetes_refuses(spec: dict[str, Any], field: str, code: str) -> None:
    assert problems("Service", spec=spec) == [(field, code, Severity.ERROR)]


def test_config_maps_and_secrets() -> None:
    assert problems("ConfigMap", data={"a.yaml": "x"}, binaryData={"b": "YQ=="}) == []
    assert problems("ConfigMap", data={"a b": "x"}) == [
        ('data["a b"]', "InvalidName", Severity.ERROR)
    ]
    assert problems("ConfigMap", data={"a": "x"}, binaryData={"a": "YQ=="}) == [
        ("binaryData.a", "DuplicateValue", Severity.ERROR)
    ]
    assert problems("ConfigMap", data={"a": "x" * (2**20 + 1)}) == [
        ("data", "TooLong", Severity.ERROR)
    ]
    assert problems("Secret", data={"a": "YQ=="}, stringData={"a": "b"}) == []
    assert problems("Secret", type="kubernetes.io/tls", data={"tls.crt": "YQ=="}) == [
        ("data", "MissingField", Severity.ERROR)
    ]
