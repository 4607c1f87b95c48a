"""Gateways → the listeners of gateway proxies.

In: Gateway objects, the services and rules around the proxies that they select. Out: a listener
for each port that the proxies open. Of several Gateways on one port, plain HTTP servers are
merged, and everything else belongs to the oldest.
https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from collections.abc import Callable, Iterable

from argosy.api.networking_gateway import Gateway, Server
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem, Severity
from argosy.model.gateway import (
    GatewayHttp,
    GatewayListener,
    GatewayServer,
    GatewayTcp,
)
from argosy.model.listener import WILDCARD, GatewayRoutes, TcpForward
from argosy.model.route import RouteServer
from argosy.model.service import Protocol, Service
from argosy.pilot.compile.endpoints import ContainerPorts, target_port
from argosy.pilot.compile.listeners import Site
from argosy.pilot.compile.report import Report

PROXY_PORTS = frozenset({15000, 15020, 15021, 15090})
"""What a gateway proxy opens for itself: administration, health and metrics."""

_PROTOCOLS = {protocol.value.upper(): protocol for protocol in Protocol}
_TLS_PROTOCOLS = (Protocol.HTTPS, Protocol.TLS)

TcpForwarding = Callable[[GatewayServer], TcpForward | None]
"""Where a server's opaque bytes go; None when no VirtualService routes them."""


def gateway_selects(gateway: Gateway, labels: tuple[tuple[str, str], ...]) -> bool:
    """Whether proxies with ``labels``, in any namespace, open this Gateway's servers.

    An empty selector selects every gateway proxy, as in Istio.
    """
    return set(gateway.spec.selector.items()) <= set(labels)


def gateway_servers(gateway: Gateway) -> Compiled[tuple[GatewayServer, ...]]:
    """The servers that can be served; the others are problems."""
    report = Report(gateway.key)
    servers = tuple(
        server
        for index, written in enumerate(gateway.spec.servers)
        if (server := _server(gateway.key, written, report.at(f"spec.servers[{index}]")))
        is not None
    )
    return Compiled(servers, tuple(report.problems))


def listen_port(number: int, services: Iterable[Service], container_ports: ContainerPorts) -> int:
    """The port that a gateway proxy opens for a server's port ``number``.

    ``services`` select the proxy, the oldest first: the target port of the first that has such a
    port, or else the number itself.
    """
    for service in services:
        port = service.get_port(number)
        target = target_port(port, container_ports) if port is not None else None
        if target is not None:
            return target
    return number


def gateway_listeners(
    servers: Iterable[GatewayServer],
    port_of: Callable[[int], int],
    forward: TcpForwarding,
) -> Compiled[tuple[GatewayListener, ...]]:
    """The listeners of one gateway proxy, sorted by address and port.

    ``servers`` are those of all Gateways that select it, the oldest Gateway's first. ``port_of``
    is ``listen_port`` of the proxy.
    """
    placed: dict[Site, list[GatewayServer]] = {}
    problems: list[Problem] = []
    for server in servers:
        site = Site(server.bind or WILDCARD, port_of(server.port))
        if site.port in PROXY_PORTS:
            problems.append(_reserved(server, site.port))
            continue
        present = placed.setdefault(site, [])
        if present and not (present[0].protocol.is_http and server.protocol.is_http):
            problems.append(_conflict(server, present[0], site))
            continue
        present.append(server)
    listeners = []
    for site, present in sorted(placed.items()):
        listener = _listener(site, present, forward)
        listeners.append(listener)
        if isinstance(listener.serves, GatewayTcp) and listener.serves.forward is None:
            problems.append(_unrouted(present[0]))
    return Compiled(tuple(listeners), tuple(problems))


def reachability(
    gateway: Gateway, *, selects_workloads: bool, service_ports: frozenset[int]
) -> tuple[Problem, ...]:
    """Why nobody may ever reach a server: no proxy, or no port of the proxies' Services.

    ``service_ports`` are the port numbers of the Services of the selected proxies.
    """
    report = Report(gateway.key)
    if not selects_workloads:
        labels = ", ".join(f"{key}={value}" for key, value in sorted(gateway.spec.selector.items()))
        report.at("spec.selector").warning(
            "NoMatchingWorkloads",
            f"no gateway proxy has the labels {labels}, so nobody opens these servers",
            "use the labels of a running gateway, such as istio=ingressgateway",
        )
        return tuple(report.problems)
    for index, server in enumerate(gateway.spec.servers):
        if service_ports and server.port.number not in service_ports:
            report.at(f"spec.servers[{index}].port.number").warning(
                "GatewayPortNotOnService",
                f"the gateway's Service has no port {server.port.number}, so clients outside the "
                "mesh do not get there",
                f"add the port to the Service, or use one of {sorted(service_ports)}",
            )
    return tuple(report.problems)


