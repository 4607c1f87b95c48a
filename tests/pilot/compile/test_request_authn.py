"""Which rules for tokens hold for a workload, and where their keys come from.

https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

import json
from datetime import timedelta
from typing import Any

import pytest

from argosy.api.meta import Duration, Metadata, WorkloadSelector
from argosy.api.security_request_authentication import (
    JWTRule,
    RequestAuthentication,
    RequestAuthenticationSpec,
)
from argosy.base.names import Namespace
from argosy.base.problems import Severity
from argosy.model.request_authn import InlineKeys, JwtRule, Keys, KeySource, NoKeys
from argosy.pilot.compile.request_authn import (
    KeysFailure,
    RequestPolicy,
    fetch_problems,
    policies_for,
    request_authn,
    request_policy,
    rules_of,
)
from argosy.testing.tokens import Issuer

ISSUER = Issuer("https://issuer.example.com")
DISCOVERED = "https://issuer.example.com/.well-known/openid-configuration"


def policy(*rules: JWTRule, namespace: str = "default", **labels: str) -> RequestAuthentication:
    selector = WorkloadSelector(match_labels=labels) if labels else None
    return RequestAuthentication(
        metadata=Metadata(name="jwt", namespace=namespace),
        spec=RequestAuthenticationSpec(selector=selector, jwt_rules=rules),
    )


def compiled(*rules: JWTRule, **more: Any) -> RequestPolicy:
    return request_policy(policy(*rules, **more)).value


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        (JWTRule(issuer="me", jwks_uri="https://a/k"), KeySource("https://a/k")),
        (JWTRule(issuer="me", jwks_uri_of_old="https://a/k"), KeySource("https://a/k")),
        (JWTRule(issuer=ISSUER.name), KeySource(DISCOVERED, discovery=True)),
        (JWTRule(issuer=ISSUER.name + "/"), KeySource(DISCOVERED, discovery=True)),
        (JWTRule(issuer="me@example.com"), NoKeys()),
        (JWTRule(issuer="http://"), NoKeys()),
    ],
)
def test_where_keys_come_from(rule: JWTRule, keys: Keys) -> None:
    (found,) = compiled(rule).rules
    assert found.keys == keys


def test_inline_keys_go_first_and_are_public() -> None:
    written = json.dumps({"keys": [{**ISSUER.jwk(), "d": "AAAA"}]})
    (found,) = compiled(JWTRule(issuer="me", jwks_uri="https://a/k", jwks=written)).rules
    assert isinstance(found.keys, InlineKeys)
    assert [key["kid"] for key in json.loads(found.keys.key_set)["keys"]] == [ISSUER.kid]
    assert '"d"' not in found.keys.key_set


def test_an_issuer_that_is_no_url_needs_named_keys() -> None:
    (problem,) = request_policy(policy(JWTRule(issuer="me@example.com"))).problems
    assert (problem.field, problem.code) == ("spec.jwtRules[0].issuer", "KeysNotNamed")


def test_waits_are_five_seconds_and_at_most_a_minute() -> None:
    """Of several rules for one place the longest."""
    source = "https://a/k"
    usual = compiled(JWTRule(issuer="a", jwks_uri=source))
    assert usual.fetches == ((KeySource(source), timedelta(seconds=5)),)
    several = compiled(
        JWTRule(issuer="a", jwks_uri=source, timeout=Duration(1500)),
        JWTRule(issuer="b", jwks_uri=source, timeout=Duration(3_600_000)),
        JWTRule(issuer="c", jwks_uri=source, timeout=Duration(500)),
    )
    assert several.fetches == ((KeySource(source), timedelta(seconds=60)),)


def test_scope_and_permission_are_lists_always() -> None:
    (found,) = compiled(JWTRule(issuer="a", space_delimited_claims=("roles", "scope"))).rules
    assert found.space_delimited == ("permission", "roles", "scope")


def test_policies_add_up() -> None:
    everywhere = compiled(JWTRule(issuer="mesh"), namespace="istio-system")
    selected = compiled(JWTRule(issuer="root-app"), namespace="istio-system", app="a")
    near = compiled(JWTRule(issuer="near"), JWTRule(issuer="mesh"))
    own = compiled(JWTRule(issuer="app"), app="a")
    foreign = compiled(JWTRule(issuer="foreign"), namespace="other")

    def issuers(namespace: str, **labels: str) -> list[str]:
        pairs = tuple(sorted(labels.items()))
        policies = (everywhere, selected, near, own, foreign)
        found = policies_for(policies, "istio-system", Namespace(namespace), pairs)
        return [rule.issuer for rule in rules_of(found)]

    assert issuers("default", app="a") == ["app", "mesh", "near", "root-app"]
    assert issuers("default", app="b") == ["mesh", "near"]
    assert issuers("other", app="a") == ["foreign", "mesh", "root-app"]


def test_keys_that_are_not_there_are_nobodys() -> None:
    rules = (
        JwtRule("inline", InlineKeys("inline")),
        JwtRule("fetched", KeySource("there")),
        JwtRule("missing", KeySource("gone")),
        JwtRule("none", NoKeys()),
    )
    fetched = {KeySource("there"): "fetched"}
    found = request_authn(rules, fetched.get, lambda: "nobody's", choose_route_again=False)
    assert found is not None
    assert [one.key_set for one in found.providers] == ["inline", "fetched", "nobody's", "nobody's"]
    assert request_authn((), fetched.get, lambda: "x", choose_route_again=True) is None


def test_failures_are_told_where_the_keys_are_named() -> None:
    written = policy(JWTRule(issuer=ISSUER.name), JWTRule(issuer="b", jwks_uri="https://b/k"))
    failures = {
        KeySource(DISCOVERED, discovery=True): KeysFailure("no route", "S", "N", kept=False),
        KeySource("https://b/k"): KeysFailure("status 500", "S", "N", kept=True),
    }
    lost, kept = fetch_problems(written, request_policy(written).value, failures.get)
    assert (lost.field, lost.code, lost.severity) == (
        "spec.jwtRules[0].issuer",
        "KeysNotFetched",
        Severity.ERROR,
    )
    assert (
        f"{DISCOVERED} could not be fetched since S: no route; the next try is at N" in lost.message
    )
    assert (kept.field, kept.code, kept.severity) == (
        "spec.jwtRules[1].jwksUri",
        "KeysNotRefreshed",
        Severity.WARNING,
    )
