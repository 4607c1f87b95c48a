"""RateLimit → limits, and which of them hold for a workload or a gateway."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import re2

from argosy.api import argosy_rate_limit as written
from argosy.api.authorization_attributes import TEMPLATE_ANY, TEMPLATE_ONE, is_path_template
from argosy.api.policy_target import GATEWAY_API
from argosy.model.authz import Clause, Header, Host, Method, Path
from argosy.model.policy_scope import PolicyScope
from argosy.model.rate_limit import (
    AddressKey,
    ClaimKey,
    HeaderKey,
    Limit,
    LimitKey,
    LimitPolicy,
    PeerKey,
    PeerPart,
    Rate,
    Refusal,
    RequestPart,
    RequestPartKey,
    Targets,
)
from argosy.model.route import Regex
from argosy.pilot.compile import authz_values
from argosy.pilot.compile.policy_targets import policy_scope, scope_of
from argosy.pilot.compile.report import Report

PERIODS = {
    "SECOND": timedelta(seconds=1),
    "MINUTE": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
}

_CREDENTIALS = frozenset({"username", "password", "ssl_password"})
_OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""Of a Redis' URL: a database's number, and files. Others are redis-py's own business."""

LimitClause: TypeAlias = Clause[Host | Path | Method | Header]


def limit_policy(policy: written.RateLimit) -> LimitPolicy:
    spec = policy.spec
    response = spec.response
    refusal = Refusal(response.body, response.content_type)
    return LimitPolicy(
        policy.key,
        _scope(spec),
        tuple(
            Limit(
                object=policy.key,
                rule=rule.name or str(index),
                field=f"spec.rules[{index}]",
                rate=_rate(rule.limit),
                clauses=tuple(_clauses(rule.match, f"spec.rules[{index}].match")),
                routes=tuple(dict.fromkeys(authz_values.text(v) for v in rule.match.routes)),
                keys=tuple(dict.fromkeys(_key(key) for key in rule.keys)),
                shared=rule.scope == "SHARED",
                fail_closed=rule.on_failure == "DENY" and not rule.dry_run,
                dry_run=rule.dry_run,
                quota_headers=response.quota_headers,
                refusal=refusal,
            )
            for index, rule in enumerate(spec.rules)
        ),
    )


def without_sharing(policy: LimitPolicy) -> LimitPolicy:
    """The same where nobody counts for all replicas together."""
    limits = (replace(one, shared=False, fail_closed=False) for one in policy.limits)
    return replace(policy, limits=tuple(limits))


def at_hosts(limit: Limit, hosts: Iterable[str]) -> Limit:
    """The limit where it is attached to servers for ``hosts``: its own hosts, or else these."""
    found = tuple(sorted(set(hosts)))
    if "*" in found or any(
        isinstance(fact, Host) and not clause.negated
        for clause in limit.clauses
        for fact in clause.any_of
    ):
        return limit
    clause = Clause("spec.targetRefs", tuple(authz_values.host(one, True) for one in found))
    return replace(limit, clauses=(clause, *limit.clauses))


def limit_counters(url: str, report: Report) -> str:
    """The URL of the Redis that shared limits are counted in; empty: they are counted in Mixer.

    What is told never holds the URL: there may be a password in it.
    """
    if not url:
        return ""
    hint = "write redis://redis.default:6379/0, unix:///run/redis.sock, or nothing"
    try:
        found = urlsplit(url)
        options = parse_qs(found.query)  # redis-py takes them from here too
        _ = found.port
    except ValueError:
        report.error("InvalidURL", "it is no URL: Mixer itself counts", hint)
        return ""
    if found.password or found.username or not options.keys().isdisjoint(_CREDENTIALS):
        message = "whoever reads the settings reads the password in the URL: Mixer itself counts"
        report.error("InvalidURL", message, "let Redis be reached by Mixer only, without one")
        return ""
    if unknown := sorted(options.keys() - _OPTIONS):
        message = f"{', '.join(unknown)} cannot be said in the URL: Mixer itself counts"
        report.error("InvalidURL", message, f"only {', '.join(sorted(_OPTIONS))} can")
        return ""
    if not all(number.isdecimal() for number in options.get("db", ())):
        report.error("InvalidURL", "db is no number: Mixer itself counts", hint)
        return ""
    whole = found.path if found.scheme == "unix" else found.hostname
    if found.scheme not in ("redis", "rediss", "unix") or not whole:
        report.error("InvalidURL", "it is no URL of a Redis: Mixer itself counts", hint)
        return ""
    return url


def _scope(spec: written.RateLimitSpec) -> PolicyScope | Targets:
    if not spec.target_refs:
        return policy_scope(spec.selector, None, ())
    return Targets(
        services=tuple(sorted({t.name for t in spec.target_refs if t.kind == "Service"})),
        gateways=tuple(
            sorted(
                {t.name for t in spec.target_refs if t.kind == "Gateway" and t.group != GATEWAY_API}
            )
        ),
        named_proxies=scope_of({}, spec.target_refs),
    )


def _rate(limit: written.Limit) -> Rate:
    burst = limit.requests if limit.burst is None else limit.burst
    return Rate(limit.requests, PERIODS[limit.unit], burst)


def _clauses(match: written.LimitMatch, field: str) -> Iterator[LimitClause]:
    """A limit counts whatever an application may take for what is written, as a DENY refuses it.

    Exceptions are narrow for the same reason.
    """
    if match.hosts:
        yield Clause(f"{field}.hosts", tuple(authz_values.host(v, True) for v in match.hosts))
    if match.not_hosts:
        found = tuple(authz_values.host(v, False) for v in match.not_hosts)
        yield Clause(f"{field}.notHosts", found, negated=True)
    if match.paths:
        yield Clause(f"{field}.paths", tuple(_path(v) for v in match.paths))
    if match.not_paths:
        paths = tuple(_path(v) for v in match.not_paths)
        yield Clause(f"{field}.notPaths", paths, negated=True)
    if match.methods:
        yield Clause(f"{field}.methods", tuple(authz_values.method(v, True) for v in match.methods))
    if match.not_methods:
        methods = tuple(authz_values.method(v, False) for v in match.not_methods)
        yield Clause(f"{field}.notMethods", methods, negated=True)
    for name, values in sorted(match.headers.items()):
        yield Clause(f"{field}.headers", tuple(authz_values.header(name, v, True) for v in values))
    for name, values in sorted(match.not_headers.items()):
        headers = tuple(authz_values.header(name, v, False) for v in values)
        yield Clause(f"{field}.notHeaders", headers, negated=True)


def _path(value: str) -> Path:
    """As in AuthorizationPolicies. But Envoy compares the path with its query, so no part of a
    template may reach into that."""
    if not is_path_template(value):
        return Path(authz_values.text(value))
    pieces = (
        "[^/?#]+".join(str(re2.escape(literal)) for literal in piece.split(TEMPLATE_ONE))
        for piece in value.split(TEMPLATE_ANY)
    )
    return Path(Regex("[^?#]*".join(pieces)))


def _key(key: written.LimitKey) -> LimitKey:
    match key:
        case written.LimitKey(source="ADDRESS"):
            return AddressKey()
        case written.LimitKey(source=str(source)):
            return PeerKey(PeerPart[source])
        case written.LimitKey(request=str(part)):
            return RequestPartKey(RequestPart[part])
        case written.LimitKey(header=str(name)):
            return HeaderKey(name.lower())
        case written.LimitKey(claim=str(path)):
            return ClaimKey(tuple(path.split(".")))
        case _:
            raise AssertionError("validation lets no key pass that names nothing")
