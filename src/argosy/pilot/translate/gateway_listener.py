"""The listeners of gateways, as Istio shapes them."""

from datetime import timedelta
from typing import assert_never

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from argosy.model.gateway import (
    GatewayHttp,
    GatewayListener,
    GatewayTcp,
    GatewayTls,
    Refusal,
    SniForward,
    TlsChain,
)
from argosy.model.listener import ListenerSettings, OpaqueChain
from argosy.model.server_tls import MeshCertificates
from argosy.pilot.translate import names
from argosy.pilot.translate.access_log import apply_tcp_access_logs
from argosy.pilot.translate.authorization import network_filters
from argosy.pilot.translate.http_connection_manager import gateway_http
from argosy.pilot.translate.listener import add_opaque_chains, listener_defaults, match_chain
from argosy.pilot.translate.listener_filter import tls_inspector
from argosy.pilot.translate.proxy_traffic import expect_proxy_protocol, limit_connections
from argosy.pilot.translate.server_tls import terminated_context
from argosy.pilot.translate.tcp_proxy import (
    TCP_PROXY_FILTER,
    network_filter,
    single_cluster,
    tcp_filters,
)
from argosy.pilot.translate.tls import MESH_ALPN, tls_transport_socket

SNI_CLUSTER_FILTER = "envoy.filters.network.sni_cluster"


def gateway_listener_name(listener: GatewayListener) -> str:
    return names.address_listener(listener.address, listener.port)


def gateway_listener(
    listener: GatewayListener, settings: ListenerSettings
) -> listener_pb2.Listener:
    name = gateway_listener_name(listener)
    proto = listener_defaults(name, listener.address, listener.port, settings)
    proto.listener_filters_timeout.FromTimedelta(timedelta(0))
    if settings.proxy.proxy_protocol:
        expect_proxy_protocol(proto)
    match listener.serves:
        case GatewayHttp():
            proto.filter_chains.add().filters.append(_http(name, listener.serves, settings))
        case GatewayTcp(chains=chains):
            add_opaque_chains(proto, chains, settings)
        case GatewayTls(chains):
            proto.listener_filters.append(tls_inspector())
            for chain in chains:
                proto.filter_chains.append(_tls_chain(name, chain, settings))
        case _:
            assert_never(listener.serves)
    limit_connections(proto, settings.proxy)
    return proto


def _tls_chain(
    name: str, chain: TlsChain, settings: ListenerSettings
) -> listener_components_pb2.FilterChain:
    proto = listener_components_pb2.FilterChain()
    match_chain(proto, chain.networks, chain.server_names)
    match chain.serves:
        case GatewayHttp():
            meshed = chain.tls is not None and isinstance(chain.tls.certificates, MeshCertificates)
            proto.filters.append(_http(name, chain.serves, settings, authenticated=meshed))
        case OpaqueChain(tcp=tcp):
            proto.filters.extend(tcp_filters(tcp, settings))
        case SniForward():
            proto.filter_chain_match.application_protocols.extend(MESH_ALPN)
            proto.filters.extend(_by_server_name(settings))
        case Refusal():
            proto.filters.append(single_cluster(names.BLACK_HOLE_CLUSTER, settings))
        case _:
            assert_never(chain.serves)
    if chain.tls is not None:
        http = isinstance(chain.serves, GatewayHttp)
        context = terminated_context(
            chain.tls,
            settings.trust_domains,
            http=http,
            mesh=settings.mesh_tls,
            other=settings.other_tls,
        )
        proto.transport_socket.CopyFrom(tls_transport_socket(context))
    return proto


def _http(
    name: str, http: GatewayHttp, settings: ListenerSettings, *, authenticated: bool = False
) -> listener_components_pb2.Filter:
    return gateway_http(
        name, http.routes, settings, grpc_web=http.grpc_web, authenticated=authenticated
    )


def _by_server_name(settings: ListenerSettings) -> list[listener_components_pb2.Filter]:
    """A filter sets the cluster; one that does not exist closes the connection."""
    choose = listener_components_pb2.Filter(name=SNI_CLUSTER_FILTER)
    choose.typed_config.Pack(sni_cluster_pb2.SniCluster(), deterministic=True)
    forward = tcp_proxy_pb2.TcpProxy(
        stat_prefix=names.BLACK_HOLE_CLUSTER, cluster=names.BLACK_HOLE_CLUSTER
    )
    apply_tcp_access_logs(forward, settings.telemetry)
    authorization = network_filters(settings.authorization.tcp)
    return [*authorization, choose, network_filter(TCP_PROXY_FILTER, forward)]
