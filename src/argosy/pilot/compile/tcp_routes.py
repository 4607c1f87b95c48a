"""The ``tcp`` rules of VirtualServices → where opaque connections go.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#TCPRoute
"""

from collections.abc import Iterable

from argosy.api.networking_virtual_service import L4MatchAttributes, TCPRoute, VirtualService
from argosy.base.names import Hostname
from argosy.base.problems import Compiled
from argosy.model.listener import TcpTarget
from argosy.model.proxy import Scope
from argosy.model.route import MESH, Attachment, RouteLookup, WeightedDestination
from argosy.model.tcp_route import TcpMatch, TcpRule
from argosy.model.workload import Labels
from argosy.pilot.compile.actions import destination
from argosy.pilot.compile.attachments import in_order
from argosy.pilot.compile.hostnames import intersection
from argosy.pilot.compile.matches import gateway_name
from argosy.pilot.compile.references import cluster_key
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.routes import Listening

AttachedTcpRules = tuple[Attachment, tuple[TcpRule, ...]]


def tcp_rules(vs: VirtualService) -> Compiled[tuple[TcpRule, ...]]:
    """In order. A rule that cannot be is left out, and said why."""
    report = Report(vs.key)
    rules = tuple(
        rule
        for index, route in enumerate(vs.spec.tcp)
        if (rule := _rule(vs, route, report.at(f"spec.tcp[{index}]"))) is not None
    )
    return Compiled(rules, tuple(report.problems))


def tcp_source_selectors(vs: VirtualService) -> frozenset[Labels]:
    """The label sets by which its TCP rules tell clients apart: they become a Scope's classes."""
    return frozenset(
        tuple(sorted(match.source_labels.items()))
        for route in vs.spec.tcp
        for match in route.match
        if match.source_labels
    )


def mesh_targets(
    rules: Iterable[TcpRule], port: int, scope: Scope, lookup: RouteLookup
) -> tuple[TcpTarget, ...]:
    """Where sidecars send the bytes for a service's ``port``; empty when no rule is for it.

    ``rules`` are those of the VirtualService that wins the service's host.
    """
    return _targets(rules, Listening(MESH, port), scope, lookup)


def gateway_targets(
    hosts: tuple[tuple[str, Hostname], ...],
    listening: Listening,
    attached: Iterable[AttachedTcpRules],
    scope: Scope,
    lookup: RouteLookup,
) -> tuple[TcpTarget, ...]:
    """Where a gateway's TCP server with these ``hosts`` sends its bytes; empty: nowhere.

    Opaque bytes name no host, so the first rule of the best VirtualService that shares any host
    with the server takes them all.
    """
    rules = dict(attached)
    for attachment in in_order(rules, listening.gateway, scope.namespace):
        if not _shares_host(hosts, attachment):
            continue
        targets = _targets(rules[attachment], listening, scope, lookup)
        if targets:
            return targets
    return ()


def _targets(
    rules: Iterable[TcpRule], listening: Listening, scope: Scope, lookup: RouteLookup
) -> tuple[TcpTarget, ...]:
    for rule in rules:
        if any(_holds(match, listening, scope) for match in rule.matches):
            return tuple(
                TcpTarget(
                    cluster_key(weighted.destination, listening.port, lookup), weighted.weight
                )
                for weighted in rule.destinations
            )
    return ()


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


def _shares_host(hosts: tuple[tuple[str, Hostname], ...], attachment: Attachment) -> bool:
    return any(
        intersection(offered, claimed) is not None
        for namespace, offered in hosts
        if namespace in ("*", attachment.object.namespace)
        for claimed in attachment.hosts
    )


def _rule(vs: VirtualService, route: TCPRoute, report: Report) -> TcpRule | None:
    alone = len(route.route) == 1
    namespace = vs.key.namespace
    destinations = tuple(
        WeightedDestination(
            destination(weighted.destination, namespace, f"route[{index}].destination"),
            1 if alone else weighted.weight,
        )
        for index, weighted in enumerate(route.route)
        if alone or weighted.weight > 0
    )
    if not destinations:
        report.at("route").error(
            "NoDestination",
            "no destination has a weight, so the rule is left out",
            "give at least one destination a weight",
        )
        return None
    matches = tuple(
        _match(vs, match)
        for index, match in enumerate(route.match)
        if _is_supported(match, report.at(f"match[{index}]"))
    )
    if route.match and not matches:
        return None
    return TcpRule(vs.key, report.field, matches or (TcpMatch(),), destinations)


def _match(vs: VirtualService, match: L4MatchAttributes) -> TcpMatch:
    return TcpMatch(
        port=match.port or None,
        gateways=frozenset(gateway_name(name, vs.key.namespace) for name in match.gateways),
        source_labels=tuple(sorted(match.source_labels.items())),
        source_namespace=match.source_namespace,
    )


def _is_supported(match: L4MatchAttributes, report: Report) -> bool:
    """A match is left out rather than widened: it must not take what it was not meant for."""
    for field, written in (
        ("destinationSubnets", match.destination_subnets),
        ("sourceSubnet", match.source_subnet),
    ):
        if written:
            report.at(field).error(
                "NotSupported",
                f"matching by {field} is not supported yet, so this match is left out",
                "match by port",
            )
            return False
    return True
