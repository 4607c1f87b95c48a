"""``envoy.filters.network.http_connection_manager``: as Istio sets it for each kind of proxy."""

from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias, assert_never

from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from argosy.model.listener import (
    GatewayRoutes,
    HostRoutes,
    HttpsRoutes,
    ListenerSettings,
    MeshProxyRoutes,
    PathNormalization,
    PortRoutes,
    RouteTableKey,
    SocketRoutes,
)
from argosy.pilot.translate import names, rate_limit
from argosy.pilot.translate.access_log import http_access_logs
from argosy.pilot.translate.filters import HttpFilterFacts, Side, http_filters
from argosy.pilot.translate.grpc_stats import counts_messages
from argosy.pilot.translate.proxy_traffic import apply_to_manager
from argosy.pilot.translate.tracing import trace
from argosy.pilot.translate.untrusted_headers import drop_claims_of_proxies, drop_from_outside

HTTP_CONNECTION_MANAGER_FILTER = "envoy.filters.network.http_connection_manager"

SERVER_NAME = "istio-envoy"
"""The ``server`` response header of sidecars' inbound side and of gateways.

The outbound side keeps Envoy's own ``envoy``, as Istio's does.
"""

GATEWAY_HEADERS_TIMEOUT = timedelta(seconds=60)
"""Slow senders of request headers lose the stream; clients in the mesh are trusted not to be."""

_Manager: TypeAlias = http_connection_manager_pb2.HttpConnectionManager


def outbound_http(
    listener_name: str,
    routes: RouteTableKey,
    settings: ListenerSettings,
    *,
    absolute_urls: bool = False,
) -> listener_components_pb2.Filter:
    """``absolute_urls``: clients take the listener for their HTTP proxy."""
    manager = _defaults(f"outbound_{listener_name};", settings)
    manager.use_remote_address.value = False
    drop_claims_of_proxies(manager)
    if absolute_urls:
        manager.http_protocol_options.allow_absolute_url.value = True
    _route_by_rds(manager, routes)
    proxy = settings.proxy
    facts = HttpFilterFacts(
        Side.OUTBOUND,
        dynamic_hosts=settings.dynamic_hosts,
        debug_headers=proxy.debug_headers,
        limits=settings.limits,
        counts_messages=counts_messages(settings.telemetry.metrics),
    )
    manager.http_filters.extend(http_filters(facts))
    rate_limit.apply_to_manager(manager, settings.limits)
    apply_to_manager(manager, replace(proxy, cert_details=None), "")
    trace(manager, settings.telemetry.tracing, proxy.tracing)
    return _filter(manager)


def inbound_http(
    stat_prefix: str,
    routes: route_pb2.RouteConfiguration,
    settings: ListenerSettings,
    *,
    authenticated: bool = False,
) -> listener_components_pb2.Filter:
    """``routes`` stand in the listener: there is one route, and it needs no further round trip.

    ``authenticated``: clients have certificates of the mesh.
    """
    manager = _defaults(f"{stat_prefix};", settings)
    if not authenticated:
        drop_claims_of_proxies(manager)
    manager.server_name = SERVER_NAME
    manager.use_remote_address.value = False
    # The application is told who called, and whom that caller had spoken for before.
    manager.forward_client_cert_details = _Manager.APPEND_FORWARD
    details = manager.set_current_client_cert_details
    details.subject.value = True
    details.dns = True
    details.uri = True
    manager.route_config.CopyFrom(routes)
    proxy = settings.proxy
    facts = HttpFilterFacts(
        Side.INBOUND,
        debug_headers=proxy.debug_headers,
        counts_messages=counts_messages(settings.telemetry.metrics),
        request_authn=settings.request_authn,
        limits=settings.limits,
        checks=settings.authorization.http,
    )
    manager.http_filters.extend(http_filters(facts))
    rate_limit.apply_to_manager(manager, settings.limits)
    apply_to_manager(manager, proxy, proxy.forward_client_cert)
    trace(manager, settings.telemetry.tracing, proxy.tracing)
    return _filter(manager)


