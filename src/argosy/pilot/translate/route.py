"""Route tables: model → ``RouteConfiguration``.

Pure and deterministic: equal tables give equal bytes. What users may get wrong, compile has
found already; Envoy accepts every table that is built here.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from envoy.config.route.v3 import route_components_pb2, route_pb2

from argosy.base.names import ObjectKey
from argosy.model.route import (
    DirectResponse,
    Redirect,
    Route,
    RouteTable,
    RouteTo,
    UnknownHosts,
    VirtualHost,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.cors import CORS_FILTER, cors_policy
from argosy.pilot.translate.fault import FAULT_FILTER, http_fault
from argosy.pilot.translate.header_operations import apply_header_operations
from argosy.pilot.translate.route_action import (
    direct_response_action,
    redirect_action,
    route_action,
)
from argosy.pilot.translate.route_match import route_match

MAX_DIRECT_RESPONSE_BODY = 1024 * 1024
"""Bytes. What Istio admits; Envoy's own limit would be 4 KiB."""

_INBOUND_RETRIES = 2


def route_configuration(table: RouteTable) -> route_pb2.RouteConfiguration:
    """Clusters may be missing: Envoy then answers 503, and the rest of the table works."""
    proto = _route_configuration(table.name)
    proto.max_direct_response_body_size_bytes.value = MAX_DIRECT_RESPONSE_BODY
    proto.ignore_port_in_host_matching = table.ignore_port
    proto.virtual_hosts.extend([virtual_host(host) for host in table.virtual_hosts])
    match table.unknown_hosts:
        case UnknownHosts.NOT_FOUND:
            pass
        case UnknownHosts.PASSTHROUGH:
            proxy = table.egress_proxy
            known = names.PASSTHROUGH_CLUSTER if proxy is None else names.cluster_name(proxy)
            proto.virtual_hosts.append(_allow_any(known))
        case UnknownHosts.DYNAMIC:
            proto.virtual_hosts.append(_allow_any(names.DYNAMIC_DNS_CLUSTER))
        case UnknownHosts.BLOCK:
            proto.virtual_hosts.append(_block_all())
        case _:
            assert_never(table.unknown_hosts)
    if not table.attempt_count:
        for host in proto.virtual_hosts:
            host.include_request_attempt_count = False
    return proto


def encoded_route_configuration(
    table: RouteTable, encoded: Callable[[VirtualHost], bytes]
) -> tuple[bytes, ...]:
    """The bytes of ``route_configuration``, in parts: each virtual host is one of its own.

    ``encoded`` gives those, as ``encoded_virtual_host`` does.
    """
    name = route_pb2.RouteConfiguration(name=table.name)
    rest = route_configuration(replace(table, virtual_hosts=()))
    rest.ClearField("name")
    return (_serialized(name), *map(encoded, table.virtual_hosts), _serialized(rest))


def encoded_virtual_host(host: VirtualHost) -> bytes:
    """The virtual host as the bytes it takes in a serialized ``RouteConfiguration``."""
    return _serialized(route_pb2.RouteConfiguration(virtual_hosts=[virtual_host(host)]))


def _serialized(proto: route_pb2.RouteConfiguration) -> bytes:
    return bytes(proto.SerializeToString(deterministic=True))


def virtual_host(host: VirtualHost) -> route_components_pb2.VirtualHost:
    proto = route_components_pb2.VirtualHost(
        name=names.virtual_host(host.host, host.port),
        domains=host.domains + host.aliases,
        routes=[route(one) for one in host.routes],
        include_request_attempt_count=True,
    )
    if host.require_tls:
        proto.require_tls = route_components_pb2.VirtualHost.ALL
    return proto


def route(model: Route) -> route_components_pb2.Route:
    proto = route_components_pb2.Route(
        name=model.name, match=route_match(model.match), stat_prefix=model.stat_prefix
    )
    apply_header_operations(proto, model.headers)
    match model.action:
        case RouteTo(clusters):
            if len(clusters) == 1:
                apply_header_operations(proto, clusters[0].headers)
            proto.route.CopyFrom(route_action(model.action))
        case Redirect():
            proto.redirect.CopyFrom(redirect_action(model.action))
        case DirectResponse():
            proto.direct_response.CopyFrom(direct_response_action(model.action))
        case _:
            assert_never(model.action)
    if model.operation:
        proto.decorator.operation = model.operation
    if model.fault is not None:
        proto.typed_per_filter_config[FAULT_FILTER].Pack(http_fault(model.fault))
    if model.cors is not None:
        proto.typed_per_filter_config[CORS_FILTER].Pack(cors_policy(model.cors))
    if model.virtual_service is not None:
        proto.metadata.filter_metadata["istio"]["config"] = _config_path(model.virtual_service)
    return proto


def _route_configuration(name: str) -> route_pb2.RouteConfiguration:
    proto = route_pb2.RouteConfiguration(name=name)
    proto.validate_clusters.value = False
    return proto


def _allow_any(cluster: str) -> route_components_pb2.VirtualHost:
    proto = _catch_all(names.ALLOW_ANY_VHOST)
    action = proto.routes[0].route
    action.cluster = cluster
    action.timeout.SetInParent()
    action.max_stream_duration.grpc_timeout_header_max.SetInParent()
    return proto


def _block_all() -> route_components_pb2.VirtualHost:
    proto = _catch_all(names.BLOCK_ALL_VHOST)
    proto.routes[0].direct_response.status = 502
    return proto


def _catch_all(name: str) -> route_components_pb2.VirtualHost:
    proto = route_components_pb2.VirtualHost(
        name=name, domains=["*"], include_request_attempt_count=True
    )
    proto.routes.add(name=name).match.prefix = "/"
    return proto


def _config_path(key: ObjectKey) -> str:
    """Where Istio's tools look for the rule behind a route."""
    return f"/apis/networking.istio.io/v1/namespaces/{key.namespace}/virtual-service/{key.name}"
