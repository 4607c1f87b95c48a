"""Formulas over ServiceEntries and WorkloadEntries: which hosts they define, and with what."""

from collections.abc import Mapping
from types import MappingProxyType

from argosy.api import core
from argosy.api.networking_service_entry import ServiceEntry
from argosy.api.networking_workload_entry import WorkloadEntry
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.model.service import Service
from argosy.model.workload import Workload
from argosy.pilot.compile import ownership
from argosy.pilot.compile import service_entries as compiling
from argosy.pilot.compile.services import export_to
from argosy.pilot.graph.cells import keys, mesh_settings, names_of, read

KIND = "ServiceEntry"


@formula
def entry(get: Reader, namespace: Namespace, name: str) -> ServiceEntry | None:
    return read(get, ObjectKey(KIND, namespace, name), ServiceEntry)


@formula
def services(get: Reader, namespace: Namespace, name: str) -> tuple[Service, ...]:
    """What one entry defines, whatever else defines the same hosts."""
    written = get(entry, namespace, name)
    if written is None:
        return ()
    mesh = get(mesh_settings)
    found = compiling.services(written, mesh)
    if not written.spec.addresses:
        return found
    holders = get(cluster_ips)
    return tuple(ownership.limited_service(service, holders, mesh) for service in found)


@formula
def cluster_ips(get: Reader) -> Mapping[str, ObjectKey]:
    """The Services that have virtual addresses, by these."""
    found = {}
    for key in keys(get, "Service"):
        service = read(get, key, core.Service)
        if service is not None and service.spec.cluster_ip:
            found[service.spec.cluster_ip] = key
    return MappingProxyType(found)


@formula
def foreign_names(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """The hosts and addresses of an entry that are another namespace's."""
    written = get(entry, namespace, name)
    if written is None:
        return ()
    mesh = get(mesh_settings)
    reach = export_to(written.spec.export_to or mesh.service_export_to, namespace)
    if not reach - {namespace}:
        return ()
    hosts, addresses = compiling.hosts(written), compiling.written_addresses(written.spec)
    return ownership.check_entry(written.key, hosts, addresses, get(cluster_ips), mesh)


@formula
def inline_workloads(get: Reader, namespace: Namespace, name: str) -> tuple[Workload, ...]:
    written = get(entry, namespace, name)
    return () if written is None else compiling.inline_workloads(written)


@formula
def claim(get: Reader, namespace: Namespace, name: str) -> tuple[str, tuple[Hostname, ...]]:
    """When an entry was made, and its hosts: what changes seldom."""
    written = get(entry, namespace, name)
    if written is None:
        return "", ()
    return written.metadata.creation_timestamp, compiling.hosts(written)


@formula
def by_host(get: Reader) -> Mapping[Hostname, tuple[ObjectKey, ...]]:
    """Which entries define a host, oldest first."""
    found: dict[Hostname, list[tuple[str, ObjectKey]]] = {}
    for key in keys(get, KIND):
        created, hosts = get(claim, key.namespace, key.name)
        for host in hosts:
            found.setdefault(host, []).append((created, key))
    return MappingProxyType(
        {host: tuple(key for _, key in sorted(items)) for host, items in found.items()}
    )


@formula
def services_of(get: Reader, host: Hostname) -> tuple[Service, ...]:
    """Every entry's own definition of a host, oldest first."""
    return tuple(
        service
        for key in get(by_host).get(host, ())
        for service in get(services, key.namespace, key.name)
        if service.hostname == host
    )


@formula
def selecting(get: Reader, namespace: Namespace) -> tuple[tuple[str, str, Service], ...]:
    """What entries define that choose workloads by labels: creation time, name and service."""
    return tuple(
        (get(claim, namespace, name)[0], name, service)
        for name in names_of(get, KIND, namespace)
        for service in get(services, namespace, name)
        if service.selector
    )


@formula
def entry_workload(get: Reader, namespace: Namespace, name: str) -> Workload | None:
    """A WorkloadEntry as what answers."""
    written = read(get, ObjectKey("WorkloadEntry", namespace, name), WorkloadEntry)
    return None if written is None else compiling.workload(written)
