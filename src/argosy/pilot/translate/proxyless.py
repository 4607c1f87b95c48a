"""Resources for gRPC libraries that speak xDS themselves.

They understand a part of Envoy's API and refuse some of the rest, so nothing is here that the
gRFCs do not name: A27 (load balancing), A28 (routes), A29 (security), A31 (timeouts),
A33 (faults), A36 (servers), A42 (ring hash), A44 (retries). https://github.com/grpc/proposal
"""

from collections.abc import Iterable

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from argosy.model.locality import LocalityGroup
from argosy.model.proxyless import ServerListener
from argosy.model.route import RouteTable, RouteTo
from argosy.model.traffic import (
    UNLIMITED,
    Cluster,
    ExactName,
    Maglev,
    MeshTls,
    PeerNames,
    RingHash,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.endpoint import cluster_load_assignment
from argosy.pilot.translate.fault import FAULT_FILTER
from argosy.pilot.translate.route import route_configuration
from argosy.pilot.translate.tls import TLS_SOCKET

PROVIDER = "default"
"""The certificate provider of the bootstrap."""

_ROUTER_FILTER = "envoy.filters.http.router"
_MANAGER = "envoy.filters.network.http_connection_manager"


def client_listener(name: str, route: str) -> listener_pb2.Listener:
    """What a channel to ``xds:///<name>`` asks for: the ``route`` table, and faults."""
    manager = hcm_pb2.HttpConnectionManager(stat_prefix=name)
    manager.rds.route_config_name = route
    manager.rds.config_source.ads.SetInParent()
    fault = manager.http_filters.add(name=FAULT_FILTER)
    fault.typed_config.Pack(fault_pb2.HTTPFault())
    _router(manager)
    listener = listener_pb2.Listener(name=name)
    listener.api_listener.api_listener.Pack(manager, deterministic=True)
    return listener


def server_listener(value: ServerListener) -> listener_pb2.Listener:
    """One chain for every connection; all calls go to the server's own handlers."""
    listener = listener_pb2.Listener(name=value.name, traffic_direction=base_pb2.INBOUND)
    socket = listener.address.socket_address
    socket.address, socket.port_value = value.address, value.port
    chain = listener.filter_chains.add(name="inbound")
    manager = hcm_pb2.HttpConnectionManager(stat_prefix=f"inbound_{value.port}")
    host = manager.route_config.virtual_hosts.add(name="inbound", domains=["*"])
    manager.route_config.name = "inbound"
    route = host.routes.add()
    route.match.prefix = "/"
    route.non_forwarding_action.SetInParent()
    _router(manager)
    chain.filters.add(name=_MANAGER).typed_config.Pack(manager, deterministic=True)
    if value.mtls:
        context = tls_pb2.DownstreamTlsContext()
        context.require_client_certificate.value = True
        _certificates(context.common_tls_context)
        chain.transport_socket.name = TLS_SOCKET
        chain.transport_socket.typed_config.Pack(context, deterministic=True)
    return listener


def routes(table: RouteTable) -> route_pb2.RouteConfiguration:
    """A timeout is where gRPC looks for it (A31): Envoy's own field means nothing there."""
    proto = route_configuration(table)
    for host, model in zip(proto.virtual_hosts, table.virtual_hosts, strict=True):
        for route, written in zip(host.routes, model.routes, strict=True):
            if isinstance(written.action, RouteTo) and written.action.timeout is not None:
                limit = route.route.max_stream_duration.max_stream_duration
                limit.FromTimedelta(written.action.timeout)
    return proto


def cluster(value: Cluster) -> cluster_pb2.Cluster:
    proto = cluster_pb2.Cluster(name=names.cluster_name(value.key), type=cluster_pb2.Cluster.EDS)
    proto.eds_cluster_config.service_name = proto.name
    proto.eds_cluster_config.eds_config.ads.SetInParent()
    if isinstance(value.load_balancer, RingHash | Maglev):
        proto.lb_policy = cluster_pb2.Cluster.RING_HASH
        if isinstance(value.load_balancer, RingHash) and value.load_balancer.minimum_size:
            size = value.load_balancer.minimum_size
            proto.ring_hash_lb_config.minimum_ring_size.value = size
    else:
        proto.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
    if value.connection_pool.max_requests != UNLIMITED:
        limits = proto.circuit_breakers.thresholds.add()
        limits.max_requests.value = value.connection_pool.max_requests
    if isinstance(value.tls, MeshTls):
        context = tls_pb2.UpstreamTlsContext()
        _certificates(context.common_tls_context)
        _match_peers(context.common_tls_context.validation_context, value.tls.peers)
        proto.transport_socket.name = TLS_SOCKET
        proto.transport_socket.typed_config.Pack(context, deterministic=True)
    return proto


def load_assignment(
    name: str, groups: Iterable[LocalityGroup]
) -> endpoint_pb2.ClusterLoadAssignment:
    """As for Envoy, but that every locality is spelled out, the empty one too."""
    proto = cluster_load_assignment(name, groups)
    for localized in proto.endpoints:
        localized.locality.SetInParent()
    return proto


def _router(manager: hcm_pb2.HttpConnectionManager) -> None:
    manager.http_filters.add(name=_ROUTER_FILTER).typed_config.Pack(router_pb2.Router())


def _certificates(common: tls_pb2.CommonTlsContext) -> None:
    own = common.tls_certificate_provider_instance
    own.instance_name, own.certificate_name = PROVIDER, names.DEFAULT_SECRET
    roots = common.validation_context.ca_certificate_provider_instance
    roots.instance_name, roots.certificate_name = PROVIDER, names.ROOT_SECRET


def _match_peers(validation: common_pb2.CertificateValidationContext, peers: PeerNames) -> None:
    """In the older field: not every gRPC library reads the typed one."""
    for peer in peers:
        matcher = validation.match_subject_alt_names.add()
        if isinstance(peer, ExactName):
            matcher.exact = peer.value
        else:
            matcher.prefix = peer.value
