"""Services to the outbound listeners of sidecars.

In: services, the addresses of headless ones' endpoints, rules for opaque bytes. Out: which
listeners there are, and what each does. A declared HTTP port shares the wildcard listener of its
number; every other port has a listener at each of the service's addresses.
https://istio.io/latest/docs/ops/configuration/traffic-management/traffic-routing/
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from argosy.base.problems import Compiled, Problem, Severity
from argosy.model.listener import (
    WILDCARD,
    DetectingListener,
    HostRoutes,
    OpaqueChain,
    OpaqueListener,
    OutboundListener,
    PortRoutes,
    TcpForward,
    TcpTarget,
    reserved_ports,
)
from argosy.model.proxy import ClusterKey
from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts
from argosy.model.route import SourceIpHash
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.traffic import Cluster, Discovery, Maglev, MeshTls, RingHash, UpstreamProtocol
from argosy.pilot.compile.tcp_routes import unclaimed

NAMED = frozenset({Protocol.TLS, Protocol.HTTPS})
"""Protocols whose clients say which host they mean before anything else."""


class Site(NamedTuple):
    """Where a listener stands. Sites sort by address, then port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A service port that wants to be served at some sites.

    ``tcp``: where its opaque bytes go, except those that ``chains`` take.
    """

    service: Service
    port: ServicePort
    tcp: TcpForward
    chains: tuple[OpaqueChain, ...] = ()


Instances = Callable[[Service, ServicePort], tuple[str, ...]]
"""The addresses of the endpoints of a headless service's port, sorted."""

Forwarding = Callable[[Service, ServicePort], TcpForward]
"""Where the opaque bytes of a service's port go."""

Chaining = Callable[[Service, ServicePort], tuple[OpaqueChain, ...]]
"""Where those go that rules tell apart by server name or destination."""

FindCluster = Callable[[ClusterKey], Cluster | None]
"""The policy of a destination; None when there is no such destination."""


def sites(service: Service, port: ServicePort, instances: tuple[str, ...]) -> tuple[Site, ...]:
    """The listeners that serve ``port``; ``instances`` counts for headless services only.

    A headless service has no address of its own: its clients dial the endpoints, so each has a
    listener. A service without endpoints or address cannot be dialled, and has none: a listener
    at the wildcard address would take connections that are meant for others. Entries without
    addresses, and with networks, are at the wildcard address: who is meant shows there.
    """
    if port.protocol is Protocol.UDP:
        return ()
    if port.protocol.is_http:
        return (Site(WILDCARD, port.number),)
    addresses = instances if service.headless else service.addresses
    found = {Site(a, port.number) for a in addresses if not is_network(a)}
    if any(map(is_network, addresses)) or (service.entry is not None and not addresses):
        found.add(Site(WILDCARD, port.number))
    if service.allocated and port.protocol in NAMED:
        found.add(Site(WILDCARD, port.number))
    return tuple(sorted(found))


def is_network(address: str) -> bool:
    return "/" in address


def routed_by_port(service: Service, port: ServicePort) -> bool:
    """Whether the routes of a service's port stand in the table of all services of that port."""
    if port.protocol.is_http:
        return True
    return port.protocol is Protocol.AUTO and service.entry is not None and not service.addresses


def default_forward(service: Service, port: ServicePort) -> TcpForward:
    """To the service port itself, as long as neither rule nor policy says otherwise."""
    return TcpForward(
        targets=(TcpTarget(ClusterKey(port.number, "", service.hostname)),),
        opaque_to_detecting=port.protocol is Protocol.AUTO,
    )


