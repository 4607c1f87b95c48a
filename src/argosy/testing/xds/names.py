"""The names in serialized resources: their own, and those that they ask for."""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2


def route_names(body: bytes) -> set[str]:
    """The route configurations that a serialized listener asks for."""
    listener = listener_pb2.Listener.FromString(body)
    names = set()
    for chain in [*listener.filter_chains, listener.default_filter_chain]:
        for one in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager) and manager.HasField("rds"):
                names.add(manager.rds.route_config_name)
    return names


def extension_names(body: bytes) -> set[str]:
    """The extensions that a serialized listener asks of the control plane."""
    listener = listener_pb2.Listener.FromString(body)
    names = set()
    for chain in [*listener.filter_chains, listener.default_filter_chain]:
        for one in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                names |= {h.name for h in manager.http_filters if h.HasField("config_discovery")}
    return names


def secret_names(kind: str, body: bytes) -> set[str]:
    """The secrets that a serialized listener (LDS) or cluster (CDS) asks of the control plane."""
    sockets = []
    if kind == "LDS":
        listener = listener_pb2.Listener.FromString(body)
        sockets = [chain.transport_socket for chain in listener.filter_chains]
    elif kind == "CDS":
        sockets = [cluster_pb2.Cluster.FromString(body).transport_socket]
    names = set()
    for socket in sockets:
        for context in (tls_pb2.DownstreamTlsContext(), tls_pb2.UpstreamTlsContext()):
            if socket.typed_config.Unpack(context):
                common = context.common_tls_context
                named = [
                    *common.tls_certificate_sds_secret_configs,
                    common.combined_validation_context.validation_context_sds_secret_config,
                ]
                names |= {one.name for one in named if one.sds_config.HasField("ads")}
    return names


def resource_name(type_url: str, body: bytes) -> str:
    """The name inside a serialized resource: the first field of every xDS type that Envoy reads.

    (``name`` of Cluster, Listener, RouteConfiguration and Secret, ``cluster_name`` of
    ClusterLoadAssignment.)
    """
    assert body[:1] == b"\x0a", f"{type_url} without a name"
    length, at, shift = 0, 1, 0
    while True:
        byte = body[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return body[at : at + length].decode()
