"""What must hold for one RateLimit alone."""

from collections.abc import Iterator, Mapping

from argosy.api.argosy_rate_limit import (
    Limit,
    LimitKey,
    LimitMatch,
    LimitResponse,
    LimitRule,
    RateLimit,
)
from argosy.api.located import child
from argosy.api.policy_target import GATEWAY_API, MAX_TARGETS, PolicyTargetReference
from argosy.api.typed import Mistake, short
from argosy.api.validate_authorization_policy import (
    check_hosts,
    check_methods,
    check_paths,
    check_patterns,
)
from argosy.api.validate_metadata import is_dns_label
from argosy.api.validate_values import (
    check_header_name,
    check_header_value,
    check_selector,
    check_unique,
    warning,
)

MAX_RULES = 64
MAX_KEYS = 8
"""Of one rule."""

MAX_ROUTES = 64
"""Of one rule."""

MAX_REQUESTS = 2**31 - 1
"""And of ``burst``: quota headers and Envoy's buckets hold 32 bits."""

MAX_BODY = 4096
"""Bytes: Envoy's own limit for bodies that it answers with itself."""

TARGETS = frozenset({("", "Service"), ("networking.istio.io", "Gateway"), (GATEWAY_API, "Gateway")})
"""Group and kind of what may be a target."""


def validate_rate_limit(written: RateLimit) -> Iterator[Mistake]:
    spec = written.spec
    if spec.selector is not None and spec.target_refs:
        message = "selector and targetRefs exclude each other"
        yield Mistake("spec.targetRefs", "ConflictingFields", message, "Keep one of them")
    yield from check_selector(spec.selector, "spec.selector")
    yield from _targets(spec.target_refs)
    if not spec.rules:
        message = "a RateLimit without rules limits nothing"
        yield warning("spec.rules", "NoEffect", message, "Write a rule with a limit")
    if len(spec.rules) > MAX_RULES:
        message = f"{len(spec.rules)} rules are too many; the limit is {MAX_RULES}"
        yield Mistake("spec.rules", "OutOfRange", message, "Write several RateLimits")
    names = [rule.name or str(index) for index, rule in enumerate(spec.rules)]
    yield from check_unique(names, "spec.rules", "name", "rules")
    for index, rule in enumerate(spec.rules):
        yield from _rule(rule, f"spec.rules[{index}]")
    yield from _response(spec.response)


def _targets(targets: tuple[PolicyTargetReference, ...]) -> Iterator[Mistake]:
    if len(targets) > MAX_TARGETS:
        message = f"{len(targets)} targets are too many; the limit is {MAX_TARGETS}"
        yield Mistake("spec.targetRefs", "OutOfRange", message)
    for index, target in enumerate(targets):
        path = f"spec.targetRefs[{index}]"
        group = "" if target.group == "core" else target.group
        if (group, target.kind) not in TARGETS:
            called = f"{target.group}/{target.kind}".lstrip("/")
            hint = "Use Service, Gateway of networking.istio.io, or a selector for workloads"
            yield Mistake(
                f"{path}.kind", "InvalidValue", f"{short(called)} cannot be a target", hint
            )
        if not target.name:
            yield Mistake(f"{path}.name", "MissingField", "the target has no name")
        if target.namespace:
            message = "targets are in the namespace of the RateLimit"
            yield Mistake(f"{path}.namespace", "NotAllowed", message, "Remove it")


def _rule(rule: LimitRule, path: str) -> Iterator[Mistake]:
    if rule.name and not is_dns_label(rule.name):
        hint = "Use lower case letters, digits and -"
        yield Mistake(f"{path}.name", "InvalidName", f"{short(rule.name)} is not a name", hint)
    yield from _match(rule.match, f"{path}.match")
    yield from _keys(rule.keys, f"{path}.keys")
    yield from _limit(rule.limit, f"{path}.limit")
    if rule.scope == "PER_REPLICA" and rule.on_failure == "DENY":
        message = "replicas that count for themselves ask nobody, so nothing can fail"
        yield warning(f"{path}.onFailure", "NoEffect", message, "Remove it, or write scope: SHARED")
    if rule.dry_run and rule.on_failure == "DENY":
        message = "a rule in dry run refuses nothing, whatever fails"
        yield warning(f"{path}.onFailure", "NoEffect", message, "Remove it, or dryRun")


