"""Formulas of what gRPC clients and servers without a proxy get.

A client asks for what it dials, by the name that it dials; a server for the address that it
listens on. From there on the names are those of sidecars.
"""

from argosy.base.names import Hostname
from argosy.derive import Reader, formula
from argosy.model.proxy import ClusterKey, Role, Scope
from argosy.model.route import RouteTable
from argosy.pilot.compile import localities as compiling
from argosy.pilot.compile import proxyless, routes
from argosy.pilot.compile.endpoints import serving
from argosy.pilot.graph import destinations, localities, outbound, rules, views
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.world import (
    demands,
    endpoint_summary,
    service_endpoints,
    service_of_host,
)
from argosy.pilot.translate import names
from argosy.pilot.translate import proxyless as translation
from argosy.xds import type_urls


def is_server_listener(name: str) -> bool:
    return proxyless.server_address(name) is not None


def names_of_type(get: Reader, scope: Scope, type_url: str) -> tuple[str, ...]:
    """What there is to ask for; clients ask by name only."""
    match type_url:
        case type_urls.CLUSTER:
            return get(cluster_names, scope)
        case type_urls.LISTENER:
            return get(listener_names, scope)
    return ()


def resource(get: Reader, scope: Scope, type_url: str, name: str) -> Encoded | None:
    match type_url:
        case type_urls.CLUSTER:
            return get(cluster_resource, scope, name)
        case type_urls.ENDPOINT:
            return get(endpoints_resource, scope, name)
        case type_urls.LISTENER:
            return get(client_listener, scope, name)
        case type_urls.ROUTE:
            return get(route_resource, scope, name)
    return None


@formula
def listener_names(get: Reader, scope: Scope) -> tuple[str, ...]:
    """Every service port that a client may dial, by its long name."""
    return tuple(
        names.host_route(service.hostname, port.number)
        for service in get(rules.visible_services, scope.sight)
        for port in service.ports
        if port.protocol.is_http
    )


@formula
def cluster_names(get: Reader, scope: Scope) -> tuple[str, ...]:
    return tuple(
        name
        for service in get(rules.visible_services, scope.sight)
        for name in get(
            destinations.service_clusters,
            views.of_host(get, scope, service.hostname),
            service.hostname,
        )
    )


@formula
def table(get: Reader, scope: Scope, host: Hostname, port: int) -> RouteTable | None:
    """The routes of a service's port, or of a host that only rules know."""
    virtual_host = get(outbound.service_virtual_host, scope, host, port)
    if virtual_host is None and get(service_of_host, host) is None:
        virtual_host = get(outbound.foreign_virtual_host, scope, host, port)
    if virtual_host is None:
        return None
    name = names.cluster_name(ClusterKey(port, "", host))
    return proxyless.routes(name, routes.host_table(name, virtual_host))


@formula
def client_listener(get: Reader, scope: Scope, name: str) -> Encoded | None:
    """For what a client dials, as its target says it: short, long, with or without domain."""
    dialled = proxyless.target(name)
    if dialled is None:
        return None
    host, port = dialled
    for candidate in proxyless.candidates(host, scope.namespace):
        if get(table, scope, candidate, port) is not None:
            route = names.cluster_name(ClusterKey(port, "", candidate))
            return encode(name, translation.client_listener(name, route))
    return None


@formula
def server_listener(get: Reader, role: Role, name: str) -> Encoded | None:
    place = proxyless.server_address(name)
    if place is None:
        return None
    mode = get(demands, role.namespace, role.labels).mode(place[1])
    listener = proxyless.server_listener(name, mode)
    return None if listener is None else encode(name, translation.server_listener(listener))


@formula
def route_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    key = names.get_cluster_key(name)
    found = None if key is None else get(table, scope, Hostname(key.host), key.port)
    return None if found is None else encode(name, translation.routes(found))


@formula
def cluster_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    key = names.get_cluster_key(name)
    found = None if key is None else get(destinations.cluster, scope, key)
    if key is None or found is None:
        return None
    host = Hostname(key.host)
    labels = get(destinations.subset_labels, scope, host, key.subset) or ()
    summary = get(endpoint_summary, found.service.namespace, host, key.port, labels)
    adapted = proxyless.cluster(found, summary)
    return None if adapted is None else encode(name, translation.cluster(adapted))


@formula
def endpoints_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    key = names.get_cluster_key(name)
    if key is None:
        return None
    host = Hostname(key.host)
    labels = get(destinations.subset_labels, scope.anywhere, host, key.subset)
    service = destinations.service_meant(get, scope.namespace, host)
    if labels is None or service is None:
        return None
    found = get(service_endpoints, service.namespace, host, key.port)
    # gRPC takes addresses only from the control plane, so names for DNS are no endpoints there.
    ready = () if service.resolution.is_dns else serving(found, labels)
    placement = get(localities.placement, scope, host, key.port, key.subset)
    return encode(name, translation.load_assignment(name, compiling.groups(ready, placement)))
