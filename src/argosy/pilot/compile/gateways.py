"""Gateways → their servers, and the proxies that open them.

https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from collections.abc import Iterable

from argosy.api.networking_gateway import Gateway, Server
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.model.gateway import GatewayServer
from argosy.model.service import Protocol, Service
from argosy.pilot.compile.endpoints import ContainerPorts, target_port
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.server_tls import server_tls

_PROTOCOLS = {protocol.value.upper(): protocol for protocol in Protocol}
_TLS_PROTOCOLS = (Protocol.HTTPS, Protocol.TLS)


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
    if protocol in _TLS_PROTOCOLS and written.tls is None:
        report.at("tls").error(
            "MissingField", f"protocol {protocol.value} needs tls settings", "write tls.mode"
        )
        return None
    if written.tls is not None and not (protocol in _TLS_PROTOCOLS or protocol.is_http):
        report.at("tls").error(
            "ConflictingFields",
            f"protocol {protocol.value} cannot have tls settings, so this server is not opened",
            "write protocol: TLS",
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
        port_name=written.port.name,
        tls=None
        if written.tls is None or protocol not in _TLS_PROTOCOLS
        else server_tls(written.tls, report.at("tls")),
    )


def server_hosts(written: Iterable[str], namespace: Namespace) -> tuple[tuple[str, Hostname], ...]:
    """``ns/host``, ``./host`` (this namespace), ``*/host`` and ``host`` (any namespace)."""
    hosts = []
    for text in written:
        before, slash, after = text.rpartition("/")
        owner = {".": str(namespace), "": "*"}.get(before, before) if slash else "*"
        hosts.append((owner, Hostname(after.lower())))
    return tuple(hosts)
