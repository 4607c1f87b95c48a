"""Gateways beside other Gateways: the same hosts, the same certificates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from argosy.api.networking_gateway import Gateway, ServerTLSSettings
from argosy.base.names import Hostname, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.workload import Labels
from argosy.pilot.compile.gateways import server_hosts
from argosy.pilot.compile.hostnames import intersection
from argosy.pilot.graph.world import keys, read

Certificate = tuple[str, ...]
Hosts = tuple[tuple[str, Hostname], ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server is opened: Gateways that agree in all of it meet there."""

    selector: Labels
    port: int
    bind: str


@dataclass(frozen=True, slots=True)
class Opened:
    """One server: hosts are as in ``model.gateway.GatewayServer``; ``certificates``: what tells
    each of them, by ``_certificates``."""

    gateway: ObjectKey
    index: int
    site: Site
    hosts: Hosts
    certificates: tuple[Certificate, ...]


@formula
def opened(get: Reader, key: ObjectKey) -> tuple[Opened, ...]:
    """The servers of one Gateway."""
    gateway = read(get, key, Gateway)
    if gateway is None:
        return ()
    selector = tuple(sorted(gateway.spec.selector.items()))
    return tuple(
        Opened(
            key,
            index,
            Site(selector, server.port.number, server.bind),
            server_hosts(server.hosts, key.namespace),
            _certificates(server.tls),
        )
        for index, server in enumerate(gateway.spec.servers)
    )


@formula
def opened_by_site(get: Reader) -> Mapping[Site, tuple[Opened, ...]]:
    found: dict[Site, list[Opened]] = {}
    for key in keys(get, "Gateway"):
        for server in get(opened, key):
            found.setdefault(server.site, []).append(server)
    return MappingProxyType({site: tuple(servers) for site, servers in found.items()})


@formula
def opened_by_certificate(get: Reader) -> Mapping[Certificate, tuple[Opened, ...]]:
    found: dict[Certificate, list[Opened]] = {}
    for key in keys(get, "Gateway"):
        for server in get(opened, key):
            for certificate in server.certificates:
                found.setdefault(certificate, []).append(server)
    return MappingProxyType({which: tuple(servers) for which, servers in found.items()})


@formula
def conflicting_gateways(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """The same host at the same place, of two Gateways."""
    by_site = get(opened_by_site)
    return tuple(
        problem
        for server in get(opened, key)
        for problem in _conflicts(server, by_site.get(server.site, ()))
    )


def _conflicts(server: Opened, beside: tuple[Opened, ...]) -> Iterator[Problem]:
    others = []
    shared: list[str] = []
    for other in beside:
        both = _shared(server.hosts, other.hosts) if other.gateway != server.gateway else []
        if both:
            others.append(f"{other.gateway.namespace}/{other.gateway.name}")
            shared += both
    if others:
        site = server.site
        selector = ",".join(f"{name}={value}" for name, value in site.selector) or "everything"
        yield Problem(
            server.gateway,
            f"spec.servers[{server.index}].hosts",
            "ConflictingGateways",
            f"{', '.join(dict.fromkeys(others))} selects the same workloads ({selector}) and opens "
            f"port {site.port} for the same hosts: {', '.join(dict.fromkeys(shared))}",
            "put the servers into one Gateway, or give them distinct hosts or ports",
            Severity.WARNING,
        )


def _shared(one: Hosts, other: Hosts) -> list[str]:
    """The hosts that both offer to the same namespaces."""
    return [
        both
        for namespace, host in one
        for beside, rival in other
        if "*" in (namespace, beside) or namespace == beside
        if (both := intersection(host, rival)) is not None
    ]


@formula
def duplicate_certificates(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """One certificate at two Gateways of the same workloads.

    https://istio.io/latest/docs/ops/common-problems/network-issues/#404-errors-occur-when-multiple-gateways-configured-with-same-tls-certificate
    """
    by_certificate = get(opened_by_certificate)
    found = []
    for server in get(opened, key):
        others = sorted(
            {
                f"{other.gateway.namespace}/{other.gateway.name}"
                for certificate in server.certificates
                for other in by_certificate.get(certificate, ())
                if other.gateway != key and set(server.site.selector) <= set(other.site.selector)
            }
        )
        if others:
            found.append(
                Problem(
                    key,
                    f"spec.servers[{server.index}].tls",
                    "GatewayDuplicateCertificate",
                    f"{', '.join(others)} shows the same certificate: a client that uses one "
                    "connection for the hosts of both gets 404 for one of them",
                    "put the servers into one Gateway, or give each its own certificate",
                    Severity.WARNING,
                )
            )
    return tuple(found)


def _certificates(tls: ServerTLSSettings | None) -> tuple[Certificate, ...]:
    """A Secret's name, which is one of the workloads' namespace, or the names of two files."""
    if tls is None:
        return ()
    secrets = (tls.credential_name, *tls.credential_names)
    files = [(tls.server_certificate, tls.private_key)]
    files += [(one.server_certificate, one.private_key) for one in tls.tls_certificates]
    found = [*((name,) for name in secrets if name), *(pair for pair in files if all(pair))]
    return tuple(dict.fromkeys(found))
