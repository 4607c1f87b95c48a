"""DestinationRules → which of them holds for a client and host, and the cluster that follows.

``destination`` compiles one rule, ``index`` merges those of a namespace, ``select`` finds the one
in force, ``cluster`` applies it. Rules of Istio:
https://istio.io/latest/docs/reference/config/networking/destination-rule/
https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from argosy.api import networking_destination_rule as api
from argosy.base.names import Hostname, Namespace
from argosy.base.problems import Compiled, Problem
from argosy.model.proxy import ClusterKey, ProxyType, Scope
from argosy.model.service import Protocol, Resolution, Service, ServicePort
from argosy.model.traffic import (
    NO_PARAMETERS,
    NO_POLICY,
    Cluster,
    ConnectionPool,
    CredentialTlsPolicy,
    Destination,
    Discovery,
    ExactName,
    LeastRequest,
    MeshTls,
    MeshTlsPolicy,
    MeshTlsUse,
    OriginatedTls,
    Passthrough,
    Plaintext,
    PoolPolicy,
    ServiceName,
    Subset,
    TrafficDefaults,
    TrafficPolicy,
    UpstreamProtocol,
)
from argosy.model.workload import Labels
from argosy.pilot.compile.endpoints import EndpointSummary
from argosy.pilot.compile.hostnames import covers, is_wildcard, resolve
from argosy.pilot.compile.localities import detection
from argosy.pilot.compile.mesh import DEFAULT_MESH, PUBLIC, Mesh
from argosy.pilot.compile.peer_names import peer_names
from argosy.pilot.compile.port_policies import policy_of
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.services import export_to
from argosy.pilot.compile.stat_names import stat_name
from argosy.pilot.compile.traffic_policy import traffic_policy

# One rule.


def destination(written: api.DestinationRule, mesh: Mesh = DEFAULT_MESH) -> Compiled[Destination]:
    """What the rule alone shows to be wrong is the API's to report, and does no harm here."""
    namespace = Namespace(written.metadata.namespace)
    report = Report(written.key, "spec")
    spec = written.spec
    policy = None
    if spec.traffic_policy is not None:
        policy = traffic_policy(spec.traffic_policy, mesh.traffic, report.at("trafficPolicy"))
    subsets: dict[str, Subset] = {}
    for index, item in enumerate(spec.subsets):
        place = report.at(f"subsets[{index}]")
        own = NO_POLICY
        if item.traffic_policy is not None:
            own = traffic_policy(item.traffic_policy, mesh.traffic, place.at("trafficPolicy"))
        labels = tuple(sorted(item.labels.items()))
        subset = Subset(item.name, labels, own, written.key, place.field)
        subsets.setdefault(item.name, subset)
    compiled = Destination(
        rule=written.key,
        host=resolve(spec.host, namespace),
        export_to=export_to(spec.export_to or mesh.destination_rule_export_to, namespace),
        selector=client_selector(written),
        created=written.metadata.creation_timestamp,
        policy=policy,
        subsets=tuple(subsets.values()),
    )
    return Compiled(compiled, tuple(report.problems))


def client_selector(written: api.DestinationRule) -> Labels | None:
    """The labels of the only clients that the rule is for; None: it is for all."""
    selector = written.spec.workload_selector
    return None if selector is None else tuple(sorted(selector.match_labels.items()))


# The rules of a namespace.


@dataclass(frozen=True, slots=True)
class DestinationIndex:
    """By host as written. At each host: with a selector first, then by age.

    ``wildcards`` are those hosts that are some, the most specific first.
    """

    by_host: Mapping[Hostname, tuple[Destination, ...]]
    wildcards: tuple[Hostname, ...] = ()


def index(destinations: Iterable[Destination]) -> Compiled[DestinationIndex]:
    """Rules of one host, visibility and selector are one: the oldest's policy, all their subsets."""
    merged: dict[tuple[Hostname, frozenset[str], Labels | None], Destination] = {}
    problems: list[Problem] = []
    for item in sorted(destinations, key=lambda d: (d.created, d.rule)):
        group = (item.host, item.export_to, item.selector)
        older = merged.get(group)
        merged[group] = (
            item if older is None else _merge(older, item, Report(item.rule, "", problems))
        )
    by_host: dict[Hostname, list[Destination]] = {}
    for item in merged.values():
        by_host.setdefault(item.host, []).append(item)
    ordered = {
        host: tuple(sorted(items, key=lambda d: (d.selector is None, d.created, d.rule)))
        for host, items in sorted(by_host.items())
    }
    wildcards = sorted(filter(is_wildcard, ordered), key=lambda host: (-len(host), host))
    return Compiled(DestinationIndex(ordered, tuple(wildcards)), tuple(problems))


