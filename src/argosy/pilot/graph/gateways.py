"""Formulas of gateways: the listeners that a gateway proxy opens, and their routes."""

from dataclasses import replace
from types import MappingProxyType

from argosy.api import core_pod
from argosy.api.networking_gateway import Gateway
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Compiled
from argosy.derive import Reader, formula
from argosy.model.gateway import GatewayHttp, GatewayListener, GatewayServer
from argosy.model.listener import TcpForward
from argosy.model.proxy import ClusterKey, ProxyType, Role, Sight
from argosy.model.route import Attachment, RouteTable
from argosy.model.traffic import Cluster
from argosy.pilot.compile import gateway_routes, gateways, listeners, tcp_routes
from argosy.pilot.compile.ingresses import ingress_of
from argosy.pilot.compile.roles import role_of
from argosy.pilot.compile.routes import Listening
from argosy.pilot.graph import destinations, ingresses, rules
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.world import annotated, keys, mesh_settings, read, services_of_labels
from argosy.pilot.translate import http_connection_manager, route
from argosy.pilot.translate import listener as listener_translation

KIND = "Gateway"


@formula
def gateway(get: Reader, namespace: Namespace, name: str) -> Gateway | None:
    """As written, or as an Ingress stands for it."""
    if ingress_of(name) is not None:
        return get(ingresses.gateway, namespace, name)
    return read(get, ObjectKey(KIND, namespace, name), Gateway)


@formula
def compiled_servers(
    get: Reader, namespace: Namespace, name: str
) -> Compiled[tuple[GatewayServer, ...]]:
    found = get(gateway, namespace, name)
    return Compiled(()) if found is None else gateways.gateway_servers(found)


@formula
def gateways_of(get: Reader, role: Role) -> tuple[ObjectKey, ...]:
    """The Gateways that select the proxy, oldest first."""
    found = []
    for key in (*keys(get, KIND), *get(ingresses.gateway_keys)):
        written = get(gateway, key.namespace, key.name)
        if written is not None and gateways.gateway_selects(written, role.labels):
            found.append((written.metadata.creation_timestamp, key))
    return tuple(key for _, key in sorted(found))


@formula
def compiled_listeners(get: Reader, role: Role) -> Compiled[tuple[GatewayListener, ...]]:
    servers = (
        server
        for key in get(gateways_of, role)
        for server in get(compiled_servers, key.namespace, key.name).value
    )
    services = get(services_of_labels, role.namespace, role.labels)

    def port_of(number: int) -> int:
        return gateways.listen_port(number, services, role.ports)

    def forward(server: GatewayServer) -> TcpForward | None:
        return get(tcp_forward, role, server)

    return gateways.gateway_listeners(servers, port_of, forward)


@formula
def tcp_forward(get: Reader, role: Role, server: GatewayServer) -> TcpForward | None:
    """Where a TCP server's connections go."""
    scope = get(scope_of, role)
    name = f"{server.gateway.namespace}/{server.gateway.name}"
    attached = (
        (attachment, get(rules.tcp_rules_of, attachment.object))
        for attachment in get(bound_to, name)
    )
    targets = tcp_routes.gateway_targets(
        server.hosts,
        Listening(name, server.port),
        attached,
        scope,
        rules.Lookup(get, scope),
    )

    def find(key: ClusterKey) -> Cluster | None:
        return get(destinations.cluster, scope, key)

    return listeners.forward_targets(targets, find, server.name) if targets else None


@formula
def listeners_by_name(get: Reader, role: Role) -> MappingProxyType[str, GatewayListener]:
    return MappingProxyType(
        {
            listener_translation.gateway_listener_name(listener): listener
            for listener in get(compiled_listeners, role).value
        }
    )


@formula
def listener_names(get: Reader, role: Role) -> tuple[str, ...]:
    """Only those that Envoy would take: a TCP server without route has no listener."""
    return tuple(
        name
        for name in sorted(get(listeners_by_name, role))
        if get(listener_resource, role, name) is not None
    )


@formula
def listener_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    found = get(listeners_by_name, role).get(name)
    if found is None:
        return None
    sight = Sight(role.namespace)
    dynamic = get(rules.has_dynamic_hosts, sight)
    settings = replace(get(mesh_settings).listeners, dynamic_hosts=dynamic)
    message = listener_translation.gateway_listener(found, settings)
    return None if message is None else encode(name, message)


@formula
def bound_to(get: Reader, name: str) -> tuple[Attachment, ...]:
    """The VirtualServices that are bound to the gateway ``<namespace>/<name>``."""
    return tuple(a for a in get(rules.attachments) if name in a.gateways)


@formula
def table_names(get: Reader, role: Role) -> tuple[str, ...]:
    """The route tables that the proxy's listeners name."""
    return tuple(
        sorted(
            http_connection_manager.route_table_name(listener.serves.routes)
            for listener in get(compiled_listeners, role).value
            if isinstance(listener.serves, GatewayHttp)
        )
    )


@formula
def compiled_table(get: Reader, role: Role, name: str) -> Compiled[RouteTable] | None:
    """The routes of the HTTP servers that share one route table."""
    for listener in get(compiled_listeners, role).value:
        if not isinstance(listener.serves, GatewayHttp):
            continue
        if http_connection_manager.route_table_name(listener.serves.routes) != name:
            continue
        scope = get(scope_of, role)
        names = sorted({server.gateway for server in listener.serves.servers})
        attached = {a: get(rules.rules_of, a.object) for n in names for a in get(bound_to, n)}
        return gateway_routes.gateway_table(
            name,
            listener.serves.servers,
            tuple(attached.items()),
            scope,
            rules.Lookup(get, scope),
        )
    return None


@formula
def route_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    compiled = get(compiled_table, role, name)
    return None if compiled is None else encode(name, route.route_configuration(compiled.value))


@formula
def gateway_roles(get: Reader) -> tuple[Role, ...]:
    """The gateway proxies that run, one for each workload."""
    found = set()
    for key in annotated(get, "Pod", core_pod.TEMPLATES_ANNOTATION):
        pod = read(get, key, core_pod.Pod)
        if pod is not None:
            role = role_of(pod)
            if role.type is ProxyType.ROUTER:
                found.add(role)
    return tuple(sorted(found, key=lambda role: (role.namespace, role.labels)))
