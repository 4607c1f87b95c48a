"""Which listeners Gateways lead to, and whom they are reported to when they do not."""

from typing import Any

import msgspec
import pytest

from argosy.api.networking_gateway import Gateway
from argosy.base.names import Hostname, Namespace
from argosy.model.gateway import GatewayHttp, GatewayListener, GatewayServer, GatewayTcp
from argosy.model.listener import GatewayRoutes, OpaqueChain, TcpForward, TcpTarget
from argosy.model.proxy import ClusterKey
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.gateway_listeners import gateway_listeners
from argosy.pilot.compile.gateways import (
    gateway_selects,
    gateway_servers,
    listen_port,
    reachability,
)

FORWARD = OpaqueChain(
    TcpForward((TcpTarget(ClusterKey(9000, "v1", "tcp-echo.default.svc.cluster.local")),))
)
PORTS = {80: 8080, 81: 8080}


def gateway(name: str, *servers: dict[str, Any], selector: dict[str, str] | None = None) -> Gateway:
    chosen = {"istio": "ingressgateway"} if selector is None else selector
    return msgspec.convert(
        {
            "kind": "Gateway",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": chosen, "servers": servers},
        },
        Gateway,
    )


def server(number: int, protocol: str = "HTTP", *hosts: str, **more: Any) -> dict[str, Any]:
    port = {"number": number, "protocol": protocol, "name": f"{protocol.lower()}-{number}"}
    return {"port": port, "hosts": hosts or ("*",), **more}


def listeners(
    *gateways: Gateway, forward: tuple[OpaqueChain, ...] = (FORWARD,)
) -> tuple[tuple[GatewayListener, ...], list[tuple[str, str, str]]]:
    servers: list[GatewayServer] = []
    for one in gateways:
        servers.extend(gateway_servers(one).value)
    found = gateway_listeners(servers, lambda p: PORTS.get(p, p), lambda _: forward)
    return found.value, [(p.object.name, p.field, p.code) for p in found.problems]


def test_a_selector_takes_every_label_and_an_empty_one_takes_all() -> None:
    labels = (("app", "gw"), ("istio", "ingressgateway"))
    assert gateway_selects(gateway("g"), labels)
    assert not gateway_selects(gateway("g", selector={"istio": "egress"}), labels)
    assert gateway_selects(gateway("g", selector={}), labels)


def test_hosts_say_whose_rules_may_bind() -> None:
    (found,) = gateway_servers(
        gateway("g", server(80, "HTTP", "a.com", "./B.com", "*/c.com", "other/*.d.com"))
    ).value
    assert found.hosts == (
        ("*", Hostname("a.com")),
        ("default", Hostname("b.com")),
        ("*", Hostname("c.com")),
        ("other", Hostname("*.d.com")),
    )


def test_http_servers_of_one_port_share_a_listener_and_a_table() -> None:
    found, problems = listeners(
        gateway("old", server(80, "HTTP", "a.com")),
        gateway("new", server(81, "HTTP2", "b.com", tls={"httpsRedirect": True})),
    )
    (listener,) = found
    assert (listener.address, listener.port) == ("0.0.0.0", 8080)
    assert isinstance(listener.serves, GatewayHttp)
    assert listener.serves.routes == GatewayRoutes(8080)
    assert [(s.gateway, s.port, s.https_redirect) for s in listener.serves.servers] == [
        ("default/old", 80, False),
        ("default/new", 81, True),
    ]
    assert not listener.serves.grpc_web
    assert problems == []


def test_what_is_not_http_shares_no_port() -> None:
    found, problems = listeners(
        gateway("old", server(31400, "TCP")),
        gateway("new", server(31400, "HTTP"), server(31400, "TCP")),
    )
    assert [listener.port for listener in found] == [31400]
    assert isinstance(found[0].serves, GatewayTcp)
    assert found[0].serves.chains == (FORWARD,)
    assert problems == [
        ("new", "spec.servers[0].port", "PortConflict"),
        ("new", "spec.servers[1].port", "PortConflict"),
    ]


def test_a_tcp_server_without_rules_is_said_to_be_closed() -> None:
    _, problems = listeners(gateway("g", server(31400, "TCP")), forward=())
    assert problems == [("g", "spec.servers[0]", "NoTcpRoute")]


def test_servers_of_one_port_at_several_addresses_have_tables_of_their_own() -> None:
    found, problems = listeners(
        gateway("g", server(80, bind="10.0.0.1"), server(80, bind="10.0.0.2"))
    )
    assert [
        (one.address, one.serves.routes) for one in found if isinstance(one.serves, GatewayHttp)
    ] == [
        ("10.0.0.1", GatewayRoutes(8080, "10.0.0.1")),
        ("10.0.0.2", GatewayRoutes(8080, "10.0.0.2")),
    ]
    assert problems == []


def test_grpc_web_is_turned_on_by_a_server_of_that_protocol() -> None:
    found, _ = listeners(gateway("g", server(80, "GRPC-Web")))
    assert isinstance(found[0].serves, GatewayHttp)
    assert found[0].serves.grpc_web


def test_the_proxys_own_ports_are_refused() -> None:
    found, problems = listeners(gateway("g", server(15090)))
    assert found == ()
    assert problems == [("g", "spec.servers[0].port.number", "ReservedPort")]


@pytest.mark.parametrize(
    ("written", "code", "field"),
    [
        (server(443, "TLS"), "MissingField", "tls"),
        (server(443, "TCP", tls={"mode": "SIMPLE"}), "ConflictingFields", "tls"),
        (server(80, "UDP"), "UnknownProtocol", "port.protocol"),
        (server(80, "gopher"), "UnknownProtocol", "port.protocol"),
        ({**server(80), "hosts": ()}, "NoHosts", "hosts"),
    ],
)
def test_a_server_that_cannot_be_served_leaves_the_others_alone(
    written: dict[str, Any], code: str, field: str
) -> None:
    found = gateway_servers(gateway("g", written, server(80)))
    assert [s.field for s in found.value] == ["spec.servers[1]"]
    assert [(p.code, p.field) for p in found.problems] == [(code, f"spec.servers[0].{field}")]


def gateway_service(*ports: tuple[int, int | str]) -> Service:
    return Service(
        hostname=Hostname("gw.istio-system.svc.cluster.local"),
        name="gw",
        namespace=Namespace("istio-system"),
        ports=tuple(ServicePort(n, f"p{n}", Protocol.HTTP, target) for n, target in ports),
    )


def test_the_port_that_is_opened_is_the_services_target() -> None:
    services = [gateway_service((443, 8443)), gateway_service((80, "web"), (443, 9443))]
    assert listen_port(443, services, ()) == 8443
    assert listen_port(80, services, (("web", 8080),)) == 8080
    assert listen_port(80, services, ()) == 80
    assert listen_port(31400, services, ()) == 31400


def test_servers_that_nobody_reaches_are_reported() -> None:
    written = gateway("g", server(80), server(31400, "TCP"))
    lonely = reachability(written, selects_workloads=False, service_ports=frozenset())
    assert [(p.code, p.field) for p in lonely] == [("NoMatchingWorkloads", "spec.selector")]
    hidden = reachability(written, selects_workloads=True, service_ports=frozenset({80}))
    assert [(p.code, p.field) for p in hidden] == [
        ("GatewayPortNotOnService", "spec.servers[1].port.number")
    ]
    assert reachability(written, selects_workloads=True, service_ports=frozenset({80, 31400})) == ()
