"""Formulas of what a proxy's clients' side needs: routes, listeners, for all proxies of a scope."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from argosy.base.names import Hostname, Namespace
from argosy.base.problems import Compiled, Problem
from argosy.derive import Reader, formula
from argosy.model.listener import (
    ListenerSettings,
    OpaqueChain,
    OutboundListener,
    OutboundTrafficPolicy,
    TcpForward,
    TcpTarget,
)
from argosy.model.proxy import ClusterKey, Scope
from argosy.model.route import RouteTable, UnknownHosts, VirtualHost
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.tcp_route import TcpRoute
from argosy.model.telemetry import Mode
from argosy.model.traffic import Cluster
from argosy.model.workload import Health
from argosy.pilot.compile import egress_listeners, listeners, routes, tcp_routes
from argosy.pilot.compile.proxy_configs import personal
from argosy.pilot.graph import destinations, rate_limits, rules, sidecars, telemetry, views
from argosy.pilot.graph.encode import Encoded, encode, joined
from argosy.pilot.graph.world import mesh_settings, service_endpoints
from argosy.pilot.translate import listener as listener_translation
from argosy.pilot.translate import names
from argosy.pilot.translate import route as route_translation

_UNKNOWN_HOSTS = {
    OutboundTrafficPolicy.ALLOW_ANY: UnknownHosts.PASSTHROUGH,
    OutboundTrafficPolicy.REGISTRY_ONLY: UnknownHosts.BLOCK,
    OutboundTrafficPolicy.ALLOW_ANY_DYNAMIC_DNS: UnknownHosts.DYNAMIC,
}


# What a Sidecar changes.


@formula
def settings_of(get: Reader, scope: Scope) -> ListenerSettings:
    """The mesh's settings of listeners, with what the scope's Sidecar says instead.

    And whether anything that proxies of the scope see is resolved when a request names it.
    """
    dynamic = get(rules.has_dynamic_hosts, scope.sight)
    usual = replace(get(mesh_settings).listeners, dynamic_hosts=dynamic)
    settings = personal(usual, scope.proxy)
    egress = get(sidecars.egress, scope.sidecar)
    if egress is None or egress.outbound is None:
        return settings
    return replace(settings, outbound=egress.outbound, egress_proxy=egress.egress_proxy)


@formula
def listener_settings(get: Reader, scope: Scope) -> ListenerSettings:
    """With what the scope's proxies report and count, too."""
    reported = get(telemetry.telemetry, scope.sight, scope.telemetry, Mode.CLIENT)
    limits = get(rate_limits.limits_of_caller, scope.limits)
    return replace(get(settings_of, scope.routing), telemetry=reported, limits=limits)


# Clusters.


@formula
def cluster_names(get: Reader, scope: Scope) -> tuple[str, ...]:
    """Every outbound cluster of the scope, and the two for what the mesh does not know."""
    services = get(rules.visible_services, scope.sight)
    common = views.common(scope)
    own = scope.sidecar or scope == common or get(views.particular_hosts, scope.namespace)
    if not own and services == get(rules.visible_services, common.sight):
        return get(cluster_names, common)  # the very value, and not an edge to every service
    outbound = (name for service in services for name in _service_clusters(get, scope, service))
    policy = get(mesh_settings).listeners.outbound
    dynamic = policy is OutboundTrafficPolicy.ALLOW_ANY_DYNAMIC_DNS
    unknown = (names.DYNAMIC_DNS_CLUSTER,) if dynamic else ()
    return (names.BLACK_HOLE_CLUSTER, names.PASSTHROUGH_CLUSTER, *unknown, *outbound)


def _service_clusters(get: Reader, scope: Scope, service: Service) -> Iterable[str]:
    """Those of the ports that the scope sees."""
    host = service.hostname
    found = get(destinations.service_clusters, views.of_host(get, scope, host), host)
    if scope.sidecar is None:
        return found
    keys = ((name, names.get_cluster_key(name)) for name in found)
    return [name for name, key in keys if key is not None and service.get_port(key.port)]


# Routes.


@dataclass(frozen=True, slots=True)
class CommonHost:
    """``encoded`` is what ``model`` takes in a RouteConfiguration: kept once for all tables."""

    model: VirtualHost
    encoded: bytes


@formula
def service_virtual_host(
    get: Reader, scope: Scope, host: Hostname, port: int
) -> VirtualHost | None:
    """One port of a service as proxies of the scope call it."""
    found = get(rules.service_visible_to, scope.sight, host)
    service_port = found.get_port(port) if found else None
    if found is None or service_port is None:
        return None
    applied = get(rules.mesh_rules, host, scope.sight)
    lookup = rules.Lookup(get, scope)
    retries = get(mesh_settings).retries
    return routes.mesh_virtual_host(found, service_port, applied, scope, lookup, retries)


