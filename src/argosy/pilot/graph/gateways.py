"""Formulas of gateways: the listeners that a gateway proxy opens, and their routes."""

from dataclasses import astuple, replace
from types import MappingProxyType

from argosy.api import core_pod
from argosy.api.networking_gateway import Gateway
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Compiled
from argosy.derive import Reader, formula
from argosy.model.gateway import GatewayHttp, GatewayListener, GatewayServer
from argosy.model.listener import OpaqueChain
from argosy.model.proxy import ClusterKey, ProxyType, Role, Sight
from argosy.model.route import Attachment, RouteTable
from argosy.model.secret import (
    AuthoritiesReference,
    CredentialReference,
    Flaw,
    PairReference,
    SecretReference,
)
from argosy.model.server_tls import AutoPassthroughTls, PassthroughTls, TerminatedTls
from argosy.model.telemetry import Mode
from argosy.model.traffic import Cluster
from argosy.pilot.compile import (
    gateway_listeners,
    gateway_routes,
    gateways,
    listeners,
    tcp_routes,
)
from argosy.pilot.compile.ingresses import ingress_of
from argosy.pilot.compile.proxy_configs import personal
from argosy.pilot.compile.roles import role_of
from argosy.pilot.compile.routes import Listening
from argosy.pilot.graph import (
    authorization,
    destinations,
    ingresses,
    proxy_configs,
    rules,
    telemetry,
)
from argosy.pilot.graph.credentials import credential
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.rate_limits import limits_of
from argosy.pilot.graph.request_authn import request_authn
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.world import annotated, keys, mesh_settings, read, services_of_labels
from argosy.pilot.translate import (
    cluster,
    gateway_listener,
    http_connection_manager,
    names,
    route,
)
from argosy.pilot.translate.proxy_traffic import apply_to_cluster

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

    def forward(server: GatewayServer) -> tuple[OpaqueChain, ...]:
        return get(chains_of, role, server)

    def is_usable(server: GatewayServer) -> bool:
        return not get(flaws_of, role.namespace, server)

    return gateway_listeners.gateway_listeners(servers, port_of, forward, is_usable)


@formula
def chains_of(get: Reader, role: Role, server: GatewayServer) -> tuple[OpaqueChain, ...]:
    """Where a server's opaque bytes go: by TLS rules where TLS passes through, else by TCP rules."""
    scope = get(scope_of, role)
    name = f"{server.gateway.namespace}/{server.gateway.name}"
    by_name = isinstance(server.tls, PassthroughTls)
    of = rules.tls_rules_of if by_name else rules.tcp_rules_of
    attached = ((attachment, get(of, attachment.object)) for attachment in get(bound_to, name))
    found = tcp_routes.gateway_routes(
        server.hosts,
        Listening(name, server.port, tls=server.tls is not None),
        attached,
        scope,
        rules.Lookup(get, scope),
    )

    def find(key: ClusterKey) -> Cluster | None:
        return get(destinations.cluster, scope, key)

    return tuple(
        OpaqueChain(
            listeners.forward_targets(route.targets, find, server.name),
            route.subnets,
            route.server_names,
        )
        for route in found
    )


@formula
def flaws_of(
    get: Reader, namespace: Namespace, server: GatewayServer
) -> tuple[tuple[CredentialReference, Flaw], ...]:
    """What keeps proxies in ``namespace`` from serving it: credentials that are not there, or bad."""
    if not isinstance(server.tls, TerminatedTls):
        return ()
    return tuple(
        (reference, found)
        for reference in server.tls.references
        if isinstance(reference, PairReference | AuthoritiesReference)
        if isinstance(found := get(credential, namespace, reference), Flaw)
    )


@formula
def references_of(get: Reader, role: Role) -> frozenset[SecretReference]:
    """What the proxy's servers need to speak TLS."""
    return frozenset(
        reference
        for key in get(gateways_of, role)
        for server in get(compiled_servers, key.namespace, key.name).value
        if isinstance(server.tls, TerminatedTls)
        for reference in server.tls.references
    )