def _merge(older: Destination, newer: Destination, report: Report) -> Destination:
    if older.policy is not None and newer.policy is not None:
        report.at("spec.trafficPolicy").warning(
            "DestinationRuleConflict",
            f"{older.rule} is older and has a trafficPolicy for {older.host} too, which holds",
            "merge the two rules",
        )
    known = {subset.name for subset in older.subsets}
    for subset in newer.subsets:
        if subset.name in known:
            report.at(f"{subset.field}.name").warning(
                "DuplicateSubset",
                f"{older.rule} is older and defines the subset {subset.name} of {older.host} "
                "too, which holds",
                "merge the two rules, or rename the subset",
            )
    fresh = tuple(subset for subset in newer.subsets if subset.name not in known)
    return dataclasses.replace(
        older,
        policy=newer.policy if older.policy is None else older.policy,
        subsets=older.subsets + fresh,
    )


# The rule in force.


def select(
    host: Hostname,
    service_namespace: Namespace,
    scope: Scope,
    root: Namespace,
    index_of: Callable[[Namespace], DestinationIndex],
) -> Destination | None:
    """What holds for clients of ``scope``: in their namespace, the service's, the ``root``.

    In each the most specific host counts. A client in the root namespace, where rules for the
    whole mesh live, takes there only what is meant for that namespace alone before it looks in
    the service's.
    """
    client = scope.namespace
    if client == root:
        own = _select_in(index_of(root), host, scope, lambda d: d.export_to == {root})
    else:
        own = _select_in(index_of(client), host, scope, lambda d: True)
    if own is not None:
        return own
    for namespace in dict.fromkeys((service_namespace, root)):
        if namespace == client != root:
            continue
        found = _select_in(index_of(namespace), host, scope, lambda d: True)
        if found is not None:
            return found
    return None


def _select_in(
    rules: DestinationIndex,
    host: Hostname,
    scope: Scope,
    condition: Callable[[Destination], bool],
) -> Destination | None:
    def applies(item: Destination) -> bool:
        return condition(item) and is_for(item, scope)

    patterns = (host, *(pattern for pattern in rules.wildcards if covers(pattern, host)))
    candidates = (item for pattern in patterns for item in rules.by_host.get(pattern, ()))
    return next(filter(applies, candidates), None)


def is_for(item: Destination, scope: Scope) -> bool:
    """Whether it is exported to clients of ``scope``, and selects them if it selects."""
    if not item.export_to & {PUBLIC, scope.namespace}:
        return False
    if item.selector is None:
        return True
    return item.rule.namespace == scope.namespace and item.selector in scope.classes


# The cluster.


@dataclass(frozen=True, slots=True)
class Target:
    """What a cluster is for: a service's port, and a subset (empty: none) for a client's type."""

    service: Service
    port: ServicePort
    subset: str
    client: ProxyType


def cluster(
    target: Target,
    chosen: Destination | None,
    endpoints: EndpointSummary,
    defaults: TrafficDefaults,
) -> Cluster:
    """``chosen`` is the rule in force; ``endpoints`` are the subset's."""
    policy = policy_of(chosen, target.port.number, target.subset, defaults.policy)
    pool = policy.connection_pool or _default_pool(defaults)
    discovery = _discovery(target, policy)
    if isinstance(policy.tls, CredentialTlsPolicy):
        selected = chosen is not None and chosen.selector is not None
        own = client_credentials(policy.tls, target.client, selected=selected)
        policy = dataclasses.replace(policy, tls=own)
    tls = _client_tls(target, policy, discovery, endpoints, defaults)
    balancer = policy.load_balancer
    service = target.service
    return Cluster(
        key=ClusterKey(target.port.number, target.subset, service.hostname),
        service=ServiceName(service.hostname, service.name, service.namespace),
        protocol=_protocol(target, pool, tls, endpoints, defaults),
        discovery=discovery,
        load_balancer=LeastRequest()
        if balancer is None or isinstance(balancer, Passthrough)
        else balancer,
        weighted_localities=_is_weighted(policy),
        zones=policy.zones if target.client is ProxyType.SIDECAR else None,
        connection_pool=pool.pool,
        outlier_detection=detection(policy),
        retry_budget=policy.retry_budget,
        tls=tls,
        proxy_protocol=policy.proxy_protocol,
        tunnel=policy.tunnel,
        rule=None if chosen is None else chosen.rule,
        dns_refresh=defaults.dns_refresh,
        stat_name=stat_name(defaults.outbound_stat_name, service, target.port, target.subset),
    )


