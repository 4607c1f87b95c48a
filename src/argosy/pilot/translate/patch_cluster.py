"""EnvoyFilters on clusters."""

from collections.abc import Iterator, Sequence

from envoy.config.cluster.v3 import cluster_pb2

from argosy.model.envoy_filter import ClusterMatch, Operation
from argosy.pilot.translate import names
from argosy.pilot.translate.endpoint import ISTIO_METADATA
from argosy.pilot.translate.patching import Effects, Patched, ValuedPatch, is_merge, patched
from argosy.pilot.translate.proto_merge import merge


def patch_cluster(cluster: cluster_pb2.Cluster, patches: Sequence[ValuedPatch]) -> Patched:
    return patched(cluster, patches, _apply, check_cluster)


def concerns(name: str, patch: ValuedPatch) -> bool:
    """Whether the cluster of this name may be meant: decided without looking at it."""
    match = patch.patch.match
    if not isinstance(match, ClusterMatch):
        return match is None
    if match.name:
        return match.name == name
    port, subset, host = names.cluster_facts(name)
    if match.subset and match.subset != subset:
        return False
    if match.port and match.port != port:
        return False
    return not (match.service and host) or match.service == host


def _apply(cluster: cluster_pb2.Cluster, patches: Sequence[ValuedPatch], effects: Effects) -> bool:
    name = cluster.name
    for patch in patches:
        if not concerns(name, patch) or not _serves(cluster, patch):
            continue
        if patch.patch.operation is Operation.REMOVE:
            effects.apply(patch)
            return False
        if is_merge(patch):
            _merge(cluster, patch)
            cluster.name = name
            effects.apply(patch, cluster)
    return True


def _serves(cluster: cluster_pb2.Cluster, patch: ValuedPatch) -> bool:
    """A workload's own cluster has its services in its metadata, not in its name."""
    match = patch.patch.match
    if not isinstance(match, ClusterMatch) or match.name or not match.service:
        return True
    if names.cluster_facts(cluster.name)[2]:
        return True
    services = cluster.metadata.filter_metadata.get(ISTIO_METADATA)
    if services is None or "services" not in services.fields:
        return False
    listed = services.fields["services"].list_value.values
    return any(one.struct_value.fields["host"].string_value == match.service for one in listed)


def _merge(cluster: cluster_pb2.Cluster, patch: ValuedPatch) -> None:
    """A transport socket goes to that of the same name, which may be one of several."""
    replace_lists = patch.patch.operation is Operation.MERGE_AND_REPLACE_LIST
    value = cluster_pb2.Cluster()
    value.CopyFrom(patch.value)
    if value.HasField("transport_socket") and cluster.transport_socket_matches:
        socket = value.transport_socket
        for match in cluster.transport_socket_matches:
            if match.transport_socket.name == socket.name:
                merge(match.transport_socket, socket, replace_lists=replace_lists)
                break
        value.ClearField("transport_socket")
    if value.WhichOneof("lb_config") and value.WhichOneof("lb_config") != cluster.WhichOneof(
        "lb_config"
    ):
        chosen = cluster.WhichOneof("lb_config")
        if chosen:
            cluster.ClearField(chosen)
    merge(cluster, value, replace_lists=replace_lists)


def check_cluster(cluster: cluster_pb2.Cluster) -> Iterator[tuple[str, str]]:
    """What holds for a cluster besides the rules of its messages."""
    if cluster.HasField("load_assignment") and cluster.type == cluster_pb2.Cluster.EDS:
        yield "load_assignment", "a cluster of type EDS has its endpoints from elsewhere"
    if cluster.type == cluster_pb2.Cluster.EDS and not cluster.HasField("eds_cluster_config"):
        yield "eds_cluster_config", "a cluster of type EDS needs it"
    by_provider = cluster.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED
    original = cluster.type == cluster_pb2.Cluster.ORIGINAL_DST
    if original and not cluster.HasField("cluster_type") and not by_provider:
        yield "lb_policy", "a cluster of type ORIGINAL_DST needs CLUSTER_PROVIDED"
    if cluster.HasField("load_assignment"):
        for i, locality in enumerate(cluster.load_assignment.endpoints):
            for j, endpoint in enumerate(locality.lb_endpoints):
                if endpoint.WhichOneof("host_identifier") is None:
                    yield f"load_assignment.endpoints[{i}].lb_endpoints[{j}]", "no endpoint"
