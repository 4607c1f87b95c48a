"""Why a patch matched nothing: how far its conditions went, and what there is at that point."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_pb2

from argosy.model.envoy_filter import (
    ApplyTo,
    ChainMatch,
    ClusterMatch,
    ListenerMatch,
    RouteTableMatch,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.patch_listener import all_chains, is_virtual, manager_of, managers
from argosy.pilot.translate.patch_route import table_matches
from argosy.pilot.translate.patching import ValuedPatch
from argosy.xds import type_urls

_Chain: TypeAlias = listener_components_pb2.FilterChain


@dataclass(frozen=True, slots=True)
class Miss:
    """``wanted`` is what was asked for, ``present`` what there is; ``field`` says where it was
    asked for, inside the patch. ``depth``: how many conditions were met before."""

    what: str
    wanted: str
    present: tuple[str, ...]
    field: str = "match"
    depth: int = -1


def further(one: Miss, other: Miss) -> Miss:
    """The one that came further; both together where they came equally far."""
    if other.depth != one.depth or other.wanted != one.wanted:
        return max(one, other, key=lambda miss: miss.depth)
    present = (*one.present, *other.present)
    return Miss(one.what, one.wanted, tuple(dict.fromkeys(present)), one.field, one.depth)


def miss(type_url: str, body: bytes, patch: ValuedPatch) -> Miss:
    """Why a patch is not for this resource."""
    match = patch.patch.match
    if type_url == type_urls.LISTENER:
        listener = listener_pb2.Listener.FromString(body)
        if isinstance(match, RouteTableMatch):
            return _inline(listener, match)
        return _listener(listener, match if isinstance(match, ListenerMatch) else None, patch)
    if type_url == type_urls.ROUTE and isinstance(match, RouteTableMatch):
        return _table(route_pb2.RouteConfiguration.FromString(body), match)
    if type_url == type_urls.CLUSTER and isinstance(match, ClusterMatch):
        return _cluster(cluster_pb2.Cluster.FromString(body).name, match)
    return Miss("", "", ())


def route_tables(body: bytes) -> Iterator[str]:
    """The route tables that a serialized listener asks for by name."""
    for chain in all_chains(listener_pb2.Listener.FromString(body)):
        for one in managers(chain):
            manager = manager_of(one)
            if manager.HasField("rds"):
                yield manager.rds.route_config_name


def _listener(
    listener: listener_pb2.Listener, match: ListenerMatch | None, patch: ValuedPatch
) -> Miss:
    if match is None:
        return Miss("", "", (), depth=0)
    field = "match.listener"
    if match.name and match.name != listener.name:
        return Miss("listener", match.name, (listener.name,), f"{field}.name", 0)
    number = listener.address.socket_address.port_value
    virtual = is_virtual(listener) and patch.patch.apply_to is not ApplyTo.LISTENER
    if match.port and not virtual and match.port != number:
        return Miss("port", str(match.port), (str(number),), f"{field}.portNumber", 1)
    if match.listener_filter:
        present = tuple(one.name for one in listener.listener_filters)
        path = f"{field}.listenerFilter"
        return Miss("listener filter", match.listener_filter, present, path, 2)
    chains = list(all_chains(listener))
    if match.port and virtual:
        chains = [c for c in chains if _port(c) == match.port]
        if not chains:
            ports = tuple(str(_port(c)) for c in all_chains(listener) if _port(c))
            return Miss("port", str(match.port), ports, f"{field}.portNumber", 1)
    if match.chain is None:
        return Miss("", "", (), field, 2)
    return _chains(chains, match.chain, patch, f"{field}.filterChain")


def _port(chain: listener_components_pb2.FilterChain) -> int:
    return int(chain.filter_chain_match.destination_port.value)


def _chains(
    chains: list[listener_components_pb2.FilterChain],
    match: ChainMatch,
    patch: ValuedPatch,
    field: str,
) -> Miss:
    steps: tuple[tuple[str, str, str, Callable[[_Chain], tuple[str, ...]]], ...] = (
        ("name", "filter chain", match.name, lambda c: (c.name,)),
        ("sni", "filter chain for", match.sni, lambda c: tuple(c.filter_chain_match.server_names)),
        (
            "transportProtocol",
            "filter chain for",
            match.transport_protocol,
            lambda c: (c.filter_chain_match.transport_protocol,),
        ),
        (
            "applicationProtocols",
            "filter chain for",
            ",".join(match.application_protocols),
            lambda c: tuple(c.filter_chain_match.application_protocols),
        ),
        (
            "destinationPort",
            "filter chain for port",
            str(match.destination_port or ""),
            lambda c: (str(_port(c)),) if _port(c) else (),
        ),
    )
    depth = 2
    for name, what, wanted, values in steps:
        depth += 1
        if not wanted:
            continue
        left = [c for c in chains if set(wanted.split(",")) <= set(values(c))]
        if not left:
            present = tuple(value for c in chains for value in values(c) if value)
            return Miss(what, wanted, present, f"{field}.{name}", depth)
        chains = left
    if match.filter is None:
        return Miss("", "", (), field, depth)
    filters = [one for c in chains for one in c.filters]
    found = [one for one in filters if one.name == match.filter.name]
    if not found:
        present = tuple(one.name for one in filters)
        return Miss("filter", match.filter.name, present, f"{field}.filter.name", 8)
    if not match.filter.sub_filter:
        return Miss("", "", (), f"{field}.filter", 9)
    http = [one.name for c in chains for m in managers(c) for one in manager_of(m).http_filters]
    path = f"{field}.filter.subFilter.name"
    return Miss("HTTP filter", match.filter.sub_filter, tuple(http), path, 9)


def _inline(listener: listener_pb2.Listener, match: RouteTableMatch) -> Miss:
    best = Miss("", "", ())
    for chain in all_chains(listener):
        for one in managers(chain):
            manager = manager_of(one)
            if manager.HasField("route_config"):
                best = further(best, _table(manager.route_config, match))
    return best


def _table(table: route_pb2.RouteConfiguration, match: RouteTableMatch) -> Miss:
    field = "match.routeConfiguration"
    if match.name and match.name != table.name:
        return Miss("route configuration", match.name, (table.name,), f"{field}.name", 0)
    if not table_matches(table.name, match, {}):
        facts = names.route_table_facts(table.name)
        if match.port and match.port != facts.port:
            path = f"{field}.portNumber"
            return Miss("port", str(match.port), (str(facts.port),), path, 1)
        if match.port_name and match.port_name != facts.port_name:
            path = f"{field}.portName"
            return Miss("port name", match.port_name, (facts.port_name,), path, 1)
        return Miss("gateway", match.gateway, (facts.gateway,), f"{field}.gateway", 1)
    host = match.virtual_host
    if host is None:
        return Miss("", "", (), field, 2)
    found = [h for h in table.virtual_hosts if not host.name or h.name == host.name]
    if not found:
        present = tuple(h.name for h in table.virtual_hosts)
        return Miss("virtual host", host.name, present, f"{field}.vhost.name", 2)
    if host.domain:
        left = [h for h in found if host.domain in h.domains]
        if not left:
            present = tuple(d for h in found for d in h.domains)
            return Miss("domain", host.domain, present, f"{field}.vhost.domainName", 3)
        found = left
    if host.route is None:
        return Miss("", "", (), f"{field}.vhost", 4)
    routes = [route.name for h in found for route in h.routes]
    wanted = host.route.name if host.route.name not in routes else host.route.action.value
    path = f"{field}.vhost.route"
    return Miss("route", wanted, tuple(name for name in routes if name), path, 4)


def _cluster(name: str, match: ClusterMatch) -> Miss:
    field = "match.cluster"
    if match.name:
        return Miss("cluster", match.name, (name,), f"{field}.name", 0)
    port, subset, host = names.cluster_facts(name)
    wanted: Iterable[tuple[str, str, str]] = (
        ("service", match.service, host),
        ("portNumber", str(match.port or ""), str(port or "")),
        ("subset", match.subset, subset),
    )
    for depth, (key, asked, there) in enumerate(wanted):
        if asked and asked != there:
            present = (there,) if there else ()
            return Miss(f"cluster of {key}", asked, present, f"{field}.{key}", depth)
    return Miss("", "", (), field, 3)
