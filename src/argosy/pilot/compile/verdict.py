"""What checks say of one call: the same compiled policies that Envoy is given, followed by hand.

Envoy's order and its rules of comparing, so that its answer can be told without asking it.
https://istio.io/latest/docs/concepts/security/#implicit-enablement
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

import re2

from argosy.model.authz import (
    Action,
    Authorization,
    Claim,
    Clause,
    DestinationAddress,
    DestinationPort,
    DirectAddress,
    Fact,
    FilterMetadata,
    Header,
    Host,
    Identity,
    Method,
    Path,
    Policy,
    RemoteAddress,
    RequestPrincipal,
    Rule,
    ServerName,
)
from argosy.model.route import Exact, Prefix, Regex
from argosy.model.text_match import Suffix, Text

F = TypeVar("F", bound=Fact)

Data = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` as the proxy normalizes it. Names of ``headers`` are in lower case; one may come
    several times. ``claims`` are of the validated token; None: there is none."""

    method: str = "GET"
    host: str = ""
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    claims: Data | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """``identity`` is the client's SPIFFE id; empty: plain text. ``address`` is the other end's,
    ``remote_address`` the client's as trusted proxies tell it. ``metadata`` is by filter and key.
    """

    identity: str = ""
    address: str = "127.0.0.1"
    remote_address: str = "127.0.0.1"
    destination: str = "127.0.0.1"
    port: int = 80
    server_name: str = ""
    metadata: Mapping[str, Data] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``action`` and ``rule`` decided; ``rule`` None: that no rule did. ``asked`` are external
    authorizers who have a say besides, ``audited`` the rules that have it logged.
    """

    allowed: bool
    action: Action | None
    rule: Rule | None
    asked: tuple[str, ...] = ()
    audited: tuple[Rule, ...] = ()


def verdict(
    authorization: Authorization, connection: Connection, request: Request | None
) -> Verdict:
    """``request`` None: the connection is not HTTP."""
    checks = authorization.tcp if request is None else authorization.http
    call = _Call(connection, request)
    asked: list[str] = []
    for custom in checks.custom:
        rule = call.first(custom.policies)
        if rule is None:
            continue
        if custom.authorizer is None:
            return Verdict(False, Action.CUSTOM, rule)
        asked.append(custom.provider)
    audited = tuple(rule for policy in checks.audit for rule in policy.rules if call.meets(rule))

    def decided(allowed: bool, action: Action | None, rule: Rule | None) -> Verdict:
        return Verdict(allowed, action, rule, tuple(asked), audited)

    denying = call.first(checks.deny)
    if denying is not None:
        return decided(False, Action.DENY, denying)
    if not checks.allow:
        return decided(True, None, None)
    allowing = call.first(checks.allow)
    return decided(allowing is not None, Action.ALLOW, allowing)


def meets(rule: Rule, connection: Connection, request: Request | None) -> bool:
    """Whether a rule holds for a call, whatever else decides."""
    return _Call(connection, request).meets(rule)


@dataclass(frozen=True, slots=True)
class _Call:
    connection: Connection
    request: Request | None

    def first(self, policies: Iterable[Policy]) -> Rule | None:
        """The first rule that is met, in the order of names, which is Envoy's."""
        rules = (rule for policy in policies for rule in policy.rules)
        return next((r for r in sorted(rules, key=lambda r: r.id) if self.meets(r)), None)

    def meets(self, rule: Rule) -> bool:
        return any(self._all(group) for group in rule.operations) and any(
            self._all(group) for group in rule.sources
        )

    def _all(self, clauses: Sequence[Clause[F]]) -> bool:
        return all(any(self._is(f) for f in c.any_of) is not c.negated for c in clauses)

    def _is(self, fact: Fact) -> bool:
        connection = self.connection
        match fact:
            case Identity(match):
                return bool(connection.identity) and matches(match, connection.identity)
            case DirectAddress(network):
                return _within(connection.address, network)
            case RemoteAddress(network):
                return _within(connection.remote_address, network)
            case DestinationAddress(network):
                return _within(connection.destination, network)
            case DestinationPort(port):
                return connection.port == port
            case ServerName(match):
                return matches(match, connection.server_name)
            case FilterMetadata(name, key, match, in_list):
                value = connection.metadata.get(name, {}).get(key)
                return _in_list(match, value) if in_list else _is_text(match, value)
            case Host() | Method() | Path() | Header() | Claim() | RequestPrincipal():
                return self.request is not None and _of_request(fact, self.request)
            case _:
                assert_never(fact)


def _of_request(
    fact: Host | Method | Path | Header | Claim | RequestPrincipal, request: Request
) -> bool:
    match fact:
        case Host(match):
            return matches(match, request.host)
        case Method(match, ignore_case):
            return matches(match, request.method, ignore_case)
        case Path(match):
            return matches(match, request.path.partition("?")[0].partition("#")[0])
        case Header(name, match):
            values = [value for called, value in request.headers if called == name]
            return bool(values) if match is None else any(matches(match, v) for v in values)
        case Claim(path, match):
            value = _at(request.claims or {}, path)
            return _is_text(match, value) or _in_list(match, value)
        case RequestPrincipal(issuer, subject):
            claims = request.claims or {}
            return _is_text(issuer, claims.get("iss")) and _is_text(subject, claims.get("sub"))
        case _:
            assert_never(fact)


def matches(match: Text, value: str, ignore_case: bool = False) -> bool:
    """``ignore_case`` is of ASCII, and has no effect on a regex, which says it itself."""
    if isinstance(match, Regex):
        return re2.fullmatch(match.value, value) is not None
    wanted, given = match.value, value
    if ignore_case:
        wanted, given = _lower(wanted), _lower(given)
    match match:
        case Exact():
            return given == wanted
        case Prefix():
            return given.startswith(wanted)
        case Suffix():
            return given.endswith(wanted)
        case _:
            assert_never(match)


def _lower(text: str) -> str:
    return text.encode().lower().decode()


def _is_text(match: Text, value: object) -> bool:
    return isinstance(value, str) and matches(match, value)


def _in_list(match: Text, value: object) -> bool:
    return isinstance(value, list | tuple) and any(_is_text(match, item) for item in value)


def _at(data: Data, path: Sequence[str]) -> object:
    value: object = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _within(address: str, network: str) -> bool:
    """False where there is no IP address: of a UNIX socket, say."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False