def forward(clusters: tuple[tuple[Cluster, int], ...], stat_prefix: str = "") -> TcpForward:
    """Opaque bytes by weight to ``clusters``, at least one.

    As in Istio, a connection's idle timeout, greatest age, source hash and tunnel are the listener's,
    though DestinationRules set them for a destination: those of the first one hold.
    """
    first = clusters[0][0]
    pool, balancer = first.connection_pool, first.load_balancer
    return TcpForward(
        targets=tuple(TcpTarget(cluster.key, weight) for cluster, weight in clusters),
        opaque_to_detecting=any(_detects(cluster) for cluster, _ in clusters),
        source_ip_hash=(isinstance(balancer, RingHash | Maglev) and balancer.key == SourceIpHash()),
        idle_timeout=pool.tcp_idle_timeout,
        max_duration=pool.max_connection_duration,
        stat_prefix=stat_prefix,
        tunnel=first.tunnel,
        dynamic_port=first.key.port if first.discovery is Discovery.DYNAMIC else None,
    )


def forward_targets(
    targets: tuple[TcpTarget, ...], find: FindCluster, rule: str = ""
) -> TcpForward:
    """Opaque bytes to the ``targets`` of a rule; ``rule`` names them in statistics if several.

    Connections that are given to a target that does not exist are closed.
    """
    known = [
        (cluster, target.weight)
        for target in targets
        if (cluster := find(target.cluster)) is not None
    ]
    name = rule if len(targets) > 1 else ""
    if not known:
        return TcpForward(targets, stat_prefix=name)
    return replace(forward(tuple(known), name), targets=targets)


def _detects(cluster: Cluster) -> bool:
    """Mesh TLS of such a cluster is marked as HTTP, by which the server would take the bytes."""
    return cluster.protocol is UpstreamProtocol.DOWNSTREAM and isinstance(cluster.tls, MeshTls)


def outbound_listener(
    site: Site, claims: Iterable[Claim], capture: CapturePorts = USUAL_CAPTURE
) -> Compiled[OutboundListener | None]:
    """The one listener for everything claimed at ``site``; None when it may not exist.

    Claims of different protocols are merged by detecting HTTP. Of several that forward opaque
    bytes from the same address and port, only the first by host name can be served.
    """
    ranked = sorted(claims, key=lambda claim: (claim.service.hostname, claim.port.number))
    if not ranked:
        return Compiled(None)
    if site.address == WILDCARD and site.port in reserved_ports(capture):
        return Compiled(None, tuple(_reserved(claim, site.port) for claim in ranked))
    if site.address != WILDCARD:
        return _at_address(site, ranked)
    chains, problems = _chains(site, [c for c in ranked if not c.port.protocol.is_http])
    rest = [chain for chain in chains if not chain.networks and not chain.server_names]
    named = tuple(chain for chain in chains if chain.networks or chain.server_names)
    tcp = rest[0].tcp if rest else None
    if any(routed_by_port(claim.service, claim.port) for claim in ranked):
        routes = PortRoutes(site.port)
        return Compiled(
            DetectingListener(site.address, site.port, routes, tcp, chains=named), problems
        )
    return Compiled(OpaqueListener(site.address, site.port, tcp, chains=named), problems)


def _at_address(site: Site, ranked: list[Claim]) -> Compiled[OutboundListener | None]:
    opaque = [claim for claim in ranked if not claim.port.protocol.is_http]
    detecting = [claim for claim in ranked if not claim.port.protocol.is_tcp]
    problems = tuple(_conflict(claim, opaque[0], site) for claim in opaque[1:])
    tcp = opaque[0].tcp if opaque else None
    chains = opaque[0].chains if opaque else ()
    if not detecting:
        assert tcp is not None, "a claim is HTTP, detecting or opaque"
        return Compiled(OpaqueListener(site.address, site.port, tcp, chains=chains), problems)
    routes = (
        PortRoutes(site.port)
        if any(c.port.protocol.is_http for c in ranked)
        else HostRoutes(detecting[0].service.hostname, site.port)
    )
    return Compiled(
        DetectingListener(site.address, site.port, routes, tcp, chains=chains), problems
    )


def no_chains(_service: Service, _port: ServicePort) -> tuple[OpaqueChain, ...]:
    return ()


