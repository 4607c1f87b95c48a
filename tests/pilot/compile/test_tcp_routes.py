"""Where rules send opaque connections."""

from typing import Any

import msgspec

from argosy.api.networking_virtual_service import VirtualService
from argosy.base.names import Hostname, Namespace
from argosy.model.listener import TcpTarget
from argosy.model.proxy import ClusterKey, ProxyType, Scope
from argosy.model.route import HashPolicy
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.tcp_route import TcpRoute
from argosy.pilot.compile.routes import Listening
from argosy.pilot.compile.tcp_routes import (
    gateway_routes,
    mesh_routes,
    tcp_rules,
    tcp_source_selectors,
    tls_rules,
)
from argosy.pilot.compile.virtual_services import attachment

ECHO = Hostname("tcp-echo.default.svc.cluster.local")
SCOPE = Scope(ProxyType.ROUTER, Namespace("istio-system"))
CURL = Scope(ProxyType.SIDECAR, Namespace("default"), ((("app", "curl"),),))
ANY_HOST = (("*", Hostname("*")),)


class Lookup:
    def service(self, host: Hostname) -> Service | None:
        if host != ECHO:
            return None
        port = ServicePort(9000, "tcp", Protocol.TCP, 9000)
        return Service(ECHO, "tcp-echo", Namespace("default"), (port,))

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset({"v1", "v2"})

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return None


def virtual_service(
    *tcp: dict[str, Any], name: str = "tcp-echo", created: str = "", **spec: Any
) -> VirtualService:
    fields = {"hosts": ["*"], "gateways": ["g"], **spec, "tcp": tcp}
    metadata = {"name": name, "namespace": "default", "creationTimestamp": created}
    return msgspec.convert(
        {"kind": "VirtualService", "metadata": metadata, "spec": fields}, VirtualService
    )


def to(subset: str = "", weight: int = 0) -> dict[str, Any]:
    destination: dict[str, Any] = {"host": "tcp-echo", "subset": subset}
    return {"destination": destination, "weight": weight}


def at_gateway(*rules: VirtualService, port: int = 31400) -> tuple[TcpTarget, ...]:
    attached = [(attachment(vs).value, tcp_rules(vs).value) for vs in rules]
    listening = Listening("default/g", port)
    return all_of(gateway_routes(ANY_HOST, listening, attached, SCOPE, Lookup()))


def all_of(routes: tuple[TcpRoute, ...]) -> tuple[TcpTarget, ...]:
    """The targets of the only route, which takes all; nothing when there is none."""
    if not routes:
        return ()
    (route,) = routes
    assert route.takes_all
    return route.targets


def target(subset: str, weight: int = 1) -> TcpTarget:
    return TcpTarget(ClusterKey(9000, subset, ECHO), weight)


def test_the_sample_of_istio_spreads_by_weight() -> None:
    rule = {"match": [{"port": 31400}], "route": [to("v1", 80), to("v2", 20)]}
    assert at_gateway(virtual_service(rule)) == (target("v1", 80), target("v2", 20))


def test_a_single_destination_needs_no_weight_and_no_weight_means_nothing() -> None:
    assert at_gateway(virtual_service({"route": [to("v1")]})) == (target("v1"),)
    some = virtual_service({"route": [to("v1", 0), to("v2", 100)]})
    assert at_gateway(some) == (target("v2", 100),)


def test_the_first_rule_for_the_port_takes_the_connection() -> None:
    rules = virtual_service(
        {"match": [{"port": 1}], "route": [to("v1")]},
        {"match": [{"port": 2}, {"port": 31400}], "route": [to("v2")]},
        {"route": [to("")]},
    )
    assert at_gateway(rules) == (target("v2"),)
    assert at_gateway(rules, port=3) == (target(""),)


def test_of_several_rules_the_oldest_takes_the_connection() -> None:
    new = virtual_service({"route": [to("v2")]}, name="a", created="2026-02-01T00:00:00Z")
    old = virtual_service({"route": [to("v1")]}, name="b", created="2026-01-01T00:00:00Z")
    assert at_gateway(new, old) == (target("v1"),)


