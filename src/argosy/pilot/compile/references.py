"""Destinations of rules: which cluster they mean, and whether it exists."""

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.base.names import Hostname
from argosy.base.problems import Problem
from argosy.model.proxy import ClusterKey
from argosy.model.route import (
    MESH,
    Attachment,
    Destination,
    Forward,
    HttpRule,
    RouteLookup,
)
from argosy.model.service import Service
from argosy.model.tcp_route import TcpRule
from argosy.pilot.compile.hostnames import CLUSTER_DOMAIN, is_wildcard
from argosy.pilot.compile.report import Report


def cluster_key(destination: Destination, listener_port: int, lookup: RouteLookup) -> ClusterKey:
    """The cluster by its name; it need not exist, in which case Envoy answers 503.

    Without a port it is the service's only one, or else the one that the client called.
    """
    port = destination.port
    if port is None:
        service = lookup.service(destination.host)
        port = _default_port(service, listener_port)
    return ClusterKey(port, destination.subset, destination.host)


def _default_port(service: Service | None, listener_port: int) -> int:
    if service is not None and len(service.ports) == 1:
        return service.ports[0].number
    return listener_port


@dataclass(frozen=True, slots=True)
class _Use:
    """A destination in a rule, and the ports that clients may call to get there."""

    destination: Destination
    ports: frozenset[int]


def check_references(
    attachment: Attachment,
    rules: Iterable[HttpRule],
    lookup: RouteLookup,
    gateway_ports: frozenset[int] = frozenset(),
) -> tuple[Problem, ...]:
    """Everything that the rules of one VirtualService name and that is not there.

    ``gateway_ports`` are the port numbers of the Gateway servers that it is bound to.
    """
    problems: list[Problem] = []
    on_mesh = MESH in attachment.gateways
    ports = gateway_ports | (_mesh_ports(attachment, lookup) if on_mesh else frozenset())
    if attachment.gateways == {MESH}:
        _check_hosts(attachment, lookup, Report(attachment.object, "", problems))
    for rule in rules:
        report = Report(rule.source.object, rule.source.field, problems)
        match_ports = frozenset(m.port for m in rule.matches if m.port is not None)
        every_match_has_one = all(m.port is not None for m in rule.matches)
        called = match_ports if every_match_has_one else ports | match_ports
        for destination in destinations(rule):
            _check_destination(_Use(destination, called), lookup, report)
    return tuple(dict.fromkeys(problems))


def check_opaque_references(
    attachment: Attachment,
    rules: Iterable[TcpRule],
    lookup: RouteLookup,
    gateway_ports: frozenset[int] = frozenset(),
) -> tuple[Problem, ...]:
    """Likewise for the rules of opaque bytes, as far as their destinations go."""
    problems: list[Problem] = []
    ports = gateway_ports
    if MESH in attachment.gateways:
        ports |= {
            port.number
            for host in attachment.hosts
            if not is_wildcard(host) and (service := lookup.service(host)) is not None
            for port in service.ports
            if not port.protocol.is_http
        }
    for rule in rules:
        report = Report(rule.virtual_service, rule.field, problems)
        match_ports = frozenset(m.port for m in rule.matches if m.port is not None)
        every_match_has_one = all(m.port is not None for m in rule.matches)
        called = match_ports if every_match_has_one else ports | match_ports
        for weighted in rule.destinations:
            _check_destination(_Use(weighted.destination, called), lookup, report)
    return tuple(dict.fromkeys(problems))


def destinations(rule: HttpRule) -> tuple[Destination, ...]:
    """All that the rule sends requests to, mirrors included."""
    if not isinstance(rule.action, Forward):
        return ()
    routed = tuple(weighted.destination for weighted in rule.action.destinations)
    return routed + tuple(mirror.destination for mirror in rule.action.mirrors)


def _mesh_ports(attachment: Attachment, lookup: RouteLookup) -> frozenset[int]:
    services = [lookup.service(host) for host in attachment.hosts if not is_wildcard(host)]
    return frozenset(
        port.number
        for service in services
        if service is not None
        for port in service.ports
        if not port.protocol.is_tcp
    )


def _check_hosts(attachment: Attachment, lookup: RouteLookup, report: Report) -> None:
    for index, host in enumerate(attachment.hosts):
        if is_wildcard(host) or lookup.service(host) is not None:
            continue
        report.at(f"spec.hosts[{index}]").warning(
            "UnknownHost",
            f"there is no service {host}, so the rules hold only for requests to port 80 "
            "that name this host",
            _spelling_hint(host, lookup),
        )


def _check_destination(use: _Use, lookup: RouteLookup, report: Report) -> None:
    destination = use.destination
    place = report.at(destination.field)
    service = lookup.service(destination.host)
    if service is None:
        place.at("host").error(
            "HostNotFound",
            f"there is no service {destination.host}; requests sent there get a 503",
            _spelling_hint(destination.host, lookup),
        )
        return
    if destination.subset and destination.subset not in lookup.subsets(destination.host):
        known = ", ".join(sorted(lookup.subsets(destination.host)))
        place.at("subset").error(
            "SubsetNotFound",
            f"no DestinationRule in force for {destination.host} defines the subset "
            f"{destination.subset}; requests sent there get a 503",
            f"defined subsets: {known}" if known else "define it in a DestinationRule",
        )
    _check_port(use, service, place)


def _check_port(use: _Use, service: Service, place: Report) -> None:
    has = ", ".join(str(port.number) for port in service.ports) or "none"
    if use.destination.port is not None:
        if service.get_port(use.destination.port) is None:
            place.at("port").error(
                "PortNotFound",
                f"service {service.hostname} has no port {use.destination.port}; "
                "requests sent there get a 503",
                f"its ports: {has}",
            )
        return
    missing = sorted(port for port in use.ports if service.get_port(port) is None)
    if len(service.ports) > 1 and (missing or not use.ports):
        place.error(
            "AmbiguousPort",
            f"service {service.hostname} has the ports {has}, and no port is given: the port "
            "that the client called is taken"
            + (f", but it has no port {missing[0]}" if missing else ""),
            "set port.number",
        )


def _spelling_hint(host: Hostname, lookup: RouteLookup) -> str:
    """Istio takes a name with a dot as it is, so ``reviews.default`` is not a service."""
    for suffix in (f".svc.{CLUSTER_DOMAIN}", f".{CLUSTER_DOMAIN}"):
        longer = Hostname(host + suffix)
        if lookup.service(longer) is not None:
            return f"a name with a dot must be complete: {longer}"
    return "check the spelling and the namespace, or create the service"
