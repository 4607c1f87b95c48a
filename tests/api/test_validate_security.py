from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.security import PeerAuthentication
from argosy.api.validate import validate
from argosy.base.problems import Severity

SELECTOR = {"matchLabels": {"app": "httpbin"}}


def policy(spec: dict[str, Any]) -> PeerAuthentication:
    decoded = decode_json(
        {
            "apiVersion": "security.istio.io/v1beta1",
            "kind": "PeerAuthentication",
            "metadata": {"name": "default"},
            "spec": spec,
        }
    )
    assert decoded.problems == ()
    (obj,) = decoded.objects
    assert isinstance(obj, PeerAuthentication)
    return obj


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"mtls": {"mode": "STRICT"}},
        {"selector": SELECTOR, "mtls": {"mode": "UNSET"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}},
    ],
)  # fmt: skip
def test_what_istio_admits(spec: dict[str, Any]) -> None:
    assert validate(policy(spec)) == ()


def test_ports_are_numbers() -> None:
    spec = policy({"selector": SELECTOR, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}).spec
    assert {port: mtls.mode for port, mtls in spec.port_level_mtls.items()} == {8080: "DISABLE"}


@pytest.mark.parametrize(
    ("spec", "field", "code", "severity"),
    [
        ({"portLevelMtls": {"80": {}}}, "spec.portLevelMtls", "MissingField", Severity.ERROR),
        ({"selector": SELECTOR, "portLevelMtls": {"0": {}}}, "spec.portLevelMtls.0", "InvalidPort", Severity.ERROR),
        ({"selector": SELECTOR, "portLevelMtls": {"65536": {}}}, "spec.portLevelMtls.65536", "InvalidPort", Severity.ERROR),
        ({"selector": {"matchLabels": {"app": "a*"}}}, "spec.selector.matchLabels.app", "InvalidLabel", Severity.ERROR),
        ({"selector": {}}, "spec.selector", "EmptySelector", Severity.WARNING),
    ],
)  # fmt: skip
def test_what_istio_refuses(
    spec: dict[str, Any], field: str, code: str, severity: Severity
) -> None:
    assert [(p.field, p.code, p.severity) for p in validate(policy(spec))] == [
        (field, code, severity)
    ]
