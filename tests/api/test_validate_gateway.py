"""Expected values are Istio's: its API reference and its validation."""

from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.validate import validate
from argosy.base.problems import Problem, Severity

HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}
HTTPS = {"number": 443, "name": "https", "protocol": "HTTPS"}
TCP = {"number": 31400, "name": "tcp", "protocol": "TCP"}


def problems(spec: dict[str, Any]) -> tuple[Problem, ...]:
    decoded = decode_json(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "a"},
            "spec": {"selector": {"istio": "ingressgateway"}, **spec},
        }
    )
    assert decoded.problems == ()
    return validate(decoded.objects[0])


def server(server: dict[str, Any]) -> list[tuple[str, str, Severity]]:
    found = problems({"servers": [{"hosts": ["*"], **server}]})
    return [(p.field.removeprefix("spec.servers[0]."), p.code, p.severity) for p in found]


@pytest.mark.parametrize(
    "value",
    [
        {"port": HTTP},
        {"port": HTTP, "hosts": ["./a.example.com", "*/b.example.com", "ns/*", "10.1.2.3"]},
        {"port": HTTP, "tls": {"httpsRedirect": True}},
        {"port": {**HTTP, "protocol": "http2"}, "bind": "127.0.0.1"},
        {"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialName": "a"}},
        {"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialNames": ["rsa", "ecdsa"]}},
        {"port": HTTPS, "tls": {"mode": "SIMPLE", "serverCertificate": "/a", "privateKey": "/b"}},
        {"port": HTTPS, "tls": {"mode": "MUTUAL", "serverCertificate": "/a", "privateKey": "/b", "caCertificates": "/c"}},
        {"port": HTTPS, "tls": {"mode": "ISTIO_MUTUAL"}},
        {"port": {**HTTPS, "protocol": "TLS"}, "tls": {"mode": "PASSTHROUGH"}},
        {"port": TCP},
        {"port": {**TCP, "number": 0}, "bind": "unix:///run/a.sock"},
    ],
)  # fmt: skip
def test_what_istio_admits(value: dict[str, Any]) -> None:
    assert server(value) == []


@pytest.mark.parametrize(
    ("value", "field", "code"),
    [
        ({"port": HTTP, "hosts": []}, "hosts", "MissingField"),
        ({"port": HTTP, "hosts": ["a/b/c"]}, "hosts[0]", "InvalidHost"),
        ({"port": HTTP, "hosts": ["A/b"]}, "hosts[0]", "InvalidHost"),
        ({"port": {**HTTP, "protocol": "HTPT"}}, "port.protocol", "InvalidValue"),
        ({"port": {**HTTP, "number": 0}}, "port.number", "InvalidPort"),
        ({"port": {**HTTP, "number": 65536}}, "port.number", "InvalidPort"),
        ({"port": {"number": 80, "protocol": "HTTP"}}, "port.name", "MissingField"),
        ({"port": {**HTTP, "targetPort": 8080}}, "port.targetPort", "NotAllowed"),
        ({"port": HTTP, "bind": "localhost"}, "bind", "InvalidAddress"),
        ({"port": HTTP, "bind": "unix:///a"}, "bind", "ConflictingFields"),
        ({"port": HTTPS}, "tls", "MissingField"),
        ({"port": HTTP, "tls": {"mode": "SIMPLE", "credentialName": "a"}}, "tls", "ConflictingFields"),
        ({"port": TCP, "tls": {}}, "tls", "ConflictingFields"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "privateKey": "/b"}}, "tls.serverCertificate", "MissingField"),
        ({"port": HTTPS, "tls": {"mode": "OPTIONAL_MUTUAL", "serverCertificate": "/a", "privateKey": "/b"}}, "tls.caCertificates", "MissingField"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialName": "a", "credentialNames": ["b"]}}, "tls", "ConflictingFields"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialNames": ["a", "b", "c"]}}, "tls.credentialNames", "OutOfRange"),
        ({"port": HTTPS, "tls": {"mode": "ISTIO_MUTUAL", "credentialName": "a"}}, "tls.credentialName", "ConflictingFields"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialName": "a", "caCrl": "/c"}}, "tls.caCrl", "ConflictingFields"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "tlsCertificates": [{"serverCertificate": "/a"}]}}, "tls.tlsCertificates[0].privateKey", "MissingField"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialName": "a", "minProtocolVersion": "TLSV1_3", "maxProtocolVersion": "TLSV1_2"}}, "tls.maxProtocolVersion", "ConflictingFields"),
    ],
)  # fmt: skip
def test_what_istio_refuses(value: dict[str, Any], field: str, code: str) -> None:
    assert server(value) == [(field, code, Severity.ERROR)]


@pytest.mark.parametrize(
    ("value", "field", "code"),
    [
        ({"port": HTTPS, "tls": {"mode": "PASSTHROUGH", "credentialName": "a"}}, "tls.credentialName", "NoEffect"),
        ({"port": HTTPS, "tls": {"mode": "PASSTHROUGH", "httpsRedirect": True}}, "tls.httpsRedirect", "NoEffect"),
        ({"port": HTTP, "defaultEndpoint": "127.0.0.1:80"}, "defaultEndpoint", "NoEffect"),
        ({"port": HTTPS, "tls": {"mode": "SIMPLE", "credentialName": "a", "minProtocolVersion": "TLSV1_0"}}, "tls.minProtocolVersion", "NoEffect"),
    ],
)  # fmt: skip
def test_what_istio_warns_of(value: dict[str, Any], field: str, code: str) -> None:
    assert server(value) == [(field, code, Severity.WARNING)]


def test_the_gateway_itself() -> None:
    assert [(p.field, p.code) for p in problems({})] == [("spec.servers", "MissingField")]
    two = [{"hosts": ["a"], "port": HTTP}, {"hosts": ["b"], "port": {**HTTP, "number": 81}}]
    assert [(p.field, p.code) for p in problems({"servers": two})] == [
        ("spec.servers[1].port.name", "DuplicateName")
    ]
    assert [
        (p.field, p.code, p.severity)
        for p in problems({"selector": {}, "servers": [{"hosts": ["a"], "port": HTTP}]})
    ] == [("spec.selector", "EmptySelector", Severity.WARNING)]
