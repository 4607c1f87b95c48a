"""Formulas of endpoints, and of where proxies stand as far as their endpoints depend on it."""

from argosy.base.names import Hostname, Namespace
from argosy.derive import Reader, formula
from argosy.model.locality import ANYWHERE, Place, Placement
from argosy.model.proxy import Role, Scope
from argosy.model.workload import Endpoint, Labels
from argosy.pilot.compile import localities
from argosy.pilot.compile import port_policies as compiling
from argosy.pilot.compile.endpoints import serving
from argosy.pilot.graph import destinations
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.hosts import EVERY_HOST, HostSet, host_set
from argosy.pilot.graph.world import keys, mesh_settings, service_endpoints, services_of_labels
from argosy.pilot.translate import endpoint as endpoint_translation
from argosy.pilot.translate import names


@formula
def placed_hosts(get: Reader) -> HostSet:
    """The hosts of which some client may get other endpoints than another, for where it stands.

    May hold more: where a rule is not in force, or all endpoints are at one place.
    """
    mesh = get(mesh_settings).traffic.policy
    if localities.asks_where(mesh):
        return EVERY_HOST
    found = set()
    for key in keys(get, destinations.KIND):
        compiled = get(destinations.compiled_destination, key.namespace, key.name)
        if compiled is not None and any(
            localities.asks_where(policy) for policy in compiling.policies(compiled.value, mesh)
        ):
            found.add(compiled.value.host)
    return host_set(found)


@formula
def priority_labels(get: Reader) -> tuple[str, ...]:
    """The labels whose value at the client decides about endpoints, sorted."""
    policies = [get(mesh_settings).traffic.policy]
    for key in keys(get, destinations.KIND):
        compiled = get(destinations.compiled_destination, key.namespace, key.name)
        if compiled is not None:
            policies += compiling.policies(compiled.value)
    settings = (one for policy in policies for one in (policy.locality, policy.zones) if one)
    found = (setting.priorities for setting in settings)
    return tuple(sorted({name for names in found for name, value in names if value is None}))


@formula
def place_of(get: Reader, role: Role) -> Place:
    """Where a proxy stands, as far as anything depends on it."""
    if not get(placed_hosts):
        return ANYWHERE
    own = localities.topology_labels(role.labels, role.locality)
    labels = get(priority_labels)
    return Place(role.locality, tuple((name, own[name]) for name in labels if name in own))


@formula
def placement(
    get: Reader, scope: Scope, host: Hostname, port: int, subset: str
) -> Placement | None:
    """How a client of the scope is led to the endpoints of a cluster."""
    defaults = get(mesh_settings).traffic.policy
    chosen = get(destinations.chosen, scope.anywhere, host)
    policy = compiling.policy_of(chosen, port, subset, defaults)
    return localities.placement(policy, scope.place)


# Endpoints.


@formula
def endpoints_resource(get: Reader, scope: Scope, name: str) -> Encoded | None:
    """The ClusterLoadAssignment of a cluster, as the scope's rule and place have it."""
    key = names.get_cluster_key(name)
    if key is None:
        return None
    host = Hostname(key.host)
    service = destinations.service_meant(get, scope.namespace, host)
    labels = get(destinations.subset_labels, scope.anywhere, host, key.subset)
    if service is None or labels is None:
        return None
    placed = get(placement, scope, host, key.port, key.subset)
    return get(load_assignment, service.namespace, name, labels, placed)


@formula
def load_assignment(
    get: Reader, namespace: Namespace, name: str, labels: Labels, placement: Placement | None
) -> Encoded | None:
    """Shared by all scopes. A service that is gone has none; one without endpoints has an empty one."""
    key = names.get_cluster_key(name)
    assert key is not None, "the caller took it apart already"
    ready = serving(get(service_endpoints, namespace, Hostname(key.host), key.port), labels)
    groups = localities.groups(ready, placement)
    return encode(name, endpoint_translation.cluster_load_assignment(name, groups))


@formula
def local_cluster(get: Reader, role: Role) -> Encoded:
    """The proxy's own kind: the replicas of the oldest service that it belongs to, by zone.

    What Envoy compares a destination's zones with.
    """
    services = get(services_of_labels, role.namespace, role.labels)
    ports = services[0].ports if services else ()
    found: tuple[Endpoint, ...] = ()
    if ports:
        own = services[0]
        found = get(service_endpoints, own.namespace, own.hostname, ports[0].number)
    groups = localities.groups(serving(found))
    name = names.LOCAL_CLUSTER
    return encode(name, endpoint_translation.cluster_load_assignment(name, groups))