def _listener(site: Site, servers: list[GatewayServer], forward: TcpForwarding) -> GatewayListener:
    first = servers[0]
    if not first.protocol.is_http:
        return GatewayListener(*site, GatewayTcp(first, forward(first)))
    http = GatewayHttp(
        routes=GatewayRoutes(site.port, first.bind),
        servers=tuple(_route_server(server) for server in servers),
        grpc_web=any(server.protocol is Protocol.GRPC_WEB for server in servers),
    )
    return GatewayListener(*site, http)


def _route_server(server: GatewayServer) -> RouteServer:
    return RouteServer(
        gateway=f"{server.gateway.namespace}/{server.gateway.name}",
        port=server.port,
        hosts=server.hosts,
        https_redirect=server.https_redirect,
    )


def _server(gateway: ObjectKey, written: Server, report: Report) -> GatewayServer | None:
    protocol = _PROTOCOLS.get(written.port.protocol.upper())
    if protocol in (None, Protocol.UDP, Protocol.AUTO):
        report.at("port.protocol").error(
            "UnknownProtocol",
            f"a gateway cannot serve the protocol {written.port.protocol!r}",
            "use one of HTTP, HTTPS, HTTP2, GRPC, GRPC-Web, TCP, TLS",
        )
        return None
    assert protocol is not None, "mypy does not narrow by membership"
    terminates = written.tls is not None and not protocol.is_http
    if protocol in _TLS_PROTOCOLS or terminates:
        report.at("tls" if written.tls is not None else "port.protocol").error(
            "NotSupported",
            "TLS at gateways is not supported yet, so this server is not opened",
            "use protocol HTTP for now",
        )
        return None
    if "/" in written.bind or written.bind.startswith("@"):
        report.at("bind").error(
            "NotSupported",
            "UNIX sockets are not supported yet, so this server is not opened",
            "bind to an IP address, or leave it out",
        )
        return None
    hosts = server_hosts(written.hosts, gateway.namespace)
    if not hosts:
        report.at("hosts").error("NoHosts", "without hosts no rule can be bound", 'add "*"')
        return None
    return GatewayServer(
        gateway=gateway,
        field=report.field,
        name=written.name or written.port.name,
        port=written.port.number,
        protocol=protocol,
        hosts=hosts,
        bind=written.bind,
        https_redirect=written.tls is not None and written.tls.https_redirect,
    )


def server_hosts(written: Iterable[str], namespace: Namespace) -> tuple[tuple[str, Hostname], ...]:
    """``ns/host``, ``./host`` (this namespace), ``*/host`` and ``host`` (any namespace)."""
    hosts = []
    for text in written:
        before, slash, after = text.rpartition("/")
        owner = {".": str(namespace), "": "*"}.get(before, before) if slash else "*"
        hosts.append((owner, Hostname(after.lower())))
    return tuple(hosts)


def _reserved(server: GatewayServer, port: int) -> Problem:
    return Problem(
        server.gateway,
        f"{server.field}.port.number",
        "ReservedPort",
        f"port {port} is the gateway proxy's own, so this server is not opened",
        "choose another port, or another targetPort in the gateway's Service",
    )


def _conflict(server: GatewayServer, winner: GatewayServer, site: Site) -> Problem:
    return Problem(
        server.gateway,
        f"{server.field}.port",
        "PortConflict",
        f"port {site.port} serves {winner.protocol.value} for {winner.gateway} already; "
        f"{server.protocol.value} cannot share it, so this server is not opened",
        "use another port: only HTTP servers can share one",
    )


def _unrouted(server: GatewayServer) -> Problem:
    return Problem(
        server.gateway,
        server.field,
        "NoTcpRoute",
        "no VirtualService with a tcp rule is bound to this server, so it is not opened",
        "bind one with spec.gateways",
        Severity.WARNING,
    )
