"""Expected values are Istio's: ``pkg/config/validation/validation.go``, ``SidecarPort``."""

from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.validate import validate
from argosy.base.problems import Severity


def found(**spec: Any) -> list[tuple[str, str, Severity]]:
    decoded = decode_json(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Sidecar",
            "metadata": {"name": "a"},
            "spec": {"workloadSelector": {"labels": {"app": "a"}}, **spec},
        }
    )
    assert decoded.problems == ()
    return [(p.field, p.code, p.severity) for p in validate(decoded.objects[0])]


@pytest.mark.parametrize(
    "port",
    [
        {"number": 80},
        {"number": 80, "name": "http"},
        {"number": 80, "protocol": "HTTP"},
        {"number": 80, "protocol": "grpc-web", "name": "a-1"},
    ],
)
def test_ports_need_neither_name_nor_protocol(port: dict[str, Any]) -> None:
    assert found(ingress=[{"port": port}], egress=[{"port": port, "hosts": ["./*"]}]) == []


@pytest.mark.parametrize(
    ("port", "field", "code"),
    [
        ({"number": 80, "name": "Not a name"}, "name", "InvalidValue"),
        ({"number": 80, "protocol": "SMTP"}, "protocol", "InvalidValue"),
        ({"number": 15006}, "number", "ReservedPort"),
    ],
)
def test_what_ports_cannot_be(port: dict[str, Any], field: str, code: str) -> None:
    ingress = (f"spec.ingress[0].port.{field}", code, Severity.ERROR)
    egress = (f"spec.egress[0].port.{field}", code, Severity.ERROR)
    assert found(ingress=[{"port": port}]) == [ingress]
    assert found(egress=[{"port": port, "hosts": ["./*"]}]) == [egress]


def test_the_target_port_is_told_to_have_no_effect() -> None:
    port = {"number": 80, "targetPort": 8080}
    warned = ("spec.ingress[0].port.targetPort", "NoEffect", Severity.WARNING)
    assert found(ingress=[{"port": port}]) == [warned]
