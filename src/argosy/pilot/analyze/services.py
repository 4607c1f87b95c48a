"""Services and the workloads behind them: port names, protocols and ports that contradict."""

from collections.abc import Iterable, Iterator

from argosy.api import core
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.service import Protocol
from argosy.pilot.analyze.workloads import (
    SYSTEM_NAMESPACES,
    injection,
    object_of,
    services_selecting,
    template_of,
)
from argosy.pilot.compile.injection import Injection
from argosy.pilot.compile.services import protocol_of
from argosy.pilot.graph.world import mesh_settings, read

_CONVENTION = "name it <protocol>[-<suffix>] (http, grpc, tcp, tls ...), or set appProtocol"


@formula
def port_names(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Ports whose protocol nobody has said. Those of the mesh's own services are not looked at."""
    service = read(get, key, core.Service)
    own = get(mesh_settings).traffic.root_namespace
    if service is None or key.namespace in {*SYSTEM_NAMESPACES, own}:
        return ()
    return tuple(_port_names(service))


def _port_names(service: core.Service) -> Iterator[Problem]:
    external = service.spec.type == "ExternalName"
    for index, port in enumerate(service.spec.ports):
        if port.protocol != "TCP":
            continue
        unknown = protocol_of(port.port, port.name, port.app_protocol) is Protocol.AUTO
        field = f"spec.ports[{index}]" + (".name" if port.name else "")
        if external and (unknown or port.name == "tcp"):
            yield Problem(
                service.key,
                field,
                "ExternalNameServiceTypeInvalidPortName",
                f"a port of an ExternalName service is named {port.name or 'not at all'}: "
                f"connections to port {port.port} of other hosts may be taken for it",
                "name it by what the external host speaks: http, tls, https ...",
                Severity.WARNING,
            )
        elif unknown:
            named = f"the name {port.name}" if port.name else "no name"
            yield Problem(
                service.key,
                field,
                "PortNameIsNotUnderNamingConvention",
                f"port {port.port} has {named}, which tells no protocol, so it is detected",
                _CONVENTION,
                Severity.INFO,
            )


@formula
def workload_services(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """What the Services of one workload say of the same ports."""
    template = template_of(get(object_of, key))
    if template is None or injection(get, template, key.namespace) is Injection.NONE:
        return ()
    services = services_selecting(get, key.namespace, template.metadata.labels)
    return (*_protocols(key, services), *_targets(key, services))


def _protocols(key: ObjectKey, services: Iterable[core.Service]) -> Iterator[Problem]:
    ports: dict[int, dict[str, list[str]]] = {}
    for service in services:
        for port in service.spec.ports:
            names = ports.setdefault(port.port, {}).setdefault(port.protocol, [])
            names.append(service.metadata.name)
    for number, protocols in sorted(ports.items()):
        if len(protocols) > 1:
            involved = sorted({name for found in protocols.values() for name in found})
            yield Problem(
                key,
                "metadata.name",
                "DeploymentAssociatedToMultipleServices",
                f"its services ({', '.join(involved)}) have port {number} with different protocols: "
                f"{', '.join(sorted(protocols))}",
                "give the services different ports, or the same protocol",
                Severity.WARNING,
            )


def _targets(key: ObjectKey, services: Iterable[core.Service]) -> Iterator[Problem]:
    targets: dict[str, dict[int, set[str]]] = {}
    for service in services:
        for port in service.spec.ports:
            target = str(port.target_port or port.port)
            names = targets.setdefault(target, {}).setdefault(port.port, set())
            names.add(service.metadata.name)
    for target, ports in sorted(targets.items()):
        if len(ports) > 1:
            involved = sorted(set[str]().union(*ports.values()))
            numbers = ", ".join(map(str, sorted(ports)))
            yield Problem(
                key,
                "metadata.name",
                "DeploymentConflictingPorts",
                f"its services ({', '.join(involved)}) lead to target port {target} from different ports: "
                f"{numbers}",
                "use the same port number in all of them",
                Severity.WARNING,
            )