def test_rules_of_other_gateways_and_hosts_do_not_hold() -> None:
    assert at_gateway(virtual_service({"route": [to("v1")]}, gateways=["h"])) == ()
    other = {"match": [{"gateways": ["h"]}], "route": [to("v1")]}
    assert at_gateway(virtual_service(other, gateways=["g", "h"])) == ()
    vs = virtual_service({"route": [to("v1")]}, hosts=["a.com"])
    attached = [(attachment(vs).value, tcp_rules(vs).value)]
    listening = Listening("default/g", 31400)
    elsewhere = (("default", Hostname("b.com")),)
    assert gateway_routes(elsewhere, listening, attached, SCOPE, Lookup()) == ()
    foreign = (("other", Hostname("*")),)
    assert gateway_routes(foreign, listening, attached, SCOPE, Lookup()) == ()


def test_sidecars_obey_conditions_on_the_client() -> None:
    rules = tcp_rules(
        virtual_service(
            {"match": [{"sourceLabels": {"app": "web"}}], "route": [to("v1")]},
            {"match": [{"sourceNamespace": "other"}], "route": [to("v1")]},
            {"match": [{"sourceLabels": {"app": "curl"}, "port": 9000}], "route": [to("v2")]},
            gateways=["mesh"],
        )
    ).value
    assert all_of(mesh_routes(rules, 9000, CURL, Lookup())) == (target("v2"),)
    assert mesh_routes(rules, 9001, CURL, Lookup()) == ()


def test_client_labels_that_rules_tell_apart() -> None:
    vs = virtual_service({"match": [{"sourceLabels": {"app": "web"}}], "route": [to("v1")]})
    assert tcp_source_selectors(vs) == {(("app", "web"),)}


def test_a_rule_without_destination_is_left_out() -> None:
    compiled = tcp_rules(virtual_service({"route": [to("v1", 0), to("v2", 0)]}))
    assert compiled.value == ()
    assert [(p.code, p.field) for p in compiled.problems] == [
        ("NoDestination", "spec.tcp[0].route")
    ]


def test_subnets_take_their_connections_and_the_next_rule_the_rest() -> None:
    rules = tcp_rules(
        virtual_service(
            {"match": [{"destinationSubnets": ["10.9.8.7/8", "10.0.0.0/8"]}], "route": [to("v1")]},
            {"match": [{"destinationSubnets": ["10.1.0.0/8", "::1"]}], "route": [to("v2")]},
            {"route": [to("")]},
            {"route": [to("v2")]},
            gateways=["mesh"],
        )
    ).value
    found = mesh_routes(rules, 9000, CURL, Lookup())
    assert [(route.subnets, route.targets[0].cluster.subset) for route in found] == [
        (("10.0.0.0/8",), "v1"),
        (("::1/128",), "v2"),  # of its other subnet the first rule has everything
        ((), ""),
    ]


def tls(*hosts: str, to_subset: str = "v1", **match: Any) -> dict[str, Any]:
    return {"match": [{"sniHosts": hosts, **match}], "route": [to(to_subset)]}


def test_server_names_choose_and_a_name_belongs_to_the_first_rule() -> None:
    vs = virtual_service(
        name="tls",
        hosts=["*.a.com"],
        tls=[tls("X.a.com"), tls("x.a.com", "*.a.com", to_subset="v2"), tls("*.a.com")],
    )
    routes = mesh_routes(tls_rules(vs).value, 9000, CURL, Lookup())
    assert [(route.server_names, route.targets[0].cluster.subset) for route in routes] == [
        (("x.a.com",), "v1"),
        (("*.a.com",), "v2"),
    ]


def test_a_gateway_serves_the_names_that_its_server_offers() -> None:
    vs = virtual_service(
        hosts=["*"],
        tls=[tls("*.a.com", "b.com"), tls("c.com", port=444), tls("*", to_subset="v2")],
    )
    attached = [(attachment(vs).value, tls_rules(vs).value)]
    offered = (("*", Hostname("x.a.com")), ("*", Hostname("c.com")))
    routes = gateway_routes(offered, Listening("default/g", 443), attached, SCOPE, Lookup())
    assert [(route.server_names, route.targets[0].cluster.subset) for route in routes] == [
        (("x.a.com",), "v1"),
        ((), "v2"),
    ]
