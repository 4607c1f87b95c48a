"""Formulas of what a sidecar's own side needs: equal for all replicas of a workload."""

from dataclasses import replace

from argosy.base.problems import Compiled
from argosy.derive import Reader, formula
from argosy.model.application import ApplicationEndpoint, Loopback, OwnAddress
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundListener, InboundPort
from argosy.model.proxy import Role
from argosy.model.service import Service
from argosy.model.telemetry import Mode
from argosy.model.traffic import ApplicationCluster, ConnectionPool
from argosy.pilot.compile import applications, destinations, endpoints, inbound, port_policies
from argosy.pilot.compile.proxy_configs import personal
from argosy.pilot.graph import authorization, proxy_configs, sidecars, telemetry
from argosy.pilot.graph import destinations as destination_formulas
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.rate_limits import limits_of_server
from argosy.pilot.graph.request_authn import request_authn
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.world import demands, mesh_settings, services_of_labels
from argosy.pilot.translate import cluster as cluster_translation
from argosy.pilot.translate import inbound_listener as listener_translation
from argosy.pilot.translate import names
from argosy.pilot.translate.proxy_traffic import apply_to_cluster

_PREFIX = names.inbound_cluster(0).partition("|")[0] + "|"


def is_own_cluster(name: str) -> bool:
    """Whether a cluster leads to the application beside the proxy."""
    return name.startswith(_PREFIX) or name == names.INBOUND_PASSTHROUGH_CLUSTER


def is_own_listener(name: str) -> bool:
    """Whether a sidecar's listener is for those who call its workload."""
    return name == names.VIRTUAL_INBOUND or name.startswith(names.BOUND_INBOUND_PREFIX)


@formula
def own_services(get: Reader, role: Role) -> tuple[Service, ...]:
    """The services that select the workload, with its own ports as targets."""
    found = get(services_of_labels, role.namespace, role.labels)
    if role.entry_ports is None:
        return found
    return tuple(endpoints.as_entry_has_it(service, role.entry_ports) for service in found)


@formula
def compiled_listener(get: Reader, role: Role) -> Compiled[InboundListener]:
    """What the workload answers on, and what it demands there."""
    services = get(own_services, role)
    wanted = get(demands, role.namespace, role.labels)

    def mode(port: int | None) -> MtlsMode:
        return wanted.mode(port)

    written = get(sidecars.ingress, role)
    ports = (port for port, _ in wanted.ports)
    if written is not None and written.listeners:
        return Compiled(inbound.ingress_listener(written, services, role.ports, mode, ports))
    return inbound.inbound_listener(services, role.ports, mode, ports, role.capture)


@formula
def bound_ports(get: Reader, role: Role) -> tuple[InboundPort, ...]:
    """Those that the proxy has sockets for."""
    return tuple(port for port in get(compiled_listener, role).value.ports if port.bind)


@formula
def listener_names(get: Reader, role: Role) -> tuple[str, ...]:
    own = (listener_translation.bound_inbound_name(port) for port in get(bound_ports, role))
    return (names.VIRTUAL_INBOUND, *own)


@formula
def listener_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    scope = get(scope_of, role)
    usual = replace(
        get(mesh_settings).listeners,
        telemetry=get(telemetry.telemetry, scope.sight, scope.telemetry, Mode.SERVER),
        authorization=get(authorization.authorization_of, role),
        request_authn=get(request_authn, role),
        limits=get(limits_of_server, role),
    )
    settings = personal(usual, get(proxy_configs.traffic_of, role))
    if name == names.VIRTUAL_INBOUND:
        listener = get(compiled_listener, role).value
        return encode(name, listener_translation.virtual_inbound(listener, settings))
    for port in get(bound_ports, role):
        if listener_translation.bound_inbound_name(port) == name:
            return encode(name, listener_translation.bound_inbound(port, settings))
    return None


@formula
def application_ports(get: Reader, role: Role) -> tuple[InboundPort, ...]:
    """Those that the workload answers on, and those of its services that its Sidecar leaves out.

    Nothing new is sent to the latter's clusters. But connections that are open when the Sidecar
    comes go on with the filter chains from before until they are drained, and find them there.
    """
    listener = get(compiled_listener, role).value
    wanted = get(demands, role.namespace, role.labels)
    services = get(own_services, role)
    named = inbound.inbound_listener(services, role.ports, lambda port: wanted.mode(port)).value
    ports = {port.port: port for port in (*named.ports, *listener.ports)}
    return tuple(ports[number] for number in sorted(ports))


@formula
def application_clusters(get: Reader, role: Role) -> tuple[ApplicationCluster, ...]:
    """The workload's ports that services name, or its Sidecar, sorted."""
    services = get(own_services, role)
    traffic = get(mesh_settings).traffic
    written = get(sidecars.ingress, role)
    own = {} if written is None else {one.port: one for one in written.listeners}

    def pool(port: InboundPort) -> ConnectionPool:
        listening = own.get(port.port)
        if listening is not None and listening.pool is not None:
            return listening.pool
        if written is not None and written.pool is not None:
            return written.pool
        return get(service_pool, role, port)

    def endpoint(port: InboundPort) -> ApplicationEndpoint:
        listening = own.get(port.port)
        if listening is not None:
            return listening.endpoint
        return Loopback("127.0.0.1", port.port) if traffic.loopback else OwnAddress()

    return applications.application_clusters(
        get(application_ports, role),
        services,
        role.ports,
        pool,
        endpoint,
        traffic.inbound_stat_name,
    )


@formula
def service_pool(get: Reader, role: Role, port: InboundPort) -> ConnectionPool:
    """The limits that the service's DestinationRule sets hold on the server's side too.

    https://istio.io/latest/docs/reference/config/networking/sidecar/#Sidecar-inbound_connection_pool
    """
    traffic = get(mesh_settings).traffic
    rule = get(destination_formulas.chosen, get(scope_of, role), port.host) if port.host else None
    policy = port_policies.policy_of(rule, port.service_port, "").connection_pool
    return destinations.default_pool(traffic) if policy is None else policy.pool


@formula
def cluster_names(get: Reader, role: Role) -> tuple[str, ...]:
    own = (names.inbound_cluster(cluster.port) for cluster in get(application_clusters, role))
    return (*own, names.INBOUND_PASSTHROUGH_CLUSTER)


@formula
def cluster_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    proxy = get(proxy_configs.traffic_of, role)
    if name == names.INBOUND_PASSTHROUGH_CLUSTER:
        pool = destinations.default_pool(get(mesh_settings).traffic)
        made = cluster_translation.inbound_passthrough_cluster(pool)
        return encode(name, apply_to_cluster(made, proxy))
    for cluster in get(application_clusters, role):
        if names.inbound_cluster(cluster.port) == name:
            made = cluster_translation.application_cluster(cluster)
            return encode(name, apply_to_cluster(made, proxy))
    return None
