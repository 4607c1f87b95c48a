"""The route tables of gateways: every VirtualService that is bound to a server, merged by host."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from argosy.base.names import Hostname
from argosy.base.problems import Compiled, Problem, Severity
from argosy.model.proxy import Scope
from argosy.model.route import (
    Attachment,
    HttpRule,
    Route,
    RouteLookup,
    RouteServer,
    RouteTable,
    VirtualHost,
)
from argosy.pilot.compile.attachments import in_order, rank
from argosy.pilot.compile.hostnames import intersection
from argosy.pilot.compile.routes import Listening, routes_of

NO_HOST = "blackhole"
"""Istio's name for the virtual host of a server that nothing is bound to: it answers 404."""

AttachedRules = tuple[Attachment, tuple[HttpRule, ...]]


@dataclass(slots=True)
class _Host:
    """What is collected for one host name."""

    port: int
    bound: list[tuple[Attachment, tuple[Route, ...]]] = field(default_factory=list)
    require_tls: bool = False


def gateway_table(
    name: str,
    servers: Iterable[RouteServer],
    attached: Iterable[AttachedRules],
    scope: Scope,
    lookup: RouteLookup,
) -> Compiled[RouteTable]:
    """The table that ``servers`` (all of one listener port and route name) share."""
    virtual_hosts = gateway_virtual_hosts(servers, attached, scope, lookup)
    return Compiled(RouteTable(name, virtual_hosts.value), virtual_hosts.problems)


def gateway_virtual_hosts(
    servers: Iterable[RouteServer],
    attached: Iterable[AttachedRules],
    scope: Scope,
    lookup: RouteLookup,
) -> Compiled[tuple[VirtualHost, ...]]:
    """Each host once. Rules of several VirtualServices follow each other, the oldest first.

    A route that takes every request goes behind all others; of several, only the first counts.
    Never empty: a server without routes answers 404.
    """
    ordered = sorted(servers, key=lambda server: (server.port, server.gateway, server.hosts))
    rules = dict(attached)
    hosts: dict[Hostname, _Host] = {}
    for server in ordered:
        _bind(server, rules, scope, lookup, hosts)
        if server.https_redirect:
            for _, host in server.hosts:
                hosts.setdefault(host, _Host(server.port)).require_tls = True
    if not hosts:
        ports = [server.port for server in ordered]
        empty = VirtualHost(NO_HOST, ports[0] if ports else 0, ("*",), ())
        return Compiled((empty,))
    problems: list[Problem] = []
    virtual_hosts = [
        VirtualHost(
            host,
            found.port,
            (host,),
            _merged(host, found, scope, problems),
            require_tls=found.require_tls,
        )
        for host, found in sorted(hosts.items())
    ]
    return Compiled(_collapsed(virtual_hosts), tuple(problems))


def _bind(
    server: RouteServer,
    rules: dict[Attachment, tuple[HttpRule, ...]],
    scope: Scope,
    lookup: RouteLookup,
    hosts: dict[Hostname, _Host],
) -> None:
    listening = Listening(server.gateway, server.port, server.tls)
    for attachment in in_order(rules, server.gateway, scope.namespace):
        shared = _shared_hosts(server, attachment)
        if not shared:
            continue
        routes = routes_of(rules[attachment], listening, scope, lookup)
        if not routes:
            continue
        for host in shared:
            found = hosts.setdefault(host, _Host(server.port))
            found.require_tls |= server.https_redirect
            if all(bound != attachment for bound, _ in found.bound):
                found.bound.append((attachment, routes))


def _shared_hosts(server: RouteServer, attachment: Attachment) -> list[Hostname]:
    """The hosts that the server offers to this namespace and that the VirtualService claims."""
    shared = {
        both
        for namespace, offered in server.hosts
        if namespace in ("*", attachment.object.namespace)
        for claimed in attachment.hosts
        if (both := intersection(offered, claimed)) is not None
    }
    return sorted(shared)


def _merged(
    host: Hostname, found: _Host, scope: Scope, problems: list[Problem]
) -> tuple[Route, ...]:
    found.bound.sort(key=lambda bound: rank(bound[0], scope.namespace))
    routes: list[Route] = []
    last: Route | None = None
    for attachment, own in found.bound:
        for route in own:
            if not route.match.is_catch_all:
                routes.append(route)
            elif last is None:
                last = route
            else:
                problems.append(_hidden(host, attachment, last))
    return (*routes, last) if last is not None else tuple(routes)


def _hidden(host: Hostname, attachment: Attachment, winner: Route) -> Problem:
    return Problem(
        attachment.object,
        "spec.http",
        "HostConflict",
        f"for host {host} the route that takes every request is that of "
        f"{winner.virtual_service}, which is older; this one is never reached",
        "give the route a match, or merge both into one VirtualService",
        Severity.WARNING,
    )


def _collapsed(virtual_hosts: list[VirtualHost]) -> tuple[VirtualHost, ...]:
    """Hosts with equal routes share one virtual host, named after the first."""
    groups: dict[tuple[object, ...], list[VirtualHost]] = {}
    for host in virtual_hosts:
        groups.setdefault((host.routes, host.require_tls, host.port), []).append(host)
    return tuple(
        VirtualHost(
            group[0].host,
            group[0].port,
            tuple(domain for host in group for domain in host.domains),
            group[0].routes,
            require_tls=group[0].require_tls,
        )
        for group in groups.values()
    )
