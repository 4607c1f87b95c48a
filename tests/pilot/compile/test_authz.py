"""AuthorizationPolicies compiled: whom they mean, and what is left of them for opaque connections.

Meanings as in https://istio.io/latest/docs/reference/config/security/authorization-policy/ and
https://istio.io/latest/docs/tasks/security/authorization/ .
"""

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.security_authorization_policy import AuthorizationPolicy
from argosy.model.authz import Authorization
from argosy.pilot.compile import authorization, authz
from argosy.pilot.compile.authz_values import with_aliases
from argosy.pilot.compile.verdict import Connection, Request, Verdict, verdict

CURL = "spiffe://cluster.local/ns/foo/sa/curl"


def compiled(*specs: str, domains: tuple[str, ...] = ("cluster.local",)) -> Authorization:
    found = []
    for i, spec in enumerate(specs):
        head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        text = f"{head}metadata: {{name: p{i}, namespace: foo}}\nspec: {spec}\n"
        (one,) = decode_yaml(text, "a.yaml").objects
        assert isinstance(one, AuthorizationPolicy)
        found.append(authz.policy(one, domains))
    return authorization.authorization(found, lambda _name: None)


def asked(
    found: Authorization, request: Request | None = None, identity: str = CURL, port: int = 80
) -> Verdict:
    return verdict(found, Connection(identity=identity, port=port), request or Request())


def source(fields: str) -> str:
    return f"{{rules: [{{from: [{{source: {{{fields}}}}}]}}]}}"


def operation(fields: str, action: str = "ALLOW") -> str:
    return f"{{action: {action}, rules: [{{to: [{{operation: {{{fields}}}}}]}}]}}"


@pytest.mark.parametrize(
    ("fields", "identity", "expected"),
    [
        ("principals: [cluster.local/ns/foo/sa/curl]", "cluster.local/ns/foo/sa/curl", True),
        ("principals: [cluster.local/ns/foo/sa/curl]", "cluster.local/ns/foo/sa/curl-2", False),
        ("principals: [cluster.local/ns/foo/sa/curl]", "cluster.local.evil/ns/foo/sa/curl", False),
        ("principals: ['cluster.local/ns/foo/*']", "cluster.local/ns/foo-x/sa/curl", False),
        ("principals: ['*/sa/curl']", "old.org/ns/a/sa/curl", True),
        ("principals: ['*']", "", False),
        ("principals: ['*']", "old.org/ns/a/sa/b", True),
        ("notPrincipals: ['*']", "", True),
        ("namespaces: [foo]", "cluster.local/ns/foo/sa/curl", True),
        ("namespaces: [foo]", "cluster.local/ns/foo-x/sa/curl", False),
        ("namespaces: [fo.]", "cluster.local/ns/foo/sa/curl", False),
        ("namespaces: [sa]", "cluster.local/ns/ns/sa/sa", False),
        ("namespaces: ['fo*']", "cluster.local/ns/foo/sa/curl", True),
        ("namespaces: ['f*']", "cluster.local/ns/a/sa/f", False),
        ("serviceAccounts: [curl]", "cluster.local/ns/foo/sa/curl", True),
        ("serviceAccounts: [curl]", "cluster.local/ns/bar/sa/curl", False),
        ("serviceAccounts: [bar/curl]", "cluster.local/ns/bar/sa/curl", True),
        ("serviceAccounts: [cu]", "cluster.local/ns/foo/sa/curl", False),
        # CVE-2026-39350: a dot is a dot.
        ("serviceAccounts: [c.url]", "cluster.local/ns/foo/sa/cXurl", False),
        ("serviceAccounts: [c.url]", "cluster.local/ns/foo/sa/c.url", True),
        ("trustDomains: [cluster.local]", "cluster.local/ns/foo/sa/curl", True),
        ("trustDomains: [cluster.local]", "cluster.local.evil/ns/foo/sa/curl", False),
        ("trustDomains: ['*.local']", "cluster.local/ns/foo/sa/curl", True),
        ("trustDomains: ['*']", "", False),
        ("notTrustDomains: [evil]", "evil/ns/foo/sa/curl", False),
    ],
)
def test_identities(fields: str, identity: str, expected: bool) -> None:
    full = f"spiffe://{identity}" if identity else ""
    assert asked(compiled(source(fields)), identity=full).allowed is expected


