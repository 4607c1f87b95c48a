"""Rules → routes of one port, as one client sees them; the tables of a sidecar.

Naming and order follow Istio: one virtual host for each service port, the first route that
matches wins, and a service without rules gets the route ``default``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from argosy.base.names import Hostname
from argosy.model.proxy import ClusterKey, Scope
from argosy.model.route import (
    DEFAULT_RETRIES,
    MESH,
    DirectResponse,
    Exact,
    Forward,
    HashPolicy,
    HttpRule,
    MirrorCluster,
    Prefix,
    Redirect,
    Regex,
    RetryPolicy,
    Route,
    RouteLookup,
    RouteMatch,
    RouteTable,
    RouteTo,
    RuleMatch,
    RuleRedirect,
    UnknownHosts,
    VirtualHost,
    WeightedCluster,
)
from argosy.model.service import Service, ServicePort
from argosy.pilot.compile.hostnames import aliases, is_wildcard
from argosy.pilot.compile.references import cluster_key

DEFAULT_ROUTE = "default"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Listening:
    """Where requests come in: the gateway (``mesh`` for sidecars), and the port they called."""

    gateway: str
    port: int
    tls: bool = False


def mesh_virtual_host(
    service: Service,
    port: ServicePort,
    rules: tuple[HttpRule, ...],
    scope: Scope,
    lookup: RouteLookup,
    retries: RetryPolicy | None = DEFAULT_RETRIES,
) -> VirtualHost:
    """One port of a service, as sidecars of ``scope`` call it.

    ``retries`` are those of requests that no rule is for.

    ``rules`` are those of the VirtualService that wins the host, or none. Where none of them is
    for this client and port, the service answers as if there were no rules.
    """
    listening = Listening(MESH, port.number)
    routes = routes_of(rules, listening, scope, lookup)
    if not routes:
        routes = (default_route(service.hostname, port.number, lookup, retries),)
    short = aliases(service.hostname, scope.namespace)
    addresses = tuple(_address_domain(a) for a in service.addresses if "/" not in a)
    own: tuple[str, ...] = (service.hostname, *addresses)
    if service.headless and not is_wildcard(service.hostname):
        # Clients also call the replicas of a headless service by their own names.
        own += (f"*.{service.hostname}",)
        short += tuple(f"*.{name}" for name in short)
    return VirtualHost(service.hostname, port.number, own, routes, short)


def rule_virtual_host(
    host: Hostname,
    port: int,
    rules: tuple[HttpRule, ...],
    scope: Scope,
    lookup: RouteLookup,
) -> VirtualHost | None:
    """A host that rules name but that is no service (``bookinfo.com``); None: no rule applies.

    ``*`` is what becomes of unknown hosts, on which rules have no say in a sidecar.
    """
    if host == "*":
        return None
    routes = routes_of(rules, Listening(MESH, port), scope, lookup)
    return VirtualHost(host, port, (_address_domain(host),), routes) if routes else None


def mesh_table(
    name: str, virtual_hosts: Iterable[VirtualHost], unknown_hosts: UnknownHosts
) -> RouteTable:
    """The table of one port: every virtual host has that port."""
    return RouteTable(name, distinct_domains(virtual_hosts), unknown_hosts)


def host_table(name: str, virtual_host: VirtualHost) -> RouteTable:
    """The table of a listener that serves one service only, so every Host means that service."""
    return RouteTable(name, (replace(virtual_host, domains=("*",), aliases=()),))


def mixed_table(
    name: str, virtual_hosts: Iterable[VirtualHost], unknown_hosts: UnknownHosts
) -> RouteTable:
    """The table of a listener that serves all ports (an HTTP proxy): Host decides the port.

    ``host:port`` for every port, and ``host`` alone for port 80.
    """
    hosts = [
        replace(
            host,
            domains=_with_port(host.domains, host.port),
            aliases=_with_port(host.aliases, host.port),
        )
        for host in virtual_hosts
    ]
    return RouteTable(name, distinct_domains(hosts), unknown_hosts, ignore_port=False)


def distinct_domains(virtual_hosts: Iterable[VirtualHost]) -> tuple[VirtualHost, ...]:
    """Each domain once, since Envoy refuses a table with duplicates; sorted by host and port.

    An own domain goes to the first virtual host that has it; an alias only if nobody owns it.
    A virtual host that keeps no domain is left out.
    """
    ordered = sorted(virtual_hosts, key=lambda host: (host.host, host.port))
    taken: set[str] = set()
    owned = [_not_taken(host.domains, taken) for host in ordered]
    kept = []
    for host, domains in zip(ordered, owned, strict=True):
        others = _not_taken(host.aliases, taken)
        if (domains, others) == (host.domains, host.aliases):
            kept.append(host)
        elif domains or others:
            kept.append(replace(host, domains=domains, aliases=others))
    return tuple(kept)


def _not_taken(domains: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    """Adds to ``taken``."""
    free = tuple(d for d in dict.fromkeys(domains) if d.lower() not in taken)
    taken.update(d.lower() for d in free)
    return free


def _with_port(domains: tuple[str, ...], port: int) -> tuple[str, ...]:
    qualified = tuple(f"{domain}:{port}" for domain in domains)
    return domains + qualified if port == 80 else qualified


def _address_domain(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def default_route(
    host: Hostname, port: int, lookup: RouteLookup, retries: RetryPolicy | None = DEFAULT_RETRIES
) -> Route:
    """All requests to the service itself, without timeout."""
    policy = lookup.hash_policy(host, port, "")
    cluster = WeightedCluster(ClusterKey(port, "", host))
    hashes = () if policy is None else (policy,)
    action = RouteTo((cluster,), retries=_retries(retries, hashes), hash_policies=hashes)
    match = RouteMatch()
    return Route(match, action, DEFAULT_ROUTE, operation=f"{host}:{port}/*")


def routes_of(
    rules: Iterable[HttpRule], listening: Listening, scope: Scope, lookup: RouteLookup
) -> tuple[Route, ...]:
    """The rules that are for this client and listener, up to the first that takes everything."""
    routes: list[Route] = []
    for rule in rules:
        matches = [match for match in rule.matches if applies(match, listening, scope)]
        if not matches:
            continue
        action = _action(rule, listening, lookup)
        for match in matches:
            routes.append(_route(rule, match, action, listening))
            if match.request.is_catch_all:
                return tuple(routes)
    return tuple(routes)


def applies(match: RuleMatch, listening: Listening, scope: Scope) -> bool:
    """The conditions that are known before any request: port, gateway, client's labels."""
    return (
        match.port in (None, listening.port)
        and (not match.gateways or listening.gateway in match.gateways)
        and (not match.source_labels or match.source_labels in scope.classes)
        and match.source_namespace in ("", scope.namespace)
    )


