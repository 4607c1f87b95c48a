"""RateLimits that hold for nobody, name routes that are not there, or count what others count."""

from collections.abc import Iterator
from typing import assert_never

from argosy.api.argosy_rate_limit import RateLimit
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.proxy import ProxyType
from argosy.model.rate_limit import Limit
from argosy.model.route import MESH, Exact, HttpRule, Prefix, Regex
from argosy.model.text_match import Suffix, Text
from argosy.pilot.analyze.selectors import unmatched
from argosy.pilot.compile.authz_values import text
from argosy.pilot.graph import rules
from argosy.pilot.graph.policy_problems import called
from argosy.pilot.graph.rate_limits import held_for, limits_of
from argosy.pilot.graph.world import read


@formula
def selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    written = read(get, key, RateLimit)
    if written is None or written.spec.selector is None:
        return ()
    return unmatched(get, key, written.spec.selector.match_labels, "spec.selector.matchLabels")


@formula
def overlaps(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Rules with the same match and keys as one of another RateLimit, of the same workload.

    Both hold, so the stricter is what clients feel.
    """
    found: dict[str, Problem] = {}
    for role in get(held_for, key.namespace, key.name):
        limits = get(limits_of, role)
        others = {_counts(one): one for one in limits if one.object != key and not one.dry_run}
        for limit in limits:
            other = others.get(_counts(limit))
            if limit.object != key or limit.dry_run or other is None:
                continue
            found.setdefault(
                limit.field,
                Problem(
                    key,
                    limit.field,
                    "OverlappingLimits",
                    f"rule {other.rule} of {other.object} counts the same requests at "
                    f"{called(role)}: both hold, so the stricter one decides",
                    "merge the two, or tell them apart by match or keys",
                    Severity.WARNING,
                ),
            )
    return tuple(found.values())


@formula
def routes(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Names of routes that no proxy, for which the RateLimit holds, takes by a VirtualService."""
    written = read(get, key, RateLimit)
    if written is None or not any(rule.match.routes for rule in written.spec.rules):
        return ()
    types = {role.type for role in get(held_for, key.namespace, key.name)}
    found = []
    for index, rule in enumerate(written.spec.rules):
        for number, name in enumerate(rule.match.routes):
            at = {side for called, side in get(route_names) if _names(text(name), called)}
            if at & types:
                continue
            if not at:
                message = f"no VirtualService has an HTTP route that is called {name}"
                hint = "correct the name: argosy proxy-config routes shows what proxies have"
            elif ProxyType.ROUTER in at:
                message = (
                    f"only gateways take the route {name}, and the RateLimit holds for none of them"
                )
                hint = "write targetRefs with the Gateway"
            else:
                message = (
                    f"only sidecars take the route {name}, those of the callers, and the RateLimit "
                    "holds for none of them"
                )
                hint = (
                    "select the workloads that call; at the one that is called routes are unknown"
                )
            where = f"spec.rules[{index}].match.routes[{number}]"
            found.append(Problem(key, where, "RouteNotFound", message, hint, Severity.WARNING))
    return tuple(found)


@formula
def route_names(get: Reader) -> frozenset[tuple[str, ProxyType]]:
    """What HTTP routes of VirtualServices are called, and which sort of proxy takes them."""
    return frozenset(
        (called, side)
        for attachment in get(rules.attachments)
        for rule in get(rules.rules_of, attachment.object)
        for called, gateways in _called(rule)
        for side in _sides(gateways or attachment.gateways)
        if called
    )


def _called(rule: HttpRule) -> Iterator[tuple[str, frozenset[str]]]:
    """The names of the routes that Envoy has for a rule, with the gateways of each match."""
    for match in rule.matches:
        yield ".".join(part for part in (rule.name, match.name) if part), match.gateways


def _sides(gateways: frozenset[str]) -> Iterator[ProxyType]:
    if MESH in gateways:
        yield ProxyType.SIDECAR
    if gateways - {MESH}:
        yield ProxyType.ROUTER


def _names(match: Text, called: str) -> bool:
    """As proxies compare: a route's name stands for all of its matches."""
    match match:
        case Exact(value):
            return called == value or called.startswith(f"{value}.")
        case Prefix(value):
            return called.startswith(value)
        case Suffix(value):
            return called.endswith(value)
        case Regex():
            return True
        case _:
            assert_never(match)


def _counts(limit: Limit) -> tuple[object, ...]:
    """What decides which requests are counted together."""
    clauses = {(one.any_of, one.negated) for one in limit.clauses}
    return frozenset(clauses), frozenset(limit.routes), frozenset(limit.keys)
