"""The outbound listeners of sidecars, as Istio shapes them; parts that gateways' listeners share."""

import ipaddress
from collections.abc import Iterable
from datetime import timedelta
from typing import assert_never

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from argosy.model.listener import (
    WILDCARD,
    DetectingListener,
    HttpListener,
    ListenerSettings,
    OpaqueChain,
    OpaqueListener,
    OutboundListener,
    OutboundTrafficPolicy,
    TcpForward,
    TcpTarget,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.access_log import listener_access_logs
from argosy.pilot.translate.http_connection_manager import outbound_http
from argosy.pilot.translate.listener_filter import (
    HTTP_ALPN,
    HTTP_ALPN_WITH_HTTP10,
    http_inspector,
    tls_inspector,
)
from argosy.pilot.translate.proxy_traffic import apply_to_listener, limit_connections
from argosy.pilot.translate.tcp_proxy import single_cluster, tcp_filters

RAW_BUFFER = "raw_buffer"
UNIX = "unix://"
TLS = "tls"
PASSTHROUGH_FILTER_CHAIN = "PassthroughFilterChain"


def virtual_outbound(settings: ListenerSettings) -> listener_pb2.Listener:
    """Receives every captured connection and hands it to the listener of its destination.

    What has none goes on to where the client meant it, or is closed under REGISTRY_ONLY.
    """
    port = settings.proxy.capture.outbound
    proto = listener_defaults(names.VIRTUAL_OUTBOUND, WILDCARD, port, settings)
    # This also restores the original destination: Envoy adds that listener filter by itself.
    proto.use_original_dst.value = True

    # Whoever dials this port itself would be sent back to it for ever.
    loop = proto.filter_chains.add(name=names.VIRTUAL_OUTBOUND_BLACKHOLE)
    loop.filter_chain_match.destination_port.value = port
    loop.filters.append(single_cluster(names.BLACK_HOLE_CLUSTER, settings))

    unknown = proto.filter_chains.add(name=names.VIRTUAL_OUTBOUND_CATCHALL_TCP)
    unknown.filters.extend(unknown_filters(settings))
    limit_connections(proto, settings.proxy)
    return proto


def outbound_listener_name(listener: OutboundListener) -> str:
    return names.address_listener(listener.address, listener.port)


def outbound_listener(
    listener: OutboundListener, settings: ListenerSettings
) -> listener_pb2.Listener:
    """One that opens no socket unless it is bound: ``virtualOutbound`` hands it connections."""
    name = outbound_listener_name(listener)
    proto = listener_defaults(name, listener.address, listener.port, settings)
    if not listener.bound:
        proto.bind_to_port.value = False
    proto.continue_on_listener_filters_timeout = True
    proto.listener_filters_timeout.FromTimedelta(timedelta(0))
    chains = () if isinstance(listener, HttpListener) else listener.chains
    if any(chain.server_names for chain in chains):
        proto.listener_filters_timeout.FromTimedelta(settings.detection_timeout)
    add_opaque_chains(proto, chains, settings)
    match listener:
        case OpaqueListener(tcp=tcp):
            if chains or tcp is None:
                _otherwise(proto.default_filter_chain, tcp, settings)
            else:
                proto.filter_chains.add().filters.extend(tcp_filters(tcp, settings))
        case DetectingListener(routes=routes, tcp=tcp):
            # Istio has a TLS inspector here too. Unless a chain asks for it, it only holds back
            # opaque bytes until there are five: a client that says "hi" would wait for ever.
            proto.listener_filters.append(http_inspector())
            proto.listener_filters_timeout.FromTimedelta(settings.detection_timeout)
            http = proto.filter_chains.add()
            http.filter_chain_match.transport_protocol = RAW_BUFFER
            http.filter_chain_match.application_protocols.extend(detected_http(settings))
            http.filters.append(outbound_http(name, routes, settings))
            _otherwise(proto.default_filter_chain, tcp, settings)
        case HttpListener(routes=routes, absolute_urls=absolute):
            http = proto.filter_chains.add()
            http.filters.append(outbound_http(name, routes, settings, absolute_urls=absolute))
        case _:
            assert_never(listener)
    limit_connections(proto, settings.proxy)
    return proto


def _otherwise(
    chain: listener_components_pb2.FilterChain,
    tcp: TcpForward | None,
    settings: ListenerSettings,
) -> None:
    """For connections that no chain's match is for."""
    if tcp is None:
        chain.name = PASSTHROUGH_FILTER_CHAIN
        chain.filters.extend(unknown_filters(settings))
    else:
        chain.filters.extend(tcp_filters(tcp, settings))


def add_opaque_chains(
    proto: listener_pb2.Listener, chains: tuple[OpaqueChain, ...], settings: ListenerSettings
) -> None:
    """One filter chain for each; what none of them takes is left to the default chain."""
    if any(chain.server_names for chain in chains):
        proto.listener_filters.append(tls_inspector())
    for chain in chains:
        added = proto.filter_chains.add()
        match_chain(added, chain.networks, chain.server_names)
        added.filters.extend(tcp_filters(chain.tcp, settings))


def match_chain(
    proto: listener_components_pb2.FilterChain,
    networks: Iterable[str],
    server_names: tuple[str, ...],
) -> None:
    """``networks`` in CIDR notation; nothing given matches everything."""
    for text in networks:
        network = ipaddress.ip_network(text, strict=False)
        block = proto.filter_chain_match.prefix_ranges.add()
        block.address_prefix = str(network.network_address)
        block.prefix_len.value = network.prefixlen
    if server_names:
        proto.filter_chain_match.transport_protocol = TLS
        proto.filter_chain_match.server_names.extend(server_names)


def unknown_filters(settings: ListenerSettings) -> list[listener_components_pb2.Filter]:
    """What becomes of bytes for destinations unknown to the mesh."""
    if settings.egress_proxy is not None and settings.outbound is OutboundTrafficPolicy.ALLOW_ANY:
        # The proxy's port may be HTTP, and its cluster say so in TLS: these bytes need not be.
        target = TcpTarget(settings.egress_proxy)
        return tcp_filters(TcpForward((target,), opaque_to_detecting=True), settings)
    return [single_cluster(egress_cluster(settings), settings)]


def egress_cluster(settings: ListenerSettings) -> str:
    """Where bytes for destinations unknown to the mesh go."""
    match settings.outbound:
        case OutboundTrafficPolicy.ALLOW_ANY | OutboundTrafficPolicy.ALLOW_ANY_DYNAMIC_DNS:
            return names.PASSTHROUGH_CLUSTER
        case OutboundTrafficPolicy.REGISTRY_ONLY:
            return names.BLACK_HOLE_CLUSTER
        case _:
            assert_never(settings.outbound)


def detected_http(settings: ListenerSettings) -> tuple[str, ...]:
    """What the HTTP inspector must find for a connection to be served as HTTP."""
    return HTTP_ALPN_WITH_HTTP10 if settings.http10 else HTTP_ALPN


def listener_defaults(
    name: str, address: str, port: int, settings: ListenerSettings
) -> listener_pb2.Listener:
    proto = listener_pb2.Listener(name=name, traffic_direction=base_pb2.OUTBOUND)
    set_address(proto.address, address, port)
    proto.access_log.extend(listener_access_logs(settings.telemetry))
    apply_to_listener(proto, settings.proxy)
    return proto


def set_address(proto: address_pb2.Address, address: str, port: int) -> None:
    """An IP address and port, or ``unix://<path>``."""
    if address.startswith(UNIX):
        proto.pipe.path = address.removeprefix(UNIX)
        return
    proto.socket_address.address = address
    proto.socket_address.port_value = port
