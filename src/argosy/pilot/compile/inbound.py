"""What a workload answers on: its services and its mTLS modes to the inbound listener.

Depends on nothing that differs between replicas of a workload, so all of them share the result.
"""

from collections.abc import Callable, Iterable

from argosy.base.names import ObjectKey
from argosy.base.problems import Compiled, Problem, Severity
from argosy.model.authn import MtlsMode
from argosy.model.listener import (
    INBOUND_CAPTURE_PORT,
    InboundListener,
    InboundPort,
    UnknownPort,
)
from argosy.model.service import Protocol, Service
from argosy.pilot.compile.endpoints import ContainerPorts, target_port


def inbound_listener(
    services: Iterable[Service],
    container_ports: ContainerPorts,
    mtls: Callable[[int | None], MtlsMode],
    mtls_ports: Iterable[int] = (),
) -> Compiled[InboundListener]:
    """The inbound listener of a workload that ``services`` select, given oldest first.

    ``mtls`` tells the mode of a port, of None for ports without a rule of their own;
    ``mtls_ports`` are those that have one. Of two services with the same target port the older
    decides the protocol.
    """
    ports: dict[int, InboundPort] = {}
    problems: list[Problem] = []
    for service in services:
        for index, port in enumerate(service.ports):
            number = target_port(port, container_ports)
            if number in (None, INBOUND_CAPTURE_PORT) or port.protocol is Protocol.UDP:
                continue
            assert number is not None, "mypy does not narrow by membership"
            known = ports.setdefault(
                number,
                InboundPort(number, port.number, service.hostname, port.protocol, mtls(number)),
            )
            if known.protocol is not port.protocol and known.host != service.hostname:
                problems.append(_conflict(service, index, number, known))
    unknown = [UnknownPort(None, mtls(None))]
    unknown += [UnknownPort(port, mtls(port)) for port in sorted(set(mtls_ports) - ports.keys())]
    listener = InboundListener(
        ports=tuple(ports[number] for number in sorted(ports)),
        unknown=tuple(unknown),
    )
    return Compiled(listener, tuple(problems))


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
