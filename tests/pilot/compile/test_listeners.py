"""Which outbound listeners services lead to. Expected: Istio's traffic-routing page, as cited."""

import random
from dataclasses import replace
from datetime import timedelta

from argosy.base.names import Hostname, Namespace
from argosy.model.listener import (
    WILDCARD,
    DetectingListener,
    HostRoutes,
    OpaqueListener,
    OutboundListener,
    PortRoutes,
    TcpForward,
    TcpTarget,
)
from argosy.model.proxy import ClusterKey
from argosy.model.route import HeaderHash, SourceIpHash
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.traffic import (
    Cluster,
    ConnectionPool,
    ExactName,
    Maglev,
    MeshTls,
    MeshTlsUse,
    OriginatedTls,
    RingHash,
    ServiceName,
    UpstreamProtocol,
)
from argosy.pilot.compile.listeners import (
    default_forward,
    forward,
    forward_targets,
    outbound_listeners,
)

DEFAULT = Namespace("default")


def host(name: str) -> Hostname:
    return Hostname(f"{name}.default.svc.cluster.local")


def service(name: str, *ports: tuple[int, Protocol], address: str = "") -> Service:
    """Headless without ``address``."""
    return Service(
        hostname=host(name),
        name=name,
        namespace=DEFAULT,
        ports=tuple(ServicePort(number, f"p{number}", kind, number) for number, kind in ports),
        addresses=(address,) if address else (),
        headless=not address,
    )


def instances(found: Service, _port: ServicePort) -> tuple[str, ...]:
    return ("10.244.0.5", "10.244.0.6") if found.name != "empty" else ()


def listeners(*services: Service) -> tuple[OutboundListener, ...]:
    return outbound_listeners(services, instances).value


def to(name: str, port: int, *, detecting: bool = False) -> TcpForward:
    target = TcpTarget(ClusterKey(port, "", host(name)))
    return TcpForward((target,), opaque_to_detecting=detecting)


def test_http_services_of_a_port_share_the_wildcard_listener() -> None:
    found = listeners(
        service("a", (80, Protocol.HTTP), address="10.96.0.1"),
        service("b", (80, Protocol.GRPC), address="10.96.0.2"),
        service("c", (80, Protocol.HTTP2)),
    )
    assert found == (DetectingListener(WILDCARD, 80, PortRoutes(80), None),)


def test_tcp_services_of_a_port_have_a_listener_at_each_address() -> None:
    found = outbound_listeners(
        [
            service("a", (9000, Protocol.TCP), address="10.96.0.1"),
            service("b", (9000, Protocol.MYSQL), address="10.96.0.2"),
        ],
        instances,
    )
    assert found.value == (
        OpaqueListener("10.96.0.1", 9000, to("a", 9000)),
        OpaqueListener("10.96.0.2", 9000, to("b", 9000)),
    )
    assert found.problems == ()


def test_tcp_and_http_on_one_port_number_live_beside_each_other() -> None:
    found = listeners(
        service("web", (80, Protocol.HTTP), address="10.96.0.1"),
        service("db", (80, Protocol.TCP), address="10.96.0.2"),
    )
    assert found == (
        DetectingListener(WILDCARD, 80, PortRoutes(80), None),
        OpaqueListener("10.96.0.2", 80, to("db", 80)),
    )


def test_an_undeclared_port_is_detected_at_its_own_address() -> None:
    (found,) = listeners(service("a", (7000, Protocol.AUTO), address="10.96.0.1"))
    assert found == DetectingListener(
        "10.96.0.1", 7000, HostRoutes(host("a"), 7000), to("a", 7000, detecting=True)
    )


def test_headless_tcp_has_a_listener_for_each_endpoint() -> None:
    found = listeners(service("redis", (6379, Protocol.REDIS)), service("empty", (1, Protocol.TCP)))
    assert found == (
        OpaqueListener("10.244.0.5", 6379, to("redis", 6379)),
        OpaqueListener("10.244.0.6", 6379, to("redis", 6379)),
    )


def test_a_service_without_address_takes_no_connections_of_others() -> None:
    pending = replace(service("a", (9000, Protocol.TCP), (7000, Protocol.AUTO)), headless=False)
    assert listeners(pending) == ()


def test_headless_http_needs_no_addresses() -> None:
    assert listeners(service("web", (80, Protocol.HTTP))) == (
        DetectingListener(WILDCARD, 80, PortRoutes(80), None),
    )


