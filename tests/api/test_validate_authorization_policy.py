"""Every mistake in an AuthorizationPolicy, with the field that it is in.

Rules as in Istio's reference of AuthorizationPolicy and of authorization policy conditions.
"""

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.validate import validate
from argosy.base.problems import Problem, Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def problems(spec: str, annotations: str = "{}") -> list[Problem]:
    text = f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: test, namespace: default, annotations: {annotations}}}
spec: {spec}
"""
    decoded = decode_yaml(text, "a.yaml")
    assert not decoded.problems, decoded.problems
    return [problem for one in decoded.objects for problem in validate(one)]


def told(spec: str, annotations: str = "{}") -> list[tuple[str, str, Severity]]:
    return [(p.field, p.code, p.severity) for p in problems(spec, annotations)]


RULE = "spec.rules[0]"
SOURCE = f"{RULE}.from[0].source"
OPERATION = f"{RULE}.to[0].operation"


@pytest.mark.parametrize(
    "spec",
    [
        "{}",
        "{rules: [{}]}",
        "{action: DENY, rules: [{}]}",
        "{action: CUSTOM, provider: {name: a}, rules: [{}]}",
        "{selector: {matchLabels: {app: a}}, rules: [{to: [{operation: {ports: ['80']}}]}]}",
        "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]}",
        "{rules: [{to: [{operation: {paths: ['/a/{*}/b/{**}/c', '/a*', '*a', '*']}}]}]}",
        "{rules: [{when: [{key: 'request.auth.claims[a.b/c][d]', values: [x]}]}]}",
        "{rules: [{when: [{key: 'experimental.envoy.filters.a.b[c]', values: [x]}]}]}",
    ],
)
def test_right_policies(spec: str) -> None:
    assert told(spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{action: DENY}", [("spec.rules", "MissingField", ERROR)]),
        ("{action: AUDIT}", [("spec.rules", "MissingField", ERROR)]),
        ("{action: CUSTOM, rules: [{}]}", [("spec.provider.name", "MissingField", ERROR)]),
        ("{provider: {name: a}}", [("spec.provider", "NotAllowed", ERROR)]),
        ("{rules: [{from: []}]}", [(f"{RULE}.from", "MissingField", ERROR)]),
        ("{rules: [{to: []}]}", [(f"{RULE}.to", "MissingField", ERROR)]),
        ("{rules: [{from: [{}]}]}", [(SOURCE, "MissingField", ERROR)]),
        ("{rules: [{from: [{source: {}}]}]}", [(SOURCE, "MissingField", ERROR)]),
        ("{rules: [{to: [{operation: {}}]}]}", [(OPERATION, "MissingField", ERROR)]),
        ("{rules: [{when: [{key: source.ip}]}]}", [(f"{RULE}.when[0]", "MissingField", ERROR)]),
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}",
            [
                ("spec.targetRefs", "ConflictingFields", ERROR),
                ("spec.targetRefs[0].kind", "NoEffect", WARNING),
            ],
        ),
    ],
)
def test_what_must_be_written(spec: str, expected: list[tuple[str, str, Severity]]) -> None:
    assert told(spec) == expected


@pytest.mark.parametrize(
    ("source", "field", "code", "severity"),
    [
        ("principals: ['']", "principals[0]", "InvalidValue", ERROR),
        ("principals: ['spiffe://a/ns/b/sa/c']", "principals[0]", "NotCanonical", WARNING),
        ("notPrincipals: ['a/*/b']", "notPrincipals[0]", "LiteralWildcard", WARNING),
        ("requestPrincipals: ['*a*']", "requestPrincipals[0]", "LiteralWildcard", WARNING),
        ("namespaces: [a/b]", "namespaces[0]", "InvalidValue", ERROR),
        ("trustDomains: ['']", "trustDomains[0]", "InvalidValue", ERROR),
        ("serviceAccounts: ['a*']", "serviceAccounts[0]", "InvalidValue", ERROR),
        ("serviceAccounts: ['a/b/c']", "serviceAccounts[0]", "InvalidValue", ERROR),
        ("notServiceAccounts: ['Not-a-ns/b']", "notServiceAccounts[0]", "InvalidValue", ERROR),
        ("serviceAccounts: [a], namespaces: [b]", "serviceAccounts", "ConflictingFields", ERROR),
        (f"serviceAccounts: {list('abcdefghijklmnopq')}", "serviceAccounts", "OutOfRange", ERROR),
        ("ipBlocks: [10.0.0.0/33]", "ipBlocks[0]", "InvalidAddress", ERROR),
        ("notRemoteIpBlocks: [home]", "notRemoteIpBlocks[0]", "InvalidAddress", ERROR),
        ("ipBlocks: [10.1.2.3/8]", "ipBlocks[0]", "NotCanonical", WARNING),
    ],
)
def test_sources(source: str, field: str, code: str, severity: Severity) -> None:
    spec = f"{{rules: [{{from: [{{source: {{{source}}}}}]}}]}}"
    assert told(spec) == [(f"{SOURCE}.{field}", code, severity)]


@pytest.mark.parametrize(
    ("operation", "field", "code", "severity"),
    [
        ("hosts: ['http://a']", "hosts[0]", "InvalidHost", ERROR),
        ("ports: ['0']", "ports[0]", "InvalidPort", ERROR),
        ("notPorts: ['http']", "notPorts[0]", "InvalidPort", ERROR),
        ("methods: [get]", "methods[0]", "NotCanonical", WARNING),
        ("paths: [a]", "paths[0]", "NeverMatches", WARNING),
        ("paths: ['/a?b']", "paths[0]", "NeverMatches", WARNING),
        ("notPaths: ['/a/*/b']", "notPaths[0]", "LiteralWildcard", WARNING),
        ("paths: ['/a/{*}x']", "paths[0]", "InvalidTemplate", ERROR),
        ("paths: ['/{**}/{*}']", "paths[0]", "InvalidTemplate", ERROR),
        ("paths: ['/{**}/a/{**}']", "paths[0]", "InvalidTemplate", ERROR),
        ("paths: ['/{*}/*']", "paths[0]", "InvalidTemplate", ERROR),
        ("paths: ['/{name=*}/{*}']", "paths[0]", "InvalidTemplate", ERROR),
        ("paths: ['a/{*}']", "paths[0]", "InvalidTemplate", ERROR),
    ],
)
def test_operations(operation: str, field: str, code: str, severity: Severity) -> None:
    spec = f"{{rules: [{{to: [{{operation: {{{operation}}}}}]}}]}}"
    assert told(spec) == [(f"{OPERATION}.{field}", code, severity)]


@pytest.mark.parametrize(
    ("key", "code", "hint"),
    [
        ("source.ips", "UnknownAttribute", 'Did you mean "source.ip"?'),
        ("destination.namespace", "UnknownAttribute", "Remove it"),
        ("destination.labels[app]", "UnknownAttribute", "Remove it"),
        ("request.headers", "InvalidValue", "Write request.headers[name]"),
        ("request.headers[a][b]", "InvalidValue", "Write request.headers[name]"),
        ("request.headers[a]x", "InvalidValue", "Write request.headers[name]"),
        ("source.ip[a]", "InvalidValue", "Write source.ip, without brackets"),
        ("experimental.envoy.filters.a", "UnknownAttribute", ""),
        ("", "MissingField", ""),
    ],
)
def test_keys_of_conditions(key: str, code: str, hint: str) -> None:
    (problem,) = problems(f"{{rules: [{{when: [{{key: '{key}', values: ['1.2.3.4']}}]}}]}}")
    assert (problem.field, problem.code) == (f"{RULE}.when[0].key", code)
    assert problem.hint.startswith(hint)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("source.ip", "x", "InvalidAddress"),
        ("remote.ip", "x", "InvalidAddress"),
        ("destination.ip", "x", "InvalidAddress"),
        ("destination.port", "x", "InvalidPort"),
        ("source.serviceAccount", "*", "InvalidValue"),
        ("source.namespace", "a/b", "InvalidValue"),
        ("source.principal", "spiffe://a", "NotCanonical"),
        ("connection.sni", "", "InvalidValue"),
    ],
)
def test_values_of_conditions(key: str, value: str, code: str) -> None:
    (problem,) = problems(f"{{rules: [{{when: [{{key: {key}, notValues: ['{value}']}}]}}]}}")
    assert (problem.field, problem.code) == (f"{RULE}.when[0].notValues[0]", code)


@pytest.mark.parametrize(
    "rule",
    [
        "{from: [{source: {requestPrincipals: ['*']}}]}",
        "{when: [{key: 'request.auth.claims[a]', values: [b]}]}",
        "{when: [{key: request.auth.audiences, values: [b]}]}",
    ],
)
def test_custom_policies_are_met_before_tokens_are_read(rule: str) -> None:
    (problem,) = problems(f"{{action: CUSTOM, provider: {{name: a}}, rules: [{rule}]}}")
    assert problem.code == "NotAllowed"


@pytest.mark.parametrize(
    ("value", "action", "code"),
    [("maybe", "ALLOW", "InvalidValue"), ("true", "AUDIT", "NoEffect"), ("true", "DENY", None)],
)
def test_dry_run(value: str, action: str, code: str | None) -> None:
    found = told(f"{{action: {action}, rules: [{{}}]}}", f"{{istio.io/dry-run: '{value}'}}")
    assert [name for _, name, _ in found] == ([] if code is None else [code])