def _route(
    rule: HttpRule,
    match: RuleMatch,
    action: RouteTo | Redirect | DirectResponse,
    listening: Listening,
) -> Route:
    return Route(
        match=match.request,
        action=action,
        name=".".join(part for part in (rule.name, match.name) if part),
        operation=_operation(rule, match.request, action, listening),
        stat_prefix=match.stat_prefix,
        headers=rule.headers,
        fault=rule.fault,
        cors=rule.cors,
        virtual_service=rule.virtual_service,
    )


def _action(
    rule: HttpRule, listening: Listening, lookup: RouteLookup
) -> RouteTo | Redirect | DirectResponse:
    match rule.action:
        case Forward():
            return _route_to(rule.action, listening, lookup)
        case RuleRedirect():
            return _redirect(rule.action, listening)
        case DirectResponse():
            return rule.action


def _route_to(forward: Forward, listening: Listening, lookup: RouteLookup) -> RouteTo:
    clusters = []
    policies = []
    for weighted in forward.destinations:
        key = cluster_key(weighted.destination, listening.port, lookup)
        clusters.append(WeightedCluster(key, weighted.weight, weighted.headers, weighted.authority))
        policies.append(lookup.hash_policy(weighted.destination.host, key.port, key.subset))
    hashes = tuple(dict.fromkeys(policy for policy in policies if policy is not None))
    mirrors = tuple(
        MirrorCluster(cluster_key(mirror.destination, listening.port, lookup), mirror.share)
        for mirror in forward.mirrors
    )
    return RouteTo(
        clusters=tuple(clusters),
        rewrite=forward.rewrite,
        authority=forward.authority,
        timeout=forward.timeout,
        retries=_retries(forward.retries, hashes),
        mirrors=mirrors,
        hash_policies=hashes,
    )


def _retries(policy: RetryPolicy | None, hashes: tuple[HashPolicy, ...]) -> RetryPolicy | None:
    """A consistent hash means the same host again, so nothing keeps a retry away from it."""
    if policy is None or policy.previous_hosts is not None:
        return policy
    return replace(policy, previous_hosts=not hashes)


def _redirect(rule: RuleRedirect, listening: Listening) -> Redirect:
    """A port that is the scheme's default is not spelled out."""
    redirect = rule.redirect
    port = listening.port if rule.port_of_request else redirect.port
    scheme = redirect.scheme or ("https" if listening.tls else "http")
    if port == _DEFAULT_PORTS.get(scheme):
        port = None
    return replace(redirect, port=port)


def _operation(
    rule: HttpRule,
    match: RouteMatch,
    action: RouteTo | Redirect | DirectResponse,
    listening: Listening,
) -> str:
    """``reviews.default.svc.cluster.local:9080/*``, or by the rule's name if there are several."""
    match match.path:
        case Prefix(value):
            path = f"{value}*"
        case Exact(value) | Regex(value):
            path = value
    if isinstance(action, RouteTo) and len(action.clusters) == 1:
        cluster = action.clusters[0].cluster
        if isinstance(cluster, ClusterKey):
            return f"{cluster.host}:{cluster.port}{path}"
    return f"{rule.virtual_service.name}:{listening.port}{path}"
