"""``virtualInbound``: one listener for every connection to a workload, a filter chain per case.

A port's chains follow from its protocol and its mTLS mode. Mesh mTLS is known from other TLS by
its ALPN, which only sidecars offer. What matches no chain of its port is closed: plaintext to a
STRICT port, for one. https://istio.io/latest/docs/concepts/security/#permissive-mode
"""

from dataclasses import dataclass, replace
from typing import assert_never

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from argosy.model.authn import MtlsMode
from argosy.model.listener import (
    WILDCARD,
    InboundListener,
    InboundPort,
    ListenerSettings,
    UnknownPort,
)
from argosy.model.service import Protocol
from argosy.model.traffic import TerminatedTls
from argosy.pilot.translate import names
from argosy.pilot.translate.access_log import listener_access_logs
from argosy.pilot.translate.authorization import network_filters
from argosy.pilot.translate.http_connection_manager import inbound_http
from argosy.pilot.translate.inbound_route import inbound_route
from argosy.pilot.translate.listener import RAW_BUFFER, detected_http, set_address
from argosy.pilot.translate.listener_filter import (
    HTTP_ALPN,
    http_inspector,
    not_on_ports,
    on_ports,
    original_dst,
    tls_inspector,
)
from argosy.pilot.translate.proxy_traffic import apply_to_listener, limit_connections
from argosy.pilot.translate.tcp_proxy import single_cluster
from argosy.pilot.translate.tls import (
    MESH_ALPN,
    MESH_HTTP_ALPN,
    mesh_downstream_context,
    terminated_downstream_context,
    tls_transport_socket,
)

TLS = "tls"

MESH_OPAQUE_ALPN = tuple(alpn for alpn in MESH_ALPN if alpn not in MESH_HTTP_ALPN)


@dataclass(frozen=True, slots=True)
class _Case:
    """Which connections, and whether they are HTTP inside; ``mtls``: TLS is terminated.

    Empty ``alpn`` takes any, also none. Of the cases that fit, the one with ALPN is taken.
    ``terminated``: the TLS is not the mesh's.
    """

    transport: str
    http: bool
    alpn: tuple[str, ...] = ()
    mtls: bool = False
    terminated: TerminatedTls | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """What the chains of one port have in common. ``port`` None: every port without chains."""

    port: int | None
    cluster: str
    service_port: int
    operation: str
    http_chain: str
    tcp_chain: str
    stat_prefix: str


def virtual_inbound(listener: InboundListener, settings: ListenerSettings) -> listener_pb2.Listener:
    captured = settings.proxy.capture.inbound
    proto = listener_pb2.Listener(name=names.VIRTUAL_INBOUND, traffic_direction=base_pb2.INBOUND)
    socket = proto.address.socket_address
    socket.address = WILDCARD
    socket.port_value = captured
    proto.continue_on_listener_filters_timeout = True
    proto.listener_filters_timeout.FromTimedelta(settings.detection_timeout)
    proto.access_log.extend(listener_access_logs(settings.telemetry))
    apply_to_listener(proto, settings.proxy)

    # Whoever dials this port itself would be sent back to it for ever.
    loop = proto.filter_chains.add(name=names.VIRTUAL_INBOUND_BLACKHOLE)
    loop.filter_chain_match.destination_port.value = captured
    loop.filters.append(single_cluster(names.BLACK_HOLE_CLUSTER, settings))

    cases: dict[int | None, tuple[_Case, ...]] = {captured: ()}
    ports: tuple[UnknownPort | InboundPort, ...] = (*listener.unknown, *listener.ports)
    for port in ports:
        cases[port.port] = _cases(port, settings)
        place = _place(port)
        proto.filter_chains.extend(_chain(place, case, settings) for case in cases[port.port])
    proto.listener_filters.extend(_listener_filters(cases))
    limit_connections(proto, settings.proxy)
    return proto


def bound_inbound_name(port: InboundPort) -> str:
    return names.bound_inbound_listener(port.bind, port.port)


def bound_inbound(port: InboundPort, settings: ListenerSettings) -> listener_pb2.Listener:
    """A socket of the proxy's own, where nothing needs to be captured."""
    proto = listener_pb2.Listener(name=bound_inbound_name(port), traffic_direction=base_pb2.INBOUND)
    set_address(proto.address, port.bind, port.port)
    proto.continue_on_listener_filters_timeout = True
    proto.listener_filters_timeout.FromTimedelta(settings.detection_timeout)
    proto.access_log.extend(listener_access_logs(settings.telemetry))
    apply_to_listener(proto, settings.proxy)
    place = replace(_place(port), port=None)
    cases = _cases(port, settings)
    proto.filter_chains.extend(_chain(place, case, settings) for case in cases)
    proto.listener_filters.extend(_listener_filters({None: cases}))
    limit_connections(proto, settings.proxy)
    return proto


def _cases(port: InboundPort | UnknownPort, settings: ListenerSettings) -> tuple[_Case, ...]:
    protocol = port.protocol if isinstance(port, InboundPort) else Protocol.AUTO
    if isinstance(port, InboundPort) and port.tls is not None:
        return (_Case(TLS, http=protocol is Protocol.HTTPS, terminated=port.tls),)
    if protocol.is_http:
        return _http_cases(port.mtls)
    if protocol is Protocol.AUTO:
        return _detected_cases(port.mtls, detected_http(settings))
    return _tcp_cases(port.mtls)


