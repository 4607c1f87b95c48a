"""Formulas over DestinationRules: which one is in force, and the clusters of a scope."""

from dataclasses import replace

from argosy.api.networking_destination_rule import DestinationRule
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.derive import Reader, formula
from argosy.model.proxy import ClusterKey, Scope
from argosy.model.proxy_traffic import USUAL_TRAFFIC
from argosy.model.route import HashPolicy
from argosy.model.secret import CredentialReference, Flaw
from argosy.model.service import Service
from argosy.model.traffic import (
    Cluster,
    CredentialMissing,
    Destination,
    Discovery,
    OriginatedTls,
)
from argosy.model.workload import Labels
from argosy.pilot.compile import destinations as compiling
from argosy.pilot.compile import localities, port_policies
from argosy.pilot.compile.destinations import DestinationIndex, Target
from argosy.pilot.compile.endpoints import selects, serving
from argosy.pilot.compile.hostnames import covers, is_wildcard
from argosy.pilot.graph.credentials import credential
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.world import (
    all_services,
    candidate_pods,
    endpoint_summary,
    keys,
    labelled,
    mesh_settings,
    names_of,
    read,
    service_endpoints,
    service_exported_to,
    service_of_host,
)
from argosy.pilot.translate import cluster as cluster_translation
from argosy.pilot.translate import names
from argosy.pilot.translate.proxy_traffic import apply_to_cluster

KIND = "DestinationRule"


@formula
def destination_rule(get: Reader, namespace: Namespace, name: str) -> DestinationRule | None:
    return read(get, ObjectKey(KIND, namespace, name), DestinationRule)


@formula
def compiled_destination(
    get: Reader, namespace: Namespace, name: str
) -> Compiled[Destination] | None:
    written = get(destination_rule, namespace, name)
    return None if written is None else compiling.destination(written, get(mesh_settings))


@formula
def compiled_index(get: Reader, namespace: Namespace) -> Compiled[DestinationIndex]:
    """The rules of a namespace, merged where they are for the same clients and host."""
    found = (get(compiled_destination, namespace, name) for name in names_of(get, KIND, namespace))
    return compiling.index(compiled.value for compiled in found if compiled is not None)


@formula
def index(get: Reader, namespace: Namespace) -> DestinationIndex:
    return get(compiled_index, namespace).value


@formula
def client_selectors(get: Reader) -> tuple[Labels, ...]:
    """The label sets by which DestinationRules choose their clients, sorted."""
    found = set()
    for key in keys(get, KIND):
        written = get(destination_rule, key.namespace, key.name)
        selector = None if written is None else compiling.client_selector(written)
        if selector is not None:
            found.add(selector)
    return tuple(sorted(found))


def service_meant(get: Reader, namespace: Namespace, host: Hostname) -> Service | None:
    """What a host means to a namespace, or to others if nothing is exported to it."""
    return get(service_exported_to, namespace, host) or get(service_of_host, host)


@formula
def chosen(get: Reader, scope: Scope, host: Hostname) -> Destination | None:
    """The rule in force for a host, as proxies of the scope see it."""
    service = service_meant(get, scope.namespace, host)
    namespace = scope.namespace if service is None else service.namespace
    root = get(mesh_settings).traffic.root_namespace

    def index_of(of: Namespace) -> DestinationIndex:
        return get(index, of)

    return compiling.select(host, namespace, scope, root, index_of)


@formula
def subset_names(get: Reader, scope: Scope, host: Hostname) -> frozenset[str]:
    return port_policies.subset_names(get(chosen, scope, host))


@formula
def hash_policy(
    get: Reader, scope: Scope, host: Hostname, port: int, subset: str
) -> HashPolicy | None:
    return port_policies.hash_policy(get(chosen, scope, host), port, subset)


@formula
def subset_labels(get: Reader, scope: Scope, host: Hostname, subset: str) -> Labels | None:
    """The labels of a subset; None when the rule in force has none of that name."""
    if not subset:
        return ()
    rule = get(chosen, scope, host)
    found = rule.get_subset(subset) if rule else None
    return None if found is None else found.labels


# Clusters.