def _is_weighted(policy: TrafficPolicy) -> bool:
    locality, zones = policy.locality, policy.zones
    shared_out = locality is not None and locality.enabled and bool(locality.distribute)
    return shared_out and not (zones is not None and zones.enabled)


def default_pool(defaults: TrafficDefaults) -> ConnectionPool:
    """What holds for clusters that no DestinationRule can name."""
    return (defaults.policy.connection_pool or _default_pool(defaults)).pool


def _default_pool(defaults: TrafficDefaults) -> PoolPolicy:
    return PoolPolicy(
        ConnectionPool(
            connect_timeout=defaults.connect_timeout, tcp_keepalive=defaults.tcp_keepalive
        )
    )


_DISCOVERY = {
    Resolution.DNS: Discovery.STRICT_DNS,
    Resolution.DNS_ROUND_ROBIN: Discovery.LOGICAL_DNS,
    Resolution.DYNAMIC_DNS: Discovery.DYNAMIC,
}


def _discovery(target: Target, policy: TrafficPolicy) -> Discovery:
    """Sidecars' clients of headless services dial an endpoint; a subset or gateway must choose.

    Nobody dials through a gateway, so what resolves nothing has no endpoints there.
    """
    resolution = target.service.resolution
    if resolution in _DISCOVERY:
        dialled = isinstance(policy.load_balancer, Passthrough) and resolution.is_dns
        return Discovery.ORIGINAL_DST if dialled else _DISCOVERY[resolution]
    if isinstance(policy.load_balancer, Passthrough) and target.client is not ProxyType.GRPC:
        return Discovery.ORIGINAL_DST
    if resolution is Resolution.NONE and target.client is ProxyType.SIDECAR:
        return Discovery.ORIGINAL_DST
    dialled = target.service.headless and target.client is ProxyType.SIDECAR and not target.subset
    return Discovery.ORIGINAL_DST if dialled else Discovery.EDS


_WITH_ENDPOINTS = (Discovery.EDS, Discovery.STRICT_DNS, Discovery.LOGICAL_DNS)
"""Clusters whose endpoints carry metadata that says whether they take mesh mTLS."""


def _client_tls(
    target: Target,
    policy: TrafficPolicy,
    discovery: Discovery,
    endpoints: EndpointSummary,
    defaults: TrafficDefaults,
) -> Plaintext | MeshTls | OriginatedTls:
    match policy.tls:
        case Plaintext():
            return policy.tls
        case OriginatedTls(peers=peers):
            named = peers or tuple(ExactName(name) for name in target.service.peers)
            parameters = None if defaults.tls == NO_PARAMETERS else defaults.tls
            return dataclasses.replace(policy.tls, peers=named, parameters=parameters)
        case CredentialTlsPolicy():
            raise AssertionError("decided before")
        case MeshTlsPolicy(sni, peers):
            own = peers or peer_names(target.service, endpoints, defaults)
            return MeshTls(MeshTlsUse.ALWAYS, own, sni, defaults.mesh_curves)
    if not defaults.auto_mtls or target.service.external:
        return Plaintext()
    peers = peer_names(target.service, endpoints, defaults)
    if discovery in _WITH_ENDPOINTS:
        return MeshTls(MeshTlsUse.PER_ENDPOINT, peers, curves=defaults.mesh_curves)
    # The endpoints of such a cluster carry no metadata to choose by, so all must agree.
    if endpoints.identities and endpoints.all_mtls:
        return MeshTls(MeshTlsUse.ALWAYS, peers, curves=defaults.mesh_curves)
    return Plaintext()


