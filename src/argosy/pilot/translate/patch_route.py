"""EnvoyFilters on route tables: the table, its virtual hosts, their routes."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from argosy.model.envoy_filter import (
    ApplyTo,
    Operation,
    RouteAction,
    RouteMatch,
    RouteTableMatch,
    VirtualHostMatch,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.patching import (
    Effects,
    Patched,
    ValuedPatch,
    change_list,
    is_merge,
    lay_over,
    patched,
)

Ports = Mapping[int, frozenset[int]]
_ACTIONS = {
    "route": RouteAction.ROUTE,
    "redirect": RouteAction.REDIRECT,
    "direct_response": RouteAction.DIRECT_RESPONSE,
}


def patch_route_table(
    table: route_pb2.RouteConfiguration, patches: Sequence[ValuedPatch], ports: Ports
) -> Patched:
    """``ports``: a gateway's service ports by its own port; empty for sidecars."""
    return patched(table, patches, partial(_apply, ports=ports), check_route_table)


def patch_inline_routes(
    manager: http_connection_manager_pb2.HttpConnectionManager,
    patches: Sequence[ValuedPatch],
    effects: Effects,
    ports: Ports,
) -> bool:
    """The table that stands in a connection manager; whether a patch was for it."""
    if not manager.HasField("route_config"):
        return False
    before = len(effects.matched)
    touched = len(effects.touched)
    _apply(manager.route_config, patches, effects, ports=ports)
    if len(effects.touched) == touched and len(effects.matched) == before:
        return False
    for path, why in check_route_table(manager.route_config):
        for patch in patches:
            if patch.ref in effects.matched:
                effects.wrong.setdefault(patch.ref, f"{path}: {why}")
    return True


def _apply(
    table: route_pb2.RouteConfiguration,
    patches: Sequence[ValuedPatch],
    effects: Effects,
    *,
    ports: Ports,
) -> bool:
    mine = [p for p in patches if table_matches(table.name, p.patch.match, ports)]
    for patch in mine:
        if patch.patch.apply_to is ApplyTo.ROUTE_CONFIGURATION and is_merge(patch):
            name = table.name
            lay_over(table, patch)
            table.name = name
            effects.apply(patch, table)
    hosts = [p for p in mine if p.patch.apply_to is ApplyTo.VIRTUAL_HOST]
    routes = [p for p in mine if p.patch.apply_to is ApplyTo.HTTP_ROUTE]
    for i in reversed(range(len(table.virtual_hosts))):
        if not _virtual_host(table.virtual_hosts[i], hosts, routes, effects):
            del table.virtual_hosts[i]
    for patch in hosts:
        if patch.patch.operation is Operation.ADD:
            added = table.virtual_hosts.add()
            added.CopyFrom(patch.value)
            effects.apply(patch, added)
    return True


def _virtual_host(
    host: route_components_pb2.VirtualHost,
    hosts: Sequence[ValuedPatch],
    routes: Sequence[ValuedPatch],
    effects: Effects,
) -> bool:
    """False when it is to go."""
    for patch in hosts:
        if not _host_matches(host, patch):
            continue
        if patch.patch.operation is Operation.REMOVE:
            effects.apply(patch)
            return False
        if patch.patch.operation is Operation.REPLACE:
            host.CopyFrom(patch.value)
            effects.apply(patch, host)
        elif is_merge(patch):
            lay_over(host, patch)
            effects.apply(patch, host)
    mine = [patch for patch in routes if _host_matches(host, patch)]
    if mine:
        _routes(host, mine, effects)
    return True


def _routes(
    host: route_components_pb2.VirtualHost, patches: Sequence[ValuedPatch], effects: Effects
) -> None:
    for i in reversed(range(len(host.routes))):
        for patch in patches:
            if not route_matches(host.routes[i], _route_match(patch)):
                continue
            if patch.patch.operation is Operation.REMOVE:
                del host.routes[i]
                effects.apply(patch)
                break
            if is_merge(patch):
                lay_over(host.routes[i], patch)
                effects.apply(patch, host.routes[i])
    for patch in patches:
        if is_merge(patch) or patch.patch.operation is Operation.REMOVE:
            continue
        wanted = _route_match(patch)

        def is_it(one: Any, wanted: RouteMatch | None = wanted) -> bool:
            return route_matches(one, wanted)

        first = patch.patch.operation is Operation.INSERT_FIRST
        if first and wanted is not None and not any(map(is_it, host.routes)):
            continue  # the first of a virtual host that has such a route
        change_list(host.routes, patch, effects, is_it if wanted else None)


# What matches.


def table_matches(name: str, match: object, ports: Ports) -> bool:
    """By the name of a route table, which tells its port, and for gateways its server."""
    if not isinstance(match, RouteTableMatch):
        return match is None
    if match.name and match.name != name:
        return False
    facts = names.route_table_facts(name)
    if match.port and match.port != facts.port and match.port not in ports.get(facts.port, ()):
        return False
    if match.port_name and facts.is_gateway and match.port_name != facts.port_name:
        return False
    return not (match.gateway and facts.is_gateway and match.gateway != facts.gateway)


def _vhost_match(patch: ValuedPatch) -> VirtualHostMatch | None:
    match = patch.patch.match
    return match.virtual_host if isinstance(match, RouteTableMatch) else None


def _route_match(patch: ValuedPatch) -> RouteMatch | None:
    match = _vhost_match(patch)
    return match.route if match else None


def _host_matches(host: route_components_pb2.VirtualHost, patch: ValuedPatch) -> bool:
    match = _vhost_match(patch)
    if match is None:
        return True
    if match.domain and match.domain not in host.domains:
        return False
    return not match.name or bool(match.name == host.name)


def route_matches(route: route_components_pb2.Route, match: RouteMatch | None) -> bool:
    if match is None:
        return True
    if match.name and match.name != route.name:
        return False
    if match.action is RouteAction.ANY:
        return True
    return _ACTIONS.get(route.WhichOneof("action")) is match.action


# What Envoy would not take.


def check_route_table(table: route_pb2.RouteConfiguration) -> Iterator[tuple[str, str]]:
    """Names and domains of virtual hosts are there once."""
    seen: set[str] = set()
    domains: dict[str, str] = {}
    for host in table.virtual_hosts:
        if host.name in seen:
            yield "virtual_hosts", f"two are named {host.name!r}"
        seen.add(host.name)
        for domain in host.domains:
            other = domains.setdefault(domain.lower(), host.name)
            if other != host.name:
                yield "virtual_hosts", f"{domain!r} is a domain of {other!r} and of {host.name!r}"
        if len(set(map(str.lower, host.domains))) < len(host.domains):
            yield "virtual_hosts", f"{host.name!r} has a domain twice"