@formula
def cluster(get: Reader, scope: Scope, key: ClusterKey) -> Cluster | None:
    """None when the service, its port or the subset is not there."""
    host = Hostname(key.host)
    service = get(service_exported_to, scope.namespace, host)
    if service is None:
        return None
    port = service.get_port(key.port)
    labels = get(subset_labels, scope, host, key.subset)
    if port is None or labels is None:
        return None
    summary = get(endpoint_summary, service.namespace, host, key.port, labels)
    target = Target(service, port, key.subset, scope.type)
    traffic = get(mesh_settings).traffic
    made = compiling.cluster(target, get(chosen, scope, host), summary, traffic)
    if isinstance(made.tls, OriginatedTls) and any(
        isinstance(get(credential, scope.namespace, reference), Flaw)
        for reference in made.tls.references
    ):
        made = replace(made, tls=CredentialMissing())
    if made.discovery not in (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS):
        return made
    found = get(service_endpoints, service.namespace, host, key.port)
    return replace(made, groups=localities.groups(serving(found, labels), None))


# Credentials of clients.


@formula
def credential_rules(get: Reader) -> tuple[Destination, ...]:
    """The rules of the mesh that name credentials."""
    found = (get(compiled_destination, key.namespace, key.name) for key in keys(get, KIND))
    return tuple(
        compiled.value
        for compiled in found
        if compiled is not None and compiling.credential_policies(compiled.value)
    )


@formula
def credential_hosts(get: Reader) -> frozenset[Hostname]:
    """Hosts whose clusters depend on the credentials of each namespace."""
    return frozenset(rule.host for rule in get(credential_rules))


@formula
def hosts_of_rule(get: Reader, host: Hostname) -> tuple[Hostname, ...]:
    """What a rule's host stands for: itself, or the services that a wildcard covers."""
    if not is_wildcard(host):
        return (host,)
    covered = (s.hostname for s in get(all_services) if covers(host, s.hostname))
    return tuple(sorted({host, *covered}))


@formula
def references_of(get: Reader, scope: Scope) -> frozenset[CredentialReference]:
    """The credentials that rules in force for proxies of the scope name."""
    hosts = {
        host
        for rule in get(credential_rules)
        if compiling.is_for(rule, scope)
        for host in get(hosts_of_rule, rule.host)
    }
    own = replace(scope.anywhere, proxy=USUAL_TRAFFIC)
    found = (get(chosen, own, host) for host in sorted(hosts))
    return frozenset(
        reference
        for rule in found
        if rule is not None
        for policy in compiling.credential_policies(rule)
        for reference in compiling.client_credentials(
            policy, scope.type, selected=rule.selector is not None
        ).references
    )


@formula
def service_clusters(get: Reader, scope: Scope, host: Hostname) -> tuple[str, ...]:
    """The names of one service's clusters: each port, with and without each subset."""
    service = get(service_exported_to, scope.namespace, host)
    if service is None:
        return ()
    subsets = ("", *sorted(get(subset_names, scope, host)))
    return tuple(
        names.cluster_name(ClusterKey(port.number, subset, host))
        for port in service.ports
        for subset in subsets
    )


@formula
def cluster_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    if name == names.DYNAMIC_DNS_CLUSTER:
        settings = get(mesh_settings)
        pool = compiling.default_pool(settings.traffic)
        made = cluster_translation.dynamic_dns_cluster(pool, settings.traffic.dynamic_dns_tls)
        return encode(name, apply_to_cluster(made, scope.proxy))
    if name in (names.PASSTHROUGH_CLUSTER, names.BLACK_HOLE_CLUSTER):
        pool = compiling.default_pool(get(mesh_settings).traffic)
        if name == names.PASSTHROUGH_CLUSTER:
            made = cluster_translation.passthrough_cluster(pool)
            return encode(name, apply_to_cluster(made, scope.proxy))
        return encode(name, cluster_translation.black_hole_cluster(pool))
    key = names.get_cluster_key(name)
    found = None if key is None else get(cluster, scope, key)
    if found is None:
        return None
    return encode(name, apply_to_cluster(cluster_translation.cluster(found), scope.proxy))


# What is wrong with them.


@formula
def rule_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    compiled = get(compiled_destination, namespace, name)
    if compiled is None:
        return ()

    def service_of(host: Hostname) -> Service | None:
        return get(service_of_host, host)

    def has_workloads(service: Service, labels: Labels) -> bool:
        if service.entry is not None:
            ports = (port.number for port in service.ports)
            found = (get(service_endpoints, service.namespace, service.hostname, p) for p in ports)
            return any(selects(labels, e.labels) for endpoints in found for e in endpoints)
        wanted = tuple(sorted({*service.selector, *labels}))
        return bool(
            get(candidate_pods, service.namespace, wanted)
            or labelled(get, "WorkloadEntry", service.namespace, wanted)
        )

    return (
        *compiled.problems,
        *get(compiled_index, namespace).problems,
        *compiling.check(compiled.value, service_of, has_workloads),
    )
