"""Formulas by which proxies of different namespaces share what looks the same to them.

Most hosts look alike from everywhere: what proxies get for them is computed once, as a proxy in
``NOWHERE`` would see it, a namespace that has no objects and that nothing is exported to. A host
that a namespace may see otherwise is computed for its scope. Deciding so may err on the side of
the scope only; both ways give the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from argosy.base.names import Hostname, Namespace
from argosy.derive import Reader, formula
from argosy.model.locality import ANYWHERE
from argosy.model.proxy import Scope, Sight
from argosy.model.route import Forward, HttpRule
from argosy.model.service import Service
from argosy.pilot.compile.attachments import EVERYWHERE
from argosy.pilot.compile.hostnames import is_wildcard
from argosy.pilot.graph import destinations, rules
from argosy.pilot.graph.hosts import HostSet, host_set
from argosy.pilot.graph.localities import placed_hosts
from argosy.pilot.graph.world import all_services, contested_hosts, namespaces

NOWHERE = Namespace("")


def common(scope: Scope) -> Scope:
    """The scope of proxies of the same type that have nothing of their own."""
    return Scope(scope.type, NOWHERE, proxy=scope.proxy.of_clusters)


def of_host(get: Reader, scope: Scope, host: Hostname) -> Scope:
    """The scope to compute what proxies of ``scope`` get for a host's clusters."""
    own = host in get(particular_hosts, scope.namespace)
    return replace(scope.routing, proxy=scope.proxy.of_clusters) if own else common(scope)


def of_endpoints(get: Reader, scope: Scope, host: Hostname) -> Scope:
    """Likewise for its endpoints, which also depend on where the proxy stands."""
    found = of_host(get, scope, host)
    if scope.place == ANYWHERE or host not in get(placed_hosts):
        return found
    return replace(found, place=scope.place)


def of_routes(get: Reader, scope: Scope, service: Service) -> Scope:
    """Likewise for the virtual hosts of a service: within a namespace they have a shorter name."""
    host = service.hostname
    is_own = service.namespace == scope.namespace or host in get(ruled_apart, scope.sight)
    return scope if is_own else of_host(get, scope, host)


@formula
def particular_hosts(get: Reader, namespace: Namespace) -> HostSet:
    """Where a DestinationRule or service may mean something else than to everybody.

    The rules of the client's own namespace, those and services not exported to all; hosts that
    several namespaces define; those of rules that name credentials, which are a namespace's own.
    """
    hosts = {
        *get(destinations.index, namespace).by_host,
        *get(private_services).get(namespace, ()),
        *get(private_rules).get(namespace, ()),
        *get(contested_hosts),
        *get(destinations.credential_hosts),
    }
    return host_set(hosts)


@formula
def apart(get: Reader, scope: Scope) -> HostSet:
    """The hosts of which proxies of a scope may have clusters or endpoints that others have not."""
    own = get(particular_hosts, scope.namespace)
    return own if scope.place == ANYWHERE else own | get(placed_hosts)


_ByNamespace = Mapping[str, tuple[Hostname, ...]]


@formula
def private_services(get: Reader) -> _ByNamespace:
    """Services that are not exported to all, by the namespaces that they are exported to."""
    found: dict[str, list[Hostname]] = {}
    for service in get(all_services):
        if EVERYWHERE not in service.export_to:
            for namespace in service.export_to:
                found.setdefault(namespace, []).append(service.hostname)
    return _frozen(found)


@formula
def private_rules(get: Reader) -> _ByNamespace:
    """The hosts of DestinationRules that are not exported to all, by whom they are exported to."""
    found: dict[str, list[Hostname]] = {}
    for owner in namespaces(get, destinations.KIND):
        for host, items in get(destinations.index, Namespace(owner)).by_host.items():
            for item in items:
                if EVERYWHERE not in item.export_to:
                    for namespace in item.export_to:
                        found.setdefault(namespace, []).append(host)
    return _frozen(found)


def _frozen(found: Mapping[str, list[Hostname]]) -> _ByNamespace:
    return MappingProxyType({key: tuple(hosts) for key, hosts in sorted(found.items())})


@dataclass(frozen=True, slots=True)
class Reach:
    """What the rules of a host depend on besides themselves.

    ``by_client``: they ask who the client is, or not every namespace has the same.
    """

    by_client: bool
    destinations: frozenset[Hostname]


@formula
def reaches(get: Reader) -> Mapping[Hostname, Reach]:
    """Every service that VirtualServices have rules for."""
    claimed = get(rules.mesh_claims)
    wild = any(map(is_wildcard, claimed))
    return MappingProxyType(
        {
            service.hostname: get(reach, service.hostname)
            for service in get(all_services)
            if wild or service.hostname in claimed
        }
    )


@formula
def reach(get: Reader, host: Hostname) -> Reach:
    claims = rules.claims_for(get, host, NOWHERE)
    if any(EVERYWHERE not in attachment.export_to for attachment in claims):
        return Reach(True, frozenset())
    found = get(rules.mesh_rules, host, Sight(NOWHERE))
    by_client = any(m.source_labels or m.source_namespace for r in found for m in r.matches)
    return Reach(by_client, frozenset(host for rule in found for host in _destinations(rule)))


def _destinations(rule: HttpRule) -> tuple[Hostname, ...]:
    if not isinstance(rule.action, Forward):
        return ()
    routed = (weighted.destination.host for weighted in rule.action.destinations)
    return (*routed, *(mirror.destination.host for mirror in rule.action.mirrors))


@formula
def ruled_apart(get: Reader, sight: Sight) -> frozenset[Hostname]:
    """The services whose rules may lead proxies of this ``sight`` elsewhere than others."""
    particular = get(particular_hosts, sight.namespace)
    return frozenset(
        host
        for host, found in get(reaches).items()
        if found.by_client
        or any(target in particular for target in found.destinations)
        or (sight.sidecar is not None and not _all_rules_seen(get, sight, host))
    )


def _all_rules_seen(get: Reader, sight: Sight, host: Hostname) -> bool:
    """Whether a Sidecar imports every VirtualService that may rule a host."""
    return all(rules.is_imported(get, sight, claim) for claim in get(rules.claims_on, host))