def _protocol(
    target: Target,
    pool: PoolPolicy,
    tls: Plaintext | MeshTls | OriginatedTls,
    endpoints: EndpointSummary,
    defaults: TrafficDefaults,
) -> UpstreamProtocol:
    """HTTP/2 where both ends are sidecars, unless a limit is set that counts by connection."""
    declared = target.port.protocol
    may_be_http = declared.is_http or declared is Protocol.AUTO
    if pool.use_client_protocol and may_be_http:
        return UpstreamProtocol.DOWNSTREAM
    if declared.is_http2 or pool.h2_upgrade:
        return UpstreamProtocol.HTTP2
    if declared is Protocol.AUTO:
        sidecar = target.client is ProxyType.SIDECAR
        return UpstreamProtocol.DOWNSTREAM if sidecar else UpstreamProtocol.HTTP1
    if not declared.is_http:
        return UpstreamProtocol.TCP
    if pool.h2_upgrade is False or defaults.h2_upgrade is False:
        return UpstreamProtocol.HTTP1
    between_sidecars = isinstance(tls, MeshTls) and endpoints.all_mtls and not pool.http1_limits
    return (
        UpstreamProtocol.HTTP2
        if defaults.h2_upgrade or between_sidecars
        else UpstreamProtocol.HTTP1
    )


def client_credentials(
    policy: CredentialTlsPolicy, client: ProxyType, *, selected: bool
) -> OriginatedTls:
    """``selected``: the rule has a ``workloadSelector``, without which sidecars get no Secrets."""
    return policy.tls if client is ProxyType.ROUTER or selected else policy.without


def credential_policies(item: Destination) -> tuple[CredentialTlsPolicy, ...]:
    """Every credential that the rule names, at whatever level, each once."""
    policies = [item.policy or NO_POLICY, *(subset.policy for subset in item.subsets)]
    policies += [at_port for policy in policies for _, at_port in policy.ports]
    found = (p.tls for p in policies if isinstance(p.tls, CredentialTlsPolicy))
    return tuple(dict.fromkeys(found))


# What a rule names and is not there.


def check(
    item: Destination,
    service_of: Callable[[Hostname], Service | None],
    has_workloads: Callable[[Service, Labels], bool],
) -> tuple[Problem, ...]:
    """``has_workloads``: whether any workload of the service carries these labels."""
    report = Report(item.rule)
    if is_wildcard(item.host):
        return ()
    service = service_of(item.host)
    if service is None:
        report.at("spec.host").warning(
            "UnknownDestinationRuleHost",
            f"there is no service {item.host}, so the rule has no effect",
            "write a service's name, or its full <name>.<namespace>.svc.cluster.local",
        )
        return tuple(report.problems)
    ports = {port.number for port in service.ports}
    _check_ports(item.policy or NO_POLICY, ports, report.at("spec.trafficPolicy"), item.host)
    _check_tunnel(item.policy or NO_POLICY, service, report.at("spec.trafficPolicy"))
    for subset in item.subsets:
        place = Report(subset.rule, subset.field, report.problems)
        _check_ports(subset.policy, ports, place.at("trafficPolicy"), item.host)
        _check_tunnel(subset.policy, service, place.at("trafficPolicy"))
        if not has_workloads(service, subset.labels):
            labels = ", ".join(f"{key}={value}" for key, value in subset.labels)
            place.at("labels").warning(
                "SubsetSelectsNothing",
                f"no workload of {item.host} has the labels {labels}; requests sent to the "
                f"subset {subset.name} get a 503",
            )
    return tuple(report.problems)


def _check_ports(policy: TrafficPolicy, ports: set[int], report: Report, host: Hostname) -> None:
    for number, _ in policy.ports:
        if number not in ports:
            known = ", ".join(str(port) for port in sorted(ports))
            report.at("portLevelSettings").warning(
                "PortNotFound",
                f"{host} has no port {number}, so its settings have no effect",
                f"the service's ports: {known}",
            )


def _check_tunnel(policy: TrafficPolicy, service: Service, report: Report) -> None:
    if policy.tunnel is not None and all(port.protocol.is_http for port in service.ports):
        report.at("tunnel").warning(
            "NoEffect",
            f"only opaque bytes are tunnelled, and all ports of {service.hostname} are HTTP",
            "declare the port as TCP or TLS if it is a forward proxy",
        )