@formula
def foreign_virtual_host(
    get: Reader, scope: Scope, host: Hostname, port: int
) -> VirtualHost | None:
    """A host that has rules but is no service."""
    applied = get(rules.mesh_rules, host, scope.sight)
    return routes.rule_virtual_host(host, port, applied, scope, rules.Lookup(get, scope))


@formula
def common_hosts(get: Reader, scope: Scope, port: int) -> MappingProxyType[Hostname, CommonHost]:
    """The virtual hosts of a port as they look to everybody who has nothing of his own."""
    found = {
        service.hostname: get(service_virtual_host, scope, service.hostname, port)
        for service in get(rules.http_services, scope.sight, port)
    }
    return MappingProxyType(
        {
            name: CommonHost(host, route_translation.encoded_virtual_host(host))
            for name, host in found.items()
            if host is not None
        }
    )


def _common_hosts(get: Reader, scope: Scope, port: int) -> Mapping[Hostname, CommonHost]:
    """None for a scope that would have them computed for itself alone, or uses but a few."""
    services = get(rules.http_services, scope.sight, port)
    if scope.sidecar or all(service.namespace == scope.namespace for service in services):
        return {}
    return get(common_hosts, views.common(scope), port)


@formula
def port_table(get: Reader, scope: Scope, port: int) -> RouteTable | None:
    """The routes of all declared HTTP services of a port; None when there is none."""
    if scope.sidecar is not None:
        proxied = get(proxy_table, scope, names.http_route(port))
        if proxied is not None:
            return proxied
    services = get(rules.http_services, scope.sight, port)
    if not services:
        return None
    known = _common_hosts(get, scope, port)
    hosts: list[VirtualHost | None] = []
    for service in services:
        view = views.of_routes(get, scope, service)
        if view == views.common(scope) and service.hostname in known:
            hosts.append(known[service.hostname].model)
        else:
            hosts.append(get(service_virtual_host, view, service.hostname, port))
    hosts += [
        get(foreign_virtual_host, scope, host, port)
        for host in get(rules.foreign_hosts, scope.sight)
    ]
    settings = get(settings_of, scope)
    name = names.http_route(port)
    found = (host for host in hosts if host is not None)
    table = routes.mesh_table(name, found, _UNKNOWN_HOSTS[settings.outbound])
    return replace(table, egress_proxy=settings.egress_proxy)


@formula
def proxy_table(get: Reader, scope: Scope, name: str) -> RouteTable | None:
    """The routes of an egress listener that takes requests for all ports, by its table's name."""
    if name == names.MESH_PROXY_ROUTE:
        services = get(rules.visible_services, scope.sight)
    else:
        egress = get(sidecars.egress, scope.sidecar)
        index = None if egress is None else egress_listeners.proxy_of_table(egress, name)
        if index is None:
            return None
        services = get(rules.listener_services, scope.sight, index)
    ports = [
        (service, port)
        for service in services
        for port in service.ports
        if port.protocol.is_http or port.protocol is Protocol.AUTO
    ]
    hosts = [
        get(service_virtual_host, views.of_routes(get, scope, s), s.hostname, port.number)
        for s, port in ports
    ]
    hosts += [
        get(foreign_virtual_host, scope, host, number)
        for host in get(rules.foreign_hosts, scope.sight)
        for number in sorted({port.number for _, port in ports} | {80})
    ]
    settings = get(settings_of, scope)
    found = (host for host in hosts if host is not None)
    table = routes.mixed_table(name, found, _UNKNOWN_HOSTS[settings.outbound])
    return replace(table, egress_proxy=settings.egress_proxy)


@formula
def host_table(get: Reader, scope: Scope, host: Hostname, port: int) -> RouteTable | None:
    """The routes of one service port whose protocol is detected."""
    virtual_host = get(service_virtual_host, scope, host, port)
    if virtual_host is None:
        return None
    return routes.host_table(names.host_route(host, port), virtual_host)


@formula
def route_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    """The RouteConfiguration that a listener of this scope names."""
    host, separator, number = name.rpartition(":")
    known: Mapping[Hostname, CommonHost] = {}
    if not number.isdigit():
        table = get(proxy_table, scope, name) if _may_be_proxied(scope, name) else None
    elif separator:
        table = get(host_table, scope, Hostname(host), int(number))
    else:
        table = get(port_table, scope, int(number))
        known = _common_hosts(get, scope, int(number))
    if table is None:
        return None
    if not scope.proxy.attempt_count:
        bare = replace(table, attempt_count=False)
        return encode(name, route_translation.route_configuration(bare))

    def encoded(host: VirtualHost) -> bytes:
        common = known.get(Hostname(host.host))
        if common is not None and common.model is host:
            return common.encoded
        return route_translation.encoded_virtual_host(host)

    return joined(name, route_translation.encoded_route_configuration(table, encoded))


