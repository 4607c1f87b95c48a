"""What is wrong with a RateLimit by itself, told at its field and line."""

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.meta import line_of
from argosy.api.validate import validate

HEAD = """apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {name: limit, namespace: default}
spec:
"""
LIMIT = "limit: {requests: 1, unit: SECOND}"


def told(spec: str) -> list[tuple[str, str, int | None]]:
    """Field, code and line of all that is said."""
    decoded = decode_yaml(HEAD + spec, "limit.yaml")
    found = [(p.field, p.code, p.line) for p in decoded.problems]
    for one in decoded.objects:
        found += [(p.field, p.code, line_of(one, p.field)) for p in validate(one)]
    return found


def rule(text: str) -> str:
    return f"  rules:\n  - {LIMIT}\n    {text}\n"


def test_a_good_one_has_no_problems() -> None:
    spec = """
  selector: {matchLabels: {app: reviews}}
  rules:
  - name: of-caller
    match: {hosts: ["*.example.com"], paths: ["/a/{**}"], methods: [GET], headers: {x-a: ["*"]}}
    keys: [{source: PRINCIPAL}, {header: x-key}, {claim: user.plan}, {request: PATH}]
    limit: {requests: 100, unit: MINUTE, burst: 1}
    scope: SHARED
    onFailure: DENY
  response: {body: slow, quotaHeaders: true}
"""
    assert told(spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (rule("name: Of_Caller"), ("spec.rules[0].name", "InvalidName", 7)),
        (rule("match: {paths: [a]}"), ("spec.rules[0].match.paths[0]", "NeverMatches", 7)),
        (rule("match: {notPaths: ['']}"), ("spec.rules[0].match.notPaths[0]", "InvalidValue", 7)),
        (rule("match: {hosts: [a/b]}"), ("spec.rules[0].match.hosts[0]", "InvalidHost", 7)),
        (rule("match: {notHosts: ['']}"), ("spec.rules[0].match.notHosts[0]", "InvalidValue", 7)),
        (rule("match: {methods: [get]}"), ("spec.rules[0].match.methods[0]", "NotCanonical", 7)),
        (
            rule("match: {notMethods: [get]}"),
            ("spec.rules[0].match.notMethods[0]", "NotCanonical", 7),
        ),
        (
            rule("match: {headers: {'x y': [a]}}"),
            ('spec.rules[0].match.headers["x y"]', "InvalidHeader", 7),
        ),
        (
            rule("match: {notHeaders: {x-a: []}}"),
            ("spec.rules[0].match.notHeaders.x-a", "MissingField", 7),
        ),
        (rule("keys: [{}]"), ("spec.rules[0].keys[0]", "MissingField", 7)),
        (
            rule("keys: [{source: ADDRESS, header: x}]"),
            ("spec.rules[0].keys[0]", "ConflictingFields", 7),
        ),
        (rule("keys: [{header: 'x y'}]"), ("spec.rules[0].keys[0].header", "InvalidHeader", 7)),
        (rule("keys: [{claim: a..b}]"), ("spec.rules[0].keys[0].claim", "InvalidValue", 7)),
        (
            rule("keys: [{request: PATH}, {request: PATH}]"),
            ("spec.rules[0].keys[1]", "DuplicateValue", 7),
        ),
        (rule("onFailure: DENY"), ("spec.rules[0].onFailure", "NoEffect", 7)),
        (
            "  rules:\n  - {scope: SHARED, dryRun: true, onFailure: DENY, " + LIMIT + "}\n",
            ("spec.rules[0].onFailure", "NoEffect", 6),
        ),
        (
            "  rules:\n  - limit: {requests: 0, unit: SECOND}\n",
            ("spec.rules[0].limit.requests", "OutOfRange", 6),
        ),
        (
            "  rules:\n  - limit: {requests: 1, unit: SECOND, burst: 0}\n",
            ("spec.rules[0].limit.burst", "OutOfRange", 6),
        ),
        (
            f"  rules:\n  - {{name: a, {LIMIT}}}\n  - {{name: a, {LIMIT}}}\n",
            ("spec.rules[1].name", "DuplicateName", 7),
        ),
        ("  rules: []\n", ("spec.rules", "NoEffect", 5)),
        (
            f"  rules: [{{{LIMIT}}}]\n  response: {{body: {'x' * 5000}}}\n",
            ("spec.response.body", "OutOfRange", 6),
        ),
        (
            f"  rules: [{{{LIMIT}}}]\n  response: {{contentType: ''}}\n",
            ("spec.response.contentType", "MissingField", 6),
        ),
        (
            f"  rules: [{{{LIMIT}}}]\n  targetRefs: [{{kind: Deployment, name: a}}]\n",
            ("spec.targetRefs[0].kind", "InvalidValue", 6),
        ),
        (
            f"  rules: [{{{LIMIT}}}]\n  targetRefs: [{{kind: Service, name: ''}}]\n",
            ("spec.targetRefs[0].name", "MissingField", 6),
        ),
        (
            f"  rules: [{{{LIMIT}}}]\n  targetRefs: [{{kind: Service, name: a, namespace: b}}]\n",
            ("spec.targetRefs[0].namespace", "NotAllowed", 6),
        ),
        (
            f"  rules: [{{{LIMIT}}}]\n  selector: {{matchLabels: {{a: b}}}}\n"
            "  targetRefs: [{kind: Service, name: a}]\n",
            ("spec.targetRefs", "ConflictingFields", 7),
        ),
    ],
)
def test_mistakes(spec: str, expected: tuple[str, str, int]) -> None:
    assert told(spec) == [expected]


def test_words_that_do_not_exist_are_told_with_what_does() -> None:
    decoded = decode_yaml(
        HEAD + "  rules:\n  - {limits: 1, limit: {requests: 1, unit: FORTNIGHT}}\n", "limit.yaml"
    )
    messages = " ".join(p.message + p.hint for p in decoded.problems)
    assert "FORTNIGHT" in messages
    assert "SECOND" in messages
    assert 'Did you mean "limit"?' in messages


def test_too_many() -> None:
    many = "".join(f"  - {{name: r{number}, {LIMIT}}}\n" for number in range(65))
    assert told("  rules:\n" + many) == [("spec.rules", "OutOfRange", 5)]
    keys = ", ".join(f"{{header: x-{number}}}" for number in range(9))
    assert told(rule(f"keys: [{keys}]")) == [("spec.rules[0].keys", "OutOfRange", 7)]