def _chains(site: Site, opaque: list[Claim]) -> tuple[tuple[OpaqueChain, ...], tuple[Problem, ...]]:
    """What tells the opaque services of a wildcard listener apart; the first by host name wins.

    TLS clients name the host. Opaque bytes do not, so a service without networks takes them all.
    """
    chains: list[OpaqueChain] = []
    problems: list[Problem] = []
    owners: dict[tuple[str, str], Claim] = {}
    for claim in opaque:
        networks = tuple(sorted(a for a in claim.service.addresses if is_network(a)))
        for ruled in claim.chains:
            taken = set(owners)
            for part, within in unclaimed(ruled.server_names, ruled.networks or networks, taken):
                chains.append(OpaqueChain(ruled.tcp, within, part))
            owners.update((key, claim) for key in taken - owners.keys())
        names = (claim.service.hostname,) if claim.port.protocol in NAMED else ()
        wanted = [(name, network) for network in networks or ("",) for name in names or ("",)]
        free = [key for key in wanted if key not in owners]
        rivals = [owners[key] for key in wanted if key in owners and owners[key] is not claim]
        if rivals:
            problems.append(_conflict(claim, rivals[0], site))
        if free:
            owners.update(dict.fromkeys(free, claim))
            kept = tuple(dict.fromkeys(network for _, network in free if network))
            chains.append(OpaqueChain(claim.tcp, kept, names))
    return tuple(chains), tuple(problems)


def outbound_listeners(
    services: Iterable[Service],
    instances: Instances,
    forward: Forwarding = default_forward,
    chains: Chaining = no_chains,
    capture: CapturePorts = USUAL_CAPTURE,
) -> Compiled[tuple[OutboundListener, ...]]:
    """Every outbound listener of a sidecar that sees ``services``, sorted by site."""
    claimed: dict[Site, list[Claim]] = {}
    for service in services:
        for port in service.ports:
            addresses = instances(service, port) if needs_instances(service, port) else ()
            for site in sites(service, port, addresses):
                claim = Claim(service, port, forward(service, port), chains(service, port))
                claimed.setdefault(site, []).append(claim)
    return merged(claimed, capture)


def merged(
    claimed: Mapping[Site, Iterable[Claim]], capture: CapturePorts
) -> Compiled[tuple[OutboundListener, ...]]:
    """The listeners at the sites that are claimed, sorted by site."""
    listeners: list[OutboundListener] = []
    problems: list[Problem] = []
    for site in sorted(claimed):
        compiled = outbound_listener(site, claimed[site], capture)
        problems.extend(compiled.problems)
        if compiled.value is not None:
            listeners.append(compiled.value)
    # A headless service meets its rival at every address; once is enough to say so.
    distinct = {(problem.object, problem.field, problem.code): problem for problem in problems}
    return Compiled(tuple(listeners), tuple(distinct.values()))


def needs_instances(service: Service, port: ServicePort) -> bool:
    """Whether ``sites`` looks at the endpoints of ``port``."""
    return service.headless and not port.protocol.is_http and port.protocol is not Protocol.UDP


def _reserved(claim: Claim, number: int) -> Problem:
    return Problem(
        object=claim.service.owner,
        field=_port_field(claim),
        code="ReservedPort",
        message=f"port {number} is one of the proxy's own, so sidecars cannot serve it by name",
        hint="choose another port number",
        severity=Severity.WARNING,
    )


def _conflict(claim: Claim, winner: Claim, site: Site) -> Problem:
    return Problem(
        object=claim.service.owner,
        field=_port_field(claim),
        code="ListenerConflict",
        message=(
            f"{site.address}:{site.port} is served as {winner.service.hostname}: opaque bytes "
            "carry no host name, so two services cannot share an address and port"
        ),
        hint="give one of them another port, or declare the port's protocol as HTTP if it is",
        severity=Severity.WARNING,
    )


def _port_field(claim: Claim) -> str:
    index = [port.number for port in claim.service.ports].index(claim.port.number)
    return f"spec.ports[{index}]"
