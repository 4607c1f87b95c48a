"""What a proxy's own configuration sets in its connection managers, listeners and clusters.

Model value in, parts of a message out; what it says nothing of stays as it was.
"""

from datetime import timedelta
from typing import TypeAlias

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.duration_pb2 import Duration

from argosy.model.proxy_traffic import CertDetails, Connections, ProxyTraffic

CONNECTION_LIMIT_FILTER = "envoy.filters.network.connection_limit"
PROXY_PROTOCOL_FILTER = "envoy.filters.listener.proxy_protocol"
_Manager: TypeAlias = http_connection_manager_pb2.HttpConnectionManager
_Common: TypeAlias = protocol_pb2.HttpProtocolOptions
_UNDERSCORES = {
    "ALLOW": _Common.ALLOW,
    "REJECT_REQUEST": _Common.REJECT_REQUEST,
    "DROP_HEADER": _Common.DROP_HEADER,
}


def apply_to_manager(manager: _Manager, proxy: ProxyTraffic, client_cert: str) -> None:
    """``client_cert`` is Envoy's name of what becomes of X-Forwarded-Client-Cert, if it is set."""
    if proxy.server == "":
        manager.ClearField("server_name")
        manager.server_header_transformation = _Manager.PASS_THROUGH
    elif proxy.server is not None:
        manager.server_name = proxy.server
    if not proxy.request_id:
        manager.generate_request_id.value = False
    if client_cert:
        manager.forward_client_cert_details = _Manager.ForwardClientCertDetails.Value(client_cert)
    if proxy.cert_details is not None:
        _cert_details(manager, proxy.cert_details)
    _connections(manager, proxy.connections)


def apply_to_listener(listener: listener_pb2.Listener, proxy: ProxyTraffic) -> None:
    if proxy.connections.buffer_limit is not None:
        listener.per_connection_buffer_limit_bytes.value = proxy.connections.buffer_limit


def limit_connections(listener: listener_pb2.Listener, proxy: ProxyTraffic) -> None:
    """Close those that are one too many, before anything is read of them.

    Envoy counts by filter chain: a gateway's servers of TLS and a workload's ports each for itself.
    https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/connection_limit_filter
    """
    if proxy.connections.listener_limit is None:
        return
    limit = connection_limit_pb2.ConnectionLimit(stat_prefix=listener.name)
    limit.max_connections.value = proxy.connections.listener_limit
    first = listener_components_pb2.Filter(name=CONNECTION_LIMIT_FILTER)
    first.typed_config.Pack(limit, deterministic=True)
    default = [listener.default_filter_chain] if listener.HasField("default_filter_chain") else []
    for chain in (*listener.filter_chains, *default):
        rest = list(chain.filters)
        del chain.filters[:]
        chain.filters.extend([first, *rest])


def apply_to_cluster(cluster: cluster_pb2.Cluster, proxy: ProxyTraffic) -> cluster_pb2.Cluster:
    limit = proxy.connections.cluster_buffer_limit
    if limit is not None:
        cluster.per_connection_buffer_limit_bytes.value = limit
    return cluster


def expect_proxy_protocol(listener: listener_pb2.Listener) -> None:
    """Every connection begins with a PROXY header, which says who the client is."""
    proto = listener.listener_filters.add(name=PROXY_PROTOCOL_FILTER)
    proto.typed_config.Pack(proxy_protocol_pb2.ProxyProtocol(), deterministic=True)


def _cert_details(manager: _Manager, details: CertDetails) -> None:
    proto = manager.set_current_client_cert_details
    if details.subject is not None:
        proto.subject.value = details.subject
    if details.cert is not None:
        proto.cert = details.cert
    if details.chain is not None:
        proto.chain = details.chain
    if details.dns is not None:
        proto.dns = details.dns
    if details.uri is not None:
        proto.uri = details.uri


def _connections(manager: _Manager, settings: Connections) -> None:
    common = manager.common_http_protocol_options
    _set(manager.drain_timeout, settings.drain_timeout)
    _set(manager.request_timeout, settings.request_timeout)
    _set(manager.request_headers_timeout, settings.headers_timeout)
    _set(manager.stream_idle_timeout, settings.stream_idle_timeout)
    if settings.idle_timeout is not None:
        common.idle_timeout.FromTimedelta(settings.idle_timeout)
    if settings.max_connection_duration is not None:
        common.max_connection_duration.FromTimedelta(settings.max_connection_duration)
    if settings.max_stream_duration is not None:
        common.max_stream_duration.FromTimedelta(settings.max_stream_duration)
    if settings.underscores:
        common.headers_with_underscores_action = _UNDERSCORES[settings.underscores]
    http2 = manager.http2_protocol_options
    if settings.max_concurrent_streams is not None:
        http2.max_concurrent_streams.value = settings.max_concurrent_streams
    if settings.stream_window is not None:
        http2.initial_stream_window_size.value = settings.stream_window
    if settings.connection_window is not None:
        http2.initial_connection_window_size.value = settings.connection_window
    if settings.merge_slashes is not None:
        manager.merge_slashes = settings.merge_slashes
    if settings.escaped_slashes:
        manager.path_with_escaped_slashes_action = _Manager.PathWithEscapedSlashesAction.Value(
            settings.escaped_slashes
        )


def _set(field: Duration, value: timedelta | None) -> None:
    if value is not None:
        field.FromTimedelta(value)