def _may_be_proxied(scope: Scope, name: str) -> bool:
    return scope.sidecar is not None or name == names.MESH_PROXY_ROUTE


# Listeners.


@formula
def instances(get: Reader, namespace: Namespace, host: Hostname, port: int) -> tuple[str, ...]:
    """The addresses of a headless service's endpoints."""
    found = get(service_endpoints, namespace, host, port)
    return tuple(sorted({e.address for e in found if e.health is not Health.UNHEALTHY}))


@formula
def tcp_routes_of(get: Reader, scope: Scope, host: Hostname, port: int) -> tuple[TcpRoute, ...]:
    """What rules say of the opaque bytes for a service's port."""
    applied = get(rules.mesh_tcp_rules, host, scope.sight)
    return tcp_routes.mesh_routes(applied, port, scope, rules.Lookup(get, scope))


@formula
def tcp_forward(get: Reader, scope: Scope, host: Hostname, port: int) -> TcpForward:
    """Where the opaque bytes of a service's port go, by its rules or else to itself."""
    found = get(tcp_routes_of, scope, host, port)
    own = (TcpTarget(ClusterKey(port, "", host)),)
    targets = next((route.targets for route in found if route.takes_all), own)
    return _forward(get, scope, targets, host)


@formula
def tcp_chains(get: Reader, scope: Scope, host: Hostname, port: int) -> tuple[OpaqueChain, ...]:
    """Where those go that rules tell apart by server name or destination."""
    return tuple(
        OpaqueChain(_forward(get, scope, route.targets, host), route.subnets, route.server_names)
        for route in get(tcp_routes_of, scope, host, port)
        if not route.takes_all
    )


def _forward(
    get: Reader, scope: Scope, targets: tuple[TcpTarget, ...], host: Hostname
) -> TcpForward:
    def find(key: ClusterKey) -> Cluster | None:
        return get(destinations.cluster, views.of_host(get, scope, Hostname(key.host)), key)

    return listeners.forward_targets(targets, find, host)


@formula
def compiled_listeners(get: Reader, scope: Scope) -> Compiled[tuple[OutboundListener, ...]]:
    def addresses(service: Service, port: ServicePort) -> tuple[str, ...]:
        return get(instances, service.namespace, service.hostname, port.number)

    def forward(service: Service, port: ServicePort) -> TcpForward:
        if port.protocol.is_http:
            return listeners.default_forward(service, port)
        return get(tcp_forward, scope, service.hostname, port.number)

    def chains(service: Service, port: ServicePort) -> tuple[OpaqueChain, ...]:
        if port.protocol.is_http:
            return ()
        return get(tcp_chains, scope, service.hostname, port.number)

    egress = get(sidecars.egress, scope.sidecar)
    if egress is None:
        services = get(rules.visible_services, scope.sight)
        return listeners.outbound_listeners(
            services, addresses, forward, chains, scope.proxy.capture
        )

    def behind(index: int) -> tuple[Service, ...]:
        return get(rules.listener_services, scope.sight, index)

    return egress_listeners.egress_listeners(
        egress, behind, addresses, forward, chains, scope.proxy.capture
    )


@formula
def listeners_by_name(get: Reader, scope: Scope) -> MappingProxyType[str, OutboundListener]:
    found = {
        listener_translation.outbound_listener_name(listener): listener
        for listener in get(compiled_listeners, scope).value
    }
    port = get(mesh_settings).listeners.http_proxy_port
    if port is not None:
        proxy = egress_listeners.mesh_proxy(port)
        found.setdefault(listener_translation.outbound_listener_name(proxy), proxy)
    return MappingProxyType(found)


@formula
def listener_of_name(get: Reader, scope: Scope, name: str) -> OutboundListener | None:
    return get(listeners_by_name, scope).get(name)


@formula
def listener_names(get: Reader, scope: Scope) -> tuple[str, ...]:
    return (names.VIRTUAL_OUTBOUND, *sorted(get(listeners_by_name, scope)))


@formula
def listener_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    settings = get(listener_settings, scope)
    if name == names.VIRTUAL_OUTBOUND:
        return encode(name, listener_translation.virtual_outbound(settings))
    found = get(listener_of_name, scope.routing, name)
    if found is None:
        return None
    return encode(name, listener_translation.outbound_listener(found, settings))


@formula
def listener_conflicts(get: Reader, scope: Scope) -> tuple[Problem, ...]:
    return get(compiled_listeners, scope).problems