def test_udp_is_not_the_proxys_business() -> None:
    assert listeners(service("dns", (53, Protocol.UDP), address="10.96.0.1")) == ()


def test_services_at_one_address_and_port_conflict_once() -> None:
    found = outbound_listeners(
        [service("b", (6379, Protocol.TCP)), service("a", (6379, Protocol.TCP))], instances
    )
    assert found.value == (
        OpaqueListener("10.244.0.5", 6379, to("a", 6379)),
        OpaqueListener("10.244.0.6", 6379, to("a", 6379)),
    )
    assert [(p.object.name, p.field, p.code) for p in found.problems] == [
        ("b", "spec.ports[0]", "ListenerConflict")
    ]


def test_the_proxys_own_ports_are_not_served_at_the_wildcard() -> None:
    found = outbound_listeners(
        [service("a", (15001, Protocol.HTTP), (80, Protocol.HTTP), address="10.96.0.1")],
        instances,
    )
    assert found.value == (DetectingListener(WILDCARD, 80, PortRoutes(80), None),)
    assert [p.code for p in found.problems] == ["ReservedPort"]


def test_the_order_of_services_does_not_matter() -> None:
    services = [
        service("a", (80, Protocol.HTTP), (81, Protocol.AUTO), address="10.96.0.1"),
        service("b", (80, Protocol.TCP), address="10.96.0.2"),
        service("c", (81, Protocol.TCP)),
        service("d", (81, Protocol.AUTO)),
    ]
    expected = outbound_listeners(services, instances)
    for seed in range(10):
        shuffled = services[:]
        random.Random(seed).shuffle(shuffled)
        assert outbound_listeners(shuffled, instances) == expected


# The policy of destinations, as listeners apply it.

KEY = ClusterKey(7000, "", host("a"))
MESH_TLS = MeshTls(use=MeshTlsUse.PER_ENDPOINT, sni="sni", peers=(ExactName("spiffe://x"),))


def cluster(key: ClusterKey = KEY, **fields: object) -> Cluster:
    return Cluster(key, ServiceName(host("a"), "a", DEFAULT), **fields)  # type: ignore[arg-type]  # test data


def test_bytes_are_marked_only_within_mesh_tls_to_detected_ports() -> None:
    detected = UpstreamProtocol.DOWNSTREAM
    assert forward(((cluster(protocol=detected, tls=MESH_TLS), 1),)).opaque_to_detecting
    assert not forward(((cluster(protocol=detected), 1),)).opaque_to_detecting
    own_tls = OriginatedTls(sni="x")
    assert not forward(((cluster(protocol=detected, tls=own_tls), 1),)).opaque_to_detecting
    declared = cluster(protocol=UpstreamProtocol.TCP, tls=MESH_TLS)
    assert not forward(((declared, 1),)).opaque_to_detecting


def test_a_destinations_tcp_settings_become_the_listeners() -> None:
    pool = ConnectionPool(
        tcp_idle_timeout=timedelta(seconds=7), max_connection_duration=timedelta(minutes=3)
    )
    found = forward(((cluster(connection_pool=pool), 1),))
    assert found.idle_timeout == timedelta(seconds=7)
    assert found.max_duration == timedelta(minutes=3)


def test_only_a_source_address_can_be_hashed_of_opaque_bytes() -> None:
    assert forward(((cluster(load_balancer=RingHash(SourceIpHash())), 1),)).source_ip_hash
    assert forward(((cluster(load_balancer=Maglev(SourceIpHash())), 1),)).source_ip_hash
    by_header = cluster(load_balancer=RingHash(HeaderHash("x")))
    assert not forward(((by_header, 1),)).source_ip_hash


def test_a_missing_destination_keeps_its_share_of_the_connections() -> None:
    missing = ClusterKey(7000, "gone", host("a"))
    targets = (TcpTarget(missing, 20), TcpTarget(KEY, 80))
    known = {KEY: cluster(protocol=UpstreamProtocol.DOWNSTREAM, tls=MESH_TLS)}
    found = forward_targets(targets, known.get, "rule.default")
    assert found.targets == targets
    assert found.opaque_to_detecting
    assert found.stat_prefix == "rule.default"
    assert forward_targets((TcpTarget(missing),), known.get, "rule.default").stat_prefix == ""


def test_without_policy_bytes_go_to_the_port_that_was_dialled() -> None:
    found = service("a", (7000, Protocol.AUTO), address="10.96.0.1")
    assert default_forward(found, found.ports[0]) == to("a", 7000, detecting=True)
