"""AuthorizationPolicies and calls at random, from few words, so that they often meet."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from argosy.api.meta import Metadata
from argosy.api.security_authorization_policy import (
    DRY_RUN,
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    Condition,
    ExtensionProvider,
    From,
    Operation,
    Rule,
    Source,
    To,
)
from argosy.api.validate import validate
from argosy.base.problems import Severity

TRUST_DOMAINS = ("cluster.local", "old.org")

IDENTITIES = (
    "",
    "spiffe://cluster.local/ns/prod/sa/curl",
    "spiffe://cluster.local/ns/prod-x/sa/curl-2",
    "spiffe://cluster.local/ns/ns/sa/sa",
    "spiffe://old.org/ns/prod/sa/c.url",
)

TOKEN = {
    "iss": "https://a.org/x",
    "sub": "me",
    "aud": ["one", "two"],
    "azp": "app",
    "groups": ["admin", "dev"],
    "nested": {"key": "deep\ntext"},
}
"""The claims of everybody who has a token."""

_PRINCIPALS = (
    "*",
    "cluster.local/ns/prod/sa/curl",
    "cluster.local/*",
    "old.org/ns/prod/sa/c.url",
    "*/sa/curl",
    "*/ns/prod/sa/curl",
    "cluster.local/ns/prod*",
)
_NAMESPACES = ("prod", "prod-x", "sa", "pro*", "*-x", "*", "p*d")
_ACCOUNTS = ("curl", "prod/curl", "prod/c.url", "ns/sa")
_TRUST_DOMAINS = ("cluster.local", "old.org", "*.org", "cluster*", "cluster", "*")
_REQUEST_PRINCIPALS = ("*", "https://a.org/x/me", "https://a.org/x/*", "*/me", "*x/me", "me")
_BLOCKS = ("127.0.0.1", "127.0.0.0/8", "127.0.0.2", "10.1.0.0/16", "::1")
_HOSTS = ("a.com", "*.a.com", "a.*", "*", "a.com:80", "b.a.com:*", "*m", "[::1]")
_METHODS = ("GET", "POST", "P*", "*T", "*", "DELETE")
_PATHS = ("/a", "/a*", "*b", "*", "/a/{*}/c", "/{**}/c", "/a/{**}", "/a/{*}", "/")
_VALUES = ("admin", "adm*", "*min", "*", "user", "dev", "one")
_KEYS = (
    "request.headers[X-Role]",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[groups]",
    "request.auth.claims[nested][key]",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "destination.ip",
    "connection.sni",
    "experimental.envoy.filters.test[list]",
)
_BY_KEY = {
    "request.auth.principal": _REQUEST_PRINCIPALS,
    "source.ip": _BLOCKS,
    "remote.ip": _BLOCKS,
    "destination.ip": _BLOCKS,
    "source.namespace": _NAMESPACES,
    "source.principal": _PRINCIPALS,
    "source.serviceAccount": _ACCOUNTS,
    "source.trustDomain": _TRUST_DOMAINS,
    "connection.sni": ("a.com", "*.com", "*"),
    "request.auth.claims[nested][key]": ("*", "deep*", "*text", "deep"),
    "request.auth.presenter": ("app", "*"),
    "experimental.envoy.filters.test[list]": ("[x]", "[x*]", "x", "[y]"),
}


@dataclass(frozen=True)
class Call:
    """One request, with the connection that it comes by. ``headers`` are besides Host."""

    identity: str
    address: str
    server_name: str
    http2: bool
    method: str
    host: str
    path: str
    headers: tuple[tuple[str, str], ...]


def _some(words: Sequence[str], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    """Rarely more than none, for each field that is written must be met."""
    some = st.lists(st.sampled_from(words), min_size=1, max_size=most, unique=True)
    return st.booleans().flatmap(lambda written: some.map(tuple) if written else st.just(()))


@st.composite
def _sources(draw: st.DrawFn) -> Source:
    fields = {
        "principals": _PRINCIPALS,
        "request_principals": _REQUEST_PRINCIPALS,
        "namespaces": _NAMESPACES,
        "trust_domains": _TRUST_DOMAINS,
        "ip_blocks": _BLOCKS,
        "remote_ip_blocks": _BLOCKS,
    }
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True))
    written = {}
    for name in chosen:
        field = f"not_{name}" if draw(st.integers(0, 2)) == 0 else name
        written[field] = tuple(
            draw(st.lists(st.sampled_from(fields[name]), min_size=1, max_size=3, unique=True))
        )
    if draw(st.integers(0, 4)) == 0:
        accounts = draw(st.lists(st.sampled_from(_ACCOUNTS), min_size=1, max_size=2, unique=True))
        return Source(service_accounts=tuple(accounts))
    return Source(**written)


@st.composite
def _operations(draw: st.DrawFn) -> Operation:
    fields = {"hosts": _HOSTS, "methods": _METHODS, "paths": _PATHS}
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True))
    written = {}
    for name in chosen:
        field = f"not_{name}" if draw(st.integers(0, 2)) == 0 else name
        written[field] = tuple(
            draw(st.lists(st.sampled_from(fields[name]), min_size=1, max_size=3, unique=True))
        )
    return Operation(**written)


@st.composite
def _conditions(draw: st.DrawFn) -> Condition:
    key = draw(st.sampled_from(_KEYS))
    words = _BY_KEY.get(key, _VALUES)
    values = draw(_some(words))
    negative = draw(_some(words)) if values else (draw(st.sampled_from(words)),)
    return Condition(key=key, values=values, not_values=negative)


@st.composite
def _rules(draw: st.DrawFn) -> Rule:
    sources = draw(st.lists(_sources(), max_size=2))
    operations = draw(st.lists(_operations(), max_size=2))
    return Rule(
        from_=tuple(From(source=s) for s in sources) or None,
        to=tuple(To(operation=o) for o in operations) or None,
        when=tuple(draw(st.lists(_conditions(), max_size=1))),
    )


@st.composite
def policies(draw: st.DrawFn, number: int) -> AuthorizationPolicy:
    """Without mistakes. CUSTOM ones name an authorizer that is not there."""
    action = draw(st.sampled_from(("ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", "CUSTOM")))
    fewest = 0 if action == "ALLOW" else 1
    rules = draw(st.lists(_rules(), min_size=fewest, max_size=3))
    if action == "CUSTOM":
        rules = [Rule(to=rule.to) for rule in rules]
    dry_run = draw(st.integers(0, 9)) == 0
    found = AuthorizationPolicy(
        metadata=Metadata(
            name=f"p{number}",
            namespace=draw(st.sampled_from(("prod", "istio-system"))),
            annotations={DRY_RUN: "true"} if dry_run else {},
        ),
        spec=AuthorizationPolicySpec(
            action=action,
            rules=tuple(rules),
            provider=ExtensionProvider(name="nobody") if action == "CUSTOM" else None,
        ),
    )
    assert not [p for p in validate(found) if p.severity is Severity.ERROR], validate(found)
    return found


@st.composite
def calls(draw: st.DrawFn) -> list[Call]:
    """Several that come by one connection."""
    identity = draw(st.sampled_from(IDENTITIES))
    address = draw(st.sampled_from(("127.0.0.1", "127.0.0.2")))
    server_name = draw(st.sampled_from(("", "a.com"))) if identity else ""
    http2 = draw(st.booleans())
    roles = draw(st.lists(_headers(), min_size=8, max_size=8))
    return [
        Call(
            identity=identity,
            address=address,
            server_name=server_name,
            http2=http2,
            method=draw(st.sampled_from(("GET", "POST", "PUT"))),
            host=draw(st.sampled_from(("a.com", "A.com:80", "b.a.com", "a.com.", "evil-a.com"))),
            path=draw(st.sampled_from(("/", "/a", "/a/b", "/a/b/c", "/a/x*|y/c?q=/a"))),
            headers=headers,
        )
        for headers in roles
    ]


def _headers() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.sampled_from(
        (
            (),
            (("x-role", "admin"),),
            (("x-role", "user"), ("x-role", "admin")),
            (("x-role", ""),),
            (("x-forwarded-for", "10.1.2.3"),),
            (("x-role", "user"), ("x-forwarded-for", "10.2.0.1")),
        )
    )
