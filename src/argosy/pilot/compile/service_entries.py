"""ServiceEntries and WorkloadEntries → services and workloads of the mesh.

https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

import dataclasses
from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from argosy.api import networking_service_entry as api
from argosy.api.networking_workload_entry import WorkloadEntry, WorkloadEntrySpec
from argosy.base.names import Hostname, Namespace
from argosy.base.problems import Problem, Severity
from argosy.model.service import Protocol, Resolution, Service, ServicePort
from argosy.model.workload import Health, Locality, Workload
from argosy.pilot.compile import ownership
from argosy.pilot.compile.localities import labelled_locality
from argosy.pilot.compile.mesh import DEFAULT_MESH, Mesh
from argosy.pilot.compile.registrations import HEALTHY_CONDITION, TLS_MODE
from argosy.pilot.compile.services import export_to, protocol_named

_RESOLUTIONS = {
    "NONE": Resolution.NONE,
    "STATIC": Resolution.ENDPOINTS,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}


def services(written: api.ServiceEntry, mesh: Mesh = DEFAULT_MESH) -> tuple[Service, ...]:
    """A service for each host, as far as its name is the entry's to define.

    Mistakes of the entry alone are the API's to report.
    """
    spec = written.spec
    namespace = Namespace(written.metadata.namespace)
    selector = spec.workload_selector.labels if spec.workload_selector is not None else {}
    ports = tuple(_port(port) for port in spec.ports if port.protocol.upper() != "UDP")
    allocated = allocated_addresses(written)
    dynamic = spec.resolution == "DYNAMIC_DNS"
    found = (
        Service(
            hostname=host,
            name=host,
            namespace=namespace,
            ports=ports,
            addresses=() if dynamic else written_addresses(spec) or allocated.get(host, ()),
            selector=tuple(sorted(selector.items())),
            export_to=export_to(spec.export_to or mesh.service_export_to, namespace),
            resolution=_RESOLUTIONS[spec.resolution],
            external=spec.location == "MESH_EXTERNAL",
            peers=spec.subject_alt_names,
            entry=written.key,
            allocated=not spec.addresses and host in allocated,
        )
        for host in hosts(written)
    )
    return tuple(ownership.limited_service(service, {}, mesh) for service in found)


def hosts(written: api.ServiceEntry) -> tuple[Hostname, ...]:
    """As the mesh knows them: lower case, each once."""
    return tuple(dict.fromkeys(Hostname(host.lower()) for host in written.spec.hosts))


def written_addresses(spec: api.ServiceEntrySpec) -> tuple[str, ...]:
    """A network of one address, such as ``192.0.2.7/32``, is that address; others stay networks.

    Names lead to addresses only: what has networks alone is found by the resolver outside.
    """
    found = []
    for text in spec.addresses:
        network = ip_network(text, strict=False)
        single = network.prefixlen == network.max_prefixlen
        found.append(str(network.network_address) if single else text)
    return tuple(dict.fromkeys(found))


def allocated_addresses(written: api.ServiceEntry) -> Mapping[Hostname, tuple[str, ...]]:
    """The IPv4 addresses that were allocated to the entry, by host."""
    if written.status is None:
        return {}
    return {
        Hostname(address.host.lower()): (address.value,)
        for address in written.status.addresses
        if address.host and ":" not in address.value
    }


def _port(port: api.ServicePort) -> ServicePort:
    return ServicePort(
        number=port.number,
        name=port.name,
        protocol=protocol_named(port.protocol) or Protocol.AUTO,
        target=port.target_port or port.number,
    )


# Endpoints.


def inline_workloads(written: api.ServiceEntry) -> tuple[Workload, ...]:
    """The entry's own ``endpoints``."""
    namespace = Namespace(written.metadata.namespace)
    return tuple(
        _workload(f"{written.metadata.name}-{i}", namespace, spec, spec.labels, Health.HEALTHY)
        for i, spec in enumerate(written.spec.endpoints)
    )


def workload(written: WorkloadEntry) -> Workload:
    """A WorkloadEntry, which services select by its labels as they select pods."""
    metadata = written.metadata
    labels = entry_labels(written)
    namespace = Namespace(metadata.namespace)
    return _workload(metadata.name, namespace, written.spec, labels, _health(written))


def entry_labels(written: WorkloadEntry) -> Mapping[str, str]:
    """By which a WorkloadEntry is selected: those of its spec count before its metadata's."""
    return {**written.metadata.labels, **written.spec.labels}


def _workload(
    name: str,
    namespace: Namespace,
    spec: WorkloadEntrySpec,
    labels: Mapping[str, str],
    health: Health,
) -> Workload:
    return Workload(
        name=name,
        namespace=namespace,
        address=spec.address,
        labels=tuple(sorted(labels.items())),
        service_account=spec.service_account,
        container_ports=(),
        health=health,
        meshed=labels.get(TLS_MODE) == "istio",
        locality=_locality(spec.locality, labels),
        weight=spec.weight or 1,
        entry_ports=tuple(sorted(spec.ports.items())),
    )


def _health(written: WorkloadEntry) -> Health:
    """Healthy until a probe says otherwise."""
    if written.metadata.deletion_timestamp:
        return Health.DRAINING
    conditions = written.status.conditions if written.status is not None else ()
    ill = any(c.type == HEALTHY_CONDITION and c.status == "False" for c in conditions)
    return Health.UNHEALTHY if ill else Health.HEALTHY


def _locality(text: str, labels: Mapping[str, str]) -> Locality:
    """``region/zone/subzone``, or what the labels say."""
    if not text:
        return labelled_locality(labels, {})
    region, zone, subzone = (*text.split("/", 2), "", "")[:3]
    return Locality(region, zone, subzone)


# Several definitions of one host.


def definitions(parts: Iterable[Service]) -> tuple[Service, ...]:
    """One service for each namespace of ``parts``, which are of one host, in order of precedence.

    In a namespace the first counts, with the ports that only later ones have.
    """
    merged: dict[Namespace, Service] = {}
    for part in parts:
        first = merged.setdefault(part.namespace, part)
        if first is not part and first.resolution is part.resolution:
            known = {port.number for port in first.ports}
            more = tuple(port for port in part.ports if port.number not in known)
            merged[part.namespace] = dataclasses.replace(first, ports=first.ports + more)
    return tuple(merged.values())


def seen(found: Iterable[Service], namespace: Namespace) -> Service | None:
    """What a host means to clients in ``namespace``: their own, else the first they may see."""
    visible = [s for s in found if s.export_to & {"*", namespace}]
    own = (s for s in visible if s.namespace == namespace)
    return next(own, next(iter(visible), None))


def check(
    written: api.ServiceEntry, parts: Mapping[Hostname, tuple[Service, ...]]
) -> tuple[Problem, ...]:
    """What others take away from an entry. ``parts``: all that define its hosts, by precedence."""
    problems = []
    for index, host in enumerate(hosts(written)):
        for part in parts[host]:
            if part.owner == written.key:
                break
            if part.namespace == written.metadata.namespace:
                problems.append(
                    Problem(
                        written.key,
                        f"spec.hosts[{index}]",
                        "HostConflict",
                        f"{part.owner} defines {host} too and counts first: its addresses, "
                        "resolution and ports hold; endpoints and further ports are added to it",
                        "merge the two, or rename the host",
                        Severity.WARNING,
                    )
                )
                break
    return tuple(problems)
