"""Formulas of what a sidecar's own side needs: equal for all replicas of a workload."""

from argosy.base.problems import Compiled
from argosy.derive import Reader, formula
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundListener
from argosy.model.proxy import Role
from argosy.model.traffic import ApplicationCluster
from argosy.pilot.compile import applications, destinations, inbound
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.world import demands, mesh_settings, services_of_labels
from argosy.pilot.translate import cluster as cluster_translation
from argosy.pilot.translate import inbound_listener as listener_translation
from argosy.pilot.translate import names

_PREFIX = names.inbound_cluster(0).partition("|")[0] + "|"


def is_own_cluster(name: str) -> bool:
    """Whether a cluster leads to the application beside the proxy."""
    return name.startswith(_PREFIX) or name == names.INBOUND_PASSTHROUGH_CLUSTER


@formula
def compiled_listener(get: Reader, role: Role) -> Compiled[InboundListener]:
    """What the workload answers on, and what it demands there."""
    services = get(services_of_labels, role.namespace, role.labels)
    wanted = get(demands, role.namespace, role.labels)

    def mode(port: int | None) -> MtlsMode:
        return wanted.mode(port)

    return inbound.inbound_listener(services, role.ports, mode, (port for port, _ in wanted.ports))


@formula
def listener_resource(get: Reader, role: Role) -> Encoded:
    listener = get(compiled_listener, role).value
    settings = get(mesh_settings).listeners
    return encode(names.VIRTUAL_INBOUND, listener_translation.virtual_inbound(listener, settings))


@formula
def application_clusters(get: Reader, role: Role) -> tuple[ApplicationCluster, ...]:
    """The workload's ports that services name, sorted."""
    listener = get(compiled_listener, role).value
    services = get(services_of_labels, role.namespace, role.labels)
    traffic = get(mesh_settings).traffic
    pool = destinations.default_pool(traffic)
    return applications.application_clusters(
        listener, services, role.ports, pool, loopback=traffic.loopback
    )


@formula
def cluster_names(get: Reader, role: Role) -> tuple[str, ...]:
    own = (names.inbound_cluster(cluster.port) for cluster in get(application_clusters, role))
    return (*own, names.INBOUND_PASSTHROUGH_CLUSTER)


@formula
def cluster_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    if name == names.INBOUND_PASSTHROUGH_CLUSTER:
        pool = destinations.default_pool(get(mesh_settings).traffic)
        return encode(name, cluster_translation.inbound_passthrough_cluster(pool))
    for cluster in get(application_clusters, role):
        if names.inbound_cluster(cluster.port) == name:
            return encode(name, cluster_translation.application_cluster(cluster))
    return None
