"""What a workload answers on: its services and its mTLS modes to the inbound listener.

Depends on nothing that differs between replicas of a workload, so all of them share the result.
"""

from collections.abc import Callable, Iterable, Mapping

from argosy.base.names import Hostname, ObjectKey
from argosy.base.problems import Compiled, Problem, Severity
from argosy.model.authn import MtlsMode
from argosy.model.listener import (
    InboundListener,
    InboundPort,
    UnknownPort,
)
from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts
from argosy.model.service import Protocol, Service
from argosy.model.sidecar import Ingress
from argosy.pilot.compile.endpoints import ContainerPorts, target_port


def inbound_listener(
    services: Iterable[Service],
    container_ports: ContainerPorts,
    mtls: Callable[[int | None], MtlsMode],
    mtls_ports: Iterable[int] = (),
    capture: CapturePorts = USUAL_CAPTURE,
) -> Compiled[InboundListener]:
    """The inbound listener of a workload that ``services`` select, given oldest first.

    ``capture.inbound`` is the listener's own port, so the workload cannot answer there.
    ``mtls`` tells the mode of a port, of None for ports without a rule of their own;
    ``mtls_ports`` are those that have one. Of two services with the same target port the older
    decides the protocol.
    """
    ports: dict[int, InboundPort] = {}
    problems: list[Problem] = []
    for service in services:
        for index, port in enumerate(service.ports):
            number = target_port(port, container_ports)
            if number in (None, capture.inbound) or port.protocol is Protocol.UDP:
                continue
            assert number is not None, "mypy does not narrow by membership"
            known = ports.setdefault(
                number,
                InboundPort(number, port.number, service.hostname, port.protocol, mtls(number)),
            )
            if known.protocol is not port.protocol and known.host != service.hostname:
                problems.append(_conflict(service, index, number, known))
    return Compiled(_with_unknown(ports, mtls, mtls_ports), tuple(problems))


def ingress_listener(
    written: Ingress,
    services: Iterable[Service],
    container_ports: ContainerPorts,
    mtls: Callable[[int | None], MtlsMode],
    mtls_ports: Iterable[int] = (),
) -> InboundListener:
    """The same of a workload whose Sidecar has ingress listeners: it answers on no other ports."""
    known: dict[int, tuple[int, Hostname]] = {}
    for service in services:
        for port in service.ports:
            number = target_port(port, container_ports)
            if number is not None:
                known.setdefault(number, (port.number, service.hostname))
    ports: dict[int, InboundPort] = {}
    for listener in written.listeners:
        number = listener.port
        service_port, host = known.get(number, (number, Hostname("")))
        ports[number] = InboundPort(
            number,
            service_port,
            host,
            listener.protocol,
            mtls(number),
            tls=listener.tls if mtls(number) is MtlsMode.DISABLE else None,
            bind=listener.bind,
            name=listener.name,
        )
    return _with_unknown(ports, mtls, mtls_ports)


def _with_unknown(
    ports: Mapping[int, InboundPort],
    mtls: Callable[[int | None], MtlsMode],
    mtls_ports: Iterable[int],
) -> InboundListener:
    unknown = [UnknownPort(None, mtls(None))]
    unknown += [UnknownPort(port, mtls(port)) for port in sorted(set(mtls_ports) - ports.keys())]
    return InboundListener(
        ports=tuple(ports[number] for number in sorted(ports)),
        unknown=tuple(unknown),
    )


def _conflict(service: Service, index: int, number: int, known: InboundPort) -> Problem:
    port = service.ports[index]
    return Problem(
        object=ObjectKey("Service", service.namespace, service.name),
        field=f"spec.ports[{index}]",
        code="InboundPortConflict",
        message=(
            f"target port {number} is {port.protocol.value} here but {known.protocol.value} in "
            f"the older service {known.host}, which decides how its workloads serve it"
        ),
        hint="declare the same protocol in both services",
        severity=Severity.WARNING,
    )
