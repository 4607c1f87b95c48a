"""What workloads answer on."""

from argosy.base.names import Hostname, Namespace
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundPort, UnknownPort
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.endpoints import target_port
from argosy.pilot.compile.inbound import inbound_listener


def service(name: str, *ports: ServicePort) -> Service:
    return Service(
        hostname=Hostname(f"{name}.default.svc.cluster.local"),
        name=name,
        namespace=Namespace("default"),
        ports=ports,
    )


def port(number: int, target: int | str, protocol: Protocol = Protocol.HTTP) -> ServicePort:
    return ServicePort(number, "p", protocol, target)


def permissive(_port: int | None) -> MtlsMode:
    return MtlsMode.PERMISSIVE


def test_named_target_ports_are_the_workloads_own() -> None:
    assert target_port(port(80, "web"), (("admin", 9), ("web", 8080))) == 8080
    assert target_port(port(80, "web"), (("admin", 9),)) is None
    assert target_port(port(80, 8080), ()) == 8080


def test_ports_are_the_workloads_and_unknown_ones_have_the_mode_of_the_workload() -> None:
    found = inbound_listener(
        [service("a", port(80, 8080), port(53, 53, Protocol.UDP), port(81, "absent"))],
        (),
        permissive,
    )
    host = Hostname("a.default.svc.cluster.local")
    assert found.value.ports == (InboundPort(8080, 80, host, Protocol.HTTP, MtlsMode.PERMISSIVE),)
    assert found.value.unknown == (UnknownPort(None, MtlsMode.PERMISSIVE),)
    assert found.problems == ()


def test_port_modes_hold_for_known_and_unknown_ports() -> None:
    modes = {8080: MtlsMode.DISABLE, 9999: MtlsMode.STRICT}

    def mode(number: int | None) -> MtlsMode:
        return modes.get(number or 0, MtlsMode.PERMISSIVE)

    found = inbound_listener([service("a", port(80, 8080))], (), mode, modes).value
    assert [p.mtls for p in found.ports] == [MtlsMode.DISABLE]
    assert found.unknown == (
        UnknownPort(None, MtlsMode.PERMISSIVE),
        UnknownPort(9999, MtlsMode.STRICT),
    )


def test_the_oldest_service_decides_the_protocol() -> None:
    found = inbound_listener(
        [
            service("old", port(80, 8080, Protocol.HTTP)),
            service("new", port(90, 8080, Protocol.TCP)),
            service("same", port(100, 8080, Protocol.HTTP)),
        ],
        (),
        permissive,
    )
    assert [(p.protocol, p.host) for p in found.value.ports] == [
        (Protocol.HTTP, "old.default.svc.cluster.local")
    ]
    assert [(p.object.name, p.code) for p in found.problems] == [("new", "InboundPortConflict")]