@formula
def listeners_by_name(get: Reader, role: Role) -> MappingProxyType[str, GatewayListener]:
    return MappingProxyType(
        {
            gateway_listener.gateway_listener_name(listener): listener
            for listener in get(compiled_listeners, role).value
        }
    )


@formula
def listener_names(get: Reader, role: Role) -> tuple[str, ...]:
    return tuple(sorted(get(listeners_by_name, role)))


@formula
def listener_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    found = get(listeners_by_name, role).get(name)
    if found is None:
        return None
    sight = Sight(role.namespace)
    dynamic = get(rules.has_dynamic_hosts, sight)
    own = get(telemetry.own_telemetries, role)
    usual = replace(
        get(mesh_settings).listeners,
        telemetry=get(telemetry.telemetry, sight, own, Mode.CLIENT),
        dynamic_hosts=dynamic,
        authorization=get(authorization.authorization_of, role),
        request_authn=get(request_authn, role),
        limits=get(limits_of, role),
    )
    settings = personal(usual, get(proxy_configs.traffic_of, role))
    return encode(name, gateway_listener.gateway_listener(found, settings))


# Clusters by the server name of mesh TLS.


@formula
def sni_cluster_names(get: Reader, role: Role) -> tuple[str, ...]:
    """Every cluster again under the server name that clients use for it, if a server needs them."""
    passes = any(
        isinstance(server.tls, AutoPassthroughTls)
        for key in get(gateways_of, role)
        for server in get(compiled_servers, key.namespace, key.name).value
    )
    if not passes:
        return ()
    scope = get(scope_of, role)
    found = (
        names.get_cluster_key(name)
        for service in get(rules.visible_services, scope.sight)
        for name in get(destinations.service_clusters, scope, service.hostname)
    )
    return tuple(sorted(names.outbound_sni(*astuple(key)) for key in found if key is not None))


@formula
def sni_cluster_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    key = names.get_sni_key(name)
    if key is None or name not in get(sni_cluster_names, role):
        return None
    scope = get(scope_of, role)
    found = get(destinations.cluster, scope, key)
    if found is None:
        return None
    return encode(name, apply_to_cluster(cluster.sni_cluster(found), scope.proxy))


@formula
def bound_to(get: Reader, name: str) -> tuple[Attachment, ...]:
    """The VirtualServices that are bound to the gateway ``<namespace>/<name>``."""
    return tuple(a for a in get(rules.attachments) if name in a.gateways)


@formula
def tables_by_name(get: Reader, role: Role) -> MappingProxyType[str, GatewayHttp]:
    """The route tables that the proxy's listeners name."""
    return MappingProxyType(
        {
            http_connection_manager.route_table_name(http.routes): http
            for listener in get(compiled_listeners, role).value
            for http in listener.tables
        }
    )


@formula
def table_names(get: Reader, role: Role) -> tuple[str, ...]:
    return tuple(sorted(get(tables_by_name, role)))


@formula
def compiled_table(get: Reader, role: Role, name: str) -> Compiled[RouteTable] | None:
    """The routes of the HTTP servers that share one route table."""
    http = get(tables_by_name, role).get(name)
    if http is None:
        return None
    scope = get(scope_of, role)
    names = sorted({server.gateway for server in http.servers})
    attached = {a: get(rules.rules_of, a.object) for n in names for a in get(bound_to, n)}
    lookup = rules.Lookup(get, scope)
    return gateway_routes.gateway_table(name, http.servers, tuple(attached.items()), scope, lookup)


@formula
def route_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    compiled = get(compiled_table, role, name)
    if compiled is None:
        return None
    counted = get(proxy_configs.traffic_of, role).attempt_count
    table = replace(compiled.value, attempt_count=counted)
    return encode(name, route.route_configuration(table))


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
