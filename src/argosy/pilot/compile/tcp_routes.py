"""The ``tcp`` and ``tls`` rules of VirtualServices → where opaque connections go.

TLS rules choose by the server name that a client asks for, and leave the bytes as they are.
https://istio.io/latest/docs/reference/config/networking/virtual-service/#TCPRoute
https://istio.io/latest/docs/reference/config/networking/virtual-service/#TLSRoute
"""

import dataclasses
import ipaddress
from collections.abc import Iterable, Sequence

from argosy.api.networking_virtual_service import (
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)
from argosy.base.names import Hostname, ObjectKey
from argosy.base.problems import Compiled
from argosy.model.listener import TcpTarget
from argosy.model.proxy import Scope
from argosy.model.route import MESH, Attachment, RouteLookup, WeightedDestination
from argosy.model.tcp_route import TcpMatch, TcpRoute, TcpRule
from argosy.model.workload import Labels
from argosy.pilot.compile.actions import destination
from argosy.pilot.compile.attachments import in_order
from argosy.pilot.compile.hostnames import intersection
from argosy.pilot.compile.matches import gateway_name
from argosy.pilot.compile.references import cluster_key
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.routes import Listening

AttachedTcpRules = tuple[Attachment, tuple[TcpRule, ...]]
_Match = L4MatchAttributes | TLSMatchAttributes
_ANY = "*"


# What a VirtualService says.


def tcp_rules(vs: VirtualService) -> Compiled[tuple[TcpRule, ...]]:
    """Its ``tcp`` rules in order. A rule that cannot be is left out, and said why."""
    return _compiled(vs, ((route.match, route.route) for route in vs.spec.tcp), "tcp")


def tls_rules(vs: VirtualService) -> Compiled[tuple[TcpRule, ...]]:
    """Likewise its ``tls`` rules."""
    return _compiled(vs, ((route.match, route.route) for route in vs.spec.tls), "tls")


def tcp_source_selectors(vs: VirtualService) -> frozenset[Labels]:
    """The label sets by which these rules tell clients apart: they become a Scope's classes."""
    matches: list[_Match] = [match for route in vs.spec.tcp for match in route.match]
    matches += [match for route in vs.spec.tls for match in route.match]
    return frozenset(
        tuple(sorted(match.source_labels.items())) for match in matches if match.source_labels
    )


def _compiled(
    vs: VirtualService,
    written: Iterable[tuple[Sequence[_Match], Sequence[RouteDestination]]],
    kind: str,
) -> Compiled[tuple[TcpRule, ...]]:
    report = Report(vs.key)
    rules = []
    for index, (matches, route) in enumerate(written):
        place = report.at(f"spec.{kind}[{index}]")
        destinations = _destinations(vs.key, route, place)
        if destinations:
            found = tuple(_match(vs, match) for match in matches)
            rules.append(TcpRule(vs.key, place.field, found or (TcpMatch(),), destinations))
    return Compiled(tuple(rules), tuple(report.problems))


def _destinations(
    vs: ObjectKey, route: Sequence[RouteDestination], report: Report
) -> tuple[WeightedDestination, ...]:
    alone = len(route) == 1
    found = tuple(
        WeightedDestination(
            destination(weighted.destination, vs.namespace, f"route[{index}].destination"),
            1 if alone else weighted.weight,
        )
        for index, weighted in enumerate(route)
        if alone or weighted.weight > 0
    )
    if not found:
        report.at("route").error(
            "NoDestination",
            "no destination has a weight, so the rule is left out",
            "give at least one destination a weight",
        )
    return found


def _match(vs: VirtualService, match: _Match) -> TcpMatch:
    """``sourceSubnet`` has no effect, as in Istio, which the API reports."""
    names: tuple[str, ...] = match.sni_hosts if isinstance(match, TLSMatchAttributes) else ()
    return TcpMatch(
        port=match.port or None,
        gateways=frozenset(gateway_name(name, vs.key.namespace) for name in match.gateways),
        source_labels=tuple(sorted(match.source_labels.items())),
        source_namespace=match.source_namespace,
        server_names=() if _ANY in names else tuple(Hostname(name.lower()) for name in names),
        subnets=tuple(dict.fromkeys(map(_network, match.destination_subnets))),
    )