@pytest.mark.parametrize(
    ("principal", "domains", "expected"),
    [
        # https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/
        ("old-td/ns/a/sa/b", ("new-td",), ("old-td/ns/a/sa/b",)),
        ("old-td/ns/a/sa/b", ("new-td", "old-td"), ("new-td/ns/a/sa/b", "old-td/ns/a/sa/b")),
        ("cluster.local/ns/a/sa/b", ("new-td",), ("new-td/ns/a/sa/b",)),
        ("*-td/ns/a/sa/b", ("new-td", "old-td", "x"), ("*-td/ns/a/sa/b", "x/ns/a/sa/b")),
        ("*/ns/a/sa/b", ("new-td", "old-td"), ("*/ns/a/sa/b",)),
        ("*", ("new-td", "old-td"), ("*",)),
        ("elsewhere/ns/a/sa/b", ("new-td", "old-td"), ("elsewhere/ns/a/sa/b",)),
        # A prefix names the trust domain as well.
        ("old-td/ns/a/*", ("new-td", "old-td"), ("new-td/ns/a/*", "old-td/ns/a/*")),
    ],
)
def test_trust_domain_aliases(
    principal: str, domains: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert with_aliases((principal,), domains) == expected


def test_an_alias_of_the_trust_domain_is_the_trust_domain() -> None:
    found = compiled(source("trustDomains: [old-td]"), domains=("new-td", "old-td"))
    assert asked(found, identity="spiffe://new-td/ns/a/sa/b").allowed
    assert not asked(found, identity="spiffe://other/ns/a/sa/b").allowed


@pytest.mark.parametrize(
    ("pattern", "host", "allow", "deny"),
    [
        ("secret.com", "secret.com", True, True),
        ("secret.com", "SECRET.com:80", True, True),
        ("secret.com", "secret.com.", True, True),
        ("secret.com", "a.secret.com", False, False),
        ("secret.com", "secretxcom", False, False),
        # What only a cheat would send is refused, and never allowed.
        ("secret.com", "me@secret.com", False, True),
        ("secret.com", "a.com,secret.com", False, True),
        ("secret.com", "secret.com:x", False, True),
        ("*.secret.com", "a.secret.com:80", True, True),
        ("*.secret.com", "a.com,b.secret.com", False, True),
        ("secret.*", "secret.org", True, True),
        ("secret.*", "secret.org,a.com", False, True),
        ("secret.com:80", "secret.com", False, False),
        ("secret.com:80", "Secret.com:80", True, True),
        ("secret.com:*", "secret.com:99", True, True),
    ],
)
def test_hosts(pattern: str, host: str, allow: bool, deny: bool) -> None:
    field = f"hosts: ['{pattern}']"
    assert asked(compiled(operation(field)), Request(host=host)).allowed is allow
    assert asked(compiled(operation(field, "DENY")), Request(host=host)).allowed is not deny
    # Negated, refusing is the other way about.
    field = f"notHosts: ['{pattern}']"
    assert asked(compiled(operation(field)), Request(host=host)).allowed is not deny
    assert asked(compiled(operation(field, "DENY")), Request(host=host)).allowed is allow


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/x/b", True),
        ("/a/x/y/b", False),
        ("/a//b", False),
        ("/a/x*|y/b", True),
        ("/a/x/b?q", True),
    ],
)
def test_a_template_of_one_segment(path: str, expected: bool) -> None:
    found = compiled(operation("paths: ['/a/{*}/b']"))
    assert asked(found, Request(path=path)).allowed is expected


def test_a_header_that_comes_twice_is_looked_at_twice() -> None:
    """CVE-2026-26308."""
    twice = Request(headers=(("x-role", "user"), ("x-role", "admin")))
    deny = '{action: DENY, rules: [{when: [{key: "request.headers[x-role]", values: [admin]}]}]}'
    assert not asked(compiled(deny), twice).allowed
    allow = '{rules: [{when: [{key: "request.headers[x-role]", notValues: [admin]}]}]}'
    assert not asked(compiled(allow), twice).allowed


def test_the_order_of_evaluation() -> None:
    """CUSTOM, then DENY, then ALLOW; no ALLOW policy allows, one without rules refuses."""
    allow, deny = "{rules: [{}]}", "{action: DENY, rules: [{}]}"
    custom = "{action: CUSTOM, provider: {name: a}, rules: [{}]}"
    assert asked(compiled()).allowed
    assert asked(compiled(allow)).allowed
    assert not asked(compiled("{}")).allowed
    assert asked(compiled("{}", allow)).allowed
    denied = asked(compiled(allow, deny)).rule
    assert denied is not None
    assert denied.id == "ns[foo]-policy[p1]-rule[0]"
    refused = asked(compiled(allow, deny, custom)).rule
    assert refused is not None
    assert refused.policy.name == "p2", "nobody can be asked, so it is refused"


# https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        (operation("ports: ['9000', '9001']"), {9000, 9001}),
        (operation("methods: [GET], ports: ['9000']"), set()),
        (operation("methods: [GET]", "DENY"), set()),
        (operation("methods: [GET], ports: ['9000']", "DENY"), {9001, 9002}),
        (operation("notPaths: [/a], ports: ['9000']", "DENY"), {9001, 9002}),
        (source("namespaces: [foo]"), {9000, 9001, 9002}),
        (source("namespaces: [bar]"), set()),
        (source("requestPrincipals: ['*']"), set()),
        (source("remoteIpBlocks: [127.0.0.0/8]"), {9000, 9001, 9002}),
    ],
)
def test_opaque_connections(spec: str, allowed: set[int]) -> None:
    found = compiled(spec)
    ports = (9000, 9001, 9002)
    answers = {
        port for port in ports if verdict(found, Connection(identity=CURL, port=port), None).allowed
    }
    assert answers == allowed


def test_what_validation_would_have_refused_allows_less_and_denies_more() -> None:
    unreadable = "when: [{key: no.such.key, values: [a]}]"
    assert not asked(compiled(f"{{rules: [{{{unreadable}}}]}}")).allowed
    assert not asked(compiled(f"{{action: DENY, rules: [{{{unreadable}}}]}}")).allowed
    ports = "ports: [nine]"
    assert not asked(compiled(operation(ports))).allowed
    assert not asked(compiled(operation(ports, "DENY"))).allowed