def gateway_http(
    listener_name: str,
    routes: GatewayRoutes | HttpsRoutes,
    settings: ListenerSettings,
    *,
    grpc_web: bool = False,
    authenticated: bool = False,
) -> listener_components_pb2.Filter:
    """``authenticated``: clients have certificates of the mesh, as at an egress gateway."""
    manager = _defaults(f"outbound_{listener_name};", settings)
    if not authenticated:
        drop_from_outside(manager, keep_envoy=settings.proxy.keep_envoy_headers)
    manager.server_name = SERVER_NAME
    # Clients outside are not believed: their address is the connection's, their XFCC is dropped.
    manager.use_remote_address.value = True
    manager.xff_num_trusted_hops = settings.trusted_proxies
    manager.forward_client_cert_details = _Manager.SANITIZE_SET
    details = manager.set_current_client_cert_details
    details.subject.value = True
    details.cert = True
    details.dns = True
    details.uri = True
    manager.request_headers_timeout.FromTimedelta(GATEWAY_HEADERS_TIMEOUT)
    _route_by_rds(manager, routes)
    proxy = settings.proxy
    facts = HttpFilterFacts(
        Side.GATEWAY,
        grpc_web,
        settings.dynamic_hosts,
        debug_headers=proxy.debug_headers,
        counts_messages=counts_messages(settings.telemetry.metrics),
        checks=settings.authorization.http,
        request_authn=settings.request_authn,
        limits=settings.limits,
    )
    manager.http_filters.extend(http_filters(facts))
    rate_limit.apply_to_manager(manager, settings.limits)
    apply_to_manager(manager, proxy, proxy.forward_client_cert or proxy.gateway_client_cert)
    trace(manager, settings.telemetry.tracing, proxy.tracing, gateway=True)
    return _filter(manager)


def route_table_name(key: RouteTableKey) -> str:
    match key:
        case PortRoutes(port):
            return names.http_route(port)
        case HostRoutes(host, port):
            return names.host_route(host, port)
        case GatewayRoutes(port, bind):
            name = names.gateway_http_route(port)
            return f"{name}.{bind}" if bind else name
        case MeshProxyRoutes():
            return names.MESH_PROXY_ROUTE
        case SocketRoutes(bind):
            return bind
        case HttpsRoutes(port, port_name, gateway, namespace):
            return names.gateway_https_route(port, port_name, gateway, namespace)
        case _:
            assert_never(key)


def _defaults(stat_prefix: str, settings: ListenerSettings) -> _Manager:
    manager = _Manager(stat_prefix=stat_prefix, codec_type=_Manager.AUTO)
    # Streams may be idle for as long as they like: route timeouts bound requests, not silence.
    manager.stream_idle_timeout.FromTimedelta(timedelta(0))
    manager.generate_request_id.value = True
    # No internal_address_config: so no address is internal, and x-envoy-* of no client is obeyed.
    # An empty one would mean the private ranges, and by X-Forwarded-For everybody has such an
    # address. https://istio.io/latest/news/security/istio-security-2024-006/
    manager.proxy_100_continue = True
    manager.upgrade_configs.add().upgrade_type = "websocket"
    # WebSockets cross HTTP/2 hops as extended CONNECT (RFC 8441).
    manager.http2_protocol_options.allow_connect = True
    if settings.http10:
        manager.http_protocol_options.accept_http_10 = True
    _normalize_path(manager, settings.path_normalization)
    manager.access_log.extend(http_access_logs(settings.telemetry))
    return manager


def _normalize_path(manager: _Manager, normalization: PathNormalization) -> None:
    manager.normalize_path.value = normalization is not PathNormalization.NONE
    manager.path_with_escaped_slashes_action = _Manager.KEEP_UNCHANGED
    match normalization:
        case PathNormalization.NONE | PathNormalization.BASE:
            pass
        case PathNormalization.MERGE_SLASHES:
            manager.merge_slashes = True
        case PathNormalization.DECODE_AND_MERGE_SLASHES:
            manager.merge_slashes = True
            manager.path_with_escaped_slashes_action = _Manager.UNESCAPE_AND_FORWARD
        case _:
            assert_never(normalization)


def _route_by_rds(manager: _Manager, routes: RouteTableKey) -> None:
    manager.rds.route_config_name = route_table_name(routes)
    source = manager.rds.config_source
    source.ads.SetInParent()
    source.resource_api_version = 2  # V3
    # A listener never opens without its routes, however late they come.
    source.initial_fetch_timeout.FromTimedelta(timedelta(0))


def _filter(manager: _Manager) -> listener_components_pb2.Filter:
    proto = listener_components_pb2.Filter(name=HTTP_CONNECTION_MANAGER_FILTER)
    proto.typed_config.Pack(manager, deterministic=True)
    return proto