def _http_cases(mode: MtlsMode) -> tuple[_Case, ...]:
    match mode:
        case MtlsMode.DISABLE:
            return (_Case(RAW_BUFFER, http=True),)
        case MtlsMode.PERMISSIVE:
            return (
                _Case(TLS, http=True, alpn=MESH_ALPN, mtls=True),
                _Case(RAW_BUFFER, http=True),
            )
        case MtlsMode.STRICT:
            return (_Case(TLS, http=True, mtls=True),)
        case _:
            assert_never(mode)


def _tcp_cases(mode: MtlsMode) -> tuple[_Case, ...]:
    match mode:
        case MtlsMode.DISABLE:
            return (_Case(RAW_BUFFER, http=False),)
        case MtlsMode.PERMISSIVE:
            return (
                _Case(TLS, http=False, alpn=MESH_ALPN, mtls=True),
                _Case(RAW_BUFFER, http=False),
                # The application's own TLS, such as HTTPS.
                _Case(TLS, http=False),
            )
        case MtlsMode.STRICT:
            return (_Case(TLS, http=False, mtls=True),)
        case _:
            assert_never(mode)


def _detected_cases(mode: MtlsMode, plain_http: tuple[str, ...]) -> tuple[_Case, ...]:
    match mode:
        case MtlsMode.DISABLE:
            return (
                _Case(RAW_BUFFER, http=True, alpn=plain_http),
                _Case(RAW_BUFFER, http=False),
            )
        case MtlsMode.PERMISSIVE:
            return (
                _Case(TLS, http=True, alpn=MESH_HTTP_ALPN, mtls=True),
                _Case(RAW_BUFFER, http=True, alpn=plain_http),
                _Case(TLS, http=False, alpn=MESH_OPAQUE_ALPN, mtls=True),
                _Case(RAW_BUFFER, http=False),
                # The application's own TLS, such as HTTPS.
                _Case(TLS, http=False),
            )
        case MtlsMode.STRICT:
            return (
                _Case(TLS, http=True, alpn=MESH_HTTP_ALPN, mtls=True),
                _Case(TLS, http=False, mtls=True),
            )
        case _:
            assert_never(mode)


def _place(port: InboundPort | UnknownPort) -> _Place:
    match port:
        case InboundPort(number, service_port, host):
            name = names.address_listener(WILDCARD, number)
            return _Place(
                port=number,
                cluster=names.inbound_cluster(number),
                service_port=service_port,
                operation=f"{host}:{service_port}/*",
                http_chain=name,
                tcp_chain=name,
                stat_prefix=f"inbound_{name}",
            )
        case UnknownPort(unknown):
            return _Place(
                port=unknown,
                cluster=names.INBOUND_PASSTHROUGH_CLUSTER,
                service_port=0,
                operation=":0/*",
                http_chain=names.VIRTUAL_INBOUND_CATCHALL_HTTP,
                tcp_chain=names.VIRTUAL_INBOUND_CATCHALL_TCP,
                stat_prefix=names.INBOUND_PASSTHROUGH_CLUSTER,
            )
        case _:
            assert_never(port)


def _chain(
    place: _Place, case: _Case, settings: ListenerSettings
) -> listener_components_pb2.FilterChain:
    proto = listener_components_pb2.FilterChain()
    match = proto.filter_chain_match
    if place.port is not None:
        match.destination_port.value = place.port
    match.transport_protocol = case.transport
    match.application_protocols.extend(case.alpn)
    if case.http:
        proto.name = place.http_chain
        routes = inbound_route(
            place.cluster, place.service_port, place.operation, settings.inbound_retries
        )
        manager = inbound_http(place.stat_prefix, routes, settings, authenticated=case.mtls)
        proto.filters.append(manager)
    else:
        proto.name = place.tcp_chain
        proto.filters.extend(network_filters(settings.authorization.tcp))
        proto.filters.append(single_cluster(place.cluster, settings, authenticated=case.mtls))
    if case.terminated is not None:
        context = terminated_downstream_context(case.terminated, settings.other_tls, http=case.http)
        proto.transport_socket.CopyFrom(tls_transport_socket(context))
    elif case.mtls:
        context = mesh_downstream_context(settings.trust_domains, settings.mesh_tls)
        proto.transport_socket.CopyFrom(tls_transport_socket(context))
    return proto


def _listener_filters(
    cases: dict[int | None, tuple[_Case, ...]],
) -> list[listener_components_pb2.ListenerFilter]:
    """Each inspector runs only on the ports whose chains need it.

    That is what lets a server speak first on a declared TCP port without TLS: nothing waits for
    the client's first bytes there.
    """
    filters = [original_dst()]
    for needed, inspector in ((_needs_tls, tls_inspector), (_needs_http, http_inspector)):
        wanted = {port for port, of_port in cases.items() if needed(of_port)}
        if not wanted:
            continue
        if None in wanted:
            spared = tuple(sorted(port for port in cases.keys() - wanted if port is not None))
            filters.append(inspector(on_ports(spared)))
        else:
            ports = tuple(sorted(port for port in wanted if port is not None))
            filters.append(inspector(not_on_ports(ports)))
    return filters


def _needs_tls(cases: tuple[_Case, ...]) -> bool:
    return any(case.transport == TLS for case in cases)


def _needs_http(cases: tuple[_Case, ...]) -> bool:
    return any(alpn in HTTP_ALPN for case in cases for alpn in case.alpn)