def _match(match: LimitMatch, path: str) -> Iterator[Mistake]:
    yield from check_hosts(match.hosts, f"{path}.hosts")
    yield from check_hosts(match.not_hosts, f"{path}.notHosts")
    yield from check_paths(match.paths, f"{path}.paths")
    yield from check_paths(match.not_paths, f"{path}.notPaths")
    yield from check_methods(match.methods, f"{path}.methods")
    yield from check_methods(match.not_methods, f"{path}.notMethods")
    yield from _headers(match.headers, f"{path}.headers")
    yield from _headers(match.not_headers, f"{path}.notHeaders")
    yield from check_patterns(match.routes, f"{path}.routes")
    if len(match.routes) > MAX_ROUTES:
        message = f"{len(match.routes)} routes are too many; the limit is {MAX_ROUTES}"
        yield Mistake(f"{path}.routes", "OutOfRange", message, "Write several rules")


def _headers(headers: Mapping[str, tuple[str, ...]], path: str) -> Iterator[Mistake]:
    for name, values in headers.items():
        where = child(path, name)
        yield from check_header_name(name, where)
        yield from check_patterns(values, where)
        if not values:
            message = f"no value of {short(name)} matches"
            yield Mistake(where, "MissingField", message, 'Write ["*"] for any value')


def _keys(keys: tuple[LimitKey, ...], path: str) -> Iterator[Mistake]:
    if len(keys) > MAX_KEYS:
        message = f"{len(keys)} keys are too many; the limit is {MAX_KEYS}"
        yield Mistake(path, "OutOfRange", message)
    seen: dict[LimitKey, int] = {}
    for index, key in enumerate(keys):
        where = f"{path}[{index}]"
        values = {
            "source": key.source,
            "request": key.request,
            "header": key.header,
            "claim": key.claim,
        }
        written = [name for name, value in values.items() if value is not None]
        if len(written) > 1:
            message = f"{' and '.join(written)} exclude each other"
            yield Mistake(where, "ConflictingFields", message, "Write them as two keys")
        elif not written:
            message = f"one of {', '.join(values)} is required"
            yield Mistake(where, "MissingField", message, "Write, for one, source: PRINCIPAL")
        if key.header is not None:
            yield from check_header_name(key.header, f"{where}.header")
        if key.claim is not None and not all(key.claim.split(".")):
            message = f"{short(key.claim)} is not the name of a claim"
            yield Mistake(f"{where}.claim", "InvalidValue", message, "Write sub, or user.plan")
        if seen.setdefault(key, index) != index:
            message = f"the key is number {seen[key] + 1} already"
            yield warning(where, "DuplicateValue", message, "Remove one of them")


def _limit(limit: Limit, path: str) -> Iterator[Mistake]:
    if not 1 <= limit.requests <= MAX_REQUESTS:
        message = f"{limit.requests} is out of range: write 1 to {MAX_REQUESTS}"
        hint = "To refuse all requests, write an AuthorizationPolicy"
        yield Mistake(f"{path}.requests", "OutOfRange", message, hint if limit.requests < 1 else "")
    if limit.burst is not None and not 1 <= limit.burst <= MAX_REQUESTS:
        message = f"{limit.burst} is out of range: write 1 to {MAX_REQUESTS}"
        hint = "A burst of 1 lets requests through one by one"
        yield Mistake(f"{path}.burst", "OutOfRange", message, hint if limit.burst < 1 else "")


def _response(response: LimitResponse) -> Iterator[Mistake]:
    size = len(response.body.encode())
    if size > MAX_BODY:
        message = f"the body has {size} bytes; the limit is {MAX_BODY}"
        yield Mistake("spec.response.body", "OutOfRange", message, "Write a shorter one")
    where = "spec.response.contentType"
    if not response.content_type:
        yield Mistake(where, "MissingField", "the type is empty", "Write application/json")
    yield from check_header_value(response.content_type, where)