def _network(written: str) -> str:
    """``10.1.2.3/8`` and ``10.0.0.0/8`` are one network; an address alone is one too."""
    return str(ipaddress.ip_network(written, strict=False))


# What it means for one listener.


def mesh_routes(
    rules: Iterable[TcpRule], port: int, scope: Scope, lookup: RouteLookup
) -> tuple[TcpRoute, ...]:
    """Where sidecars send the bytes for a service's ``port``; empty when no rule is for it.

    ``rules`` are those of the VirtualService that wins the service's host, TLS rules first. The
    last of the routes takes the rest, if a rule does.
    """
    return tuple(distinct(_routes(rules, Listening(MESH, port), scope, lookup)))


def gateway_routes(
    hosts: tuple[tuple[str, Hostname], ...],
    listening: Listening,
    attached: Iterable[AttachedTcpRules],
    scope: Scope,
    lookup: RouteLookup,
) -> tuple[TcpRoute, ...]:
    """Where a gateway's server with these ``hosts`` sends opaque bytes; empty: nowhere.

    Opaque bytes name no host, so the rules of every VirtualService that shares any host with the
    server follow each other, the best first, up to the first that takes all. Of TLS rules only
    the server names that the server offers count.
    """
    rules = dict(attached)
    found: list[TcpRoute] = []
    for attachment in in_order(rules, listening.gateway, scope.namespace):
        offered = [host for owner, host in hosts if owner in (_ANY, attachment.object.namespace)]
        if not _shares_host(offered, attachment):
            continue
        for route in _routes(rules[attachment], listening, scope, lookup):
            narrowed = _narrowed(route, offered)
            if narrowed is not None:
                found.append(narrowed)
        if any(route.takes_all for route in found):
            break
    return tuple(distinct(found))


def distinct(routes: Iterable[TcpRoute]) -> Iterable[TcpRoute]:
    """Without what an earlier route has: Envoy refuses two chains for one name and subnet."""
    taken: set[tuple[str, str]] = set()
    for route in routes:
        for names, subnets in unclaimed(route.server_names, route.subnets, taken):
            yield dataclasses.replace(route, server_names=names, subnets=subnets)


def unclaimed(
    names: tuple[str, ...], subnets: tuple[str, ...], taken: set[tuple[str, str]]
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The parts of ``names`` x ``subnets`` (none: any) that are not ``taken``, which they are then."""
    parts: dict[tuple[str, ...], list[str]] = {}
    for name in names or ("",):
        free = tuple(subnet for subnet in subnets or ("",) if (name, subnet) not in taken)
        taken.update((name, subnet) for subnet in free)
        if free:
            parts.setdefault(free, []).append(name)
    return [
        (
            tuple(dict.fromkeys(name for name in found if name)),
            tuple(subnet for subnet in free if subnet),
        )
        for free, found in parts.items()
    ]


def _routes(
    rules: Iterable[TcpRule], listening: Listening, scope: Scope, lookup: RouteLookup
) -> list[TcpRoute]:
    routes: list[TcpRoute] = []
    for rule in rules:
        for match in rule.matches:
            if not _holds(match, listening, scope):
                continue
            targets = tuple(
                TcpTarget(
                    cluster_key(weighted.destination, listening.port, lookup), weighted.weight
                )
                for weighted in rule.destinations
            )
            routes.append(TcpRoute(match.server_names, match.subnets, targets))
            if routes[-1].takes_all:
                return routes
    return routes


def _holds(match: TcpMatch, listening: Listening, scope: Scope) -> bool:
    if match.port not in (None, listening.port):
        return False
    if match.gateways and listening.gateway not in match.gateways:
        return False
    if listening.gateway != MESH:
        return True
    return match.source_namespace in ("", scope.namespace) and (
        not match.source_labels or match.source_labels in scope.classes
    )


def _narrowed(route: TcpRoute, offered: Iterable[Hostname]) -> TcpRoute | None:
    """Its server names as far as they are offered; None when nothing is left."""
    if not route.server_names:
        return route
    names = dict.fromkeys(
        both
        for name in route.server_names
        for host in offered
        if (both := intersection(host, Hostname(name))) is not None
    )
    return dataclasses.replace(route, server_names=tuple(names)) if names else None


def _shares_host(offered: Iterable[Hostname], attachment: Attachment) -> bool:
    return any(
        intersection(host, claimed) is not None for host in offered for claimed in attachment.hosts
    )
